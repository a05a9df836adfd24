package scan

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"path"
	"strings"

	"github.com/modelreg/modelreg/pkg/format/internal/zipdir"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of archives, of all in a file together.
const (
	maxMembers = 100_000
	maxRatio   = 200      // of unpacked to packed, for members over
	ratioFrom  = 16 << 20 // so many bytes
)

// checkZip opens zip archives, and finds those behind something else.
func checkZip(s *session, in *input) error {
	switch {
	case in.raw || in.kind == kindEmpty:
		return nil
	case in.at == nil:
		if in.kind == kindZip {
			s.add(in, "limit-size", 0, "is an archive too large to be unpacked")
		}
		return nil
	case in.kind != kindZip:
		return s.hiddenZip(in)
	}
	members, err := zipdir.List(in.at, in.size, "zip archive")
	if errors.Is(err, malformed.ErrMalformed) {
		s.add(in, "zip-malformed", 0, "%v", err)
		return nil
	} else if err != nil {
		return err
	}
	if s.members += len(members); s.members > maxMembers {
		s.add(in, "limit-size", 0, "has more than %d members", maxMembers)
		return nil
	}
	if in.depth >= maxDepth {
		s.add(in, "limit-depth", 0, "is an archive that is nested too deep")
		return nil
	}
	a := archive{in: in, torch: torchDir(members)}
	s.checkNames(in, members)
	for _, m := range members {
		if err := s.member(a, m); err != nil {
			return err
		}
	}
	return nil
}

// endLen is the length of the record that ends a zip archive, without its
// comment of up to 64 KiB.
const endLen = 22

// hiddenZip reports a file that is no zip archive from its start, but has the
// end of one, which is where readers begin.
func (s *session) hiddenZip(in *input) error {
	if in.size < endLen {
		return nil
	}
	tail := in.head
	off := int64(0)
	if in.size > int64(len(in.head)) {
		off = max(0, in.size-endLen-1<<16)
		tail = make([]byte, in.size-off)
		if err := readAt(in.at, tail, off); err != nil {
			return err
		}
	}
	if !bytes.Contains(tail, []byte("PK\x05\x06")) { // many times faster than looking from the end
		return nil
	}
	for at := len(tail) - endLen; ; at-- {
		at = bytes.LastIndex(tail[:max(at+4, 0)], []byte("PK\x05\x06"))
		if at < 0 {
			return nil
		}
		if at+endLen > len(tail) {
			continue
		}
		found, err := s.hasDirectory(in, off+int64(at), tail[at:])
		if err != nil {
			return err
		}
		if found {
			s.add(in, "zip-prefix", off+int64(at), "is a zip archive behind something else (%s)", in.kind)
			return nil
		}
	}
}

// hasDirectory tells whether the end record at an offset has a directory before
// it, or one of no members.
func (s *session) hasDirectory(in *input, at int64, end []byte) (bool, error) {
	n := int64(le32(end[12:]))
	if n == 0 || n > at {
		return n == 0 && le16(end[10:]) == 0 && le16(end[4:]) == 0, nil
	}
	b := make([]byte, 4)
	if err := readAt(in.at, b, at-n); err != nil {
		return false, err
	}
	return string(b) == "PK\x01\x02" || n == 0xffffffff, nil
}

// An archive is a zip archive whose members are looked at.
type archive struct {
	in    *input
	torch string // the directory of PyTorch's files, with its slash, or ""
}

// torchDir returns the directory of a PyTorch archive.
func torchDir(members []zipdir.Member) string {
	for _, m := range members {
		if dir, name := path.Split(m.Name); name == "data.pkl" && strings.Count(dir, "/") == 1 {
			return dir
		}
	}
	return ""
}

// checkNames reports names that readers understand differently.
func (s *session) checkNames(in *input, members []zipdir.Member) {
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		clean := strings.ToLower(path.Clean(strings.ReplaceAll(m.Name, `\`, "/")))
		switch {
		case strings.ContainsFunc(m.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
			s.add(in, "zip-name", m.Header, "has a member %.80q, whose name readers understand differently", m.Name)
		case strings.HasPrefix(clean, "../") || strings.HasPrefix(clean, "/"):
			s.add(in, "zip-name", m.Header, "has a member %.80q, which leads out of the archive", m.Name)
		case seen[clean]:
			s.add(in, "zip-name", m.Header, "has members that are both %.80q to some readers", m.Name)
		}
		seen[clean] = true
	}
}

// member looks at one member.
func (s *session) member(a archive, m zipdir.Member) error {
	off, err := zipdir.Check(a.in.at, m, "zip archive")
	if errors.Is(err, malformed.ErrMalformed) {
		s.add(a.in, "zip-malformed", m.Header, "%v", err)
		return nil
	} else if err != nil {
		return err
	}
	child := &input{
		path: a.in.path + "!" + m.Name, name: m.Name, depth: a.in.depth + 1, size: m.Size,
		within: a.in,
	}
	if rest, ok := strings.CutPrefix(m.Name, a.torch); ok && a.torch != "" {
		child.torch = true
		child.raw = isStorage(rest)
		child.script = strings.HasPrefix(rest, "code/")
		if rest == ".data/extern_modules" {
			s.add(a.in, "custom-code", m.Header, "is a package of PyTorch, whose modules are run when it is loaded")
		}
		if child.script || rest == "constants.pkl" && m.Size > 4 {
			s.add(a.in, "torchscript", m.Header, "is TorchScript, which is a program")
		}
		if rest == "data.pkl" || rest == "constants.pkl" {
			child.claimed = kindPickle
		}
	}
	packed := io.NewSectionReader(a.in.at, off, m.Packed)
	if m.Method == zipdir.Store {
		child.at = packed
		return s.stored(child, m)
	}
	if m.Size > ratioFrom && m.Size/maxRatio > m.Packed {
		s.add(child, "limit-size", 0, "unpacks %d bytes to %d", m.Packed, m.Size)
		return nil
	}
	if child.raw && s.opts.Sparse && m.Size > sparseFrom {
		return nil
	}
	if s.opts.Sparse && m.Packed > max(maxFetched, s.opts.Fetch) {
		s.add(child, "limit-size", 0, "is compressed and too large to be fetched")
		return nil
	}
	return s.inflate(child, packed, m)
}

// isStorage tells the name of a storage: a number.
func isStorage(name string) bool {
	key, ok := strings.CutPrefix(name, "data/")
	return ok && key != "" && strings.Trim(key, "0123456789") == ""
}

// sparseFrom is how large a member is that a sparse scan passes over if it
// holds numbers.
const sparseFrom = 1 << 20

// stored looks at a member that is not compressed, and compares its checksum.
func (s *session) stored(child *input, m zipdir.Member) error {
	if err := s.look(child); err != nil {
		return err
	}
	if s.opts.Sparse && m.Size > sparseFrom {
		return nil
	}
	sum := crc32.NewIEEE()
	if m.Size > 0 {
		src := &source{r: io.NewSectionReader(child.at, 0, m.Size), s: s}
		buf := make([]byte, min(m.Size, 256<<10))
		if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, src, buf); err != nil {
			return fmt.Errorf("read member %s: %w", m.Name, err)
		}
	}
	if sum.Sum32() != m.CRC {
		s.add(child, "zip-checksum", 0, "has not the checksum that the archive says")
	}
	return nil
}

// A summed reader takes the checksum of what it reads.
type summed struct {
	r   io.Reader
	sum hash.Hash32
	n   int64
}

func (r *summed) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	r.n += int64(n)
	return n, err
}
