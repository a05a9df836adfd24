package artifact

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/format/shard"
)

// MinReshard is the smallest [PackOptions.Reshard], in bytes.
const MinReshard = shard.MinLimit

// reshard puts shards in the place of files of weights that are too large. They
// are files like others from then on, whose bytes lie in the files that they
// were cut from.
func (w *walker) reshard(ctx context.Context, limit int64) error {
	files := make([]shard.File, len(w.files))
	was := make(map[string]*source, len(w.files))
	for i := range w.files {
		s := new(w.files[i])
		was[s.path] = s
		files[i] = shard.File{Path: s.path, Size: s.info.Size(), Open: func(ctx context.Context) (shard.ReaderAtCloser, error) {
			return s.open(ctx, w.root)
		}}
	}
	plan, err := shard.Plan(ctx, files, limit)
	if err != nil {
		return fmt.Errorf("reshard: %w", err)
	}
	if len(plan) == 0 {
		w.cut = append(w.cut, fmt.Sprintf("no file of weights is over %d bytes: nothing is cut into shards", limit))
		return nil
	}
	for i := range plan {
		w.replace(&plan[i], was)
	}
	slices.SortFunc(w.files, func(a, b source) int { return strings.Compare(a.path, b.path) })
	return checkSources(w.files)
}

// replace puts the files of a set in the place of those that it was cut from.
func (w *walker) replace(set *shard.Set, was map[string]*source) {
	w.files = slices.DeleteFunc(w.files, func(f source) bool { return slices.Contains(set.Replaced, f.path) })
	for i := range set.Outputs {
		v := &virtual{output: &set.Outputs[i], root: w.root}
		for _, name := range set.Replaced {
			v.from = append(v.from, was[name])
		}
		w.files = append(w.files, source{path: v.output.Path, info: v, virtual: v})
	}
	note := listed("cut", set.Replaced) + fmt.Sprintf(" into %d shards: %s to %s",
		set.Shards, printable(set.Outputs[0].Path), printable(path.Base(set.Outputs[set.Shards-1].Path)))
	if set.Larger > 0 {
		note += fmt.Sprintf("; larger than asked, each for a single tensor: %d", set.Larger)
	}
	w.cut = append(w.cut, note)
}

// A virtual is a file that is not on the disk, but made of parts of files that
// are. It describes itself as a file on the disk does.
type virtual struct {
	output *shard.Output
	root   *os.Root
	from   []*source
}

func (v *virtual) Name() string       { return path.Base(v.output.Path) }
func (v *virtual) Size() int64        { return v.output.Size }
func (v *virtual) Mode() fs.FileMode  { return mode }
func (v *virtual) ModTime() time.Time { return time.Time{} }
func (v *virtual) IsDir() bool        { return false }
func (v *virtual) Sys() any           { return nil }

func (v *virtual) open(ctx context.Context) (opened, error) {
	r, err := v.output.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &virtualFile{SectionReader: io.NewSectionReader(r, 0, v.output.Size), Closer: r, of: v}, nil
}

// unchanged tells whether the files that it is made of are what they were.
func (v *virtual) unchanged() error {
	for _, s := range v.from {
		now, err := v.root.Stat(s.path)
		if err != nil {
			return err
		}
		if !sameFile(now, s.info) {
			return &fs.PathError{Op: "read", Path: s.path, Err: ErrChanged}
		}
	}
	return nil
}

// A virtualFile is a virtual being read.
type virtualFile struct {
	*io.SectionReader
	io.Closer
	of *virtual
}
