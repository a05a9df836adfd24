package lineage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// A Relation says what something was for the version that was made of it.
type Relation string

// The relations. The first four are those of the Hugging Face Hub, by its names.
const (
	Finetune  Relation = "finetune"  // trained further
	Adapter   Relation = "adapter"   // weights beside those of the base
	Merge     Relation = "merge"     // the weights of several joined
	Quantized Relation = "quantized" // the same weights in fewer bits
	Distilled Relation = "distilled" // taught by the base
	Converted Relation = "converted" // the same weights in another format
	Dataset   Relation = "dataset"   // trained on it
	Code      Relation = "code"      // made by it
	Origin    Relation = "origin"    // the same version elsewhere, which it was imported from
)

// Relations returns all relations, in the order of the manual.
func Relations() []Relation {
	return []Relation{Finetune, Adapter, Merge, Quantized, Distilled, Converted, Dataset, Code, Origin}
}

// ParseRelation reads the name of a relation.
func ParseRelation(s string) (Relation, error) {
	if r := Relation(s); slices.Contains(Relations(), r) {
		return r, nil
	}
	return "", fmt.Errorf("%w: relation %.40q is not known", ErrInputs, s)
}

// OfModels tells whether it is a relation between models: weights came from
// weights.
func (r Relation) OfModels() bool { return r != Dataset && r != Code }

// Limits of what a version may say that it was made of.
const (
	MaxInputs         = 256
	MaxInputsBytes    = 48 << 10 // of the annotation
	maxReferenceBytes = 1024
	maxEdges          = 2 * MaxInputs // from all places where it may say so
)

// ErrInputs is wrapped by errors about inputs that cannot be written or read.
var ErrInputs = errors.New("invalid lineage")

// An Edge leads from a version to something that it was made of.
type Edge struct {
	Relation Relation `json:"rel"`

	// Reference says what it was: host/repository:tag of a registry,
	// "hf:org/model@commit" and "hf:datasets/org/name@commit" of the Hugging
	// Face Hub, without the commit where it is known by name alone, or the
	// address of something else, such as code. It may be any text.
	Reference string `json:"ref"`

	// Digest is that of the version in a registry; empty if it is not known.
	Digest digest.Digest `json:"digest,omitempty"`

	// Weight is its part in a merge; zero if that is not said.
	Weight float64 `json:"weight,omitzero"`

	// ImportedFrom is what the version in the registry was imported from, in the form
	// of Reference.
	ImportedFrom string `json:"origin,omitempty"`

	// Said is where it is said: "inputs", "base", "annotation", "card" or
	// "origin".
	Said string `json:"-"`

	// Inferred says that nobody has named the relation: it follows from what
	// the version is.
	Inferred bool `json:"-"`
}

// Pinned tells whether the edge leads to bytes rather than to a name.
func (e Edge) Pinned() bool { return e.Digest != "" || commitOf(e.Reference) != "" }

// Registry is where the version lies, if that is a registry. The reference has
// the digest if it is known.
func (e Edge) Registry() (ref.Reference, bool) {
	if strings.HasPrefix(e.Reference, "hf:") || strings.Contains(e.Reference, "://") || len(e.Reference) > maxReferenceBytes {
		return ref.Reference{}, false
	}
	r, err := ref.Parse(e.Reference)
	if err != nil || r.Scheme != "" || r.Host == "" || r.Variant != "" || r.Path != "" || r.Range != "" {
		return ref.Reference{}, false
	}
	if e.Digest != "" {
		r = r.WithDigest(e.Digest)
	}
	return r, true
}

// Edges are what a version says that it was made of: in the annotations of its
// manifest, and in the front matter of its card. What is said twice is there
// once, with the most that is known of it. What cannot be read is left out, which
// [Complete] tells of.
//
// Names in cards are those of the Hugging Face Hub, unless they are addresses.
func Edges(annotations map[string]string, meta card.Metadata) []Edge {
	inputs, err := ParseInputs(annotations[mediatypes.AnnotationInputs])
	if err != nil {
		inputs = nil
	}
	var all edges
	all.add(inputs...)
	rel, inferred := relationOf(annotations, meta)
	all.add(baseEdge(annotations, rel, inferred)...)
	all.add(named("annotation", rel, inferred, list(annotations[mediatypes.AnnotationBaseModel]))...)
	all.add(named("card", rel, inferred, meta.BaseModels)...)
	all.add(named("annotation", Dataset, false, list(annotations[mediatypes.AnnotationDatasets]))...)
	all.add(named("card", Dataset, false, meta.Datasets)...)
	if from := annotations[mediatypes.AnnotationOrigin]; from != "" && len(from) <= maxReferenceBytes {
		all.add(originEdge(from))
	}
	return all
}

// Complete is an error that wraps [ErrInputs] if something of what a version says
// that it was made of is left out by [Edges]: a list of inputs that cannot be read,
// a name that is too long, or more names than there may be.
func Complete(annotations map[string]string, meta card.Metadata) error {
	inputs, err := ParseInputs(annotations[mediatypes.AnnotationInputs])
	if err != nil {
		return err
	}
	all := len(inputs)
	for _, names := range [][]string{
		{annotations[ocispec.AnnotationBaseImageName]},
		{annotations[mediatypes.AnnotationOrigin]},
		list(annotations[mediatypes.AnnotationBaseModel]), list(annotations[mediatypes.AnnotationDatasets]), meta.BaseModels, meta.Datasets,
	} {
		if len(names) > MaxInputs {
			return fmt.Errorf("%w: %d names, more than %d", ErrInputs, len(names), MaxInputs)
		}
		if slices.ContainsFunc(names, func(name string) bool { return len(name) > maxReferenceBytes }) {
			return fmt.Errorf("%w: a name of more than %d bytes", ErrInputs, maxReferenceBytes)
		}
		all += len(names)
	}
	if all > maxEdges {
		return fmt.Errorf("%w: %d inputs and names, more than %d", ErrInputs, all, maxEdges)
	}
	return nil
}

// ParseInputs reads the annotation [mediatypes.AnnotationInputs]. An empty text
// is none.
func ParseInputs(text string) ([]Edge, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > MaxInputsBytes {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrInputs, len(text), MaxInputsBytes)
	}
	var inputs []Edge
	if err := json.Unmarshal([]byte(text), &inputs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInputs, err)
	}
	if len(inputs) > MaxInputs {
		return nil, fmt.Errorf("%w: %d inputs, more than %d", ErrInputs, len(inputs), MaxInputs)
	}
	for i := range inputs {
		if err := inputs[i].check(); err != nil {
			return nil, fmt.Errorf("input %d: %w", i+1, err)
		}
		inputs[i].Said = "inputs"
	}
	return inputs, nil
}

func (e Edge) check() error {
	if _, err := ParseRelation(string(e.Relation)); err != nil {
		return err
	}
	switch {
	case e.Reference == "" && e.Digest == "":
		return fmt.Errorf("%w: neither reference nor digest", ErrInputs)
	case len(e.Reference) > maxReferenceBytes || len(e.ImportedFrom) > maxReferenceBytes:
		return fmt.Errorf("%w: a reference of more than %d bytes", ErrInputs, maxReferenceBytes)
	case e.Digest != "" && e.Digest.Validate() != nil:
		return fmt.Errorf("%w: %.80q is no digest", ErrInputs, e.Digest)
	}
	return nil
}

// FormatInputs writes inputs as annotations of a manifest: all of them, and the
// first model in a registry also where other tools look for the base. The same
// inputs give the same text. Without inputs it is nil.
func FormatInputs(inputs []Edge) (map[string]string, error) {
	if len(inputs) == 0 {
		return nil, nil
	}
	if len(inputs) > MaxInputs {
		return nil, fmt.Errorf("%w: %d inputs, more than %d", ErrInputs, len(inputs), MaxInputs)
	}
	for _, e := range inputs {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("write %s: %w", e.Reference, err)
		}
	}
	raw, err := json.Marshal(inputs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInputs, err)
	}
	if len(raw) > MaxInputsBytes {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrInputs, len(raw), MaxInputsBytes)
	}
	out := map[string]string{mediatypes.AnnotationInputs: string(raw)}
	for _, e := range inputs {
		if _, ok := e.Registry(); ok && e.Relation.OfModels() && e.Digest != "" {
			out[ocispec.AnnotationBaseImageName], out[ocispec.AnnotationBaseImageDigest] = e.Reference, e.Digest.String()
			break
		}
	}
	return out, nil
}

// relationOf is how a version relates to its base models: as it says, or as the
// Hugging Face Hub infers it.
func relationOf(annotations map[string]string, meta card.Metadata) (rel Relation, inferred bool) {
	said := strings.ToLower(cmp.Or(meta.BaseRelation, annotations[mediatypes.AnnotationBaseRelation]))
	if r, err := ParseRelation(said); err == nil {
		return r, false
	}
	bases := meta.BaseModels
	if len(bases) == 0 {
		bases = list(annotations[mediatypes.AnnotationBaseModel])
	}
	switch {
	case len(bases) > 1:
		return Merge, true
	case cmp.Or(meta.Library, annotations[mediatypes.AnnotationLibrary]) == "peft":
		return Adapter, true
	case annotations[mediatypes.AnnotationQuantization] != "", slices.Contains(list(annotations[mediatypes.AnnotationFormats]), "gguf"):
		return Quantized, true
	}
	return Finetune, true
}

// baseEdge is the base image, as the OCI image specification has it.
func baseEdge(annotations map[string]string, rel Relation, inferred bool) []Edge {
	name := strings.TrimPrefix(annotations[ocispec.AnnotationBaseImageName], "oci://")
	if name == "" || len(name) > maxReferenceBytes {
		return nil
	}
	e := Edge{Relation: rel, Reference: name, Said: "base", Inferred: inferred}
	e.pin(annotations[ocispec.AnnotationBaseImageDigest])
	return []Edge{e}
}

// pin takes the digest that stands beside the reference, or in it.
func (e *Edge) pin(beside string) {
	if d, err := digest.Parse(beside); err == nil {
		e.Digest = d
	}
	if r, ok := e.Registry(); ok && r.Digest != "" {
		e.Digest = cmp.Or(e.Digest, r.Digest)
		e.Reference, _, _ = strings.Cut(e.Reference, "@")
	}
}

// named are edges to what a card names.
func named(said string, rel Relation, inferred bool, names []string) []Edge {
	var out []Edge
	for _, name := range names {
		if name == "" || len(name) > maxReferenceBytes {
			continue
		}
		e := Edge{Relation: rel, Reference: address(rel, name), Said: said, Inferred: inferred}
		e.pin("")
		out = append(out, e)
		if len(out) == MaxInputs {
			break
		}
	}
	return out
}

// originEdge is what a version was imported from.
func originEdge(from string) Edge {
	e := Edge{Relation: Origin, Reference: strings.TrimPrefix(from, "oci:"), Said: "origin"}
	e.pin("")
	return e
}

// address is what a name in a card means.
func address(rel Relation, name string) string {
	for _, hub := range []string{"https://huggingface.co/", "https://hf.co/", "hf://", "hf:"} {
		if id, ok := strings.CutPrefix(name, hub); ok {
			return hugging(strings.Replace(strings.TrimSuffix(id, "/"), "/tree/", "@", 1))
		}
	}
	name = strings.TrimPrefix(name, "oci://")
	_, registry := Edge{Reference: name}.Registry()
	switch {
	case registry, strings.Contains(name, "://"), strings.HasPrefix(name, "/"), strings.HasPrefix(name, "."):
		return name
	case rel == Dataset:
		return "hf:datasets/" + name
	}
	return hugging(name)
}

// hugging is a name on the Hugging Face Hub; nothing has none.
func hugging(id string) string {
	if id == "" {
		return ""
	}
	return "hf:" + id
}

// edges are edges without repetitions.
type edges []Edge

func (l *edges) add(more ...Edge) {
	for _, e := range more {
		if (e.Reference != "" || e.Digest != "") && len(*l) < maxEdges && !l.know(e) {
			*l = append(*l, e)
		}
	}
}

// know tells whether e is there, and learns from it what was not known.
func (l edges) know(e Edge) bool {
	for i := range l {
		have := &l[i]
		if have.Relation.OfModels() != e.Relation.OfModels() || (have.Relation == Code) != (e.Relation == Code) || (have.Relation == Origin) != (e.Relation == Origin) {
			continue
		}
		if have.Same(e) {
			if have.Digest == "" && e.Digest != "" {
				have.Digest, have.Reference = e.Digest, e.Reference
				have.ImportedFrom = cmp.Or(e.ImportedFrom, have.ImportedFrom)
			}
			return true
		}
	}
	return false
}

// Same tells whether two edges lead to the same thing, as far as both say.
func (e Edge) Same(o Edge) bool {
	if e.Digest != "" && o.Digest != "" {
		return e.Digest == o.Digest
	}
	for _, one := range []string{e.Reference, e.ImportedFrom} {
		for _, other := range []string{o.Reference, o.ImportedFrom} {
			if one != "" && other != "" && sameName(one, other) {
				return true
			}
		}
	}
	return false
}

// sameName compares what is named, without tags, and commits as far as both have
// one.
func sameName(a, b string) bool {
	x, y := commitOf(a), commitOf(b)
	return strings.EqualFold(bare(a), bare(b)) && (x == "" || y == "" || x == y)
}

// bare is a reference without tag, digest and commit.
func bare(s string) string {
	if r, ok := (Edge{Reference: s}).Registry(); ok {
		return r.Name()
	}
	name, _, _ := strings.Cut(s, "@")
	return name
}

// commitOf is the whole commit, or the digest, that a reference ends in; "" if
// it has none.
func commitOf(s string) string {
	_, after, _ := strings.Cut(s, "@")
	if hex := strings.TrimPrefix(after, "sha256:"); (len(hex) == 40 || len(hex) == 64) && strings.Trim(hex, "0123456789abcdef") == "" {
		return after
	}
	return ""
}

// list reads a list in an annotation.
func list(text string) []string {
	var out []string
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
