package shard_test

import (
	"bytes"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/safetensors"
)

func TestSafetensors(t *testing.T) {
	meta := map[string]string{"format": "pt", "ü": "\"\n"}
	model := map[string][]byte{
		"model.safetensors": testmodel.SafetensorsFile(weights(8, 1000), meta),
		"config.json":       []byte("{}"),
	}
	const limit = 20_000
	sets := plan(t, model, limit)
	out := apply(t, model, sets)
	names := slices.Sorted(maps.Keys(out))
	want := []string{
		"config.json",
		"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
		"model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
		"model.safetensors.index.json",
	}
	if diff := gocmp.Diff(want, names); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	checkLimit(t, out, limit)
	if diff := gocmp.Diff(tensors(t, model), tensors(t, out)); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
	checkIndex(t, out)
	for _, name := range want[1:5] {
		f, err := safetensors.Read(bytes.NewReader(out[name]), int64(len(out[name])))
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(meta, f.Metadata); diff != "" {
			t.Errorf("metadata of %s (-want +got):\n%s", name, diff)
		}
	}
	if s := sets[0]; s.Tensors != 27 || s.Shards != 4 || s.Larger != 0 {
		t.Errorf("plan counts %d tensors in %d shards, %d larger", s.Tensors, s.Shards, s.Larger)
	}
	again := apply(t, model, plan(t, model, limit))
	if !maps.EqualFunc(out, again, bytes.Equal) {
		t.Error("the second time the shards are others")
	}
}

// checkIndex compares the index with the shards.
func checkIndex(t *testing.T, model map[string][]byte) {
	t.Helper()
	var index struct {
		Metadata  map[string]any    `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(model["model.safetensors.index.json"], &index); err != nil {
		t.Fatal(err)
	}
	want, total := make(map[string]string), int64(0)
	for name, b := range model {
		if path.Ext(name) != ".safetensors" {
			continue
		}
		f, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range f.Tensors {
			want[x.Name] = name
			total += x.Bytes
		}
	}
	if diff := gocmp.Diff(want, index.WeightMap); diff != "" {
		t.Errorf("weight_map (-want +got):\n%s", diff)
	}
	if index.Metadata["total_size"] != float64(total) {
		t.Errorf("total_size is %v, want %d", index.Metadata["total_size"], total)
	}
}

// A shard does not end within a block when the block fits into the next and
// the shard is at least half full.
func TestBlocksStayWhole(t *testing.T) {
	model := map[string][]byte{"model.safetensors": testmodel.SafetensorsFile(weights(8, 1000), nil)}
	out := apply(t, model, plan(t, model, 17_000))
	in := make(map[string]string)
	for name, b := range out {
		if path.Ext(name) != ".safetensors" {
			continue
		}
		f, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range f.Tensors {
			parts := strings.Split(x.Name, ".")
			if parts[1] != "layers" {
				continue
			}
			if was := in[parts[2]]; was != "" && was != name {
				t.Errorf("block %s is in %s and %s", parts[2], was, name)
			}
			in[parts[2]] = name
		}
	}
	if len(in) != 8 {
		t.Errorf("%d blocks, want 8", len(in))
	}
}

func TestAgain(t *testing.T) {
	model := map[string][]byte{"model.safetensors": testmodel.SafetensorsFile(weights(8, 1000), map[string]string{"format": "pt"})}
	large := apply(t, model, plan(t, model, 30_000))
	// transformers writes more into the index than it must.
	large["model.safetensors.index.json"] = bytes.Replace(large["model.safetensors.index.json"], []byte(`"total_size"`), []byte(`"total_parameters": 17, "total_size"`), 1)
	small := apply(t, large, plan(t, large, 9_000))
	checkLimit(t, small, 9_000)
	checkIndex(t, small)
	if diff := gocmp.Diff(tensors(t, model), tensors(t, small)); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
	if !bytes.Contains(small["model.safetensors.index.json"], []byte(`"total_parameters": 17`)) {
		t.Errorf("the index has lost what it said:\n%s", small["model.safetensors.index.json"])
	}
	direct := apply(t, model, plan(t, model, 9_000))
	delete(small, "model.safetensors.index.json")
	delete(direct, "model.safetensors.index.json")
	if !maps.EqualFunc(direct, small, bytes.Equal) {
		t.Error("cutting in two steps gives other shards than cutting in one")
	}
	if sets := plan(t, small, 9_000); len(sets) != 0 {
		t.Errorf("shards that fit are cut again: %v", sets[0].Replaced)
	}
}

func TestLargerTensor(t *testing.T) {
	model := map[string][]byte{"unet/foo.safetensors": testmodel.SafetensorsFile(weights(2, 1000), nil)}
	sets := plan(t, model, 5_000)
	out := apply(t, model, sets)
	if diff := gocmp.Diff(tensors(t, model), tensors(t, out)); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
	if sets[0].Larger != 2 { // embedding and head
		t.Errorf("%d shards are larger than the limit, want 2", sets[0].Larger)
	}
	if out["unet/foo.safetensors.index.json"] == nil {
		t.Errorf("no index among %v", slices.Sorted(maps.Keys(out)))
	}
}
