package scan

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// maxDictionary is how many bytes the dictionaries of LZMA that are in use at a
// time may have together: one as "xz -9" wants it. What a header says is memory
// that is taken at once, and may be 4 GiB.
const maxDictionary = 64 << 20

// A closedError says why something is not opened that could be honest.
type closedError string

func (e closedError) Error() string { return string(e) }

// noEOF is for reads within something that has not come to its end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// dictionary takes the memory for a dictionary in place of one of had bytes.
func (s *session) dictionary(n, had int64) error {
	if n > maxDictionary-(s.dictionaries-had) {
		return closedError(fmt.Sprintf("with a dictionary of %d bytes", n))
	}
	s.dictionaries += n - had
	return nil
}

// openLZMA opens LZMA alone, the format of xz's forerunner.
func openLZMA(s *session, in *bufio.Reader) (io.Reader, error) {
	head, err := in.Peek(lzma.HeaderLen)
	if err != nil {
		return nil, noEOF(err)
	}
	if err := s.dictionary(int64(le32(head[1:])), 0); err != nil {
		return nil, err
	}
	r, err := lzma.ReaderConfig{DictCap: maxDictionary}.NewReader(in)
	if err != nil {
		return nil, noEOF(err)
	}
	return r, nil
}

// An xzReader unpacks streams of the .xz file format (1.2.1) that follow each
// other without padding. It holds the file to all that it says of itself, as
// xz's own library does; of filters it knows LZMA2 alone.
type xzReader struct {
	s  *session
	in *bufio.Reader

	flags   byte      // of the stream: the kind of its checksums
	blocks  uint64    // of the stream
	records hash.Hash // of the sizes of the blocks
	block   *xzBlock  // nil between two
	has     int64     // bytes of its dictionary
}

// An xzBlock is a block that is being unpacked.
type xzBlock struct {
	data   *lzma.Reader2
	packed countingReader
	sum    hash.Hash // nil if there is none
	head   int64     // bytes of its header
	n      int64     // bytes unpacked

	wantPacked, want uint64 // what its header says of both, or unsaid
}

const (
	xzMagic = "\xfd7zXZ\x00"
	unsaid  = 1<<64 - 1
)

// openXZ opens an xz file.
func openXZ(s *session, in *bufio.Reader) (io.Reader, error) {
	r := &xzReader{s: s, in: in}
	return r, r.begin()
}

func (r *xzReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if err := r.s.ctx.Err(); err != nil {
			return 0, err
		}
		if r.block == nil {
			if err := r.next(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := r.block.data.Read(p)
		r.block.n += int64(n)
		if r.block.sum != nil {
			r.block.sum.Write(p[:n]) //nolint:errcheck // a hash takes everything
		}
		if errors.Is(err, io.EOF) {
			if err = io.ErrUnexpectedEOF; r.block.data.EOS() {
				err = r.endBlock()
			}
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// full reads n bytes, of which there may be no more than a header has.
func (r *xzReader) full(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r.in, b)
	return b, noEOF(err)
}

// begin reads the header of a stream.
func (r *xzReader) begin() error {
	b, err := r.full(12)
	switch {
	case err != nil:
		return err
	case string(b[:6]) != xzMagic || crc32.ChecksumIEEE(b[6:8]) != le32(b[8:]):
		return errors.New("a stream has no header")
	case b[6] != 0 || b[7] > 15:
		return closedError("of a version that is not known")
	}
	r.flags, r.blocks, r.records = b[7], 0, sha256.New()
	_, err = r.checksum()
	return err
}

// checksum returns what makes the checksums of the stream, nil for nothing.
func (r *xzReader) checksum() (hash.Hash, error) {
	switch r.flags {
	case 0:
		return nil, nil
	case 1:
		return crc32.NewIEEE(), nil
	case 4:
		return crc64.New(crc64.MakeTable(crc64.ECMA)), nil
	case 10:
		return sha256.New(), nil
	}
	return nil, closedError("with checksums of a kind that is not known")
}

// next goes on to the next block, of this stream or another. It is io.EOF where
// there is none.
func (r *xzReader) next() error {
	size, err := r.in.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if size != 0 {
		return r.beginBlock(size)
	}
	if err := r.index(); err != nil {
		return err
	}
	if head, err := r.in.Peek(len(xzMagic)); string(head) == xzMagic {
		return r.begin()
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return r.padding()
}

// padding reads zeros to the end of the file. A stream behind them is left to
// be reported: not all readers look for one.
func (r *xzReader) padding() error {
	for n := 0; ; n++ {
		c, err := r.in.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && n%4 != 0:
			return errors.New("its padding is not of four bytes")
		case err != nil:
			return err
		case c != 0:
			return errors.Join(r.in.UnreadByte(), io.EOF)
		}
	}
}

// beginBlock reads the header of a block, whose first byte is its size.
func (r *xzReader) beginBlock(size byte) error {
	b, err := r.full(int(size)*4 + 3)
	if err != nil {
		return err
	}
	b = append([]byte{size}, b...)
	body, flags := b[:len(b)-4], b[1]
	if crc32.ChecksumIEEE(body) != le32(b[len(body):]) {
		return errors.New("the header of a block has another checksum")
	}
	if flags&^0xc0 != 0 {
		return closedError("with filters that are not known")
	}
	r.block = &xzBlock{packed: countingReader{r: r.in}, head: int64(len(b)), wantPacked: unsaid, want: unsaid}
	rest := body[2:]
	if flags&0x40 != 0 {
		r.block.wantPacked, rest = xzNumber(rest)
	}
	if flags&0x80 != 0 {
		r.block.want, rest = xzNumber(rest)
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 || rest[2] > 40 || len(bytes.Trim(rest[3:], "\x00")) > 0 {
		return closedError("with filters that are not known")
	}
	return r.filter(rest[2])
}

// filter makes a reader of LZMA2 for the block.
func (r *xzReader) filter(property byte) (err error) {
	size := int64(2|property&1) << (property/2 + 11)
	if n := r.block.want; n < uint64(size) {
		size = int64(n) // nothing lies further back
	}
	size = max(size, lzma.MinDictCap)
	if err := r.s.dictionary(size, r.has); err != nil {
		return err
	}
	r.has = size
	if r.block.sum, err = r.checksum(); err != nil {
		return err
	}
	r.block.data, err = lzma.Reader2Config{DictCap: int(size)}.NewReader2(&r.block.packed)
	return err
}

// endBlock checks what the block says of itself.
func (r *xzReader) endBlock() error {
	b := r.block
	r.block = nil
	var sum []byte
	switch h := b.sum.(type) {
	case nil:
	case hash.Hash32:
		sum = binary.LittleEndian.AppendUint32(nil, h.Sum32())
	case hash.Hash64:
		sum = binary.LittleEndian.AppendUint64(nil, h.Sum64())
	default:
		sum = h.Sum(nil)
	}
	tail, err := r.full(int(-b.packed.n&3) + len(sum))
	if err != nil {
		return err
	}
	zeros := len(tail) - len(sum)
	switch {
	case b.want != unsaid && b.want != uint64(b.n) || b.wantPacked != unsaid && b.wantPacked != uint64(b.packed.n):
		return errors.New("a block has not the size that it says")
	case len(bytes.Trim(tail[:zeros], "\x00")) > 0:
		return errors.New("a block has other padding than zeros")
	case !bytes.Equal(tail[zeros:], sum):
		return errors.New("a block has not the checksum that it says")
	}
	r.blocks++
	r.record(uint64(b.head+b.packed.n)+uint64(len(sum)), uint64(b.n))
	return nil
}

// record adds sizes of a block to those that the index must have.
func (r *xzReader) record(unpadded, n uint64) {
	b := binary.LittleEndian.AppendUint64(nil, unpadded)
	r.records.Write(binary.LittleEndian.AppendUint64(b, n)) //nolint:errcheck // a hash takes everything
}

// index reads what a stream has behind its blocks, whose first byte was read.
func (r *xzReader) index() error {
	in := xzIndex{r: r.in, n: 1, sum: crc32.ChecksumIEEE([]byte{0})}
	if n := in.number(); in.err == nil && n != r.blocks {
		return errors.New("the index is of another number of blocks")
	}
	want := r.records.Sum(nil)
	r.records.Reset()
	for range r.blocks {
		r.record(in.number(), in.number())
	}
	for in.n%4 != 0 && in.err == nil {
		if in.byte() != 0 {
			return errors.New("the index has other padding than zeros")
		}
	}
	if in.err != nil {
		return in.err
	}
	b, err := r.full(4 + 12)
	footer := b[4:]
	switch {
	case err != nil:
		return err
	case le32(b) != in.sum || !bytes.Equal(r.records.Sum(nil), want):
		return errors.New("the index is not of the blocks before it")
	case le32(footer) != crc32.ChecksumIEEE(footer[4:10]) || string(footer[8:]) != string([]byte{0, r.flags, 'Y', 'Z'}),
		(int64(le32(footer[4:]))+1)*4 != in.n+4:
		return errors.New("a stream has not the end of one")
	}
	return nil
}

// An xzIndex reads numbers and keeps their checksum.
type xzIndex struct {
	r   io.ByteReader
	n   int64 // bytes read
	sum uint32
	err error
}

func (x *xzIndex) byte() byte {
	if x.err != nil {
		return 0
	}
	c, err := x.r.ReadByte()
	x.n, x.sum, x.err = x.n+1, crc32.Update(x.sum, crc32.IEEETable, []byte{c}), noEOF(err)
	return c
}

func (x *xzIndex) number() uint64 {
	var b [9]byte
	for i := range b {
		if b[i] = x.byte(); b[i] < 0x80 {
			n, _ := binary.Uvarint(b[:i+1])
			return n
		}
	}
	return unsaid
}

// xzNumber reads a number, and returns what follows it: nothing if there is none.
func xzNumber(b []byte) (uint64, []byte) {
	n, size := binary.Uvarint(b[:min(len(b), 9)])
	if size <= 0 {
		return 0, nil
	}
	return n, b[size:]
}

// A countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	return n, err
}
