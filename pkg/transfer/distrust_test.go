package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orascontent "oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// places is a source that reads from the first of its sources until that is
// distrusted.
type places []*source

func (p *places) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return (*p)[0].Fetch(ctx, desc)
}

func (p *places) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	return (*p)[0].FetchRange(ctx, desc, offset, length)
}

func (p *places) Distrust(ocispec.Descriptor) bool {
	if len(*p) == 1 {
		return false
	}
	*p = (*p)[1:]
	return true
}

func TestPullFromSeveralPlaces(t *testing.T) {
	desc, data := content(1, 100_000)
	wrong := func() *source {
		return &source{blobs: map[digest.Digest][]byte{desc.Digest: append([]byte{^data[0]}, data[1:]...)}}
	}
	right := newSource(data)
	p := newPartial()
	var l ledger
	src := &places{wrong(), wrong(), wrong(), right}
	if err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{Observe: l.observe}); err != nil {
		t.Fatalf("Pull: %v", err)
	}
	if !p.committed || !bytes.Equal(p.data, data) || l.count(transfer.Retry) != 3 {
		t.Errorf("committed %v, %d retries, want 3", p.committed, l.count(transfer.Retry))
	}
	err := transfer.Pull(t.Context(), &places{wrong(), wrong()}, []transfer.Job{job(desc, newPartial())}, transfer.PullOptions{})
	if !errors.Is(err, orascontent.ErrMismatchedDigest) {
		t.Errorf("Pull from places that are all wrong = %v", err)
	}
}
