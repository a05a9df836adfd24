package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// recordBytes is the length of a part in a journal, behind its block:
	// offset, length, checksum, nothing, and a checksum of these and the
	// blob's digest, so that what a crash has left of one is known as that.
	recordBytes = 32

	// maxRecords bounds the parts in a journal. Those of 16 MiB are 256 GiB.
	// More of them are not recorded, and would have to be fetched again.
	maxRecords = 1 << 14
)

// A part is a stretch of a blob that is written, and its CRC-32C.
type part struct {
	offset, length int64
	sum            uint32
}

func (p part) end() int64 { return p.offset + p.length }

// KeepPart records that length bytes from offset are written and what their
// CRC-32 with Castagnoli's polynomial is. It is for parts that are written out
// of order, ahead of the checkpoints. A part that begins where another of this
// run does takes its place.
func (p *Partial) KeepPart(offset, length int64, sum uint32) error {
	if offset < 0 || length <= 0 || offset > p.desc.Size-length {
		return fmt.Errorf("keep part of blob %s: %d bytes at %d are not within its size %d", p.desc.Digest, length, offset, p.desc.Size)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.slots[offset]
	if !ok {
		slot = p.records
	}
	if p.log == nil || p.done || slot >= maxRecords {
		return nil
	}
	raw := part{offset, length, sum}.record(p.desc.Digest)
	if _, err := p.disk.WriteAt(p.log, raw, journalBlock+int64(slot)*recordBytes); err != nil {
		return fmt.Errorf("keep part of blob %s: %w", p.desc.Digest, err)
	}
	if !ok {
		if p.slots == nil {
			p.slots = make(map[int64]int)
		}
		p.slots[offset] = slot
		p.records++
	}
	p.saved = true
	return nil
}

// KeptParts returns the parts that an earlier run has recorded and that lie, at
// least in part, behind what Resume returned: offset and length, with their
// checksums. They are sorted and do not overlap. Whether the bytes are still
// what they were is for the caller to find out.
func (p *Partial) KeptParts() iter.Seq2[[2]int64, uint32] {
	p.mu.Lock()
	parts := slices.Clone(p.parts)
	p.mu.Unlock()
	return func(yield func([2]int64, uint32) bool) {
		for _, part := range parts {
			if !yield([2]int64{part.offset, part.length}, part.sum) {
				return
			}
		}
	}
}

// readParts reads the parts of this blob from the journal whose bytes can be
// there. Of those that overlap the latest counts.
func (p *Partial) readParts() ([]part, error) {
	if p.log == nil {
		return nil, nil
	}
	raw, err := io.ReadAll(io.NewSectionReader(p.log, journalBlock, maxRecords*recordBytes))
	if err != nil {
		return nil, err
	}
	written, err := p.data.size()
	if err != nil {
		return nil, err
	}
	return parseParts(raw, p.desc, written), nil
}

// parseParts reads parts that lie within the first so many bytes of the blob.
func parseParts(raw []byte, desc ocispec.Descriptor, written int64) []part {
	var parts []part
	limit := min(desc.Size, written)
	for len(raw) >= recordBytes {
		at := len(raw) - len(raw)%recordBytes - recordBytes // the latest first
		got, ok := parseRecord(raw[at:at+recordBytes], desc.Digest)
		raw = raw[:at]
		if !ok || got.length > limit || got.offset > limit-got.length {
			continue
		}
		i, _ := slices.BinarySearchFunc(parts, got, func(a, b part) int { return cmp.Compare(a.offset, b.offset) })
		if i > 0 && parts[i-1].end() > got.offset || i < len(parts) && got.end() > parts[i].offset {
			continue
		}
		parts = slices.Insert(parts, i, got)
	}
	return parts
}

// record returns the part as it is in a journal.
func (p part) record(dgst digest.Digest) []byte {
	raw := make([]byte, 0, recordBytes)
	raw = binary.LittleEndian.AppendUint64(raw, uint64(p.offset))
	raw = binary.LittleEndian.AppendUint64(raw, uint64(p.length))
	raw = binary.LittleEndian.AppendUint32(raw, p.sum)
	raw = binary.LittleEndian.AppendUint32(raw, 0)
	return append(raw, seal(raw, dgst)...)
}

// parseRecord reads a part of the blob with that digest.
func parseRecord(raw []byte, dgst digest.Digest) (part, bool) {
	const head = recordBytes - 8
	if string(raw[head:]) != string(seal(raw[:head], dgst)) {
		return part{}, false
	}
	p := part{
		offset: int64(binary.LittleEndian.Uint64(raw)),
		length: int64(binary.LittleEndian.Uint64(raw[8:])),
		sum:    binary.LittleEndian.Uint32(raw[16:]),
	}
	return p, p.offset >= 0 && p.length > 0
}

// seal ties a record to its blob.
func seal(raw []byte, dgst digest.Digest) []byte {
	sum := sha256.Sum256(append(slices.Clone(raw), dgst...))
	return sum[:8]
}

// hasRecords tells whether there is something behind the journal's block.
func (p *Partial) hasRecords() bool {
	fi, err := p.log.Stat()
	return err == nil && fi.Size() >= journalBlock+recordBytes
}

// keepParts makes the journal hold the parts that reach behind the mark, and no
// others. It returns how long the data is with them.
func (p *Partial) keepParts(parts []part, behind int64) (int64, error) {
	end := behind
	p.parts = slices.DeleteFunc(parts, func(q part) bool { return q.end() <= behind })
	raw := make([]byte, 0, len(p.parts)*recordBytes)
	for _, q := range p.parts {
		raw = append(raw, q.record(p.desc.Digest)...)
		end = max(end, q.end())
	}
	if p.log == nil {
		return end, nil
	}
	// The same ones, or fewer, in a row: a kill in between loses nothing that
	// is not there still.
	if len(raw) > 0 {
		if _, err := p.disk.WriteAt(p.log, raw, journalBlock); err != nil {
			return 0, err
		}
	}
	p.records, p.slots = len(p.parts), nil
	return end, p.log.Truncate(journalBlock + int64(len(raw)))
}
