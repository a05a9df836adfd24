package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// PullOptions adjusts [Hub.Pull]. The zero value checks digests, and no
// signatures.
type PullOptions struct {
	// Trust, if not nil, must have signed the version, or nothing is fetched. If
	// all it names are authorities, which vouch for files, OMS must be asked for,
	// and the signature of the files counts in place of one of the version.
	Trust *signing.Trust

	// AllowDowngrade accepts, with Trust or policies, a tag that went back to
	// an older version.
	AllowDowngrade bool

	// Locked, if not nil, is what the version must be, or nothing is fetched:
	// anything else is a [lock.DriftError]. It is pulled by the locked digest,
	// and the reference given beside it is not looked at.
	Locked *Locked

	// OMS puts the signature of OpenSSF Model Signing that is attached to the
	// version among the files, as model.sig. With Trust, it must be by a trusted
	// party. It must be about the files of the version in either case.
	OMS bool

	// Force replaces a directory that is not an earlier pull, and in one that is
	// files that were changed since; see [artifact.EditedError].
	Force bool

	// Select says which files are wanted. The zero value takes all.
	Select artifact.Selection

	// Raw takes an artifact of any kind as what it is made of: manifest, config
	// and layers, each a file. Archives are not unpacked.
	Raw bool

	// HF, if not nil, makes the directory a Hugging Face cache to add the
	// version to. An empty RepoID is the end of the repository's name, and an
	// empty Ref the tag.
	HF *artifact.HFOptions

	// AllowCollisions lets names through that are equal where case or Unicode
	// normal form is ignored, if the file system of the directory keeps them
	// apart.
	AllowCollisions bool

	// AllowDotfiles lets names through that begin with a dot and are not known
	// to be harmless.
	AllowDotfiles bool

	// Workers bounds the blobs fetched at once. Zero means a good default.
	Workers int

	// NoDelta fetches changed files of weights whole.
	NoDelta bool

	// Variants fetches codings of weights in fewer bytes where the version has
	// them and what they need is on this machine, and decodes them.
	Variants bool

	// Connections bounds the requests under way at once, of all blobs. Zero
	// means a good default.
	Connections int

	// Bandwidth is how many bytes are fetched in a second at most. Zero means
	// no limit.
	Bandwidth int64

	// MaxWait bounds the waits for a registry that gives next to nothing, for
	// each blob. Zero means 5 minutes.
	MaxWait time.Duration

	// PageCache leaves large files in the system's memory for files, for who
	// loads them at once. Otherwise, where that is faster, they go past it.
	PageCache bool

	// Link says how files of the local store come into the directory.
	Link artifact.Link

	// NoStore neither reads nor fills the local store.
	NoStore bool

	plan bool // nothing is to change on the disk
}

// PullResult says what [Hub.Pull] did. Sizes are bytes.
type PullResult struct {
	Reference    string    `json:"reference"`
	Digest       string    `json:"digest"`
	Directory    string    `json:"directory"`
	Files        int       `json:"files"`
	Size         int64     `json:"size"`
	FetchedBytes int64     `json:"fetchedBytes"` // of the files, read from the network
	ReusedBytes  int64     `json:"reusedBytes"`  // from the store or files that were there
	Verified     *Verified `json:"verified"`     // null when nothing was asked for, or it was skipped
	SkippedFiles int       `json:"skippedFiles"` // that were not selected

	// VerificationSkipped says that [Rules] were told to let it pass.
	VerificationSkipped bool `json:"verificationSkipped,omitempty"`

	// Variant is what was taken of a version that has several; nil for others.
	Variant *ChosenVariant `json:"variant,omitempty"`

	RepoID   string   `json:"repoId,omitempty"`   // of a Hugging Face cache
	Revision string   `json:"revision,omitempty"` // of a Hugging Face cache
	Notes    []string `json:"notes,omitempty"`

	// Mirrors is how many of the bytes read each mirror gave, by host.
	Mirrors map[string]int64 `json:"mirrors,omitempty"`
}

// Pull brings the version that r resolves to into directory dir, or into one
// named after the model when dir is empty. The tag is resolved once; a
// signature, when asked for, is checked on that digest before the first byte
// is fetched by it. The directory shows the old version or the whole new one,
// never a mix, whatever happens.
func (h *Hub) Pull(ctx context.Context, r ref.Reference, dir string, opts PullOptions) (*PullResult, error) {
	p, err := h.pulled(ctx, r, opts)
	if err != nil {
		return nil, err
	}
	t, uo := p.target, p.unpack
	if dir == "" {
		dir = path.Base(t.ref.Repository)
		if !t.isLayout() {
			dir = path.Base(r.Repository)
		}
	}
	res := &PullResult{Reference: t.source().String(), Digest: t.desc.Digest.String(), Directory: dir, Verified: p.verified, VerificationSkipped: p.unpack.Admission.Skipped, Variant: t.chosen()}
	started := time.Now()
	var u *artifact.Unpacked
	if p.hf != nil {
		p.hf.Cache = dir
		u, err = pullHF(ctx, p, res)
	} else {
		u, err = artifact.Unpack(ctx, p.artifact, t.repo, dir, uo)
	}
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", t.ref, err)
	}
	if uo.Store != nil && !t.isLayout() {
		if opts.Bandwidth == 0 { // a limit says nothing about the way
			uo.Store.NoteRate(t.ref.Host, u.Fetched, time.Since(started))
		}
		h.keep(ctx, t, p.artifact)
	}
	res.Files, res.Size, res.FetchedBytes, res.ReusedBytes = u.Files, u.Size, u.Fetched, u.Reused
	res.SkippedFiles, res.Notes = u.LeftOut, append(u.Notes, res.Notes...)
	res.Mirrors = t.repo.Served()
	return res, nil
}

// A pulled is a version that may be pulled: resolved, verified and opened.
type pulled struct {
	target   *target
	verified *Verified
	artifact *artifact.Artifact
	model    modelSigned // if OMS is asked for
	unpack   artifact.UnpackOptions
	hf       *artifact.HFOptions // nil unless a Hugging Face cache is asked for
}

func (h *Hub) pulled(ctx context.Context, r ref.Reference, opts PullOptions) (p pulled, err error) {
	choose := h.model
	if opts.Raw {
		choose = h.any
	}
	if opts.Locked != nil {
		r = opts.Locked.Pinned()
		choose = func(ctx context.Context, _ ref.Reference) (*target, error) { return h.locked(ctx, opts.Locked) }
	}
	trust, err := h.trustOf(ctx, r, opts)
	if err != nil {
		return p, err
	}
	t, err := choose(ctx, r)
	if err != nil {
		return p, err
	}
	p.target = t
	if opts.HF == nil && !opts.plan { // the files get a directory of their own
		t.witness = newWitness(t.repo)
	}
	admit := admitOptions{trust: trust, downgrade: opts.AllowDowngrade, checkOnly: opts.plan, raw: opts.Raw}
	open := func(ctx context.Context) (*artifact.Artifact, error) { return openPulled(ctx, t, opts) }
	if p.artifact, err = h.heedAndOpen(ctx, r, t, trust, open); err != nil {
		return p, err
	}
	if p.verified, err = h.admit(ctx, r, t, admit); err != nil {
		return p, err
	}
	if opts.HF != nil {
		name := t.ref
		if opts.Locked != nil {
			name.Tag = opts.Locked.Tag // what loaders ask for
		}
		hf, err := hfOptions(name, *opts.HF)
		if err != nil {
			return p, err
		}
		p.hf = &hf
	}
	if p.artifact == nil {
		if p.artifact, err = open(ctx); err != nil {
			return p, err
		}
	}
	if opts.Locked != nil {
		if err := h.asLocked(ctx, *opts.Locked, used{t, p.verified, p.artifact}); err != nil {
			return p, err
		}
	}
	if opts.OMS {
		if p.model, err = modelSignature(ctx, t, p.artifact, opts.Trust); err != nil {
			return p, fmt.Errorf("pull %s: %w", t.ref, err)
		}
	}
	if p.unpack, err = h.unpackOptions(ctx, p, opts); err != nil {
		return p, err
	}
	err = h.vouchFiles(ctx, r, &p, opts)
	return p, err
}

// unpackOptions are how a version is put into a directory, with what is kept
// there of its verification.
func (h *Hub) unpackOptions(ctx context.Context, p pulled, opts PullOptions) (uo artifact.UnpackOptions, err error) {
	t := p.target
	uo = artifact.UnpackOptions{
		Force: opts.Force, AllowDotfiles: opts.AllowDotfiles, Select: opts.Select, Link: opts.Link,
		Workers: opts.Workers, Connections: opts.Connections, Bandwidth: opts.Bandwidth, NoDelta: opts.NoDelta,
		PageCache: opts.PageCache, MaxWait: opts.MaxWait, Observe: h.opts.Observe, Reference: t.source().String(), Added: p.model.files,
	}
	if uo.Admission, err = h.admission(ctx, p.verified); err != nil {
		return uo, err
	}
	if p.verified != nil && t.witness != nil {
		if uo.Evidence, err = t.proof(ctx, p.artifact, opts.Raw); err != nil {
			return uo, fmt.Errorf("pull %s: %w", t.ref, err)
		}
	}
	if !opts.NoStore {
		uo.Store = h.opts.Store
	}
	if opts.Variants {
		uo.Variants = h.codings(ctx, t)
	}
	return uo, nil
}

// openPulled opens what is to be pulled, as a model or as it is.
func openPulled(ctx context.Context, t *target, opts PullOptions) (a *artifact.Artifact, err error) {
	src := manifestAtHand{t.reader(), t}
	if opts.Raw {
		a, err = artifact.OpenRaw(ctx, src, t.desc)
	} else {
		a, err = artifact.OpenWith(ctx, src, t.desc, artifact.OpenOptions{AllowCollisions: opts.AllowCollisions})
	}
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", t.ref, err)
	}
	return a, nil
}

// keep notes where the version's blobs can be mounted from, and names it in the
// store if the store has all of it. Both only save work.
func (h *Hub) keep(ctx context.Context, t *target, a *artifact.Artifact) {
	s := h.opts.Store
	for _, l := range a.Manifest.Layers {
		s.Remember(l.Digest, t.ref.Name())
	}
	for _, l := range a.Manifest.Layers {
		if ok, err := s.Exists(ctx, l); !ok || err != nil {
			return
		}
	}
	if err := h.list(ctx, t, a); err != nil {
		h.warn("%s is not listed in the local store: %v", t.ref, err)
	}
}

// list names a version in the store, with what only a manifest leads to.
func (h *Hub) list(ctx context.Context, t *target, a *artifact.Artifact) error {
	config := a.Config
	if config == nil { // it says nothing of the model, so it was not read yet
		if a.Manifest.Config.Size > mediatypes.MaxManifestBytes {
			return fmt.Errorf("config of %d bytes: %w", a.Manifest.Config.Size, errdef.ErrSizeExceedsLimit)
		}
		var err error
		if config, err = content.FetchAll(ctx, t.repo, a.Manifest.Config); err != nil {
			return err
		}
	}
	small := map[*ocispec.Descriptor][]byte{&t.desc: t.raw, &a.Manifest.Config: config}
	for desc, raw := range small {
		err := h.opts.Store.Push(ctx, *desc, bytes.NewReader(raw))
		if err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			return err
		}
	}
	name := t.ref
	if name.Tag != "" {
		name = name.WithDigest("")
	}
	return h.opts.Store.Tag(ctx, t.desc, name.String())
}
