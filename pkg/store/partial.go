package store

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// copyBuffer is the size of reads and writes: 32 KiB ones cost 40 % more CPU.
const copyBuffer = 1 << 20

// A Partial is a blob on its way into a store, or into a file below an os.Root.
// It is locked for as long as it is open, so that no other process or Partial
// writes to it, and what it holds survives the process. It is what package
// transfer calls a Partial.
//
// WriteAt, WriteDirect and ReadAt may be called at the same time as any other method but
// Reset, Commit and Close.
type Partial struct {
	root  *os.Root
	disk  disk
	desc  ocispec.Descriptor
	paths partialPaths
	data  medium
	log   *os.File // the journal, and the lock; nil if nothing is to be resumed

	mu    sync.Mutex
	boot  string
	last  mark // of the latest checkpoint
	saved bool // the journal holds a checkpoint or a part, of whichever blob

	parts   []part        // of an earlier run
	records int           // in the journal
	slots   map[int64]int // of this run's among them, by offset
	bad     error         // why the bytes cannot be committed
	done    bool
}

// partialPaths are the names a partial uses, below its root.
type partialPaths struct {
	data, log, final string

	dir  string      // removed with the partial; "" for none
	perm fs.FileMode // of the final file; 0 leaves it as created

	passing bool // the final name need not outlive a crash of the machine
}

// WriteAt writes a piece of the blob. Pieces past its size are refused.
func (p *Partial) WriteAt(b []byte, off int64) (int, error) {
	if err := p.within(b, off); err != nil {
		return 0, err
	}
	return p.data.write(p.disk, b, off)
}

// WriteDirect is WriteAt for bytes that are not soon read again: where the disk
// takes them without it, they leave no trace in the page cache.
func (p *Partial) WriteDirect(b []byte, off int64) (int, error) {
	s, ok := p.data.(*single)
	if !ok || p.desc.Size < leastDirect {
		return p.WriteAt(b, off)
	}
	if err := p.within(b, off); err != nil {
		return 0, err
	}
	return s.writeDirect(p, b, off)
}

// Uncache gives up what the page cache holds of n bytes from off, if they are on
// the disk. They are read from there then.
func (p *Partial) Uncache(off, n int64) {
	if s, ok := p.data.(*single); ok && p.desc.Size >= leastDirect {
		uncache(s.File, off, n)
	}
}

func (p *Partial) within(b []byte, off int64) error {
	if off < 0 || off > p.desc.Size-int64(len(b)) {
		return fmt.Errorf("write blob %s: %d bytes at %d are not within its size %d", p.desc.Digest, len(b), off, p.desc.Size)
	}
	return nil
}

// ReadAt reads what was written.
func (p *Partial) ReadAt(b []byte, off int64) (int, error) { return p.data.ReadAt(b, off) }

// Resume returns how many leading bytes of an earlier run can be kept, and the
// hash after them. The last piece before that length is read again and
// compared; after a restart of the machine, when the disk may have lost what
// the journal promises, all of it is. What does not fit is thrown away, but for
// parts that were recorded by themselves ([Partial.KeptParts]).
func (p *Partial) Resume() (int64, hash.Hash, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, state, err := p.resume()
	if err != nil {
		return 0, nil, fmt.Errorf("resume blob %s: %w", p.desc.Digest, err)
	}
	return n, state, nil
}

func (p *Partial) resume() (int64, hash.Hash, error) {
	parts, err := p.readParts()
	if err != nil {
		return 0, nil, err
	}
	to, state, err := p.recall()
	if err != nil {
		if len(parts) == 0 || !p.journalFits() {
			return 0, p.algorithm().Hash(), p.reset()
		}
		to, state = mark{}, p.algorithm().Hash()
		if err := p.record(mark{}, mark{}); err != nil {
			return 0, nil, err
		}
	}
	end, err := p.keepParts(parts, to.Length)
	if err != nil {
		return 0, nil, err
	}
	// Of bytes behind the mark that are in no part nothing is known.
	if err := p.data.Truncate(end); err != nil {
		return 0, nil, err
	}
	p.last, p.saved = to, to.Length > 0 || len(p.parts) > 0
	return to.Length, state, nil
}

// journalFits tells whether the journal is one of this blob.
func (p *Partial) journalFits() bool {
	j, err := p.readJournal()
	return err == nil && j.Digest == p.desc.Digest && j.Size == p.desc.Size
}

// errNothing is why nothing is resumed from a new partial.
var errNothing = errors.New("nothing was written yet")

// recall finds the latest mark that the bytes on disk agree with.
func (p *Partial) recall() (mark, hash.Hash, error) {
	j, err := p.readJournal()
	if err != nil {
		return mark{}, nil, err
	}
	if err := j.fits(p.desc); err != nil {
		return mark{}, nil, err
	}
	if j.To.Length == 0 {
		return mark{}, nil, errNothing
	}
	from := j.From
	if boot := bootID(); boot == "" || boot != j.Boot {
		from = mark{}
	}
	state, err := from.hash(p.algorithm())
	if err != nil {
		return mark{}, nil, err
	}
	n := j.To.Length - from.Length
	got, err := io.CopyBuffer(state, io.NewSectionReader(p.data, from.Length, n), make([]byte, min(n, copyBuffer)))
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
		return fmt.Errorf("checkpoint blob %s: length %d is not within its size %d", p.desc.Digest, n, p.desc.Size)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log == nil || n == p.last.Length {
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

// record writes the journal, as one block in its place: a process that is
// killed leaves the old one or the new. After a crash of the machine, which may
// leave neither, its boot has changed and it is not taken at its word.
func (p *Partial) record(from, to mark) error {
	if p.log == nil {
		return nil
	}
	if p.boot == "" {
		p.boot = bootID()
	}
	raw, err := journal{
		Version: journalVersion, Digest: p.desc.Digest, Size: p.desc.Size, Boot: p.boot, From: from, To: to,
	}.block()
	if err != nil {
		return err
	}
	if _, err := p.disk.WriteAt(p.log, raw, 0); err != nil {
		return err
	}
	p.saved = to.Length > 0
	return nil
}

func (p *Partial) readJournal() (journal, error) {
	if p.log == nil {
		return journal{}, errNothing
	}
	raw, err := io.ReadAll(io.NewSectionReader(p.log, 0, journalBlock))
	if err != nil {
		return journal{}, err
	}
	return parseJournal(raw)
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

// reset forgets the parts first and takes the bytes last, so that a kill in
// between never leaves a part that agrees with bytes that were to go.
func (p *Partial) reset() error {
	if err := p.forget(); err != nil {
		return err
	}
	p.parts, p.records, p.slots = nil, 0, nil
	p.last, p.bad, p.saved = mark{}, nil, false
	return p.data.Truncate(0)
}

// forget has the journal say that there is nothing.
func (p *Partial) forget() error {
	if p.log != nil {
		if err := p.log.Truncate(journalBlock); err != nil {
			return err
		}
	}
	return p.record(mark{}, mark{})
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
	// From here the data is the final file: no later method may touch it.
	p.done = true
	_ = p.data.Close() // synced before: nothing is left that could fail
	p.tidy()
	if err := p.data.settle(p); err != nil {
		return fmt.Errorf("commit blob %s: %w", p.desc.Digest, err)
	}
	return nil
}

func (p *Partial) commit() error {
	if p.bad != nil {
		return p.bad
	}
	n, err := p.data.size()
	if err != nil {
		return err
	}
	if n != p.desc.Size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, n, p.desc.Size)
	}
	return p.data.commit(p)
}

// superseded tells whether a blob of a store is there already.
func (p *Partial) superseded() bool {
	fi, err := p.root.Lstat(p.paths.final)
	return p.paths.perm != 0 && err == nil && fi.Mode().IsRegular() && fi.Size() == p.desc.Size
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
	if p.saved {
		return errors.Join(p.data.Close(), p.log.Close())
	}
	p.data.remove(p)
	err := p.data.Close()
	p.tidy()
	return err
}

// tidy removes and unlocks the journal, and removes the directory. What it
// misses, Prune collects.
func (p *Partial) tidy() {
	if p.log != nil {
		if same, err := isAt(p.log, p.root, p.paths.log); err == nil && same {
			_ = p.root.Remove(p.paths.log)
		}
		_ = p.log.Close()
	}
	if p.paths.dir != "" {
		_ = p.root.Remove(p.paths.dir)
	}
}

func (p *Partial) algorithm() digest.Algorithm { return p.desc.Digest.Algorithm() }
