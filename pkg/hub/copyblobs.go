package hub

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/source"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// moveBlobs brings the blobs to the destination that it does not have.
func (c *copying) moveBlobs(ctx context.Context, from, to *copyEnd, blobs []ocispec.Descriptor) error {
	if to.remote == nil {
		return c.fillLayout(ctx, from, to.layout, blobs)
	}
	workers := c.opts.Workers
	if workers <= 0 {
		workers = copyWorkers
	}
	did := make([]transfer.Action, len(blobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, b := range blobs {
		g.Go(func() (err error) {
			did[i], err = c.send(gctx, from, to, b)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, b := range blobs {
		c.did(did[i], b.Size)
	}
	return nil
}

// send brings one blob into a registry: it passes through this machine's memory
// a piece at a time, and is hashed as it does.
func (c *copying) send(ctx context.Context, from, to *copyEnd, b ocispec.Descriptor) (transfer.Action, error) {
	opts := transfer.PushOptions{Observe: c.h.opts.Observe, MountFrom: c.h.origins(to.ref, b.Digest, c.opts.MountFrom)}
	if from.remote != nil && from.ref.Host == to.ref.Host && from.ref.Repository != to.ref.Repository {
		opts.MountFrom = append([]string{from.ref.Repository}, opts.MountFrom...)
	}
	for {
		action, err := transfer.Push(ctx, to.at, transfer.Blob{Desc: b, Name: b.Annotations[ocispec.AnnotationTitle], Open: verified(from.at, b)}, opts)
		if err == nil || !errors.Is(err, content.ErrMismatchedDigest) {
			return action, err
		}
		if d, ok := from.at.(transfer.Distruster); !ok || !d.Distrust(b) {
			return action, err
		}
	}
}

// A sourceError is a failure to read what is copied. It keeps its class, but not
// its type: those who upload must not take it for an answer of theirs.
type sourceError struct{ err error }

// Error implements error.
func (e *sourceError) Error() string { return e.err.Error() }

// Is tells of which class the failure is.
func (e *sourceError) Is(target error) bool { return errors.Is(e.err, target) }

// verified opens a blob of a place. Of one that is read from its start to its
// end the last bytes are held back until the digest of all is known to be right.
func verified(from copySource, desc ocispec.Descriptor) transfer.Opener {
	open := source.Steady(desc.Size, func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		return from.FetchRange(ctx, desc, offset, length)
	})
	v := &verifier{desc: desc}
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset, -1)
		if err != nil {
			return nil, &sourceError{sourceDigest(err, desc.Digest)}
		}
		return v.reader(rc, offset), nil
	}
}

// A verifier hashes a blob over several readers, as long as each goes on where
// the one before it stopped.
type verifier struct {
	desc ocispec.Descriptor

	mu    sync.Mutex
	state hash.Hash // nil when bytes were missed
	at    int64
	last  *verifiedReader
}

func (v *verifier) reader(rc io.ReadCloser, offset int64) *verifiedReader {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case offset == 0:
		v.state, v.at = v.desc.Digest.Algorithm().Hash(), 0
	case offset != v.at:
		v.state = nil // the destination compares the digest of all
	}
	v.last = &verifiedReader{v: v, rc: rc, at: offset}
	return v.last
}

type verifiedReader struct {
	v  *verifier
	rc io.ReadCloser
	at int64
}

// Read implements io.Reader.
func (r *verifiedReader) Read(p []byte) (int, error) {
	n, err := r.rc.Read(p)
	r.at += int64(n)
	if bad := r.v.hashed(r, p[:n]); bad != nil {
		return 0, &sourceError{bad}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{sourceDigest(err, r.v.desc.Digest)}
	}
	return n, err
}

// Close implements io.Closer.
func (r *verifiedReader) Close() error { return r.rc.Close() }

// hashed takes bytes that a reader has read, and compares the digest at the end.
func (v *verifier) hashed(r *verifiedReader, p []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state == nil || v.last != r {
		return nil
	}
	v.state.Write(p)
	v.at += int64(len(p))
	if v.at < v.desc.Size {
		return nil
	}
	if got := digest.NewDigest(v.desc.Digest.Algorithm(), v.state); got != v.desc.Digest {
		return &transfer.DigestError{Name: v.desc.Digest.String(), Desc: v.desc, Got: got, Size: v.at}
	}
	return nil
}

// fillLayout brings blobs into a directory. One that is there is hashed, and
// fetched again if it is damaged.
func (c *copying) fillLayout(ctx context.Context, from *copyEnd, to *layout.Layout, blobs []ocispec.Descriptor) error {
	var jobs []transfer.Job
	for _, b := range blobs {
		there, err := intact(ctx, to, b)
		if err != nil {
			return err
		}
		if there {
			c.did(transfer.Exists, b.Size)
			continue
		}
		c.did(transfer.Done, b.Size)
		jobs = append(jobs, transfer.Job{Desc: b, Name: b.Annotations[ocispec.AnnotationTitle], Open: func() (transfer.Partial, error) {
			return openFree(ctx, func() (*store.Partial, error) { return to.Partial(b) })
		}})
	}
	return transfer.Pull(ctx, from.at, jobs, transfer.PullOptions{Workers: c.opts.Workers, MaxWait: c.opts.MaxWait, Observe: c.h.opts.Observe})
}

// lockedPoll is how often a blob is looked at that another process writes.
const lockedPoll = 50 * time.Millisecond

// openFree opens a partial as soon as no other process writes it.
func openFree(ctx context.Context, open func() (*store.Partial, error)) (*store.Partial, error) {
	for {
		p, err := open()
		if !errors.Is(err, store.ErrLocked) {
			return p, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockedPoll):
		}
	}
}

// intact tells whether a layout has a blob, with the right bytes.
func intact(ctx context.Context, l *layout.Layout, desc ocispec.Descriptor) (bool, error) {
	rc, err := l.Fetch(ctx, desc)
	if errors.Is(err, errdef.ErrNotFound) || errors.Is(err, content.ErrMismatchedDigest) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer rc.Close()
	err = rehash(ctx, rc, desc)
	if errors.Is(err, content.ErrMismatchedDigest) {
		return false, nil
	}
	return err == nil, err
}

// rehash compares what r reads with its digest.
func rehash(ctx context.Context, r io.Reader, desc ocispec.Descriptor) error {
	h := desc.Digest.Algorithm().Hash()
	buf := make([]byte, min(1<<20, desc.Size+1))
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		total += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read blob %s: %w", desc.Digest, err)
		}
	}
	if got := digest.NewDigest(desc.Digest.Algorithm(), h); got != desc.Digest || total != desc.Size {
		return &transfer.DigestError{Name: desc.Digest.String(), Desc: desc, Got: got, Size: total}
	}
	return nil
}
