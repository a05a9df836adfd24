package lineage_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// told writes edges as short lines.
func told(edges []lineage.Edge) []string {
	out := []string{}
	for _, e := range edges {
		s := string(e.Relation) + " " + e.Reference
		if e.Digest != "" {
			s += "@" + e.Digest.Encoded()[:4]
		}
		if e.Inferred {
			s += " (inferred)"
		}
		out = append(out, s+" ["+e.Said+"]")
	}
	return out
}

func TestEdges(t *testing.T) {
	base := digest.FromString("base")
	short := base.Encoded()[:4]
	inputs, err := lineage.FormatInputs([]lineage.Edge{
		{Relation: lineage.Adapter, Reference: "reg.io/acme/base:v1", Digest: base, ImportedFrom: "hf:meta/llama@" + commit},
		{Relation: lineage.Dataset, Reference: "hf:datasets/acme/tickets@" + commit},
		{Relation: lineage.Code, Reference: "https://git.example.com/acme/train@" + commit},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		annotations map[string]string
		meta        card.Metadata
		want        []string
	}{
		"nothing": {want: []string{}},
		"inputs, and the card names what they were imported from": {
			annotations: inputs,
			meta:        card.Metadata{BaseModels: []string{"Meta/llama"}, Datasets: []string{"acme/tickets", "acme/other"}},
			want: []string{
				"adapter reg.io/acme/base:v1@" + short + " [inputs]",
				"dataset hf:datasets/acme/tickets@" + commit + " [inputs]",
				"code https://git.example.com/acme/train@" + commit + " [inputs]",
				"dataset hf:datasets/acme/other [card]",
			},
		},
		"the card alone": {
			meta: card.Metadata{BaseModels: []string{"meta/llama"}},
			want: []string{"finetune hf:meta/llama (inferred) [card]"},
		},
		"several are merged": {
			meta: card.Metadata{BaseModels: []string{"a/x", "https://huggingface.co/b/y/tree/" + commit}},
			want: []string{"merge hf:a/x (inferred) [card]", "merge hf:b/y@" + commit + " (inferred) [card]"},
		},
		"peft makes adapters": {
			meta: card.Metadata{BaseModels: []string{"a/x"}, Library: "peft"},
			want: []string{"adapter hf:a/x (inferred) [card]"},
		},
		"GGUF is quantized": {
			annotations: map[string]string{mediatypes.AnnotationFormats: "gguf", mediatypes.AnnotationBaseModel: "a/x"},
			want:        []string{"quantized hf:a/x (inferred) [annotation]"},
		},
		"the card says how": {
			meta: card.Metadata{BaseModels: []string{"a/x"}, BaseRelation: "quantized"},
			want: []string{"quantized hf:a/x [card]"},
		},
		"a relation that is not known is inferred": {
			meta: card.Metadata{BaseModels: []string{"a/x"}, BaseRelation: "\x1b[31m"},
			want: []string{"finetune hf:a/x (inferred) [card]"},
		},
		"base image": {
			annotations: map[string]string{ocispec.AnnotationBaseImageName: "reg.io/acme/base:v1", ocispec.AnnotationBaseImageDigest: base.String()},
			want:        []string{"finetune reg.io/acme/base:v1@" + short + " (inferred) [base]"},
		},
		"a digest in a card": {
			meta: card.Metadata{BaseModels: []string{"reg.io/acme/base@" + base.String()}},
			want: []string{"finetune reg.io/acme/base@" + short + " (inferred) [card]"},
		},
		"a name and its digest are one edge": {
			annotations: map[string]string{mediatypes.AnnotationBaseModel: "reg.io/acme/base:v1"},
			meta:        card.Metadata{BaseModels: []string{"reg.io/acme/base@" + base.String()}},
			want:        []string{"finetune reg.io/acme/base@" + short + " (inferred) [annotation]"},
		},
		"two digests are two edges": {
			annotations: map[string]string{mediatypes.AnnotationBaseModel: "reg.io/a/b@" + digest.FromString("1").String() + ",reg.io/a/b@" + digest.FromString("2").String()},
			want:        []string{"merge reg.io/a/b@6b86 (inferred) [annotation]", "merge reg.io/a/b@d473 (inferred) [annotation]"},
		},
		"imported": {
			annotations: map[string]string{mediatypes.AnnotationOrigin: "hf:meta/llama@" + commit},
			meta:        card.Metadata{BaseModels: []string{"meta/llama"}},
			want:        []string{"finetune hf:meta/llama (inferred) [card]", "origin hf:meta/llama@" + commit + " [origin]"},
		},
		"imported from a registry": {
			annotations: map[string]string{mediatypes.AnnotationOrigin: "oci:reg.io/acme/base@" + base.String()},
			want:        []string{"origin reg.io/acme/base@" + short + " [origin]"},
		},
		"what cannot be read is left out": {
			annotations: map[string]string{mediatypes.AnnotationInputs: `[{"rel":"eats","ref":"x"}]`, mediatypes.AnnotationBaseModel: strings.Repeat("x", 4096) + ",a/x"},
			want:        []string{"merge hf:a/x (inferred) [annotation]"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, told(lineage.Edges(test.annotations, test.meta))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFormatInputsNamesTheBase(t *testing.T) {
	got, err := lineage.FormatInputs([]lineage.Edge{
		{Relation: lineage.Dataset, Reference: "reg.io/acme/data:v1", Digest: digest.FromString("data")},
		{Relation: lineage.Merge, Reference: "hf:acme/x@" + commit, Weight: 0.25},
		{Relation: lineage.Merge, Reference: "reg.io/acme/base:v1", Digest: digest.FromString("base"), Weight: 0.75},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		ocispec.AnnotationBaseImageName:   "reg.io/acme/base:v1",
		ocispec.AnnotationBaseImageDigest: digest.FromString("base").String(),
		mediatypes.AnnotationInputs: `[{"rel":"dataset","ref":"reg.io/acme/data:v1","digest":"` + digest.FromString("data").String() + `"},` +
			`{"rel":"merge","ref":"hf:acme/x@` + commit + `","weight":0.25},` +
			`{"rel":"merge","ref":"reg.io/acme/base:v1","digest":"` + digest.FromString("base").String() + `","weight":0.75}]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := lineage.FormatInputs(nil); got != nil || err != nil {
		t.Errorf("without inputs: %v, %v", got, err)
	}
}

func TestParseInputsRefuses(t *testing.T) {
	tests := map[string]string{
		"no JSON":          "finetune",
		"an object":        `{"rel":"finetune","ref":"x"}`,
		"a name twice":     `[{"rel":"finetune","ref":"x","ref":"y"}]`,
		"a relation":       `[{"rel":"","ref":"x"}]`,
		"nothing named":    `[{"rel":"finetune"}]`,
		"no digest":        `[{"rel":"finetune","ref":"x","digest":"sha256:1"}]`,
		"a long reference": `[{"rel":"finetune","ref":"` + strings.Repeat("x", 2000) + `"}]`,
		"too many":         `[` + strings.Repeat(`{"rel":"code","ref":"x"},`, 300) + `{"rel":"code","ref":"x"}]`,
		"too long":         `[` + strings.Repeat(" ", 60000) + `]`,
		"text as weight":   `[{"rel":"merge","ref":"x","weight":"1"}]`,
		"not UTF-8":        "[{\"rel\":\"code\",\"ref\":\"\xff\"}]",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := lineage.ParseInputs(text); !errors.Is(err, lineage.ErrInputs) {
				t.Errorf("ParseInputs = %v, %v, want ErrInputs", got, err)
			}
		})
	}
}

// What parses is written, and parses as the same; edges are bounded and each
// leads somewhere.
func FuzzInputs(f *testing.F) {
	f.Add(`[{"rel":"merge","ref":"reg.io/a/b:v1","digest":"`+digest.FromString("x").String()+`","weight":0.5,"origin":"hf:a/b"}]`, "a/x,b/y", "reg.io/x/y")
	f.Add(`[{"rel":"code","ref":"https://x/y@`+commit+`"}]`, "hf://a/b@"+commit, "")
	f.Add(`[]`, "./local,../x,/abs", "oci:reg.io/a/b@"+digest.FromString("x").String())
	f.Add(`[{"rel":"dataset","ref":"x","unknown":[1,{}]}]`, "@,@@,hf:", "hf:")
	f.Fuzz(func(t *testing.T, text, names, other string) {
		inputs, err := lineage.ParseInputs(text)
		if err == nil {
			again, err := lineage.FormatInputs(inputs)
			if err != nil && len(text) < lineage.MaxInputsBytes/8 {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			if err == nil && len(inputs) > 0 {
				back, err := lineage.ParseInputs(again[mediatypes.AnnotationInputs])
				if err != nil || !cmp.Equal(inputs, back) {
					t.Fatalf("%v became %v, %v", inputs, back, err)
				}
			}
		}
		edges := lineage.Edges(map[string]string{
			mediatypes.AnnotationInputs: text, mediatypes.AnnotationBaseModel: names,
			ocispec.AnnotationBaseImageName: other, mediatypes.AnnotationOrigin: other,
		}, card.Metadata{BaseModels: []string{names}, Datasets: []string{other}})
		if len(edges) > 2*lineage.MaxInputs {
			t.Fatalf("%d edges", len(edges))
		}
		for _, e := range edges {
			if e.Reference == "" && e.Digest == "" || e.Digest != "" && e.Digest.Validate() != nil {
				t.Fatalf("edge to nowhere: %+v", e)
			}
			if r, ok := e.Registry(); ok && e.Digest != "" && r.Digest != e.Digest {
				t.Fatalf("%+v is at %s", e, r)
			}
		}
	})
}
