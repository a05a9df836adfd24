package artifact

import (
	"context"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/store"
)

// minSettled is the size in bytes of the smallest target whose files are noted
// as known: hashing a smaller one takes no longer than waiting for the clock.
const minSettled = 32 << 20

// clockTries is how often the clock is looked at until what is changed from then
// on has other times than the files: two or three times, but for files whose
// times are in the future.
const clockTries = 6

// stat returns what the files of the tree look like when all is written.
func (u *unpacker) stat() []fs.FileInfo {
	if u.opts.Store == nil || u.out.Size < minSettled {
		return nil
	}
	infos := make([]fs.FileInfo, len(u.record.Files))
	for i, f := range u.record.Files {
		infos[i], _ = u.stage.tree.Lstat(f.Path) // nil: not noted
	}
	return infos
}

// settled notes the digests of the files that were just put into the target, so
// that the next pull need not hash them. Other names of them must have gone,
// for that changes their times; so these are looked at again, and a file counts
// only if it is the one that infos has, not written to since.
func (u *unpacker) settled(ctx context.Context, infos []fs.FileInfo) {
	if len(infos) == 0 {
		return
	}
	cache, err := u.opts.Store.StatCache(u.target.dir)
	if err != nil {
		return
	}
	now := make([]fs.FileInfo, len(infos))
	for i, f := range u.record.Files {
		info, err := u.target.parent.Lstat(u.target.base + "/" + f.Path)
		if err == nil && infos[i] != nil && info.Mode().IsRegular() && sameFile(info, infos[i]) {
			now[i] = info
		}
	}
	for range clockTries {
		clock, ok := u.stage.clock(ctx)
		if !ok {
			return
		}
		late := false
		for i, f := range u.record.Files {
			if now[i] == nil || f.Digest.Algorithm() != digest.Canonical {
				continue
			}
			if cache.RecordAt(now[i], f.Digest, clock) {
				now[i] = nil
			} else {
				late = true
			}
		}
		if !late {
			break
		}
	}
	_ = cache.Save() // it only saves work
}

// clock waits a little, and returns the time by the clock of the file system.
func (s *stage) clock(ctx context.Context) (time.Time, bool) {
	wait := time.NewTimer(store.StatTick / 2)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return time.Time{}, false
	}
	const name = "clock"
	if s.root.WriteFile(name, nil, mode) != nil {
		return time.Time{}, false
	}
	info, err := s.root.Lstat(name)
	if err != nil || s.root.Remove(name) != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}
