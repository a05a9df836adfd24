package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/signing"
)

// The rules, in the order in which they are gone through. Their names are part
// of the JSON results and never change.
const (
	RuleMatch        = "match"
	RuleSignature    = "signature"
	RuleMinSigners   = "min-signers"
	RuleDigest       = "require-digest"
	RuleSignatureAge = "max-signature-age"
	RuleOMS          = "require-oms"
	RuleLicenses     = "licenses"
	RuleFormats      = "formats"
	RuleCustomCode   = "custom-code"
	RuleMaxSize      = "max-size"
	RuleBaseModels   = "base-models"
	RuleMinVersion   = "min-version"
	RuleScan         = "scan"
	RuleEvaluation   = "evaluation"
	RuleTests        = "tests"
	RuleProvenance   = "provenance"
	RuleInputs       = "provenance-inputs"
	RuleYanked       = "yanked"
	RuleDeprecated   = "deprecated"
	RuleRollback     = "rollback"

	RuleLineage         = "lineage"
	RuleLineageSigned   = "lineage-signed"
	RuleLineageChecked  = "lineage-checked"
	RuleLineageYanked   = "lineage-yanked"
	RuleLineageScan     = "lineage-scan"
	RuleLineageLicenses = "lineage-licenses"
)

// Decide applies the policy to the facts. It goes through every rule of every
// document that decides, whatever fails. The same policy and facts give the
// same decision.
func (p *Policy) Decide(f Facts) Decision {
	dec := Decision{Policy: p.String(), Repository: f.Repository, Digest: f.Digest.String(), Rules: []Result{}}
	docs := p.Deciding(f.Repository)
	if !slices.ContainsFunc(docs, func(d *Document) bool { return !d.Always }) {
		dec.Rules = append(dec.Rules, p.unmatched(&f, len(docs) > 0))
	}
	for _, d := range docs {
		j := judge{doc: d, facts: &f}
		j.all()
		for i := range j.results {
			j.results[i].Document = d.Name
		}
		dec.Rules = append(dec.Rules, j.results...)
		dec.Signers = appendSigners(dec.Signers, j.signers)
		dec.Attestations = append(dec.Attestations, j.statements...)
	}
	dec.Allowed = len(dec.Failures()) == 0
	return dec
}

// unmatched is the result that no document is for the repository, but for floors.
func (p *Policy) unmatched(f *Facts, floors bool) Result {
	r := Result{
		Rule: RuleMatch, Effect: effectRefuse, Found: "no document for " + f.Repository,
		Wanted: "a document with a glob that matches it; there are " + or(listed(p.globs()), "none"),
	}
	if floors {
		r.Found += " but those that decide always, which allow nothing by themselves"
	}
	return r
}

// A judge goes through the rules of one document.
type judge struct {
	doc     *Document
	facts   *Facts
	results []Result

	// signers are distinct, and made the signatures or attestations for which
	// an authority counts; times are when those with a certificate did.
	signers []signing.Signatory
	times   []time.Time

	// statements are the attestations that were asked for.
	statements []signing.Attestation
}

func (j *judge) all() {
	j.signature()
	c, m := j.doc.Conditions, j.doc.Model
	if c.MinSigners > 0 {
		j.add(RuleMinSigners, len(j.signers) >= c.MinSigners, plural(len(j.signers), "distinct signer")+named(j.signers), fmt.Sprintf("at least %d", c.MinSigners))
	}
	if c.RequireDigest {
		j.add(RuleDigest, j.facts.Pinned, yes(j.facts.Pinned, "a digest", "a tag, which can be moved"), "a reference with @sha256:…")
	}
	if c.MaxSignatureAge > 0 {
		j.signatureAge()
	}
	if c.RequireOMS {
		j.oms()
	}
	j.model(m)
	j.statementsOf(m)
	j.status(m)
	if m.Lineage != nil {
		j.lineage(m.Lineage)
	}
	if j.facts.Rollback != "" {
		j.add(RuleRollback, false, j.facts.Rollback, "the version that was seen last, or a later one")
	}
}

// add notes what came out. In a document that only warns nothing refuses.
func (j *judge) add(rule string, ok bool, found, wanted string) {
	effect := effectRefuse
	if j.doc.Warn {
		effect = effectWarn
	}
	j.note(Result{Rule: rule, OK: ok, Effect: effect, Found: found, Wanted: wanted})
}

func (j *judge) note(r Result) {
	if r.OK {
		r.Effect = ""
	}
	j.results = append(j.results, r)
}

// evidence returns what was found of an authority, in the form that it signs in.
func (j *judge) evidence(a *Authority) Evidence {
	e := j.facts.Evidence[Source{j.doc.Name, a.Name}]
	if a.Format == "" {
		return e
	}
	want := signing.Bundle
	if a.Format == "legacy" {
		want = signing.Classic
	}
	e.Signers = slices.DeleteFunc(slices.Clone(e.Signers), func(s signing.Signatory) bool { return s.Format != want })
	other := func(s signing.Attestation) bool { return s.Signer.Format != want }
	e.Attestations = slices.DeleteFunc(slices.Clone(e.Attestations), other)
	e.Chosen = slices.DeleteFunc(slices.Clone(e.Chosen), other)
	return e
}

// signature asks for one authority that counts.
func (j *judge) signature() {
	var found, wanted []string
	ok := false
	for i := range j.doc.Authorities {
		a := &j.doc.Authorities[i]
		passes, why := j.authority(a)
		ok = ok || passes
		found = append(found, a.Name+": "+why)
		wanted = append(wanted, a.wanted())
	}
	j.add(RuleSignature, ok, strings.Join(found, "; "), strings.Join(wanted, ", or "))
}

// authority tells whether a counts, and what was found of it.
func (j *judge) authority(a *Authority) (bool, string) {
	switch a.Static {
	case "pass":
		return true, "allowed whoever signed it"
	case "fail":
		return false, or(a.Message, "refused whoever signed it")
	}
	e := j.evidence(a)
	if len(a.Attestations) == 0 {
		if len(e.Signers) == 0 {
			return false, or(e.Reason, "no signature that counts is visible")
		}
		for _, s := range e.Signers {
			j.count(s)
		}
		return true, "signed by " + signatories(e.Signers)
	}
	var missing []string
	var made []signing.Attestation
	for _, want := range a.Attestations {
		n := len(made)
		for _, at := range e.Attestations {
			if at.Type == want.PredicateType {
				made = append(made, at)
			}
		}
		if len(made) == n {
			missing = append(missing, want.PredicateType)
		}
	}
	if len(missing) > 0 {
		return false, "no attestation of the type " + listed(missing) + " that counts is visible"
	}
	var by []signing.Signatory
	for _, at := range made {
		j.count(at.Signer)
		by = appendSigners(by, []signing.Signatory{at.Signer})
	}
	j.statements = append(j.statements, made...)
	return true, "attested by " + signatories(by)
}

// count notes a party that vouches for the version.
func (j *judge) count(s signing.Signatory) {
	j.signers = appendSigners(j.signers, []signing.Signatory{s})
	// A key's signature is good at any time, so that whoever has an old one can
	// have it stamped again. A certificate's is only while the certificate is.
	if s.Kind == "certificate" && !s.Time.IsZero() {
		j.times = append(j.times, s.Time)
	}
}

func (a *Authority) wanted() string {
	switch a.Static {
	case "pass":
		return "anything (" + a.Name + ")"
	case "fail":
		return "nothing (" + a.Name + ")"
	}
	var who []string
	for _, k := range a.Keys {
		who = append(who, "key "+short(k.Fingerprint()))
	}
	for _, id := range a.Identities {
		who = append(who, or(id.Subject, id.SubjectRegexp)+" by "+or(id.Issuer, id.IssuerRegexp))
	}
	if a.CA != nil {
		for _, id := range a.CA.Identities {
			who = append(who, or(id.Subject, id.SubjectRegexp)+" with a certificate of its own authority")
		}
	}
	what := "a signature"
	if len(a.Attestations) > 0 {
		var types []string
		for _, r := range a.Attestations {
			types = append(types, r.PredicateType)
		}
		what = "attestations " + strings.Join(types, " and ")
	}
	if a.Format != "" {
		what += " in the form " + a.Format
	}
	return fmt.Sprintf("%s of %s (%s)", what, strings.Join(who, " or "), a.Name)
}

// clockSlack is by how much clocks may differ.
const clockSlack = 5 * time.Minute

// age tells whether at is no longer ago than limit, and says when it was.
func (j *judge) age(at time.Time, limit time.Duration) (bool, string) {
	since := j.facts.Now.Sub(at)
	text := at.UTC().Format(time.RFC3339)
	if since < -clockSlack {
		return false, text + ", which is in the future: is the clock of this machine right? It says " + j.facts.Now.UTC().Format(time.RFC3339)
	}
	return limit == 0 || since <= limit, text
}

func (j *judge) signatureAge() {
	limit := j.doc.MaxSignatureAge
	wanted := "a certificate's signature not older than " + span(limit) + ", by a timestamp or log that vouches for the time"
	if len(j.times) == 0 {
		j.add(RuleSignatureAge, false, "no certificate's signature with a time that somebody vouches for", wanted)
		return
	}
	ok, text := j.age(slices.MaxFunc(j.times, time.Time.Compare), limit)
	j.add(RuleSignatureAge, ok, "the newest of "+text, wanted)
}

func (j *judge) oms() {
	var by []signing.Signatory
	for i := range j.doc.Authorities {
		by = appendSigners(by, j.evidence(&j.doc.Authorities[i]).OMS)
	}
	found := "none"
	if len(by) > 0 {
		found = "one by " + signatories(by)
	}
	what := yes(j.doc.OMSAllFiles, "all files, none left out,", "the files")
	j.add(RuleOMS, len(by) > 0, found, "an OpenSSF model signature of "+what+" by one of the authorities")
}

// who is what makes two signatories the same.
func who(s signing.Signatory) [3]string {
	if s.KeyFingerprint != "" {
		return [3]string{s.KeyFingerprint}
	}
	return [3]string{"", s.Issuer, s.Identity}
}

// appendSigners adds those that are not there yet.
func appendSigners(to, more []signing.Signatory) []signing.Signatory {
	for _, s := range more {
		if !slices.ContainsFunc(to, func(o signing.Signatory) bool { return who(o) == who(s) }) {
			to = append(to, s)
		}
	}
	return to
}
