package hub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A VersionInfo is a tag of a repository and what it points to.
type VersionInfo struct {
	Tag     string `json:"tag"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`    // bytes of the layers
	Created string `json:"created"` // RFC 3339, empty when the version does not say

	// Variants names the variants of a version that has several; empty for
	// others.
	Variants []string `json:"variants,omitempty"`

	// Status is what became of a version that was deprecated or yanked, as those
	// find it who use the version; nil for others.
	Status *State `json:"status,omitempty"`
}

// A RepositoryInfo is a repository of a registry.
type RepositoryInfo struct {
	Repository string `json:"repository"` // host/name
}

// listWorkers bounds the manifests read at once for a list.
const listWorkers = 8

// Versions lists the tags of a repository that people gave, by name, each with
// its version and what became of it. With all it lists bookkeeping tags too. It
// reads a manifest for each tag, and for each version that something is attached
// to the list of that.
func (h *Hub) Versions(ctx context.Context, r ref.Reference, all bool) ([]VersionInfo, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	names, err := tagsAttached(ctx, repo, all)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	h.noteWhole(ctx, repo, names.recorded)
	out := make([]VersionInfo, len(names.list))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(listWorkers)
	for i, tag := range names.list {
		g.Go(func() (err error) {
			out[i], err = version(gctx, repo, tag)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	out = slices.DeleteFunc(out, func(v VersionInfo) bool { return v.Digest == "" })
	digests := make([]digest.Digest, len(out))
	for i, v := range out {
		digests[i] = digest.Digest(v.Digest)
	}
	found, err := h.marks(ctx, repo, h.markable(ctx, repo, digests, names.attached), nil)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	for i, d := range digests {
		out[i].Status = found[d]
	}
	return out, nil
}

// Tags lists the names that people gave to versions of a repository, sorted.
// With an error it returns those it has read.
func (h *Hub) Tags(ctx context.Context, r ref.Reference) ([]string, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	names, err := tags(ctx, repo, false)
	for i, tag := range names {
		names[i] = ref.DecodeBranch(tag)
	}
	if err != nil {
		return names, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	return names, nil
}

// tags lists tags as the registry stores them, sorted.
func tags(ctx context.Context, repo *remote.Repository, all bool) ([]string, error) {
	found, err := tagsAttached(ctx, repo, all)
	return found.list, err
}

// listedTags are tags of a repository, and what others tell of it.
type listedTags struct {
	list     []string        // sorted
	attached map[string]bool // tags under which it is listed what is attached to something
	recorded bool            // there is a record
}

// tagsAttached is tags, and what else the list of tags tells.
func tagsAttached(ctx context.Context, repo *remote.Repository, all bool) (listedTags, error) {
	found := listedTags{attached: make(map[string]bool)}
	for tag, err := range repo.Tags(ctx) {
		if err != nil {
			return found, err
		}
		if all || !hidden(tag) {
			found.list = append(found.list, tag)
		}
		if strings.HasPrefix(tag, "sha") && hidden(tag) && !strings.Contains(tag, ".") {
			found.attached[tag] = true
		}
		found.recorded = found.recorded || tag == record.Tag
	}
	slices.Sort(found.list)
	return found, nil
}

// version reads what tag points to; a tag that is gone by now gives the zero
// value.
func version(ctx context.Context, repo *remote.Repository, tag string) (VersionInfo, error) {
	desc, raw, err := repo.Manifest(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return VersionInfo{}, nil
	}
	if err != nil {
		return VersionInfo{}, err
	}
	v := VersionInfo{Tag: ref.DecodeBranch(tag), Digest: desc.Digest.String()}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		v.listVariants(raw)
		return v, nil // a stranger's document is listed without a size
	}
	for _, l := range m.Layers {
		v.Size += l.Size
	}
	v.Created = m.Annotations[ocispec.AnnotationCreated]
	return v, nil
}

// Repositories lists the repositories of a registry whose name is prefix or lies
// below it; an empty prefix lists all. Where the registry does not list them, the API
// of the service that it is a part of is asked; a [catalog.AccessError] says that it
// wants a credential. Names that are none are left out, with a warning.
func (h *Hub) Repositories(ctx context.Context, host, prefix string) ([]RepositoryInfo, error) {
	out := []RepositoryInfo{}
	for name, err := range h.names(ctx, host, prefix) {
		if bad, ok := errors.AsType[*catalog.NameError](err); ok {
			h.warn("%v", bad)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list repositories of %s: %w", host, err)
		}
		out = append(out, RepositoryInfo{Repository: host + "/" + name})
	}
	return out, nil
}

// names lists repositories as package catalog does.
func (h *Hub) names(ctx context.Context, host, prefix string) iter.Seq2[string, error] {
	return catalog.Repositories(ctx, h.opts.Remote, host, prefix, h.opts.Catalog)
}

// Files lists the files of the version that r resolves to.
func (h *Hub) Files(ctx context.Context, r ref.Reference) ([]FileInfo, error) {
	t, err := h.model(ctx, r)
	if err != nil {
		return nil, err
	}
	a, err := artifact.Open(ctx, t.repo, t.desc)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", t.ref, err)
	}
	return fileInfos(a.Files), nil
}
