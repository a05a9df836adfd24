package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

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

// An answer that announces something else is no reason to throw away what came
// before it.
func TestPullKeepsWhatCameBeforeAWrongAnnouncement(t *testing.T) {
	desc, data := content(2, 40<<20)
	within := []transfer.Segment{segment(data, 30<<20, 6<<20)}
	tests := map[string]struct {
		wrong    int // answers
		err      error
		segments []transfer.Segment
	}{
		"once":          {1, nil, nil},
		"with segments": {1, nil, within},
		"for ever":      {1000, orascontent.ErrMismatchedDigest, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, p := newSource(data), newPartial()
				answers := 0
				src.wrap = func(_ context.Context, offset int64, rc io.ReadCloser) (io.ReadCloser, error) {
					answers++
					switch {
					case answers == 1: // breaks
						return io.NopCloser(io.MultiReader(io.LimitReader(rc, 20<<20), errReader{io.ErrUnexpectedEOF})), nil
					case answers <= 1+tt.wrong:
						return nil, orascontent.ErrMismatchedDigest
					}
					return rc, nil
				}
				j := job(desc, p)
				j.Local = local(tt.segments...)
				var l ledger
				err := transfer.Pull(t.Context(), src, []transfer.Job{j}, transfer.PullOptions{Observe: l.observe, Connections: 1})
				if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Fatalf("Pull = %v, want %v", err, tt.err)
				}
				if err == nil && (!bytes.Equal(p.data, data) || l.moved() != desc.Size) {
					t.Errorf("%d bytes told", l.moved())
				}
				for _, r := range src.ranges[1:] {
					if r[0] < 20<<20 {
						t.Errorf("asked for %v again", r)
					}
				}
				if err != nil && p.kept < 16<<20 {
					t.Errorf("%d bytes are kept", p.kept)
				}
			})
		})
	}
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }
