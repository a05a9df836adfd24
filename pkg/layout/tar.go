package layout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// OpenTar opens the layout in a tar archive, which is read where it lies. The
// caller closes it.
func OpenTar(file string) (*Layout, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = malformed("it is no regular file")
	}
	var l *Layout
	if err == nil {
		l, err = ReadTar(f, info.Size())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open layout %s: %w", file, err)
	}
	l.at.(*archive).close = f
	return l, nil
}

// ReadTar is [OpenTar] for an archive of size bytes that r reads. The archive
// must not be compressed.
func ReadTar(r io.ReaderAt, size int64) (*Layout, error) {
	a := &archive{r: r, members: make(map[string]member)}
	if err := a.scan(size); err != nil {
		return nil, err
	}
	raw, err := a.small(ocispec.ImageLayoutFile, maxMarkerBytes)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(raw); err != nil {
		return nil, err
	}
	l := &Layout{at: a}
	_, err = l.readIndex()
	return l, err
}

// An archive is a layout in a tar archive.
type archive struct {
	r       io.ReaderAt
	members map[string]member
	close   io.Closer // may be nil
}

// A member is a file of an archive: where its bytes are.
type member struct{ offset, size int64 }

func (a *archive) Close() error {
	if a.close == nil {
		return nil
	}
	return a.close.Close()
}

func (a *archive) index() ([]byte, error) { return a.small(ocispec.ImageIndexFile, MaxIndexBytes) }

func (a *archive) small(name string, limit int64) ([]byte, error) {
	m, ok := a.members[name]
	if !ok {
		return nil, malformed("there is no file %s", name)
	}
	if m.size > limit {
		return nil, malformed("%s has %d bytes, more than %d", name, m.size, limit)
	}
	raw := make([]byte, m.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.r, m.offset, m.size), raw); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return raw, nil
}

// A section is a blob of an archive.
type section struct{ *io.SectionReader }

// Close does nothing: the archive stays open.
func (section) Close() error { return nil }

func (a *archive) blob(dgst digest.Digest) (File, error) {
	if err := checkDigest(dgst); err != nil {
		return nil, err
	}
	m, ok := a.members[blobPath(dgst)]
	if !ok {
		return nil, errdef.ErrNotFound
	}
	return section{io.NewSectionReader(a.r, m.offset, m.size)}, nil
}

func (a *archive) list(f func(digest.Digest, int64) error) error {
	for name, m := range a.members {
		rest, ok := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/")
		algorithm, hex, _ := strings.Cut(rest, "/")
		dgst := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
		if !ok || checkDigest(dgst) != nil {
			continue
		}
		if err := f(dgst, m.size); err != nil {
			return err
		}
	}
	return nil
}

// scan reads the headers of the archive, and where what is behind them lies.
func (a *archive) scan(size int64) error {
	r := io.NewSectionReader(a.r, 0, size)
	if err := checkMagic(r); err != nil {
		return err
	}
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return checkEnd(r, size)
		}
		if err != nil {
			return malformed("tar archive: %v", err)
		}
		if n >= MaxMembers {
			return malformed("tar archive of more than %d members", MaxMembers)
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := a.add(h, at, size); err != nil {
			return err
		}
	}
}

// add takes one header, behind which the bytes begin at offset at.
func (a *archive) add(h *tar.Header, at, size int64) error {
	name, err := memberName(h.Name)
	if err != nil {
		return err
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return malformed("tar archive: %.200q is a sparse file", h.Name)
		}
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg:
	default:
		return malformed("tar archive: %.200q is neither a file nor a directory, but of type %q", h.Name, h.Typeflag)
	}
	if h.Size < 0 || at < 0 || h.Size > size-at {
		return malformed("tar archive: %.200q ends outside of it", h.Name)
	}
	if _, twice := a.members[name]; twice {
		return malformed("tar archive: %.200q is in it twice", h.Name)
	}
	a.members[name] = member{at, h.Size}
	return nil
}

// memberName checks a name, and returns it without what GNU tar puts before it.
func memberName(name string) (string, error) {
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if clean == "" || clean == "." { // the directory itself
		return "", nil
	}
	if !utf8.ValidString(clean) || strings.ContainsAny(clean, "\\\x00") {
		return "", malformed("tar archive: a member is called %.200q", name)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if part == "" || part == "." || part == ".." {
			return "", malformed("tar archive: a member is called %.200q", name)
		}
	}
	return clean, nil
}

// checkMagic tells of archives that were compressed, which tar would call
// broken.
func checkMagic(r io.ReaderAt) error {
	var head [6]byte
	n, _ := r.ReadAt(head[:], 0)
	for magic, how := range map[string]string{
		"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "BZh": "bzip2", "\xfd7zXZ\x00": "xz", "PK\x03\x04": "zip",
	} {
		if strings.HasPrefix(string(head[:n]), magic) {
			return malformed("the archive is compressed (%s): decompress it first", how)
		}
	}
	return nil
}

// checkEnd refuses what is behind the end of an archive, but for zeros: some
// readers go on there.
func checkEnd(r *io.SectionReader, size int64) error {
	at, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if size-at > maxTrailingTar {
		return malformed("tar archive: %d bytes behind its end", size-at)
	}
	rest, err := io.ReadAll(io.NewSectionReader(r, at, size-at))
	if err != nil {
		return fmt.Errorf("read tar archive: %w", err)
	}
	for _, b := range rest {
		if b != 0 {
			return malformed("tar archive: there is something behind its end")
		}
	}
	return nil
}
