package hub_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
)

// What is said of one set of files is not said of the others.
func TestLineageOfSeveralFiles(t *testing.T) {
	w := newWorld(t)
	tuned := strings.Replace(tensorFile(8, 2), strings.Repeat("\x00", 8), "tuned...", 1)
	w.made("acme/base:v1", files{"model.safetensors": tensorFile(8, 2), "fp16/model.safetensors": tensorFile(8, 1)})
	tests := map[string]struct {
		files files
		rel   lineage.Relation
		want  lineage.Claim
	}{
		"nothing changed": {
			files{"model.safetensors": tensorFile(8, 2), "fp16/model.safetensors": tensorFile(8, 1)},
			lineage.Finetune,
			lineage.Claim{Verdict: lineage.Checked, Reason: "*.safetensors: 3 of 3 tensors have the base's names and shapes; the weights are the base's, byte for byte"},
		},
		"one left as it was": {
			files{"model.safetensors": tuned, "fp16/model.safetensors": tensorFile(8, 1)},
			lineage.Finetune,
			lineage.Claim{Verdict: lineage.Checked, Reason: "*.safetensors: 3 of 3 tensors have the base's names and shapes"},
		},
		"another model beside what was left": {
			files{"model.safetensors": tensorFile(16, 2), "fp16/model.safetensors": tensorFile(8, 1)},
			lineage.Finetune,
			lineage.Claim{Verdict: lineage.Contradicted, Reason: "*.safetensors: layers.0.mlp.up_proj.weight: 16×4, 8×4 in the base, and 1 more; 1 of 2 sets of files fit"},
		},
		"another model under a name of its own": {
			files{"own/model.safetensors": tensorFile(16, 2), "model.safetensors": tensorFile(8, 2)},
			lineage.Finetune,
			lineage.Claim{Verdict: lineage.Claimed, Reason: "own/*.safetensors: layers.0.mlp.up_proj.weight: 16×4, 8×4 in the base, and 1 more; *.safetensors is the base's, byte for byte"},
		},
		"one of several fits": {
			files{"a/model.safetensors": tuned, "b/model.safetensors": tensorFile(16, 2)},
			lineage.Converted,
			lineage.Claim{Verdict: lineage.Checked, Reason: "a/*.safetensors against *.safetensors: 3 of 3 tensors have the base's names and shapes; 1 of 2 sets of files fit"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.made("acme/m:v1", tt.files, hub.Input{Relation: tt.rel, Reference: w.ref("acme/base:v1")})
			got := w.lineage("acme/m:v1", hub.LineageOptions{}).Edges[0].Claim
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An import is the same in all files of weights, also in those without a header.
func TestLineageOfChangedImports(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"model.safetensors": tensorFile(8, 2), "fp16/model.safetensors": tensorFile(8, 1)})
	for name, f := range map[string]files{
		"another file":           {"model.safetensors": tensorFile(8, 2), "fp16/model.safetensors": tensorFile(16, 1)},
		"a file without headers": {"model.safetensors": tensorFile(8, 2), "weights.bin": "weights"},
	} {
		t.Run(name, func(t *testing.T) {
			push := hub.PushOptions{Annotations: map[string]string{"dev.modelreg.origin": "oci:" + w.srv.Host + "/acme/base:v1"}}
			if _, err := w.Push(t.Context(), dir(t, f), w.ref("acme/m:v1"), push); err != nil {
				t.Fatal(err)
			}
			if got := w.lineage("acme/m:v1", hub.LineageOptions{}).Edges[0].Claim; got.Verdict != lineage.Contradicted {
				t.Errorf("claim = %v, want contradicted", got)
			}
		})
	}
}
