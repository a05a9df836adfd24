package policy_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// What parses has somebody to decide, decides the same twice, and lets nobody
// in who signed nothing, unless it says so.
func FuzzParse(f *testing.F) {
	f.Add([]byte(doc("x", `policy.modelreg.dev/min-signers: "2"`, all, byKey1+","+byCI)))
	f.Add([]byte(doc("x", "", all, byAudit) + doc("y", "", `{glob: "reg.example/*/b"}`, byKey2)))
	f.Add([]byte(withModel("formats: [gguf]\nscan: {maxAge: 7d}\nevaluations: [{metric: a, min: 0.5}]\nmaxSize: 1GiB\nyanked: warn")))
	f.Add([]byte(doc("x", "", `{glob: "reg.example/**"}`, `{static: {action: pass}}`)))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := policy.Parse(raw)
		if err != nil {
			if !errors.Is(err, policy.ErrInvalid) {
				t.Errorf("error = %v, want ErrInvalid", err)
			}
			return
		}
		lax := false
		for _, d := range p.Documents {
			if len(d.Authorities) == 0 || len(d.Globs) == 0 || d.Name == "" {
				t.Errorf("document without a name, globs or authorities: %+v", d)
			}
			for _, a := range d.Authorities {
				lax = lax || a.Static == "pass" || d.Warn
			}
		}
		facts := facts(func(f *policy.Facts, _ *policy.Evidence) { f.Evidence = map[policy.Source]policy.Evidence{} })
		d := p.Decide(facts)
		if d.Allowed && !lax {
			t.Errorf("allows what nobody signed: %+v", d.Rules)
		}
		if diff := cmp.Diff(d, p.Decide(facts)); diff != "" {
			t.Error(diff)
		}
	})
}
