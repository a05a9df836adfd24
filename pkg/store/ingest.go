package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

const (
	dataName    = "data"
	journalName = "journal"
)

// Partial opens a partial blob that goes on where a run that has ended left
// off, or a new one. Partials that running processes write to are left alone,
// so two processes may both be on the way to the same blob: the second to
// Commit replaces it with the same bytes. [Store.Claim] avoids that.
func (s *Store) Partial(desc ocispec.Descriptor) (*Partial, error) {
	p, err := s.adopt(desc)
	if err == nil && p == nil {
		p, err = s.newPartial(desc)
	}
	if err != nil {
		return nil, fmt.Errorf("open partial blob %s: %w", desc.Digest, err)
	}
	return p, nil
}

// newPartial makes a partial that no earlier run knew of.
func (s *Store) newPartial(desc ocispec.Descriptor) (*Partial, error) {
	final, err := blobName(desc)
	if err != nil {
		return nil, err
	}
	if err := s.session.begin(s); err != nil {
		return nil, err
	}
	if err := makeDirs(s.disk, s.root, path.Dir(final), 0o700); err != nil {
		return nil, err
	}
	for range lockTries {
		p := s.ingestAt(desc, final, path.Join(ingestDir, desc.Digest.Encoded()+"."+random()))
		ok, err := p.makeDir()
		if err != nil {
			return nil, err
		}
		if ok {
			return p, nil
		}
	}
	return nil, ErrLocked
}

// makeDir makes the directory of a new partial and what is in it. It reports
// false if another process has adopted it before it was locked.
func (p *Partial) makeDir() (bool, error) {
	if err := p.root.Mkdir(p.paths.dir, 0o700); err != nil {
		return false, err
	}
	log, err := p.root.OpenFile(p.paths.log, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, errors.Join(err, p.root.Remove(p.paths.dir))
	}
	ok, err := tryLock(log)
	if err == nil && ok {
		ok, err = isAt(log, p.root, p.paths.log)
	}
	if err == nil && !ok {
		log.Close()
		return false, nil
	}
	p.log = log
	if err == nil {
		err = p.record(mark{}, mark{})
	}
	if errors.Is(err, errNoLocks) {
		err = nil // nobody adopts it then
	}
	if err == nil {
		err = p.openSingle(os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		p.tidy()
	}
	return err == nil, err
}

func (s *Store) ingestAt(desc ocispec.Descriptor, final, dir string) *Partial {
	return &Partial{root: s.root, disk: s.disk, desc: desc, paths: partialPaths{
		data: path.Join(dir, dataName), log: path.Join(dir, journalName), final: final, dir: dir, perm: 0o444,
	}}
}

// adopt takes over what a run that has ended left of the blob: of several the
// longest, and removes the rest. It returns nil if there is none.
func (s *Store) adopt(desc ocispec.Descriptor) (*Partial, error) {
	final, err := blobName(desc)
	if err != nil {
		return nil, err
	}
	entries, err := s.list(ingestDir)
	if err != nil {
		return nil, err
	}
	var best *Partial
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), desc.Digest.Encoded()+".") {
			continue
		}
		p := s.ingestAt(desc, final, path.Join(ingestDir, e.Name()))
		if !p.openOrphan() {
			continue
		}
		if best != nil && best.promised() >= p.promised() {
			best, p = p, best
		}
		if best != nil {
			best.saved = false
			best.Close()
		}
		best = p
	}
	if best == nil {
		return nil, nil
	}
	return best, s.session.begin(s)
}

// openOrphan locks the partial if nobody else has it.
func (p *Partial) openOrphan() bool {
	log, err := p.root.OpenFile(p.paths.log, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	if ok, err := tryLock(log); err == nil && ok {
		if same, err := isAt(log, p.root, p.paths.log); err == nil && same {
			p.log = log
			// It may have ended before it had any data.
			if p.openSingle(os.O_RDWR|os.O_CREATE, 0o600) == nil {
				p.saved = p.promised() > 0
				return true
			}
		}
	}
	log.Close()
	return false
}

// promised returns how many bytes the journal speaks of, true or not.
func (p *Partial) promised() int64 {
	j, err := p.readJournal()
	if err != nil || j.fits(p.desc) != nil {
		return 0
	}
	n := j.To.Length
	parts, err := p.readParts()
	if err != nil {
		return n
	}
	for _, q := range parts {
		n += max(q.end()-max(q.offset, j.To.Length), 0)
	}
	return n
}

// fill writes the whole blob from r and checks it.
func (p *Partial) fill(ctx context.Context, r io.Reader) error {
	vr := content.NewVerifyReader(r, p.desc)
	buf := make([]byte, min(p.desc.Size+1, copyBuffer))
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(vr, buf)
		if n > 0 {
			if _, err := p.WriteAt(buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return vr.Verify()
		}
		if err != nil {
			return err
		}
	}
}

// list reads a directory of the store; one that is missing is empty.
func (s *Store) list(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}
