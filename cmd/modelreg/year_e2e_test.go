//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
)

const (
	yearLayers   = 4
	yearVersions = 30
	yearFork     = 10 // the version that the second branch begins at
	yearLonger   = 20 // the first version that takes longer inputs
	yearIndex    = "year.db"
)

// A year is the life of one model on a stock registry: what people do to it from
// January to December, and what can be asked of it afterwards.
type year struct {
	*client
	host   string
	config string // of the registry
	model  string // the reference without a tag

	layers   [yearLayers]uint64 // the seed of the numbers of each layer
	versions []string           // digests, in the order in which they were pushed
	changed  []int              // the layer that each changed
	branches map[string][]int   // the versions of each branch, oldest first

	staging time.Time // between the first promotion and the second
	trouble time.Time // between the second and the rollback
}

// TestE2EYear plays a year, lets the registry collect its garbage, and asks
// everything again; then the index is lost, and the model copied elsewhere.
func TestE2EYear(t *testing.T) {
	y := newYear(t)
	y.base()
	y.push()
	y.modelreg("index", "build", y.host, "--index", yearIndex)
	for _, month := range []func(){y.fork, y.variants, y.cards, y.measure, y.promote, y.yank} {
		month()
		y.modelreg("index", "update", "--index", yearIndex)
	}
	before := y.answers()
	y.collectGarbage()
	if diff := cmp.Diff(before, y.answers()); diff != "" {
		t.Errorf("after the registry collected garbage (-before +after):\n%s", diff)
	}
	y.check()
	y.search()
	y.copy()
}

func newYear(t *testing.T) *year {
	y := &year{client: newClient(t), branches: map[string][]int{}}
	y.config, y.host = writeDistribution(t, "")
	serveDistribution(t, exec.Command(tool(t, "registry"), "serve", y.config), y.host)
	y.model = y.host + "/acme/support"
	for _, who := range []string{"alice", "bob"} {
		y.modelreg("keygen", "-o", who)
	}
	return y
}

// at is a reference to a version by its number.
func (y *year) at(i int) string { return y.model + "@" + y.versions[i] }

// write makes the directory of the model as it is now.
func (y *year) write(name, card string) string {
	dir := filepath.Join(y.dir, name)
	var tensors []testmodel.Tensor
	for i, seed := range y.layers {
		data := make([]byte, 128*128*4)
		_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(i)}).Read(data) // never fails
		for j := 3; j < len(data); j += 4 {
			data[j] = 0x3c // numbers of an ordinary size
		}
		tensors = append(tensors, testmodel.Tensor{Name: fmt.Sprintf("model.layers.%d.mlp.weight", i), DType: "F32", Shape: []int64{128, 128}, Data: data})
	}
	write(y.t, dir, "model.safetensors", string(testmodel.SafetensorsFile(tensors, nil)))
	config := testmodel.Config
	if len(y.versions) >= yearLonger {
		config = strings.Replace(config, "2048", "4096", 1)
	}
	write(y.t, dir, "config.json", config)
	write(y.t, dir, "README.md", card)
	return dir
}

const yearCard = `---
license: apache-2.0
language: [en]
library_name: transformers
pipeline_tag: text-classification
datasets: [acme/tickets]
---
# Support

Sorts the letters of customers.
`

func (y *year) base() {
	dir := y.write("base", strings.Replace(yearCard, "# Support", "# Base", 1))
	y.modelreg("push", dir, y.host+"/acme/base:v1", "--sign", "--key", "alice.key")
}

// push makes thirty versions on two branches. Each changes one layer.
func (y *year) push() {
	for i := range yearVersions {
		branch := "main"
		if i > yearFork && i%3 == 0 {
			branch = "dev/long"
		}
		if branch != "main" && len(y.branches[branch]) == 0 {
			y.modelreg("branch", "create", y.at(yearFork), branch)
			y.branches[branch] = slices.Clone(y.branches["main"][:yearFork+1])
		}
		layer := i % yearLayers
		y.layers[layer] = uint64(i + 1)
		created := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, 12*i).Format(time.RFC3339)
		res := y.fields(
			"push", y.write("model", yearCard), y.model, "--branch", branch, "-m", fmt.Sprintf("layer %d, take %d", layer, i),
			"--author", "Ada <ada@example.com>", "--created", created, "--base", y.host+"/acme/base:v1", "--relation", "finetune",
		)
		y.versions = append(y.versions, res["digest"].(string))
		y.changed = append(y.changed, layer)
		y.branches[branch] = append(y.branches[branch], i)
	}
	again := y.fields("push", y.write("model", yearCard), y.model+":main", "-m", "nothing new", "--base", y.host+"/acme/base:v1", "--relation", "finetune")
	if again["created"] != false || again["digest"] != y.tip("main") {
		y.t.Errorf("a push of nothing new: %v", again)
	}
}

// tip is the digest of the last version of a branch.
func (y *year) tip(branch string) string {
	list := y.branches[branch]
	return y.versions[list[len(list)-1]]
}

// fork lets two people push to one branch at once, until one of them is told. Both
// of what they pushed are kept, and merged.
func (y *year) fork() {
	y.modelreg("branch", "create", y.model+":main", "race")
	for round := range 100 {
		var all sync.WaitGroup
		states := make([]int, 2)
		for who := range states {
			c := newClient(y.t)
			y.layers[who] = uint64(100 + 2*round + who)
			dir := y.write(fmt.Sprintf("racer-%d", who), yearCard)
			all.Go(func() {
				_, state, _ := c.try(os.Getenv("MODELREG_BIN"), "push", dir, y.model, "--branch", "race", "-m", fmt.Sprintf("racer %d, round %d", who, round))
				states[who] = state.ExitCode()
			})
		}
		all.Wait()
		slices.Sort(states)
		switch {
		case slices.Equal(states, []int{0, 0}):
			continue // one after the other
		case !slices.Equal(states, []int{0, 4}) && !slices.Equal(states, []int{4, 4}):
			y.t.Fatalf("racers ended with %v", states)
		}
		y.join(round)
		return
	}
	y.t.Fatal("a hundred rounds, and nobody met")
}

// join finds what both racers of a round have pushed, and merges the one that lost.
func (y *year) join(round int) {
	tip := y.fields("resolve", y.model+":race")["digest"]
	var lost string
	for who := range 2 {
		said := fmt.Sprintf("racer %d, round %d", who, round)
		i := slices.IndexFunc(y.logOf("log", y.model+":race", "--all"), func(e map[string]any) bool { return e["message"] == said })
		if i < 0 {
			y.t.Fatalf("%s is in no history", said)
		}
		if e := y.logOf("log", y.model+":race", "--all")[i]; e["digest"] != tip {
			lost = e["digest"].(string)
		}
	}
	merged := y.fields("merge", y.model+"@"+lost, "--branch", "race")
	if diff := cmp.Diff([]any{tip, lost}, merged["parents"]); diff != "" {
		y.t.Errorf("parents of what joins the racers (-want +got):\n%s", diff)
	}
}

// variants releases the model in two formats.
func (y *year) variants() {
	dir := filepath.Join(y.dir, "gguf")
	testmodel.GGUF(y.t, mkdir(y.t, dir))
	y.modelreg("push", y.write("model", yearCard), y.model+":v2", "--variant", "q8_0="+dir, "--sign", "--key", "alice.key")
	pulled := filepath.Join(y.dir, "pulled-gguf")
	y.modelreg("pull", y.model+":v2", pulled, "--for", "llama.cpp", "--verify", "--key", "alice.pub")
	if files, err := filepath.Glob(filepath.Join(pulled, "*.gguf")); err != nil || len(files) != 1 {
		y.t.Errorf("for llama.cpp came %v, %v", files, err)
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cards corrects the card of a version, which stays the version it is.
func (y *year) cards() {
	y.modelreg("repo", "publishers", y.model, "--add-key", "alice.pub", "--name", "Alice")
	y.modelreg("card", "set", y.at(20), "license=mit", "-m", "the licence was wrong", "--key", "alice.key")
	if out := y.modelreg("card", "show", y.at(20)); !strings.Contains(strings.ToLower(out), "mit") {
		y.t.Errorf("the corrected card: %s", out)
	}
	if out := y.modelreg("card", "show", y.at(20), "--released", "--raw"); out != yearCard {
		y.t.Errorf("the card as released: %s", out)
	}
}

// measure has a stranger keep results in a repository of his own.
func (y *year) measure() {
	for i, v := range map[int]string{10: "0.81", 20: "0.86"} {
		y.modelreg("eval", "add", y.at(i), "--metric", "accuracy", "--value", v, "--stderr", "0.004", "--dataset", "acme/tickets@2026", "--key", "bob.key", "--to", y.host+"/bob/measured")
	}
	for i, v := range map[int]string{10: "0.75", 20: "0.875"} {
		y.modelreg("eval", "add", y.at(i), "--metric", "f1", "--value", v, "--dataset", "acme/tickets@2026", "--key", "alice.key")
	}
	out := y.modelreg("eval", "list", y.at(20), "--from", y.host+"/bob/measured")
	if !strings.Contains(out, "0.86") {
		y.t.Errorf("what Bob measured: %s", out)
	}
}

// promote has production at three versions in turn, and back.
func (y *year) promote() {
	y.modelreg("repo", "protect", y.model, "prod")
	y.modelreg("promote", y.at(5), "--to", "prod", "-m", "first release", "--key", "alice.key")
	y.modelreg("promote", y.at(10), "--to", "prod", "-m", "better", "--key", "alice.key")
	y.staging = y.tick()
	y.modelreg("promote", y.at(20), "--to", "prod", "-m", "better still", "--key", "alice.key")
	y.trouble = y.tick()
	y.modelreg("rollback", y.model+":prod", "-m", "complaints", "--key", "alice.key")
}

// tick is a time after all that was done and before all that will be: logs count
// seconds.
func (y *year) tick() time.Time {
	time.Sleep(1100 * time.Millisecond)
	now := time.Now().UTC()
	time.Sleep(1100 * time.Millisecond)
	return now
}

func (y *year) yank() {
	y.modelreg("tag", y.at(20), "v1.2.0")
	y.modelreg("yank", y.at(20), "--reason", "forgets umlauts", "--replacement", y.at(10), "--key", "alice.key")
	if _, state, _ := y.try(os.Getenv("MODELREG_BIN"), "pull", y.model+":v1.2.0", "yanked"); state.ExitCode() != exitYanked {
		y.t.Errorf("a pull of the yanked release ended with %d", state.ExitCode())
	}
	y.modelreg("pull", y.at(20), "yanked")
}

// answers is all that can be asked, in a form to compare.
func (y *year) answers() map[string]string {
	answers := map[string]string{}
	for name, args := range map[string][]string{
		"log of main":      {"log", y.model + ":main"},
		"log of dev/long":  {"log", y.model + ":dev/long"},
		"log of all":       {"log", y.model + ":main", "--all"},
		"diff":             {"diff", y.at(10), y.at(20), "--files", "--config", "--tensors", "--card", "--metrics"},
		"lineage":          {"lineage", y.model + ":main"},
		"children":         {"lineage", y.host + "/acme/base:v1", "--down"},
		"card history":     {"card", "history", y.at(20)},
		"evaluations":      {"eval", "list", y.at(20), "--from", y.host + "/bob/measured"},
		"alias log":        {"tag", "log", y.model + ":prod"},
		"prod in staging":  {"resolve", y.model + ":prod", "--at", y.staging.Format(time.RFC3339)},
		"prod in trouble":  {"resolve", y.model + ":prod", "--at", y.trouble.Format(time.RFC3339)},
		"prod":             {"resolve", y.model + ":prod"},
		"main two before":  {"resolve", y.model + ":main~2"},
		"main in February": {"resolve", y.model + ":main@{2026-02-20}"},
		"variants":         {"inspect", y.model + ":v2"},
		"tree":             {"tree", y.at(20)},
	} {
		answers[name] = y.modelreg(append(args, "--format", "json")...)
	}
	return answers
}

// check holds what can be asked against what was done.
func (y *year) check() {
	y.checkLog(y.model)
	main := y.branches["main"]
	for i := 1; i < len(main); i += 7 {
		y.checkDiff(main[i-1], main[i])
	}
	for what, want := range map[string]string{
		y.model + ":prod": y.versions[10], y.model + ":main~2": y.versions[main[len(main)-3]], y.model + ":main@{2026-02-20}": y.versions[4],
	} {
		if got := y.fields("resolve", what)["digest"]; got != want {
			y.t.Errorf("%s is %s, want %s", what, got, want)
		}
	}
	y.checkProduction(y.model)
	y.checkRelatives()
}

// checkLog holds the history of both branches against what was pushed.
func (y *year) checkLog(model string) {
	y.t.Helper()
	for _, branch := range []string{"main", "dev/long"} {
		var got, want []string
		for _, e := range y.log(model + ":" + branch) {
			got = append(got, fmt.Sprint(e["digest"], " ", e["message"], " ", e["parents"]))
		}
		list := y.branches[branch]
		for i, n := range list {
			parents := []any{}
			if i > 0 {
				parents = append(parents, y.versions[list[i-1]])
			}
			want = append(want, fmt.Sprint(y.versions[n], " ", fmt.Sprintf("layer %d, take %d", y.changed[n], n), " ", parents))
		}
		slices.Reverse(want)
		if diff := cmp.Diff(want, got); diff != "" {
			y.t.Errorf("log of %s:%s (-want +got):\n%s", model, branch, diff)
		}
	}
}

// checkProduction asks what was in production when.
func (y *year) checkProduction(model string) {
	y.t.Helper()
	for when, want := range map[time.Time]string{y.staging: y.versions[10], y.trouble: y.versions[20]} {
		if got := y.fields("resolve", model+":prod", "--at", when.Format(time.RFC3339))["digest"]; got != want {
			y.t.Errorf("%s:prod at %s was %s, want %s", model, when, got, want)
		}
	}
}

// log is the history that a reference leads to.
func (y *year) log(ref string) []map[string]any { return y.logOf("log", ref) }

// logOf reads what a command prints that lists versions.
func (y *year) logOf(args ...string) (entries []map[string]any) {
	if err := json.Unmarshal([]byte(y.modelreg(append(args, "--format", "json")...)), &entries); err != nil {
		y.t.Fatal(err)
	}
	return entries
}

// checkDiff compares two versions between which the layers are known that changed.
func (y *year) checkDiff(from, to int) {
	var res struct {
		Tensors struct {
			Identical int `json:"identical"`
			Changed   []struct {
				Name string `json:"name"`
			} `json:"changed"`
		} `json:"tensors"`
	}
	if err := json.Unmarshal([]byte(y.modelreg("diff", y.at(from), y.at(to), "--tensors", "--format", "json")), &res); err != nil {
		y.t.Fatal(err)
	}
	layers := map[int]bool{}
	for n := from + 1; n <= to; n++ {
		layers[y.changed[n]] = true
	}
	var got, want []string
	for _, c := range res.Tensors.Changed {
		got = append(got, c.Name)
	}
	for l := range yearLayers {
		if layers[l] {
			want = append(want, fmt.Sprintf("model.layers.%d.mlp.weight", l))
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || res.Tensors.Identical != yearLayers-len(want) {
		y.t.Errorf("tensors between %d and %d: %d identical, changed (-want +got):\n%s", from, to, res.Tensors.Identical, diff)
	}
}

// collectGarbage is the registry's own tool at its most thorough.
func (y *year) collectGarbage() {
	y.run(tool(y.t, "registry"), "garbage-collect", "--delete-untagged", y.config)
}
