// Package testmodel writes tiny valid models for tests, one function per
// format, and a complete model directory with [Write].
//
// What it writes is the same on every run, byte for byte, so tests may compare
// digests. The builders of single files ([SafetensorsFile], [GGUFFile],
// [ONNXFile], [NPYFile], [TorchFile]) are there for tests that want files that
// are wrong in one chosen place.
package testmodel

import (
	"os"
	"path/filepath"
	"testing"
)

// A Tensor is an array of numbers to write.
type Tensor struct {
	Name  string
	DType string // as the format to be written spells it
	Shape []int64
	Data  []byte
}

// Card is the README.md of the model that [Write] writes.
const Card = `---
license: apache-2.0
language:
- en
- de
library_name: transformers
pipeline_tag: text-generation
tags:
- tiny
- test
datasets:
- acme/words
base_model: acme/base
---
# Tiny

A model for tests. It says *nothing* of worth.
`

// Config is the config.json of the model that [Write] writes.
const Config = `{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "torch_dtype": "float32",
  "hidden_size": 4,
  "max_position_embeddings": 2048
}
`

// Write writes a complete tiny model below dir and returns the paths of its
// files, sorted, with slashes: a card, configuration, a tokenizer with a chat
// template, weights in safetensors, code in a directory, an empty file, and
// names with a space and with letters beyond ASCII.
func Write(t testing.TB, dir string) []string {
	t.Helper()
	files := map[string][]byte{
		"README.md":             []byte(Card),
		"config.json":           []byte(Config),
		"model.safetensors":     SafetensorsFile(tensors(), map[string]string{"format": "pt"}),
		"sub/a b.txt":           []byte("a name with a space\n"),
		"sub/empty.txt":         nil,
		"sub/train.py":          []byte("print(1)\n"),
		"tokenizer.json":        []byte(`{"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]}}` + "\n"),
		"tokenizer_config.json": []byte(`{"chat_template":"{{ messages }}","eos_token":"</s>"}` + "\n"),
		"übersicht.md":          []byte("# Übersicht\n"),
	}
	for name, b := range files {
		write(t, dir, name, b)
	}
	return []string{
		"README.md", "config.json", "model.safetensors", "sub/a b.txt", "sub/empty.txt",
		"sub/train.py", "tokenizer.json", "tokenizer_config.json", "übersicht.md",
	}
}

// tensors are two, of 16 and 8 elements.
func tensors() []Tensor {
	return []Tensor{
		{Name: "model.embed_tokens.weight", DType: "F32", Shape: []int64{4, 4}, Data: pattern(64)},
		{Name: "lm_head.weight", DType: "F16", Shape: []int64{2, 4}, Data: pattern(16)},
	}
}

// pattern is n bytes that no two neighbours share, so that a shifted read shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func write(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
