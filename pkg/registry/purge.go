package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	defaultUploadExpiry = 24 * time.Hour
	purgeInterval       = time.Hour
)

// A purger removes uploads that nobody goes on with. Age is counted from the
// last byte received and not from the start, so that a slow upload of a huge
// file is never taken away under its client.
type purger struct {
	root string
	age  time.Duration
	log  *logrus.Entry
}

func (p purger) run(ctx context.Context) {
	if p.age <= 0 {
		p.age = defaultUploadExpiry
	}
	tick := time.NewTicker(purgeInterval)
	defer tick.Stop()
	for {
		n, err := p.purge(ctx, time.Now().Add(-p.age))
		p.log.WithFields(logrus.Fields{"removed": n, "error": err}).Info("uploads purged")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// purge removes the uploads last touched before limit and counts them. One
// that cannot be removed does not keep it from the others.
func (p purger) purge(ctx context.Context, limit time.Time) (int, error) {
	var removed int
	var problems []error
	root := filepath.Join(p.root, filepath.FromSlash(repoRoot))
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil || !d.IsDir():
			return nil // gone meanwhile, or never there
		case d.Name() == uploadsDir:
			n, err := p.purgeIn(name, limit)
			removed += n
			problems = append(problems, err)
			return fs.SkipDir
		case d.Name()[0] == '_': // _layers, _manifests
			return fs.SkipDir
		}
		return nil
	})
	return removed, errors.Join(append(problems, err)...)
}

func (p purger) purgeIn(dir string, limit time.Time) (int, error) {
	uploads, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var removed int
	var problems []error
	for _, upload := range uploads {
		name := filepath.Join(dir, upload.Name())
		if !untouchedSince(name, limit) {
			continue
		}
		if err := os.RemoveAll(name); err != nil {
			problems = append(problems, err)
			continue
		}
		removed++
	}
	return removed, errors.Join(problems...)
}

// untouchedSince reports whether the upload in dir, and its data, are older
// than limit. In doubt they are not.
func untouchedSince(dir string, limit time.Time) bool {
	for _, name := range []string{dir, filepath.Join(dir, "data")} {
		fi, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) && name != dir {
			continue // no byte came yet
		}
		if err != nil || !fi.ModTime().Before(limit) {
			return false
		}
	}
	return true
}
