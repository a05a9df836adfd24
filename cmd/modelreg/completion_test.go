package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
)

// complete asks as the shell does, with the last of args being typed.
func (u *user) complete(args ...string) (proposals []string, directive string) {
	u.t.Helper()
	code, out, err := u.run(u.t.Context(), append([]string{"__completeNoDesc"}, args...)...)
	if code != exitOK {
		u.t.Errorf("completion exits with %d", code)
	}
	if lines := strings.Split(strings.TrimSpace(err), "\n"); len(lines) != 1 || !strings.HasPrefix(lines[0], "Completion ended") {
		u.t.Errorf("completion says %q", err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := len(lines) - 1
	return lines[:last], lines[last]
}

const noFileComp, filterDirs = ":4", ":16"

func TestCompletion(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	model := u.file("model/notes.txt", "x")
	dir := strings.TrimSuffix(model, "/notes.txt")
	ref := reg.Host + "/org/m"
	u.ok("push", dir, ref+":v1", "-t", "v2", "-t", "prod", "-t", "feature/x")
	u.ok("config", "set", "default.registry", reg.Host+"/org")
	u.ok("config", "set", "registries.alias.corp", reg.Host)
	tests := map[string]struct {
		args      []string
		want      []string
		directive string
	}{
		"tags":               {[]string{"pull", ref + ":"}, []string{ref + ":feature/x", ref + ":prod", ref + ":v1", ref + ":v2"}, noFileComp},
		"tags that begin":    {[]string{"resolve", ref + ":v"}, []string{ref + ":v1", ref + ":v2"}, noFileComp},
		"branch":             {[]string{"cat", ref + ":feature/"}, []string{ref + ":feature/x"}, noFileComp},
		"second argument":    {[]string{"push", dir, ref + ":p"}, []string{ref + ":prod"}, noFileComp},
		"short name":         {[]string{"inspect", "m:p"}, []string{"m:prod"}, noFileComp},
		"alias":              {[]string{"verify", "@corp/org/m:p"}, []string{"@corp/org/m:prod"}, noFileComp},
		"scheme":             {[]string{"sign", "oci://" + ref + ":p"}, []string{"oci://" + ref + ":prod"}, noFileComp},
		"no colon":           {[]string{"pull", ref}, []string{}, noFileComp},
		"port":               {[]string{"pull", reg.Host[:strings.Index(reg.Host, ":")+2]}, []string{}, noFileComp},
		"digest":             {[]string{"pull", ref + "@sha256:ab"}, []string{}, noFileComp},
		"tag and digest":     {[]string{"pull", ref + ":v1@sha256:ab"}, []string{}, noFileComp},
		"no such repository": {[]string{"pull", reg.Host + "/no/such:"}, []string{}, noFileComp},
		"nobody there":       {[]string{"pull", "127.0.0.1:1/org/m:"}, []string{}, noFileComp},
		"not a reference":    {[]string{"pull", "?!:"}, []string{}, noFileComp},
		"directory":          {[]string{"push", ""}, []string{}, filterDirs},
		"target":             {[]string{"pull", ref + ":v1", ""}, []string{}, filterDirs},
		"too many":           {[]string{"pull", ref + ":v1", "d", ""}, []string{}, noFileComp},
		"takes none":         {[]string{"version", ""}, []string{}, noFileComp},
		"format":             {[]string{"ls", "--format", ""}, []string{"text", "json"}, noFileComp},
		"progress":           {[]string{"pull", "--progress", ""}, []string{"auto", "plain", "none"}, noFileComp},
		"layout":             {[]string{"push", "--layout", ""}, []string{"auto", "raw"}, noFileComp},
		"signature layout":   {[]string{"sign", "--signature-layout", ""}, []string{"bundle", "classic", "both"}, noFileComp},
		"setting":            {[]string{"config", "set", ""}, []string{"default.registry", "registries.alias.", "cache", "realms.", "mirrors.", "apis.", "scanners.", "certs.d", "trusted-root", "trust-repository", "policy", "policy-keys", "policy-identity", "policy-issuer", "trust-roots.", "evaluations"}, noFileComp},
		"command":            {[]string{"ins"}, []string{"inspect"}, noFileComp},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, directive := u.complete(tt.args...)
			if diff := cmp.Diff(tt.want, got); diff != "" || directive != tt.directive {
				t.Errorf("directive %s, want %s; proposals: %s", directive, tt.directive, diff)
			}
		})
	}
}

// The shell hangs for as long as the completion takes.
func TestCompletionOfSlowRegistry(t *testing.T) {
	u := newUser(t)
	for name, fault := range map[string]testreg.Action{
		"hangs":  testreg.Hang(),
		"503":    testreg.Status(503, nil, ""),
		"broken": testreg.Status(200, nil, "<html>"),
	} {
		t.Run(name, func(t *testing.T) {
			reg := testreg.New(t, testreg.Options{Rules: []testreg.Rule{{Do: fault}}})
			start := time.Now()
			if got, _ := u.complete("pull", reg.Host+"/org/m:"); len(got) > 0 {
				t.Errorf("proposals: %v", got)
			}
			if took := time.Since(start); took > 10*completionBudget {
				t.Errorf("took %v, with a budget of %v", took, completionBudget)
			}
		})
	}
}

func TestCompletionWithBrokenConfiguration(t *testing.T) {
	u := newUser(t)
	u.file("config.yaml", "regsitry: x\n")
	if got, _ := u.complete("pull", "127.0.0.1:1/org/m:"); len(got) > 0 {
		t.Errorf("proposals: %v", got)
	}
	if got, _ := u.complete("--format", ""); len(got) != 2 {
		t.Errorf("proposals for --format: %v", got)
	}
}
