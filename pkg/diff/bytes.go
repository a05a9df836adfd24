package diff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	block     = 1 << 20  // bytes of a tensor that are compared at once
	batchSize = 16 << 20 // bytes of tensors, near each other, that one worker compares
)

// A byteReader compares bytes of tensors where nothing else tells.
type byteReader struct {
	opts Options
	a, b *weights
	left int64 // that may still be fetched
	read atomic.Int64

	mu       sync.Mutex
	open     map[*File]*openFile
	problems []string
}

// An openFile is a file that is opened at its first use.
type openFile struct {
	once   sync.Once
	reader Reader
	err    error
}

func newByteReader(opts Options, a, b *weights) *byteReader {
	return &byteReader{opts: opts, a: a, b: b, left: max(opts.MaxFetch, 0), open: map[*File]*openFile{}}
}

// A job is a tensor of which bytes are to be read.
type job struct {
	pair  *tensorPair
	spans []span
}

func (j job) bytes() int64 {
	var n int64
	for _, s := range j.spans {
		n += s.end - s.begin
	}
	return n
}

// settle reads what is in doubt, the small first: so most tensors are told
// before the limit is reached.
func (r *byteReader) settle(ctx context.Context, pairs []*tensorPair) error {
	var jobs []job
	for _, p := range pairs {
		if len(p.doubt) > 0 {
			jobs = append(jobs, job{p, p.doubt})
		}
	}
	jobs = r.afford(jobs)
	return r.work(ctx, jobs, func(ctx context.Context, j job, from, to io.ReaderAt) error {
		equal := true
		err := r.each(ctx, j, from, to, func(x, y []byte) bool {
			equal = bytes.Equal(x, y)
			return equal
		})
		if err != nil {
			return err
		}
		j.pair.verdict, j.pair.evidence = changed, byBytes
		if equal {
			j.pair.verdict = same
		}
		return nil
	})
}

// measure reads the tensors that changed, for by how much.
func (r *byteReader) measure(ctx context.Context, pairs []*tensorPair) error {
	var jobs []job
	for _, p := range pairs {
		known := p.verdict == changed || p.verdict == retyped
		if known && p.from.Offset >= 0 && p.to.Offset >= 0 && measurable(p.from, p.to) {
			jobs = append(jobs, job{p, []span{{0, p.from.Bytes}}})
		}
	}
	wanted := len(jobs)
	if jobs = r.afford(jobs); len(jobs) < wanted {
		r.problem("%d changed tensors were not measured: that is more than may be fetched", wanted-len(jobs))
	}
	return r.work(ctx, jobs, r.measureOne)
}

// afford returns the jobs that may be done, in the order of the files.
func (r *byteReader) afford(jobs []job) []job {
	slices.SortStableFunc(jobs, func(x, y job) int { return cmp.Compare(x.bytes(), y.bytes()) })
	kept := jobs[:0]
	for _, j := range jobs {
		var cost int64
		for _, f := range []*File{r.a.files[j.pair.from.File], r.b.files[j.pair.to.File]} {
			if !f.Local {
				cost += j.bytes()
			}
		}
		if cost <= r.left {
			r.left -= cost
			kept = append(kept, j)
		}
	}
	slices.SortStableFunc(kept, func(x, y job) int {
		return cmp.Or(cmp.Compare(x.pair.to.File, y.pair.to.File), cmp.Compare(x.pair.to.Offset, y.pair.to.Offset))
	})
	return kept
}

// work does jobs side by side: what lies together is one worker's, who reads it
// in order.
func (r *byteReader) work(ctx context.Context, jobs []job, do func(ctx context.Context, j job, from, to io.ReaderAt) error) error {
	defer r.close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.Workers)
	for batch := range batches(jobs) {
		group.Go(func() error {
			for _, j := range batch {
				from, err := r.reader(ctx, r.a, j.pair.from.File)
				if err != nil {
					return err
				}
				to, err := r.reader(ctx, r.b, j.pair.to.File)
				if err != nil {
					return err
				}
				if from == nil || to == nil {
					continue // cannot be read in parts: it stays unknown
				}
				if err := do(ctx, j, from, to); err != nil {
					return fmt.Errorf("read tensor %+q: %w", j.pair.to.Name, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// batches cuts jobs into runs of about batchSize.
func batches(jobs []job) func(yield func([]job) bool) {
	return func(yield func([]job) bool) {
		begin, n := 0, int64(0)
		for i, j := range jobs {
			if n += j.bytes(); n >= batchSize || i == len(jobs)-1 {
				if !yield(jobs[begin : i+1]) {
					return
				}
				begin, n = i+1, 0
			}
		}
	}
}

// reader opens a file once for all who read it; nil for one that cannot be read
// in parts.
func (r *byteReader) reader(ctx context.Context, w *weights, name string) (io.ReaderAt, error) {
	f := w.files[name]
	r.mu.Lock()
	o := r.open[f]
	if o == nil {
		o = &openFile{}
		r.open[f] = o
	}
	r.mu.Unlock()
	o.once.Do(func() { o.reader, o.err = w.open(ctx, *f) })
	if errors.Is(o.err, errors.ErrUnsupported) {
		return nil, nil
	}
	if o.err != nil {
		return nil, o.err
	}
	return o.reader, nil
}

func (r *byteReader) close() {
	for _, o := range r.open {
		if o.reader != nil {
			o.reader.Close()
		}
	}
	clear(r.open)
}

// each reads the spans of both tensors block by block, until more says false.
func (r *byteReader) each(ctx context.Context, j job, from, to io.ReaderAt, more func(x, y []byte) bool) error {
	x, y := make([]byte, min(block, j.pair.from.Bytes)), make([]byte, min(block, j.pair.from.Bytes))
	for _, s := range j.spans {
		for at := s.begin; at < s.end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(int64(len(x)), s.end-at)
			if err := readBoth(from, to, x[:n], y[:n], j.pair.from.Offset+at, j.pair.to.Offset+at); err != nil {
				return err
			}
			r.read.Add(2 * n)
			if !more(x[:n], y[:n]) {
				return nil
			}
			at += n
		}
	}
	return nil
}

// readBoth reads from both sides at once: they may be far away.
func readBoth(from, to io.ReaderAt, x, y []byte, a, b int64) error {
	var group errgroup.Group
	group.Go(func() error { return readFull(from, x, a) })
	if err := errors.Join(readFull(to, y, b), group.Wait()); err != nil {
		return err
	}
	return nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *byteReader) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}
