package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/secrets"
)

// maxFiles bounds the files of a directory that is packed, and the entries of
// all archives of an artifact that is unpacked.
const maxFiles = 100_000

// A source is a file to be packed.
type source struct {
	path  string
	info  fs.FileInfo // when it was found; of the file behind a link
	class mediatypes.Class

	// digest is known for small files, which are read whole in search of
	// secrets, and for those of an [Input].
	digest digest.Digest

	input   *input   // nil for a file in the directory being packed
	virtual *virtual // nil for a file that is somewhere
}

// An opened is a file being read.
type opened interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// A walker lists the files of a directory that are to be packed.
type walker struct {
	root    *os.Root
	ignore  *ignorer
	files   []source
	skipped []string // with reasons
	links   []string
	cut     []string // what was cut into shards, told in words
}

// list walks the whole tree. It refuses what cannot be packed: links that lead
// out of the tree or into themselves, devices, pipes and sockets, and names
// that [CheckPath] refuses.
func (w *walker) list(ctx context.Context) error {
	top, err := w.root.Stat(".")
	if err != nil {
		return err
	}
	if err := w.dir(ctx, ".", []fs.FileInfo{top}); err != nil {
		return err
	}
	slices.SortFunc(w.files, func(a, b source) int { return strings.Compare(a.path, b.path) })
	paths := make([]string, len(w.files))
	for i, f := range w.files {
		paths[i] = f.path
	}
	return CheckPaths(paths)
}

// dir lists one directory. above are the directories that it is in, itself
// last, as they were reached: a link to one of them would never end.
func (w *walker) dir(ctx context.Context, name string, above []fs.FileInfo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(above) > MaxPathLevels+1 {
		return &PathError{Path: name, Reason: fmt.Sprintf("more than %d levels deep", MaxPathLevels)}
	}
	d, err := w.root.Open(name)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := e.Name()
		if name != "." {
			p = name + "/" + p
		}
		if err := w.entry(ctx, p, above); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(ctx context.Context, p string, above []fs.FileInfo) error {
	info, err := w.root.Lstat(p)
	if err != nil {
		return err
	}
	isLink := info.Mode()&fs.ModeSymlink != 0
	// What is ignored may be anything, a link to nowhere included.
	if reason := w.ignore.skip(p, info.IsDir()); reason != "" {
		w.skip(p, info.IsDir(), reason)
		return nil
	}
	if isLink {
		if info, err = w.follow(p); err != nil {
			return err
		}
		if reason := w.ignore.skip(p, info.IsDir()); reason != "" {
			w.skip(p, info.IsDir(), reason)
			return nil
		}
		w.links = append(w.links, p)
	}
	switch {
	case info.IsDir():
		for _, up := range above {
			if os.SameFile(up, info) {
				return &PathError{Path: p, Reason: "link to a directory that it is in"}
			}
		}
		return w.dir(ctx, p, append(slices.Clip(above), info))
	case !info.Mode().IsRegular():
		return &PathError{Path: p, Reason: "not a regular file: " + fileType(info.Mode())}
	case len(w.files) == maxFiles:
		return fmt.Errorf("%w: more than %d files", ErrUnsafe, maxFiles)
	}
	w.files = append(w.files, source{path: p, info: info})
	return nil
}

// follow returns what is behind the link p, which must be inside the tree.
func (w *walker) follow(p string) (fs.FileInfo, error) {
	info, err := w.root.Stat(p)
	switch {
	case err == nil:
		return info, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, &PathError{Path: p, Reason: "link to nothing"}
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case errors.Is(err, syscall.ELOOP):
		return nil, &PathError{Path: p, Reason: "link that goes in circles"}
	}
	// os.Root has no sentinel for a path that leaves it.
	return nil, &PathError{Path: p, Reason: "link that leads out of the directory"}
}

func (w *walker) skip(p string, dir bool, reason string) {
	if reason == "control file" {
		return
	}
	if dir {
		p += "/"
	}
	w.skipped = append(w.skipped, fmt.Sprintf("%s (%s)", p, reason))
}

// notes tells in a few lines what was left out and followed.
func (w *walker) notes() []string {
	var notes []string
	if n := listed("left out", w.skipped); n != "" {
		notes = append(notes, n)
	}
	if n := listed("packed what these links point to:", w.links); n != "" {
		notes = append(notes, n)
	}
	if n := dotNote(w.files); n != "" {
		notes = append(notes, n)
	}
	if n := partNote(w.root); n != "" {
		notes = append(notes, n)
	}
	return append(notes, w.cut...)
}

// listed joins names, not more than a terminal can take.
func listed(what string, names []string) string {
	const most = 20
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	quoted := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		quoted = append(quoted, printable(n))
	}
	s := what + " " + strings.Join(quoted, ", ")
	if len(names) > most {
		s += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return s
}

// printable quotes a name that a terminal could take for commands.
func printable(s string) string {
	for _, r := range s {
		if refuseRune(r) != "" {
			return fmt.Sprintf("%+q", s)
		}
	}
	return s
}

func fileType(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// openRegular opens a file for reading, and does not wait for the other end of
// what turns out to be a pipe.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &PathError{Path: name, Reason: "not a regular file: " + fileType(info.Mode())}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// open opens the file for reading and makes sure that it is the one found.
func (s *source) open(ctx context.Context, root *os.Root) (opened, error) {
	if s.input != nil {
		return s.input.open(ctx), nil
	}
	if s.virtual != nil {
		return s.virtual.open(ctx)
	}
	f, err := openRegular(root, s.path)
	if err != nil {
		return nil, err
	}
	if err := s.unchanged(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unchanged tells whether the open file f is still what was found. An [Input]
// is known by its digest.
func (s *source) unchanged(f opened) error {
	switch f := f.(type) {
	case *os.File:
		return sameAs(f, s.path, s.info)
	case *virtualFile:
		return f.of.unchanged()
	}
	return nil
}

// sameAs tells whether the open file is what it was when info was taken.
func sameAs(f *os.File, name string, info fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !sameFile(now, info) {
		return &fs.PathError{Op: "read", Path: name, Err: ErrChanged}
	}
	return nil
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// examine reads the beginnings of all files, sorts them into kinds and finds
// secrets. Files that cannot be read are found here, before anything is sent.
func (w *walker) examine(ctx context.Context) ([]Secret, error) {
	keep := mediatypes.HeadBytes
	if len(w.files) > 10_000 {
		keep = 512 // heads of 100,000 files stay within 50 MiB
	}
	found := make([]string, len(w.files))
	asked := make([]mediatypes.File, len(w.files))
	bufs := sync.Pool{New: func() any { return new([secrets.MaxBytes]byte) }}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(examiners)
	for i := range w.files {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			s := &w.files[i]
			asked[i] = mediatypes.File{Path: s.path, Size: s.info.Size()}
			if s.input.archived() {
				return nil
			}
			buf := bufs.Get().(*[secrets.MaxBytes]byte)
			defer bufs.Put(buf)
			data, err := readHead(ctx, w.root, s, buf[:])
			if err != nil {
				return err
			}
			m, _ := secrets.Find(s.path, s.info.Size(), data)
			found[i] = m.What
			if int64(len(data)) == s.info.Size() && s.digest == "" {
				s.digest = digest.FromBytes(data)
			}
			asked[i].Head = slices.Clone(data[:min(len(data), keep)])
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return w.classify(asked, found), nil
}

// classify sorts the files into kinds, and lists the secrets in them.
func (w *walker) classify(asked []mediatypes.File, found []string) (list []Secret) {
	for i, c := range mediatypes.Classify(asked) {
		s := &w.files[i]
		s.class = c
		if s.input.archived() {
			s.class = mediatypes.Class{Kind: s.input.kind}
		}
		if found[i] != "" {
			list = append(list, Secret{Path: s.path, What: found[i]})
		}
	}
	return list
}

// examiners is how many files are looked at at once. It is more than there are
// CPUs, because where files are elsewhere the way to them is what takes time.
const examiners = 8

// readHead reads as much of a file as [secrets.Find] wants to see of it, into buf.
func readHead(ctx context.Context, root *os.Root, s *source, buf []byte) ([]byte, error) {
	f, err := s.open(ctx, root)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s.info.Size() > secrets.MaxBytes {
		buf = buf[:mediatypes.HeadBytes]
	}
	n, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(buf))), buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return buf[:n], s.unchanged(f)
}
