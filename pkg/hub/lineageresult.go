package hub

import "github.com/modelreg/modelreg/pkg/lineage"

// A Lineage is what a version was made of, and what was made of it.
type Lineage struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`

	// Nodes are the versions and whatever else is named, each once, the
	// version itself first.
	Nodes []LineageNode `json:"nodes"`

	// Edges lead from what went in to what was made of it.
	Edges []LineageEdge `json:"edges"`

	// Warnings are what is passed on along the edges.
	Warnings []LineageWarning `json:"warnings"`

	// Truncated says that there is more than the limits let us look at.
	Truncated bool `json:"truncated"`
}

// A LineageNode is a version in a registry, or something that is only named.
type LineageNode struct {
	// ID is the name in this lineage: repository@digest of a version, else the
	// reference.
	ID        string `json:"id"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"` // "" if it is not known
	Kind      string `json:"kind"`   // "model", "dataset" or "code"

	// Read says that the version was found; the rest is known only then, or as an
	// index has it.
	Read         bool     `json:"read"`
	Licenses     []string `json:"licenses"`
	Architecture string   `json:"architecture,omitempty"`
	Parameters   int64    `json:"parameters,omitzero"`
	Quantization string   `json:"quantization,omitempty"`

	Signatures int      `json:"signatures"`        // attached, judged by nobody
	Signers    []Signer `json:"signers,omitempty"` // those that are trusted

	// State is "yanked" or "deprecated" with the reason that was given, and
	// empty otherwise.
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`

	// Scan is the verdict of the newest scan that a trusted party has attested.
	Scan string `json:"scan,omitempty"`

	// Problem is why it could not be read.
	Problem string `json:"problem,omitempty"`
}

// A LineageEdge leads from what went into a version to the version.
type LineageEdge struct {
	Input    string           `json:"input"`  // the ID of a node
	Output   string           `json:"output"` // likewise
	Relation lineage.Relation `json:"relation"`
	Inferred bool             `json:"inferred,omitempty"` // nobody has named the relation
	Weight   float64          `json:"weight,omitzero"`    // its part in a merge
	Said     string           `json:"said"`               // where it is said: inputs, base, annotation, card, origin; index
	Pinned   bool             `json:"pinned"`             // by a digest or a commit
	Claim    lineage.Claim    `json:"claim"`

	// Learnt is how what was made of a version was found: "registry", by reading
	// the repositories there; "announced", by a note at what it was made of; or
	// "index". Empty for what a version itself names.
	Learnt string `json:"learnt,omitempty"`
}

// Ways in which what was made of a version is found.
const (
	LearntRegistry  = "registry"
	LearntAnnounced = "announced"
	LearntIndex     = "index"
)

// A LineageWarning is something about a version that matters to what was made of
// it.
type LineageWarning struct {
	// Kind is "licence", "yanked", "deprecated", "unsigned", "unsafe",
	// "contradicted", "unpinned", "unread" or "provenance".
	Kind    string `json:"kind"`
	Node    string `json:"node"` // the ID of the node that it is about
	Message string `json:"message"`
}
