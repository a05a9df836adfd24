package scan

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strconv"
)

// maxSearched is how long a JSON text may be that a sparse scan reads to its
// end.
const maxSearched = 256 << 20

// longJSON reports a JSON text that is too long to be held as values, if its
// objects have members by which loaders make things.
func (s *session) longJSON(in *input, names ...string) error {
	if in.at == nil || s.opts.Sparse && in.size > max(maxSearched, s.opts.Fetch) {
		s.add(in, "limit-size", 0, "is JSON too long to be searched")
		return nil
	}
	src := &source{r: io.NewSectionReader(in.at, 0, in.size), s: s}
	f := memberFinder{r: bufio.NewReaderSize(src, 1<<20), names: names}
	found, err := f.all()
	if found {
		s.add(in, "limit-size", 0, "has members %q, and is too long to be looked at", names)
	}
	return err
}

// A memberFinder goes through JSON of any length, of which it holds a word. It
// takes all that Python does: names that come twice, and NaN.
type memberFinder struct {
	r     *bufio.Reader
	names []string // none longer than maxWord

	word []byte // the text that was last
}

// maxWord is how much of a text is held.
const maxWord = 64

// all tells whether each of the names is that of a member.
func (f *memberFinder) all() (bool, error) {
	missing := slices.Clone(f.names)
	isText := false // what was read last, spaces aside
	for len(missing) > 0 {
		c, err := f.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		switch c {
		case ' ', '\t', '\n', '\r':
		case '"':
			if err := f.text(); err != nil {
				return false, err
			}
			isText = true
		case ':':
			if isText {
				missing = slices.DeleteFunc(missing, func(name string) bool { return name == string(f.word) })
			}
			isText = false
		default:
			isText = false
		}
	}
	return true, nil
}

// text reads a text up to its end, or that of the file.
func (f *memberFinder) text() error {
	f.word = f.word[:0]
	for {
		c, err := f.r.ReadByte()
		if err == nil && c == '"' {
			return nil
		}
		var escape []byte
		if err == nil && c == '\\' {
			if c, err = f.r.ReadByte(); err == nil && c == 'u' {
				escape, err = f.r.Peek(4)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if n, err := strconv.ParseUint(string(escape), 16, 16); err == nil {
			c = byte(min(n, 0xff)) // no letter of a name that is looked for
			_, _ = f.r.Discard(len(escape))
		}
		if len(f.word) <= maxWord {
			f.word = append(f.word, c)
		}
	}
}
