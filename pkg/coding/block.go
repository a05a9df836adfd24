package coding

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"
)

// blockBytes is how much of a plane is coded at once: enough for its
// statistics, little enough to differ from place to place.
const blockBytes = 128 << 10

// The codings of a block, as they are in a stream.
const (
	blockRaw      byte = iota // the bytes themselves
	blockRepeated             // one byte, for all of them
	blockHuff0                // a table and four streams, RFC 8878 4.2
	blockZstd                 // a zstd frame
)

// blockHead is the kind of a block and, in three bytes, its length.
const blockHead = 4

// A coder codes and decodes frames. It is for one goroutine.
type coder struct {
	huff  huff0.Scratch  // for writing
	table *huff0.Scratch // for reading
	zenc  *zstd.Encoder
	zdec  *zstd.Decoder
	zbuf  []byte
	plane []byte // a frame in planes
	diff  []byte // a frame as differences
	base  []byte
}

// appendPlane codes a plane block by block.
func (c *coder) appendPlane(dst, plane []byte) ([]byte, error) {
	for len(plane) > 0 {
		n := min(len(plane), blockBytes)
		kind, coded, err := c.encode(plane[:n])
		if err != nil {
			return nil, fmt.Errorf("code block: %w", err)
		}
		dst = append(dst, kind, byte(len(coded)), byte(len(coded)>>8), byte(len(coded)>>16))
		dst = append(dst, coded...)
		plane = plane[n:]
	}
	return dst, nil
}

// encode chooses the shortest coding of b. The result is valid until the next
// call.
func (c *coder) encode(b []byte) (byte, []byte, error) {
	most := mostCommon(b)
	if most == len(b) {
		return blockRepeated, b[:1], nil
	}
	kind, best := blockRaw, b
	c.huff.Reuse = huff0.ReusePolicyNone
	switch coded, _, err := huff0.Compress4X(b, &c.huff); {
	case err == nil:
		if len(coded) < len(b) {
			kind, best = blockHuff0, coded
		}
	case !errors.Is(err, huff0.ErrIncompressible) && !errors.Is(err, huff0.ErrUseRLE):
		return 0, nil, err
	}
	// A code for single bytes takes a bit for each at least; what repeats more
	// than that is for zstd.
	if most < len(b)/4*3 {
		return kind, best, nil
	}
	if err := c.openZstd(); err != nil {
		return 0, nil, err
	}
	if c.zbuf = c.zenc.EncodeAll(b, c.zbuf[:0]); len(c.zbuf) < len(best) {
		kind, best = blockZstd, c.zbuf
	}
	return kind, best, nil
}

func (c *coder) openZstd() (err error) {
	if c.zenc == nil {
		c.zenc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(blockBytes))
	}
	return err
}

// mostCommon counts the byte that is there most often.
func mostCommon(b []byte) int {
	var count [4][256]int32 // several, as one counter would wait for itself
	i := 0
	for ; i+4 <= len(b); i += 4 {
		count[0][b[i]]++
		count[1][b[i+1]]++
		count[2][b[i+2]]++
		count[3][b[i+3]]++
	}
	for ; i < len(b); i++ {
		count[0][b[i]]++
	}
	var most int32
	for v := range count[0] {
		most = max(most, count[0][v]+count[1][v]+count[2][v]+count[3][v])
	}
	return int(most)
}

// readPlane decodes a plane into dst, all of it, and returns what is left of
// src.
func (c *coder) readPlane(dst, src []byte) ([]byte, error) {
	for len(dst) > 0 {
		n := min(len(dst), blockBytes)
		if len(src) < blockHead {
			return nil, malformed("a frame ends within a block")
		}
		kind, size := src[0], int(src[1])|int(src[2])<<8|int(src[3])<<16
		src = src[blockHead:]
		if size > len(src) || size > n {
			return nil, malformed("a block of %d bytes, of %d in the frame, for %d of a plane", size, len(src), n)
		}
		if err := c.decode(dst[:n:n], kind, src[:size]); err != nil {
			return nil, err
		}
		dst, src = dst[n:], src[size:]
	}
	return src, nil
}

// decode decodes a block into dst, all of it.
func (c *coder) decode(dst []byte, kind byte, src []byte) error {
	var out []byte
	var err error
	switch kind {
	case blockRaw:
		if len(src) == len(dst) {
			copy(dst, src)
			return nil
		}
	case blockRepeated:
		if len(src) == 1 {
			for i := range dst {
				dst[i] = src[0]
			}
			return nil
		}
	case blockHuff0:
		var streams []byte
		if c.table, streams, err = huff0.ReadTable(src, c.table); err == nil {
			out, err = c.table.Decoder().Decompress4X(dst[:0], streams)
		}
	case blockZstd:
		if c.zdec == nil {
			c.zdec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(1<<20))
		}
		if err == nil {
			out, err = c.zdec.DecodeAll(src, dst[:0])
		}
	default:
		return malformed("unknown kind of block %d", kind)
	}
	if err != nil {
		return malformed("block of kind %d: %v", kind, err)
	}
	if len(out) != len(dst) || &out[0] != &dst[0] {
		return malformed("a block of kind %d decodes to %d bytes instead of %d", kind, len(out), len(dst))
	}
	return nil
}
