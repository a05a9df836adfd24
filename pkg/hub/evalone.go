package hub

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/remote"
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

// A tagReader shows of a repository what is behind tags, and no referrers. A tag is
// looked up once.
type tagReader struct {
	signing.Reader
	tags map[string]taggedManifest
}

type taggedManifest struct {
	desc ocispec.Descriptor
	raw  []byte
	err  error
}

// Manifest implements [signing.Reader].
func (r *tagReader) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	t, ok := r.tags[reference]
	if !ok {
		t.desc, t.raw, t.err = r.Reader.Manifest(ctx, reference)
		r.tags[reference] = t
	}
	return t.desc, t.raw, t.err
}

// Referrers implements [signing.Reader].
func (r *tagReader) Referrers(context.Context, ocispec.Descriptor, string) ([]ocispec.Descriptor, error) {
	return nil, nil
}

// classic reads the statements behind the tag that older cosigns write, as far as
// somebody known has signed them. Of others nothing can be told.
func (w *evalWitness) classic(ctx context.Context, repo *remote.Repository) evalFound {
	var out evalFound
	tags := &tagReader{Reader: repo, tags: map[string]taggedManifest{}}
	about := signing.Target{Repository: w.target.ref.Name(), Descriptor: w.target.desc}
	seen := map[digest.Digest]bool{}
	for _, trust := range w.trusts {
		report, err := signing.Attestations(ctx, tags, about, trust.Trust)
		if err != nil {
			out.err = err
			return out
		}
		for _, at := range report.Attestations {
			if seen[at.Descriptor.Digest] || at.Type != eval.PredicateType && at.Type != disputeType {
				continue
			}
			seen[at.Descriptor.Digest] = true
			of := Evaluation{Class: trust.class, Repository: repo.Name(), Statement: at.Descriptor.Digest.String(), Signer: signerOf(at.Signer)}
			if err := w.said(at.Type, at.Raw, of, &out); err != nil {
				out.problems = append(out.problems, fmt.Sprintf("%s@%s: %v", of.Repository, of.Statement, err))
			}
		}
	}
	return out
}
