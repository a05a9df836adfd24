package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"
)

// The directories of a model in a cache of Hugging Face's clients: blobs by
// their ETags (a SHA-256, or the name of a git object), names in refs with the
// commits that they stood for, and for each commit a directory of links to
// blobs.
const (
	cachePrefix   = "models--"
	snapshotsDir  = "snapshots"
	refsDir       = "refs"
	originsDir    = ".modelreg" // see artifact.UnpackHF
	maxOrigin     = 1024
	maxRefBytes   = 256
	maxCacheDepth = 64
)

// cachePlace finds the model that a path is of: its directory, and the commit if
// the path is that of a snapshot.
func cachePlace(name string) (dir, commit string, ok bool) {
	clean, err := filepath.Abs(name)
	if err != nil {
		return "", "", false
	}
	if filepath.Base(filepath.Dir(clean)) == snapshotsDir {
		dir, commit = filepath.Dir(filepath.Dir(clean)), filepath.Base(clean)
	} else {
		dir = clean
	}
	info, err := os.Stat(filepath.Join(dir, snapshotsDir))
	return dir, commit, err == nil && info.IsDir() && strings.HasPrefix(filepath.Base(dir), cachePrefix)
}

// listOffline lists a model of the cache in directory cache.
func (m *Model) listOffline(ctx context.Context, cache string) error {
	if cache == "" {
		return fmt.Errorf("%w: no directory of a cache", ErrName)
	}
	dir := filepath.Join(cache, cachePrefix+strings.ReplaceAll(m.ID, "/", "--"))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not in the cache %s: %w", m.ID, cache, errdef.ErrNotFound)
	}
	return m.listCached(ctx, dir, m.Revision)
}

// listCached lists a model in a cache, of which name is the directory or a
// snapshot.
func (m *Model) listCached(ctx context.Context, name, revision string) error {
	dir, commit, ok := cachePlace(name)
	if !ok {
		return fmt.Errorf("%w: neither a name with hf:// or ms:// nor a model in a Hugging Face cache", ErrName)
	}
	id := strings.TrimPrefix(filepath.Base(dir), cachePrefix)
	m.ID, m.Hub = strings.ReplaceAll(id, "--", "/"), SchemeHuggingFace
	if _, _, err := parseID(m.ID); err != nil {
		return err
	}
	// Of the endpoint that it came from the cache knows nothing.
	m.Page = strings.TrimRight(m.Page, "/") + "/" + m.ID
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	m.closers = append(m.closers, root)
	m.Revision = revision
	if commit == "" {
		if commit, err = m.cachedCommit(root); err != nil {
			return err
		}
	}
	if !isHex(commit, 40) {
		return fmt.Errorf("%w: %.80q is no commit", ErrName, commit)
	}
	m.Commit = commit
	if err := m.trueOrigin(root); err != nil {
		return err
	}
	c := cached{m: m, root: root, commit: commit}
	return c.dir(ctx, "", 0)
}

// cachedCommit is what the revision stood for when the model was fetched.
func (m *Model) cachedCommit(root *os.Root) (string, error) {
	if m.Revision == "" {
		m.Revision = "main"
	}
	if isHex(m.Revision, 40) {
		return m.Revision, nil
	}
	f, err := root.Open(refsDir + "/" + m.Revision)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("revision %s is not in the cache: %w", m.Revision, errdef.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRefBytes))
	return strings.TrimSpace(string(text)), err
}

// A cached lists the files of one snapshot. Links are followed inside the
// model's directory and not out of it.
type cached struct {
	m      *Model
	root   *os.Root
	commit string
}

func (c *cached) name(rel string) string { return path.Join(snapshotsDir, c.commit, rel) }

// trueOrigin corrects what the model says of itself if the commit is none of the
// Hugging Face Hub's: modelreg has pulled a version from a registry into the
// cache.
func (m *Model) trueOrigin(root *os.Root) error {
	f, err := root.Open(originsDir + "/" + m.Commit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxOrigin))
	if err != nil {
		return err
	}
	m.Hub, m.Page = "", ""
	name, dgst, _ := strings.Cut(strings.TrimSpace(string(text)), "@")
	d, err := digest.Parse(dgst)
	if err != nil || !strings.HasPrefix(d.Encoded(), m.Commit) {
		return nil // it came from a registry, and which is not known
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i] // the tag
	}
	m.Hub, m.ID, m.Commit = SchemeRegistry, name, dgst
	return nil
}

func (c *cached) dir(ctx context.Context, rel string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxCacheDepth {
		return fmt.Errorf("%w: %q is too deep", ErrName, rel)
	}
	d, err := c.root.Open(c.name(rel))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("commit %s is not in the cache: %w", c.commit, errdef.ErrNotFound)
	}
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		if e.IsDir() {
			err = c.dir(ctx, name, depth+1)
		} else {
			err = c.file(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cached) file(rel string) error {
	name := c.name(rel)
	info, err := c.root.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a file", ErrName, rel)
	}
	if len(c.m.Files) == maxFiles {
		return fmt.Errorf("%w: more than %d files", ErrName, maxFiles)
	}
	f := File{Path: rel, Size: info.Size(), local: true}
	if to, err := c.root.Readlink(name); err == nil {
		switch blob := path.Base(filepath.ToSlash(to)); {
		case isHex(blob, 64):
			f.Digest, f.Claimed = digest.NewDigestFromEncoded(digest.SHA256, blob), true
		case isHex(blob, 40):
			f.blob = blob
		}
	}
	f.Open = func(_ context.Context, offset, length int64) (io.ReadCloser, error) {
		file, err := c.root.Open(name)
		if err != nil {
			return nil, err
		}
		if length < 0 {
			length = info.Size() - offset
		}
		return struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(file, offset, length), file}, nil
	}
	c.m.Files = append(c.m.Files, f)
	return nil
}
