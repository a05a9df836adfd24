package bom_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/bom"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/lineage"
)

var update = flag.Bool("update", false, "rewrite the expected bills")

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// full is a subject with all that a bill can say.
func full(t *testing.T) bom.Subject {
	t.Helper()
	c, err := card.Parse([]byte(`---
license: MIT OR apache-2.0
language: [en, de]
tags: [support]
co2_eq_emissions: {emissions: 3.5, source: meter}
license_link: https://acme.example/licence
---
# Support

It sorts <letters> & "mails".

## Intended use
For shops.

## Limitations
Not for emergencies.

## Bias
None is known; few have looked.

## Training data
Letters.
`))
	if err != nil {
		t.Fatal(err)
	}
	stderr := 0.01
	return bom.Subject{
		Name: "hub.example/acme/support", Version: "v1", Digest: "sha256:" + hexA,
		Reference: "hub.example/acme/support:v1@sha256:" + hexA, Card: c,
		Facts: bom.Facts{
			Architecture: "LlamaForCausalLM", Quantization: "Q4_K_M", Library: "transformers", Task: "text-classification",
			Parameters: 7_000_000_000, ContextLength: 4096, Formats: []string{"gguf", "safetensors"}, CustomCode: true,
		},
		Files: []bom.File{
			{Path: "README.md", Kind: "doc", Digest: "sha256:" + hexA, Size: 12},
			{Path: "model.safetensors", Kind: "weight", Digest: "sha256:" + hexB, Size: 1 << 40},
		},
		Edges: []lineage.Edge{
			{Relation: lineage.Finetune, Reference: "hub.example/acme/base:v3", Digest: "sha256:" + hexB},
			{Relation: lineage.Dataset, Reference: "hf:datasets/acme/letters@0123456789abcdef0123456789abcdef01234567"},
			{Relation: lineage.Origin, Reference: "hf:acme/support@0123456789abcdef0123456789abcdef01234567"},
		},
		Results: []bom.Measured{
			{
				Result: eval.Result{Metric: eval.Metric{Name: "f1"}, Value: 0.91, Stderr: &stderr, Dataset: eval.Dataset{ID: "acme/letters", Revision: "v2", Split: "test"}},
				Class:  "trusted", Signer: "key " + hexA, Statement: "sha256:" + hexB,
			},
			{Result: eval.Result{Metric: eval.Metric{Name: "accuracy"}, Value: 0.5, Task: "gsm8k"}, Class: "claimed"},
		},
		Created: time.Date(2026, 5, 3, 10, 0, 0, 0, time.UTC), Tool: "1.0.0",
	}
}

// bare is a directory that says nothing.
func bare() bom.Subject {
	return bom.Subject{Name: "model", Files: []bom.File{{Path: "a b/ü.bin", Kind: "weight", Digest: "sha256:" + hexA, Size: 1}}}
}

var formats = []bom.Format{bom.CycloneDX16, bom.CycloneDX17, bom.SPDX3}

// The expected bills were validated against the published schemas, as the slow
// suite does each time with bills of real versions.
func TestGenerate(t *testing.T) {
	for name, s := range map[string]bom.Subject{"full": full(t), "bare": bare()} {
		for _, f := range formats {
			t.Run(name+" "+string(f), func(t *testing.T) {
				got, err := bom.Generate(s, f)
				if err != nil {
					t.Fatal(err)
				}
				again, err := bom.Generate(s, f)
				if err != nil || !bytes.Equal(got, again) {
					t.Errorf("not the same twice: %v", err)
				}
				file := filepath.Join("testdata", name+"."+string(f)+".json")
				if *update {
					if err := os.WriteFile(file, got, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	if _, err := bom.Generate(bare(), "pdf"); !errors.Is(err, bom.ErrFormat) {
		t.Errorf("error %v", err)
	}
}

// Another card makes another bill, with another number, of the same version.
func TestSerialNumbers(t *testing.T) {
	a, b := full(t), full(t)
	var err error
	if b.Card, err = card.Parse([]byte("# Other\n")); err != nil {
		t.Fatal(err)
	}
	for _, f := range []bom.Format{bom.CycloneDX16, bom.SPDX3} {
		x, y := ids(t, a, f), ids(t, b, f)
		if len(x) == 0 || slices.Equal(x, y) {
			t.Errorf("%s: %q and %q", f, x, y)
		}
	}
}

func ids(t *testing.T, s bom.Subject, f bom.Format) []string {
	t.Helper()
	raw, err := bom.Generate(s, f)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Serial string           `json:"serialNumber"`
		Graph  []map[string]any `json:"@graph"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	out := []string{doc.Serial}
	for _, e := range doc.Graph {
		if id, ok := e["spdxId"].(string); ok {
			out = append(out, id)
		}
	}
	return out
}

// Each element that SPDX names is there, and each is there once.
func TestSPDXReferences(t *testing.T) {
	raw, err := bom.Generate(full(t), bom.SPDX3)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Graph []map[string]any `json:"@graph"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, e := range doc.Graph {
		id, _ := e["spdxId"].(string)
		if there[id] {
			t.Errorf("%s is there twice", id)
		}
		there[id] = true
	}
	for _, e := range doc.Graph {
		for _, key := range []string{"from", "suppliedBy", "subject"} {
			if id, ok := e[key].(string); ok && !there[id] {
				t.Errorf("%s %s is not there", key, id)
			}
		}
		for _, key := range []string{"to", "element", "rootElement"} {
			list, _ := e[key].([]any)
			for _, id := range list {
				if s, _ := id.(string); !there[s] && s != "expandedlicensing_NoAssertionLicense" {
					t.Errorf("%s %s is not there", key, s)
				}
			}
		}
	}
}

// What a card says is cut, and is text.
func TestHostileCard(t *testing.T) {
	s := bare()
	var err error
	if s.Card, err = card.Parse([]byte("---\nlicense: \"x\\u0000\\\"}]\"\n---\n# A\n\n## Limitations\n" + strings.Repeat("\xff\x00a ", 50_000))); err != nil {
		t.Fatal(err)
	}
	for _, f := range formats {
		raw, err := bom.Generate(s, f)
		if err != nil || !json.Valid(raw) || len(raw) > 100_000 {
			t.Errorf("%s: %d bytes, %v", f, len(raw), err)
		}
	}
}
