package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A ShowResult is one version and what it changed.
type ShowResult struct {
	HistoryEntry

	Reference string    `json:"reference"`
	Files     int       `json:"files"`
	Changes   []Changes `json:"changes"` // against each parent; for a first version against nothing
}

// Changes are how the files of one version differ from those of another. Paths
// are sorted.
type Changes struct {
	Parent    string    `json:"parent"` // digest; empty for the changes of a first version
	Gone      bool      `json:"gone"`   // the registry does not have the parent any more: nothing is known
	Added     []string  `json:"added"`
	Removed   []string  `json:"removed"`
	Changed   []string  `json:"changed"`
	Renamed   []Renamed `json:"renamed"`
	Identical int       `json:"identical"` // files
	SizeDelta int64     `json:"sizeDelta"` // bytes
}

// Renamed is a file whose bytes have another name.
type Renamed struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// None tells whether nothing changed.
func (c *Changes) None() bool {
	return !c.Gone && len(c.Added)+len(c.Removed)+len(c.Changed)+len(c.Renamed) == 0
}

// Show tells what the version that r resolves to, or the variant that it names, is
// in its history, and which files it changed. It reads manifests, and no files. trust, if not nil, says
// whose signatures are looked for.
func (h *Hub) Show(ctx context.Context, r ref.Reference, trust *signing.Trust) (*ShowResult, error) {
	t, err := h.asked(ctx, r)
	if err != nil {
		return nil, err
	}
	at := t.ref
	at.Tag = ""
	list, err := h.Log(ctx, at, LogOptions{Limit: 1, Trust: trust})
	if err != nil {
		return nil, err
	}
	res := &ShowResult{HistoryEntry: list.Entries[0], Reference: t.ref.String(), Changes: []Changes{}}
	if isIndex(t.desc) {
		return res, nil // its variants are models of their own
	}
	now, err := h.filesAt(ctx, t, t.desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("show %s: %w", t.ref, err)
	}
	res.Files = len(now)
	if len(res.Parents) == 0 {
		res.Changes = append(res.Changes, compareFiles(nil, now))
	}
	for _, p := range res.commit.Parents {
		c, err := h.changesSince(ctx, t, p, now)
		if err != nil {
			return nil, fmt.Errorf("show %s: %w", t.ref, err)
		}
		res.Changes = append(res.Changes, c)
	}
	return res, nil
}

// changesSince compares files with those of a parent.
func (h *Hub) changesSince(ctx context.Context, t *target, parent digest.Digest, now map[string]versionFile) (Changes, error) {
	was, err := h.filesAt(ctx, t, parent)
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		c := compareFiles(nil, nil)
		c.Parent, c.Gone = parent.String(), true
		return c, nil
	case errors.Is(err, artifact.ErrNotModel): // an index of variants
		was = nil
	case err != nil:
		return Changes{}, err
	}
	c := compareFiles(was, now)
	c.Parent = parent.String()
	return c, nil
}

// A versionFile is a file as far as it can be compared.
type versionFile struct {
	digest digest.Digest
	size   int64
}

// filesAt lists the files of a version of t's repository.
func (h *Hub) filesAt(ctx context.Context, t *target, d digest.Digest) (map[string]versionFile, error) {
	desc, _, err := t.repo.Manifest(ctx, d.String())
	if err != nil {
		return nil, err
	}
	a, err := artifact.Open(ctx, t.repo, desc)
	if err != nil {
		return nil, err
	}
	return filesIn(a), nil
}

func filesIn(a *artifact.Artifact) map[string]versionFile {
	files := make(map[string]versionFile, len(a.Files))
	for _, f := range a.Files {
		files[f.Path] = versionFile{f.Digest, f.Size}
	}
	return files
}

// compareFiles tells what changed from was to now. A file that went and one with
// the same bytes that came are a file with another name.
func compareFiles(was, now map[string]versionFile) Changes {
	c := Changes{Added: []string{}, Removed: []string{}, Changed: []string{}, Renamed: []Renamed{}}
	for path, f := range now {
		c.SizeDelta += f.size
		switch old, ok := was[path]; {
		case !ok:
			c.Added = append(c.Added, path)
		case old.digest != f.digest:
			c.Changed = append(c.Changed, path)
		default:
			c.Identical++
		}
	}
	gone := make(map[digest.Digest][]string)
	for path, f := range was {
		c.SizeDelta -= f.size
		if _, ok := now[path]; !ok {
			c.Removed = append(c.Removed, path)
			gone[f.digest] = append(gone[f.digest], path)
		}
	}
	slices.Sort(c.Added)
	slices.Sort(c.Removed)
	slices.Sort(c.Changed)
	for _, list := range gone {
		slices.Sort(list)
	}
	c.rename(now, gone)
	return c
}

// rename pairs what came with what went.
func (c *Changes) rename(now map[string]versionFile, gone map[digest.Digest][]string) {
	moved := make(map[string]bool)
	c.Added = slices.DeleteFunc(c.Added, func(path string) bool {
		from := gone[now[path].digest]
		if len(from) == 0 || now[path].size == 0 {
			return false
		}
		c.Renamed = append(c.Renamed, Renamed{From: from[0], To: path})
		moved[from[0]] = true
		gone[now[path].digest] = from[1:]
		return true
	})
	c.Removed = slices.DeleteFunc(c.Removed, func(path string) bool { return moved[path] })
	slices.SortFunc(c.Renamed, func(a, b Renamed) int { return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To)) })
}
