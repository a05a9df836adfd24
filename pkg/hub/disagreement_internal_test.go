package hub

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
)

// A policy refuses by this, so what is not known to be the same differs.
func TestDisagreement(t *testing.T) {
	a, b, commit := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 40)
	const inputs, base, baseDigest = "dev.modelreg.inputs", "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"
	pinned := `[{"rel":"finetune","ref":"r.example/acme/base:v1","digest":"sha256:` + a + `"}]`
	sourced := `[{"rel":"finetune","ref":"r.example/acme/base:v1","digest":"sha256:` + a + `","origin":"hf:org/m@` + commit + `"}]`
	bare := `[{"rel":"finetune","ref":"","digest":"sha256:` + a + `"}]`
	oci := `{"name":"base-model","uri":"oci://r.example/acme/base:v1","digest":{"sha256":"` + a + `"}}`
	type said = map[string]string
	tests := map[string]struct {
		named string
		said  said
		want  int
	}{
		"nothing":                        {"", nil, 0},
		"the same":                       {oci, said{inputs: pinned}, 0},
		"other bytes":                    {strings.ReplaceAll(oci, a, b), said{inputs: pinned}, 2},
		"an address that is not named":   {`{"name":"base-model","uri":"https://x.example/y"}`, nil, 1},
		"a dataset by address":           {`{"name":"dataset","uri":"https://x.example/y"}`, nil, 1},
		"no address, no digest":          {`{"name":"code"}`, nil, 1},
		"source":                         {`{"name":"source","uri":"https://x.example/y"}`, nil, 0},
		"address for a digest":           {`{"name":"base-model","uri":"oci://r.example/acme/base:v1"}`, said{inputs: pinned}, 1},
		"a dataset for a base":           {strings.Replace(oci, "base-model", "dataset", 1), said{inputs: pinned}, 2},
		"a digest alone":                 {`{"name":"base-model","digest":{"sha256":"` + a + `"}}`, said{inputs: bare}, 0},
		"another digest alone":           {`{"name":"base-model","digest":{"sha256":"` + b + `"}}`, said{inputs: bare}, 2},
		"a digest of an unknown kind":    {`{"name":"base-model","digest":{"x":"` + a + `"}}`, said{inputs: bare}, 2},
		"an empty digest":                {`{"name":"base-model","digest":{"sha256":""}}`, said{inputs: bare}, 2},
		"base image, not named":          {"", said{base: "r.example/acme/base:v1", baseDigest: "sha256:" + a}, 1},
		"base image":                     {oci, said{base: "r.example/acme/base:v1", baseDigest: "sha256:" + a}, 0},
		"base model, not named":          {"", said{"dev.modelreg.base-model": "org/m"}, 1},
		"what the base was imported as":  {oci + `,{"name":"base-model","uri":"https://huggingface.co/org/m"}`, said{inputs: sourced}, 0},
		"imported at that commit":        {oci + `,{"name":"base-model","uri":"https://huggingface.co/org/m/tree/` + commit + `","digest":{"gitCommit":"` + commit + `"}}`, said{inputs: sourced}, 0},
		"imported at another commit":     {oci + `,{"name":"base-model","uri":"https://huggingface.co/org/m","digest":{"gitCommit":"` + commit[1:] + `d"}}`, said{inputs: sourced}, 1},
		"a name beside its commit":       {`{"name":"base-model","uri":"https://huggingface.co/org/m"},{"name":"base-model","uri":"https://huggingface.co/org/m/tree/` + commit + `","digest":{"gitCommit":"` + commit + `"}}`, said{inputs: `[{"rel":"finetune","ref":"hf:org/m@` + commit + `"}]`, "dev.modelreg.base-model": "org/m"}, 0},
		"a commit of what has only name": {`{"name":"base-model","uri":"https://huggingface.co/org/m/tree/` + commit + `","digest":{"gitCommit":"` + commit + `"}}`, said{inputs: `[{"rel":"finetune","ref":"hf:org/m"}]`}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			raw := `{"buildDefinition":{"resolvedDependencies":[` + tt.named + `]}}`
			got, err := disagreement([]byte(raw), lineage.Edges(tt.said, card.Metadata{}))
			if err != nil || len(got) != tt.want {
				t.Errorf("differences = %q, %v, want %d", got, err, tt.want)
			}
		})
	}
}
