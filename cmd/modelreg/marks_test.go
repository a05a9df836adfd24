package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
)

// Lists mark what was withdrawn, with the reason on its line and not for too long.
func TestMarks(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	name := reg.Host + "/acme/m"
	u.ok("keygen", "-o", filepath.Join(u.home, "team"))
	u.ok("push", filepath.Dir(u.file("model/a.txt", "x")), name+":v1")
	for _, args := range [][]string{{"ls", name}, {"tag", "list", name}} {
		if out := u.ok(args...); strings.Contains(out, "STATUS") {
			t.Errorf("%v has a column of nothing: %s", args, out)
		}
	}
	u.ok("push", filepath.Dir(u.file("other/a.txt", "y")), name+":v2", "--parent", "v1")
	u.ok("yank", name+":v2", "--reason", "leaked \x1b[31mdata\n"+strings.Repeat("x", 200), "--key", filepath.Join(u.home, "team.key"))
	for want, args := range map[string][]string{
		`(?m)^v2 .* yanked: leaked \\x1b\[31mdata.*x…$`:                  {"ls", name},
		`(?m)^v2 +sha256:[0-9a-f]+ +yanked: leaked \\x1b\[31mdata.*x…$`:  {"tag", "list", name},
		`(?m)^[0-9a-f]{12} \(v2\) \[yanked\]$`:                           {"log", name + ":v2", "--oneline"},
		`(?m)^status:  yanked since .*: leaked \\x1b\[31mdata.*verified`: {"log", name + ":v2"},
		`(?m)^status:  yanked since .*`:                                  {"show", name + ":v2"},
	} {
		out := u.ok(args...)
		if !regexp.MustCompile(want).MatchString(out) || strings.Contains(out, "\x1b") {
			t.Errorf("%v prints %q, want %s", args, out, want)
		}
	}
}
