package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// Limits of archives. What is in an archive is bounded before it is written:
// by its own size if it is not compressed, else by a factor that no honest
// model reaches, or an amount that hurts nobody.
const (
	maxEntries    = maxFiles // of all archives of an artifact together
	maxRatio      = 200
	freeExpansion = 1 << 30
	maxZstdWindow = 128 << 20
)

// An archive reads the members of a tar layer, and refuses those that are not
// what a model may hold.
type archive struct {
	raw    *sourceReader
	body   *boundedReader
	tar    *tar.Reader
	close  func()
	strip  string
	image  bool // members that are no files or directories may be passed over
	budget *int // entries left

	whole hash.Hash // of the uncompressed archive; nil if nobody asks
	want  digest.Digest
	notes []string
}

// A member is a file or directory in an archive.
type member struct {
	path string
	dir  bool
	size int64

	// reserved says that the archive has something at path that is left out.
	// Nothing else may be put there.
	reserved bool
}

// openArchive begins to read layer desc from r. budget is the number of entries
// that may be in it, and is counted down.
func (a *Artifact) openArchive(r io.Reader, desc ocispec.Descriptor, enc mediatypes.Encoding, budget *int) (*archive, error) {
	x := &archive{
		raw: &sourceReader{r: r}, close: func() {}, strip: a.strip, image: a.Family == mediatypes.Image, budget: budget,
	}
	body, limit := io.Reader(x.raw), desc.Size
	switch enc {
	case mediatypes.Tar:
	case mediatypes.TarGzip:
		z, err := gzip.NewReader(x.raw)
		if err != nil {
			return nil, x.failed(err)
		}
		body, limit = z, expansion(desc.Size)
	case mediatypes.TarZstd:
		z, err := zstd.NewReader(x.raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxZstdWindow), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, x.failed(err)
		}
		x.close = z.Close
		body, limit = z, expansion(desc.Size)
	default:
		return nil, fmt.Errorf("%w: layer of encoding %q is no archive", ErrUnsafe, enc)
	}
	if want, ok := a.diffIDs[desc.Digest]; ok {
		x.want, x.whole = want, want.Algorithm().Hash()
		body = io.TeeReader(body, x.whole)
	}
	x.body = &boundedReader{r: body, left: limit}
	x.tar = tar.NewReader(x.body)
	return x, nil
}

// expansion is how large a compressed layer may become.
func expansion(compressed int64) int64 {
	if compressed > freeExpansion { // avoids overflow; far past the other bound
		compressed = min(compressed, mediatypes.MaxBlobBytes/maxRatio)
	}
	return max(compressed*maxRatio, freeExpansion)
}

// Close releases the decompressor, not the source.
func (x *archive) Close() { x.close() }

// Read reads the bytes of the current member.
func (x *archive) Read(p []byte) (int, error) {
	n, err := x.tar.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = x.failed(err)
	}
	return n, err
}

// next goes to the next member. It returns io.EOF when the archive has ended
// well: with nothing behind its end, and the digest that it should have.
func (x *archive) next() (member, error) {
	for {
		h, err := x.tar.Next()
		if errors.Is(err, io.EOF) {
			if err := x.end(); err != nil {
				return member{}, err
			}
			return member{}, io.EOF
		}
		if err != nil {
			return member{}, x.failed(err)
		}
		if *x.budget--; *x.budget < 0 {
			return member{}, fmt.Errorf("%w: more than %d entries in archives", ErrUnsafe, maxEntries)
		}
		m, ok, err := x.member(h)
		if err != nil {
			return member{}, err
		}
		if ok {
			return m, nil
		}
	}
}

// member judges a header. It reports false for entries that say nothing.
func (x *archive) member(h *tar.Header) (member, bool, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return member{}, false, globalHeader(h)
	}
	name, ok := x.name(h)
	if !ok {
		return member{}, false, nil
	}
	if err := CheckPath(name); err != nil {
		return member{}, false, err
	}
	m := member{path: name, size: h.Size}
	switch {
	case isSparse(h):
		return m, false, &PathError{Path: name, Reason: "sparse file in an archive"}
	case h.Typeflag == tar.TypeReg:
	case h.Typeflag == tar.TypeDir:
		m.dir, m.size = true, 0
	case x.image && h.Typeflag == tar.TypeSymlink:
		// Images of RamaLama have a link beside the file, for convenience.
		x.notes = append(x.notes, fmt.Sprintf("left out %s (symbolic link)", printable(name)))
		m.reserved, m.size = true, 0
	default:
		return m, false, &PathError{Path: name, Reason: "not a regular file or directory: " + tarType(h.Typeflag)}
	}
	if x.image && strings.HasPrefix(path.Base(name), ".wh.") {
		return m, false, &PathError{Path: name, Reason: "deletion of a file of another layer"}
	}
	if m.size > x.body.left {
		return m, false, &PathError{Path: name, Reason: fmt.Sprintf("limit: %d bytes, more than the layer may hold", m.size)}
	}
	return m, true, nil
}

// name is where a member belongs in the model. It reports false for the root,
// and for what is outside the model in a container image.
func (x *archive) name(h *tar.Header) (string, bool) {
	name := strings.TrimPrefix(h.Name, "./")
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if h.Typeflag == tar.TypeDir && (name == "" || name == ".") {
		return "", false
	}
	if x.strip == "" {
		return name, true
	}
	if name+"/" == x.strip && h.Typeflag == tar.TypeDir {
		return "", false
	}
	inside, ok := strings.CutPrefix(name, x.strip)
	if !ok && !x.image {
		return name, true
	}
	return inside, ok
}

// globalHeader accepts the comments of git archive and nothing that changes
// what the following entries are.
func globalHeader(h *tar.Header) error {
	for k := range h.PAXRecords {
		if k != "comment" {
			return fmt.Errorf("%w: archive with a global %+q", ErrUnsafe, k)
		}
	}
	return nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func tarType(flag byte) string {
	switch flag {
	case tar.TypeSymlink:
		return "symbolic link"
	case tar.TypeLink:
		return "hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "device"
	case tar.TypeFifo:
		return "named pipe"
	}
	return fmt.Sprintf("type %q", flag)
}

// end reads what follows the end of the archive: padding, and nothing else.
func (x *archive) end() error {
	buf, zeros := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err := x.body.Read(buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			return fmt.Errorf("%w: data behind the end of an archive", ErrUnsafe)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return x.failed(err)
		}
	}
	if x.whole == nil {
		return nil
	}
	if got := digest.NewDigest(x.want.Algorithm(), x.whole); got != x.want {
		return &transfer.DigestError{Name: "content of layer", Desc: ocispec.Descriptor{Digest: x.want}, Got: got, Size: x.body.read}
	}
	return nil
}

// failed tells errors of the source from those of an archive that is broken.
func (x *archive) failed(err error) error {
	switch {
	case x.raw.err != nil:
		return x.raw.err
	case errors.Is(err, ErrUnsafe):
		return err
	}
	return fmt.Errorf("%w: malformed archive: %w", ErrUnsafe, err)
}

// A sourceReader remembers the error of its source, which decoders may replace
// by one of their own.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// A boundedReader fails when more than was allowed comes out of a decompressor.
type boundedReader struct {
	r    io.Reader
	left int64
	read int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	b.read += int64(n)
	if b.left < 0 {
		return 0, fmt.Errorf("%w: limit: archive expands to more than %d bytes", ErrUnsafe, b.read-1)
	}
	return n, err
}
