package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A copySource is where artifacts are copied from: a repository of a registry, or of
// a layout on a disk.
type copySource interface {
	content.Fetcher
	FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error)
	Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error)
	Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error)
	Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error)
	Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error)
	Tags(ctx context.Context) iter.Seq2[string, error]
}

// place is what a version is read from.
func (t *target) place() copySource {
	if t.local != nil {
		return t.local
	}
	return t.repo
}

// A copyTarget is where they are copied to.
type copyTarget interface {
	copySource
	content.Pusher
	PushManifest(ctx context.Context, desc ocispec.Descriptor, raw []byte, tags ...string) error
	PushReferrer(ctx context.Context, raw []byte, subject ocispec.Descriptor) error
	Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error
}

// A copyEnd is one end of a copy.
type copyEnd struct {
	ref    ref.Reference
	at     copyTarget
	remote *remote.Repository // nil for layouts
	layout *layout.Layout     // nil for registries
}

// isFile tells whether r names a tar archive.
func isFile(r ref.Reference) bool { return r.Scheme == ref.SchemeFile }

// isLocal tells whether r names a layout on this machine.
func isLocal(r ref.Reference) bool { return isFile(r) || r.Scheme == ref.SchemeLayout }

// name is what signatures and entries of layouts call the repository: host/name
// in a registry, what a layout says of itself, or "".
func (e *copyEnd) name() string {
	if e.remote != nil {
		return e.remote.Name()
	}
	if r, ok := e.at.(*layout.Repository); ok {
		return r.Name()
	}
	return ""
}

// target is a version at this end, which policies are asked about under the
// name of a repository.
func (e *copyEnd) target(name string, desc ocispec.Descriptor, raw []byte) *target {
	r, err := ref.Parse(name)
	if err != nil {
		r = ref.Reference{Repository: name}
	}
	r.Tag = ""
	t := &target{repo: e.remote, ref: r.WithDigest(desc.Digest), desc: desc, raw: raw, signed: desc, made: created(raw)}
	if e.remote == nil {
		t.local = e.at
	}
	return t
}

func (e *copyEnd) close() error {
	if e.layout == nil {
		return nil
	}
	return e.layout.Close()
}

// source opens what is copied from.
func (h *Hub) source(r ref.Reference) (*copyEnd, error) {
	switch {
	case isFile(r):
		return openLayout(r, layout.OpenTar)
	case r.Scheme == ref.SchemeLayout:
		return openLayout(r, layout.Open)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	return &copyEnd{ref: r, at: repo, remote: repo}, nil
}

// destination opens what is copied to, unless that is an archive.
func (h *Hub) destination(r ref.Reference) (*copyEnd, error) {
	if r.Scheme == ref.SchemeLayout {
		return openLayout(r, layout.Create)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	repo = repo.Origin() // it is written to
	if h.opts.Store != nil {
		repo.SetMemory(uploads{h.opts.Store})
	}
	return &copyEnd{ref: r, at: repo, remote: repo}, nil
}

func openLayout(r ref.Reference, open func(string) (*layout.Layout, error)) (*copyEnd, error) {
	if r.Variant != "" || r.Path != "" {
		return nil, fmt.Errorf("%w: open %s: a variant (#) or a path (//) in a reference means nothing here", ErrUsage, r)
	}
	l, err := open(filepath.FromSlash(r.Repository))
	if err != nil {
		return nil, err
	}
	repo, err := l.Repository(r.Host)
	if errors.Is(err, layout.ErrSeveral) {
		err = fmt.Errorf("%w: open %s: it holds several repositories: \"modelreg bundle load\" takes them all", ErrUsage, r)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &copyEnd{ref: r, at: repo, layout: l}, nil
}

// lookUp resolves a reference of a source once, as [Hub.lookUp] does.
func (h *Hub) lookUpSource(ctx context.Context, from *copyEnd, r ref.Reference) (ref.Reference, copyStep, error) {
	if from.remote != nil {
		t, err := h.lookUp(ctx, from.remote, from.remote.WithMirrorTags(), r)
		if err != nil {
			if to, moved := h.movedTo(ctx, from.remote, r); moved == nil && to.Repository != "" && errors.Is(err, errdef.ErrNotFound) {
				err = fmt.Errorf("%w: %s says that it has moved to %s: copy it from there", err, r.Name(), to.Name())
			}
			return r, copyStep{}, err
		}
		return t.ref, copyStep{reference: t.desc.Digest.String(), desc: t.desc, raw: t.raw, version: true}, nil
	}
	if r.Prefix != "" || r.Range != "" {
		return r, copyStep{}, fmt.Errorf("%w: resolve %s: in a layout, give a tag or a whole digest", ErrUsage, r)
	}
	if r.Tag == "" && r.Digest == "" {
		var err error
		if r.Tag, err = onlyTag(ctx, from.at); err != nil {
			return r, copyStep{}, fmt.Errorf("resolve %s: %w", r, err)
		}
	}
	name := r.Tag
	if r.Digest != "" {
		name = r.Digest.String()
	}
	desc, raw, err := from.at.Manifest(ctx, name)
	if err != nil {
		return r, copyStep{}, fmt.Errorf("resolve %s: %w", r, err)
	}
	return r.WithDigest(desc.Digest), copyStep{reference: desc.Digest.String(), desc: desc, raw: raw, version: true}, nil
}

// onlyTag is the tag of a layout that has but one for people, or the default.
func onlyTag(ctx context.Context, at copySource) (string, error) {
	tags, _, err := peopleTags(ctx, at)
	if err != nil {
		return "", err
	}
	if len(tags) == 1 {
		return tags[0], nil
	}
	return DefaultTag, nil
}

// maxCopyTags bounds the tags that are copied at once.
const maxCopyTags = 10_000

// peopleTags lists the tags that people gave, and what else is kept about the
// repository as a whole: its record, and the logs of its aliases.
func peopleTags(ctx context.Context, at copySource) (tags, about []string, err error) {
	for tag, err := range at.Tags(ctx) {
		if err != nil {
			return nil, nil, fmt.Errorf("list tags: %w", err)
		}
		alias, isLog := strings.CutPrefix(tag, record.TipPrefix)
		switch {
		case tag == record.Tag:
			about = append(about, "its record")
		case isLog:
			about = append(about, "the log of "+ref.DecodeBranch(alias))
		case hidden(tag):
			continue
		default:
			tags = append(tags, tag)
		}
		if len(tags)+len(about) > maxCopyTags {
			return nil, nil, fmt.Errorf("%w: more than %d tags: name them with --tags", ErrUsage, maxCopyTags)
		}
	}
	slices.Sort(about)
	return tags, about, nil
}
