package policy

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/signing"
)

const maxRegexpBytes = 1024

// checkRegexp refuses an expression that is not anchored at both ends as a
// whole: "a" is found in "xay", and "^a|b$" in "axx".
func checkRegexp(expr string) error {
	if expr == "" {
		return nil
	}
	if len(expr) > maxRegexpBytes {
		return fmt.Errorf("%d bytes, more than %d", len(expr), maxRegexpBytes)
	}
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return err
	}
	n := len(re.Sub)
	if re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText || re.Sub[n-1].Op != syntax.OpEndText {
		return fmt.Errorf("%q must begin with ^ and end with $, around all of it: ^(a|b)$ and not ^a|b$", expr)
	}
	if signing.MatchesAnything(expr) {
		return fmt.Errorf("%q is true of everything", expr)
	}
	return nil
}

// lint refuses what is well formed and means less, or more, than it seems to.
func (d *Document) lint() error {
	names := map[string]bool{}
	keys := map[string]string{}
	identities := map[signing.Identity]string{}
	passes, signers, long := false, false, false
	for _, a := range d.Authorities {
		if names[a.Name] {
			return fmt.Errorf("spec.authorities: two are called %q", a.Name)
		}
		names[a.Name] = true
		for _, k := range a.Keys {
			if other, ok := keys[k.Fingerprint()]; ok {
				return fmt.Errorf("spec.authorities: %q has the same key as %q", a.Name, other)
			}
			keys[k.Fingerprint()] = a.Name
		}
		for _, id := range a.Identities {
			if other, ok := identities[id]; ok {
				return fmt.Errorf("spec.authorities: %q has the same identity as %q", a.Name, other)
			}
			identities[id] = a.Name
		}
		passes = passes || a.Static == "pass"
		signers = signers || a.Static == ""
		long = long || len(a.Keys) > 0 || a.CA != nil
	}
	if passes && d.isForAll() && d.Conditions.isZero() {
		return errors.New(`spec: the glob ** with static "pass" allows everything: that is no policy`)
	}
	if !signers && d.Conditions.needSigner() {
		return errors.New("metadata.annotations: a condition is about what somebody signed, and every authority is static")
	}
	if passes && d.Conditions.countsSigners() {
		return errors.New(`metadata.annotations: min-signers and max-signature-age do not go with static "pass"`)
	}
	if d.MaxSignatureAge > 0 && long {
		return errors.New("metadata.annotations: max-signature-age is for certificates (keyless): " +
			"a key's signature, and one with a certificate that lasts, can be stamped anew by anybody who has it; give these a document of their own without it")
	}
	return nil
}

// isForAll tells whether one of the globs has nothing but wildcards.
func (d *Document) isForAll() bool {
	for _, g := range d.Globs {
		if strings.Trim(g, "*/") == "" {
			return true
		}
	}
	return false
}

func (c Conditions) countsSigners() bool { return c.MinSigners > 0 || c.MaxSignatureAge > 0 }

// needSigner tells whether a condition can only hold of what was signed.
func (c Conditions) needSigner() bool {
	m := c.Model
	return c.countsSigners() || c.MatchRepository || c.RequireOMS || m.Scan != nil || len(m.Evaluation) > 0 || m.Tests || len(m.Builders) > 0 || m.ProvenanceInputs ||
		m.Lineage != nil && m.Lineage.Signed
}

// isZero tells whether nothing at all is asked.
func (c Conditions) isZero() bool {
	m := c.Model
	return !c.needSigner() && !c.RequireDigest && len(m.Licenses) == 0 && len(m.Formats) == 0 && !m.CustomCode &&
		m.MaxSize == 0 && len(m.BaseModels) == 0 && m.MinVersion == "" && m.Lineage == nil
}

// Passes tells whether an authority lets in what nobody has signed.
func (d *Document) Passes() bool {
	return slices.ContainsFunc(d.Authorities, func(a Authority) bool { return a.Static == "pass" })
}

// AsksFiles tells whether [ModelFacts] are needed to decide.
func (m Model) AsksFiles() bool {
	return len(m.Licenses) > 0 || len(m.Formats) > 0 || m.CustomCode || m.MaxSize > 0 || len(m.BaseModels) > 0 || m.MinVersion != ""
}

// AsksStatements tells whether attestations are needed to decide.
func (d *Document) AsksStatements() bool {
	for _, a := range d.Authorities {
		if len(a.Attestations) > 0 {
			return true
		}
	}
	return d.AsksChosen() || len(d.Model.Builders) > 0 || d.Model.ProvenanceInputs
}

// AsksChosen tells whether attestations can count against a version, so that it
// matters what is said of an index and of the manifest that is chosen from it.
func (d *Document) AsksChosen() bool {
	m := d.Model
	return m.Scan != nil || len(m.Evaluation) > 0 || m.Tests || m.asksStatus()
}

// AsksStatus tells whether the document decides about versions that were deprecated
// or yanked.
func (d *Document) AsksStatus() bool { return d.Model.asksStatus() }

// asksStatus tells whether it matters what became of the version.
func (m Model) asksStatus() bool { return m.Yanked != Unset || m.Deprecated != Unset }
