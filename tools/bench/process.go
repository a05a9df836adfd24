package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A command is one program to run.
type command struct {
	dir  string // where; "" for the temporary directory
	args []string
}

// A usage is what commands took.
type usage struct {
	Wall, User, Sys time.Duration
	MaxRSS          int64 // bytes; of the largest process
}

func (u usage) cpu() time.Duration { return u.User + u.Sys }

func (u usage) add(v usage) usage {
	return usage{u.Wall + v.Wall, u.User + v.User, u.Sys + v.Sys, max(u.MaxRSS, v.MaxRSS)}
}

// environment is what a tool sees: everything that it keeps goes to state.
func environment(state string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + state, "TMPDIR=" + state, "DOCKER_CONFIG=" + state,
		"XDG_CACHE_HOME=" + filepath.Join(state, "cache"), "XDG_CONFIG_HOME=" + filepath.Join(state, "config"),
		"OTEL_TRACES_EXPORTER=none", "LC_ALL=C",
	}
}

// errorText is how much of what a failing program said is shown.
const errorText = 2000

// runAll runs commands one after the other and adds up what they took. One that
// fails ends it.
func runAll(ctx context.Context, cmds []command, state string) (usage, error) {
	var total usage
	for _, c := range cmds {
		p, err := start(ctx, c, state)
		if err != nil {
			return total, err
		}
		u, err := p.wait()
		total = total.add(u)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// A process is a program that runs.
type process struct {
	cmd  *exec.Cmd
	name string
	said bytes.Buffer
	file string // to which the launcher writes
}

// start starts a program in a process group of its own, all of which is killed
// when ctx ends. Between it and this process is a small one that measures it,
// see [launch].
func start(ctx context.Context, c command, state string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{file: filepath.Join(state, ".usage"), name: filepath.Base(c.args[0])}
	p.cmd = exec.CommandContext(ctx, self, append([]string{launchArg, p.file}, c.args...)...)
	p.cmd.Dir, p.cmd.Env = c.dir, environment(state)
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = p.kill
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// kill ends the process and what it started, at once.
func (p *process) kill() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// terminate asks the process to end.
func (p *process) terminate() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) }

// wait waits for the end of the process.
func (p *process) wait() (usage, error) {
	err := p.cmd.Wait()
	if err != nil {
		said := strings.TrimSpace(p.said.String())
		return usage{}, fmt.Errorf("%s: %w: %s", p.name, err, said[max(0, len(said)-errorText):])
	}
	raw, err := os.ReadFile(p.file)
	if err != nil {
		return usage{}, err
	}
	var u usage
	return u, json.Unmarshal(raw, &u)
}

// launchArg makes this program a launcher.
const launchArg = "launch"

// launch runs a program, writes what it took to a file, and ends as it does. It
// is a process of its own because a new program begins with the memory of the
// one that started it as its largest: that must be small.
func launch(file string, args []string) int {
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGTERM, os.Interrupt) // the program gets it too
	cmd := exec.Command(args[0], args[1:]...)             //nolint:noctx // it is killed with its group
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	began := time.Now()
	err := cmd.Run()
	u := usage{Wall: time.Since(began)}
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	u.User, u.Sys, u.MaxRSS = cmd.ProcessState.UserTime(), cmd.ProcessState.SystemTime(), maxRSS(cmd.ProcessState)
	raw, err := json.Marshal(u)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 1 // killed
}

// maxRSS returns the most memory that a process, or one that it waited for, has
// held.
func maxRSS(state *os.ProcessState) int64 {
	ru, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return ru.Maxrss << 10 // Linux tells KiB
}
