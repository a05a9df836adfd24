package hub

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// An upstream is the version of another repository that the files of a directory
// were pulled as. What is pushed from there once a file was changed is made of it: a
// history does not go beyond its repository.
type upstream struct {
	at       ref.Reference
	manifest ocispec.Manifest
	edge     lineage.Edge   // to it, without a relation
	others   []lineage.Edge // what else the user says that the version is made of
}

// upstreamIn is what a directory was pulled as, if that was elsewhere than in the
// repository of r; nil if it was not, and if the user says what the version is made
// of, or that it begins anew.
func upstreamIn(dir string, r ref.Reference, opts PushOptions) *upstream {
	if slices.ContainsFunc(opts.inputs, func(e lineage.Edge) bool { return e.Relation.OfModels() }) ||
		len(opts.inputs) == 0 && opts.Annotations[mediatypes.AnnotationInputs] != "" || opts.Annotations[ocispec.AnnotationBaseImageName] != "" || slices.Equal(opts.Parents, []string{NoParent}) {
		return nil
	}
	o, err := artifact.ReadOrigin(dir)
	if err != nil {
		return nil
	}
	at, err := ref.Parse(o.Reference)
	if err != nil || at.Scheme != "" || at.Host == "" || at.Name() == r.Name() {
		return nil
	}
	m, err := mediatypes.ParseManifest(o.Manifest)
	if err != nil {
		return nil
	}
	u := &upstream{at: at, manifest: m, others: opts.inputs, edge: lineage.Edge{
		Reference: at.Name(), Digest: o.Descriptor.Digest, ImportedFrom: m.Annotations[mediatypes.AnnotationOrigin],
	}}
	if at.Tag != "" {
		u.edge.Reference += ":" + at.Tag
	}
	if u.own(&ocispec.Manifest{}) != nil {
		return nil // it says of itself what cannot be written
	}
	return u
}

// own writes into a manifest that its files were made of the upstream, unless they
// are still the same.
func (u *upstream) own(m *ocispec.Manifest) error {
	if u == nil || slices.Equal(digestsOf(u.manifest, anyLayer), digestsOf(*m, anyLayer)) {
		return nil
	}
	e := u.edge
	e.Relation = u.relation(*m)
	said, err := lineage.FormatInputs(append([]lineage.Edge{e}, u.others...))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	m.Annotations = maps.Clone(m.Annotations)
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	maps.Copy(m.Annotations, said)
	return nil
}

// relation is what the upstream was for: nobody says, so it goes by the files.
func (u *upstream) relation(m ocispec.Manifest) lineage.Relation {
	was, now := digestsOf(u.manifest, isWeights), digestsOf(m, isWeights)
	changed := slices.ContainsFunc(now, func(d digest.Digest) bool { return !slices.Contains(was, d) })
	if len(now) > 0 && !changed {
		return lineage.Origin
	}
	if r := namesOf(m).relation(nil); r != namesOf(u.manifest).relation(nil) {
		return r
	}
	return lineage.Finetune
}

// in tells whether a manifest says that it was made of the upstream.
func (u *upstream) in(manifest []byte) (lineage.Edge, bool) {
	if u == nil {
		return lineage.Edge{}, false
	}
	inputs, err := lineage.ParseInputs(annotationsOf(manifest)[mediatypes.AnnotationInputs])
	if err != nil {
		return lineage.Edge{}, false
	}
	i := slices.IndexFunc(inputs, func(e lineage.Edge) bool { return e.Digest == u.edge.Digest && e.Reference == u.edge.Reference })
	if i < 0 {
		return lineage.Edge{}, false
	}
	return inputs[i], true
}

// owned tells the user, and the provenance, what a push has said of the upstream.
func (c *commit) owned(manifest []byte, made *making, res *PushResult) {
	e, ok := c.upstream.in(manifest)
	if !ok {
		return
	}
	res.Notes = append(res.Notes, fmt.Sprintf("made of %s, which the files were pulled as; --parent none leaves that out", nameOf(&target{ref: c.upstream.at})))
	if made != nil {
		made.build.Dependencies = append(made.build.Dependencies, dependency(e))
	}
}

func anyLayer(string) bool { return true }

// digestsOf are the digests of layers of some media types, sorted.
func digestsOf(m ocispec.Manifest, of func(mediaType string) bool) []digest.Digest {
	var out []digest.Digest
	for _, l := range m.Layers {
		if of(l.MediaType) {
			out = append(out, l.Digest)
		}
	}
	slices.Sort(out)
	return out
}

// namesOf are the names of the files that have a layer of their own.
func namesOf(m ocispec.Manifest) pushedFiles {
	var p pushedFiles
	for _, l := range m.Layers {
		p.names = append(p.names, l.Annotations[mediatypes.AnnotationFilepath])
	}
	return p
}
