package store_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// childEnv names what the test binary does when a test runs it as a child.
const childEnv = "STORE_TEST_CHILD"

// children are what can be done in a process of its own. They return an error
// instead of failing a test, and speak through their standard output.
var children = map[string]func(dir string, args []string) error{
	"churn": childChurn,
	"hold":  childHold,
	"tag":   childTag,
	"fetch": childFetch,
}

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := children[name](os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A child is the test binary in a process that can be killed.
type child struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	errors *strings.Builder
}

func startChild(t *testing.T, name, dir string, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe, append([]string{dir}, args...)...), errors: new(strings.Builder)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+name)
	c.cmd.Stderr = c.errors
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kill() })
	return c
}

// line waits for the next line that the child says.
func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		_ = c.cmd.Wait()
		t.Fatalf("child ended: %v\n%s", err, c.errors)
	}
	return strings.TrimSuffix(line, "\n")
}

// kill ends the child at once, and waits for its end.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, c.out)
	_ = c.cmd.Wait()
}

// wait returns how a child ended by itself.
func (c *child) wait() error {
	_, _ = io.Copy(io.Discard, c.out)
	if err := c.cmd.Wait(); err != nil {
		return errors.Join(err, errors.New(c.errors.String()))
	}
	return nil
}
