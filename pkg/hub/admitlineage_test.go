package hub_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// asksLineage is a document with this condition.
func asksLineage(condition string) string {
	return "    policy.modelreg.dev/model: |\n      " + condition + "\n"
}

func TestPolicyLineage(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	sign := guard(t, w, "").sign
	for _, name := range []string{"acme/odd:v1", "acme/tuned:v1"} {
		sign(name, teamSigner())
	}
	refused := func(name, condition string) (string, string) {
		t.Helper()
		err := guard(t, w, asksLineage(condition)).plan(name, hub.PullOptions{})
		if err == nil {
			return "", ""
		}
		return refusedFor(t, err), err.Error()
	}
	check := func(name, condition, want, text string) {
		t.Helper()
		if got, why := refused(name, condition); got != want || !strings.Contains(why, text) {
			t.Errorf("%s, %s: refused for %q, want %q: %s", name, condition, got, want, why)
		}
	}
	check("acme/tuned:v1", "lineage: {checked: true, yanked: refuse, licenseConflicts: refuse}", "", "")
	check("acme/tuned:v1", "lineage: {signed: true}", "lineage-signed", "acme/base:v1: team: no signature found, wanted each base in a registry named by its digest, and signed by team")
	check("acme/odd:v1", "lineage: {signed: true, depth: 1}", "", "")
	check("acme/odd:v1", "lineage: {signed: true}", "lineage-signed", "acme/base:v1")
	check("acme/odd:v1", "lineage: {checked: true}", "lineage-checked", "finetune")
	check("acme/odd:v1", "lineage: {licenseConflicts: refuse}", "lineage-licenses", "llama3.1")
	check("acme/odd:v1", "lineage: {licenseConflicts: warn}", "", "")

	sign("acme/base:v1", otherSigner())
	check("acme/tuned:v1", "lineage: {signed: true}", "lineage-signed", "acme/base:v1")
	sign("acme/base:v1", teamSigner())
	check("acme/tuned:v1", "lineage: {signed: true}", "", "")

	check("acme/tuned:v1", "lineage: {scan: refuse}", "", "")
	found := signing.Predicate{Type: policy.TypeScan, Raw: []byte(`{"scanner":{"result":{"verdict":"dangerous"}},"metadata":{"scanFinishedOn":"2026-01-01T00:00:00Z"}}`)}
	if _, err := w.Attest(t.Context(), w.ref("acme/base:v1"), teamSigner(), found, signing.AttestOptions{}); err != nil {
		t.Fatal(err)
	}
	check("acme/tuned:v1", "lineage: {scan: refuse}", "lineage-scan", "acme/base:v1: it has a report which says dangerous")
	check("acme/odd:v1", "lineage: {scan: refuse, depth: 1}", "", "")
	check("acme/tuned:v1", "lineage: {scan: warn}", "", "")

	if _, err := w.SetState(t.Context(), w.ref("acme/tickets:v7"), teamSigner(), hub.StateChange{State: record.Yanked, Reason: "it leaks"}); err != nil {
		t.Fatal(err)
	}
	check("acme/tuned:v1", "lineage: {yanked: refuse}", "lineage-yanked", "acme/tickets:v7: it was yanked: it leaks")
	check("acme/tuned:v1", "lineage: {yanked: refuse, signed: true, depth: 1}", "lineage-yanked", "")
	check("acme/tuned:v1", "lineage: {yanked: allow, signed: true}", "", "")
}

// What cannot be looked at refuses, and so does what is named by a tag alone.
func TestPolicyLineageFailsClosed(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"notes.txt": "base"})
	sign := guard(t, w, "").sign
	sign("acme/base:v1", teamSigner())
	push := func(name, inputs string) {
		t.Helper()
		if _, err := w.Push(t.Context(), dir(t, files{"notes.txt": name}), w.ref(name), hub.PushOptions{Annotations: map[string]string{"dev.modelreg.inputs": inputs}}); err != nil {
			t.Fatal(err)
		}
		sign(name, teamSigner())
	}
	host := w.srv.Host
	push("acme/tagged:v1", `[{"rel":"finetune","ref":"`+host+`/acme/base:v1"}]`)
	push("acme/gone:v1", `[{"rel":"finetune","ref":"`+host+`/acme/none:v1","digest":"sha256:`+strings.Repeat("a", 64)+`"}]`)
	push("acme/odd:v1", `[{"rel":"finetune","ref":"no reference","digest":"sha256:`+strings.Repeat("a", 64)+`"}]`)
	push("acme/broken:v1", `[{"rel":"finetune"`)
	push("acme/hub:v1", `[{"rel":"finetune","ref":"hf:org/m"}]`)
	for name, want := range map[string]string{
		"acme/tagged:v1": "lineage-signed", "acme/gone:v1": "lineage lineage-signed", "acme/odd:v1": "lineage lineage-signed",
		"acme/broken:v1": "lineage", "acme/hub:v1": "",
	} {
		if got := refusedFor(t, guard(t, w, asksLineage("lineage: {signed: true}")).plan(name, hub.PullOptions{})); got != want {
			t.Errorf("%s: refused for %q, want %q", name, got, want)
		}
	}
	base, _ := w.manifest("acme/base", "v1")
	w.made("acme/tuned:v1", files{"notes.txt": "tuned"}, hub.Input{Relation: lineage.Finetune, Reference: w.ref("acme/base:v1")})
	sign("acme/tuned:v1", teamSigner())
	w.srv.Add(testreg.Rule{Path: `/acme/base/referrers/` + base.Digest.String(), Do: testreg.Status(http.StatusInternalServerError, nil, "")})
	if got := refusedFor(t, guard(t, w, asksLineage("lineage: {yanked: refuse}")).plan("acme/tuned:v1", hub.PullOptions{})); got != "lineage" {
		t.Errorf("a registry that does not answer: refused for %q", got)
	}
}

// A policy that does not ask about ancestors looks for none; one that does reads no
// more of the version itself.
func TestPolicyLineageRequests(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	sign := guard(t, w, "").sign
	for _, name := range []string{"acme/base:v1", "acme/tuned:v1"} {
		sign(name, teamSigner())
	}
	asked := func(condition string) (all, base int) {
		t.Helper()
		g := guard(t, w, condition)
		before := len(w.srv.Requests())
		if err := g.plan("acme/tuned:v1", hub.PullOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, r := range w.srv.Requests()[before:] {
			all++
			if strings.Contains(r.Path, "/acme/base/") || strings.Contains(r.Path, "/acme/tickets/") {
				base++
			}
		}
		return all, base
	}
	plain, base := asked("")
	if base != 0 {
		t.Errorf("%d requests about ancestors, and nobody asks", base)
	}
	if _, base := asked(asksLineage("yanked: refuse\n      customCode: forbid")); base != 0 {
		t.Errorf("%d requests about ancestors with other conditions", base)
	}
	if all, base := asked(asksLineage("lineage: {signed: true}")); base == 0 || base > 20 || all-base != plain {
		t.Errorf("%d requests, %d about ancestors; without %d", all, base, plain)
	}
}

// The model that is taken from an index is decided on with what the index says.
func TestPolicyLineageOfIndexes(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"notes.txt": "base"})
	base, _ := w.manifest("acme/base", "v1")
	w.made("acme/m:a", files{"notes.txt": "a"})
	index := w.pushIndexWith("acme/m", "v1", map[string]string{
		"dev.modelreg.inputs": `[{"rel":"finetune","ref":"` + w.srv.Host + `/acme/base:v1","digest":"` + base.Digest.String() + `"}]`,
	}, "a")
	if _, err := w.Sign(t.Context(), w.ref("acme/m@"+index.Digest.String()), teamSigner(), signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	g := guard(t, w, asksLineage("lineage: {signed: true}"))
	if got := refusedFor(t, g.plan("acme/m:v1", hub.PullOptions{})); got != policy.RuleLineageSigned {
		t.Errorf("pull: refused for %q", got)
	}
	g.sign("acme/base:v1", teamSigner())
	if err := g.plan("acme/m:v1", hub.PullOptions{}); err != nil {
		t.Error(err)
	}
}

// A policy can ask that the provenance and the version name the same.
func TestPolicyProvenanceInputs(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"notes.txt": "base"})
	push := func(name string, p *hub.Provenance) {
		t.Helper()
		_, err := w.Push(t.Context(), dir(t, files{"notes.txt": "tuned", "README.md": readme("base_model: org/from-the-card")}), w.ref(name), hub.PushOptions{
			Inputs: []hub.Input{{Reference: w.ref("acme/base:v1")}, {Relation: lineage.Dataset, Elsewhere: "hf:datasets/org/d@" + strings.Repeat("a", 40)}},
			Signer: teamSigner(), Provenance: p,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	attest := func(name, raw string) {
		t.Helper()
		if _, err := w.Attest(t.Context(), w.ref(name), teamSigner(), signing.Predicate{Type: policy.TypeProvenance, Raw: []byte(raw)}, signing.AttestOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	push("acme/silent:v1", nil)
	push("acme/honest:v1", &hub.Provenance{})
	if _, err := w.Push(t.Context(), dir(t, files{"README.md": readme("base_model: org/m")}), w.ref("acme/pinned:v1"), hub.PushOptions{
		Inputs:      []hub.Input{{Elsewhere: "hf:org/m@" + strings.Repeat("a", 40)}},
		Annotations: map[string]string{"org.opencontainers.image.base.name": w.srv.Host + "/acme/base:v1"},
		Signer:      teamSigner(), Provenance: &hub.Provenance{},
	}); err != nil {
		t.Fatal(err)
	}
	push("acme/odd:v1", &hub.Provenance{})
	attest("acme/odd:v1", `{"buildDefinition":{"resolvedDependencies":[{"name":"base-model","uri":"oci://other.example/base","digest":{"sha256":"00"}}]}}`)
	push("acme/broken:v1", &hub.Provenance{})
	attest("acme/broken:v1", `{"buildDefinition":7}`)

	g := guard(t, w, asksLineage("provenance: {inputs: agree}"))
	for name, want := range map[string]string{
		"acme/silent:v1": "no provenance that counts is visible", "acme/honest:v1": "", "acme/pinned:v1": "",
		"acme/odd:v1": "oci://other.example/base, it does not say so itself", "acme/broken:v1": "a provenance that cannot be read",
	} {
		before := len(w.srv.Requests())
		err := g.plan(name, hub.PullOptions{})
		if got := refusedFor(t, err); got != map[bool]string{true: "", false: policy.RuleInputs}[want == ""] {
			t.Errorf("%s: refused for %q", name, got)
		}
		if err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "wanted provenance that names what the version says")) {
			t.Errorf("%s: %v; want it to tell %s", name, err, want)
		}
		for _, r := range w.srv.Requests()[before:] {
			if strings.Contains(r.Path, "/acme/base/") {
				t.Errorf("%s: %s: the base is asked for", name, r.Path)
			}
		}
	}
}

// A list of inputs that cannot be read agrees with nothing.
func TestPolicyProvenanceInputsBroken(t *testing.T) {
	w := newWorld(t)
	w.made("acme/m:v1", files{"notes.txt": "m"})
	g := guard(t, w, asksLineage("provenance: {inputs: agree}"))
	for name, an := range map[string]map[string]string{
		"no list":         {"dev.modelreg.inputs": `[{"rel":"finetune"`},
		"too many":        {"dev.modelreg.base-model": strings.Repeat("org/m,", 257)},
		"too many in all": {"dev.modelreg.base-model": strings.Repeat("org/m,", 256), "dev.modelreg.datasets": strings.Repeat("org/d,", 256)},
		"a long name":     {"dev.modelreg.datasets": strings.Repeat("d", 1025)},
		"a long address":  {"org.opencontainers.image.base.name": strings.Repeat("b", 1025)},
	} {
		index := w.pushIndexWith("acme/m", "v2", an, "v1")
		w.attestInputs("acme/m@" + index.Digest.String())
		err := g.plan("acme/m:v2", hub.PullOptions{})
		if got := refusedFor(t, err); got != policy.RuleInputs || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: refused for %q: %v", name, got, err)
		}
	}
}

// What an index lists is compared where the index is decided on, as in a pull of it.
func TestPolicyProvenanceInputsOfIndexes(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"notes.txt": "base"})
	w.made("acme/m:plain", files{"notes.txt": "plain"})
	w.made("acme/m:more", files{"notes.txt": "more"}, hub.Input{Relation: lineage.Finetune, Reference: w.ref("acme/base:v1")})
	g := guard(t, w, asksLineage("provenance: {inputs: agree}"))
	for tag, want := range map[string]error{"plain": nil, "more": policy.ErrRefused} {
		index := w.pushIndexWith("acme/m", "v-"+tag, nil, tag)
		w.attestInputs("acme/m@" + index.Digest.String())
		if err := g.plan("acme/m:v-"+tag, hub.PullOptions{}); !errors.Is(err, want) {
			t.Errorf("%s: pull: %v, want %v", tag, err, want)
		}
		if err := hub.NewDoor(g.admits, w.srv.Host).Admit(t.Context(), "acme/m", index.Digest); !errors.Is(err, want) {
			t.Errorf("%s: the index at the door: %v, want %v", tag, err, want)
		}
	}
}

// attestInputs signs a version, and a provenance of it that names nothing.
func (w *world) attestInputs(name string) {
	w.t.Helper()
	if _, err := w.Sign(w.t.Context(), w.ref(name), teamSigner(), signing.SignOptions{}); err != nil {
		w.t.Fatal(err)
	}
	raw := []byte(`{"buildDefinition":{"resolvedDependencies":[]}}`)
	if _, err := w.Attest(w.t.Context(), w.ref(name), teamSigner(), signing.Predicate{Type: policy.TypeProvenance, Raw: raw}, signing.AttestOptions{}); err != nil {
		w.t.Fatal(err)
	}
}
