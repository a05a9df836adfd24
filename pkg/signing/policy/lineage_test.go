package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

func TestDecideLineage(t *testing.T) {
	all := "lineage: {signed: true, checked: true, yanked: refuse, licenseConflicts: refuse, depth: 2}"
	signed := func(who string) map[policy.Source]policy.Evidence {
		return map[policy.Source]policy.Evidence{{Document: "m", Authority: "one"}: {Signers: []signing.Signatory{key(who)}}}
	}
	good := func() policy.Ancestor {
		return policy.Ancestor{Name: "reg.example/base:v1", Steps: 1, Base: true, InRegistry: true, Evidence: signed("k1")}
	}
	// scanned has reports of an authority, the newest first.
	scanned := func(verdicts ...string) func(*policy.LineageFacts, *policy.Ancestor) {
		return func(_ *policy.LineageFacts, a *policy.Ancestor) {
			e := a.Evidence[policy.Source{Document: "m", Authority: "one"}]
			for i, v := range verdicts {
				raw := fmt.Sprintf(`{"scanner":{"result":{"verdict":%q,"runs":[]}},"metadata":{"scanFinishedOn":"2026-01-%02dT00:00:00Z"}}`, v, 9-i)
				e.Attestations = append(e.Attestations, signing.Attestation{Predicate: signing.Predicate{Type: policy.TypeScan, Raw: []byte(raw)}})
			}
			a.Evidence[policy.Source{Document: "m", Authority: "one"}] = e
		}
	}
	tests := map[string]struct {
		model  string
		change func(f *policy.LineageFacts, a *policy.Ancestor)
		want   string
	}{
		"good":              {all, func(*policy.LineageFacts, *policy.Ancestor) {}, ""},
		"unsigned":          {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Evidence = nil }, "lineage-signed"},
		"unpinned":          {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Unpinned = true }, "lineage-signed"},
		"in no registry":    {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.InRegistry, a.Evidence = false, nil }, ""},
		"no base":           {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Base, a.Evidence = false, nil }, ""},
		"further up":        {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Steps, a.Evidence = 3, nil }, ""},
		"as far":            {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Steps, a.Evidence = 2, nil }, "lineage-signed"},
		"unread":            {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Problem = "gone" }, "lineage lineage-signed"},
		"unread data":       {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Base, a.Problem = false, "gone" }, "lineage"},
		"data nobody needs": {"lineage: {signed: true}", func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Base, a.Problem = false, "gone" }, ""},
		"unknown":           {all, func(f *policy.LineageFacts, _ *policy.Ancestor) { f.Problem = "no JSON" }, "lineage"},
		"too much":          {all, func(f *policy.LineageFacts, _ *policy.Ancestor) { f.Cut = 2 }, "lineage"},
		"too much beyond":   {all, func(f *policy.LineageFacts, _ *policy.Ancestor) { f.Cut = 3 }, ""},
		"contradicted":      {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.Claims = []string{"other shapes"} }, "lineage-checked"},
		"yanked":            {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.State = "yanked" }, "lineage-yanked"},
		"yanked, allowed":   {"lineage: {signed: true, yanked: allow}", func(_ *policy.LineageFacts, a *policy.Ancestor) { a.State = "yanked" }, ""},
		"yanked, a warning": {"lineage: {yanked: warn}", func(_ *policy.LineageFacts, a *policy.Ancestor) { a.State = "yanked" }, ""},
		"yanked by an authority": {all, func(_ *policy.LineageFacts, a *policy.Ancestor) {
			e := a.Evidence[policy.Source{Document: "m", Authority: "one"}]
			e.Attestations = []signing.Attestation{{Predicate: signing.Predicate{Type: policy.TypeStatus, Raw: []byte(`{"state":"yanked","since":"2026-01-01T00:00:00Z"}`)}}}
			a.Evidence[policy.Source{Document: "m", Authority: "one"}] = e
		}, "lineage-yanked"},
		"unsafe":            {"lineage: {scan: refuse}", scanned("dangerous", "safe"), "lineage-scan"},
		"unsafe before":     {"lineage: {scan: refuse}", scanned("safe", "dangerous"), ""},
		"safe":              {"lineage: {scan: refuse}", scanned("safe"), ""},
		"nobody scanned":    {"lineage: {scan: refuse}", scanned(), ""},
		"unsafe, a warning": {"lineage: {scan: warn}", scanned("dangerous"), ""},
		"unsafe, allowed":   {"lineage: {signed: true, scan: allow}", scanned("dangerous"), ""},
		"no scan can be read": {"lineage: {scan: refuse}", func(_ *policy.LineageFacts, a *policy.Ancestor) {
			a.Base, a.Problem = false, "gone"
		}, "lineage"},
		"licence": {all, func(_ *policy.LineageFacts, a *policy.Ancestor) { a.LicenceConflict = "mit of gpl" }, "lineage-licenses"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, f := good(), &policy.LineageFacts{}
			tt.change(f, &a)
			f.Ancestors = []policy.Ancestor{a}
			d := parse(t, withModel(tt.model)).Decide(facts(func(to *policy.Facts, _ *policy.Evidence) { to.Lineage = f }))
			if got := failed(d); got != tt.want {
				t.Errorf("refused for %q, want %q: %+v", got, tt.want, d.Failures())
			}
			if tt.want == "" && strings.Contains(tt.model, "warn") && len(d.Warnings()) != 1 {
				t.Errorf("warnings: %+v", d.Warnings())
			}
		})
	}
	if got := failed(parse(t, withModel(all)).Decide(facts(nil))); got != "lineage" {
		t.Errorf("without facts: refused for %q", got)
	}
}

func TestParseLineage(t *testing.T) {
	l := parse(t, withModel("lineage: {signed: true}")).Documents[0].Model.Lineage
	if want := (policy.Lineage{Signed: true, Depth: policy.DefaultLineageDepth}); l == nil || *l != want {
		t.Errorf("lineage = %+v, want %+v", l, want)
	}
	for _, text := range []string{
		"lineage: {}", "lineage: {depth: 2}", "lineage: {yanked: allow}", "lineage: {signed: true, depth: 0}", "lineage: {signed: true, depth: 65}",
		"lineage: {yanked: never}", "lineage: {licenseConflicts: noConflict}", "lineage: {sign: true}", "lineage: {signed: yes please}",
	} {
		if _, err := policy.Parse([]byte(withModel(text))); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: error = %v", text, err)
		}
	}
}
