package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// PushOptions adjusts [Hub.Push]. The zero value packs with default rules and
// signs nothing.
type PushOptions struct {
	// Tags are set besides the tag of the reference.
	Tags []string

	// Committing says what is recorded of the version's history.
	Committing

	// Annotations are added to the manifest, over those that the files give.
	Annotations map[string]string

	// Created is written as creation time unless zero. It is part of the
	// version's identity: the same files at another time are another version.
	Created time.Time

	// Layout says how files become layers.
	Layout artifact.Layout

	// Reshard, unless zero, is the size in bytes over which files of weights
	// are cut into shards that loaders read.
	Reshard int64

	// Variants are codings of the weights to be kept beside the version, for
	// those who ask for them. Those that it has are not made again.
	Variants []Variant

	// Workers bounds the files handled at once. Zero means a good default.
	Workers int

	// Uploads bounds the blobs sent at once. Zero means 4.
	Uploads int

	// IncludeSecrets names files to pack although they look like secrets.
	IncludeSecrets []string

	// MountFrom names repositories of the same registry that may hold blobs.
	MountFrom []string

	// Signer signs the version, if not nil.
	Signer *signing.Signer

	// Inputs are what the version is made of. They are written into it, and
	// are part of its identity. A provenance names them too.
	Inputs []Input

	// Announce tells what the version was made of that it was, as [Hub.Announce]
	// does, once it has its tag. What cannot be told fails no push.
	Announce bool

	// Strict refuses, with [ErrStrict], base models that are not named by
	// digest.
	Strict bool

	// Provenance, if not nil, is attested by the signer, who must be given.
	Provenance *Provenance

	// NoPreflight pushes files that are larger than the registry is known to
	// take.
	NoPreflight bool

	// NoScan does not look at the files for what they could do.
	NoScan bool

	// Rescan reads files again although the store knows what was found in them
	// and they have not changed. An import reads all of them in any case.
	Rescan bool

	// AllowUnsafe pushes files although they are dangerous to who loads them.
	AllowUnsafe bool

	// DryRun packs and hashes, and sends nothing.
	DryRun bool

	// Add keeps, in [Hub.PushVariants], the variants that the version has
	// already. Without it the version has those that are pushed, and no others.
	Add bool

	only   func(path string) bool // nil: all files of the directory
	gate   *gate                  // nil without a scan
	inputs []lineage.Edge         // Inputs, resolved
	commit *commit
}

// PushResult says what [Hub.Push] did. Sizes are bytes.
type PushResult struct {
	Reference     string   `json:"reference"` // host/repository:tag@digest
	Digest        string   `json:"digest"`
	Revision      string   `json:"revision"` // the first 40 digits of the digest
	Tag           string   `json:"tag"`
	Created       bool     `json:"created"` // false when the tag pointed to this version before
	Files         int      `json:"files"`
	Size          int64    `json:"size"`
	UploadedBytes int64    `json:"uploadedBytes"`
	MountedBytes  int64    `json:"mountedBytes"`
	SkippedBytes  int64    `json:"skippedBytes"` // already there
	Signatures    int      `json:"signatures"`   // made by this push
	Attestations  int      `json:"attestations"` // likewise
	Notes         []string `json:"notes,omitempty"`

	// Variants are those of a version that has several; see [Hub.PushVariants].
	Variants []PushedVariant `json:"variants,omitempty"`

	// Announced is what was to be told that the version was made of it.
	Announced []AnnouncedBase `json:"announced,omitempty"`

	// Scan is what the files could do to who loads them; nil if nobody looked.
	Scan *PushScan `json:"scan,omitempty"`
}

// Push packs the model in directory dir and makes it the version that tag of
// r points to. Blobs come first, then the manifest, then the tags: whoever
// stops it half-way leaves no version with holes. A directory that is what the
// tag points to already changes nothing. Otherwise the version's parent is what
// the tag pointed to, and if it points to another by the time that the version
// could take its place, the error wraps [ErrConflict].
func (h *Hub) Push(ctx context.Context, dir string, r ref.Reference, opts PushOptions) (*PushResult, error) {
	if isFixed(r) {
		return nil, fmt.Errorf("%w: push to %s: push to a tag; the digest comes from the files", ErrUsage, r)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	tags, err := h.pushInto(ctx, repo, &r, opts)
	if err != nil {
		return nil, err
	}
	if err := h.madeOf(ctx, pushedDir(dir), &opts); err != nil {
		return nil, err
	}
	made, err := h.making(ctx, provenance.TypePush, r, opts)
	if err != nil {
		return nil, err
	}
	if opts.commit, err = h.beginCommit(repo.Origin(), r.WithTag(tags[0]), opts); err != nil {
		return nil, err
	}
	opts.commit.base, opts.commit.upstream = h.baseIn(dir, r), upstreamIn(dir, r, opts)
	opts.gate = h.newGate("push", dir, opts)
	packed, err := h.pack(ctx, dir, r, repo, opts)
	if err != nil {
		return nil, opts.commit.cause(err)
	}
	res := pushResult(packed, r, opts.gate)
	opts.commit.owned(packed.Manifest, made, res)
	if note := suggestVariants(packed.Files); note != "" {
		res.Notes = append(res.Notes, note)
	}
	if opts.DryRun {
		return res, nil
	}
	h.remember(r, packed)
	h.know(dir, packed)
	t := pushed(repo, r, packed)
	if err := pushVariants(ctx, t, packed.Variants); err != nil {
		return nil, err
	}
	err = h.release(ctx, t, releasing{tags: tags, signer: opts.Signer, made: made, commit: opts.commit}, res)
	if err != nil {
		return res, err
	}
	if opts.only == nil {
		h.noteBase(dir, r, opts.commit, packed)
	}
	h.announcePushed(ctx, res, opts)
	return res, nil
}

// pushed is what was packed, as a target.
func pushed(repo *remote.Repository, r ref.Reference, packed *artifact.Packed) *target {
	return &target{
		repo: repo, ref: r.WithDigest(packed.Descriptor.Digest), raw: packed.Manifest,
		desc: packed.Descriptor, signed: packed.Descriptor, indexes: packed.Indexes,
	}
}

// releasing is how a version is to be released.
type releasing struct {
	tags   []string
	signer *signing.Signer // nil: unsigned
	made   *making         // nil: without provenance
	commit *commit         // nil: the version continues no history
}

// release gives a version that is in the registry its names. It is held against
// garbage collection first and signed next, so that no tag ever points to a
// version that is to be signed and is not.
func (h *Hub) release(ctx context.Context, t *target, how releasing, res *PushResult) (err error) {
	if err := h.hold(ctx, t); err != nil {
		return err
	}
	if how.signer != nil {
		if res.Signatures, err = h.sign(ctx, t, how.signer, signing.SignOptions{}); err != nil {
			return err
		}
	}
	if res.Attestations, err = h.finish(ctx, t, how.signer, how.made); err != nil {
		return err
	}
	res.Created, err = h.publish(ctx, t, how)
	return err
}

// pushTags returns the tags to set: the branch first, and the reference's own.
func pushTags(r *ref.Reference, opts PushOptions) ([]string, error) {
	var first []string
	if opts.Branch != "" {
		branch, err := encodeTags([]string{opts.Branch})
		if err != nil {
			return nil, err
		}
		first = branch
		r.Tag = cmp.Or(r.Tag, branch[0])
	}
	if r.Tag == "" {
		r.Tag = DefaultTag
	}
	if err := checkTag(r.Tag); err != nil {
		return nil, err
	}
	if !slices.Contains(first, r.Tag) {
		first = append(first, r.Tag)
	}
	encoded, err := encodeTags(opts.Tags)
	return append(first, encoded...), err
}

func (h *Hub) pack(ctx context.Context, dir string, r ref.Reference, repo *remote.Repository, opts PushOptions) (*artifact.Packed, error) {
	po := artifact.PackOptions{
		Workers: opts.Workers, Layout: opts.Layout, Reshard: opts.Reshard, Annotations: opts.Annotations, Created: opts.Created,
		IncludeSecrets: opts.IncludeSecrets, Observe: h.opts.Observe, Uploads: opts.Uploads,
		MountFrom: func(d digest.Digest) []string { return h.origins(r, d, opts.MountFrom) },
		Likely:    likely(opts.MountFrom, opts.commit),
		Check:     opts.commit.check(ctx, h.preflight(r.Host, opts)),
		Examine:   opts.gate.hook(),
		Only:      opts.only,
		Commit:    opts.commit.hook,
	}
	if s := h.opts.Store; s != nil {
		cache, err := s.StatCache(dir)
		if err != nil {
			h.warn("digests are not cached: %v", err)
		} else {
			po.Digests = cache
			if indexes, err := s.ChunkIndexes(); err == nil {
				po.Indexes = indexes
			}
			defer func() {
				if err := cache.Save(); err != nil {
					h.warn("digests are not cached: %v", err)
				}
			}()
		}
	}
	if opts.DryRun {
		return artifact.Pack(ctx, dir, artifact.Discard, po)
	}
	var err error
	if po.Variants, err = h.variants(ctx, repo, opts.Variants); err != nil {
		return nil, err
	}
	return artifact.Pack(ctx, dir, repo, po)
}

// origins lists other repositories of r's registry that may hold a blob: those
// the user named, then those this user has seen it in.
func (h *Hub) origins(r ref.Reference, d digest.Digest, named []string) []string {
	var from []string
	for _, name := range named {
		from = append(from, strings.TrimPrefix(name, r.Host+"/"))
	}
	if h.opts.Store != nil {
		for _, seen := range h.opts.Store.Origins(d, r.Host) {
			if name := strings.TrimPrefix(seen, r.Host+"/"); name != r.Repository {
				from = append(from, name)
			}
		}
	}
	return from
}

// remember notes where the blobs of a version can be mounted from.
func (h *Hub) remember(r ref.Reference, packed *artifact.Packed) {
	if h.opts.Store == nil {
		return
	}
	for _, f := range packed.Files {
		h.opts.Store.Remember(f.Layer.Digest, r.Name())
	}
}

func pushResult(packed *artifact.Packed, r ref.Reference, g *gate) *PushResult {
	res := &PushResult{
		Reference: r.WithDigest(packed.Descriptor.Digest).String(),
		Digest:    packed.Descriptor.Digest.String(), Revision: Revision(packed.Descriptor.Digest), Tag: r.Tag,
		Files: len(packed.Files), Notes: slices.Concat(packed.Notes, namedOnly(packed.Manifest), g.notes()), Scan: g.report(),
		UploadedBytes: packed.Uploaded, MountedBytes: packed.Mounted, SkippedBytes: packed.Skipped,
	}
	for _, f := range packed.Files {
		res.Size += f.Size
	}
	return res
}

// publish points tags at a version that is in the registry. It reports whether
// the first tag, the branch, was moved.
func (h *Hub) publish(ctx context.Context, t *target, how releasing) (bool, error) {
	var created bool
	var err error
	if how.commit != nil {
		created, err = h.advance(ctx, t, how)
	} else {
		created, err = h.move(ctx, t, how.tags[0], moving{signer: how.signer})
	}
	if err != nil {
		return created, err
	}
	for _, tag := range how.tags[1:] {
		if _, err := h.move(ctx, t, tag, moving{signer: how.signer}); err != nil {
			return created, err
		}
	}
	return created, nil
}
