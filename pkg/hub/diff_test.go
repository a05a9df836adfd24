package hub_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/variant"
)

// shards writes a model of two shards of over 8 MiB, of which the second may
// have another tensor.
func shards(t *testing.T, dir string, change byte) {
	t.Helper()
	for i, names := range [][]string{{"model.layers.0.mlp.up_proj.weight", "model.layers.0.norm.weight"}, {"model.layers.1.mlp.up_proj.weight", "model.layers.1.norm.weight"}} {
		n := 9 << 20
		if i == 0 {
			n = 1 << 20
		}
		big, small := make([]byte, n), make([]byte, 1<<10)
		for j := range big {
			big[j] = byte(j>>12 + i)
		}
		if i == 1 {
			big[5<<20] += change
		}
		data := testmodel.SafetensorsFile([]testmodel.Tensor{
			{Name: names[0], DType: "F32", Shape: []int64{int64(n / 4)}, Data: big},
			{Name: names[1], DType: "F32", Shape: []int64{256}, Data: small},
		}, nil)
		name := []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}[i]
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiff(t *testing.T) {
	w := newWorld(t)
	old, changed := t.TempDir(), t.TempDir()
	shards(t, old, 0)
	shards(t, changed, 1)
	a, b := w.ref("org/m:v1"), w.ref("org/m:v2")
	for dir, r := range map[string]hub.DiffSide{old: {Reference: a}, changed: {Reference: b}} {
		if _, err := w.Push(t.Context(), dir, r.Reference, hub.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	from, to := hub.DiffSide{Reference: a}, hub.DiffSide{Reference: b}
	before := len(w.srv.Requests())
	res, err := w.Diff(t.Context(), from, to, hub.DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ts := res.Tensors
	if !res.Different || ts.Identical != 3 || len(ts.Changed) != 1 || ts.Changed[0].Name != "model.layers.1.mlp.up_proj.weight" || ts.Changed[0].Evidence != "index" || !ts.Verified || ts.ReadBytes != 0 {
		t.Errorf("tensors = %+v", ts)
	}
	// Of each version the manifest and the config, what refers to it and its two
	// tags of signatures; three headers. The chunk indexes are in the store.
	requests := w.srv.Requests()[before:]
	if len(requests) > 15 {
		t.Errorf("%d requests", len(requests))
		for _, r := range requests {
			t.Logf("%s %s", r.Method, r.Path)
		}
	}
	t.Run("directory", func(t *testing.T) {
		res, err := w.Diff(t.Context(), from, hub.DiffSide{Directory: changed}, hub.DiffOptions{Options: diff.Options{Levels: diff.Levels{Tensors: true, Files: true}}})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Tensors.Changed) != 1 || res.Tensors.Identical != 3 || len(res.Files.Changed) != 1 || res.Config != nil || res.Trust != nil {
			t.Errorf("result = %+v, tensors %+v", res.Result, res.Tensors)
		}
		if res, err = w.Diff(t.Context(), to, hub.DiffSide{Directory: changed}, hub.DiffOptions{}); err != nil || res.Different {
			t.Errorf("a directory differs from what was pushed of it: %+v, %v", res, err)
		}
	})
	t.Run("absent", func(t *testing.T) {
		if _, err := w.Diff(t.Context(), from, hub.DiffSide{Reference: w.ref("org/m:none")}, hub.DiffOptions{}); !errors.Is(err, errdef.ErrNotFound) {
			t.Errorf("error = %v", err)
		}
	})
}

// What the card says counts as it is now, and with it what was measured.
func TestDiffCard(t *testing.T) {
	w := newWorld(t)
	for tag, text := range map[string]string{"v1": "0.5", "v2": "0.75"} {
		readme := "---\nlicense: mit\nmodel-index:\n- name: m\n  results:\n  - task: {type: text-generation}\n    dataset: {name: d, type: d}\n    metrics: [{type: accuracy, value: " + text + "}]\n---\n# M\n"
		if _, err := w.Push(t.Context(), dir(t, files{"README.md": readme}), w.ref("org/c:"+tag), hub.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := w.Diff(t.Context(), hub.DiffSide{Reference: w.ref("org/c:v1")}, hub.DiffSide{Reference: w.ref("org/c:v2")}, hub.DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Metrics) != 1 || res.Metrics[0].Verdict != "better" || *res.Metrics[0].Delta != 0.25 {
		t.Errorf("metrics = %+v", res.Metrics)
	}
	if len(res.Card) != 1 || !strings.HasPrefix(res.Card[0].Field, "model-index") {
		t.Errorf("card = %+v", res.Card)
	}
}

// Two indexes are compared by what they call their models.
func TestDiffVariants(t *testing.T) {
	w := newWorld(t)
	w.quants("org/m", "v1", "")
	same := w.push("org/m:v1-q8", "large").Digest
	other := w.push("org/m:v2-q4", "another").Digest
	w.push("org/m:v2-f16", "whole")
	w.putVariants("org/m", "v2", map[string]variant.Variant{
		"v1-q8": {Name: "q8", Format: "gguf"}, "v2-q4": {Name: "q4", Format: "gguf"}, "v2-f16": {Name: "f16", Format: "gguf"},
	})
	from, to := hub.DiffSide{Reference: w.ref("org/m:v1")}, hub.DiffSide{Reference: w.ref("org/m:v2")}
	res, err := w.Diff(t.Context(), from, to, hub.DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v := res.Variants
	if v == nil || !res.Different || !slices.Equal(v.Added, []string{"f16"}) || len(v.Removed) != 0 || !slices.Equal(v.Identical, []string{"q8"}) {
		t.Fatalf("variants = %+v (q8 is %s)", v, same)
	}
	if len(v.Changed) != 1 || v.Changed[0].Variant != "q4" || len(v.Changed[0].Files.Changed) != 1 || !strings.HasSuffix(v.Changed[0].To, other) {
		t.Errorf("changed = %+v", v.Changed)
	}
	t.Run("one of them", func(t *testing.T) {
		res, err := w.Diff(t.Context(), hub.DiffSide{Reference: w.ref("org/m:v1#q4")}, hub.DiffSide{Reference: w.ref("org/m:v2#q4")}, hub.DiffOptions{})
		if err != nil || res.Variants != nil || res.ToDigest != other || len(res.Files.Changed) != 1 {
			t.Errorf("result = %+v, %v", res, err)
		}
	})
	t.Run("one with several", func(t *testing.T) {
		if _, err := w.Diff(t.Context(), hub.DiffSide{Reference: w.ref("org/m:v2-q4")}, to, hub.DiffOptions{}); !errors.Is(err, hub.ErrNoVariant) {
			t.Errorf("error = %v", err)
		}
	})
}
