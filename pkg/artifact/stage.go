package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/store"
)

// A stage is the directory, beside a target, in which the target's next content
// is put together. Its name is the same for every process that unpacks there:
// one that was interrupted leaves what it fetched to the next, and a lock keeps
// two from working at once.
//
//	.modelreg-NAME.partial/lock
//	.modelreg-NAME.partial/blobs/sha256-HEX[.partial, .journal]
//	.modelreg-NAME.partial/blobs/sha256-HEX.KEY.[pieces, journal]
//	.modelreg-NAME.partial/blobs/coded-sha256-HEX[.partial, .journal]
//	.modelreg-NAME.partial/tree/…     what becomes the target
//	.modelreg-NAME.new                that tree on its way, then the old target
type stage struct {
	target *target
	name   string
	next   string // name that the tree has while it is swapped
	lock   *flock.Flock
	root   *os.Root
	tree   *os.Root
}

const (
	stageBlobs = "blobs"
	stageTree  = "tree"
	stageLock  = "lock"
)

// openStage makes or takes over the stage of a target. The error wraps
// [ErrBusy] when another process has it.
func openStage(t *target) (*stage, error) {
	s := &stage{target: t, name: stageName(t), next: controlPrefix + "-" + stageID(t) + ".new"}
	if err := s.acquire(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// stageID is the part of the stage's names that tells it from others.
func stageID(t *target) string {
	id := t.base
	if len(id) > 200 { // the longest name a file system takes is 255 bytes
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:16])
	}
	return id
}

// stageName is the name of the stage of a target, beside it.
func stageName(t *target) string { return controlPrefix + "-" + stageID(t) + ".partial" }

// acquire makes the directory and locks it. A process that is just done with
// the same directory may remove it between these, so the lock counts only on a
// file that still has its name.
func (s *stage) acquire() error {
	parent := filepath.Dir(s.target.dir)
	for range 16 {
		if err := s.target.parent.Mkdir(s.name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("write in %s: %w", parent, err)
		}
		info, err := s.target.parent.Lstat(s.name)
		if err != nil || !info.IsDir() {
			return errors.Join(err, fmt.Errorf("%s: %w: staging directory cannot be made", s.target.dir, ErrTarget))
		}
		// In a directory that others can write to, one of them may have made
		// it, to change files after they were checked.
		if err := store.CheckPrivate(info); err != nil {
			return fmt.Errorf("%s: %w: staging directory: %w", s.target.dir, ErrTarget, err)
		}
		file := filepath.Join(parent, s.name, stageLock)
		lock := flock.New(file)
		locked, err := lock.TryLock()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("lock %s: %w", file, err)
		}
		if !locked {
			return fmt.Errorf("%s: %w", s.target.dir, ErrBusy)
		}
		mine, err := lock.Stat()
		now, nerr := os.Lstat(file)
		if err == nil && nerr == nil && os.SameFile(mine, now) {
			s.lock = lock
			return nil
		}
		_ = lock.Close()
	}
	return fmt.Errorf("%s: %w", s.target.dir, ErrBusy)
}

// prepare finishes what an interrupted process left and starts an empty tree.
func (s *stage) prepare() error {
	t := s.target
	if err := store.RecoverSwap(t.parent, t.base); err != nil {
		return err
	}
	if err := t.parent.RemoveAll(s.next); err != nil {
		return err
	}
	var err error
	if s.root, err = t.parent.OpenRoot(s.name); err != nil {
		return err
	}
	if err := s.root.RemoveAll(stageTree); err != nil {
		return err
	}
	for _, dir := range []string{stageBlobs, stageTree} {
		if err := s.root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	s.tree, err = s.root.OpenRoot(stageTree)
	return err
}

// blobName is where a blob is staged, below the stage's root.
func blobName(d digest.Digest) string {
	return stageBlobs + "/" + d.Algorithm().String() + "-" + d.Encoded()
}

// codedPrefix is what the names of codings begin with. They lie apart from the
// blobs of the artifact, since anybody may say what is a coding.
const codedPrefix = "coded-"

// codedName is where a coding is staged.
func codedName(d digest.Digest) string {
	return stageBlobs + "/" + codedPrefix + d.Algorithm().String() + "-" + d.Encoded()
}

// hasBlobs tells whether there is anything that the next process can use.
func (s *stage) hasBlobs() bool {
	entries, err := fs.ReadDir(s.root.FS(), stageBlobs)
	return err == nil && len(entries) > 0
}

// publish gives the tree the target's name. When it returns nil, the target is
// the new one for good, whatever happens next.
func (s *stage) publish() error {
	t := s.target
	if err := s.root.Chmod(stageTree, 0o755); err != nil {
		return err
	}
	s.tree.Close() // Windows renames no directory that is open
	s.tree = nil
	if err := t.parent.Rename(s.name+"/"+stageTree, s.next); err != nil {
		return err
	}
	return store.SwapDir(t.parent, s.next, t.base)
}

// clear takes away what the stage holds.
func (s *stage) clear() error {
	if s.tree != nil {
		_ = s.tree.Close()
		s.tree = nil
	}
	parent := s.target.parent
	return errors.Join(parent.RemoveAll(s.next), parent.RemoveAll(s.name+"/"+stageBlobs), parent.RemoveAll(s.name+"/"+stageTree))
}

// remove takes away everything but the target. The lock goes last: once it is
// gone the directory is another's.
func (s *stage) remove() error {
	s.closeRoots()
	err := s.clear()
	parent := s.target.parent
	if runtime.GOOS == "windows" {
		_ = s.lock.Close() // an open file cannot be removed there
	}
	err = errors.Join(err, absent(parent.Remove(s.name+"/"+stageLock)))
	_ = parent.Remove(s.name) // fails, as it should, once another has begun in it
	_ = s.lock.Close()
	return err
}

// absent takes being gone already for success.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// close gives up the stage and leaves it to the next process.
func (s *stage) close() {
	s.closeRoots()
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

func (s *stage) closeRoots() {
	for _, r := range []**os.Root{&s.tree, &s.root} {
		if *r != nil {
			_ = (*r).Close()
			*r = nil
		}
	}
}
