package scan

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"hash/crc32"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/modelreg/modelreg/pkg/format/internal/zipdir"
)

// The limits of what is unpacked.
const (
	maxInflated = 8 << 30  // bytes, of all in a file together
	maxBuffer   = 24 << 20 // bytes of an unpacked member in memory: longer ones can be read only once
	maxHeld     = 64 << 20 // bytes of unpacked members in memory, one in the other
	maxFetched  = 64 << 20 // bytes of what is compressed that a sparse scan reads
	maxWindow   = 32 << 20 // bytes that zstd may look back
)

// errTooMuch is the end of what may be unpacked.
var errTooMuch = errors.New("unpacks to too much")

// A source reads bytes of a file. It remembers what went wrong, to tell that
// from faults in the bytes.
type source struct {
	r   io.Reader
	s   *session
	err error
}

func (r *source) Read(p []byte) (int, error) {
	if err := r.s.ctx.Err(); err != nil {
		r.err = err
		return 0, err
	}
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// A metered reader counts what is unpacked. It reads nothing behind a fault.
type metered struct {
	r   io.Reader
	s   *session
	err error
}

func (r *metered) Read(p []byte) (n int, err error) {
	if err := r.s.ctx.Err(); err != nil {
		return 0, err
	}
	if r.err != nil {
		return 0, r.err
	}
	n, r.err = r.r.Read(p)
	if r.s.inflated += int64(n); r.s.inflated > maxInflated {
		r.err = errTooMuch
	}
	return n, r.err
}

// inflate looks at a compressed member of a zip archive.
func (s *session) inflate(child *input, packed io.Reader, m zipdir.Member) error {
	src := &source{r: packed, s: s}
	in := bufio.NewReader(src)
	out := &summed{r: flate.NewReader(in), sum: crc32.NewIEEE()}
	if err := s.unpacked(child, out, src); err != nil {
		return err
	}
	_, err := in.ReadByte()
	switch {
	case src.err != nil:
		return src.err
	case err == nil:
		s.add(child, "zip-checksum", 0, "is shorter than the archive says")
	case out.n != m.Size || out.sum.Sum32() != m.CRC:
		s.add(child, "zip-checksum", 0, "has not the size and checksum that the archive says")
	}
	return nil
}

// unpacked looks at what r unpacks, and reads it to its end. What comes before
// a fault counts.
func (s *session) unpacked(child *input, r io.Reader, src *source) error {
	r = &metered{r: r, s: s}
	limit := min(maxBuffer, maxHeld-s.held)
	var buf bytes.Buffer
	if child.size > 0 {
		buf.Grow(int(min(child.size, limit)) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(io.LimitReader(r, limit+1))
	if src.err != nil {
		return src.err
	}
	b := buf.Bytes()
	if int64(len(b)) <= limit {
		child.size, child.at = int64(len(b)), bytes.NewReader(b)
		s.unpackFault(child, err)
		s.held += int64(len(b))
		err := s.look(child)
		s.held -= int64(len(b))
		return err
	}
	child.size, child.at = -1, nil
	child.head = b[:headLen:headLen]
	child.r = io.MultiReader(bytes.NewReader(b[headLen:]), r)
	s.held += int64(len(b))
	err = s.look(child)
	s.held -= int64(len(b))
	if src.err == nil && s.ctx.Err() == nil && (err == nil || !isContent(err)) {
		_, drained := io.Copy(io.Discard, r)
		s.unpackFault(child, drained)
		err = nil
	}
	return errors.Join(src.err, s.ctx.Err(), err)
}

// unpackFault reports why unpacking has stopped.
func (s *session) unpackFault(child *input, err error) {
	switch {
	case err == nil || s.ctx.Err() != nil:
	case errors.Is(err, errTooMuch):
		s.add(child, "limit-size", 0, "unpacks to more than %d bytes", int64(maxInflated))
	case s.closed(child, err):
	default:
		s.add(child, "compressed-malformed", child.size, "cannot be unpacked to its end: %v", err)
	}
}

// closed reports what is not opened, if that is what err says.
func (s *session) closed(in *input, err error) bool {
	e, ok := errors.AsType[closedError](err)
	if ok {
		s.add(in, ruleClosed, 0, "is packed in a way that is not opened (%v)", e)
	}
	return ok
}

// checkCompressed opens compressed files.
func checkCompressed(s *session, in *input) error {
	if in.raw {
		return nil
	}
	open := unpackers()[in.kind]
	switch {
	case open == nil:
		return nil
	case in.at == nil:
		s.add(in, "limit-size", 0, "is compressed and too large to be unpacked twice")
		return nil
	case in.depth >= maxDepth:
		s.add(in, "limit-depth", 0, "is compressed in something that is nested too deep")
		return nil
	}
	if s.opts.Sparse && in.size > max(maxFetched, s.opts.Fetch) {
		s.add(in, "limit-size", 0, "is compressed and too large to be fetched")
		return nil
	}
	src := &source{r: io.NewSectionReader(in.at, 0, in.size), s: s}
	buffered := bufio.NewReaderSize(src, 64<<10)
	defer func(before int64) { s.dictionaries = before }(s.dictionaries)
	r, err := open(s, buffered)
	if err == nil {
		r, err = believe(r, in)
	}
	if src.err != nil {
		return src.err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if !s.closed(in, err) && (in.kind != kindZlib || in.claimed == kindPickle) {
			s.add(in, "compressed-malformed", 0, "cannot be unpacked: %v", err)
		}
		return nil
	}
	name := strings.TrimSuffix(in.name, in.ext())
	child := &input{path: in.path + "!" + string(in.kind), name: name, depth: in.depth + 1, size: -1, claimed: claim(strings.ToLower(name)), within: in}
	if child.claimed == "" && in.claimed == kindPickle {
		child.claimed = kindPickle
	}
	if err := s.unpacked(child, r, src); err != nil {
		return err
	}
	if _, err := buffered.ReadByte(); err == nil {
		s.add(in, "compressed-malformed", 0, "has bytes behind the end of what is compressed")
	}
	return src.err
}

// believe reads a little of what is unpacked: two bytes tell zlib, with which
// texts may begin too.
func believe(r io.Reader, in *input) (io.Reader, error) {
	first := make([]byte, 1)
	if isText(in.head) {
		first = make([]byte, 64)
	}
	n, err := io.ReadFull(r, first)
	if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
		err = nil
	}
	return io.MultiReader(bytes.NewReader(first[:n]), r), err
}

// An unpacker begins to unpack.
type unpacker func(*session, *bufio.Reader) (io.Reader, error)

// unpackers are the compressions that are opened. The others are closed.
func unpackers() map[kind]unpacker {
	return map[kind]unpacker{
		kindGzip:  func(_ *session, r *bufio.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		kindZlib:  func(_ *session, r *bufio.Reader) (io.Reader, error) { return zlib.NewReader(r) },
		kindBzip2: func(_ *session, r *bufio.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil },
		kindZstd: func(_ *session, r *bufio.Reader) (io.Reader, error) {
			return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
		},
		kindXZ:   openXZ,
		kindLZMA: openLZMA,
		kindLZ4:  openLZ4,
	}
}
