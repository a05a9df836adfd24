package policy_test

import (
	"errors"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/signing"
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

// Whatever an authority attested, the decision is the same twice; what is no JSON
// object satisfies nothing, nor does a scan, a test or a result that says otherwise.
func FuzzStatements(f *testing.F) {
	types := []string{policy.TypeScan, policy.TypeEvaluation, policy.TypeTests, policy.TypeProvenance, policy.TypeStatus}
	for _, raw := range []string{
		`{"scanner":{"uri":"x","result":{"verdict":"safe","runs":[]}},"metadata":{"scanFinishedOn":"2026-01-01T00:00:00Z"}}`,
		`{"scanner":{"result":{"runs":[{"tool":{"driver":{"rules":[{"id":"r","defaultConfiguration":{"level":"error"}}]}},"results":[{"ruleId":"r"}]}]}},"metadata":{"scanFinishedOn":"2026-01-01T00:00:00Z"}}`,
		`{"results":[{"task":"t","dataset":{"id":"d"},"metric":{"name":"accuracy","unit":"percent"},"value":71}]}`,
		`{"result":"PASSED"}`,
		`{"runDetails":{"builder":{"id":"https://ci.example/b"}},"buildDefinition":{"resolvedDependencies":[{"name":"base-model","uri":"oci://x"}]}}`,
		`{"state":"yanked","since":"2026-01-01T00:00:00Z","reason":"x"}`,
		`[]`, `{`, "",
	} {
		for i := range types {
			f.Add(uint8(i), []byte(raw))
		}
	}
	conditions := []string{
		"scan: {maxAge: 9999d}", "evaluations: [{metric: accuracy, min: 0.7}]", "tests: passed",
		"provenance: {builders: ['https://ci.example/*']}", "yanked: refuse",
	}
	policies := make([]*policy.Policy, len(conditions))
	for i, c := range conditions {
		p, err := policy.Parse([]byte(withModel(c)))
		if err != nil {
			f.Fatal(err)
		}
		policies[i] = p
	}
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		i := int(kind) % len(types)
		at := signing.Attestation{Predicate: signing.Predicate{Type: types[i], Raw: raw}}
		facts := facts(func(_ *policy.Facts, e *policy.Evidence) { e.Attestations = []signing.Attestation{at} })
		d := policies[i].Decide(facts)
		if diff := cmp.Diff(d, policies[i].Decide(facts)); diff != "" {
			t.Error(diff)
		}
		var object map[string]any
		if err := json.Unmarshal(raw, &object); err != nil && d.Allowed && types[i] != policy.TypeStatus {
			t.Errorf("%q satisfies %s", raw, conditions[i])
		}
		if types[i] == policy.TypeTests && d.Allowed && object["result"] != "PASSED" {
			t.Errorf("%q is a test that passed", raw)
		}
	})
}
