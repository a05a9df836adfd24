package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orascontent "oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/transfer"
)

var (
	_ transfer.Target       = (*remote.Repository)(nil)
	_ transfer.Mounter      = (*remote.Repository)(nil)
	_ transfer.Resumer      = (*remote.Repository)(nil)
	_ transfer.RangeFetcher = (*remote.Repository)(nil)
	_ transfer.Locator      = (*remote.Repository)(nil)
)

func newRepo(t testing.TB, s *testreg.Server) *remote.Repository {
	t.Helper()
	c, err := remote.New(remote.Options{AuthFile: filepath.Join(t.TempDir(), "config.json")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	r, err := c.Repository(s.Host + "/org/model")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPullFaults pulls through each fault that a test registry knows for blobs:
// the bytes are right, or the error has its class and nothing wrong is kept.
func TestPullFaults(t *testing.T) {
	tests := map[string]error{
		"cut@0": nil, "cut@1": nil, "cut@mid": nil, "cut@end-1": nil,
		"fin": nil, "reset": nil, "delay": nil, "duplicate-resp": nil,
		"429x3": nil, "503x3": nil, "retry-after-neg": nil, "retry-after-date": nil, "retry-after-junk": nil,
		"corrupt-once": nil, "chunked": nil, "redirect-sink": nil, "token-3": nil,
		"ignore_range": nil, "416": nil, "range-400": nil, "range_wrong-start": nil,
		"corrupt@0":         orascontent.ErrMismatchedDigest,
		"corrupt@chunk":     orascontent.ErrMismatchedDigest,
		"corrupt@last":      orascontent.ErrMismatchedDigest,
		"swap":              orascontent.ErrMismatchedDigest,
		"truncate":          orascontent.ErrMismatchedDigest,
		"long":              orascontent.ErrMismatchedDigest,
		"gzip-lie":          remote.ErrProtocol,
		"redirect-loop":     remote.ErrProtocol,
		"redirect-userinfo": remote.ErrProtocol,
		"500-forever":       remote.ErrUnreachable,
		"401-forever":       remote.ErrUnauthorized,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{})
			r := newRepo(t, s)
			desc, data := content(1, 3<<20)
			if err := r.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(name, "range") || name == "416" {
				// They show only where a fetch goes on.
				s.Add(testreg.Fault("cut@mid"))
			}
			s.Add(testreg.Fault(name))
			p := newPartial()
			var seen ledger
			err := transfer.Pull(t.Context(), r, []transfer.Job{job(desc, p)}, transfer.PullOptions{Observe: seen.observe})
			if !errors.Is(err, want) || (want == nil) != (err == nil) {
				t.Errorf("Pull = %v, want %v", err, want)
			}
			if p.committed != (want == nil) || p.committed && !bytes.Equal(p.data, data) {
				t.Errorf("committed %v with %d bytes", p.committed, len(p.data))
			}
			if err == nil && seen.moved() != desc.Size {
				t.Errorf("%d bytes told, want %d", seen.moved(), desc.Size)
			}
			if leaked := s.Sink.Credentials(); leaked != nil {
				t.Errorf("credentials given away: %v", leaked)
			}
			if want == nil {
				return
			}
			// What was wrong stays wrong, and what was left does no harm.
			s.Reset()
			s.SetAuth(testreg.Auth{})
			if err := transfer.Pull(t.Context(), r, []transfer.Job{job(desc, p)}, transfer.PullOptions{}); err != nil || !bytes.Equal(p.data, data) {
				t.Errorf("Pull after the fault = %v", err)
			}
		})
	}
}

// Twenty cuts at random places cost no more than a little.
func TestPullThroughManyCuts(t *testing.T) {
	t.Parallel() // it waits between attempts
	const size, cuts = 24 << 20, 20
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	desc, data := content(2, size)
	if err := r.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := 1; i <= cuts; i++ {
		s.Add(testreg.Rule{Method: "GET", Path: "/blobs/", From: 1, To: 1, Do: testreg.Cut(random.Int64N(size / cuts))})
	}
	p := newPartial()
	if err := transfer.Pull(t.Context(), r, []transfer.Job{job(desc, p)}, transfer.PullOptions{}); err != nil || !bytes.Equal(p.data, data) {
		t.Fatalf("Pull = %v with %d bytes", err, len(p.data))
	}
	var wire int64
	for _, q := range s.Requests() {
		if q.Method == "GET" {
			wire += q.BytesOut
		}
	}
	if wire > size+cuts<<20 {
		t.Errorf("%d bytes on the wire for %d", wire, size)
	}
}

func TestPushToRegistry(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	desc, data := content(3, 5<<20)
	name := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Add(testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: testreg.TakeThenDrop(3 << 20)})
	var seen ledger
	b := transfer.Blob{Desc: desc, Name: "weights", Open: fileOpener(name)}
	for _, want := range []transfer.Action{transfer.Done, transfer.Exists} {
		did, err := transfer.Push(t.Context(), r, b, transfer.PushOptions{Observe: seen.observe})
		if err != nil || did != want {
			t.Fatalf("Push = %v, %v; want %v", did, err, want)
		}
	}
	if seen.moved() != desc.Size {
		t.Errorf("%d bytes told, want %d", seen.moved(), desc.Size)
	}
	p := newPartial()
	if err := transfer.Pull(t.Context(), r, []transfer.Job{job(desc, p)}, transfer.PullOptions{}); err != nil || !bytes.Equal(p.data, data) {
		t.Errorf("Pull of what was pushed = %v", err)
	}
}

func fileOpener(name string) transfer.Opener {
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		_, err = f.Seek(offset, io.SeekStart)
		return f, err
	}
}

// A filePartial writes to a file and keeps nothing for later.
type filePartial struct{ *os.File }

func (filePartial) Resume() (int64, hash.Hash, error) { return 0, nil, nil }
func (filePartial) Checkpoint(int64, hash.Hash) error { return nil }
func (p filePartial) Reset() error                    { return p.Truncate(0) }
func (filePartial) Commit() error                     { return nil }

const benchBytes = 256 << 20

func BenchmarkPull(b *testing.B) {
	s := testreg.New(b, testreg.Options{})
	r := newRepo(b, s)
	desc, data := content(1, benchBytes)
	if err := r.Push(b.Context(), desc, bytes.NewReader(data)); err != nil {
		b.Fatal(err)
	}
	data = nil
	name := filepath.Join(b.TempDir(), "out")
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	for b.Loop() {
		open := func() (transfer.Partial, error) {
			f, err := os.Create(name)
			return filePartial{f}, err
		}
		jobs := []transfer.Job{{Desc: desc, Open: open}}
		if err := transfer.Pull(b.Context(), r, jobs, transfer.PullOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPush(b *testing.B) {
	s := testreg.New(b, testreg.Options{})
	c, err := remote.New(remote.Options{AuthFile: filepath.Join(b.TempDir(), "config.json")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.CloseIdle)
	_, data := content(1, benchBytes)
	name := filepath.Join(b.TempDir(), "in")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		b.Fatal(err)
	}
	desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: benchBytes}
	data = nil
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		r, err := c.Repository(s.Host + "/bench/" + strings.Repeat("x", n))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := transfer.Push(b.Context(), r, transfer.Blob{Desc: desc, Open: fileOpener(name)}, transfer.PushOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
