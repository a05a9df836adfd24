package shard

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// cut makes the plan of one set.
func (s *set) cut(ctx context.Context, limit int64) (*Set, error) {
	if len(s.missing) > 0 {
		return nil, fmt.Errorf("%s: %w: missing: %s", s.files[0].Path, ErrConflict, strings.Join(s.missing, ", "))
	}
	l, tensors, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkTensors(tensors); err != nil {
		return nil, fmt.Errorf("%s: %w", s.files[0].Path, err)
	}
	c, err := cut(ctx, l, tensors, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.files[0].Path, err)
	}
	done := &Set{Tensors: len(tensors), Shards: len(c.ends), Larger: c.larger}
	start := 0
	for i, end := range c.ends {
		parts, err := l.write(i, len(c.ends), tensors[start:end])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.files[0].Path, err)
		}
		done.Outputs = append(done.Outputs, newOutput(s.dir+s.name(i, len(c.ends)), parts))
		start = end
	}
	if !s.gguf {
		index, err := s.writeIndex(tensors, c.ends)
		if err != nil {
			return nil, err
		}
		done.Outputs = append(done.Outputs, *index)
	}
	for _, f := range s.files {
		done.Replaced = append(done.Replaced, f.Path)
	}
	if s.index != nil {
		done.Replaced = append(done.Replaced, s.index.Path)
	}
	slices.Sort(done.Replaced)
	return done, nil
}

// name is that of shard i of n, as all loaders want it.
func (s *set) name(i, n int) string {
	ext := ".safetensors"
	if s.gguf {
		ext = ".gguf"
	}
	return fmt.Sprintf("%s-%05d-of-%05d%s", s.stem, i+1, n, ext)
}

// read reads the headers of all files.
func (s *set) read(ctx context.Context) (layout, []tensor, error) {
	if s.gguf {
		return readGGUF(ctx, s.files)
	}
	return readSafetensors(ctx, s.files)
}

// open runs read on the open file.
func (f *File) open(ctx context.Context, read func(ReaderAtCloser) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := f.Open(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Path, err)
	}
	defer r.Close() //nolint:errcheck // only read
	if err := read(r); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// checkTensors refuses two tensors of one name in different files.
func checkTensors(tensors []tensor) error {
	seen := make(map[string]bool, len(tensors))
	for i := range tensors {
		if seen[tensors[i].name] {
			return fmt.Errorf("%w: two files have the tensor %.80q", ErrConflict, tensors[i].name)
		}
		seen[tensors[i].name] = true
	}
	return nil
}
