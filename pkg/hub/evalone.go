package hub

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/signing"
)

// A oneReader shows of a repository one referrer alone, so that what is wrong with
// others, or how many there are, does not matter to it. What is read once is not
// fetched again.
type oneReader struct {
	signing.Reader
	listed []ocispec.Descriptor

	mu    sync.Mutex
	bytes map[string][]byte
}

func newOneReader(repo signing.Reader, desc ocispec.Descriptor) *oneReader {
	return &oneReader{Reader: repo, listed: []ocispec.Descriptor{desc}, bytes: map[string][]byte{}}
}

// Manifest implements [signing.Reader]. What is behind tags is not shown.
func (r *oneReader) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	if !strings.Contains(reference, ":") {
		return ocispec.Descriptor{}, nil, errdef.ErrNotFound
	}
	return r.Reader.Manifest(ctx, reference)
}

// Referrers implements [signing.Reader].
func (r *oneReader) Referrers(context.Context, ocispec.Descriptor, string) ([]ocispec.Descriptor, error) {
	return r.listed, nil
}

// Fetch implements [signing.Reader]. Callers have looked at the size.
func (r *oneReader) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Size > signing.MaxAttestationBytes {
		return r.Reader.Fetch(ctx, desc)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := desc.Digest.String()
	raw, ok := r.bytes[key]
	if !ok {
		var err error
		if raw, err = content.FetchAll(ctx, r.Reader, desc); err != nil {
			return nil, err
		}
		r.bytes[key] = raw
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}
