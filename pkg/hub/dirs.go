package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// SignDirOptions adjusts [Hub.SignDir].
type SignDirOptions struct {
	// Signature is the file to write. Empty means model.sig in the directory.
	Signature string

	// Force replaces a signature that another key made.
	Force bool
}

// SignDirResult says what [Hub.SignDir] did.
type SignDirResult struct {
	Directory string `json:"directory"`
	Signature string `json:"signature"` // the file
	Digest    string `json:"digest"`    // that stands for all files
	Files     int    `json:"files"`
	Size      int64  `json:"size"` // bytes
}

// SignDir signs the files of a directory as OpenSSF Model Signing does, and
// writes the signature.
func (h *Hub) SignDir(ctx context.Context, dir string, s *signing.Signer, opts SignDirOptions) (*SignDirResult, error) {
	place, err := placeSignature(dir, opts.Signature)
	if err != nil {
		return nil, err
	}
	if err := place.free(ctx, s, opts.Force); err != nil {
		return nil, err
	}
	// What a pull has put there is about the files, and is none of them.
	ignore := []string{controlDir}
	if place.inside != "" {
		ignore = append(ignore, place.inside)
	}
	files, size, err := h.resources(ctx, dir, ignore)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	st, err := oms.New(filepath.Base(name), files, ignore)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", dir, err)
	}
	raw, err := oms.Sign(ctx, st, s)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", dir, err)
	}
	if err := replaceFile(place.file, raw); err != nil {
		return nil, fmt.Errorf("write signature: %w", err)
	}
	return &SignDirResult{Directory: dir, Signature: place.file, Digest: st.Root().String(), Files: len(files), Size: size}, nil
}

// resources hashes the files of a directory that are to be signed.
func (h *Hub) resources(ctx context.Context, dir string, ignore []string) ([]oms.Resource, int64, error) {
	ignores := oms.Ignores(append(slices.Clone(ignore), oms.FileName))
	found, err := h.hashDir(ctx, dir, dirOptions{HashOptions: artifact.HashOptions{
		Skip: func(name string, _ bool) bool { return ignores(name) },
	}})
	if err != nil {
		return nil, 0, err
	}
	var size int64
	files := make([]oms.Resource, len(found))
	for i, f := range found {
		if f.Other != "" {
			return nil, 0, fmt.Errorf("%w: sign %s: %+q is no regular file but a %s, which the signature could not be about", ErrUsage, dir, f.Path, f.Other)
		}
		files[i] = oms.Resource{Name: f.Path, Digest: f.Digest}
		size += f.Size
	}
	return files, size, nil
}

// dirOptions adjusts hashDir.
type dirOptions struct {
	artifact.HashOptions

	fast bool // unchanged files are not read
}

// hashDir is [artifact.HashDir] with the store's memory of the directory.
func (h *Hub) hashDir(ctx context.Context, dir string, opts dirOptions) ([]artifact.DirFile, error) {
	if h.opts.Store == nil {
		return artifact.HashDir(ctx, dir, opts.HashOptions)
	}
	cache, err := h.opts.Store.StatCache(dir)
	if err != nil {
		if opts.fast {
			h.warn("every file is read: %v", err)
		}
		return artifact.HashDir(ctx, dir, opts.HashOptions)
	}
	opts.Digests = cache
	if !opts.fast {
		opts.Digests = learner{cache}
	}
	found, err := artifact.HashDir(ctx, dir, opts.HashOptions)
	if serr := cache.Save(); serr != nil {
		h.warn("the digests of %s are not remembered: %v", dir, serr)
	}
	return found, err
}

// A learner takes nobody's word for what a file holds, and remembers what was
// found.
type learner struct{ artifact.DigestCache }

// Lookup implements [artifact.DigestCache].
func (learner) Lookup(fs.FileInfo) (digest.Digest, bool) { return "", false }

// A place is where a signature of a directory is kept.
type place struct {
	file   string // as the user would name it
	inside string // the path below the directory; empty if it is elsewhere
}

// placeSignature finds the place for a signature that is to be file.
func placeSignature(dir, file string) (place, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return place{}, err
	}
	if !info.IsDir() {
		return place{}, fmt.Errorf("%w: %s is no directory", ErrUsage, dir)
	}
	if file == "" {
		return place{file: filepath.Join(dir, oms.FileName), inside: oms.FileName}, nil
	}
	p := place{file: file}
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return p, err
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return p, err
	}
	if top, err = filepath.Abs(top); err != nil {
		return p, err
	}
	if above, err = filepath.Abs(above); err != nil {
		return p, err
	}
	if rel, err := filepath.Rel(top, filepath.Join(above, filepath.Base(file))); err == nil && filepath.IsLocal(rel) {
		p.inside = filepath.ToSlash(rel)
	}
	return p, nil
}

// free makes sure that nobody else's signature is replaced.
func (p place) free(ctx context.Context, s *signing.Signer, force bool) error {
	raw, err := readSignature(p.file)
	if errors.Is(err, fs.ErrNotExist) || force && err == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if key := s.Public(); key != nil {
		if _, err := oms.Verify(ctx, raw, signing.Trust{Keys: []*signing.PublicKey{key}}); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is there and is not by this signer: --force replaces it", ErrUsage, p.file)
}

// readSignature reads a signature's file.
func readSignature(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no file", ErrUsage, file)
	}
	raw, err := io.ReadAll(io.LimitReader(f, oms.MaxBytes+1))
	if err == nil && len(raw) > oms.MaxBytes {
		err = fmt.Errorf("%w: read %s: more than %d bytes", signing.ErrUntrusted, file, oms.MaxBytes)
	}
	return raw, err
}

// replaceFile writes a small file whole or not at all, and returns when it is
// there for good.
func replaceFile(file string, data []byte) error {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, controlDir+"-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// controlDir is the directory, in one that was pulled into, of what is kept
// beside the files.
const controlDir = ".modelreg"

// isControl tells whether a path is that of a file which a pull keeps beside the
// files.
func isControl(name string) bool {
	return slices.Contains([]string{artifact.ManifestFile, artifact.RecordFile, artifact.EvidenceFile}, name)
}
