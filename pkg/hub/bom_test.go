package hub_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/bom"
	"github.com/modelreg/modelreg/pkg/hub"
)

// bill is the bill of materials of org/m:v1.
func (w *world) bill(opts hub.BOMOptions) string {
	w.t.Helper()
	raw, err := w.BOM(w.t.Context(), w.ref("org/m:v1"), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	again, err := w.BOM(w.t.Context(), w.ref("org/m:v1"), opts)
	if err != nil || string(again) != string(raw) {
		w.t.Errorf("another bill the second time: %v", err)
	}
	return string(raw)
}

// A bill quotes what somebody known has measured, with whose word it is, in place
// of what the card claims of the same; what others attach is not in it.
func TestBillQuotesResults(t *testing.T) {
	w := carded(t, `---
license: mit
model-index:
- name: m
  results:
  - task: {type: t}
    dataset: {type: d, name: D}
    metrics: [{type: accuracy, value: 0.99}, {type: f1, value: 0.98}]
---
# M
`)
	w.evaluate("org/m:v1", measured("accuracy", 0.9), hub.EvaluateOptions{Signer: alice().signer})
	w.evaluate("org/m:v1", measured("wer", 0.01), hub.EvaluateOptions{Signer: stranger().signer})
	w.evaluate("org/m:v1", measured("bleu", 77), hub.EvaluateOptions{})
	type doc struct {
		Metadata struct {
			Component struct {
				ModelCard struct {
					Analysis struct {
						Metrics []struct{ Type, Value string } `json:"performanceMetrics"`
					} `json:"quantitativeAnalysis"`
					Properties []struct{ Name, Value string }
				}
			}
		}
	}
	quoted := func(opts hub.BOMOptions) string {
		var d doc
		if err := json.Unmarshal([]byte(w.bill(opts)), &d); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, m := range d.Metadata.Component.ModelCard.Analysis.Metrics {
			out = append(out, m.Type+" "+m.Value)
		}
		for _, p := range d.Metadata.Component.ModelCard.Properties {
			if !strings.HasSuffix(p.Name, ":statement") {
				out = append(out, strings.TrimPrefix(p.Name, "modelreg:metric:")+" "+p.Value)
			}
		}
		return strings.Join(out, "\n")
	}
	trusted := hub.BOMOptions{Card: hub.CardOptions{Trust: alice().trust}}
	key := "key " + alice().signer.Public().Fingerprint()
	if got, want := quoted(trusted), "accuracy 0.9\nf1 0.98\n1:class trusted\n1:signer "+key+"\n2:class claimed"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := quoted(hub.BOMOptions{}), "accuracy 0.99\nf1 0.98\n1:class claimed\n2:class claimed"; got != want {
		t.Errorf("nobody is known, and it says\n%s", got)
	}
	trusted.Format = bom.SPDX3
	text := w.bill(trusted)
	for _, want := range []string{`"statement": "accuracy on d, 0.9: trusted, signed by ` + key + `, statement sha256:`, `"statement": "f1 on d, 0.98: claimed"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the bill does not say %s:\n%s", want, text)
		}
	}
}
