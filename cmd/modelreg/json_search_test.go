package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
)

// TestJSONKeysOfSearch holds what is printed of searches against the contract
// with scripts.
func TestJSONKeysOfSearch(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	readme := u.file("model/README.md", "---\nlicense: mit\nbase_model: acme/base\nmodel-index:\n- name: x\n  results:\n"+
		"  - task: {type: text-generation}\n    dataset: {name: MMLU, type: mmlu}\n    metrics: [{type: accuracy, value: 0.5}]\n---\n# A model\n")
	u.ok("push", filepath.Dir(readme), reg.Host+"/acme/tiny:v1")
	u.ok("push", filepath.Dir(readme), reg.Host+"/acme/tiny2:v1")
	index := filepath.Join(u.home, "index.db")
	crawled := []string{"index", "repositories", "versions", "fetched", "changed", "joined", "deleted", "skipped", "failed"}
	hit := slices.Concat([]string{
		"repository", "tag", "tags", "digest", "task", "library", "license", "licenses", "languages", "architecture", "parameters",
		"contextLength", "formats", "quantizations", "size", "memory", "updated", "status", "signed", "verified", "customCode",
		"bases", "metrics", "summary", "snippet", "score",
	}, under("bases[]", []string{"name", "relation"}), under("metrics[]", []string{"name", "dataset", "value", "class"}))
	facets := []string{"task", "library", "license", "language", "format", "quant", "params", "signed", "status"}
	for _, f := range []string{"license", "signed", "status"} {
		facets = append(facets, under(f+"[]", []string{"value", "count"})...)
	}
	steps := []struct {
		args []string
		want []string
	}{
		{[]string{"index", "build", reg.Host}, crawled},
		{[]string{"index", "update"}, crawled},
		{[]string{"index", "status"}, []string{"index", "size", "versions", "replaced", "repositories", "places", "updated"}},
		{
			[]string{"search", "model", "--facets", "--limit", "1"},
			slices.Concat([]string{"query", "total", "results", "facets", "next"}, under("results[]", hit), under("facets", facets)),
		},
		{[]string{"index", "build", reg.Host + "/acme/tiny"}, crawled},
		{[]string{"index", "remove", reg.Host + "/acme/tiny"}, []string{"index", "place", "deleted"}},
		{[]string{"index", "push", reg.Host + "/idx"}, []string{"reference", "digest", "tag", "repositories", "versions", "size", "created", "signatures"}},
		{
			[]string{"index", "pull", reg.Host + "/idx", "--force"},
			[]string{"index", "reference", "digest", "size", "verified", "signers", "repositories", "versions"},
		},
		{[]string{"index", "status"}, []string{"index", "size", "versions", "replaced", "repositories", "places", "snapshot", "updated"}},
		{[]string{"search", "modle"}, []string{"query", "total", "results", "instead"}},
	}
	for _, s := range steps {
		name := strings.Join(s.args[:2], " ")
		slices.Sort(s.want)
		for _, key := range s.want {
			if name := key[strings.LastIndex(key, ".")+1:]; !strings.HasPrefix(key, "facets.") && !documented(t, strings.TrimSuffix(name, "[]")) {
				t.Errorf("%s: docs/json.md says nothing of %s", name, key)
			}
		}
		out := u.ok(append(s.args, "--index", index, "--format", "json")...)
		if diff := cmp.Diff(s.want, keys(t, out)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
