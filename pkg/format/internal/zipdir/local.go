package zipdir

import "io"

// descriptor is the flag of a member whose sizes follow its data (4.4.4).
const descriptor = 1 << 3

// Check compares the header in front of a member that [List] returned with the
// directory: flags, method, name, checksum and sizes are the same, or follow
// the data as the flags say, and no byte lies between the member's data and
// what comes next. It returns the offset at which the data begins.
//
// [Open] is content with less, for readers of files that were written by
// careless writers.
func Check(r io.ReaderAt, m Member, format string) (int64, error) {
	a := archive{r: r, format: format}
	_, off, err := Open(r, m, format)
	if err != nil {
		return 0, err
	}
	h := make([]byte, off-m.Header)
	if err := a.readAt(h, m.Header); err != nil {
		return 0, err
	}
	extra := h[localLen+len(m.Name):]
	switch {
	case m.named || field(extra, unicodePath) != nil:
		return 0, a.malformed(m.Header, "member %.80q has two names", m.Name)
	case le16(h[6:]) != m.Flags:
		return 0, a.malformed(m.Header, "the header of member %.80q has other flags than the directory", m.Name)
	}
	sizes := [3]uint64{uint64(le32(h[22:])), uint64(le32(h[18:]))}
	crc := le32(h[14:])
	later := m.Flags&descriptor != 0
	if !zip64(extra, &sizes) {
		return 0, a.malformed(m.Header, "the header of member %.80q has no zip64 sizes", m.Name)
	}
	same := func(have, want uint64) bool { return have == want || later && have == 0 }
	if !same(uint64(crc), uint64(m.CRC)) || !same(sizes[0], uint64(m.Size)) || !same(sizes[1], uint64(m.Packed)) {
		return 0, a.malformed(m.Header, "the header of member %.80q has another size or checksum than the directory", m.Name)
	}
	return off, a.gap(m, off+m.Packed)
}

// gap checks what lies between the data of a member, which ends at pos, and the
// next header.
func (a archive) gap(m Member, pos int64) error {
	n := m.end - pos
	if m.Flags&descriptor == 0 {
		if n != 0 {
			return a.malformed(pos, "%d bytes behind member %.80q belong to nothing", n, m.Name)
		}
		return nil
	}
	if n != 12 && n != 16 && n != 20 && n != 24 {
		return a.malformed(pos, "member %.80q has no data descriptor behind it", m.Name)
	}
	b := make([]byte, n)
	if err := a.readAt(b, pos); err != nil {
		return err
	}
	if n%8 == 0 && string(b[:4]) != "PK\x07\x08" {
		return a.malformed(pos, "member %.80q has no data descriptor behind it", m.Name)
	}
	if n%8 == 0 { // with a signature
		b = b[4:]
	}
	packed, size := uint64(le32(b[4:])), uint64(0)
	if len(b) == 20 {
		packed, size = le64(b[4:]), le64(b[12:])
	} else {
		size = uint64(le32(b[8:]))
	}
	if le32(b) != m.CRC || packed != uint64(m.Packed) || size != uint64(m.Size) {
		return a.malformed(pos, "the data descriptor of member %.80q has another size or checksum than the directory", m.Name)
	}
	return nil
}
