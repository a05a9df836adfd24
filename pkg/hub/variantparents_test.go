package hub_test

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/hub"
)

// line is a branch of versions with variants, and the directories that they are
// pushed from.
type line struct {
	*world
	whole, quants string
}

func newLine(t *testing.T) *line {
	w := newWorld(t)
	whole, quants := family(t, "one")
	return &line{w, whole, quants}
}

// set makes a quantisation another one.
func (l *line) set(name string, ftype uint32, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.quants, name), []byte(ggufFile(ftype, text)), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// push makes the next version of main, with a release, of files in the directories.
func (l *line) push(release string, c hub.Committing, paths ...string) *hub.PushResult {
	l.t.Helper()
	c.Branch = cmp.Or(c.Branch, "main")
	for i, p := range paths {
		if paths[i] = filepath.Join(l.quants, p); p == "" {
			paths[i] = l.whole
		}
	}
	res, err := l.PushVariants(l.t.Context(), formsOf(l.t, paths...), l.ref("org/m:"+release), hub.PushOptions{Committing: c})
	if err != nil {
		l.t.Fatal(err)
	}
	return res
}

// subjects are the messages in the history of a version.
func (l *line) subjects(reference string) []string {
	l.t.Helper()
	res, err := l.Log(l.t.Context(), l.ref("org/m:"+reference), hub.LogOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	if len(res.Gaps) > 0 {
		l.t.Errorf("%s: gaps %v", reference, res.Gaps)
	}
	var out []string
	for _, e := range res.Entries {
		out = append(out, e.Message)
	}
	return out
}

func message(text string) hub.Committing { return hub.Committing{Message: text} }

// Each variant has a history of its own, beside that of the versions: through
// versions that leave it as it is, bring it, change it and drop it.
func TestVariantHistory(t *testing.T) {
	l := newLine(t)
	v1 := l.push("v1", message("one"), "", "m-Q4_K_M.gguf", "m-Q8_0.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "two")
	l.set("m-Q6_K.gguf", 18, "two")
	v2 := l.push("v2", message("two"), "", "m-Q4_K_M.gguf", "m-Q6_K.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "three")
	v3 := l.push("v3", message("three"), "", "m-Q4_K_M.gguf", "m-Q6_K.gguf")

	for name, want := range map[string][]string{
		"v3":             {"three", "two", "one"},
		"v3-q4_k_m":      {"three", "two", "one"},
		"v3#q4_k_m":      {"three", "two", "one"},
		"main-q4_k_m~1":  {"two", "one"},
		"main~1#q4_k_m":  {"two", "one"},
		"v3-q6_k":        {"two"}, // came in v2, and is the same in v3
		"v3-safetensors": {"one"}, // never changed
		"main-q8_0":      {"one"}, // dropped
		"v1#q8_0":        {"one"},
	} {
		if diff := gocmp.Diff(want, l.subjects(name)); diff != "" {
			t.Errorf("log %s: %s", name, diff)
		}
	}
	if v1.Variants[2].Digest != v3.Variants[2].Digest || v2.Variants[1].Digest != v3.Variants[1].Digest {
		t.Error("a variant that did not change has another digest")
	}
	shown, err := l.Show(t.Context(), l.ref("org/m:v3#q4_k_m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(shown.Changes) != 1 || shown.Changes[0].Parent != v2.Variants[0].Digest || !slices.Equal(shown.Changes[0].Changed, []string{"m-Q4_K_M.gguf"}) {
		t.Errorf("show v3#q4_k_m: %+v", shown)
	}
	for _, from := range []string{"v2-q4_k_m", "main-q4_k_m~1", "v2#q4_k_m", "v3~1#q4_k_m"} {
		d, err := l.Diff(t.Context(), hub.DiffSide{Reference: l.ref("org/m:" + from)}, hub.DiffSide{Reference: l.ref("org/m:v3#q4_k_m")}, hub.DiffOptions{})
		if err != nil || !d.Different || d.Variants != nil || d.FromDigest != v2.Variants[0].Digest {
			t.Errorf("diff with %s: %+v, %v", from, d, err)
		}
	}
	found, err := l.Lineage(t.Context(), l.ref("org/m:v3#q4_k_m"), hub.LineageOptions{})
	if err != nil || found.Nodes[0].Digest != v3.Variants[0].Digest || !strings.HasSuffix(found.Nodes[0].Reference, "org/m:v3#q4_k_m") {
		t.Errorf("lineage: %+v, %v", found, err)
	}
	if plan := l.keeps("q4_k_m", v1, v2, v3); len(plan.Unneeded) > 0 {
		t.Errorf("gc plan offers %+v", plan.Unneeded)
	}
}

// keeps checks that garbage collection leaves a variant of versions alone.
func (l *line) keeps(name string, versions ...*hub.PushResult) *hub.GCResult {
	l.t.Helper()
	plan, err := l.GC(l.t.Context(), l.ref("org/m"), hub.GCOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, v := range versions {
		d := v.Variants[slices.Index(names(v), name)].Digest
		if !slices.ContainsFunc(plan.Kept, func(k hub.GCKept) bool { return k.Digest == d }) {
			l.t.Errorf("gc plan does not keep %s %s", name, d)
		}
	}
	return plan
}

// What no version needs any more is kept as the last versions of a variant that has a
// tag, though the versions that it was part of are not.
func TestVariantHistoryKept(t *testing.T) {
	l := newLine(t)
	v1 := l.push("main", message("one"), "", "m-Q4_K_M.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "two")
	v2 := l.push("main", message("two"), "", "m-Q4_K_M.gguf")
	if err := l.repo("org/m").Untag(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	l.keeps("q4_k_m", v1, v2)
}

// The same again is no new version, of the whole or of a variant, whatever is said of
// it; and so is the same as it was before variants had histories.
func TestVariantHistoryUpToDate(t *testing.T) {
	l := newLine(t)
	l.push("main", message("one"), "", "m-Q4_K_M.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "two")
	second := l.push("main", message("two"), "", "m-Q4_K_M.gguf")
	l.srv.Reset()
	for _, c := range []hub.Committing{message("again"), {}, {Amend: true}} {
		if again := l.push("main", c, "", "m-Q4_K_M.gguf"); again.Digest != second.Digest || again.Created {
			t.Errorf("%+v: %+v, want %s", c, again, second.Digest)
		}
	}
	if writes := l.writes(); len(writes) > 0 {
		t.Errorf("wrote %v", writes)
	}
}

// A version that is amended has its variants in the place of the ones that they were,
// but for those that did not change in it.
func TestVariantHistoryAmend(t *testing.T) {
	l := newLine(t)
	v1 := l.push("main", message("one"), "", "m-Q4_K_M.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "two")
	second := l.push("main", message("two"), "", "m-Q4_K_M.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "better")
	amended := l.push("main", hub.Committing{Amend: true, Message: "two, better"}, "", "m-Q4_K_M.gguf")
	if diff := gocmp.Diff([]string{"two, better", "one"}, l.subjects("main-q4_k_m")); diff != "" {
		t.Error(diff)
	}
	if amended.Variants[1].Digest != v1.Variants[1].Digest {
		t.Error("amending a version changed a variant that it had not changed")
	}
	if got := l.said("org/m", "main-q4_k_m").ChangeID; got != hub.Revision(digest.Digest(second.Variants[0].Digest)) {
		t.Errorf("change id %s, want that of %s", got, second.Variants[0].Digest)
	}
	worded := l.push("main", hub.Committing{Amend: true, Message: "worded"}, "", "m-Q4_K_M.gguf")
	if diff := gocmp.Diff([]string{"worded", "one"}, l.subjects("main#q4_k_m")); diff != "" || worded.Variants[1].Digest != v1.Variants[1].Digest {
		t.Error(diff)
	}
}

// Who begins a new history, or goes on from other versions, does so for the variants.
func TestVariantHistoryParents(t *testing.T) {
	l := newLine(t)
	l.push("v1", message("one"), "", "m-Q4_K_M.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "two")
	l.push("v2", message("two"), "", "m-Q4_K_M.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "three")
	l.push("v3", hub.Committing{Branch: "side", Message: "three", Parents: []string{"v1"}}, "", "m-Q4_K_M.gguf")
	if diff := gocmp.Diff([]string{"three", "one"}, l.subjects("v3-q4_k_m")); diff != "" {
		t.Error(diff)
	}
	l.set("m-Q4_K_M.gguf", ftypeQ4, "four")
	l.push("v4", hub.Committing{Branch: "side", Message: "four", Parents: []string{"v3", "v2"}}, "", "m-Q4_K_M.gguf")
	if got := l.subjects("v4-q4_k_m"); len(got) != 4 || got[0] != "four" || got[3] != "one" {
		t.Errorf("of two parents: %v", got)
	}
	l.push("v5", hub.Committing{Branch: "new", Message: "five", Parents: []string{hub.NoParent}}, "", "m-Q4_K_M.gguf")
	for _, name := range []string{"v5-q4_k_m", "v5-safetensors"} {
		if diff := gocmp.Diff([]string{"five"}, l.subjects(name)); diff != "" {
			t.Error(diff)
		}
	}
}

// A version without variants is the one that its files are: one that follows it with
// more goes on from it, under the name that is given or that the files tell.
func TestVariantHistoryOfOne(t *testing.T) {
	l := newLine(t)
	plain, err := l.Push(t.Context(), l.whole, l.ref("org/m:main"), hub.PushOptions{Committing: message("one")})
	if err != nil {
		t.Fatal(err)
	}
	two := l.push("main", message("two"), "", "m-Q4_K_M.gguf")
	if two.Variants[1].Digest != plain.Digest {
		t.Errorf("the same files are %s, were %s", two.Variants[1].Digest, plain.Digest)
	}
	name := filepath.Join(l.whole, "model.safetensors")
	raw := testmodel.SafetensorsFile([]testmodel.Tensor{{Name: "w", DType: "BF16", Shape: []int64{2, 2}, Data: []byte("87654321")}}, nil)
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	l.push("main", message("three"), "", "m-Q4_K_M.gguf")
	if diff := gocmp.Diff([]string{"three", "one"}, l.subjects("main-safetensors")); diff != "" {
		t.Error(diff)
	}
}

// The next version of a variant is pulled over the one before by what differs.
func TestVariantHistoryDelta(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	out := filepath.Join(t.TempDir(), "m")
	roll := func(v version, message string) *hub.PullResult {
		t.Helper()
		root := v.write(t)
		if err := os.WriteFile(filepath.Join(root, "m-Q4_K_M.gguf"), []byte(ggufFile(ftypeQ4, message)), 0o644); err != nil {
			t.Fatal(err)
		}
		forms := formsOf(t, filepath.Join(root, "model.safetensors"), filepath.Join(root, "m-Q4_K_M.gguf"))
		if _, err := w.PushVariants(t.Context(), forms, w.ref("org/m:main"), hub.PushOptions{Committing: hub.Committing{Message: message}}); err != nil {
			t.Fatal(err)
		}
		res, _ := w.fetch("org/m:main#safetensors", out, hub.PullOptions{NoStore: true})
		return res
	}
	c := changes()["q and v"]
	old := testmodel.Transformer(1, 1)
	roll(single(old), "one")
	v := c.to(old)
	res := roll(v, "two")
	if most := c.changed*11/10 + c.places*chunk.Grid + 64<<10; res.FetchedBytes > most {
		t.Errorf("fetched %d of %d bytes, want at most %d", res.FetchedBytes, res.Size, most)
	}
	same(t, out, v)
	if n := len(w.parents("org/m", "main-safetensors")); n != 1 {
		t.Errorf("%d parents", n)
	}
}

// The tags of variants follow that of their version wherever it goes: what was rolled
// back from is not pulled by them. None are made that were not there.
func TestVariantTagsFollow(t *testing.T) {
	l := newLine(t)
	v1 := l.push("v1", message("one"), "", "m-Q4_K_M.gguf")
	l.set("m-Q4_K_M.gguf", ftypeQ4, "two")
	v2 := l.push("v2", message("two"), "m-Q4_K_M.gguf", "m-Q8_0.gguf")
	for _, name := range []string{"prod-q4_k_m", "prod-q8_0"} {
		l.retag("v2"+strings.TrimPrefix(name, "prod"), name)
	}
	leads := func(tag string, want *hub.PushResult) {
		t.Helper()
		desc, err := l.repo("org/m").Resolve(t.Context(), tag)
		if want == nil && errors.Is(err, errdef.ErrNotFound) {
			return
		}
		if err != nil || want == nil || desc.Digest.String() != want.Variants[0].Digest {
			t.Errorf("%s leads to %s, %v", tag, desc.Digest, err)
		}
	}
	l.retag("v2", "prod")
	l.retag("v1", "prod")
	leads("prod-q4_k_m", v1)
	leads("prod-safetensors", nil)
	if warned := l.warned(); !strings.Contains(warned, "prod-q8_0: its variant is not in this version") {
		t.Errorf("warnings %q", warned)
	}
	if _, err := l.Revert(t.Context(), l.ref("org/m:v1"), hub.RecommitOptions{Branch: "main"}); err != nil {
		t.Fatal(err)
	}
	leads("main-q4_k_m", v1)
	leads("v2-q4_k_m", v2)
	if diff := gocmp.Diff([]string{"one"}, l.subjects("main-q4_k_m")); diff != "" {
		t.Error(diff)
	}
}

// retag makes a tag lead to another version.
func (l *line) retag(from, tag string) {
	l.t.Helper()
	if _, err := l.SetTags(l.t.Context(), l.ref("org/m:"+from), []string{tag}, hub.TagOptions{Move: true}); err != nil {
		l.t.Fatal(err)
	}
}
