// Package hub is one method for each thing that a user does with models: push,
// pull, resolve, inspect, list, tag, read, list tensors, sign, verify.
//
// It is the only place that joins the other packages, and holds no formats, no
// protocols and no bytes of its own. Every method takes a parsed reference,
// turns its tag into a digest once, and works on that digest from then on.
//
// The results are structs whose JSON form is the contract that scripts rely
// on: fields may be added, none is renamed.
package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
	"github.com/modelreg/modelreg/pkg/variant"
)

// DefaultTag is what a reference without tag and digest means.
const DefaultTag = "latest"

var (
	// ErrConflict says that what was to be changed has changed underneath.
	ErrConflict = errors.New("conflict")

	// ErrUsage says that the reference does not fit the operation.
	ErrUsage = errors.New("usage")

	// ErrNoVariant says that a version has no variant that is what is wanted.
	// Where variants were looked at, it comes with a *[variant.NoneError].
	ErrNoVariant = errors.New("no variant fits")
)

// Options is what a [Hub] works with.
type Options struct {
	// Remote is the registry client. It must be set.
	Remote *remote.Client

	// Catalog says how the repositories of registries are listed that have an API
	// for that. The zero value knows the public ones.
	Catalog catalog.Options

	// Inside are clients of registries in this process, by the host that
	// references name: they are not asked by Remote.
	Inside map[string]*remote.Client

	// Store is local content to reuse and to fill. Nil works without.
	Store *store.Store

	// Seen remembers where tags led when they were verified, so that one that
	// goes back is refused. Nil remembers nothing.
	Seen *signing.Seen

	// Rules, if not nil, says what versions are held against. It is called
	// whenever bytes of a version are about to be used, and not before; an
	// error stops that. Nil checks digests, and signatures only where somebody
	// asks for them.
	Rules func(ctx context.Context) (Rules, error)

	// As is the repository of which the versions in layouts on this machine are
	// taken to be; the zero value takes the name that the layout gives, which
	// nobody has signed.
	As ref.Reference

	// Want says which variant is wanted of a version that has several, besides
	// what a reference says after its #. The zero value takes the best that
	// the machine can run.
	Want variant.Want

	// Machine, if not nil, tells where models are to run. It is called when
	// the choice of a variant depends on it, and not before.
	Machine func(ctx context.Context) variant.Machine

	// Chose, if not nil, is told which variant was taken of which version, and
	// what became of the others; also when none was. Nobody is told of a
	// version that has but one.
	Chose func(version ref.Reference, choice variant.Choice)

	// Strict refuses versions that were deprecated, and those of which it cannot
	// be found out whether they were withdrawn.
	Strict bool

	// Evaluations are repositories in which others keep what they have measured of
	// versions, besides those that repositories name themselves.
	Evaluations []ref.Reference

	// Observe, if not nil, is told how blobs move, from several goroutines.
	Observe transfer.Observer

	// Warn, if not nil, is told what may be wrong but is no failure, such as
	// a tag that points elsewhere than the digest given with it.
	Warn func(message string)
}

// A Hub does things with models. It is safe for concurrent use.
type Hub struct {
	opts Options

	// records are what repositories were found to say about themselves:
	// *recorded by the name of the repository.
	records sync.Map

	// reading are the records that are being read: host/name → chan struct{}, closed
	// when that is done.
	reading sync.Map

	// told are warnings that are given once.
	told sync.Map
}

// New returns a Hub that works with opts.
func New(opts Options) *Hub { return &Hub{opts: opts} }

func (h *Hub) warn(format string, args ...any) {
	if h.opts.Warn != nil {
		h.opts.Warn(fmt.Sprintf(format, args...))
	}
}

// warnOnce is warn for what would be told of every version.
func (h *Hub) warnOnce(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if _, told := h.told.LoadOrStore(message, true); !told {
		h.warn("%s", message)
	}
}

// target is one version in one repository: what a reference was resolved to.
type target struct {
	repo *remote.Repository

	// local is what is read in place of repo where the version lies on this
	// machine.
	local copySource

	// layout is the reference of a version in a layout, with its digest, where
	// ref is one of the repository that the layout is a copy of. It can only be
	// read.
	layout ref.Reference

	// kept says that local is what a pull has kept, so that of other versions
	// nothing is known.
	kept bool

	ref  ref.Reference // as resolved: with a digest
	desc ocispec.Descriptor
	raw  []byte // the manifest, verified against desc

	// asked is the repository that was asked for, if ref is in one that it has
	// moved to.
	asked string

	// signed is what a signature is looked for on: desc, or the index that
	// desc was chosen from.
	signed ocispec.Descriptor

	// made is when signed says it was made; zero if it does not.
	made time.Time

	// witness remembers what the repository told about signatures; nil if that
	// is not to be kept. Of vouched is known that it counted.
	witness *witness
	vouched []ocispec.Descriptor

	// choice is what was chosen from an index; nil for what is none.
	choice *variant.Choice

	// indexes are those of a version that is being pushed.
	indexes []artifact.ChunkIndex
}

// repository opens the repository that r names.
func (h *Hub) repository(r ref.Reference) (*remote.Repository, error) {
	if r.Scheme != "" && r.Scheme != "oci" {
		return nil, fmt.Errorf("%w: open %s: only oci:// references can be used here", ErrUsage, r)
	}
	if r.Variant != "" || r.Path != "" {
		return nil, fmt.Errorf("%w: open %s: a variant (#) or a path (//) in a reference means nothing here", ErrUsage, r)
	}
	repo, err := h.client(r.Host).Repository(r.Name())
	if err == nil && h.opts.Store != nil {
		repo.SetMemory(uploads{h.opts.Store})
	}
	return repo, err
}

// client reaches the registry on a host.
func (h *Hub) client(host string) *remote.Client {
	if c, ok := h.opts.Inside[host]; ok {
		return c
	}
	return h.opts.Remote
}

// resolve turns r into a digest, once, and reads the manifest with it. A tag
// given together with a digest is only compared.
func (h *Hub) resolve(ctx context.Context, r ref.Reference) (*target, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	t, err := h.lookUp(ctx, repo, repo, r)
	if errors.Is(err, errdef.ErrNotFound) {
		if to, moved := h.movedTo(ctx, repo, r); moved == nil && to.Repository != "" {
			return nil, fmt.Errorf("%w: %s says that it has moved to %s: what is changed is named there", err, r.Name(), to.Name())
		}
	}
	return t, err
}

// find is resolve for those who only read: it takes a mirror's word for a tag
// where the user does.
func (h *Hub) find(ctx context.Context, r ref.Reference) (*target, error) {
	if r.Scheme == ref.SchemeLayout {
		return h.findInLayout(ctx, r)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	t, err := h.lookUp(ctx, repo, repo.WithMirrorTags(), r)
	if errors.Is(err, errdef.ErrNotFound) {
		return h.follow(ctx, repo, r, err)
	}
	return t, err
}

// lookUp resolves r in repo, whose tags names knows.
func (h *Hub) lookUp(ctx context.Context, repo, names *remote.Repository, r ref.Reference) (t *target, err error) {
	if r.Revision != "" {
		if r, err = h.revision(ctx, repo, names, r); err != nil {
			return nil, err
		}
	}
	if r.Prefix != "" {
		if r, err = expand(ctx, repo, r); err != nil {
			return nil, err
		}
	}
	if r.Range != "" {
		if r, err = h.highest(ctx, repo, r); err != nil {
			return nil, err
		}
	}
	if r.Tag == ref.Head {
		r.Tag = ""
	}
	name, named := r.Tag, true
	switch {
	case r.Digest != "":
		name = r.Digest.String()
	case name == "":
		named = false
		if r.Tag, err = h.defaultTag(ctx, repo); err != nil {
			return nil, err
		}
		name = r.Tag
	}
	desc, raw, err := names.Manifest(ctx, name)
	if err != nil {
		err = fmt.Errorf("resolve %s: %w", r, err)
		if !named {
			return nil, noDefault(ctx, repo, r, err)
		}
		return nil, lost(ctx, repo, r, missing(MissingVersion, r, err))
	}
	if err := goneError(r, raw); err != nil {
		return nil, err
	}
	if r.Digest != "" && r.Tag != "" {
		h.compareTag(ctx, names, r)
	}
	return &target{repo: repo, ref: r.WithDigest(desc.Digest), desc: desc, raw: raw, signed: desc, made: created(raw)}, nil
}

// compareTag warns when the tag beside a digest points elsewhere, and not to
// an index that holds it.
func (h *Hub) compareTag(ctx context.Context, repo *remote.Repository, r ref.Reference) {
	desc, err := repo.Resolve(ctx, r.Tag)
	switch {
	case err != nil:
		h.warn("%s: tag %s was not compared with the digest: %v", r.Name(), r.Tag, err)
	case desc.Digest != r.Digest && !holds(ctx, repo, desc, r.Digest):
		h.warn("%s: tag %s points to %s; the digest in the reference is used", r.Name(), r.Tag, desc.Digest)
	}
}

func isIndex(desc ocispec.Descriptor) bool {
	return desc.MediaType == ocispec.MediaTypeImageIndex || desc.MediaType == mediatypes.IndexDocker
}

// holds tells whether desc is an index in which child is found.
func holds(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor, child digest.Digest) bool {
	if !isIndex(desc) {
		return false
	}
	_, raw, err := repo.Manifest(ctx, desc.Digest.String())
	if err != nil {
		return false
	}
	index, err := mediatypes.ParseIndex(raw)
	return err == nil && slices.ContainsFunc(index.Manifests, func(m ocispec.Descriptor) bool { return m.Digest == child })
}

// maxPrefixTags bounds the tags that are looked at for an abbreviated digest.
const maxPrefixTags = 2000

// expand finds the one version whose digest starts with r.Prefix among those
// that a tag holds. Keep-tags spell 40 digits of their digest, so most cost no
// request.
func expand(ctx context.Context, repo *remote.Repository, r ref.Reference) (ref.Reference, error) {
	found := map[digest.Digest]bool{}
	stone := "" // a keep-tag of such a version that holds something else
	n := 0
	for tag, err := range repo.Tags(ctx) {
		if err != nil {
			return r, fmt.Errorf("look up digest %s in %s: %w", r.Prefix, r.Name(), err)
		}
		if n++; n > maxPrefixTags {
			return r, fmt.Errorf("%w: look up digest %s in %s: more than %d tags: give the whole digest", ErrUsage, r.Prefix, r.Name(), maxPrefixTags)
		}
		if !mayHold(tag, r.Prefix) {
			continue
		}
		desc, err := repo.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) {
			continue // removed since the list was made
		}
		if err != nil {
			return r, fmt.Errorf("look up digest %s in %s: %w", r.Prefix, r.Name(), err)
		}
		if hasPrefix(desc.Digest, r.Prefix) {
			found[desc.Digest] = true
		} else if strings.HasPrefix(tag, keepPrefix) {
			stone = tag
		}
	}
	if len(found) == 0 && stone != "" {
		if _, raw, err := repo.Manifest(ctx, stone); err == nil && goneError(r, raw) != nil {
			return r, goneError(r, raw)
		}
	}
	switch len(found) {
	case 0:
		return r, missing(MissingVersion, r, fmt.Errorf("look up digest %s in %s: no tagged version starts with it: %w", r.Prefix, r.Name(), errdef.ErrNotFound))
	case 1:
		for d := range found {
			r.Digest, r.Prefix = d, ""
		}
		return r, nil
	}
	return r, fmt.Errorf("%w: look up digest %s in %s: %d versions start with it: give more digits", ErrUsage, r.Prefix, r.Name(), len(found))
}
