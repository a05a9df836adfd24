package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
)

// ErrStrict is wrapped by errors that are warnings without [PushOptions.Strict].
var ErrStrict = errors.New("refused because of strictness")

// inputWorkers bounds the references of inputs that are resolved at once.
const inputWorkers = 8

// An Input is something that a version is made of, as a user names it.
type Input struct {
	// Relation says what for. For a model it may be empty, and then follows
	// from what is pushed: an adapter, something quantized, a merge of
	// several, or a fine-tune.
	Relation lineage.Relation

	// Reference is a version in a registry. It is resolved to its digest before
	// anything is pushed, and one that cannot be is an error.
	Reference ref.Reference

	// Elsewhere is used in place of Reference for what is in no registry:
	// "hf:org/model@commit", or an address.
	Elsewhere string

	// Weight is its part in a merge; zero says nothing of it.
	Weight float64
}

// madeOf resolves what a version is made of. With strictness it refuses what is
// known by name alone.
func (h *Hub) madeOf(ctx context.Context, files pushedFiles, opts *PushOptions) error {
	if len(opts.Inputs) > 0 {
		if err := h.resolveInputs(ctx, files, opts); err != nil {
			return err
		}
	}
	if !opts.Strict {
		return nil
	}
	for _, name := range unpinned(lineage.Edges(opts.Annotations, files.meta)) {
		return fmt.Errorf("made of %s, which is known by name alone: %w", name, ErrStrict)
	}
	return nil
}

// resolveInputs turns what the user names into edges, each at its digest, and
// puts them into the annotations of the version. files says what is pushed.
func (h *Hub) resolveInputs(ctx context.Context, files pushedFiles, opts *PushOptions) error {
	edges := make([]lineage.Edge, len(opts.Inputs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inputWorkers)
	for i, in := range opts.Inputs {
		g.Go(func() (err error) {
			edges[i], err = h.edge(gctx, in, opts.Strict)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	inferred := files.relation(edges)
	for i := range edges {
		edges[i].Relation = cmp.Or(edges[i].Relation, inferred)
	}
	annotations, err := lineage.FormatInputs(edges)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	opts.inputs = edges
	opts.Annotations = maps.Clone(opts.Annotations)
	if opts.Annotations == nil {
		opts.Annotations = map[string]string{}
	}
	maps.Copy(opts.Annotations, annotations)
	return nil
}

// edge resolves one input. With strictness it refuses one that was withdrawn.
func (h *Hub) edge(ctx context.Context, in Input, strict bool) (lineage.Edge, error) {
	e := lineage.Edge{Relation: in.Relation, Reference: in.Elsewhere, Weight: in.Weight}
	if in.Elsewhere != "" {
		return e, nil
	}
	t, err := h.resolve(ctx, in.Reference)
	if err != nil {
		return e, fmt.Errorf("resolve %s: %w", inputName(in.Relation), err)
	}
	if err := h.heedInput(ctx, t, strict); err != nil {
		return e, err
	}
	e.Reference, e.Digest = t.ref.Name(), t.desc.Digest
	if t.ref.Tag != "" {
		e.Reference += ":" + t.ref.Tag
	}
	e.ImportedFrom = annotationsOf(t.raw)[mediatypes.AnnotationOrigin]
	return e, nil
}

// heedInput warns of an input that was deprecated or yanked, or refuses it. It costs
// one request for one to which nothing is attached.
func (h *Hub) heedInput(ctx context.Context, t *target, strict bool) error {
	s, err := h.lookForStatus(ctx, t, nil, true)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && strict:
		return fmt.Errorf("look for the status of %s: %w", t.ref, err)
	case err != nil:
		h.warn("%s: whether it was withdrawn is not known: %v", t.ref, err)
		return nil
	case s.State == record.Active:
		return nil
	}
	found := s.problem(t.ref)
	if strict {
		return fmt.Errorf("made of what is not to be used: %w: %w", found, ErrStrict)
	}
	h.warn("made of what is not to be used: %v%s", found, s.advice())
	return nil
}

// inputName is what an input is called in messages.
func inputName(r lineage.Relation) string {
	if r != "" && !r.OfModels() {
		return string(r)
	}
	return "base model"
}

// annotationsOf are those of a manifest or an index; nil if it cannot be read.
func annotationsOf(raw []byte) map[string]string {
	if m, err := mediatypes.ParseManifest(raw); err == nil {
		return m.Annotations
	}
	if x, err := mediatypes.ParseIndex(raw); err == nil {
		return x.Annotations
	}
	return nil
}

// pushedFiles is what can be known of a version before it is packed.
type pushedFiles struct {
	names []string
	meta  card.Metadata
}

// relation is what base models are for what is pushed, where nobody says.
func (p pushedFiles) relation(edges []lineage.Edge) lineage.Relation {
	if r, err := lineage.ParseRelation(strings.ToLower(p.meta.BaseRelation)); err == nil && r.OfModels() {
		return r
	}
	models := 0
	for _, e := range edges {
		if e.Relation == "" || e.Relation.OfModels() {
			models++
		}
	}
	switch {
	case models > 1:
		return lineage.Merge
	case slices.Contains(p.names, "adapter_config.json"):
		return lineage.Adapter
	case slices.ContainsFunc(p.names, func(n string) bool { return strings.EqualFold(path.Ext(n), ".gguf") }):
		return lineage.Quantized
	}
	return lineage.Finetune
}

// unpinned are the models that a version is said to be made of by name alone, and
// whatever else was given so: a name may come to mean something else.
func unpinned(edges []lineage.Edge) []string {
	var out []string
	for _, e := range edges {
		if !e.Pinned() && (e.Relation.OfModels() || e.Said == "inputs") {
			out = append(out, strings.TrimPrefix(e.Reference, "hf:"))
		}
	}
	return out
}

// namedOnly warns of what a version is made of by name alone.
func namedOnly(manifest []byte) []string {
	var notes []string
	for _, name := range unpinned(lineage.Edges(annotationsOf(manifest), card.Metadata{})) {
		how := "--base REF says which version it was"
		if strings.HasPrefix(name, "datasets/") {
			how = "--dataset hf:datasets/ORG/NAME@COMMIT says which state of it it was"
		}
		notes = append(notes, fmt.Sprintf("made of %.200q, which is known by name alone: %s", name, how))
	}
	return notes
}

// importedFiles is what is known of files that are elsewhere: their names.
func importedFiles(inputs []artifact.Input) pushedFiles {
	var p pushedFiles
	for _, in := range inputs {
		p.names = append(p.names, in.Path)
	}
	return p
}

// maxListed bounds the names of files that are looked at.
const maxListed = 10_000

// pushedDir lists the files at the top of a directory, and reads the card.
func pushedDir(dir string) pushedFiles {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return pushedFiles{} // packing tells why
	}
	defer root.Close()
	var p pushedFiles
	if d, err := root.Open("."); err == nil {
		p.names, _ = d.Readdirnames(maxListed)
		d.Close()
	}
	f, err := root.Open("README.md")
	if err != nil {
		return p
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return p
	}
	raw, err := io.ReadAll(io.LimitReader(f, card.MaxBytes+1))
	if err != nil {
		return p
	}
	if c, err := card.Parse(raw); err == nil {
		p.meta = c.Meta
	}
	return p
}

// dependency is an input as a provenance names it.
func dependency(e lineage.Edge) provenance.Resource {
	name := map[lineage.Relation]string{lineage.Dataset: provenance.NameDataset, lineage.Code: provenance.NameCode}[e.Relation]
	res := provenance.Resource{Name: cmp.Or(name, provenance.NameBaseModel)}
	if e.ImportedFrom != "" {
		res.Annotations = map[string]string{"origin": e.ImportedFrom}
	}
	if e.Digest != "" {
		res.Digest = byAlgorithm(e.Digest)
	}
	if id, ok := strings.CutPrefix(e.Reference, "hf:"); ok {
		id, commit, _ := strings.Cut(id, "@")
		hf := provenance.HuggingFace(res.Name, id, commit)
		if hf.Digest == nil {
			hf.Digest = res.Digest
		}
		return hf
	}
	if _, ok := e.Registry(); ok {
		res.URI = "oci://" + e.Reference
		return res
	}
	address, commit, _ := strings.Cut(e.Reference, "@")
	if res.URI = e.Reference; provenance.IsCommit(commit) {
		res.URI, res.Digest = address, map[string]string{"gitCommit": commit}
	}
	return res
}
