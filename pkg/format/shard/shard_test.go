package shard_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/gguf"
	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/safetensors"
	"github.com/modelreg/modelreg/pkg/format/shard"
)

type opened struct {
	*bytes.Reader
	closed *int
}

func (o opened) Close() error { *o.closed--; return nil }

// files makes files of what is in a model. Those that are left open are an
// error at the end of the test.
func files(t testing.TB, model map[string][]byte) []shard.File {
	t.Helper()
	open := new(int)
	t.Cleanup(func() {
		if *open != 0 {
			t.Errorf("%d files were not closed", *open)
		}
	})
	var list []shard.File
	for _, name := range slices.Sorted(maps.Keys(model)) {
		list = append(list, shard.File{Path: name, Size: int64(len(model[name])), Open: func(context.Context) (shard.ReaderAtCloser, error) {
			*open++
			return opened{bytes.NewReader(model[name]), open}, nil
		}})
	}
	return list
}

// apply returns the model after a plan.
func apply(t testing.TB, model map[string][]byte, sets []shard.Set) map[string][]byte {
	t.Helper()
	out := maps.Clone(model)
	for _, s := range sets {
		for _, name := range s.Replaced {
			delete(out, name)
		}
	}
	for _, s := range sets {
		for _, o := range s.Outputs {
			out[o.Path] = content(t, &o)
		}
	}
	return out
}

func content(t testing.TB, o *shard.Output) []byte {
	t.Helper()
	r, err := o.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, o.Size+1))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != o.Size {
		t.Fatalf("%s has %d bytes, and says %d", o.Path, len(b), o.Size)
	}
	return b
}

// tensors returns what a loader sees of the weights of a model: type, shape and
// bytes of each tensor.
func tensors(t testing.TB, model map[string][]byte) map[string]string {
	t.Helper()
	all := make(map[string]string)
	put := func(name, dtype string, shape []int64, data []byte) {
		if _, ok := all[name]; ok {
			t.Errorf("tensor %q is there twice", name)
		}
		all[name] = fmt.Sprintf("%s %v %x", dtype, shape, data)
	}
	for name, b := range model {
		switch path.Ext(name) {
		case ".safetensors":
			f, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if strings.Contains(name, "-of-") && f.DataOffset%8 != 0 {
				t.Errorf("%s: data begins at %d, no multiple of 8", name, f.DataOffset)
			}
			for _, x := range f.Tensors {
				put(x.Name, x.DType, x.Shape, b[x.Offset:x.Offset+x.Bytes])
			}
		case ".gguf":
			f, err := gguf.Read(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var pos int64
			for _, x := range f.Tensors {
				if strings.Contains(name, "-of-") && x.Offset%f.Alignment != 0 {
					t.Errorf("%s: %q is at %d, not aligned to %d", name, x.Name, x.Offset, f.Alignment)
				}
				if x.Bytes < 0 {
					continue
				}
				pos = f.DataOffset + x.Offset
				put(x.Name, x.Type.String(), x.Dims, b[pos:pos+x.Bytes])
			}
		}
	}
	return all
}

// weights makes n blocks of three tensors between an embedding and a head.
func weights(blocks, size int) []testmodel.Tensor {
	r := rand.New(rand.NewPCG(1, 2))
	make1 := func(name string, n int) testmodel.Tensor {
		data := make([]byte, 2*n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		return testmodel.Tensor{Name: name, DType: "BF16", Shape: []int64{int64(n)}, Data: data}
	}
	all := []testmodel.Tensor{make1("model.embed_tokens.weight", 4*size)}
	for i := range blocks {
		for _, name := range []string{"mlp.up", "self_attn.q", "norm"} {
			all = append(all, make1(fmt.Sprintf("model.layers.%d.%s.weight", i, name), size))
		}
	}
	return append(all, make1("model.norm.weight", 3), make1("lm_head.weight", 4*size))
}

func plan(t testing.TB, model map[string][]byte, limit int64) []shard.Set {
	t.Helper()
	sets, err := shard.Plan(t.Context(), files(t, model), limit)
	if err != nil {
		t.Fatal(err)
	}
	return sets
}

func checkLimit(t testing.TB, model map[string][]byte, limit int64) {
	t.Helper()
	for name, b := range model {
		if int64(len(b)) > limit && !strings.HasSuffix(name, ".json") {
			t.Errorf("%s has %d bytes, more than %d", name, len(b), limit)
		}
	}
}

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

func ggufModel(m testmodel.GGUFModel) map[string][]byte {
	for _, w := range weights(6, 1000) {
		m.Tensors = append(m.Tensors, testmodel.GGUFTensor{Name: w.Name, Type: 30, Dims: []uint64{uint64(len(w.Data) / 2)}, Data: w.Data})
	}
	m.KV = append(testmodel.TinyGGUF().KV, m.KV...)
	return map[string][]byte{"tiny-BF16.gguf": testmodel.GGUFFile(m)}
}

func TestGGUF(t *testing.T) {
	tests := map[string]testmodel.GGUFModel{
		"plain":      {},
		"version 2":  {Version: 2},
		"big endian": {BigEndian: true},
		"aligned":    {Alignment: 64, KV: []testmodel.KV{{Key: "general.alignment", Value: uint32(64)}}},
		"metadata":   {KV: []testmodel.KV{{Key: "vocabulary", Value: strings.Repeat("a", 10_000)}}},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			model := ggufModel(m)
			const limit = 13_000
			out := apply(t, model, plan(t, model, limit))
			checkLimit(t, out, limit)
			if diff := gocmp.Diff(tensors(t, model), tensors(t, out)); diff != "" {
				t.Errorf("tensors (-want +got):\n%s", diff)
			}
			checkSplits(t, out, m)
			again := apply(t, out, plan(t, out, 9_000))
			direct := apply(t, model, plan(t, model, 9_000))
			if !maps.EqualFunc(direct, again, bytes.Equal) {
				t.Error("cutting in two steps gives other shards than cutting in one")
			}
		})
	}
}

// checkSplits checks what llama.cpp's loader looks at.
func checkSplits(t *testing.T, model map[string][]byte, m testmodel.GGUFModel) {
	t.Helper()
	names := slices.Sorted(maps.Keys(model))
	for i, name := range names {
		if want := fmt.Sprintf("tiny-BF16-%05d-of-%05d.gguf", i+1, len(names)); name != want {
			t.Errorf("shard %d is named %s, want %s", i, name, want)
		}
		f, err := gguf.Read(bytes.NewReader(model[name]), int64(len(model[name])))
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]any{"split.no": uint16(i), "split.count": uint16(len(names)), "split.tensors.count": int32(21)} {
			if kv, _ := f.Lookup(key); kv.Value != want {
				t.Errorf("%s: %s is %v (%T), want %v", name, key, kv.Value, kv.Value, want)
			}
		}
		if (f.Architecture() != "") != (i == 0) {
			t.Errorf("%s: architecture %q", name, f.Architecture())
		}
		if f.Version != cmp.Or(m.Version, 3) || f.BigEndian != m.BigEndian || f.Alignment != int64(cmp.Or(m.Alignment, 32)) {
			t.Errorf("%s: version %d, big endian %v, alignment %d", name, f.Version, f.BigEndian, f.Alignment)
		}
		if i > 0 && len(f.Tensors) == 0 {
			t.Errorf("%s has no tensors", name)
		}
	}
}

func TestStays(t *testing.T) {
	big := testmodel.SafetensorsFile(weights(8, 1000), nil)
	tests := map[string]map[string][]byte{
		"small":     {"model.safetensors": testmodel.SafetensorsFile(weights(1, 10), nil)},
		"projector": {"mmproj-model-f16.gguf": ggufModel(testmodel.GGUFModel{})["tiny-BF16.gguf"]},
		"other":     {"model.bin": big, "weights.pt": big},
		"index alone": {
			"model.safetensors.index.json": []byte(`{"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors"}}`),
		},
	}
	for name, model := range tests {
		t.Run(name, func(t *testing.T) {
			if sets := plan(t, model, 20_000); len(sets) != 0 {
				t.Errorf("%v are replaced", sets[0].Replaced)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	big := testmodel.SafetensorsFile(weights(8, 1000), nil)
	shards := func() map[string][]byte {
		model := map[string][]byte{"model.safetensors": big}
		return apply(t, model, plan(t, model, 40_000))
	}
	lacking := shards()
	delete(lacking, "model-00002-of-00002.safetensors")
	unindexed := maps.Clone(lacking)
	delete(unindexed, "model.safetensors.index.json")
	twice := shards()
	twice["model-00002-of-00002.safetensors"] = twice["model-00001-of-00002.safetensors"]
	both := shards()
	both["model.safetensors"] = big
	badIndex := shards()
	badIndex["model.safetensors.index.json"] = []byte(`[]`)
	tests := map[string]struct {
		model map[string][]byte
		want  error
	}{
		"a shard is missing":        {lacking, shard.ErrConflict},
		"one of the numbers is not": {unindexed, shard.ErrConflict},
		"a tensor is there twice":   {twice, shard.ErrConflict},
		"two sets of one name":      {both, shard.ErrConflict},
		"index is no index":         {badIndex, malformed.ErrMalformed},
		"no safetensors":            {map[string][]byte{"model.safetensors": make([]byte, 30_000)}, malformed.ErrMalformed},
		"no GGUF":                   {map[string][]byte{"model.gguf": make([]byte, 30_000)}, malformed.ErrMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := shard.Plan(t.Context(), files(t, test.model), 20_000); !errors.Is(err, test.want) {
				t.Errorf("Plan error = %v, want %v", err, test.want)
			}
		})
	}
	if _, err := shard.Plan(t.Context(), nil, shard.MinLimit-1); err == nil {
		t.Error("a limit below the smallest is taken")
	}
}

func TestPlanHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	model := map[string][]byte{"model.safetensors": testmodel.SafetensorsFile(weights(8, 1000), nil)}
	if _, err := shard.Plan(ctx, files(t, model), 20_000); !errors.Is(err, context.Canceled) {
		t.Errorf("Plan error = %v, want %v", err, context.Canceled)
	}
}

func TestReadAt(t *testing.T) {
	model := map[string][]byte{"model.safetensors": testmodel.SafetensorsFile(weights(8, 1000), nil)}
	o := plan(t, model, 20_000)[0].Outputs[1]
	whole := content(t, &o)
	r, err := o.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		off := rnd.IntN(len(whole) + 10)
		p := make([]byte, rnd.IntN(5000))
		n, err := r.ReadAt(p, int64(off))
		want := whole[min(off, len(whole)):min(off+len(p), len(whole))]
		if !bytes.Equal(p[:n], want) {
			t.Fatalf("ReadAt(%d bytes, %d) returns other bytes", len(p), off)
		}
		if (err != nil) != (n < len(p)) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadAt(make([]byte, len(whole)), 0); err == nil {
		t.Error("a read after Close succeeds")
	}
}

// What is cut and reads must have the same tensors as before.
func FuzzPlan(f *testing.F) {
	f.Add(testmodel.SafetensorsFile(weights(3, 100), map[string]string{"format": "pt"}), uint16(700), false)
	f.Add(ggufModel(testmodel.GGUFModel{})["tiny-BF16.gguf"][:4000], uint16(0), true)
	f.Add(testmodel.GGUFFile(testmodel.TinyGGUF()), uint16(0), true)
	f.Fuzz(func(t *testing.T, data []byte, more uint16, isGGUF bool) {
		name := "m.safetensors"
		if isGGUF {
			name = "m.gguf"
		}
		model := map[string][]byte{name: data, "pad.safetensors.txt": nil}
		limit := int64(shard.MinLimit) + int64(more)
		sets, err := shard.Plan(t.Context(), files(t, model), limit)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) && !errors.Is(err, shard.ErrConflict) {
				t.Errorf("Plan error = %v", err)
			}
			return
		}
		out := apply(t, model, sets)
		if len(sets) == 0 {
			return
		}
		if diff := gocmp.Diff(tensors(t, model), tensors(t, out)); diff != "" {
			t.Errorf("tensors (-want +got):\n%s", diff)
		}
	})
}
