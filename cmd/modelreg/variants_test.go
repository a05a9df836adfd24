package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
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
		"[N/A], 12.1\n":            {{Kind: "cuda", Version: "12.1"}}, // memory that is the machine's
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
		m, err := machine(t.Context())
		if err != nil {
			t.Error(err)
		}
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

// A driver that hangs, so that its program can not even be killed, is told of and not
// waited for.
func TestMachineHangs(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	// What it starts has its output, and is not killed with it.
	if err := os.WriteFile(dir+"/nvidia-smi", []byte("#!/bin/sh\nsleep 20\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if m, err := machine(ctx); !errors.Is(err, context.DeadlineExceeded) || m.Memory <= 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
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

// TestJSONKeysOfVariants is [TestJSONKeys] for versions that have several.
func TestJSONKeysOfVariants(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	model := filepath.Join(u.home, "model")
	testmodel.Write(t, model)
	q8 := filepath.Join(u.home, "gguf")
	if err := os.Mkdir(q8, 0o755); err != nil {
		t.Fatal(err)
	}
	testmodel.GGUF(t, q8)
	ref := reg.Host + "/acme/tiny:v1"
	one := []string{
		"name", "format", "quant", "dtype", "bits", "digest", "size", "minMem", "device", "runtimes", "chosen", "fits", "reason",
	}
	chosen := slices.Concat(under("variant", one), under("variant.considered[]", one), []string{"variant", "variant.index", "variant.considered"})
	inspected := under("model", []string{
		"architecture", "parameters", "dtypes", "formats", "contextLength", "quantization", "library", "task", "customCode",
	})
	steps := []struct {
		args []string
		want []string
	}{
		{[]string{"push", model, ref, "--no-scan", "--variant", filepath.Join(q8, "model-Q8_0.gguf")}, slices.Concat(
			under("variants[]", append(one, "reference", "kept")), []string{
				"reference", "digest", "revision", "tag", "created", "files", "size", "uploadedBytes", "mountedBytes", "skippedBytes",
				"signatures", "attestations", "variants", "notes",
			},
		)},
		{[]string{"pull", ref + "#q8_0", filepath.Join(u.home, "out")}, append(chosen,
			"reference", "digest", "directory", "files", "size", "fetchedBytes", "reusedBytes", "skippedFiles", "verified",
		)},
		{[]string{"resolve", ref, "--for", "llama.cpp"}, append(chosen,
			"reference", "repository", "tag", "digest", "mediaType", "artifactType", "size",
		)},
		{[]string{"inspect", ref}, slices.Concat(inspected, under("variants[]", one), []string{
			"reference", "digest", "artifactType", "format", "size", "files", "model", "card", "annotations", "parents", "signatures",
			"referrers", "variants", "inputs",
		}, under("inputs[]", []string{"relation", "inferred", "reference", "digest", "said", "pinned"}))},
		{[]string{"ls", reg.Host + "/acme/tiny"}, []string{"[].tag", "[].digest", "[].size", "[].created", "[].variants"}},
	}
	for _, s := range steps {
		got := keys(t, u.ok(append(s.args, "--format", "json")...))
		want := slices.Sorted(slices.Values(s.want))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", s.args[0], diff)
		}
		for _, key := range want {
			if name := key[strings.LastIndex(key, ".")+1:]; !documented(t, name) {
				t.Errorf("%s: docs/json.md says nothing of %s", s.args[0], key)
			}
		}
	}
}
