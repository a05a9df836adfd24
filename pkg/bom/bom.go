// Package bom writes bills of materials of models: what a version holds, file by
// file, what it was made of, what its card says and how it was measured, as
// CycloneDX ML-BOM and as SPDX 3 with the AI profile.
//
// A bill says what it is given and invents nothing: what nobody has said is not in
// it, and what a card claims is the card's claim. The same [Subject] gives the same
// bytes on every machine and day, so that a bill can be attached a second time
// without there being two.
package bom

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/lineage"
)

// A Format is a form of bill.
type Format string

// The formats.
const (
	CycloneDX16 Format = "cyclonedx"     // CycloneDX 1.6
	CycloneDX17 Format = "cyclonedx-1.7" // CycloneDX 1.7
	SPDX3       Format = "spdx"          // SPDX 3.0.1, profiles AI and Dataset
)

// MediaType is what the format is called in registries.
func (f Format) MediaType() string {
	if f == SPDX3 {
		return "application/spdx+json"
	}
	return "application/vnd.cyclonedx+json"
}

// PredicateType is what an attestation of the format is called.
func (f Format) PredicateType() string {
	if f == SPDX3 {
		return "https://spdx.dev/Document"
	}
	return "https://cyclonedx.org/bom"
}

// ErrFormat is returned for a format that is none of the above.
var ErrFormat = errors.New("no such format of bills of materials")

// MaxFiles bounds the files that a bill lists; of more it tells how many there are.
const MaxFiles = 20_000

// maxText bounds the text that is taken from one section of a card, in bytes.
const maxText = 8 << 10

// A Subject is what a bill is about. Empty fields are not in the bill.
type Subject struct {
	Name      string // host/repository, or the name of a directory
	Version   string // the tag
	Digest    string // sha256:… of the version's manifest
	Reference string // host/repository:tag@digest

	Card    *card.Card // nil without a card
	Facts   Facts
	Files   []File
	Edges   []lineage.Edge
	Results []Measured

	// Created is when the version, or else the bill, was made. SPDX demands a
	// time: zero is 1970 there, and no time at all in CycloneDX.
	Created time.Time

	// Tool is the version of the program that writes the bill.
	Tool string
}

// Facts are what the files say of the model.
type Facts struct {
	Architecture  string
	Quantization  string
	Library       string
	Task          string
	Parameters    int64
	ContextLength int64
	Formats       []string
	CustomCode    bool
}

// A Measured is a result, and whose word it is.
type Measured struct {
	eval.Result

	// Class is what the word is worth to whoever makes the bill: "claimed" by
	// the card, or what package hub calls the signer. Empty says nothing.
	Class string

	// Signer is who has signed it, in words, and Statement the digest of the
	// manifest that holds what was signed; both are empty where nobody has.
	Signer, Statement string
}

// A File is one file of a model.
type File struct {
	Path   string
	Kind   string
	Digest string // sha256:…
	Size   int64  // bytes
}

// Generate writes a bill.
func Generate(s Subject, f Format) ([]byte, error) {
	switch f {
	case CycloneDX16:
		return cycloneDX(s, "1.6")
	case CycloneDX17:
		return cycloneDX(s, "1.7")
	case SPDX3:
		return spdx3(s)
	}
	return nil, fmt.Errorf("%w: %q", ErrFormat, f)
}

// id is a digest over all that a bill is made of.
func (s *Subject) id() string {
	h := sha256.New()
	line := func(fields ...any) { fmt.Fprintf(h, "%q\n", fields) }
	line(s.Name, s.Version, s.Digest, s.Created.Unix(), s.Tool, s.Facts)
	for _, f := range s.Files {
		line(f.Path, f.Kind, f.Digest, f.Size)
	}
	for _, e := range s.Edges {
		line(e.Relation, e.Reference, e.Digest)
	}
	s.idOfResults(h)
	if s.Card != nil {
		line(string(s.Card.FrontMatter), string(s.Card.Body))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (s *Subject) idOfResults(h hash.Hash) {
	for _, r := range s.Results {
		fmt.Fprintf(h, "%q %q %v\n", r.metric(), r.slice(), r.Value)
		if r.Class != "" {
			fmt.Fprintf(h, "%q %q %q\n", r.Class, r.Signer, r.Statement)
		}
	}
}

// group and name are the parts of the name before and after the last slash.
func (s *Subject) group() string {
	if i := strings.LastIndexByte(s.Name, '/'); i > 0 {
		return s.Name[:i]
	}
	return ""
}

func (s *Subject) short() string { return s.Name[strings.LastIndexByte(s.Name, '/')+1:] }

// version is what tells this model from others of the name.
func (s *Subject) version() string {
	if s.Version != "" {
		return s.Version
	}
	return s.Digest
}

// meta is the front matter of the card.
func (s *Subject) meta() card.Metadata {
	if s.Card == nil {
		return card.Metadata{}
	}
	return s.Card.Meta
}

// topic is what the card says about something.
func (s *Subject) topic(id string) string {
	if s.Card == nil {
		return ""
	}
	return clip(s.Card.Topic(id))
}

// clip cuts text that is longer than a bill should quote.
func clip(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// bases are the models that it was made of, data the datasets.
func (s *Subject) bases() []lineage.Edge {
	return s.edges(func(r lineage.Relation) bool { return r.OfModels() && r != lineage.Origin })
}

func (s *Subject) data() []lineage.Edge {
	return s.edges(func(r lineage.Relation) bool { return r == lineage.Dataset })
}

func (s *Subject) edges(want func(lineage.Relation) bool) []lineage.Edge {
	var out []lineage.Edge
	for _, e := range s.Edges {
		if want(e.Relation) {
			out = append(out, e)
		}
	}
	return out
}

// metric names what was measured.
func (r *Measured) metric() string {
	if r.Metric.Filter == "" {
		return r.Metric.Name
	}
	return r.Metric.Name + " (" + r.Metric.Filter + ")"
}

// slice tells what a result was measured on.
func (r *Measured) slice() string {
	parts := []string{r.Dataset.ID, r.Dataset.Config, r.Dataset.Split}
	if r.Dataset.ID == "" {
		parts[0] = r.Task
	}
	if state := r.Dataset.State(); state != "" {
		parts[0] += "@" + state
	}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// key is metric and slice in one.
func (r *Measured) key() string {
	if on := r.slice(); on != "" {
		return r.metric() + " on " + on
	}
	return r.metric()
}

// encode writes a bill, indented and with text as it is.
func encode(doc any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode bill of materials: %w", err)
	}
	return out.Bytes(), nil
}
