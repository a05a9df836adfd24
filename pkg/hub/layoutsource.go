package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// unnamedHost is where the versions of a layout are said to be that does not say
// what it is a copy of. RFC 2606 keeps the name from ever being anybody's.
const unnamedHost = "layout.invalid"

// findInLayout is [Hub.find] for a version in an OCI layout on this machine. It
// is read as a registry is, so that all that can be done with a version by reading
// alone can be done with it, and the same decides whether it may be used: under the
// name of [Options], or of the repository that the layout says it is a copy of.
func (h *Hub) findInLayout(ctx context.Context, r ref.Reference) (_ *target, err error) {
	if r.Range != "" || r.Prefix != "" || r.Revision != "" {
		return nil, fmt.Errorf("%w: resolve %s: in a layout, give a tag or a whole digest", ErrUsage, r)
	}
	end, err := openLayout(r, layout.Open)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end.close()) }()
	named := ref.Reference{Host: h.opts.As.Host, Repository: h.opts.As.Repository}
	if named == (ref.Reference{}) {
		named = layoutName(end.name(), r)
	}
	named.Tag, named.Digest = r.Tag, r.Digest
	if named.Tag == "" && named.Digest == "" {
		if named.Tag, err = onlyTag(ctx, end.at); err != nil {
			return nil, fmt.Errorf("resolve %s: %w", r, err)
		}
	}
	client, err := remote.New(remote.Options{
		Transport: remote.InProcess(layout.Handler{Dir: filepath.FromSlash(r.Repository), Repository: r.Host}),
		PlainHTTP: func(string) bool { return true },
	})
	if err != nil {
		return nil, err
	}
	repo, err := client.Repository(named.Name())
	if err != nil {
		return nil, err
	}
	t, err := h.lookUp(ctx, repo, repo, named)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	t.layout = r.WithDigest(t.desc.Digest)
	return t, nil
}

// layoutName is what the versions of a layout are called: by the name that it
// gives, if that is a repository's, and else by the directory's.
func layoutName(name string, r ref.Reference) ref.Reference {
	if n, err := ref.Parse(name); err == nil && n.Scheme == "" && n.Host != "" && n.Name() == name {
		return n
	}
	dir := strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(path.Base(r.Repository))), "-")
	if dir == "" {
		dir = "model"
	}
	return ref.Reference{Host: unnamedHost, Repository: dir}
}

// isLayout tells whether the version lies in a layout.
func (t *target) isLayout() bool { return t.layout.Scheme == ref.SchemeLayout }

// source is the reference that leads to the version again.
func (t *target) source() ref.Reference {
	if t.isLayout() {
		return t.layout
	}
	return t.ref
}
