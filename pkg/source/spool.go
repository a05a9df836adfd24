package source

import (
	"context"
	"crypto/sha1" //nolint:gosec // what git names its objects by
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	// smallFile is up to how many bytes files are fetched at once, known
	// digest or not: whoever classifies them reads them whole.
	smallFile = 1 << 20

	settlers  = 8
	copyBytes = 256 << 10
)

// settle finds the digests that the hub does not tell: of files on this machine
// by reading them, of others by keeping them in a temporary file. They have
// their sizes, so each has its place in that file.
func (m *Model) settle(ctx context.Context, dir string) error {
	var total int64
	places := make(map[int]int64)
	for i, f := range m.Files {
		if !f.local && (f.Digest == "" || f.Size <= smallFile) {
			places[i] = total
			total += f.Size
		}
	}
	var spool *tempHandle
	if len(places) > 0 {
		var err error
		if spool, err = tempFile(dir); err != nil {
			return err
		}
		m.closers = append(m.closers, spool)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(settlers)
	for i := range m.Files {
		f := &m.Files[i]
		at, kept := places[i]
		if !kept && f.Digest != "" {
			continue
		}
		g.Go(func() error {
			var keep *os.File
			if kept {
				keep = spool.File
			}
			if err := f.settle(ctx, keep, at); err != nil {
				return fmt.Errorf("fetch %s: %w", remote.CleanText(f.Path), err)
			}
			return nil
		})
	}
	return g.Wait()
}

// settle reads the file, into keep at offset at unless keep is nil, and learns
// or compares its digest.
func (f *File) settle(ctx context.Context, keep *os.File, at int64) error {
	rc, err := f.Open(ctx, 0, -1)
	if err != nil {
		return err
	}
	defer rc.Close()
	whole := digest.SHA256.Hash()
	to := []io.Writer{whole}
	var git hash.Hash
	if f.blob != "" {
		git = sha1.New() //nolint:gosec // see above
		fmt.Fprintf(git, "blob %d\x00", f.Size)
		to = append(to, git)
	}
	if keep != nil {
		to = append(to, io.NewOffsetWriter(keep, at))
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(to...)}, cancelled{ctx, io.LimitReader(rc, f.Size+1)}, make([]byte, min(copyBytes, max(f.Size, 512))))
	if err != nil {
		return err
	}
	got := digest.NewDigest(digest.SHA256, whole)
	switch {
	case n != f.Size:
		return fmt.Errorf("%d bytes, want %d: %w", n, f.Size, content.ErrMismatchedDigest)
	case f.Digest != "" && got != f.Digest:
		return fmt.Errorf("%s, want %s: %w", got, f.Digest, content.ErrMismatchedDigest)
	case git != nil && hex.EncodeToString(git.Sum(nil)) != f.blob:
		return fmt.Errorf("not the git object %s: %w", f.blob, content.ErrMismatchedDigest)
	}
	f.Digest = got
	if keep != nil {
		f.Open = section{keep, at, f.Size}.open
	}
	return nil
}

// A cancelled reader ends with its context.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (r cancelled) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// A section is a file inside of another.
type section struct {
	in       io.ReaderAt
	at, size int64
}

func (s section) open(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || offset > s.size {
		return nil, errors.New("read outside of the file")
	}
	rest := s.size - offset
	if length >= 0 {
		rest = min(rest, length)
	}
	return io.NopCloser(io.NewSectionReader(s.in, s.at+offset, rest)), nil
}
