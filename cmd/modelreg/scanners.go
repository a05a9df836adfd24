package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/hub"
)

const (
	// scannerTime is how long another scanner may take.
	scannerTime = 30 * time.Minute

	// maxScannerErrors bounds what is kept of its standard error.
	maxScannerErrors = 64 << 10
)

// otherScanners are those of the configuration, and those that the flags name:
// NAME=COMMAND, or the name of one in the configuration. If the flags name any,
// only those are asked.
func (a *app) otherScanners(flags []string) ([]hub.Scanner, error) {
	chosen := maps.Clone(a.config.Scanners)
	if len(flags) > 0 {
		chosen = map[string]string{}
	}
	for _, flag := range flags {
		name, command, ok := strings.Cut(flag, "=")
		if !ok {
			command, ok = a.config.Scanners[name]
		}
		if !ok || name == "" || strings.TrimSpace(command) == "" {
			return nil, usagef("--scanner %s: use NAME=COMMAND, or set scanners.%s in the configuration", flag, name)
		}
		chosen[name] = command
	}
	var list []hub.Scanner
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		if strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r) }) {
			return nil, usagef("--scanner %s: a name has lower case letters, digits, dots, hyphens and underscores", name)
		}
		words := strings.Fields(chosen[name])
		list = append(list, hub.Scanner{Name: name, Run: func(ctx context.Context, files []hub.ScannerFile) ([]byte, error) {
			return runScanner(ctx, words, files)
		}})
	}
	return list, nil
}

// runScanner asks a command about files. It gets {"version": 1, "files": [...]}
// on standard input and answers with a SARIF document; its exit code says
// nothing, since scanners tell by it that they have found something.
func runScanner(ctx context.Context, command []string, files []hub.ScannerFile) ([]byte, error) {
	ask, err := json.Marshal(map[string]any{"version": 1, "files": files})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, scannerTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "modelreg-scanner-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out, problems := &bounded{limit: scan.MaxSARIF}, &bounded{limit: maxScannerErrors, drop: true}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(ask), out, problems
	cmd.Dir, cmd.Env = dir, scannerEnvironment(os.Environ(), dir)
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.full:
		return nil, fmt.Errorf("it wrote more than %d bytes", out.limit)
	case err != nil && !isExit(err):
		return nil, err
	case out.buf.Len() == 0:
		return nil, fmt.Errorf("it wrote nothing (%v): %s", cmd.ProcessState, lastLine(problems.buf.String()))
	}
	return out.buf.Bytes(), nil
}

func isExit(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.Exited()
}

// lastLine is where programs say why they ended.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return ui.Line(lines[len(lines)-1])
}

// scannerVars are the variables that a scanner gets: what programs need to
// start, and nothing that could be a secret.
var scannerVars = []string{
	"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM", "USER", "LOGNAME", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS",
}

// scannerEnvironment is what a scanner sees of an environment. Its home is an
// empty directory, so that it finds no credentials there either.
func scannerEnvironment(environ []string, home string) []string {
	env := []string{"HOME=" + home, "TMPDIR=" + home, "TEMP=" + home, "TMP=" + home, "XDG_CACHE_HOME=" + home, "PYTHONDONTWRITEBYTECODE=1"}
	for _, kv := range environ {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(scannerVars, strings.ToUpper(name)) {
			env = append(env, kv)
		}
	}
	return env
}

// bounded keeps what is written to it up to a limit. Beyond that it fails, or
// drops what comes.
type bounded struct {
	buf   bytes.Buffer
	limit int
	drop  bool
	full  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.buf.Len()
	if len(p) > room {
		b.full = true
		if !b.drop {
			return 0, errors.New("too much output")
		}
		b.buf.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.buf.Write(p)
}
