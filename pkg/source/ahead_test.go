package source_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelreg/modelreg/pkg/source"
)

// A slow is a server that gives each connection 50 MB/s, 20 ms away.
type slow struct {
	data []byte
	fail func(offset int64) error // nil for none
	open atomic.Int64             // connections
	most atomic.Int64
}

func (s *slow) opener(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	time.Sleep(20 * time.Millisecond)
	if s.fail != nil {
		if err := s.fail(offset); err != nil {
			return nil, err
		}
	}
	end := int64(len(s.data))
	if length >= 0 {
		end = min(end, offset+length)
	}
	s.most.Store(max(s.most.Load(), s.open.Add(1)))
	return &slowBody{s: s, ctx: ctx, rest: s.data[offset:end]}, nil
}

type slowBody struct {
	s    *slow
	ctx  context.Context
	rest []byte
}

func (b *slowBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1<<20)], b.rest)
	time.Sleep(time.Duration(n) * 20) // ns for each byte
	b.rest = b.rest[n:]
	return n, nil
}

func (b *slowBody) Close() error {
	b.s.open.Add(-1)
	return nil
}

func bytesOf(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

func TestAhead(t *testing.T) {
	data := bytesOf(96<<20 + 5)
	size := int64(len(data))
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		offset, length int64
		fail           func(offset int64) error // of what is fetched ahead
		most           time.Duration
	}{
		"all":           {0, -1, nil, 700 * time.Millisecond},
		"from within":   {5<<20 + 3, -1, nil, 700 * time.Millisecond},
		"a part":        {1, 64 << 20, nil, 700 * time.Millisecond},
		"a small part":  {1, 1 << 20, nil, 100 * time.Millisecond},
		"some fail":     {0, -1, func(offset int64) error { return when(offset%(16<<20) == 0, broken) }, 2 * time.Second},
		"all fail":      {0, -1, func(int64) error { return broken }, 3 * time.Second},
		"without parts": {0, -1, func(int64) error { return source.ErrNoRanges }, 2500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plain, parts := &slow{data: data}, &slow{data: data, fail: test.fail}
				w := source.NewWindow()
				start := time.Now()
				rc, err := source.Ahead(w, size, plain.opener, parts.opener)(t.Context(), test.offset, test.length)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(rc)
				if err != nil {
					t.Fatal(err)
				}
				want := data[test.offset:]
				if test.length >= 0 {
					want = want[:test.length]
				}
				if !bytes.Equal(got, want) {
					t.Error("other bytes")
				}
				if took := time.Since(start); took > test.most {
					t.Errorf("took %v, want at most %v", took, test.most)
				}
				if err := rc.Close(); err != nil {
					t.Error(err)
				}
				source.CheckWindow(t, w)
				if plain.open.Load() != 0 || parts.open.Load() != 0 || parts.most.Load() > 8 {
					t.Errorf("%d and %d connections are open, %d were", plain.open.Load(), parts.open.Load(), parts.most.Load())
				}
			})
		})
	}
}

func when(cond bool, err error) error {
	if cond {
		return err
	}
	return nil
}

// Whoever stops in the middle leaves nothing behind, and two who read share the
// room.
func TestAheadGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{data: bytesOf(64 << 20)}
		w := source.NewWindow()
		var readers []io.ReadCloser
		for range 2 {
			rc, err := source.Ahead(w, 64<<20, s.opener, s.opener)(t.Context(), 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, rc, 9<<20); err != nil {
				t.Fatal(err)
			}
			readers = append(readers, rc)
		}
		for _, rc := range readers {
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
			if n, err := rc.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Error("goes on after it was closed")
			}
		}
		source.CheckWindow(t, w)
		if n := s.open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// Whoever reads more slowly than the parts come needs few connections.
func TestAheadOfASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{data: bytesOf(96 << 20)}
		w := source.NewWindow()
		rc, err := source.Ahead(w, 96<<20, s.opener, s.opener)(t.Context(), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		buf := make([]byte, 1<<20)
		for range 96 {
			if _, err := io.ReadFull(rc, buf); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond) // 20 MB/s
		}
		if n := s.most.Load(); n > 3 {
			t.Errorf("%d connections at once", n)
		}
	})
}
