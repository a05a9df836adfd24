package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// A StatusResult says how the files of a directory differ from those of a
// version.
type StatusResult struct {
	Directory string `json:"directory"`
	Reference string `json:"reference"` // of the version
	Digest    string `json:"digest"`
	Clean     bool   `json:"clean"` // nothing differs

	// Changes are what a push of the directory would change. Parent is empty.
	Changes

	SkippedFiles int `json:"skippedFiles"` // of the version, that the pull was asked to leave out
	ReadFiles    int `json:"readFiles"`    // that had to be read

	// Tip is what the branch points to that the version was pulled from, if it
	// was looked at and has moved on; else it is empty.
	Tip string `json:"tip,omitempty"`
}

// StatusOptions adjusts [Hub.Status]. The zero value compares with what was
// pulled, without a network where that is possible.
type StatusOptions struct {
	// Version is what the directory is compared with; nil is the version that
	// it was pulled as, or last pushed as.
	Version *ref.Reference

	// Remote asks the registry whether the branch has moved on.
	Remote bool

	// Workers bounds the files read at once. Zero means one per CPU.
	Workers int
}

// Status compares a directory with a version. Files are read only if they have
// the size that they had and this user's modelreg does not know them as they
// are. What a push would leave out is not looked at.
func (h *Hub) Status(ctx context.Context, dir string, opts StatusOptions) (*StatusResult, error) {
	v, err := h.compared(ctx, dir, opts.Version)
	if err != nil {
		return nil, err
	}
	found, err := h.statusFiles(ctx, dir, v, opts.Workers)
	if err != nil {
		return nil, err
	}
	res := &StatusResult{Directory: dir, Reference: v.reference, Digest: v.digest.String()}
	now := make(map[string]versionFile, len(found))
	for _, f := range found {
		now[f.Path] = versionFile{f.Digest, f.Size}
		if f.Digest != "" && !f.Known {
			res.ReadFiles++
		}
	}
	was := make(map[string]versionFile, len(v.files))
	for path, f := range v.files {
		if _, there := now[path]; !there && !v.wanted(path) {
			res.SkippedFiles++
			continue
		}
		was[path] = f
	}
	res.Changes = compareFiles(was, now)
	res.Clean = res.None()
	if opts.Remote {
		return res, h.movedOn(ctx, v, res)
	}
	return res, nil
}

// A compared is the version that a directory is compared with.
type compared struct {
	reference string
	digest    digest.Digest
	files     map[string]versionFile
	wanted    func(path string) bool
}

func everyFile(string) bool { return true }

// compared finds the version: the one given, or the one that was pulled or pushed.
func (h *Hub) compared(ctx context.Context, dir string, r *ref.Reference) (*compared, error) {
	if r != nil {
		t, err := h.model(ctx, *r)
		if err != nil {
			return nil, err
		}
		files, err := h.filesAt(ctx, t, t.desc.Digest)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t.ref, err)
		}
		return &compared{t.ref.String(), t.desc.Digest, files, everyFile}, nil
	}
	o, err := artifact.ReadOrigin(dir)
	if errors.Is(err, fs.ErrNotExist) {
		last, ok := h.lastPush(dir)
		if !ok {
			return nil, fmt.Errorf("%w: status of %s: it was neither pulled nor pushed: name the version to compare it with", ErrUsage, dir)
		}
		return h.compared(ctx, dir, &last)
	}
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", dir, err)
	}
	v := &compared{reference: o.Reference, digest: o.Descriptor.Digest, files: filesListed(o.Manifest)}
	if v.wanted, err = o.Selection.Matcher(); err != nil {
		return nil, fmt.Errorf("status of %s: %w", dir, err)
	}
	if v.files != nil {
		return v, nil
	}
	at, err := ref.Parse(o.Reference)
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", dir, err)
	}
	repo, err := h.repository(at)
	if err != nil {
		return nil, err
	}
	if v.files, err = h.filesAt(ctx, &target{repo: repo}, v.digest); err != nil {
		return nil, fmt.Errorf("status of %s: read %s: %w", dir, o.Reference, err)
	}
	return v, nil
}

// filesListed lists the files of a manifest each of which is a layer, nil if
// there are others: then archives have to be looked into.
func filesListed(raw []byte) map[string]versionFile {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil || m.ArtifactType != mediatypes.ArtifactModel {
		return nil
	}
	files := make(map[string]versionFile, len(m.Layers))
	for _, l := range m.Layers {
		kind, ok := mediatypes.ParseLayer(l.MediaType)
		path := l.Annotations[mediatypes.AnnotationFilepath]
		if !ok || kind.Encoding != mediatypes.Raw || l.Annotations[mediatypes.AnnotationTarIndex] != "" || artifact.CheckPath(path) != nil {
			return nil
		}
		files[path] = versionFile{l.Digest, l.Size}
	}
	return files
}

// statusFiles lists what a push would take, and the files of the version.
func (h *Hub) statusFiles(ctx context.Context, dir string, v *compared, workers int) ([]artifact.DirFile, error) {
	skips, err := artifact.Skips(dir)
	if err != nil {
		return nil, err
	}
	sizes, above := make(map[int64]bool), make(map[string]bool)
	for path, f := range v.files {
		sizes[f.size] = true
		for i, c := range path {
			if c == '/' {
				above[path[:i]] = true
			}
		}
	}
	return h.hashDir(ctx, dir, dirOptions{fast: true, HashOptions: artifact.HashOptions{
		Workers: workers, Links: true,
		Skip: func(name string, isDir bool) bool {
			if name == controlDir || strings.HasPrefix(name, controlDir+"/") {
				return true
			}
			if _, listed := v.files[name]; listed || above[name] {
				return false
			}
			return skips(name, isDir)
		},
		// One of another size is another file.
		Want: func(name string, size int64) bool {
			if f, ok := v.files[name]; ok {
				return f.size == size
			}
			return sizes[size]
		},
	}})
}

// movedOn looks where the branch is now.
func (h *Hub) movedOn(ctx context.Context, v *compared, res *StatusResult) error {
	at, err := ref.Parse(v.reference)
	if err != nil || at.Tag == "" {
		return err
	}
	repo, err := h.repository(at)
	if err != nil {
		return err
	}
	now, err := repo.Resolve(ctx, at.Tag)
	if err != nil {
		return fmt.Errorf("look at tag %s: %w", at.Tag, err)
	}
	if now.Digest != v.digest {
		res.Tip = now.Digest.String()
	}
	return nil
}
