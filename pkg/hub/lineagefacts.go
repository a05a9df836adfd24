package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

const (
	licensesKey = ocispec.AnnotationLicenses

	// maxAlternatives bounds the models of one version that are compared: the
	// members of an index, and the files of one that has several.
	maxAlternatives = 16

	// maxComparedTensors bounds the tensors of one version.
	maxComparedTensors = 200_000
)

// cardOf reads the card that a version was released with. One that is not there,
// or cannot be read, says nothing.
func (g *genealogy) cardOf(ctx context.Context, t *target) (card.Metadata, error) {
	a, err := artifact.OpenWith(ctx, t.place(), t.desc, artifact.OpenOptions{AllowCollisions: true})
	if err != nil {
		return card.Metadata{}, nil // no model: a dataset, code
	}
	for _, f := range a.Files {
		if f.Path != cardFile || f.Archive || f.Size > card.MaxBytes {
			continue
		}
		raw, err := readWhole(ctx, t, a, f.Path)
		if err != nil {
			return card.Metadata{}, err
		}
		if c, err := card.Parse(raw); err == nil {
			return c.Meta, nil
		}
	}
	return card.Metadata{}, nil
}

// trusted finds out who has signed a version, what became of it, and what scans
// of it found.
func (g *genealogy) trusted(ctx context.Context, r *relative) error {
	t := r.target
	refs, err := t.repo.Referrers(ctx, t.signed, "")
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("list what is attached: %w", err)
	}
	if r.node.Signatures, err = signatures(ctx, t, refs); err != nil {
		return fmt.Errorf("count signatures: %w", err)
	}
	if slices.ContainsFunc(refs, func(d ocispec.Descriptor) bool { return d.ArtifactType == mediatypes.ArtifactCard }) {
		g.revised(ctx, r)
	}
	if len(refs) > 0 {
		state, err := g.hub.statusOf(ctx, t, g.opts.Trust)
		if err != nil {
			return err
		}
		if state.State != record.Active {
			r.node.State, r.node.Reason = string(state.State), state.Reason
		}
	}
	if g.opts.Trust == nil || len(refs) == 0 && r.node.Signatures == 0 {
		return nil
	}
	return g.judged(ctx, r)
}

// revised takes the licence from a card that was attached later and counts.
func (g *genealogy) revised(ctx context.Context, r *relative) {
	c, err := g.hub.effectiveCard(ctx, r.target, g.opts.Trust)
	if err != nil || c.Status != CardVerified {
		return
	}
	if doc, err := c.Card(); err == nil && len(doc.Meta.Licenses) > 0 {
		r.node.Licenses = cardLicences(doc.Meta)
	}
}

// judged asks what trusted parties have signed.
func (g *genealogy) judged(ctx context.Context, r *relative) error {
	t := r.target
	report, err := signing.Verify(ctx, t.repo, t.signing(), *g.opts.Trust)
	switch {
	case errors.Is(err, signing.ErrNoSignature), errors.Is(err, signing.ErrUntrusted):
	case err != nil:
		return err
	default:
		r.node.Signers = signers(report)
	}
	stated, err := signing.Attestations(ctx, t.repo, t.signing(), *g.opts.Trust)
	if err != nil {
		return err
	}
	var newest time.Time
	for _, a := range stated.Attestations {
		switch a.Type {
		case policy.TypeScan:
			if verdict, at := scanVerdict(a.Raw); verdict != "" && !at.Before(newest) {
				r.node.Scan, newest = verdict, at
			}
		case provenance.PredicateType:
			for _, d := range disagreement(a.Raw, r.edges) {
				g.hubWarn(r, "provenance", d)
			}
		}
	}
	return nil
}

// scanVerdict reads what a scan found, and when.
func scanVerdict(raw []byte) (verdict string, at time.Time) {
	var p struct {
		Scanner struct {
			Result struct {
				Verdict string `json:"verdict"`
			} `json:"result"`
		} `json:"scanner"`
		Metadata struct {
			Finished time.Time `json:"scanFinishedOn"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return "", at
	}
	return p.Scanner.Result.Verdict, p.Metadata.Finished
}

// disagreement compares what a provenance says that a version was made of with
// what the version says.
func disagreement(raw []byte, edges []lineage.Edge) []string {
	var p struct {
		BuildDefinition struct {
			ResolvedDependencies []provenance.Resource `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil
	}
	var out []string
	said := map[string]bool{}
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		if slices.Contains([]string{provenance.NameBaseModel, provenance.NameDataset, provenance.NameCode}, d.Name) {
			said[resourceKey(d)] = true
		}
	}
	has := map[string]bool{}
	for _, e := range edges {
		key := resourceKey(dependency(e))
		has[key] = true
		if e.Said == "inputs" && !said[key] {
			out = append(out, fmt.Sprintf("it says that it was made of %.200s, its provenance does not", e.Reference))
		}
	}
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		key := resourceKey(d)
		if said[key] && !has[key] && len(d.Digest) > 0 {
			out = append(out, fmt.Sprintf("its provenance says that it was made of %.200s, it does not say so itself", d.URI))
		}
	}
	return out
}

// resourceKey is what two names of one thing have in common: its digest, or its
// address.
func resourceKey(r provenance.Resource) string {
	for _, algorithm := range []string{"sha256", "sha512", "gitCommit"} {
		if d := r.Digest[algorithm]; d != "" {
			return d
		}
	}
	return r.URI
}

// hubWarn adds a warning about a node.
func (g *genealogy) hubWarn(r *relative, kind, message string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.warned = append(g.warned, LineageWarning{Kind: kind, Node: r.node.ID, Message: message})
}

// A weighing is the reading of a version's headers, which happens once.
type weighing struct {
	once sync.Once
	all  []lineage.Weights // what can be taken for the model: a set of files each
	err  error
}

// compare checks the claim that output was made of input. Where a version holds
// several models, it holds if it holds for one.
func (g *genealogy) compare(ctx context.Context, rel lineage.Relation, output, input *relative) lineage.Claim {
	var sides [2][]lineage.Weights
	for i, r := range []*relative{output, input} {
		r.weights.once.Do(func() { r.weights.all, r.weights.err = g.weigh(ctx, r.target) })
		if err := r.weights.err; err != nil {
			return lineage.Claim{Verdict: lineage.Claimed, Reason: "its headers could not be read: " + err.Error()}
		}
		if sides[i] = r.weights.all; len(sides[i]) == 0 {
			sides[i] = []lineage.Weights{{}}
		}
	}
	best := lineage.Claim{}
	for _, child := range sides[0] {
		for _, base := range sides[1] {
			switch c := lineage.Check(rel, child, base); {
			case c.Verdict == lineage.Checked:
				return c
			case best.Verdict == "" || best.Verdict == lineage.Claimed && c.Verdict == lineage.Contradicted:
				best = c
			}
		}
	}
	return best
}

// weigh reads the headers of a version's weights, as far as policies let its
// files be looked into.
func (g *genealogy) weigh(ctx context.Context, t *target) ([]lineage.Weights, error) {
	models, err := t.models(ctx)
	if err != nil {
		return nil, err
	}
	var out []lineage.Weights
	for _, m := range models[:min(len(models), maxAlternatives)] {
		if isIndex(m.desc) {
			continue
		}
		if !g.unadmitted {
			if _, err := g.hub.admit(ctx, m.ref, m, admitOptions{checkOnly: true}); err != nil {
				return nil, err
			}
		}
		some, err := g.hub.headers(ctx, m)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out[:min(len(out), maxAlternatives)], nil
}

// headers reads the tensors of one version, each set of files apart.
func (h *Hub) headers(ctx context.Context, t *target) ([]lineage.Weights, error) {
	a, err := artifact.OpenWith(ctx, t.place(), t.desc, artifact.OpenOptions{AllowCollisions: true})
	if errors.Is(err, artifact.ErrNotModel) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var src content.Fetcher = t.place()
	if t.local == nil {
		src = t.repo.Origin()
	}
	list, err := a.Tensors(ctx, src, "", artifact.ReaderOptions{Indexes: h.chunkIndexes()})
	if err != nil {
		return nil, err
	}
	if len(list.Tensors) > maxComparedTensors {
		return nil, fmt.Errorf("%d tensors: %w", len(list.Tensors), errdef.ErrSizeExceedsLimit)
	}
	sets := map[string]*lineage.Weights{}
	var names []string
	set := func(file string) *lineage.Weights {
		key := setOf(file)
		if sets[key] == nil {
			sets[key] = &lineage.Weights{Architecture: a.Manifest.Annotations[mediatypes.AnnotationArchitecture]}
			names = append(names, key)
		}
		return sets[key]
	}
	for _, one := range list.Tensors {
		w := set(one.File)
		w.Tensors = append(w.Tensors, lineage.Tensor{Name: one.Name, DType: one.DType, Shape: one.Shape, Bytes: one.Bytes})
	}
	for _, f := range a.Files {
		if w := sets[setOf(f.Path)]; f.Kind == mediatypes.KindWeight && w != nil {
			w.Files = append(w.Files, f.Digest.String())
		}
	}
	slices.Sort(names)
	var out []lineage.Weights
	for _, n := range names {
		out = append(out, *sets[n])
	}
	return out, nil
}

var shardNumber = regexp.MustCompile(`-\d+-of-\d+$`)

// setOf names the files that make a model together: the shards of one GGUF, and
// all files of another format in one directory.
func setOf(file string) string {
	ext := path.Ext(file)
	if strings.EqualFold(ext, ".gguf") {
		return shardNumber.ReplaceAllString(strings.TrimSuffix(file, ext), "") + ext
	}
	return path.Dir(file) + "/*" + ext
}
