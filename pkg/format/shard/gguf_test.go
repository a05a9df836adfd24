package shard_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/gguf"
)

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
