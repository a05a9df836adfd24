package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/signing"
)

// Facts are all that [Policy.Decide] goes by. What a signature does not cover is
// in none of them, but for the tag.
type Facts struct {
	Repository string        // host/name, where the version is from
	Tag        string        // that led to it; empty where a digest was given, whatever tag stood beside it
	Digest     digest.Digest // of the version

	// Pinned says that it was asked for by its digest.
	Pinned bool

	// Now is compared with times that were signed.
	Now time.Time

	// Evidence is what was found of each authority of the documents that
	// [Policy.Deciding] returns. One that is missing has signed nothing.
	Evidence map[Source]Evidence

	// Model is what the version says of itself.
	Model ModelFacts

	// Lineage is what it was made of. It is asked for where a document is about
	// that, and nil is not known.
	Lineage *LineageFacts

	// Differences tell, by the digest of the predicate of a provenance, where it and
	// the version differ in what this was made of: nothing for one that agrees. They
	// are asked for where a document has [Model.ProvenanceInputs], and a provenance
	// that is not among them could not be read.
	Differences map[digest.Digest][]string

	// Rollback tells how the tag went back to an older version than this
	// user has seen there; empty if it did not, or may.
	Rollback string
}

// A Source names an authority of a document.
type Source struct {
	Document, Authority string
}

// Evidence is what an authority was found to have signed of a version, all of it
// verified.
type Evidence struct {
	// Signers made signatures. There can be several: a key and identities
	// are each one.
	Signers []signing.Signatory

	// Attestations are what it stated besides.
	Attestations []signing.Attestation

	// Chosen are what it stated of the manifest that was chosen from an index,
	// where the rest is about the index. They count only against the version.
	Chosen []signing.Attestation

	// OMS made OpenSSF model signatures that cover the version's files.
	OMS []signing.Signatory

	// Reason tells why there are no signers: what was found and does not
	// count, or that nothing was.
	Reason string
}

// ModelFacts are what the version's manifest, and files that it names by their
// digests, say.
type ModelFacts struct {
	Licenses   []string // lower case
	Formats    []Format
	CustomCode []string // where it says so: an annotation, or files
	Size       int64    // of all files, in bytes
	BaseModels []string
	Version    string // that the manifest says it is; may be empty
}

// A Format is that of some of the files, and one of them to name.
type Format struct {
	Name, Path string
}

// A Decision is the outcome, and how it came about.
type Decision struct {
	Policy     string   `json:"policy"` // see [Policy.String]
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	Allowed    bool     `json:"allowed"`
	Rules      []Result `json:"rules"` // in the order of the documents, then of the manual

	// Signers and Attestations are those that counted, each once.
	Signers      []signing.Signatory   `json:"-"`
	Attestations []signing.Attestation `json:"-"`
}

// A Result is what came out for one rule of one document. Texts are for people,
// and may hold text from the registry.
type Result struct {
	Document string `json:"document"` // its name; empty for the rule "match"
	Rule     string `json:"rule"`     // see docs/policy.md
	OK       bool   `json:"ok"`
	Effect   string `json:"effect"` // when it is not ok: "refuse" or "warn"
	Found    string `json:"found"`
	Wanted   string `json:"wanted"`
}

// Failures are the rules that refuse.
func (d *Decision) Failures() []Result { return d.failed(effectRefuse) }

// Warnings are the rules that do not hold and do not refuse.
func (d *Decision) Warnings() []Result { return d.failed(effectWarn) }

func (d *Decision) failed(effect string) []Result {
	var out []Result
	for _, r := range d.Rules {
		if !r.OK && r.Effect == effect {
			out = append(out, r)
		}
	}
	return out
}

const (
	effectRefuse = "refuse"
	effectWarn   = "warn"
)

// Err returns a *[Refusal], or nil if the version is allowed.
func (d *Decision) Err() error {
	if d.Allowed {
		return nil
	}
	return &Refusal{Decision: d}
}

// A Refusal is the error that a policy says no.
type Refusal struct {
	Decision *Decision
}

// Error tells the policy and what fails: the rule, what was found, and what
// would satisfy it.
func (r *Refusal) Error() string {
	const shown = 3
	var text strings.Builder
	text.WriteString("refused by policy " + r.Decision.Policy)
	failures := r.Decision.Failures()
	for i, f := range failures[:min(shown, len(failures))] {
		text.WriteString([2]string{"; ", ": "}[btoi(i == 0)] + f.Rule)
		if f.Document != "" {
			text.WriteString(" of " + f.Document)
		}
		text.WriteString(": found " + f.Found + ", wanted " + f.Wanted)
	}
	if n := len(failures) - shown; n > 0 {
		text.WriteString("; and " + plural(n, "more rule"))
	}
	return text.String()
}

// Unwrap returns [ErrRefused], and before it what tells more when it is the only
// reason: [ErrYanked] or [signing.ErrRollback].
func (r *Refusal) Unwrap() []error {
	only := func(rule string) bool {
		return !slices.ContainsFunc(r.Decision.Failures(), func(f Result) bool { return f.Rule != rule })
	}
	switch {
	case only(RuleYanked):
		return []error{ErrYanked, ErrRefused}
	case only(RuleRollback):
		return []error{signing.ErrRollback, ErrRefused}
	}
	return []error{ErrRefused}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
