package shard_test

import (
	"bytes"
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

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/gguf"
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
