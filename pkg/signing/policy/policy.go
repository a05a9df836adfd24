// Package policy says whether a version of a model may be used.
//
// A policy is a YAML file with one or more documents, each a ClusterImagePolicy
// of sigstore's policy-controller (policy.sigstore.dev/v1beta1), so that the
// same file can be applied to a cluster. [Parse] reads a strict subset of that
// form: what it does not know is an error and never ignored. Conditions that
// the form has no fields for are annotations, which a cluster ignores; their
// keys begin with [Prefix]. docs/policy.md has all of it.
//
// [Policy.Decide] is a pure function of [Facts]: it asks nobody, reads no clock
// and goes through all rules, so that the [Decision] lists everything that is
// wrong at once. Whoever gathers the facts verifies signatures first; what is
// not in the facts counts as not being there, and a rule that needs it fails.
//
// What decides on a repository: of all documents with a glob that matches it,
// those with the most specific match, see [Policy.Deciding], and those that are
// marked to decide always. All of them must pass; within one, any authority
// will do, and every condition must hold. A repository that no document
// matches, but for those that decide always, is refused.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/signing"
)

// Bounds of what [Parse] reads.
const (
	MaxBytes       = 1 << 20 // of a policy, in bytes
	MaxDocuments   = 256     // in a policy
	maxGlobs       = 256     // in a document
	maxAuthorities = 64      // in a document
	maxEntries     = 1024    // in a list of a model's conditions
	maxDepth       = 16      // of YAML
	maxNodes       = 1 << 16 // of YAML, in a document
)

// Prefix begins the keys of annotations that are modelreg's.
const Prefix = "policy.modelreg.dev/"

// Types of statements that conditions of [Model] read.
const (
	TypeScan       = "https://cosign.sigstore.dev/attestation/vuln/v1"
	TypeEvaluation = "https://modelreg.dev/eval/v1"
	TypeTests      = "https://in-toto.io/attestation/test-result/v0.1"
	TypeProvenance = "https://slsa.dev/provenance/v1"
	TypeStatus     = "https://modelreg.dev/status/v1"

	// typeProvenance02 is what was written before.
	typeProvenance02 = "https://slsa.dev/provenance/v0.2"
)

var (
	// ErrInvalid is wrapped by every error about a policy that cannot be used.
	ErrInvalid = errors.New("invalid policy")

	// ErrRefused is wrapped by a [Refusal].
	ErrRefused = errors.New("refused by policy")

	// ErrYanked is wrapped by a [Refusal] for no other reason than that the
	// version was withdrawn.
	ErrYanked = errors.New("yanked")
)

// A Policy is a file of rules. It is not changed after [Parse], and may be used
// by several goroutines.
type Policy struct {
	// Documents are in the order of the file.
	Documents []Document

	dgst digest.Digest
}

// Digest is that of the file's bytes.
func (p *Policy) Digest() digest.Digest { return p.dgst }

// String names the policy as results and lock files do: NAME@sha256:…, where
// NAME is that of the first document, with +N when N others follow.
func (p *Policy) String() string {
	name := p.Documents[0].Name
	if n := len(p.Documents) - 1; n > 0 {
		name = fmt.Sprintf("%s+%d", name, n)
	}
	return name + "@" + p.dgst.String()
}

// A Document is one ClusterImagePolicy.
type Document struct {
	Name string

	// Globs say for which repositories it is, see [Policy.Deciding].
	Globs []string

	// Warn makes failures warnings: spec.mode is "warn".
	Warn bool

	// Authorities are at least one. Any of them will do.
	Authorities []Authority

	// Conditions must hold besides.
	Conditions

	globs []glob
}

// An Authority is a party whose word counts. It has one of a key, identities,
// or a static answer.
type Authority struct {
	Name string // unique in the document; authority-N where the file has none

	// Static is "pass" or "fail", whatever anybody signed. Message is shown
	// when it is "fail".
	Static, Message string

	Keys       []*signing.PublicKey
	Identities []signing.Identity

	// CA, if not nil, are private certificate authorities, with the identities
	// whose certificates count; there are no keys and no other identities then.
	CA *signing.Authorities

	// TrustRoot names the certificate authorities, logs and timestamp
	// authorities that are believed; the empty one is the default. Whoever
	// gathers the facts knows them by name.
	TrustRoot string

	IgnoreLog bool // signatures with certificates need not be in a transparency log
	IgnoreSCT bool // certificates need not be in a log of certificates
	Log       bool // signatures by keys, and by CA's, must be in a transparency log
	Timestamp bool // signatures must have a signed timestamp

	// Format is "bundle", "legacy", or empty for both.
	Format string

	// Attestations must all be there. A plain signature is not needed then.
	Attestations []Requirement
}

// A Requirement is an attestation that an authority must have made.
type Requirement struct {
	Name, PredicateType string
}

// Conditions are what modelreg asks for besides what a cluster knows of.
type Conditions struct {
	// MinSigners is how many distinct parties must have signed, over all
	// authorities of the document.
	MinSigners int

	// RequireDigest refuses references without a digest.
	RequireDigest bool

	// MaxSignatureAge bounds the age of the newest certificate's signature that
	// counts, by a time that a trusted party vouches for. Zero is no bound. It
	// does not go with keys, whose signatures can be stamped anew by anybody.
	MaxSignatureAge time.Duration

	// MatchRepository demands that signatures name the repository.
	MatchRepository bool

	// RequireOMS demands an OpenSSF model signature by an authority.
	RequireOMS bool

	// OMSAllFiles demands besides that it leaves no file of the version out, as
	// its signer may have had it do.
	OMSAllFiles bool

	// Always makes the document decide also where another one has a more
	// specific glob. It allows nothing that no other one is for.
	Always bool

	// Model is what is asked of the model; the zero value asks nothing.
	Model Model
}

// Model is what the annotation policy.modelreg.dev/model asks of a version.
type Model struct {
	Licenses   []string     // all that the version names must be among these; lower case
	Formats    []string     // all formats of its weights must be among these
	CustomCode bool         // loading it may run no code that comes with it
	MaxSize    int64        // of its files, in bytes; zero is no bound
	BaseModels []string     // globs, of which each base model that it names must match one
	MinVersion string       // semantic version that it must at least be
	Yanked     Reaction     // to a version that was withdrawn
	Deprecated Reaction     // to a version that should no longer be used
	Scan       *Scan        // nil asks for none
	Evaluation []Evaluation // each must be met
	Tests      bool         // a test result that says PASSED
	Builders   []string     // globs, of which the builder of its provenance must match one
	Lineage    *Lineage     // nil asks nothing of what it was made of

	// ProvenanceInputs asks that its provenances name what the version says that it
	// was made of, and nothing else, and that there is one.
	ProvenanceInputs bool

	globs compiledModel // of BaseModels and Builders
}

type compiledModel struct{ bases, builders []glob }

// A Reaction is what happens when something is found.
type Reaction string

// The reactions. Where only one of [Model]'s two is set, the other means: a
// deprecated version is a warning; a yanked one is refused, but for a reference
// with a digest, where it is a warning. Where neither is, nothing is looked for.
const (
	Unset  Reaction = ""
	Allow  Reaction = "allow"
	Warn   Reaction = "warn"
	Refuse Reaction = "refuse"
)

// A Scan asks for the report of a scanner that found nothing.
type Scan struct {
	MaxAge time.Duration // of the newest report; zero is no bound
}

// An Evaluation bounds a metric: each trusted result that names it must be
// within the bounds, and there must be one.
type Evaluation struct {
	Metric  string
	Filter  string // empty is any, and so are the next two
	Task    string
	Dataset string
	Min     *float64
	Max     *float64
}

// Deciding returns the documents that decide on a repository, host/name, in
// the order of the file: those with the most specific glob that matches, and
// those that decide always and match. There may be none.
//
// Of two globs the one with the longer text before its first wildcard is more
// specific; then the one with more text; then the one with fewer "**", then with
// fewer "*".
func (p *Policy) Deciding(repository string) []*Document {
	name := Normal(repository)
	var best *specificity
	found := make([]*specificity, len(p.Documents))
	for i := range p.Documents {
		found[i] = p.Documents[i].match(name)
		if s := found[i]; s != nil && !p.Documents[i].Always && (best == nil || s.compare(*best) > 0) {
			best = s
		}
	}
	var out []*Document
	for i, s := range found {
		if d := &p.Documents[i]; s != nil && (d.Always || s.compare(*best) == 0) {
			out = append(out, d)
		}
	}
	return out
}

// match returns the most specific of the globs that match, nil if none does.
func (d *Document) match(name string) *specificity {
	var best *specificity
	for i := range d.globs {
		g := &d.globs[i]
		if g.re.MatchString(name) && (best == nil || g.spec.compare(*best) > 0) {
			best = &g.spec
		}
	}
	return best
}

// globs lists those of all documents that can allow a repository, each once.
func (p *Policy) globs() []string {
	var all []string
	for _, d := range p.Documents {
		for _, g := range d.Globs {
			if !d.Always && !slices.Contains(all, g) {
				all = append(all, g)
			}
		}
	}
	return all
}

// Normal is the name of a repository as globs are compared with it: hosts have no
// case, the port of HTTPS goes without saying, and Docker Hub has one name.
func Normal(repository string) string {
	host, name, ok := strings.Cut(repository, "/")
	if !ok {
		return repository
	}
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = "index.docker.io"
	}
	return host + "/" + name
}
