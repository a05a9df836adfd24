package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A tensor is an array of random bytes. Those of one name and content are the
// same wherever they are written, and a longer one begins like a shorter one, so
// that rows can be added to it.
type tensor struct {
	name    string
	content string // what makes other bytes for the same name
	rows    int64
	cols    int64 // of two bytes
}

func (t tensor) bytes() int64 { return t.rows * t.cols * 2 }

// write writes the bytes of the tensor.
func (t tensor) write(w io.Writer) error {
	seed := fnv.New64a()
	fmt.Fprintf(seed, "%s %s", t.name, t.content)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed.Sum64())
	_, err := io.CopyN(w, rand.NewChaCha8(key), t.bytes())
	return err
}

// A weights is one safetensors file.
type weights struct {
	name     string
	metadata string // of the header
	tensors  []tensor
}

func (f weights) header() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `{"__metadata__":{"format":"pt","note":%q}`, f.metadata)
	at := int64(0)
	for _, t := range f.tensors {
		fmt.Fprintf(&b, `,%q:{"dtype":"BF16","shape":[%d,%d],"data_offsets":[%d,%d]}`, t.name, t.rows, t.cols, at, at+t.bytes())
		at += t.bytes()
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(b.Len())), b.String()...)
}

func (f weights) size() int64 {
	n := int64(len(f.header()))
	for _, t := range f.tensors {
		n += t.bytes()
	}
	return n
}

func (f weights) write(dir string) (err error) {
	file, err := os.Create(filepath.Join(dir, f.name))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := file.Close(); err == nil {
			err = cerr
		}
	}()
	w := bufio.NewWriterSize(file, 1<<20)
	if _, err := w.Write(f.header()); err != nil {
		return err
	}
	for _, t := range f.tensors {
		if err := t.write(w); err != nil {
			return err
		}
	}
	return w.Flush()
}

// transformer returns the tensors of a language model of about size bytes. Small
// models are narrow, so that all have many layers.
func transformer(size int64) []tensor {
	hidden := int64(2048)
	for hidden > 256 && size < 40*hidden*hidden*24 {
		hidden /= 2
	}
	layer := 12 * hidden * hidden * 2 // bytes, without norms
	vocab := 16 * hidden
	layers := max((size-2*vocab*hidden*2)/layer, 1)
	all := []tensor{{"model.embed_tokens.weight", "", vocab, hidden}}
	for i := range layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		all = append(all, tensor{p + "input_layernorm.weight", "", 1, hidden})
		for _, name := range []string{"k", "o", "q", "v"} {
			all = append(all, tensor{p + "self_attn." + name + "_proj.weight", "", hidden, hidden})
		}
		all = append(all,
			tensor{p + "mlp.up_proj.weight", "", 4 * hidden, hidden},
			tensor{p + "mlp.down_proj.weight", "", hidden, 4 * hidden},
			tensor{p + "post_attention_layernorm.weight", "", 1, hidden})
	}
	return append(all, tensor{"model.norm.weight", "", 1, hidden}, tensor{"lm_head.weight", "", vocab, hidden})
}

// sharded cuts tensors into files of about the same size.
func sharded(tensors []tensor, n int) []weights {
	total := int64(0)
	for _, t := range tensors {
		total += t.bytes()
	}
	files := make([]weights, n)
	for i := range files {
		files[i].name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n)
	}
	at := int64(0)
	for _, t := range tensors {
		i := min(int(at*int64(n)/total), n-1)
		files[i].tensors = append(files[i].tensors, t)
		at += t.bytes()
	}
	return slices.DeleteFunc(files, func(f weights) bool { return len(f.tensors) == 0 })
}

func single(tensors []tensor) []weights {
	return []weights{{name: "model.safetensors", tensors: tensors}}
}

// A change is a version made of another.
type change struct {
	name string
	old  []weights
	new  []weights
}

// changes are the versions whose pulls are measured: what people do to models
// without training all of them.
func changes(size int64, shards int) []change {
	base := transformer(size)
	tuned := slices.Clone(base)
	for i, t := range tuned {
		if strings.HasSuffix(t.name, ".q_proj.weight") || strings.HasSuffix(t.name, ".v_proj.weight") {
			tuned[i].content = "tuned"
		}
	}
	grown := slices.Clone(base)
	for i, t := range grown {
		if t.name == "model.embed_tokens.weight" || t.name == "lm_head.weight" {
			grown[i].rows += 64
		}
	}
	moved := slices.Clone(base)
	slices.SortFunc(moved, func(a, b tensor) int { return strings.Compare(a.name, b.name) })
	edited := single(base)
	edited[0].metadata = "another licence, and a longer note"
	renamed := single(moved)
	renamed[0].name = "weights.safetensors"
	return []change{
		{"q-v", single(base), single(tuned)},
		{"header", single(base), edited},
		{"reshard", single(base), sharded(base, shards)},
		{"reorder", single(base), renamed},
		{"resize", single(base), single(grown)},
	}
}

// changed returns how many bytes of the new files are in none of the old: headers
// and tensors, or the rows that were added to one.
func (c change) changed() int64 {
	type key struct{ name, content string }
	had := make(map[key]int64)
	headers := make(map[string]bool)
	for _, f := range c.old {
		headers[string(f.header())] = true
		for _, t := range f.tensors {
			had[key{t.name, t.content}] = t.bytes()
		}
	}
	n := int64(0)
	for _, f := range c.new {
		if h := f.header(); !headers[string(h)] {
			n += int64(len(h))
		}
		for _, t := range f.tensors {
			n += max(t.bytes()-had[key{t.name, t.content}], 0)
		}
	}
	return n
}
