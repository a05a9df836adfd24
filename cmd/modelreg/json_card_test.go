package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
)

// TestJSONKeysOfCards holds what is printed of cards against the contract with
// scripts.
func TestJSONKeysOfCards(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	pair := filepath.Join(u.home, "team")
	u.ok("keygen", "-o", pair)
	private, public := pair+".key", pair+".pub"
	readme := u.file("model/README.md", "---\nlicense: mit\n---\n# As released\n")
	name := reg.Host + "/acme/tiny:v1"
	u.ok("push", filepath.Dir(readme), name)
	revised := u.file("new.md", "---\nlicense: isc\n---\n# Revised\n")
	run := func(args ...string) func() string {
		return func() string { return u.ok(append(args, "--format", "json")...) }
	}
	revision := []string{"digest", "seq", "readme", "size", "status", "signers"}
	attached := append(under("signers[]", signerKeys()), slices.Concat(revision, []string{"created", "author", "message"})...)
	findings := append(
		slices.Concat(
			under("findings[]", []string{"rule", "level", "line", "message"}),
			under("sections[]", []string{"id", "title", "state", "points", "most", "line", "words", "reason"}),
		), "reference", "digest", "score", "sections", "findings",
	)
	steps := []struct {
		name string
		run  func() string
		want []string
	}{
		{"card push", run("card", "push", name, revised, "-m", "x", "--author", "Ada", "--key", private), append(
			under("revision", slices.Concat(revision, []string{"created", "author", "message"})),
			"reference", "digest", "revision", "created", "signatures",
		)},
		{"card show", run("card", "show", name, "--key", public), append(
			under("revision", attached),
			"reference", "digest", "revision", "problems", "card", "spdx", "summary", "body", "score",
		)},
		{"card history", run("card", "history", name, "--key", public), append(
			under("revisions[]", attached),
			"reference", "digest", "effective", "revisions", "problems",
		)},
		{"card diff", run("card", "diff", name, "--key", public), slices.Concat(
			under("fields[]", []string{"key", "old", "new"}), under("sections[]", []string{"title", "change", "lines"}),
			[]string{"from", "to", "fields", "sections"},
		)},
		{"card lint", run("card", "lint", name), findings},
		{"init", run("init", filepath.Dir(readme)), []string{"directory", "written", "kept", "score"}},
		{"bom attach", run("bom", "attach", name, "--key", private), []string{
			"reference", "digest", "bom", "mediaType", "size", "created", "signatures", "attestation",
		}},
		{"bom show", run("bom", "show", name, "--key", public), slices.Concat(
			under("bills[].signers[]", signerKeys()), under("bills[]", []string{"bom", "mediaType", "size", "verified", "signers"}),
			[]string{"reference", "digest", "bills"},
		)},
		{"card set DIR", run("card", "set", filepath.Dir(readme), "tags=a"), []string{"path", "changed"}},
	}
	for _, s := range steps {
		slices.Sort(s.want)
		for _, key := range s.want {
			if name := key[strings.LastIndex(key, ".")+1:]; !documented(t, strings.TrimSuffix(name, "[]")) {
				t.Errorf("%s: docs/json.md says nothing of %s", s.name, key)
			}
		}
		if diff := cmp.Diff(s.want, keys(t, s.run())); diff != "" {
			t.Errorf("%s: %s", s.name, diff)
		}
	}
}
