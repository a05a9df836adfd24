//go:build e2e

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// checkRelatives holds lineage, differences and measurements against what was done.
func (y *year) checkRelatives() {
	lineage := y.modelreg("lineage", y.model+":main")
	if !strings.Contains(lineage, "finetune") || !strings.Contains(lineage, "checked") {
		y.t.Errorf("lineage: %s", lineage)
	}
	children := y.modelreg("lineage", y.host+"/acme/base:v1", "--down", "--format", "json")
	for _, d := range []string{y.versions[10], y.versions[20], y.tip("main"), y.tip("dev/long")} {
		if !strings.Contains(children, d) {
			y.t.Errorf("what was made of the base lacks %s", d)
		}
	}
	for flag, want := range map[string][]string{
		"--config":  {"max_position_embeddings", "2048", "4096"},
		"--card":    {"licens", "apache-2.0", "mit"},
		"--metrics": {"f1", "0.75", "0.875"},
	} {
		out := y.modelreg("diff", y.at(10), y.at(20), flag, "--format", "json")
		for _, w := range want {
			if !strings.Contains(strings.ToLower(out), w) {
				y.t.Errorf("diff %s lacks %q: %s", flag, w, out)
			}
		}
	}
	measured := y.modelreg("eval", "list", y.at(20), "--from", y.host+"/bob/measured", "--format", "json")
	for _, w := range []string{"0.86", "0.875"} {
		if !strings.Contains(measured, w) {
			y.t.Errorf("evaluations lack %s: %s", w, measured)
		}
	}
}

// A question is a query, and what it must find: digests.
type question struct {
	query string
	want  []string
}

func (y *year) questions() []question {
	base := y.fields("resolve", y.host+"/acme/base:v1")["digest"].(string)
	main := y.tip("main")
	return []question{
		{"support", []string{main}},
		{"task:text-classification license:mit versions:all yanked:yes", []string{y.versions[20]}},
		{"letters language:en -status:yanked", []string{main, base}},
		{"metric:f1>0.7 versions:all yanked:no", []string{y.versions[10]}},
		{"metric:f1>0.8 versions:all yanked:any", []string{y.versions[20]}},
		{"base:acme/base", []string{main}},
		{"tag:v1.2.0 yanked:yes", []string{y.versions[20]}},
		{"tag:dev/long", []string{y.tip("dev/long")}},
	}
}

// ask asks an index everything, and returns the answers to compare.
func (y *year) ask(index string) map[string]string {
	answers := map[string]string{}
	for _, q := range y.questions() {
		out := y.modelreg("search", q.query, "--index", index, "--facets", "--format", "json")
		answers[q.query] = out
		var res struct {
			Results []struct {
				Digest string `json:"digest"`
			} `json:"results"`
		}
		if err := json.Unmarshal([]byte(out), &res); err != nil {
			y.t.Fatal(err)
		}
		var got []string
		for _, r := range res.Results {
			got = append(got, r.Digest)
		}
		slices.Sort(got)
		slices.Sort(q.want)
		if diff := cmp.Diff(q.want, got); diff != "" {
			y.t.Errorf("%s: search %q (-want +got):\n%s", index, q.query, diff)
		}
	}
	return answers
}

// search brings the index up to date that was made at the beginning of the year, loses
// it, and builds it again.
func (y *year) search() {
	y.modelreg("index", "update", "--index", yearIndex)
	before := y.ask(yearIndex)
	lost, err := filepath.Glob(filepath.Join(y.dir, yearIndex+"*"))
	if err != nil || len(lost) == 0 {
		y.t.Fatalf("index files: %v, %v", lost, err)
	}
	for _, f := range lost {
		if err := os.RemoveAll(f); err != nil {
			y.t.Fatal(err)
		}
	}
	y.modelreg("index", "build", y.host, "--index", yearIndex)
	if diff := cmp.Diff(before, y.ask(yearIndex)); diff != "" {
		y.t.Errorf("after the index was lost (-before +after):\n%s", diff)
	}
}

// copy brings the model to a second registry with its past, and asks there.
func (y *year) copy() {
	second := startDistribution(y.t)
	y.modelreg("copy", y.model, second+"/acme/support", "--history")
	y.checkLog(second + "/acme/support")
	y.checkProduction(second + "/acme/support")
	if diff := cmp.Diff(y.log(y.model+":main"), y.log(second+"/acme/support:main")); diff != "" {
		y.t.Errorf("the history at the second registry (-first +second):\n%s", diff)
	}
	y.modelreg("copy", y.host+"/acme/base:v1", second+"/acme/base:v1")
	y.modelreg("index", "build", second, "--index", "second.db")
	y.ask("second.db")
}
