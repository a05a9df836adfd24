package hub

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/variant"
)

// maxForms bounds the variants of a version that is pushed.
const maxForms = 128

// A PushedVariant is what became of one variant in a push.
type PushedVariant struct {
	VariantInfo
	Reference string `json:"reference"` // host/repository:tag@digest, by a tag of its own
	Kept      bool   `json:"kept"`      // it was there, and nothing was pushed for it
}

// PushVariants pushes several forms of one model as one version, which is an
// index of them. Each is packed as [Hub.Push] packs a directory, and can be had
// alone by the tag of the version with a dash and its name. With opts.Add the
// variants that the version has already stay, but for those of the same name.
//
// Each variant is scanned, signed and attested by itself, and so is the index.
// With a signer, variants that stay must have its signature already, by the same
// key or the same identity, since it signs the index that they are in; the error wraps [signing.ErrUntrusted] or
// [signing.ErrNoSignature]. They are not scanned again.
// A single form, where there are no others, is pushed as [Hub.Push] does.
func (h *Hub) PushVariants(ctx context.Context, forms []PushedForm, r ref.Reference, opts PushOptions) (*PushResult, error) {
	if len(forms) == 0 || len(forms) > maxForms {
		return nil, fmt.Errorf("%w: push to %s: %d variants: at least one and at most %d can be pushed", ErrUsage, r, len(forms), maxForms)
	}
	p, err := h.beginVariants(ctx, forms, r, opts)
	if err != nil {
		return nil, err
	}
	if opts.Add {
		if err := p.keep(ctx); err != nil {
			return nil, err
		}
	}
	if len(forms) == 1 && len(p.members) == 0 {
		opts.only = forms[0].Only
		res, err := h.Push(ctx, forms[0].Dir, r, opts)
		if res != nil {
			res.Notes = append(res.Notes, "one variant is an ordinary version; --add makes it one of several")
		}
		return res, err
	}
	if err := p.packAll(ctx, forms); err != nil {
		return nil, err
	}
	res, err := p.finish(ctx)
	if err == nil {
		h.announcePushed(ctx, res, opts)
	}
	return res, err
}

// A variantPush is a version of several variants in the making.
type variantPush struct {
	hub     *Hub
	ref     ref.Reference // with its tag
	repo    *remote.Repository
	opts    PushOptions
	tags    []string
	making  *making
	members []member
	past    past
	before  []string            // names of the variants that the tag had
	notes   []string            // on variants
	noted   map[string][]string // which variants they are on
	res     *PushResult
}

// A member is one variant in an index.
type member struct {
	variant     variant.Variant
	desc        ocispec.Descriptor
	annotations map[string]string // of its manifest
	target      *target           // nil if it was there already
}

// keep takes over the variants that the tag has. A version that has none is one
// itself.
func (p *variantPush) keep(ctx context.Context) error {
	tip, raw := p.opts.commit.tip, p.opts.commit.raw
	if raw == nil {
		return nil
	}
	t := &target{repo: p.repo, ref: p.ref.WithDigest(tip.Digest), desc: tip, raw: raw, signed: tip}
	listed := []ocispec.Descriptor{{MediaType: tip.MediaType, Digest: tip.Digest, Size: tip.Size, ArtifactType: mediatypes.ArtifactModel}}
	if isIndex(tip) {
		index, err := mediatypes.ParseIndex(raw)
		if err != nil {
			return fmt.Errorf("read %s: %w", t.ref, err)
		}
		if slices.ContainsFunc(index.Manifests, func(m ocispec.Descriptor) bool { return !isModel(m) }) {
			return fmt.Errorf("%w: %s holds what is no model, and would lose it: push all variants to another tag", ErrUsage, t.ref)
		}
		listed = index.Manifests
	}
	kept := make([]member, len(listed))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(variantWorkers)
	for i, desc := range listed {
		g.Go(func() (err error) {
			kept[i], err = keptMember(gctx, t, desc)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("keep the variants of %s: %w", t.ref, err)
	}
	p.members = kept
	return nil
}

func keptMember(ctx context.Context, t *target, desc ocispec.Descriptor) (member, error) {
	full, raw, err := t.repo.Manifest(ctx, desc.Digest.String())
	if err != nil {
		return member{}, err
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return member{}, err
	}
	v := variant.Read(desc)
	if !v.IsKnown() {
		v = ofManifest(full, raw)
	}
	if v.Name == "" {
		return member{}, fmt.Errorf("%w: nothing tells what %s is called: push all variants with their names", ErrUsage, desc.Digest)
	}
	return member{variant: v, desc: desc, annotations: m.Annotations}, nil
}

// pack pushes one form, without a name in the registry.
func (p *variantPush) pack(ctx context.Context, form PushedForm) error {
	opts := p.opts
	opts.only, opts.gate = form.Only, p.hub.newGate("push", form.Dir, opts)
	if form.Name != "" {
		if err := cmp.Or(variant.CheckName(form.Name), checkTag(variantTag(p.ref.Tag, form.Name))); err != nil {
			return fmt.Errorf("%w: %w", ErrUsage, err)
		}
	}
	var err error
	if opts.commit, err = p.descent(ctx, form.Name); err != nil {
		return err
	}
	packed, err := p.hub.pack(ctx, form.Dir, p.ref, p.repo, opts)
	if err != nil {
		return err
	}
	m := packedMember(packed)
	m.variant.Name = cmp.Or(form.Name, m.variant.Name)
	switch name := m.variant.Name; {
	case name == "":
		return fmt.Errorf("%w: push %s: its files do not say what it is: give the variant a name, as in --variant NAME=PATH", ErrUsage, form.Dir)
	case p.has(name):
		return fmt.Errorf("%w: push %s: two variants are called %s: give them names, as in --variant NAME=PATH", ErrUsage, form.Dir, name)
	}
	m.target = pushed(p.repo, p.ref.WithTag(variantTag(p.ref.Tag, m.variant.Name)), packed)
	p.members = slices.DeleteFunc(p.members, func(o member) bool { return o.variant.Name == m.variant.Name })
	p.members = append(p.members, m)
	p.count(packed, m.variant.Name, opts.gate)
	if opts.DryRun {
		return nil
	}
	p.hub.remember(p.ref, packed)
	p.hub.know(form.Dir, packed)
	return pushVariants(ctx, m.target, packed.Variants)
}

// has tells whether a variant of that name was packed already.
func (p *variantPush) has(name string) bool {
	return slices.ContainsFunc(p.members, func(m member) bool { return m.target != nil && m.variant.Name == name })
}

// packedMember tells what was packed.
func packedMember(packed *artifact.Packed) member {
	var annotations map[string]string
	if m, err := mediatypes.ParseManifest(packed.Manifest); err == nil {
		annotations = m.Annotations
	}
	v := variantOf(packed.Model, packed.Files, annotations)
	v.Digest = packed.Descriptor.Digest
	return member{variant: v, annotations: annotations, desc: ocispec.Descriptor{
		MediaType: packed.Descriptor.MediaType, Digest: packed.Descriptor.Digest, Size: packed.Descriptor.Size,
		ArtifactType: mediatypes.ArtifactModel,
	}}
}

// variantOf tells what files are, as far as they say it.
func variantOf(model *format.Model, files []artifact.File, annotations map[string]string) variant.Variant {
	f := variant.Facts{
		Formats: model.Formats, Quantization: model.Quantization, DTypes: model.DTypes, Parameters: model.Parameters,
		ContextLength: model.ContextLength, CacheBytes: model.CacheBytes, Library: annotations[mediatypes.AnnotationLibrary],
	}
	for _, file := range files {
		f.Size = sum(f.Size, file.Size)
		if file.Kind == mediatypes.KindWeight {
			f.Weights = sum(f.Weights, file.Size)
		}
	}
	return variant.Of(f)
}

// count adds what was packed to the result.
func (p *variantPush) count(packed *artifact.Packed, name string, g *gate) {
	one := pushResult(packed, p.ref, g)
	res := p.res
	res.Files += one.Files
	res.Size += one.Size
	res.UploadedBytes += one.UploadedBytes
	res.MountedBytes += one.MountedBytes
	res.SkippedBytes += one.SkippedBytes
	for _, note := range one.Notes {
		p.notes = append(p.notes, note)
		p.noted[note] = append(p.noted[note], name)
	}
	if one.Scan == nil {
		return
	}
	if res.Scan == nil {
		res.Scan = &PushScan{Verdict: one.Scan.Verdict, Findings: []scan.Finding{}}
	}
	res.Scan.Verdict = res.Scan.Verdict.Worse(one.Scan.Verdict)
	res.Scan.Remembered += one.Scan.Remembered
	for _, f := range one.Scan.Findings {
		f.Path = name + "/" + f.Path
		res.Scan.Findings = append(res.Scan.Findings, f)
	}
}

// finish makes the index and gives all of it names. The variants are held and
// signed before the index is, and get their names after it: whoever finds the
// version finds all of it, and who is refused has moved no name.
func (p *variantPush) finish(ctx context.Context) (*PushResult, error) {
	slices.SortFunc(p.members, func(a, b member) int { return strings.Compare(a.variant.Name, b.variant.Name) })
	raw, desc, err := p.index()
	if err != nil {
		return nil, err
	}
	p.report(desc)
	if p.opts.DryRun {
		return p.res, nil
	}
	for _, m := range p.members {
		if m.target == nil {
			continue
		}
		if err := p.releaseMember(ctx, m); err != nil {
			return nil, err
		}
	}
	t := &target{repo: p.repo, ref: p.ref.WithDigest(desc.Digest), desc: desc, raw: raw, signed: desc}
	if err := p.push(ctx, t); err != nil {
		return nil, fmt.Errorf("push index %s: %w", t.ref, err)
	}
	how := releasing{tags: p.tags, signer: p.opts.Signer, made: p.making.clone(), commit: p.opts.commit}
	own := *p.res
	if err := p.hub.release(ctx, t, how, &own); err != nil {
		return p.res, err
	}
	p.res.Created = own.Created
	p.res.Signatures += own.Signatures
	p.res.Attestations += own.Attestations
	return p.res, p.name(ctx)
}

// push sends the index, unless it is there.
func (p *variantPush) push(ctx context.Context, t *target) error {
	if there, err := p.repo.Exists(ctx, t.desc); err != nil || there {
		return err
	}
	err := p.repo.Push(ctx, t.desc, bytes.NewReader(t.raw))
	if errors.Is(err, errdef.ErrAlreadyExists) {
		return nil
	}
	return err
}

// releaseMember holds a variant and signs it.
func (p *variantPush) releaseMember(ctx context.Context, m member) error {
	if err := p.hub.hold(ctx, m.target); err != nil {
		return err
	}
	if p.opts.Signer != nil {
		n, err := p.hub.sign(ctx, m.target, p.opts.Signer, signing.SignOptions{})
		if err != nil {
			return err
		}
		p.res.Signatures += n
	}
	n, err := p.hub.finish(ctx, m.target, p.opts.Signer, p.making.clone())
	p.res.Attestations += n
	return err
}

// name gives each variant tags of its own: those of the version, each with a
// dash and the variant's name.
func (p *variantPush) name(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(variantWorkers)
	for _, m := range p.members {
		t := m.target
		if t == nil {
			t = &target{repo: p.repo, ref: p.ref.WithDigest(m.desc.Digest), desc: m.desc, signed: m.desc}
		}
		for _, tag := range p.tags {
			g.Go(func() error {
				_, err := p.hub.move(gctx, t, variantTag(tag, m.variant.Name), moving{signer: p.opts.Signer})
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("the version is there, and not all of its variants have tags: %w", err)
	}
	for _, name := range p.before {
		if !slices.ContainsFunc(p.members, func(m member) bool { return m.variant.Name == name }) {
			p.res.Notes = append(p.res.Notes, fmt.Sprintf("variant %s is not in this version; tag %s stays with the one before", name, variantTag(p.ref.Tag, name)))
		}
	}
	return nil
}

// variantTag is the tag of a variant beside that of its version, cut to what a
// tag may be long.
func variantTag(tag, name string) string {
	return tag[:min(len(tag), ref.MaxTagBytes-len(name)-1)] + "-" + name
}

// report fills in what the result says of the version.
func (p *variantPush) report(desc ocispec.Descriptor) {
	slices.Sort(p.notes)
	for _, note := range slices.Compact(p.notes) {
		if of := p.noted[note]; len(of) == 1 {
			note = of[0] + ": " + note
		}
		p.res.Notes = append(p.res.Notes, note)
	}
	p.res.Reference, p.res.Digest, p.res.Revision = p.ref.WithDigest(desc.Digest).String(), desc.Digest.String(), Revision(desc.Digest)
	for _, m := range p.members {
		own := p.ref.WithTag(variantTag(p.ref.Tag, m.variant.Name)).WithDigest(m.desc.Digest)
		p.res.Variants = append(p.res.Variants, PushedVariant{
			VariantInfo: variantInfo(variant.Row{Variant: m.variant}), Reference: own.String(), Kept: m.target == nil,
		})
	}
}

// clone is the provenance for another part of the same version.
func (m *making) clone() *making {
	if m == nil {
		return nil
	}
	one := *m
	one.build.Dependencies = slices.Clone(m.build.Dependencies)
	return &one
}

// beginVariants does what comes before the first file is read.
func (h *Hub) beginVariants(ctx context.Context, forms []PushedForm, r ref.Reference, opts PushOptions) (*variantPush, error) {
	if isFixed(r) {
		return nil, fmt.Errorf("%w: push to %s: push to a tag; the digest comes from the files", ErrUsage, r)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	p := &variantPush{hub: h, repo: repo}
	if p.tags, err = h.pushInto(ctx, repo, &r, opts); err != nil {
		return nil, err
	}
	if err := h.madeOf(ctx, pushedDir(forms[0].Dir), &opts); err != nil {
		return nil, err
	}
	if p.making, err = h.making(ctx, provenance.TypePush, r, opts); err != nil {
		return nil, err
	}
	if opts.commit, err = h.beginCommit(repo.Origin(), r.WithTag(p.tags[0]), opts); err != nil {
		return nil, err
	}
	if err := opts.commit.look(ctx); err != nil {
		return nil, err
	}
	p.ref, p.opts = r, opts
	if p.past, err = p.lookBack(ctx); err != nil {
		return nil, err
	}
	p.res, p.noted = &PushResult{Tag: r.Tag, Variants: []PushedVariant{}}, map[string][]string{}
	p.before = variantNames(opts.commit.raw)
	return p, nil
}

// variantNames are those of the variants in an index, if it is one.
func variantNames(raw []byte) []string {
	index, err := mediatypes.ParseIndex(raw)
	if err != nil {
		return nil
	}
	var names []string
	for _, desc := range index.Manifests {
		if name := variant.Read(desc).Name; name != "" {
			names = append(names, name)
		}
	}
	return names
}
