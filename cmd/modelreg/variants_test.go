package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/variant"
)

// writeGGUF writes a model as a GGUF file of so many bytes of weights: gguf FILE
// FILETYPE BYTES, with the number that GGUF has for a quantisation.
func writeGGUF(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: gguf FILE FILETYPE BYTES")
	}
	ftype, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	size, err := strconv.ParseInt(args[2], 10, 32)
	ts.Check(err)
	raw := testmodel.GGUFFile(testmodel.GGUFModel{
		KV: []testmodel.KV{
			{Key: "general.architecture", Value: "llama"},
			{Key: "general.file_type", Value: uint32(ftype)},
			{Key: "llama.context_length", Value: uint32(2048)},
		},
		Tensors: []testmodel.GGUFTensor{{Name: args[0], Dims: []uint64{uint64(size / 4)}, Data: make([]byte, size)}},
	})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o644))
}

func TestReadDevices(t *testing.T) {
	tests := map[string][]variant.Device{
		"24564, 8.9\n24564, 8.9\n": {{Kind: "cuda", Version: "8.9", Memory: 24564 << 20}, {Kind: "cuda", Version: "8.9", Memory: 24564 << 20}},
		"[N/A], 12.1\n":            nil, // memory that is the machine's
		"81559\n":                  {{Kind: "cuda", Memory: 81559 << 20}},
		"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n": nil,
		"": nil,
	}
	for text, want := range tests {
		if diff := cmp.Diff(want, readDevices(strings.NewReader(text))); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	if got := readDevices(strings.NewReader(strings.Repeat("1, 1\n", 10_000))); len(got) != maxDevices {
		t.Errorf("%d devices", len(got))
	}
}

// A driver that hangs, or writes without end, costs seconds and no more.
func TestMachine(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for script, want := range map[string]int{
		"#!/bin/sh\necho '24564, 8.9'\n": 1,
		"#!/bin/sh\nyes '1024, 7.5'\n":   maxDevices,
		"#!/bin/sh\nexit 9\n":            0,
	} {
		if err := os.WriteFile(dir+"/nvidia-smi", []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		m := machine(t.Context())
		n := 0
		for _, d := range m.Devices {
			if d.Kind == "cuda" {
				n++
			}
		}
		if n != want || m.Memory < 0 {
			t.Errorf("%q: %d devices, %d bytes; want %d devices", script, n, m.Memory, want)
		}
	}
}

func TestSplitVariant(t *testing.T) {
	for arg, want := range map[string][2]string{
		"q4=./m.gguf": {"q4", "./m.gguf"}, "./m.gguf": {"", "./m.gguf"}, "./a=b/m.gguf": {"", "./a=b/m.gguf"}, "q4=": {"", "q4="}, "Q4=x": {"", "Q4=x"},
	} {
		name, path := splitVariant(arg)
		if name != want[0] || path != want[1] {
			t.Errorf("%s is %q, %q", arg, name, path)
		}
	}
}
