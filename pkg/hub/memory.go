package hub

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/signing"
)

// A policy with several authorities reads the same signatures for each of them.
const (
	maxRemembered     = 1 << 20  // bytes of one blob that is kept
	maxRememberedSum  = 16 << 20 // bytes of all of them
	maxRememberedList = 16       // lists of referrers
)

// A memory reads a repository once for several readings of the same
// signatures. What it gives is as the repository gave it: callers check the
// digests every time. It lives as long as one decision.
type memory struct {
	signing.Reader

	mu        sync.Mutex
	left      int64
	blobs     map[digest.Digest][]byte
	referrers map[string][]ocispec.Descriptor
}

func newMemory(r signing.Reader) *memory {
	return &memory{Reader: r, left: maxRememberedSum, blobs: map[digest.Digest][]byte{}, referrers: map[string][]ocispec.Descriptor{}}
}

// Fetch implements [signing.Reader].
func (m *memory) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	m.mu.Lock()
	raw, ok := m.blobs[desc.Digest]
	m.mu.Unlock()
	if ok {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	rc, err := m.Reader.Fetch(ctx, desc)
	if err != nil || desc.Size < 0 || desc.Size > maxRemembered || !m.take(desc.Size) {
		return rc, err
	}
	defer rc.Close() //nolint:errcheck // only read
	// One byte more shows a caller that the blob is too long.
	raw, err = io.ReadAll(io.LimitReader(rc, desc.Size+1))
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.blobs[desc.Digest] = raw
	m.mu.Unlock()
	return io.NopCloser(bytes.NewReader(raw)), nil
}

// take tells whether there is room for so many bytes, which is then less.
func (m *memory) take(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.left {
		return false
	}
	m.left -= n
	return true
}

// Referrers implements [signing.Reader].
func (m *memory) Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	key := desc.Digest.String() + " " + artifactType
	m.mu.Lock()
	list, ok := m.referrers[key]
	m.mu.Unlock()
	if ok {
		return list, nil
	}
	list, err := m.Reader.Referrers(ctx, desc, artifactType)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.referrers) < maxRememberedList {
		m.referrers[key] = list
	}
	return list, nil
}
