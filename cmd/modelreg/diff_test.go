package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
)

// The keys of diff's result are a contract as those of the other commands.
func TestJSONKeysOfDiff(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	from, to := filepath.Join(u.home, "from"), filepath.Join(u.home, "to")
	testmodel.Write(t, from)
	testmodel.Write(t, to)
	u.file("from/run.py", "a\n")
	u.file("to/run.py", "b\n")
	u.file("from/config.json", `{"a":1,"t":"x\ny\n"}`)
	u.file("to/config.json", `{"a":2,"t":"x\nz\n"}`)
	name := reg.Host + "/acme/tiny"
	u.ok("push", from, name+":v1")
	u.ok("push", to, name+":v2")
	want := slices.Concat(
		[]string{"from", "to", "different", "fromDigest", "toDigest", "files", "config", "tensors", "card", "metrics", "trust"},
		under("files", []string{"added", "removed", "changed", "renamed", "identical", "fromSize", "toSize"}),
		under("files.changed[]", []string{"path", "kind", "from", "to", "text"}),
		under("files.changed[].from", []string{"path", "kind", "size", "digest"}),
		under("files.changed[].to", []string{"path", "kind", "size", "digest"}),
		under("files.changed[].text", []string{"added", "removed", "hunks"}),
		under("files.changed[].text.hunks[]", []string{"from", "to", "lines"}),
		under("config[]", []string{"file", "path", "op", "from", "to", "text"}),
		under("config[].text", []string{"added", "removed", "hunks"}),
		under("config[].text.hunks[]", []string{"from", "to", "lines"}),
		under("tensors", []string{
			"from", "to", "identical", "added", "removed", "changed", "reshaped", "retyped", "unknown", "moved", "groups",
			"evidence", "readBytes", "verified",
		}),
		under("tensors.from", []string{"tensors", "elements", "size", "dtypes"}),
		under("tensors.to", []string{"tensors", "elements", "size", "dtypes"}),
		under("tensors.evidence", []string{"digest", "index", "bytes"}),
		under("trust", []string{"gained", "lost", "changed", "kept"}),
	)
	got := keys(t, u.ok("diff", name+":v1", name+":v2", "--format", "json"))
	got = slices.DeleteFunc(got, func(key string) bool {
		return strings.Contains(key, ".dtypes.") || strings.HasPrefix(key, "config[]") && !slices.Contains(want, key)
	})
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, key := range want {
		if name := key[strings.LastIndex(key, ".")+1:]; !documented(t, strings.TrimSuffix(name, "[]")) {
			t.Errorf("docs/json.md says nothing of %s", key)
		}
	}
}
