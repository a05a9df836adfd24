package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orascontent "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestPull(t *testing.T) {
	sizes := []int{0, 1, 1 << 20, 5<<20 + 3, 70 << 20}
	var blobs [][]byte
	var jobs []transfer.Job
	var partials []*partial
	for i, size := range sizes {
		desc, data := content(uint64(i), size)
		p := newPartial()
		blobs, partials = append(blobs, data), append(partials, p)
		jobs = append(jobs, job(desc, p))
	}
	var seen ledger
	src := newSource(blobs...)
	if err := transfer.Pull(t.Context(), src, jobs, transfer.PullOptions{Workers: 1, Observe: seen.observe}); err != nil {
		t.Fatal(err)
	}
	var total int64
	for i, p := range partials {
		total += int64(sizes[i])
		if !bytes.Equal(p.data, blobs[i]) || !p.committed || !p.closed {
			t.Errorf("blob of %d bytes: %d bytes, committed %v, closed %v", sizes[i], len(p.data), p.committed, p.closed)
		}
	}
	if seen.moved() != total || seen.count(transfer.Done) != len(jobs) || seen.count(transfer.Start) != len(jobs) {
		t.Errorf("observed %d bytes, %d starts, %d ends; want %d, %d, %d", seen.moved(),
			seen.count(transfer.Start), seen.count(transfer.Done), total, len(jobs), len(jobs))
	}
	if len(src.asked) == 0 || src.asked[0] != jobs[len(jobs)-1].Desc.Digest {
		t.Error("the largest blob was not fetched first")
	}
}

func TestPullNothing(t *testing.T) {
	if err := transfer.Pull(t.Context(), newSource(), nil, transfer.PullOptions{}); err != nil {
		t.Error(err)
	}
}

func TestPullSHA512(t *testing.T) {
	_, data := content(1, 1000)
	dgst := digest.SHA512.FromBytes(data)
	src := newSource()
	src.blobs[dgst] = data
	for name, fetched := range map[string][]byte{"right": data, "wrong": data[:999]} {
		p := newPartial()
		desc := ocispec.Descriptor{Digest: dgst, Size: int64(len(fetched))}
		err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{})
		if (name == "right") != (err == nil) || p.committed != (err == nil) {
			t.Errorf("%s bytes: %v, committed %v", name, err, p.committed)
		}
	}
}

func TestPullRefusesDescriptors(t *testing.T) {
	tests := map[string]struct {
		desc ocispec.Descriptor
		want error
	}{
		"unknown algorithm": {ocispec.Descriptor{Digest: "md5:d41d8cd98f00b204e9800998ecf8427e"}, errdef.ErrInvalidDigest},
		"no digest":         {ocispec.Descriptor{}, errdef.ErrInvalidDigest},
		"negative size":     {ocispec.Descriptor{Digest: digest.FromString(""), Size: -1}, orascontent.ErrInvalidDescriptorSize},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			src := newSource()
			err := transfer.Pull(t.Context(), src, []transfer.Job{job(tt.desc, newPartial())}, transfer.PullOptions{})
			if !errors.Is(err, tt.want) || len(src.asked) > 0 {
				t.Errorf("Pull = %v after %d requests, want %v after none", err, len(src.asked), tt.want)
			}
		})
	}
}

// cutting returns a source's wrap that breaks each connection after n bytes.
func cutting(n int64, opened *atomic.Int32) func(context.Context, int64, io.ReadCloser) (io.ReadCloser, error) {
	return func(_ context.Context, _ int64, rc io.ReadCloser) (io.ReadCloser, error) {
		opened.Add(1)
		return io.NopCloser(io.MultiReader(io.LimitReader(rc, n), breaking{})), nil
	}
}

type breaking struct{}

func (breaking) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPullGoesOnAfterEachCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(2, 20<<10)
		src := newSource(data)
		var opened atomic.Int32
		src.wrap = cutting(1<<10, &opened)
		p := newPartial()
		var seen ledger
		err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{Observe: seen.observe})
		if err != nil || !bytes.Equal(p.data, data) {
			t.Fatalf("Pull = %v with %d bytes, want all %d", err, len(p.data), len(data))
		}
		// Nothing twice: as many connections as pieces, and each byte told once.
		if opened.Load() != 20 || seen.moved() != desc.Size || seen.count(transfer.Retry) != 19 {
			t.Errorf("%d connections, %d bytes, %d retries; want 20, %d, 19",
				opened.Load(), seen.moved(), seen.count(transfer.Retry), desc.Size)
		}
	})
}

func TestPullGivesUpWithoutProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(2, 20<<10)
		src := newSource(data)
		var opened atomic.Int32
		src.wrap = func(_ context.Context, offset int64, rc io.ReadCloser) (io.ReadCloser, error) {
			opened.Add(1)
			return io.NopCloser(io.MultiReader(io.LimitReader(rc, max(1000-offset, 0)), breaking{})), nil
		}
		p := newPartial()
		start := time.Now()
		err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Pull = %v, want io.ErrUnexpectedEOF", err)
		}
		if opened.Load() != 6 {
			t.Errorf("%d tries, want 6", opened.Load())
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("gave up after %v", took)
		}
		if p.committed || !p.closed || p.kept != 1000 {
			t.Errorf("committed %v, closed %v, kept %d; want the 1000 bytes kept for the next run", p.committed, p.closed, p.kept)
		}
		// The next run takes what is there.
		src.wrap = nil
		if err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{}); err != nil || !bytes.Equal(p.data, data) {
			t.Errorf("second Pull = %v", err)
		}
	})
}

// noRanges hides FetchRange.
type noRanges struct{ orascontent.Fetcher }

func TestPullFromSourceWithoutRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(3, 20<<10)
		src := newSource(data)
		var opened atomic.Int32
		src.wrap = func(_ context.Context, _ int64, rc io.ReadCloser) (io.ReadCloser, error) {
			if opened.Add(1) > 2 {
				return rc, nil
			}
			return io.NopCloser(io.MultiReader(io.LimitReader(rc, 5000), breaking{})), nil
		}
		p := newPartial()
		var seen ledger
		err := transfer.Pull(t.Context(), noRanges{src}, []transfer.Job{job(desc, p)}, transfer.PullOptions{Observe: seen.observe})
		if err != nil || !bytes.Equal(p.data, data) || seen.moved() != desc.Size {
			t.Errorf("Pull = %v with %d bytes, %d told; want all %d", err, len(p.data), seen.moved(), desc.Size)
		}
		// One that breaks for ever at the same place must not keep us.
		src.wrap = cutting(5000, &opened)
		if err := transfer.Pull(t.Context(), noRanges{src}, []transfer.Job{job(desc, newPartial())}, transfer.PullOptions{}); err == nil {
			t.Error("Pull of a blob that always breaks: no error")
		}
	})
}

func TestPullStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(4, 20<<10)
		src := newSource(data)
		var opened atomic.Int32
		src.wrap = func(ctx context.Context, _ int64, rc io.ReadCloser) (io.ReadCloser, error) {
			if opened.Add(1) == 1 {
				return io.NopCloser(io.MultiReader(io.LimitReader(rc, 5000), hanging{ctx})), nil
			}
			return rc, nil
		}
		p := newPartial()
		start := time.Now()
		err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{})
		if err != nil || !bytes.Equal(p.data, data) {
			t.Fatalf("Pull = %v with %d bytes, want all %d", err, len(p.data), len(data))
		}
		if took := time.Since(start); took < time.Minute || took > 65*time.Second {
			t.Errorf("the stalled connection was given up after %v, want a minute", took)
		}
	})
}

type hanging struct{ ctx context.Context }

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

// busy is an error as remote's: it says whether and when to come again.
type busy struct {
	wait  time.Duration
	again bool
}

func (busy) Error() string                  { return "busy" }
func (b busy) Retry() (time.Duration, bool) { return b.wait, b.again }

func TestPullWaitsAsTold(t *testing.T) {
	tests := map[string]struct {
		err      busy
		min, max time.Duration
		fails    bool
	}{
		"soon":       {busy{0, true}, 0, time.Second, false},
		"ten":        {busy{10 * time.Second, true}, 10 * time.Second, 11 * time.Second, false},
		"an age":     {busy{9e9 * time.Second, true}, time.Minute, 61 * time.Second, false},
		"before now": {busy{-time.Hour, true}, 0, time.Second, false},
		"never":      {busy{time.Second, false}, 0, 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				desc, data := content(5, 1000)
				src := newSource(data)
				first := true
				src.wrap = func(_ context.Context, _ int64, rc io.ReadCloser) (io.ReadCloser, error) {
					if first {
						first = false
						return nil, tt.err
					}
					return rc, nil
				}
				start := time.Now()
				err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, newPartial())}, transfer.PullOptions{})
				took := time.Since(start)
				if (err != nil) != tt.fails || took < tt.min || took > tt.max {
					t.Errorf("Pull = %v after %v; want failure %v after %v to %v", err, took, tt.fails, tt.min, tt.max)
				}
			})
		})
	}
}

func TestPullWrongBytes(t *testing.T) {
	desc, data := content(6, 5000)
	bad := slices.Clone(data)
	bad[4999] ^= 1
	for name, wrong := range map[string]int32{"once": 1, "always": 1000} {
		t.Run(name, func(t *testing.T) {
			src := newSource(data)
			var opened atomic.Int32
			src.wrap = func(_ context.Context, offset int64, rc io.ReadCloser) (io.ReadCloser, error) {
				if opened.Add(1) <= wrong {
					return io.NopCloser(bytes.NewReader(bad[offset:])), nil
				}
				return rc, nil
			}
			p := newPartial()
			var seen ledger
			err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{Observe: seen.observe})
			if opened.Load() != 2 {
				t.Errorf("%d fetches, want 2", opened.Load())
			}
			if name == "once" {
				if err != nil || !bytes.Equal(p.data, data) || seen.moved() != desc.Size {
					t.Errorf("Pull = %v, %d bytes told; want success", err, seen.moved())
				}
				return
			}
			e, ok := errors.AsType[*transfer.DigestError](err)
			if !ok || !errors.Is(err, orascontent.ErrMismatchedDigest) || e.Name != "weights" || e.Got != digest.FromBytes(bad) {
				t.Errorf("Pull = %v, want a DigestError that names the blob and both digests", err)
			}
			if p.committed || len(p.data) > 0 || p.kept > 0 {
				t.Errorf("committed %v, %d wrong bytes kept", p.committed, len(p.data))
			}
		})
	}
}

// A blob that begins with the right bytes and goes on is another blob.
func TestPullLongerThanSaid(t *testing.T) {
	desc, data := content(6, 3<<20)
	src := newSource(data)
	src.blobs[desc.Digest] = append(slices.Clone(data), 0)
	for name, kept := range map[string]int64{"from the start": 0, "from the middle": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			p := newPartial()
			if kept > 0 {
				p.data = slices.Clone(data[:kept])
				h := digest.SHA256.Hash()
				h.Write(p.data)
				if err := p.Checkpoint(kept, h); err != nil {
					t.Fatal(err)
				}
			}
			err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{})
			e, ok := errors.AsType[*transfer.DigestError](err)
			if !ok || e.Name != "weights" || e.Size <= desc.Size {
				t.Errorf("Pull = %v, want a DigestError that names the blob and its length", err)
			}
			if p.committed || len(p.data) > 0 || p.kept > 0 {
				t.Errorf("committed %v, %d wrong bytes kept", p.committed, len(p.data))
			}
		})
	}
}

func TestPullResumes(t *testing.T) {
	desc, data := content(7, 100_000)
	tests := map[string]struct {
		kept     int64
		spoil    bool // the bytes kept are not those they should be
		offset   int64
		requests int
	}{
		"from the middle": {60_000, false, 60_000, 1},
		"complete":        {100_000, false, 0, 0},
		"too long":        {100_001, false, 0, 1},
		"spoilt":          {60_000, true, 60_000, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPartial()
			p.data = append(slices.Clone(data), 0)[:tt.kept]
			if tt.spoil {
				p.data[5] ^= 1
			}
			h := p.alg.Hash()
			h.Write(p.data)
			if err := p.Checkpoint(tt.kept, h); err != nil {
				t.Fatal(err)
			}
			src := newSource(data)
			first := int64(-1)
			src.wrap = func(_ context.Context, offset int64, rc io.ReadCloser) (io.ReadCloser, error) {
				if first < 0 {
					first = offset
				}
				return rc, nil
			}
			var seen ledger
			err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{Observe: seen.observe})
			if err != nil || !bytes.Equal(p.data, data) || !p.committed {
				t.Fatalf("Pull = %v with %d bytes, committed %v", err, len(p.data), p.committed)
			}
			if len(src.asked) != tt.requests || tt.requests > 0 && first != tt.offset {
				t.Errorf("%d requests, the first from %d; want %d from %d", len(src.asked), first, tt.requests, tt.offset)
			}
			if seen.moved() != desc.Size {
				t.Errorf("%d bytes told, want %d", seen.moved(), desc.Size)
			}
		})
	}
}

func TestPullFirstErrorEndsTheRest(t *testing.T) {
	good, goodData := content(8, 3<<20)
	missing, _ := content(9, 4<<20)
	src := newSource(goodData)
	begun := make(chan struct{})
	src.wrap = func(ctx context.Context, _ int64, rc io.ReadCloser) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(io.LimitReader(rc, 1<<20), signal(begun), hanging{ctx})), nil
	}
	p := newPartial()
	failing := transfer.Job{Desc: missing, Name: "missing", Open: func() (transfer.Partial, error) {
		<-begun
		return nil, errdef.ErrNotFound
	}}
	var later atomic.Bool
	last := transfer.Job{Desc: ocispec.Descriptor{Digest: digest.FromString(""), Size: 0}, Open: func() (transfer.Partial, error) {
		later.Store(true)
		return newPartial(), nil
	}}
	err := transfer.Pull(t.Context(), src, []transfer.Job{last, job(good, p), failing}, transfer.PullOptions{Workers: 2})
	if !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Pull = %v, want the first error", err)
	}
	if p.committed || !p.closed || p.kept != 1<<20 {
		t.Errorf("the other: committed %v, closed %v, kept %d; want 1 MiB kept", p.committed, p.closed, p.kept)
	}
	if later.Load() {
		t.Error("a job was begun after the first error")
	}
}

type signalReader chan struct{}

func signal(ch chan struct{}) io.Reader { return signalReader(ch) }

func (s signalReader) Read([]byte) (int, error) {
	close(s)
	return 0, io.EOF
}

func TestPullDiskFull(t *testing.T) {
	desc, data := content(10, 1000)
	p := newPartial()
	p.writeErr = errors.New("no space left on device")
	src := newSource(data)
	err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{})
	if !errors.Is(err, p.writeErr) || len(src.asked) != 1 {
		t.Errorf("Pull = %v after %d requests, want the disk's error after one", err, len(src.asked))
	}
}
