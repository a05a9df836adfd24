package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
)

const lmEvalFile = `{"results":{"digits":{"acc,strict":0.9,"acc_stderr,strict":0.01}},
"configs":{"digits":{"dataset_path":"acme/mnist","dataset_name":"main","test_split":"test","dataset_kwargs":{"revision":"0f3a"}}},
"versions":{"digits":1},"n-shot":{"digits":5},"n-samples":{"digits":{"effective":100}},"model_name":"acme/digits",
"pretty_env_info":"GPU 0: NVIDIA L4\n","lm_eval_version":"0.4.9","git_hash":"abc","date":1790012345.4}`

// TestJSONKeysOfEvaluations is [TestJSONKeys] of the eval commands.
func TestJSONKeysOfEvaluations(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	pair := filepath.Join(u.home, "team")
	u.ok("keygen", "-o", pair)
	name := reg.Host + "/acme/m"
	u.ok("push", filepath.Dir(u.file("model/a.txt", "x")), name+":v1")
	u.ok("push", filepath.Dir(u.file("other/a.txt", "y")), name+":v2")
	run := u.file("run.json", lmEvalFile)
	json := func(args ...string) func() string {
		return func() string { return u.ok(append(args, "--format", "json")...) }
	}
	add := func(args ...string) func() string {
		return json(append([]string{"eval", "add", name + ":v1", "--metric", "f1", "--value", "0.5", "--dataset", "d@sha256:00"}, args...)...)
	}
	made := under("[]", []string{"reference", "digest", "repository", "format", "results", "made", "statement", "signed"})
	one := slices.Concat(
		[]string{"task", "dataset", "metric", "value", "stderr", "n", "shots", "harness", "model", "hardware", "when", "class", "signer", "repository", "statement", "format", "file"},
		under("dataset", []string{"id", "revision", "config", "split"}), under("metric", []string{"name", "filter", "direction", "unit"}),
		under("harness", []string{"name", "version", "revision", "taskVersion"}), under("signer", signerKeys()),
	)
	from := append([]string{"eval", "list", name + ":v1", "--key", pair + ".pub", "--metric"}, "acc")
	unsigned := []string{"eval", "list", name + ":v1", "--metric", "f1"}
	typed := slices.Concat([]string{"dataset", "dataset.id", "dataset.digest", "value", "traces", "source", "source.url", "notes", "class", "signer", "repository", "statement"},
		under("metric", []string{"direction", "name", "unit"}), []string{"metric", "claims"}, under("claims", signerKeys()))
	steps := []struct {
		name string
		run  func() string
		want []string
	}{
		{"eval import", json("eval", "import", run, name+":v1", "--key", pair+".key"), made},
		{"eval add", add("--key", pair+".key", "--traces", "https://example.com/t", "--source", "https://example.com", "--notes", "n"), made},
		{"eval list", json(from...), append(under("evaluations[]", one), "reference", "digest", "evaluations", "problems")},
		{"eval list, of nobody known", json(unsigned...), append(under("evaluations[]", typed), "reference", "digest", "evaluations", "problems")},
		{"eval compare", json("eval", "compare", name+":v1", name+":v1", "--key", pair+".pub"), nil},
		{"eval export", json("eval", "export", name+":v1", "--key", pair+".pub"), []string{"as", "document"}},
		{"eval dispute", func() string {
			of := u.ok("eval", "add", name+":v2", "--metric", "f1", "--value", "0.5", "--dataset", "d", "--unsigned")
			_, statement, _ := strings.Cut(strings.TrimSpace(of), " ")
			return json("eval", "dispute", name+":v2", statement, "--reason", "r", "--key", pair+".key")()
		}, []string{"reference", "digest", "statement", "made"}},
		{"log --metrics", json("log", name+":v2", "--metrics"), slices.Concat(
			under("[]", []string{"digest", "revision", "parents", "message", "author", "changeId", "created", "tags", "size", "signatures", "signers", "evaluations"}),
			under("[].evaluations[]", []string{"dataset", "dataset.id", "metric", "metric.name", "metric.direction", "metric.unit", "value", "class", "signer", "repository", "statement"}),
		)},
		{"eval list, disputed", json("eval", "list", name+":v2", "--key", pair+".pub"), slices.Concat(
			[]string{"reference", "digest", "evaluations", "problems"},
			under("evaluations[]", []string{"dataset", "dataset.id", "metric", "metric.name", "metric.direction", "metric.unit", "value", "class", "signer", "repository", "statement", "disputed"}),
			under("evaluations[].disputed[]", []string{"statement", "reason", "class", "signer"}), under("evaluations[].disputed[].signer", signerKeys()),
		)},
	}
	for _, s := range steps {
		out := s.run()
		if s.name == "eval compare" {
			compared(t, out)
			continue
		}
		slices.Sort(s.want)
		for _, key := range s.want {
			if name := key[strings.LastIndex(key, ".")+1:]; !documented(t, strings.TrimPrefix(name, "[]")) {
				t.Errorf("%s: docs/json.md says nothing of %s", s.name, key)
			}
		}
		if diff := cmp.Diff(s.want, keys(t, out)); diff != "" {
			t.Errorf("%s: %s", s.name, diff)
		}
	}
}

// compared looks at the keys of a comparison, without those of its results.
func compared(t *testing.T, out string) {
	t.Helper()
	want := []string{"from", "onlyA", "onlyB", "problems", "rows", "rows[].a", "rows[].b", "rows[].delta", "rows[].flags", "rows[].p", "rows[].significant", "rows[].verdict", "to"}
	got := slices.DeleteFunc(keys(t, out), func(k string) bool { return strings.Count(k, ".") > 1 })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("eval compare: %s", diff)
	}
	for _, key := range got {
		if name := key[strings.LastIndex(key, ".")+1:]; !documented(t, name) {
			t.Errorf("eval compare: docs/json.md says nothing of %s", key)
		}
	}
}
