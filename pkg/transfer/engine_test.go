package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orascontent "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// A network is a source behind a slow link. Its zero speeds are no limit.
type network struct {
	perConnection float64       // bytes per second
	total         float64       // of all connections together
	delay         time.Duration // before each answer
	// refuse, if not nil, may refuse request number n, when so many are open.
	refuse func(n, open int, from, to int64) error
	// speed, if not nil, is the speed of request number n.
	speed func(n int) float64

	blobs map[digest.Digest][]byte

	mu     sync.Mutex
	open   int
	most   int // open at once
	asked  [][2]int64
	opened []time.Time
	served int64
	next   time.Time // when the shared link is free
}

func newNetwork(blobs ...[]byte) *network {
	n := &network{blobs: map[digest.Digest][]byte{}}
	for _, b := range blobs {
		n.blobs[digest.FromBytes(b)] = b
	}
	return n
}

func (n *network) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return n.FetchRange(ctx, desc, 0, desc.Size)
}

func (n *network) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	n.mu.Lock()
	n.open++
	n.most = max(n.most, n.open)
	n.asked = append(n.asked, [2]int64{offset, offset + length})
	n.opened = append(n.opened, time.Now())
	number, open := len(n.asked), n.open
	n.mu.Unlock()
	c := &networkConn{n: n, r: bytes.NewReader(n.blobs[desc.Digest][offset : offset+length]), ctx: ctx, rate: n.perConnection}
	if n.speed != nil {
		c.rate = n.speed(number)
	}
	err := c.sleep(n.delay)
	if err == nil && n.refuse != nil {
		err = n.refuse(number, open, offset, offset+length)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

type networkConn struct {
	n    *network
	r    *bytes.Reader
	ctx  context.Context
	rate float64
	once sync.Once
}

func (c *networkConn) sleep(d time.Duration) error {
	if d <= 0 {
		return c.ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

func (c *networkConn) Read(p []byte) (int, error) {
	k, err := c.r.Read(p[:min(len(p), 256<<10)])
	var wait time.Duration
	if c.rate > 0 {
		wait = time.Duration(float64(k) / c.rate * 1e9)
	}
	c.n.mu.Lock()
	c.n.served += int64(k)
	if c.n.total > 0 {
		if now := time.Now(); c.n.next.Before(now) {
			c.n.next = now
		}
		c.n.next = c.n.next.Add(time.Duration(float64(k) / c.n.total * 1e9))
		wait = max(wait, time.Until(c.n.next))
	}
	c.n.mu.Unlock()
	if stop := c.sleep(wait); stop != nil {
		return 0, stop
	}
	return k, err
}

func (c *networkConn) Close() error {
	c.once.Do(func() {
		c.n.mu.Lock()
		c.n.open--
		c.n.mu.Unlock()
	})
	return nil
}

// pull pulls blobs into files and checks them. It returns how long it took.
func (n *network) pull(t *testing.T, opts transfer.PullOptions) time.Duration {
	t.Helper()
	dir := t.TempDir()
	var jobs []transfer.Job
	for dgst, data := range n.blobs {
		jobs = append(jobs, transfer.Job{
			Desc: ocispec.Descriptor{Digest: dgst, Size: int64(len(data))}, Name: "weights",
			Open: func() (transfer.Partial, error) {
				f, err := os.Create(filepath.Join(dir, dgst.Encoded()))
				return filePartial{f}, err
			},
		})
	}
	start := time.Now()
	if err := transfer.Pull(t.Context(), n, jobs, opts); err != nil {
		t.Fatalf("Pull = %v", err)
	}
	took := time.Since(start)
	for dgst, data := range n.blobs {
		if got, err := os.ReadFile(filepath.Join(dir, dgst.Encoded())); err != nil || !bytes.Equal(got, data) {
			t.Errorf("a blob of %d bytes is wrong: %v", len(data), err)
		}
	}
	return took
}

const mib = 1 << 20

// Where each connection is slow, many are used: five times as fast as one.
func TestPullSplits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, data := content(30, 192*mib)
		n := newNetwork(data)
		n.perConnection, n.delay = 50e6, 20*time.Millisecond
		var seen ledger
		took := n.pull(t, transfer.PullOptions{Observe: seen.observe})
		single := time.Duration(float64(len(data)) / n.perConnection * 1e9)
		if took > single/4 {
			t.Errorf("took %v, with one connection it would be %v", took, single)
		}
		if n.most < 5 || n.most > 32 {
			t.Errorf("%d connections at once", n.most)
		}
		if seen.moved() != int64(len(data)) || n.served > int64(len(data))+int64(n.most)*mib {
			t.Errorf("%d bytes told and %d served of %d", seen.moved(), n.served, len(data))
		}
		for _, r := range n.asked[1:] {
			if r[0]%mib != 0 || r[1] > int64(len(data)) || r[1]-r[0] > 16*mib {
				t.Errorf("range %v is not within a part", r)
			}
		}
	})
}

// Where all share one link, one stream a blob is enough.
func TestPullDoesNotSplitInVain(t *testing.T) {
	for blobs, most := range map[int]int{1: 12, 4: 24} {
		t.Run(fmt.Sprint(blobs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				for i := range blobs {
					desc, data := content(uint64(31+i), 128*mib/blobs)
					n.blobs[desc.Digest] = data
				}
				n.total, n.delay = 100e6, time.Millisecond
				took := n.pull(t, transfer.PullOptions{})
				if len(n.asked) > most || took > 1500*time.Millisecond {
					t.Errorf("%d requests in %v", len(n.asked), took)
				}
			})
		})
	}
}

func TestPullBoundsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		for i := range 6 {
			desc, data := content(uint64(40+i), 20*mib)
			n.blobs[desc.Digest] = data
		}
		n.perConnection = 10e6
		n.pull(t, transfer.PullOptions{Connections: 3, Workers: 5})
		if n.most != 3 {
			t.Errorf("%d connections at once, want 3", n.most)
		}
	})
}

// overloaded is what a source says that has too many requests.
type overloaded struct{ busy }

func (overloaded) Overloaded() bool { return true }

// A source that bears only so many connections is not asked for more, and not
// before it says.
func TestPullShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, data := content(50, 128*mib)
		n := newNetwork(data)
		n.perConnection, n.delay = 20e6, 20*time.Millisecond
		var refused []time.Time
		n.refuse = func(_, open int, _, _ int64) error {
			if open <= 6 {
				return nil
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			refused = append(refused, time.Now())
			return overloaded{busy{3 * time.Second, true}}
		}
		took := n.pull(t, transfer.PullOptions{})
		if len(refused) == 0 || len(refused) > 20 {
			t.Errorf("%d requests were refused", len(refused))
		}
		for _, at := range n.opened {
			if wait := at.Sub(refused[0]); wait > 50*time.Millisecond && wait < 2900*time.Millisecond {
				t.Errorf("a request %v after the source asked for 3 s", wait)
			}
		}
		if single := time.Duration(float64(len(data)) / n.perConnection * 1e9); took > single {
			t.Errorf("took %v, with one connection it would be %v", took, single)
		}
	})
}

// Whatever happens to the first helpers, the blob comes; what passes may happen
// to all.
func TestPullHelpersFail(t *testing.T) {
	early := func(number int, _ int64) bool { return number > 1 && number < 5 }
	often := func(number int, _ int64) bool { return number%3 == 0 }
	parts := func(_ int, from int64) bool { return from > 0 }
	tests := map[string]struct {
		err  error
		when func(number int, from int64) bool
	}{
		"broken":             {io.ErrUnexpectedEOF, early},
		"often broken":       {io.ErrUnexpectedEOF, often},
		"refused":            {busy{0, false}, early},
		"missing":            {errdef.ErrNotFound, early},
		"unsupported":        {errdef.ErrUnsupported, early},
		"always unsupported": {errdef.ErrUnsupported, parts},
		"of another size":    {orascontent.ErrMismatchedDigest, early},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, data := content(60, 96*mib)
				n := newNetwork(data)
				n.perConnection, n.delay = 50e6, 20*time.Millisecond
				n.refuse = func(number, _ int, from, _ int64) error {
					if tt.when(number, from) {
						return tt.err
					}
					return nil
				}
				n.pull(t, transfer.PullOptions{})
			})
		})
	}
}

// One connection that is far slower than the rest does not hold up the end.
func TestPullStraggler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, data := content(70, 128*mib)
		n := newNetwork(data)
		n.delay = 20 * time.Millisecond
		n.speed = func(number int) float64 {
			if number == 5 {
				return 1e6
			}
			return 50e6
		}
		if took := n.pull(t, transfer.PullOptions{}); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Segments are copied while the gaps between them are fetched, by as many
// connections as help.
func TestPullManyGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(80, 64*mib)
		n := newNetwork(data)
		n.perConnection, n.delay = 50e6, 20*time.Millisecond
		p := newPartial()
		j := job(desc, p)
		var segs []transfer.Segment
		for off := int64(0); off < desc.Size; off += mib {
			segs = append(segs, segment(data, off, 3*mib/4))
		}
		j.Local = local(segs...)
		var seen ledger
		start := time.Now()
		if err := transfer.Pull(t.Context(), n, []transfer.Job{j}, transfer.PullOptions{Observe: seen.observe}); err != nil || !bytes.Equal(p.data, data) {
			t.Fatalf("Pull = %v", err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		if seen.sum(transfer.Progress) != 16*mib || seen.sum(transfer.Copied) != 48*mib {
			t.Errorf("%d bytes fetched and %d copied", seen.sum(transfer.Progress), seen.sum(transfer.Copied))
		}
	})
}

// A helper that stalls after the leader has nothing more to do is relieved.
func TestPullStallsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, data := content(71, 48*mib)
		n := newNetwork(data)
		n.delay = 100 * time.Millisecond
		n.speed = func(number int) float64 {
			if number == 2 {
				return 100e3
			}
			return 100e6
		}
		if took := n.pull(t, transfer.PullOptions{Connections: 2}); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A checkpoints is a partial that notes them.
type checkpoints struct {
	*partial
	at []int64
}

func (p *checkpoints) Checkpoint(n int64, state hash.Hash) error {
	p.at = append(p.at, n)
	return p.partial.Checkpoint(n, state)
}

// Wherever segments and answers end, there is a checkpoint after each part.
func TestPullCheckpoints(t *testing.T) {
	const part = 16 * mib
	desc, data := content(81, 4*part+5)
	tests := map[string][]transfer.Segment{
		"none":   nil,
		"chunks": {segment(data, 0, part-100), segment(data, part-100, 1000), segment(data, part+900, mib), segment(data, 2*part-5, part+mib/2)},
		"all":    {segment(data, 0, desc.Size)},
	}
	for name, segs := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(data)
				n.perConnection = 350e3 // a buffer is not filled in one go
				p := &checkpoints{partial: newPartial()}
				j := transfer.Job{
					Desc: desc, Open: func() (transfer.Partial, error) { return p, nil },
					Local: local(segs...),
				}
				if err := transfer.Pull(t.Context(), n, []transfer.Job{j}, transfer.PullOptions{Connections: 2}); err != nil || !bytes.Equal(p.data, data) {
					t.Fatalf("Pull = %v", err)
				}
				for _, want := range []int64{part, 2 * part, 3 * part, 4 * part} {
					if !slices.Contains(p.at, want) {
						t.Errorf("checkpoints at %d, none at %d", p.at, want)
					}
				}
			})
		})
	}
}
