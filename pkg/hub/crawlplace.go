package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A crawlPlace is what a crawl begins with.
type crawlPlace struct {
	name string             // as it was given
	host string             // of the registry
	path string             // that names begin with, without a slash at its end
	repo *remote.Repository // that the path may be; nil if it cannot
}

// crawlPlaces reads the names of places, each once.
func (h *Hub) crawlPlaces(names []string) ([]crawlPlace, error) {
	var list []crawlPlace
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		host, path, _ := strings.Cut(strings.TrimPrefix(name, "oci://"), "/")
		if host == "" {
			return nil, fmt.Errorf("%w: %q names no registry", ErrUsage, name)
		}
		p := crawlPlace{name: name, host: host, path: strings.TrimSuffix(path, "/")}
		if p.path != "" && p.path == path {
			r, err := ref.Parse(host + "/" + path)
			if err != nil || r.Host != host || r.Tag+r.Range+r.Prefix+r.Revision+r.Variant+r.Path != "" || r.Digest != "" {
				return nil, fmt.Errorf("%w: %q is neither a registry, nor a path of one, nor a repository", ErrUsage, name)
			}
			if p.repo, err = h.repository(r); err != nil {
				return nil, err
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// A crawlList is what is at a place.
type crawlList struct {
	names []string // of repositories
	tags  []string // of the only one, if they were listed
	whole string   // if not empty: these are all whose name begins with it
}

// repositories lists what is at a place.
func (c *crawl) repositories(ctx context.Context, p crawlPlace) (crawlList, error) {
	var gone []string // that the index knows at the place
	var refused error // why the place is no repository that can be read
	if p.repo != nil {
		one, err := c.single(ctx, p.repo)
		if err == nil || !absent(err) {
			return one, err
		}
		versions, indexErr := c.ix.Versions(ctx, p.repo.Name())
		if indexErr != nil {
			return crawlList{}, indexError{indexErr}
		}
		switch {
		case len(versions) == 0:
			refused = err
		case !errors.Is(err, errdef.ErrNotFound):
			return crawlList{}, err
		default:
			gone = []string{p.repo.Name()} // it is looked at for what is gone
		}
	}
	list, err := c.below(ctx, p, gone)
	_, ofIndex := errors.AsType[indexError](err)
	switch {
	case err == nil || ofIndex || ctx.Err() != nil:
		return list, err
	case len(gone) > 0:
		return crawlList{names: gone}, nil
	case refused == nil || errors.Is(err, remote.ErrUnreachable):
		return crawlList{}, err
	}
	if _, ok := errors.AsType[*catalog.AccessError](err); ok {
		return crawlList{}, fmt.Errorf("there is no repository that can be read, nor a list of those below: %w", err)
	}
	if !errors.Is(refused, errdef.ErrNotFound) {
		return crawlList{}, refused
	}
	// Many registries list nothing, to nobody.
	return crawlList{}, errNoRepository
}

// errNoRepository says that there is nothing at a place.
var errNoRepository = fmt.Errorf("there is no repository: %w", errdef.ErrNotFound)

// absent tells whether an error can mean that there is no such repository: of those
// that one may not see, many registries do not say whether they are there.
func absent(err error) bool {
	return errors.Is(err, errdef.ErrNotFound) || errors.Is(err, remote.ErrUnauthorized) || errors.Is(err, remote.ErrForbidden)
}

// single lists the tags of a place that is a repository.
func (c *crawl) single(ctx context.Context, repo *remote.Repository) (crawlList, error) {
	var list []string
	err := c.pace.do(ctx, func() (err error) { list, err = tags(ctx, repo, true); return err })
	if err == nil && len(list) == 0 {
		err = errNoRepository
	}
	if err != nil {
		return crawlList{}, err
	}
	return crawlList{names: []string{repo.Name()}, tags: list}, nil
}

// below lists the repositories at or below a place, and names.
func (c *crawl) below(ctx context.Context, p crawlPlace, names []string) (crawlList, error) {
	list := crawlList{names: slices.Clone(names), whole: p.host + "/"}
	for name, err := range c.h.names(ctx, p.host, p.path) {
		if bad, ok := errors.AsType[*catalog.NameError](err); ok {
			c.problem(p.name, bad)
			continue
		}
		if err != nil {
			return crawlList{}, fmt.Errorf("list repositories of %s: %w", p.host, err)
		}
		if name = p.host + "/" + name; !slices.Contains(names, name) {
			list.names = append(list.names, name)
		}
	}
	if p.path == "" {
		return list, nil
	}
	list.whole += p.path + "/"
	if len(list.names) > 0 {
		return list, nil
	}
	known, err := c.ix.Repositories(ctx, list.whole)
	switch {
	case err != nil:
		return crawlList{}, indexError{err}
	case len(known) == 0:
		return crawlList{}, errNoRepository
	}
	return list, nil
}
