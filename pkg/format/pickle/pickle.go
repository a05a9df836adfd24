// Package pickle reads the structure of files that hold Python pickles: PyTorch
// archives, PyTorch files from before there were archives, and bare pickles.
//
// It runs nothing, imports nothing and builds no objects. A pickle is walked
// opcode by opcode to its end; on the way the package keeps track of as much as
// it takes to list the tensors of a plain dictionary of tensors, and the names
// of classes and functions that a loader would import.
//
// It passes no verdict: that a file is read without an error does not make it
// safe to load.
package pickle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
	"github.com/modelreg/modelreg/pkg/format/internal/zipdir"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of a pickle.
const (
	maxOps      = 50_000_000
	maxGlobals  = 10_000
	maxGlobal   = 1024     // bytes of a global's module and name
	maxLine     = 64 << 10 // bytes of an argument that is text up to the end of a line
	maxInflated = 16 << 20 // bytes of a compressed data.pkl; PyTorch compresses none
)

// A FormatError says why a file is none that this package reads.
type FormatError = malformed.Error

// A Kind is a way of keeping pickles in a file.
type Kind string

// The kinds.
const (
	Archive Kind = "archive" // zip, written by torch.save since 1.6
	Legacy  Kind = "legacy"  // five pickles and storages, written by torch.save before
	Bare    Kind = "bare"    // one pickle
)

// A File is the structure of a file.
type File struct {
	Kind Kind

	// Protocol is the one that the pickle declares, 0 if it declares none.
	Protocol int

	// Globals are the classes and functions that loading the pickle imports,
	// as far as they could be told, each once.
	Globals []Global

	// Members are the files of an archive.
	Members []Member

	// Tensors are those of a dictionary of tensors, or of its "state_dict".
	// Other pickles, and dictionaries too intricate to follow, have none.
	Tensors []Tensor

	// Trailing is how many bytes follow the end of a bare pickle.
	Trailing int64
}

// A Global is a name that is imported.
type Global struct{ Module, Name string }

// A Member is one file of an archive.
type Member struct {
	Name string
	Size int64

	// Storage is the key of the storage whose bytes the member is, or "".
	Storage string
}

// A Tensor is a part of a storage.
type Tensor struct {
	Name    string
	Type    string // PyTorch's class of its storage, "FloatStorage", or its type, "float8_e4m3fn"
	Shape   []int64
	Storage string // key of its storage
}

// legacyMagic is the first pickle of a legacy file, whole: a number.
var legacyMagic = []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")

// Read reads the structure of the size bytes of r. The error is a [FormatError]
// if they are of none of the kinds, else that of r.
func Read(r io.ReaderAt, size int64) (*File, error) {
	head := make([]byte, min(size, int64(len(legacyMagic))))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read pickle: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return readArchive(r, size)
	case bytes.Equal(head, legacyMagic):
		return readLegacy(r, size)
	}
	f := &File{Kind: Bare}
	w := window.New(r, size, "pickle", window.Options{First: 64 << 10})
	m, err := f.walk(w)
	if err != nil {
		return nil, err
	}
	f.Tensors, f.Trailing = m.tensors(), w.Left()
	return f, nil
}

// readArchive reads an archive (torch/csrc/jit/serialization, "PyTorch zip").
func readArchive(r io.ReaderAt, size int64) (*File, error) {
	list, err := zipdir.List(r, size, "pytorch")
	if err != nil {
		return nil, err
	}
	f := &File{Kind: Archive}
	var data *zipdir.Member
	for i, m := range list {
		if dir, name := path.Split(m.Name); name == "data.pkl" && strings.Count(dir, "/") == 1 {
			if data != nil {
				return nil, malformedAt(m.Header, "two data.pkl")
			}
			data = &list[i]
		}
	}
	if data == nil {
		return nil, malformedAt(0, "no data.pkl in the archive")
	}
	storages := strings.TrimSuffix(data.Name, "data.pkl") + "data/"
	sizes := make(map[string]int64)
	for _, m := range list {
		member := Member{Name: m.Name, Size: m.Size}
		if key, ok := strings.CutPrefix(m.Name, storages); ok {
			member.Storage, sizes[key] = key, m.Size
		}
		f.Members = append(f.Members, member)
	}
	w, err := open(r, *data)
	if err != nil {
		return nil, err
	}
	m, err := f.walk(w)
	if err != nil {
		return nil, err
	}
	if w.Left() > 0 {
		return nil, w.Malformed("%d bytes after the end of data.pkl", w.Left())
	}
	if err := m.checkStorages(sizes); err != nil {
		return nil, err
	}
	f.Tensors = m.tensors()
	return f, nil
}

// open returns the bytes of data.pkl.
func open(r io.ReaderAt, m zipdir.Member) (*window.Reader, error) {
	content, off, err := zipdir.Open(r, m, "pytorch")
	if err != nil {
		return nil, err
	}
	opts := window.Options{First: 64 << 10}
	if m.Method == zipdir.Store {
		return window.New(io.NewSectionReader(r, off, m.Size), m.Size, "pickle", opts), nil
	}
	b, err := io.ReadAll(io.LimitReader(content, maxInflated+1))
	if err != nil || len(b) > maxInflated {
		return nil, malformedAt(m.Header, "data.pkl does not unpack to at most %d bytes", maxInflated)
	}
	return window.New(bytes.NewReader(b), int64(len(b)), "pickle", opts), nil
}

// readLegacy reads what torch.save wrote before PyTorch 1.6: pickles of a magic
// number, a version, facts of the machine, the object and the keys of the
// storages; then for each key the number of elements and the elements.
func readLegacy(r io.ReaderAt, size int64) (*File, error) {
	f := &File{Kind: Legacy}
	w := window.New(r, size, "pytorch", window.Options{First: 64 << 10})
	var object, keys *machine
	for i := range 5 {
		m, err := f.walk(w)
		if err != nil {
			return nil, err
		}
		switch i {
		case 3:
			object = m
		case 4:
			keys = m
		}
	}
	order, ok := keys.strings()
	if !ok || object.lost {
		return f, nil
	}
	for _, key := range order {
		s, known := object.storages[key]
		if !known || storageSizes[s.typ] == 0 {
			return f, nil
		}
		b, err := w.Next(8)
		if err != nil {
			return nil, err
		}
		if n := int64(le64(b)); n != s.elements {
			return nil, w.Malformed("storage %.80q has %d elements instead of %d", key, n, s.elements)
		}
		if err := w.Skip(s.elements * storageSizes[s.typ]); err != nil {
			return nil, err
		}
	}
	if w.Left() > 0 {
		return nil, w.Malformed("%d bytes after the last storage", w.Left())
	}
	f.Tensors = object.tensors()
	return f, nil
}

func malformedAt(off int64, reason string, args ...any) error {
	return &FormatError{Format: "pytorch", Offset: off, Reason: fmt.Sprintf(reason, args...)}
}
