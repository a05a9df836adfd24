package store

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// copyBuffer is the size of reads and writes: 32 KiB ones cost 40 % more CPU.
const copyBuffer = 1 << 20

// writebackStep is how many new bytes start a writeback.
const writebackStep = 64 << 20

// A Partial is a blob on its way into a store, or into a file below an os.Root.
// It is locked for as long as it is open, so that no other process or Partial
// writes to it, and what it holds survives the process. It is what package
// transfer calls a Partial.
//
// WriteAt and ReadAt may be called at the same time as any other method but
// Reset, Commit and Close.
type Partial struct {
	root  *os.Root
	disk  disk
	desc  ocispec.Descriptor
	paths partialPaths
	file  *os.File

	unwritten atomic.Int64 // bytes since the last writeback

	mu    sync.Mutex
	boot  string
	last  mark // of the latest checkpoint
	saved bool // there is a journal
	bad   error
	done  bool
}

// partialPaths are the names a partial uses, below its root.
type partialPaths struct {
	data, journal, final string

	dir  string      // removed with the partial; "" for none
	perm fs.FileMode // of the final file; 0 leaves it as created
}

// OpenPartial opens the partial blob that is to become the file name below
// root, and makes it if there is none. Its bytes lie in name.partial, its
// progress in name.journal. Missing directories are made. The root must stay
// open until the partial is closed.
//
// While another process, or another Partial, has it open the error wraps
// [ErrLocked]. Where the file system has no locks the blob is written under a
// random name instead and cannot be resumed.
func OpenPartial(root *os.Root, name string, desc ocispec.Descriptor) (*Partial, error) {
	if _, err := blobName(desc); err != nil {
		return nil, err
	}
	if err := checkPath(name); err != nil {
		return nil, err
	}
	if err := makeDirs(osDisk{}, root, path.Dir(name), 0o777); err != nil {
		return nil, fmt.Errorf("open partial %s: %w", name, err)
	}
	p := &Partial{root: root, disk: osDisk{}, desc: desc, paths: partialPaths{
		data: name + ".partial", journal: name + ".journal", final: name,
	}}
	f, err := openLocked(root, p.paths.data)
	if errors.Is(err, errNoLocks) {
		p.paths.data = name + "." + random() + ".partial"
		p.paths.journal = ""
		f, err = root.OpenFile(p.paths.data, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("open partial %s: %w", name, err)
	}
	p.file = f
	p.saved = p.hasJournal()
	return p, nil
}

// hasJournal tells whether an earlier run left something worth keeping.
func (p *Partial) hasJournal() bool {
	if p.paths.journal == "" {
		return false
	}
	_, err := p.root.Lstat(p.paths.journal)
	return err == nil
}

// openLocked opens a file that may be there, and locks it. Between the opening
// and the lock another process may have finished with the file, and given it
// its final name: then it is not ours to write.
func openLocked(root *os.Root, name string) (*os.File, error) {
	for range 16 {
		f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		ok, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, err
		}
		if !ok {
			f.Close()
			return nil, ErrLocked
		}
		same, err := isAt(f, root, name)
		if err == nil && same {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, ErrLocked
}

// isAt tells whether f is the regular file that has this name now.
func isAt(f *os.File, root *os.Root, name string) (bool, error) {
	open, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !now.Mode().IsRegular() {
		return false, fmt.Errorf("%s is not a regular file", name)
	}
	return os.SameFile(open, now), nil
}

// WriteAt writes a piece of the blob. Pieces past its size are refused.
func (p *Partial) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > p.desc.Size-int64(len(b)) {
		return 0, fmt.Errorf("write blob %s: bytes %d to %d are outside its size %d", p.desc.Digest, off, off+int64(len(b)), p.desc.Size)
	}
	n, err := p.disk.WriteAt(p.file, b, off)
	if p.unwritten.Add(int64(n)) >= writebackStep && p.unwritten.Swap(0) >= writebackStep {
		startWriteback(p.file)
	}
	return n, err
}

// ReadAt reads what was written.
func (p *Partial) ReadAt(b []byte, off int64) (int, error) { return p.file.ReadAt(b, off) }

// Resume returns how many leading bytes of an earlier run can be kept, and the
// hash after them. The last piece before that length is read again and
// compared; after a restart of the machine, when the disk may have lost what
// the journal promises, all of it is. Whatever does not fit is thrown away.
func (p *Partial) Resume() (int64, hash.Hash, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to, state, err := p.recall()
	if err != nil {
		if err := p.reset(); err != nil {
			return 0, nil, err
		}
		return 0, p.desc.Digest.Algorithm().Hash(), nil
	}
	// Bytes after the mark came in no order, and nothing is known of them.
	if err := p.file.Truncate(to.Length); err != nil {
		return 0, nil, err
	}
	p.last, p.saved = to, true
	return to.Length, state, nil
}

// recall finds the latest mark that the bytes on disk agree with.
func (p *Partial) recall() (mark, hash.Hash, error) {
	if p.paths.journal == "" {
		return mark{}, nil, fs.ErrNotExist
	}
	raw, err := readFile(p.root, p.paths.journal, maxJournal)
	if err != nil {
		return mark{}, nil, err
	}
	j, err := parseJournal(raw, p.desc)
	if err != nil {
		return mark{}, nil, err
	}
	from := j.From
	if boot := bootID(); boot == "" || boot != j.Boot {
		from = mark{}
	}
	state, err := from.hash(p.desc.Digest.Algorithm())
	if err != nil {
		return mark{}, nil, err
	}
	n := j.To.Length - from.Length
	got, err := io.CopyBuffer(state, io.NewSectionReader(p.file, from.Length, n), make([]byte, min(n, copyBuffer)))
	if err != nil {
		return mark{}, nil, err
	}
	if got != n || !j.To.is(state) {
		return mark{}, nil, fmt.Errorf("%w: partial blob %s", ErrCorrupt, p.desc.Digest)
	}
	return j.To, state, nil
}

// Checkpoint records that the first n bytes are written and that state is the
// hash after them. A later Resume reads again what lies between the last two
// checkpoints, so they should be a few MiB apart.
func (p *Partial) Checkpoint(n int64, state hash.Hash) error {
	if n < 0 || n > p.desc.Size {
		return fmt.Errorf("checkpoint blob %s: length %d is outside its size %d", p.desc.Digest, n, p.desc.Size)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paths.journal == "" || n == p.last.Length {
		return nil
	}
	to, err := newMark(n, state)
	if err != nil {
		return fmt.Errorf("checkpoint blob %s: %w", p.desc.Digest, err)
	}
	from := p.last
	if from.Length > n {
		from = mark{}
	}
	if err := p.record(from, to); err != nil {
		return fmt.Errorf("checkpoint blob %s: %w", p.desc.Digest, err)
	}
	p.last = to
	return nil
}

// record replaces the journal. It is not synced: after a crash of the machine
// the boot has changed and its word does not count.
func (p *Partial) record(from, to mark) error {
	if to.Length == 0 {
		return p.forget()
	}
	if p.boot == "" {
		p.boot = bootID()
	}
	raw, err := json.Marshal(journal{
		Version: journalVersion, Digest: p.desc.Digest, Size: p.desc.Size, Boot: p.boot, From: from, To: to,
	})
	if err != nil {
		return err
	}
	temp := p.paths.journal + ".new"
	if err := writeFile(p.disk, p.root, temp, raw, 0o600, false); err != nil {
		return err
	}
	if err := p.root.Rename(temp, p.paths.journal); err != nil {
		return errors.Join(err, p.root.Remove(temp))
	}
	p.saved = true
	return nil
}

// forget removes the journal.
func (p *Partial) forget() error {
	if p.paths.journal == "" {
		return nil
	}
	p.saved = false
	for _, name := range []string{p.paths.journal, p.paths.journal + ".new"} {
		if err := p.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Reset throws away all bytes and checkpoints.
func (p *Partial) Reset() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return fmt.Errorf("reset blob %s: %w", p.desc.Digest, fs.ErrClosed)
	}
	return p.reset()
}

func (p *Partial) reset() error {
	p.last, p.bad = mark{}, nil
	return errors.Join(p.forget(), p.file.Truncate(0))
}

// Commit makes the bytes durable and gives them their final name, in place of
// what had it. The caller has checked the digest; Commit checks only the size.
// After an error the blob may have its name, but its durability was not
// promised: the caller must not report it done.
func (p *Partial) Commit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return fmt.Errorf("commit blob %s: %w", p.desc.Digest, fs.ErrClosed)
	}
	if err := p.commit(); err != nil {
		return fmt.Errorf("commit blob %s: %w", p.desc.Digest, err)
	}
	// From here the file is the final one: no later method may touch it.
	p.done = true
	p.remove()
	_ = p.file.Close() // synced before: nothing is left that could fail
	if err := syncDir(p.disk, p.root, path.Dir(p.paths.final)); err != nil {
		return fmt.Errorf("commit blob %s: %w", p.desc.Digest, err)
	}
	return nil
}

func (p *Partial) commit() error {
	if p.bad != nil {
		return p.bad
	}
	fi, err := p.file.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != p.desc.Size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, fi.Size(), p.desc.Size)
	}
	if p.paths.perm != 0 {
		if err := p.file.Chmod(p.paths.perm); err != nil {
			return err
		}
	}
	if err := p.disk.Sync(p.file); err != nil {
		// The kernel reports a lost write once and then calls the pages clean:
		// a second fsync would succeed over bytes that are gone.
		p.bad = err
		return errors.Join(err, p.forget())
	}
	// Someone's file may have come to lie under our temporary name.
	if same, err := isAt(p.file, p.root, p.paths.data); err != nil {
		return err
	} else if !same {
		return fmt.Errorf("%w: %s was replaced", ErrCorrupt, p.paths.data)
	}
	err = p.disk.Rename(p.root, p.paths.data, p.paths.final)
	if errors.Is(err, fs.ErrPermission) && p.superseded() {
		// Windows does not replace a read-only file. Another process was faster.
		return p.root.Remove(p.paths.data)
	}
	return err
}

// superseded tells whether a blob of a store is there already.
func (p *Partial) superseded() bool {
	fi, err := p.root.Lstat(p.paths.final)
	return p.paths.perm != 0 && err == nil && fi.Mode().IsRegular() && fi.Size() == p.desc.Size
}

// remove takes away everything but the final file. What it misses is
// collected later.
func (p *Partial) remove() {
	_ = p.forget()
	if p.paths.dir != "" {
		_ = p.root.Remove(p.paths.dir)
	}
}

// Close gives up the partial and keeps it for a later Resume, if there is a
// checkpoint to resume from. After Commit it does nothing.
func (p *Partial) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil
	}
	p.done = true
	if !p.saved {
		p.discard()
	}
	return p.file.Close()
}

// discard removes the partial while it is locked.
func (p *Partial) discard() {
	_ = p.root.Remove(p.paths.data)
	p.remove()
}
