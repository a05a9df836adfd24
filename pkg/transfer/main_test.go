package transfer_test

import (
	"bytes"
	"context"
	"encoding"
	"hash"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// content returns bytes that are the same in every run, and their descriptor.
func content(seed uint64, size int) (ocispec.Descriptor, []byte) {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	return ocispec.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(size)}, data
}

func opener(data []byte) transfer.Opener {
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[offset:])), nil
	}
}

// A partial keeps a blob in memory, and between Pulls as one on a disk does.
type partial struct {
	alg digest.Algorithm

	mu        sync.Mutex
	data      []byte
	kept      int64
	state     []byte // of the hash at kept
	closed    bool
	committed bool
	writeErr  error // from WriteAt
}

func newPartial() *partial { return &partial{alg: digest.SHA256} }

func (p *partial) WriteAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writeErr != nil {
		return 0, p.writeErr
	}
	if end := off + int64(len(b)); end > int64(len(p.data)) {
		p.data = append(p.data, make([]byte, end-int64(len(p.data)))...)
	}
	return copy(p.data[off:], b), nil
}

func (p *partial) ReadAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.NewReader(p.data).ReadAt(b, off)
}

func (p *partial) Resume() (int64, hash.Hash, error) {
	p.closed = false
	h := p.alg.Hash()
	if p.kept == 0 {
		return 0, h, nil
	}
	return p.kept, h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(p.state)
}

func (p *partial) Checkpoint(n int64, state hash.Hash) (err error) {
	p.kept = n
	p.state, err = state.(encoding.BinaryMarshaler).MarshalBinary()
	return err
}

func (p *partial) Reset() error {
	p.data, p.kept, p.state = nil, 0, nil
	return nil
}

func (p *partial) Commit() error { p.committed = true; return nil }
func (p *partial) Close() error  { p.closed = true; return nil }

// job returns a job that fills p.
func job(desc ocispec.Descriptor, p *partial) transfer.Job {
	return transfer.Job{Desc: desc, Name: "weights", Open: func() (transfer.Partial, error) { return p, nil }}
}

// A ledger keeps what an observer is told.
type ledger struct {
	mu     sync.Mutex
	events []transfer.Event
}

func (l *ledger) observe(e transfer.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// sum returns the sum of the bytes told of with an action.
func (l *ledger) sum(a transfer.Action) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, e := range l.events {
		if e.Action == a {
			n += e.Bytes
		}
	}
	return n
}

// moved returns the sum of all bytes told of.
func (l *ledger) moved() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, e := range l.events {
		n += e.Bytes
	}
	return n
}

func (l *ledger) count(a transfer.Action) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.events {
		if e.Action == a {
			n++
		}
	}
	return n
}

// A source gives blobs from memory; wrap, if not nil, stands between.
type source struct {
	blobs map[digest.Digest][]byte
	wrap  func(ctx context.Context, offset int64, rc io.ReadCloser) (io.ReadCloser, error)

	mu     sync.Mutex
	asked  []digest.Digest
	ranges [][2]int64 // from, to
}

func newSource(blobs ...[]byte) *source {
	s := &source{blobs: map[digest.Digest][]byte{}}
	for _, b := range blobs {
		s.blobs[digest.FromBytes(b)] = b
	}
	return s
}

func (s *source) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return s.FetchRange(ctx, desc, 0, -1)
}

func (s *source) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	data := s.blobs[desc.Digest]
	if rest := int64(len(data)) - offset; length < 0 || length > rest || offset+length == desc.Size {
		length = rest // also what a source has too much
	}
	s.mu.Lock()
	s.asked = append(s.asked, desc.Digest)
	s.ranges = append(s.ranges, [2]int64{offset, offset + length})
	s.mu.Unlock()
	rc := io.NopCloser(bytes.NewReader(data[offset : offset+length]))
	if s.wrap == nil {
		return rc, nil
	}
	return s.wrap(ctx, offset, rc)
}
