// Package zipdir lists the members of zip archives that hold model files.
//
// It is strict where archive/zip is kind: the archive is all of the file, from
// its first byte to its last, and has no comment; members have unique names and
// do not overlap; nothing is encrypted. So no two readers can see different
// archives in a file that [List] accepts. Names are not checked for where they
// lead: nothing is unpacked.
package zipdir

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of an archive.
const (
	MaxMembers = 100_000
	maxDir     = 32 << 20 // bytes of the central directory

	tail = 64 << 10 // the speculative read of the end
)

// Sizes of the records of APPNOTE.TXT 4.3, without what is variable.
const (
	localLen   = 30 // 4.3.7
	centralLen = 46 // 4.3.12
	end64Len   = 56 // 4.3.14
	locatorLen = 20 // 4.3.15
	endLen     = 22 // 4.3.16

	// slack is what can lie between two members: the extra field of a local
	// header, in which PyTorch aligns data, and a data descriptor.
	slack = 65535 + 24
)

// The methods of compression that are read.
const (
	Store   = 0
	Deflate = 8
)

// A Member is one file in an archive, as the central directory has it.
type Member struct {
	Name   string
	Method uint16
	Packed int64 // bytes in the archive
	Size   int64 // bytes unpacked
	Header int64 // offset of the local header
	CRC    uint32
	Flags  uint16

	end   int64 // offset at which the data must have ended
	named bool  // has another name in its extra field
}

// An archive is a file that is being listed.
type archive struct {
	r      io.ReaderAt
	size   int64
	format string
}

// List returns the members of the archive that is the size bytes of r, in the
// order of the central directory. The name of the format is for errors.
func List(r io.ReaderAt, size int64, format string) ([]Member, error) {
	a := archive{r, size, format}
	dir, off, count, err := a.directory()
	if err != nil {
		return nil, err
	}
	members := make([]Member, 0, count)
	names := make(map[string]bool, count)
	for pos := off; len(dir) > 0; {
		m, n, err := a.member(dir, pos)
		if err != nil {
			return nil, err
		}
		if names[m.Name] {
			return nil, a.malformed(pos, "member %.80q is there twice", m.Name)
		}
		names[m.Name] = true
		members = append(members, m)
		dir, pos = dir[n:], pos+int64(n)
	}
	if len(members) != count {
		return nil, a.malformed(off, "%d members instead of %d", len(members), count)
	}
	return members, a.layout(members, off)
}

// directory returns the bytes of the central directory, where it lies, and how
// many members it has.
func (a archive) directory() (dir []byte, off int64, count int, err error) {
	n := min(a.size, tail)
	last := make([]byte, n)
	if err := a.readAt(last, a.size-n); err != nil {
		return nil, 0, 0, err
	}
	e, err := a.end(last)
	if err != nil {
		return nil, 0, 0, err
	}
	switch {
	case e.members > MaxMembers || e.length > maxDir || e.members > e.length/centralLen:
		return nil, 0, 0, a.malformed(e.at, "%d members in a directory of %d bytes are too many", e.members, e.length)
	case e.length > uint64(e.at) || e.start != uint64(e.at)-e.length:
		return nil, 0, 0, a.malformed(e.at, "the zip directory is not at the end")
	}
	off = int64(e.start)
	if first := a.size - n; off >= first {
		return last[off-first : e.at-first], off, int(e.members), nil
	}
	dir = make([]byte, e.length)
	return dir, off, int(e.members), a.readAt(dir, off)
}

// An end is what the records behind the central directory say of it. Nothing of
// it has been compared with the file.
type end struct {
	members, length, start uint64
	at                     int64 // offset of the first of the records
}

// end reads the end records, in the last bytes of the file.
func (a archive) end(last []byte) (end, error) {
	n := len(last)
	if n < endLen || string(last[n-endLen:][:4]) != "PK\x05\x06" || le16(last[n-2:]) != 0 {
		return end{}, a.malformed(a.size-int64(n), "no zip directory ends the file")
	}
	r := last[n-endLen:]
	e := end{uint64(le16(r[10:])), uint64(le32(r[12:])), uint64(le32(r[16:])), a.size - endLen}
	if le16(r[4:]) != 0 && le16(r[4:]) != 0xffff || le16(r[6:]) != le16(r[4:]) {
		return end{}, a.malformed(e.at, "the archive has several parts")
	}
	if n >= endLen+locatorLen && string(last[n-endLen-locatorLen:][:4]) == "PK\x06\x07" {
		return a.end64(last[:n-endLen-locatorLen], e)
	}
	return e, nil
}

// end64 reads the zip64 record, which ends with before, and compares it with
// the other one.
func (a archive) end64(before []byte, short end) (end, error) {
	at := short.at - locatorLen - end64Len
	r := before[max(0, len(before)-end64Len):]
	if at < 0 || string(r[:4]) != "PK\x06\x06" || le64(r[4:]) != end64Len-12 {
		return end{}, a.malformed(max(at, 0), "the zip64 end is not where it should be")
	}
	e := end{le64(r[32:]), le64(r[40:]), le64(r[48:]), at}
	// Some readers take these only where the others cannot be told.
	isMax := short.members == 0xffff || short.length == 0xffffffff || short.start == 0xffffffff
	if same := e.members == short.members && e.length == short.length && e.start == short.start; !same && !isMax {
		return end{}, a.malformed(at, "the two ends of the zip directory differ")
	}
	return e, nil
}

// member reads one entry of the directory and returns its length too.
func (a archive) member(dir []byte, pos int64) (Member, int, error) {
	if len(dir) < centralLen || string(dir[:4]) != "PK\x01\x02" {
		return Member{}, 0, a.malformed(pos, "no directory entry")
	}
	name, extra, comment := int(le16(dir[28:])), int(le16(dir[30:])), int(le16(dir[32:]))
	n := centralLen + name + extra + comment
	if n > len(dir) {
		return Member{}, 0, a.malformed(pos, "a directory entry is longer than the directory")
	}
	m := Member{Name: string(dir[centralLen:][:name]), Method: le16(dir[10:]), Flags: le16(dir[8:]), CRC: le32(dir[16:])}
	if m.Flags&(1|1<<6|1<<13) != 0 {
		return m, n, a.malformed(pos, "member %.80q is encrypted", m.Name)
	}
	if m.Method != Store && m.Method != Deflate {
		return m, n, a.malformed(pos, "member %.80q is compressed by method %d", m.Name, m.Method)
	}
	sizes := [3]uint64{uint64(le32(dir[24:])), uint64(le32(dir[20:])), uint64(le32(dir[42:]))}
	if !zip64(dir[centralLen+name:][:extra], &sizes) {
		return m, n, a.malformed(pos, "member %.80q has no zip64 sizes", m.Name)
	}
	if slices.Max(sizes[:]) > 1<<62 || m.Method == Store && sizes[0] != sizes[1] {
		return m, n, a.malformed(pos, "member %.80q has impossible sizes", m.Name)
	}
	m.Size, m.Packed, m.Header = int64(sizes[0]), int64(sizes[1]), int64(sizes[2])
	m.named = field(dir[centralLen+name:][:extra], unicodePath) != nil
	return m, n, nil
}

// zip64 replaces sizes of 2^32-1 by those of the extra field (4.5.3). It
// reports false if one is missing.
func zip64(extra []byte, sizes *[3]uint64) bool {
	field := field(extra, 1)
	for i := range sizes {
		if sizes[i] != 0xffffffff {
			continue
		}
		if len(field) < 8 {
			return false
		}
		sizes[i], field = le64(field), field[8:]
	}
	return true
}

// unicodePath is the extra field of another name (4.6.9).
const unicodePath = 0x7075

// field returns the first extra field of a kind, or nil. One that is cut short
// is as long as it goes.
func field(extra []byte, kind uint16) []byte {
	for len(extra) >= 4 {
		n := min(int(le16(extra[2:])), len(extra)-4)
		if le16(extra) == kind {
			return extra[4:][:n]
		}
		extra = extra[4+n:]
	}
	return nil
}

// layout checks that the members lie one after another from the start of the
// file to the directory.
func (a archive) layout(members []Member, dir int64) error {
	sorted := make([]*Member, len(members))
	for i := range members {
		sorted[i] = &members[i]
	}
	slices.SortFunc(sorted, func(x, y *Member) int { return cmp.Compare(x.Header, y.Header) })
	var pos, most int64 // where the next member begins at least and at most
	for i, m := range sorted {
		switch {
		case m.Header < pos:
			return a.malformed(m.Header, "member %.80q overlaps another", m.Name)
		case m.Header > most:
			return a.malformed(pos, "bytes before member %.80q belong to none", m.Name)
		case m.Packed > dir-m.Header-localLen-int64(len(m.Name)):
			return a.malformed(m.Header, "member %.80q runs into the directory", m.Name)
		}
		pos = m.Header + localLen + int64(len(m.Name)) + m.Packed
		most = pos + slack
		if m.end = dir; i+1 < len(sorted) {
			m.end = sorted[i+1].Header
		}
	}
	if dir > most {
		return a.malformed(pos, "bytes before the directory belong to no member")
	}
	return nil
}

// Open returns a reader of the bytes of a member that [List] returned, unpacked
// and cut at its size, and the offset in the file at which its data begins.
func Open(r io.ReaderAt, m Member, format string) (io.Reader, int64, error) {
	a := archive{r: r, format: format}
	// The extra field may say anything: what counts is only its length.
	h := make([]byte, localLen+len(m.Name))
	if err := a.readAt(h, m.Header); err != nil {
		return nil, 0, err
	}
	if string(h[:4]) != "PK\x03\x04" || le16(h[8:]) != m.Method || le16(h[6:])&1 != 0 ||
		int(le16(h[26:])) != len(m.Name) || !bytes.Equal(h[localLen:], []byte(m.Name)) {
		return nil, 0, a.malformed(m.Header, "the header of member %.80q is not what the directory says", m.Name)
	}
	off := m.Header + int64(len(h)) + int64(le16(h[28:]))
	if m.Packed > m.end-off {
		return nil, 0, a.malformed(m.Header, "member %.80q runs into the next", m.Name)
	}
	data := io.Reader(io.NewSectionReader(r, off, m.Packed))
	if m.Method == Deflate {
		data = flate.NewReader(data)
	}
	return io.LimitReader(data, m.Size), off, nil
}

func (a archive) readAt(b []byte, off int64) error {
	n, err := a.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read archive at byte %d: %w", off, err)
}

func (a archive) malformed(off int64, reason string, args ...any) error {
	return &malformed.Error{Format: a.format, Offset: off, Reason: fmt.Sprintf(reason, args...)}
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
