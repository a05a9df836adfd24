package scan

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

// checkTar opens tar archives.
func checkTar(s *session, in *input) error {
	switch {
	case in.kind != kindTar || in.raw:
		return nil
	case in.depth >= maxDepth:
		s.add(in, "limit-depth", 0, "is an archive that is nested too deep")
		return nil
	}
	// The reader of archives seeks where it can, and reads no further than it
	// must: so the offset of a member is known.
	var r io.Reader = &source{r: io.MultiReader(strings.NewReader(string(in.head)), in.r), s: s}
	var at *io.SectionReader
	if in.at != nil {
		at = io.NewSectionReader(in.at, 0, in.size)
		r = at
	}
	archive := tar.NewReader(r)
	for {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return s.afterTar(in, r, at)
		}
		if err != nil {
			s.add(in, "tar-malformed", position(at), "%v", err)
			return nil
		}
		if s.members++; s.members > maxMembers {
			s.add(in, "limit-size", position(at), "has more than %d members", maxMembers)
			return nil
		}
		if err := s.entry(in, archive, h, at); err != nil {
			return err
		}
	}
}

func position(at *io.SectionReader) int64 {
	if at == nil {
		return 0
	}
	n, _ := at.Seek(0, io.SeekCurrent)
	return n
}

// torchMembers are what torch.load takes for pickles in a tar archive, as the
// oldest of its files are.
var torchMembers = []string{"pickle", "storages", "tensors"}

// entry looks at one entry.
func (s *session) entry(in *input, archive io.Reader, h *tar.Header, at *io.SectionReader) error {
	child := &input{path: in.path + "!" + h.Name, name: h.Name, depth: in.depth + 1, size: h.Size, within: in}
	if slices.Contains(torchMembers, path.Clean(h.Name)) {
		child.claimed = kindPickle
	}
	switch {
	case h.Typeflag == tar.TypeDir && h.Size == 0:
		return nil
	case h.Typeflag != tar.TypeReg || isSparse(h):
		s.add(in, "tar-special", position(at), "has %.80q, which is no plain file", h.Name)
		return nil
	case strings.ContainsFunc(h.Name, func(r rune) bool { return r < ' ' }):
		s.add(in, "tar-special", position(at), "has %.80q, whose name readers understand differently", h.Name)
	}
	if at != nil {
		off := position(at)
		if h.Size > in.size-off {
			s.add(in, "tar-malformed", off, "ends in the middle of %.80q", h.Name)
			return nil
		}
		child.at = io.NewSectionReader(in.at, off, h.Size)
		return s.look(child)
	}
	return s.unpacked(child, archive, &source{s: s})
}

// isSparse tells files that are longer than what is there of them.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// afterTar checks that nothing but zeros follows the end of an archive.
func (s *session) afterTar(in *input, r io.Reader, at *io.SectionReader) error {
	if at == nil {
		return nil // what has been unpacked on the way is read to its end elsewhere
	}
	off := position(at)
	b := make([]byte, 32<<10)
	for {
		n, err := r.Read(b)
		for _, c := range b[:n] {
			if c != 0 {
				s.add(in, "tar-malformed", off, "has bytes behind its end")
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
