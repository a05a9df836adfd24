package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// BundleOptions adjusts the methods of [Hub] about bundles. The zero value
// takes all that is attached along, and believes the trust files of a bundle.
type BundleOptions struct {
	// CopyOptions are those of each version. Tags and AllTags are not looked
	// at. Trust is for [Hub.SaveBundle] what must have signed at the source,
	// and for the others what stands in place of the bundle's trust files.
	CopyOptions

	// Policies, if there are any, stand in place of the bundle's.
	Policies []*policy.Policy

	// TrustDigest, if not empty, is the digest that the bundle's trust files
	// must have.
	TrustDigest digest.Digest

	// TrustFiles are what SaveBundle puts into the bundle.
	TrustFiles []TrustFile
}

// A BundleVersion is one version in a bundle.
type BundleVersion struct {
	Reference string `json:"reference"` // as it was saved; after loading, where it is
	Digest    string `json:"digest"`
}

// A BundleResult says what a bundle holds, or what became of it. Sizes are bytes.
type BundleResult struct {
	File         string          `json:"file"`
	Versions     []BundleVersion `json:"versions"` // with a tag
	Manifests    int             `json:"manifests"`
	Attached     int             `json:"attached"`
	Blobs        int             `json:"blobs"`
	Size         int64           `json:"size"`
	CopiedBytes  int64           `json:"copiedBytes"`
	MountedBytes int64           `json:"mountedBytes"`
	SkippedBytes int64           `json:"skippedBytes"`
	Checked      int             `json:"checked"` // manifests and blobs that were compared with their digests, or asked for again
	Trust        *BundleTrust    `json:"trust"`   // null when the bundle holds none

	// TrustFrom tells who was believed: "flags", which is the caller; "bundle",
	// its own trust files; "pinned", those, since they have the digest that was
	// asked for; or "none".
	TrustFrom string    `json:"trustFrom"`
	Verified  *Verified `json:"verified"` // of the last version; null when no signature was asked for
	Notes     []string  `json:"notes,omitempty"`
}

func (r *BundleResult) take(c *CopyResult) {
	r.Manifests, r.Attached, r.Blobs, r.Size = c.Manifests, c.Attached, c.Blobs, c.Size
	r.CopiedBytes, r.MountedBytes, r.SkippedBytes = c.CopiedBytes, c.MountedBytes, c.SkippedBytes
	r.Checked, r.Verified, r.Notes = c.Checked, c.Verified, c.Notes
}

// SaveBundle writes versions, with all that belongs and is attached to them, and
// with trust files, into a tar archive.
func (h *Hub) SaveBundle(ctx context.Context, refs []ref.Reference, file string, opts BundleOptions) (_ *BundleResult, err error) {
	opts.Tags, opts.AllTags = nil, false
	c, err := h.copying(opts.CopyOptions)
	if err != nil {
		return nil, err
	}
	dst := ref.Reference{Scheme: ref.SchemeFile, Repository: filepath.ToSlash(file)}
	res := &BundleResult{File: file, Versions: []BundleVersion{}, TrustFrom: "none"}
	var all []*shipment
	for _, r := range refs {
		from, err := h.source(r)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, from.close()) }()
		s, err := c.load(ctx, from, r, dst)
		if err != nil {
			return nil, fmt.Errorf("save %s: %w", r, err)
		}
		if len(s.roots) == 0 { // the bundle is there
			res.take(c.res)
			return res, nil
		}
		more, done, err := c.withBases(ctx, s)
		defer func() { err = errors.Join(err, done()) }()
		if err != nil {
			return nil, fmt.Errorf("save %s: %w", r, err)
		}
		all = append(all, more...)
		res.Versions = append(res.Versions, BundleVersion{c.res.Source, c.res.Digest})
	}
	add, err := res.addTrust(opts.TrustFiles)
	if err != nil {
		return nil, err
	}
	if opts.Trust != nil {
		res.TrustFrom = "flags"
	}
	if err := c.toArchive(ctx, dst, all, add); err != nil {
		return nil, fmt.Errorf("save %s: %w", file, err)
	}
	res.take(c.res)
	return res, nil
}

// addTrust returns what adds trust files to a bundle.
func (r *BundleResult) addTrust(files []TrustFile) (func(*manuscript), error) {
	if len(files) == 0 {
		return nil, nil
	}
	desc, blobs, err := trustDocument(files)
	if err != nil {
		return nil, err
	}
	r.Trust = &BundleTrust{Digest: desc.Digest.String()}
	for _, f := range files {
		f.Digest = digest.FromBytes(f.Raw).String()
		r.Trust.Files = append(r.Trust.Files, f)
	}
	return func(m *manuscript) {
		for _, b := range blobs {
			m.write(b.desc, b.raw)
		}
		m.list(desc, "", "")
	}, nil
}

// A bundle is one that is being read.
type bundle struct {
	h      *Hub // with the policies that count
	layout *layout.Layout
	res    *BundleResult
	trust  *signing.Trust
}

// openBundle opens a bundle, and decides whom to believe: those that the caller
// names, or else those that the bundle does.
func (h *Hub) openBundle(ctx context.Context, file string, opts BundleOptions) (_ *bundle, err error) {
	l, err := layout.OpenTar(file)
	if err != nil {
		return nil, err
	}
	b := &bundle{h: h, layout: l, res: &BundleResult{File: file, Versions: []BundleVersion{}, TrustFrom: "none"}, trust: opts.Trust}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if b.res.Trust, err = readTrust(ctx, l); err != nil {
		return nil, err
	}
	has := digest.Digest("")
	if b.res.Trust != nil {
		has = digest.Digest(b.res.Trust.Digest)
	}
	if opts.TrustDigest != "" && has != opts.TrustDigest {
		return nil, fmt.Errorf("open %s: %w: they have the digest %q, not %s", file, ErrBundleTrust, has, opts.TrustDigest)
	}
	rules, err := h.rules(ctx)
	if err != nil {
		return nil, err
	}
	policies := slices.Concat(opts.Policies, rules.Policies)
	switch {
	case b.trust != nil || len(policies) > 0:
		b.res.TrustFrom = "flags"
	case b.res.Trust != nil:
		own, err := b.res.Trust.trust()
		if err != nil {
			return nil, err
		}
		b.trust, policies = own.trust, own.policies
		if own.roots != nil { // a bundle has one, whatever its policies call it
			rules.Roots = func(string) (*signing.Roots, error) { return own.roots, nil }
		}
		if b.trust != nil || len(policies) > 0 {
			b.res.TrustFrom = "bundle"
			if opts.TrustDigest != "" {
				b.res.TrustFrom = "pinned"
			}
		}
	}
	rules.Policies = policies
	own := h.opts
	own.Rules = func(context.Context) (Rules, error) { return rules, nil }
	b.h = New(own)
	return b, nil
}

// shipments are what is in the bundle, a shipment for each repository.
func (b *bundle) shipments(ctx context.Context, c *copying, place func(name string, several bool) (ref.Reference, error)) ([]*shipment, error) {
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	var all []*shipment
	for _, name := range names {
		repo, err := b.layout.Repository(name)
		if err != nil {
			return nil, err
		}
		to, err := place(name, len(names) > 1)
		if err != nil {
			return nil, err
		}
		s := c.shipment(&copyEnd{ref: ref.Reference{Scheme: ref.SchemeFile, Repository: filepath.ToSlash(b.res.File)}, at: repo, layout: b.layout}, to)
		// The sender's policy speaks of the sender's names.
		s.stated = b.res.TrustFrom == "bundle" || b.res.TrustFrom == "pinned"
		if err := b.roots(ctx, s, name); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if err := c.settle(ctx, all); err != nil {
		return nil, err
	}
	for _, s := range all {
		if err := c.prepare(ctx, s, s.from.ref); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// names are the repositories of the bundle, also those without tags.
func (b *bundle) names() ([]string, error) {
	entries, err := b.layout.Entries()
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var names []string
	for _, e := range entries {
		if e.Descriptor.ArtifactType != artifactTrust && !seen[e.Repository] {
			seen[e.Repository] = true
			names = append(names, e.Repository)
		}
	}
	return names, nil
}

// roots are the versions of a repository: what has a tag that people gave, and
// what has no name and is not attached to anything.
func (b *bundle) roots(ctx context.Context, s *shipment, name string) error {
	entries, err := b.layout.Entries()
	if err != nil {
		return err
	}
	seen := make(map[digest.Digest]int) // where it is in roots
	for _, e := range entries {
		if e.Repository != name || hidden(e.Tag) || e.Descriptor.ArtifactType == artifactTrust {
			continue
		}
		desc, raw, err := s.from.at.Manifest(ctx, e.Descriptor.Digest.String())
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Descriptor.Digest, err)
		}
		n := &copyNode{desc: desc, raw: raw}
		if err := n.parse(); err != nil {
			return fmt.Errorf("read manifest %s: %w", desc.Digest, err)
		}
		if e.Tag == "" && n.subject != nil {
			continue
		}
		if e.Tag != "" {
			s.tags[e.Tag] = desc
			b.res.Versions = append(b.res.Versions, BundleVersion{
				cmp.Or(s.from.name(), b.res.File) + ":" + e.Tag + "@" + desc.Digest.String(), desc.Digest.String(),
			})
		}
		at, twice := seen[desc.Digest]
		if !twice {
			at = len(s.roots)
			seen[desc.Digest] = at
			s.roots = append(s.roots, copyStep{reference: desc.Digest.String(), desc: desc, raw: raw, version: true})
		}
		s.roots[at].tag = cmp.Or(s.roots[at].tag, e.Tag)
	}
	return nil
}

// settle decides what is going to be loaded: not the versions whose tags are to
// stay as they are, nor those without a tag that came along for them alone. What
// is left without a tag, and is named by what is left with one, is pinned: whoever
// signed those signed that. All others must be admitted for themselves.
func (c *copying) settle(ctx context.Context, all []*shipment) error {
	before, err := named(all)
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := c.conflicts(ctx, s); err != nil {
			return err
		}
	}
	now, err := named(all)
	if err != nil {
		return err
	}
	for _, s := range all {
		s.roots = slices.DeleteFunc(s.roots, func(r copyStep) bool {
			dgst := r.desc.Digest
			gone := r.tag == "" && before[dgst] && !now[dgst]
			if gone {
				c.res.Notes = append(c.res.Notes, "skipped "+dgst.String()+": it belongs to what was skipped")
			}
			return gone
		})
		for i := range s.roots {
			s.roots[i].pinned = s.roots[i].tag == "" && now[s.roots[i].desc.Digest]
		}
	}
	return nil
}

// named are the versions that those with a tag name by their digest, as what they
// were made of or as what came before, and what these name.
func named(all []*shipment) (map[digest.Digest]bool, error) {
	docs := make(map[digest.Digest]*copyNode)
	var open []*copyNode
	for _, s := range all {
		for _, root := range s.roots {
			n := &copyNode{desc: root.desc, raw: root.raw}
			if err := n.parse(); err != nil {
				return nil, err
			}
			docs[n.desc.Digest] = n
			if root.tag != "" {
				open = append(open, n)
			}
		}
	}
	found := make(map[digest.Digest]bool)
	for len(open) > 0 {
		n := open[0]
		open = open[1:]
		names := n.parents
		for _, base := range n.bases {
			if r, ok := baseReference(base); ok {
				names = append(names, r.Digest)
			}
		}
		for _, dgst := range names {
			if m := docs[dgst]; m != nil && !found[dgst] {
				found[dgst] = true
				open = append(open, m)
			}
		}
	}
	return found, nil
}

// VerifyBundle checks all bytes of a bundle, that nothing is missing of its
// versions, and who signed them. It asks nobody but the file.
func (h *Hub) VerifyBundle(ctx context.Context, file string, opts BundleOptions) (res *BundleResult, err error) {
	b, err := h.openBundle(ctx, file, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.layout.Close()) }()
	res = b.res
	opts.OnConflict, opts.Trust = ConflictOverwrite, b.trust
	c, err := b.h.copying(opts.CopyOptions)
	if err != nil {
		return res, err
	}
	nowhere := func(string, bool) (ref.Reference, error) {
		return ref.Reference{Scheme: ref.SchemeFile, Repository: filepath.ToSlash(file)}, nil
	}
	all, err := b.shipments(ctx, c, nowhere)
	if err != nil {
		return res, fmt.Errorf("verify %s: %w", file, err)
	}
	for _, s := range all {
		blobs, err := s.closure.blobs()
		if err != nil {
			return res, fmt.Errorf("verify %s: %w", file, err)
		}
		c.count(s, blobs)
		if err := b.whole(ctx, blobs); err != nil {
			return res, fmt.Errorf("verify %s: %w", file, err)
		}
		c.res.Checked += len(blobs) + len(s.closure.order)
		c.res.Verified = cmp.Or(s.verified, c.res.Verified)
	}
	res.take(c.res)
	return res, nil
}

// whole compares blobs with their digests.
func (b *bundle) whole(ctx context.Context, blobs []ocispec.Descriptor) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(checkWorkers)
	for _, desc := range blobs {
		g.Go(func() error {
			rc, err := b.layout.Fetch(ctx, desc)
			if err != nil {
				return err
			}
			defer rc.Close()
			return rehash(ctx, rc, desc)
		})
	}
	return g.Wait()
}

// LoadBundle copies what a bundle holds into registries: to dst, which is a
// repository for bundles of one and a registry, with a prefix or not, for those
// of several; or, when dst is the zero value, where it came from. All versions
// are admitted before the first byte moves, and tags are set last.
func (h *Hub) LoadBundle(ctx context.Context, file string, dst ref.Reference, opts BundleOptions) (res *BundleResult, err error) {
	b, err := h.openBundle(ctx, file, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.layout.Close()) }()
	res = b.res
	opts.Trust = b.trust
	c, err := b.h.copying(opts.CopyOptions)
	if err != nil {
		return res, err
	}
	all, err := b.shipments(ctx, c, func(name string, several bool) (ref.Reference, error) { return landing(name, dst, several) })
	if err != nil {
		return res, fmt.Errorf("load %s: %w", file, err)
	}
	res.Versions = res.Versions[:0]
	for _, s := range all {
		if err := c.ship(ctx, s); err != nil {
			return res, fmt.Errorf("load %s: %w", file, err)
		}
		for _, tag := range slices.Sorted(maps.Keys(s.tags)) {
			r, dgst := s.to, s.tags[tag].Digest
			r.Tag = tag
			res.Versions = append(res.Versions, BundleVersion{r.WithDigest(dgst).String(), dgst.String()})
		}
	}
	res.take(c.res)
	return res, nil
}

// landing is where a repository of a bundle is loaded to.
func landing(name string, dst ref.Reference, several bool) (ref.Reference, error) {
	if dst.Tag != "" || dst.Digest != "" || dst.Prefix != "" || dst.Range != "" {
		return dst, fmt.Errorf("%w: load into %s: tags come from the bundle: name a repository", ErrUsage, dst)
	}
	if dst.Repository != "" && !several {
		return dst, nil
	}
	own, err := ref.Parse(name)
	if err != nil || own.Scheme != "" {
		return own, fmt.Errorf("%w: load: the bundle does not say where %q came from: name a repository", ErrUsage, name)
	}
	if dst == (ref.Reference{}) {
		return own, nil
	}
	if isLocal(dst) {
		return dst, fmt.Errorf("%w: load into %s: the bundle holds several repositories, and a layout is one", ErrUsage, dst)
	}
	own.Host, own.Repository = dst.Host, path.Join(dst.Repository, own.Repository)
	return own, nil
}
