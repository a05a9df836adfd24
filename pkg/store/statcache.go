package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
)

const (
	statVersion    = 1
	maxStatEntries = 50_000
	maxStatBytes   = 32 << 20

	// racyTime is how long a file must have been left alone before its times
	// prove anything: a second change within the resolution of the clock, 2 s
	// on FAT, would leave no trace (git's "racy" problem).
	racyTime = 2 * time.Second

	// StatTick is the same for files whose times have more digits than
	// milliseconds: systems that write such times count in 10 ms at most.
	StatTick = 15 * time.Millisecond
)

// A StatCache knows the digests of files that have been hashed before, so that
// an unchanged model need not be read again. It is a hint and errs towards
// hashing: a file is known only by device, inode, size, and modification and
// change time to the nanosecond, and only if both times lay far enough in the
// past when its digest was recorded that a later change has another time. On systems that do not tell these it
// knows nothing. The modification time can be set by anyone, the change time
// by nobody.
//
// Methods may be called at the same time.
type StatCache struct {
	store *Store
	name  string
	now   func() time.Time

	mu      sync.Mutex
	entries map[fileID]statEntry
	changed bool
}

// A fileID is what the system tells of a file.
type fileID struct {
	Device uint64 `json:"dev"`
	Inode  uint64 `json:"ino"`
}

type statEntry struct {
	fileID   `json:",inline"`
	Size     int64         `json:"size"`
	Mtime    int64         `json:"mtime"` // ns
	Ctime    int64         `json:"ctime"` // ns
	Recorded int64         `json:"recorded"`
	Ticked   bool          `json:"ticked,omitzero"` // recorded by the clock of the files
	Digest   digest.Digest `json:"digest"`
}

type statFile struct {
	Version int         `json:"version"`
	Entries []statEntry `json:"entries"`
}

// StatCache opens the cache for the files below dir. What is unreadable in it
// is forgotten. The error is not nil if others than the user could have
// written to the cache, which then must not be used.
func (s *Store) StatCache(dir string) (*StatCache, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open digest cache: %w", err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	c := &StatCache{
		store: s, name: path.Join(statDir, hex.EncodeToString(sum[:])),
		now: time.Now, entries: make(map[fileID]statEntry),
	}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("open digest cache: %w", err)
	}
	return c, nil
}

func (c *StatCache) load() error {
	if err := makeDirs(c.store.disk, c.store.root, statDir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{".", statDir, c.name} {
		fi, err := c.store.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := CheckPrivate(fi); err != nil {
			return err
		}
	}
	raw, err := readFile(c.store.root, c.name, maxStatBytes)
	if err != nil {
		return nil // a cache that cannot be read is an empty one
	}
	for _, e := range parseStat(raw) {
		c.entries[e.fileID] = e
	}
	return nil
}

// parseStat reads a cache file, or nothing of one that is not whole.
func parseStat(raw []byte) []statEntry {
	var file statFile
	if err := json.Unmarshal(raw, &file, json.RejectUnknownMembers(true)); err != nil {
		return nil
	}
	if file.Version != statVersion || len(file.Entries) > maxStatEntries {
		return nil
	}
	return slices.DeleteFunc(file.Entries, func(e statEntry) bool {
		return e.Size < 0 || e.Digest.Validate() != nil
	})
}

// Lookup returns the digest of the file that fi is of, if it is known.
func (c *StatCache) Lookup(fi fs.FileInfo) (digest.Digest, bool) {
	now, ok := identify(fi)
	if !ok {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[now.fileID]
	if !ok || e.Size != now.Size || e.Mtime != now.Mtime || e.Ctime != now.Ctime || e.racy() {
		return "", false
	}
	return e.Digest, true
}

// Record notes the digest of a file. The fi must come from before the file was
// read: then a change while it was read makes the entry useless, not wrong.
func (c *StatCache) Record(fi fs.FileInfo, dgst digest.Digest) {
	if e, ok := identify(fi); ok {
		e.Recorded, e.Digest = c.now().UnixNano(), dgst
		c.record(e)
	}
}

func (c *StatCache) record(e statEntry) bool {
	if e.Digest.Validate() != nil || e.racy() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[e.fileID] = e
	c.changed = true
	return true
}

// RecordAt is Record for a file that is known not to have been written to since
// fi was taken, such as one that this process has just made. The clock is the
// modification time of another file that was made on the same file system after
// that: no two clocks are compared, so that a [StatTick] between the times of
// the file and the clock is enough. Without one it returns false, and a later
// clock may do.
func (c *StatCache) RecordAt(fi fs.FileInfo, dgst digest.Digest, clock time.Time) bool {
	e, ok := identify(fi)
	if !ok {
		return false
	}
	e.Recorded, e.Digest = clock.UnixNano(), dgst
	e.Ticked = e.Ctime%int64(time.Millisecond) != 0 && e.Recorded%int64(time.Millisecond) != 0
	return c.record(e)
}

// racy tells whether the file could have changed once more, unnoticed, when it
// was recorded. A time in the future proves nothing either.
func (e statEntry) racy() bool {
	apart := racyTime
	if e.Ticked {
		apart = StatTick
	}
	return max(e.Mtime, e.Ctime) > e.Recorded-int64(apart)
}

// Save writes the cache for the next process, if there is something new. Of too
// many entries the oldest are dropped.
func (c *StatCache) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed {
		return nil
	}
	file := statFile{Version: statVersion, Entries: make([]statEntry, 0, len(c.entries))}
	for _, e := range c.entries {
		file.Entries = append(file.Entries, e)
	}
	slices.SortFunc(file.Entries, func(a, b statEntry) int {
		return cmp.Or(cmp.Compare(b.Recorded, a.Recorded), cmp.Compare(a.Inode, b.Inode), cmp.Compare(a.Device, b.Device))
	})
	file.Entries = file.Entries[:min(len(file.Entries), maxStatEntries)]
	raw, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("save digest cache: %w", err)
	}
	if err := c.store.replaceFile(c.name, raw, 0o600); err != nil {
		return fmt.Errorf("save digest cache: %w", err)
	}
	c.changed = false
	return nil
}

// errNotPrivate is why a cache is refused.
var errNotPrivate = errors.New("others than its user can write to it")

func notPrivate(fi os.FileInfo) error { return fmt.Errorf("%s: %w", fi.Name(), errNotPrivate) }

func notOwn(fi os.FileInfo) error {
	return fmt.Errorf("%s is a link, or no file, or another user's: remove it: %w", fi.Name(), os.ErrPermission)
}
