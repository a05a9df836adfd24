package transfer_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// segment returns a segment of data that lies in another file at its own place.
func segment(data []byte, offset, length int64) transfer.Segment {
	sum := sha256.Sum256(data[offset : offset+length])
	return transfer.Segment{
		Offset: offset, Length: length, From: bytes.NewReader(data), At: offset,
		Hash: sha256.New, Sum: sum[:],
	}
}

// local names segments, which may be gone through again and again.
func local(segs ...transfer.Segment) func(context.Context) (iter.Seq[transfer.Segment], error) {
	return func(context.Context) (iter.Seq[transfer.Segment], error) { return slices.Values(segs), nil }
}

func TestPullCopiesSegments(t *testing.T) {
	const k = 1 << 10
	desc, data := content(20, 4<<20)
	broken := segment(data, 1024*k, 256*k)
	broken.Sum = []byte("something else")
	short := segment(data, 1024*k, 256*k)
	short.From = bytes.NewReader(data[:1100*k])
	tests := map[string]struct {
		segments []transfer.Segment
		err      error
		copied   int64
		ranges   [][2]int64 // that are asked for, in any order
		planned  int64      // to be copied, if that is not what was
	}{
		"none":           {nil, nil, 0, [][2]int64{{0, 4096 * k}}, 0},
		"error":          {nil, errors.New("no index"), 0, [][2]int64{{0, 4096 * k}}, 0},
		"all":            {[]transfer.Segment{segment(data, 0, 4096*k)}, nil, 4096 * k, nil, 0},
		"start and end":  {[]transfer.Segment{segment(data, 0, 10*k), segment(data, 4000*k, 96*k)}, nil, 106 * k, [][2]int64{{10 * k, 4000 * k}}, 0},
		"chunks in line": {[]transfer.Segment{segment(data, 512*k, 40*k), segment(data, 552*k, 40*k)}, nil, 80 * k, [][2]int64{{0, 512 * k}, {592 * k, 4096 * k}}, 0},
		"gaps joined":    {[]transfer.Segment{segment(data, 512*k, 40*k), segment(data, 1024*k, 256*k)}, nil, 256 * k, [][2]int64{{0, 1024 * k}, {1280 * k, 4096 * k}}, 0},
		"wrong digest":   {[]transfer.Segment{segment(data, 0, 512*k), broken}, nil, 512 * k, nil, 768 * k},
		"file too short": {[]transfer.Segment{segment(data, 0, 512*k), short}, nil, 512 * k, nil, 768 * k},
		"overlap":        {[]transfer.Segment{segment(data, 0, 512*k), segment(data, 256*k, 512*k)}, nil, 512 * k, [][2]int64{{512 * k, 4096 * k}}, 0},
		"hardly a sum":   {[]transfer.Segment{{Offset: 0, Length: 512 * k, From: bytes.NewReader(data), Hash: sha256.New, Sum: []byte("short")}}, nil, 0, [][2]int64{{0, 4096 * k}}, 0},
		"outside":        {[]transfer.Segment{{Offset: 4095 * k, Length: 2 * k, From: bytes.NewReader(data), Hash: sha256.New}}, nil, 0, [][2]int64{{0, 4096 * k}}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			src, p := newSource(data), newPartial()
			j := job(desc, p)
			j.Local = local(tt.segments...)
			if tt.err != nil {
				j.Local = func(context.Context) (iter.Seq[transfer.Segment], error) { return nil, tt.err }
			}
			planned, err := transfer.LocalBytes(t.Context(), src, j)
			if want := cmp.Or(tt.planned, tt.copied); err != nil || planned != want {
				t.Errorf("LocalBytes = %d, %v, want %d", planned, err, want)
			}
			var seen ledger
			err = transfer.Pull(t.Context(), src, []transfer.Job{j}, transfer.PullOptions{Observe: seen.observe})
			if err != nil || !bytes.Equal(p.data, data) || !p.committed {
				t.Fatalf("Pull = %v with %d bytes, committed %v", err, len(p.data), p.committed)
			}
			if got := seen.sum(transfer.Copied); got != tt.copied || seen.moved() != desc.Size {
				t.Errorf("%d bytes copied, %d in all; want %d of %d", got, seen.moved(), tt.copied, desc.Size)
			}
			slices.SortFunc(src.ranges, func(a, b [2]int64) int { return int(a[0] - b[0]) })
			if tt.ranges != nil && !slices.Equal(src.ranges, tt.ranges) {
				t.Errorf("ranges %v were asked for, want %v", src.ranges, tt.ranges)
			}
		})
	}
}

// Chunks that are what they should be may be of another blob all the same:
// then all is fetched.
func TestPullAfterWrongSegments(t *testing.T) {
	desc, data := content(21, 2<<20)
	other := slices.Clone(data)
	other[5] ^= 1
	src, p := newSource(data), newPartial()
	j := job(desc, p)
	j.Local = local(segment(other, 0, 1<<20))
	var seen ledger
	if err := transfer.Pull(t.Context(), src, []transfer.Job{j}, transfer.PullOptions{Observe: seen.observe}); err != nil || !bytes.Equal(p.data, data) {
		t.Fatalf("Pull = %v", err)
	}
	if seen.sum(transfer.Copied) != 0 || seen.moved() != desc.Size || seen.count(transfer.Retry) != 1 {
		t.Errorf("%d bytes copied, %d in all, %d retries; want 0, %d, 1",
			seen.sum(transfer.Copied), seen.moved(), seen.count(transfer.Retry), desc.Size)
	}
}

// A source without ranges gives everything.
func TestPullSegmentsWithoutRanges(t *testing.T) {
	desc, data := content(22, 2<<20)
	p := newPartial()
	j := job(desc, p)
	j.Local = local(segment(data, 1<<19, 1<<20))
	if n, err := transfer.LocalBytes(t.Context(), noRanges{newSource(data)}, j); err != nil || n != 0 {
		t.Errorf("LocalBytes = %d, %v", n, err)
	}
	if err := transfer.Pull(t.Context(), noRanges{newSource(data)}, []transfer.Job{j}, transfer.PullOptions{}); err != nil || !bytes.Equal(p.data, data) {
		t.Fatalf("Pull = %v", err)
	}
}

func TestPullBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(23, 10<<20)
		for _, bandwidth := range []int64{1 << 20, 10 << 20} {
			p := newPartial()
			start := time.Now()
			if err := transfer.Pull(t.Context(), newSource(data), []transfer.Job{job(desc, p)}, transfer.PullOptions{Bandwidth: bandwidth}); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			want := float64(desc.Size) / float64(bandwidth)
			if got := took.Seconds(); got < 0.9*want || got > 1.1*want {
				t.Errorf("at %d bytes a second it took %.2f s, want %.2f", bandwidth, got, want)
			}
		}
	})
}
