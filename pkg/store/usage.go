package store

import (
	"context"
	"errors"
	"io/fs"
	"path"
)

// Usage is how much there is in a store.
type Usage struct {
	Blobs, Partials, Damaged              int
	BlobBytes, PartialBytes, DamagedBytes int64
	References                            int // entries of index.json
}

// Usage counts blobs, partials and what was put aside as damaged.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	err := s.eachBlob(ctx, func(_ string, fi fs.FileInfo) error {
		u.Blobs++
		u.BlobBytes += fi.Size()
		return nil
	})
	if err != nil {
		return Usage{}, err
	}
	for _, dir := range []string{ingestDir, badDir} {
		entries, err := s.list(dir)
		if err != nil {
			return Usage{}, err
		}
		for _, e := range entries {
			n := s.sizeOf(path.Join(dir, e.Name()))
			if dir == ingestDir {
				u.Partials++
				u.PartialBytes += n
			} else {
				u.Damaged++
				u.DamagedBytes += n
			}
		}
	}
	for _, err := range s.References(ctx) {
		if err != nil {
			return Usage{}, err
		}
		u.References++
	}
	return u, nil
}

// sizeOf returns the bytes of a file or of the files of a directory. What goes
// away in the meantime counts nothing.
func (s *Store) sizeOf(name string) int64 {
	var n int64
	_ = fs.WalkDir(s.root.FS(), name, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if fi, err := e.Info(); err == nil {
			n += fi.Size()
		}
		return nil
	})
	return n
}

// eachBlob calls fn with the name of each blob below the store and what Lstat
// says of it. Files that cannot be blobs are passed over.
func (s *Store) eachBlob(ctx context.Context, fn func(name string, fi fs.FileInfo) error) error {
	algorithms, err := s.list(blobsDir)
	if err != nil {
		return err
	}
	for _, alg := range algorithms {
		entries, err := s.list(path.Join(blobsDir, alg.Name()))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			name := path.Join(blobsDir, alg.Name(), e.Name())
			if _, ok := nameDigest(name); !ok {
				continue
			}
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := fn(name, fi); err != nil {
				return err
			}
		}
	}
	return nil
}
