package artifact

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// OpenFile opens one file from its beginning. The bytes are verified as they
// are read: a reader that returned io.EOF has given the right ones, and one
// that is given up earlier promises nothing. A file in a layer with an index
// costs only its own bytes where src has FetchRange; one in another archive is
// looked for by reading archives from their beginning. The error wraps
// fs.ErrNotExist when there is no such file. The caller closes the reader.
func (a *Artifact) OpenFile(ctx context.Context, src content.Fetcher, path string) (io.ReadCloser, File, error) {
	rc, f, err := a.openFile(ctx, src, path)
	if err != nil {
		return nil, File{}, fmt.Errorf("open %s: %w", printable(path), err)
	}
	return rc, f, nil
}

func (a *Artifact) openFile(ctx context.Context, src content.Fetcher, path string) (io.ReadCloser, File, error) {
	f, ok := a.file(path)
	if !ok {
		return a.findMember(ctx, src, path)
	}
	rc, err := openRange(ctx, src, f.Layer, f.Offset, f.Size)
	if err != nil {
		return nil, File{}, err
	}
	desc := ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Digest, Size: f.Size}
	return newVerifier(rc, desc, path), f, nil
}

// file finds a listed file.
func (a *Artifact) file(path string) (File, bool) {
	i := slices.IndexFunc(a.Files, func(f File) bool { return f.Path == path && !f.Archive })
	if i < 0 {
		return File{}, false
	}
	return a.Files[i], true
}

// openRange opens a part of a blob, by a ranged read if src can do that and it
// is not the whole.
func openRange(ctx context.Context, src content.Fetcher, desc ocispec.Descriptor, offset, size int64) (io.ReadCloser, error) {
	if offset == 0 && size == desc.Size {
		return src.Fetch(ctx, desc)
	}
	if r, ok := src.(transfer.RangeFetcher); ok {
		return r.FetchRange(ctx, desc, offset, size)
	}
	rc, err := src.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, rc, offset); err != nil {
		rc.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(rc, size), rc}, nil
}

// A verifier passes bytes on and says at their end whether they were right.
type verifier struct {
	rc   io.ReadCloser
	desc ocispec.Descriptor
	name string
	hash hash.Hash
	n    int64
	err  error
}

func newVerifier(rc io.ReadCloser, desc ocispec.Descriptor, name string) *verifier {
	return &verifier{rc: rc, desc: desc, name: name, hash: desc.Digest.Algorithm().Hash()}
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.rc.Read(p)
	v.n += int64(n)
	v.hash.Write(p[:n])
	if v.n > v.desc.Size {
		// Bytes past the end were never asked for, whatever they are.
		v.err = &transfer.DigestError{Name: v.name, Desc: v.desc, Size: v.n}
		return 0, v.err
	}
	if errors.Is(err, io.EOF) {
		v.err = io.EOF
		if got := digest.NewDigest(v.desc.Digest.Algorithm(), v.hash); v.n != v.desc.Size || got != v.desc.Digest {
			v.err = &transfer.DigestError{Name: v.name, Desc: v.desc, Got: got, Size: v.n}
		}
		return n, v.err
	}
	return n, err
}

func (v *verifier) Close() error { return v.rc.Close() }

// findMember looks for a file in the archives that are not listed.
func (a *Artifact) findMember(ctx context.Context, src content.Fetcher, path string) (io.ReadCloser, File, error) {
	archives := slices.DeleteFunc(slices.Clone(a.Files), func(f File) bool { return !f.Archive })
	// Those that are said to hold it come first.
	slices.SortStableFunc(archives, func(x, y File) int { return likely(y, path) - likely(x, path) })
	budget := maxEntries
	for _, f := range archives {
		rc, found, err := a.openMember(ctx, src, f, path, &budget)
		if err != nil {
			return nil, File{}, err
		}
		if rc != nil {
			return rc, found, nil
		}
	}
	return nil, File{}, fs.ErrNotExist
}

func likely(f File, path string) int {
	switch {
	case f.Path == path:
		return 2
	case f.Path == "." || strings.HasPrefix(path, f.Path+"/"):
		return 1
	}
	return 0
}

// openMember reads one archive up to the member path. It returns no reader if
// the archive has no such member.
func (a *Artifact) openMember(ctx context.Context, src content.Fetcher, f File, path string, budget *int) (io.ReadCloser, File, error) {
	rc, err := src.Fetch(ctx, f.Layer)
	if err != nil {
		return nil, File{}, err
	}
	blob := newVerifier(rc, f.Layer, f.Layer.Digest.String())
	x, err := a.openArchive(blob, f.Layer, f.Encoding, budget)
	if err != nil {
		rc.Close()
		return nil, File{}, err
	}
	for {
		m, err := x.next()
		if err == nil && (m.dir || m.reserved || m.path != path) {
			continue
		}
		if err == nil {
			f.Path, f.Size, f.Archive, f.Digest = m.path, m.size, false, ""
			return &memberReader{archive: x, blob: blob}, f, nil
		}
		x.Close()
		rc.Close()
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return nil, File{}, err
	}
}

// A memberReader reads one member of an archive. Only the digest of the whole
// blob is known, so it reads on to the end of that before it says io.EOF.
type memberReader struct {
	archive *archive
	blob    *verifier
	err     error
}

func (r *memberReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.archive.Read(p)
	if errors.Is(err, io.EOF) {
		if _, cerr := io.Copy(io.Discard, r.blob); cerr != nil {
			err = cerr
		}
	}
	r.err = err
	return n, err
}

func (r *memberReader) Close() error {
	r.archive.Close()
	return r.blob.Close()
}

// Describe tells what the files and the card say of the model. It reads
// configuration, headers and the card, no weights. Files in archives that are
// not compressed count too; those in compressed ones are not looked at. The card
// is nil if there is none.
func (a *Artifact) Describe(ctx context.Context, src content.Fetcher) (*format.Model, *card.Card, error) {
	view := *a
	var err error
	if view.Files, err = a.expandPlain(ctx, src); err != nil {
		return nil, nil, fmt.Errorf("describe: %w", err)
	}
	m, err := format.Describe(ctx, view.formatFiles(openHeader(src)))
	if err != nil {
		return nil, nil, fmt.Errorf("describe: %w", err)
	}
	c, err := view.readCard(ctx, src)
	if err != nil {
		return nil, nil, fmt.Errorf("describe: %w", err)
	}
	return m, c, nil
}

// An opener opens a listed file for reading parts of it.
type opener func(ctx context.Context, f File) (format.ReaderAtCloser, error)

// openHeader opens files for looking into: what is read is not verified, and no
// more than what is asked for. Where only whole blobs are to be had, what is far
// inside one is not worth it.
func openHeader(src content.Fetcher) opener {
	return func(ctx context.Context, f File) (format.ReaderAtCloser, error) {
		b, err := openFileAt(ctx, src, f)
		if err != nil {
			return nil, err
		}
		b.skip = maxSkip
		return b, nil
	}
}

// formatFiles are the files that can be read in parts.
func (a *Artifact) formatFiles(open opener) []format.File {
	named := make([]mediatypes.File, len(a.Files))
	for i, f := range a.Files {
		named[i] = mediatypes.File{Path: f.Path, Size: f.Size}
	}
	classes := mediatypes.Classify(named)
	var files []format.File
	for i, f := range a.Files {
		if f.Archive {
			continue
		}
		files = append(files, format.File{
			Path: f.Path, Size: f.Size, Format: classes[i].Format,
			Open: func(ctx context.Context) (format.ReaderAtCloser, error) { return open(ctx, f) },
		})
	}
	return files
}

// readCard reads the card if it can be had without searching archives.
func (a *Artifact) readCard(ctx context.Context, src content.Fetcher) (*card.Card, error) {
	f, ok := a.file(cardPath)
	if !ok || f.Size > card.MaxBytes {
		return nil, nil
	}
	open := a.OpenFile
	if f.Digest == "" {
		open = a.findMember // only the archive that it is in has a digest
	}
	rc, _, err := open(ctx, src, cardPath)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	text, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	return card.Parse(text)
}
