package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"oras.land/oras-go/v2/errdef"

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

// crawlPlaces reads the names of places.
func (h *Hub) crawlPlaces(names []string) ([]crawlPlace, error) {
	var list []crawlPlace
	for _, name := range names {
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

// repositories lists what is at a place. If that is all that has a name which
// begins with whole, whole is not empty.
func (c *crawl) repositories(ctx context.Context, p crawlPlace) (names []string, whole string, err error) {
	if p.repo != nil {
		var list []string
		err := c.pace.do(ctx, func() (err error) { list, err = tags(ctx, p.repo, true); return err })
		if err == nil && len(list) > 0 {
			return []string{p.repo.Name()}, "", nil
		}
		if err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return nil, "", err
		}
		versions, err := c.ix.Versions(ctx, p.repo.Name())
		if err != nil {
			return nil, "", indexError{err}
		}
		if len(versions) > 0 {
			names = append(names, p.repo.Name()) // which was there: it is looked at for what is gone
		}
	}
	found, err := c.h.Repositories(ctx, p.host, p.path)
	if err != nil {
		if ctx.Err() != nil {
			return nil, "", err
		}
		if len(names) > 0 {
			return names, "", nil
		}
		if p.repo != nil && !errors.Is(err, remote.ErrUnreachable) { // many registries list nothing, to nobody
			err = fmt.Errorf("there is no repository: %w", errdef.ErrNotFound)
		}
		return nil, "", err
	}
	for _, r := range found {
		if !slices.Contains(names, r.Repository) {
			names = append(names, r.Repository)
		}
	}
	whole = p.host + "/"
	if p.path == "" {
		return names, whole, nil
	}
	whole += p.path + "/"
	if len(names) > 0 {
		return names, whole, nil
	}
	known, err := c.ix.Repositories(ctx, whole)
	switch {
	case err != nil:
		return nil, "", indexError{err}
	case len(known) == 0:
		return nil, "", fmt.Errorf("there is no repository: %w", errdef.ErrNotFound)
	}
	return nil, whole, nil
}
