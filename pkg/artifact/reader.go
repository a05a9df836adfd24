package artifact

import (
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/transfer"
)

const (
	// maxSpan is the most that one request is made for.
	maxSpan = 4 << 20

	// A run of aheadAfter reads, each of which begins where the one before it
	// ended, is taken for reading on: the next requests are made for more than
	// was asked for, at first firstAhead bytes.
	aheadAfter = 3
	firstAhead = 256 << 10

	// maxRuns is how many such runs are told apart.
	maxRuns = 16
)

// A Reader reads a file of an artifact at any offset. It is safe for concurrent
// use, and keeps what was read last. Whoever reads on from one offset gets
// larger requests after a few reads, so that wrapping it in an
// [io.SectionReader] costs no request per chunk.
//
// Where the reader is [Reader.Verified], a read that returns no error has given
// the right bytes. Wrong ones are fetched once more, and are then a
// [ChunkError].
type Reader struct {
	name     string
	blob     *blobReader
	pieces   pieces
	distrust func() bool

	mu      sync.Mutex
	cache   *cache
	flights map[int]*flight // by piece
	runs    [maxRuns]run
	clock   int // counts reads
}

// A flight is a request under way for some pieces in a row.
type flight struct {
	first, last int
	done        chan struct{}
	data        [][]byte // when done
	err         error
}

// A run is reads each of which begins where the last one ended.
type run struct {
	next  int64 // where another would go on
	reads int
	ahead int64 // bytes to fetch beyond what is asked for
	used  int   // by the clock
}

// Size returns the size of the file in bytes.
func (r *Reader) Size() int64 { return r.pieces.size }

// Verified tells whether what ReadAt returns has been compared with digests
// that the version's own digest covers. If not, the bytes are what the registry
// says they are.
func (r *Reader) Verified() bool { return r.pieces.verified() }

// Proof returns the digest by which all that is read is verified: of the index of
// the file's chunks, or the file's own. It is "" if the reader is not verified,
// and for an empty file without a digest.
func (r *Reader) Proof() digest.Digest { return r.pieces.proof() }

// Chunks returns the index of the file's chunks that reads are verified by, nil
// without one. The version's digest covers it.
func (r *Reader) Chunks() *chunk.Index { return r.pieces.index }

// ReadAt implements [io.ReaderAt].
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	size := r.pieces.size
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset", printable(r.name))
	}
	if off >= size {
		return 0, io.EOF
	}
	short := int64(len(p)) > size-off
	if short {
		p = p[:size-off]
	}
	n := 0
	end := r.reach(off, int64(len(p)))
	for n < len(p) {
		at := off + int64(n)
		i := r.pieces.find(at)
		data, err := r.get(i, end)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[0][at-r.pieces.at(i).offset:])
		for _, next := range data[1:] {
			n += copy(p[n:], next)
		}
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// Close ends the request that reads without ranges hold open. Reads under way
// fail or not; those that begin later do.
func (r *Reader) Close() error { return r.blob.Close() }

// reach returns how far to fetch for a read of n bytes at off: to its end, or
// beyond where it goes on from others.
func (r *Reader) reach(off, n int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	s := &r.runs[0]
	for i := range r.runs {
		if r.runs[i].next == off && r.runs[i].used > 0 {
			s = &r.runs[i]
			break
		}
		if r.runs[i].used < s.used {
			s = &r.runs[i]
		}
	}
	if s.next != off || s.used == 0 {
		*s = run{} // a new one in the place of the one used longest ago
	}
	s.next, s.used = off+n, r.clock
	if s.reads++; s.reads > aheadAfter {
		s.ahead = min(max(2*s.ahead, firstAhead), maxSpan, r.cache.limit/4)
	}
	return min(off+n+s.ahead, r.pieces.size)
}

// get returns the bytes of piece i, and of some that follow it. If they must be
// fetched, those up to offset end are, too.
func (r *Reader) get(i int, end int64) ([][]byte, error) {
	r.mu.Lock()
	if data, ok := r.cache.get(i); ok {
		r.mu.Unlock()
		return [][]byte{data}, nil
	}
	f := r.flights[i]
	if f != nil {
		r.mu.Unlock()
		<-f.done
	} else {
		f = r.take(i, end)
		r.mu.Unlock()
		f.data, f.err = r.fetch(f)
		r.land(f)
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.data[i-f.first:], nil
}

// land keeps what a flight has brought.
func (r *Reader) land(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := f.first; k <= f.last; k++ {
		delete(r.flights, k)
		if f.err == nil {
			r.cache.put(k, f.data[k-f.first])
		}
	}
	close(f.done)
}

// take makes a flight of piece i and of what follows it up to offset end and is
// neither there nor under way.
func (r *Reader) take(i int, end int64) *flight {
	f := &flight{first: i, last: i, done: make(chan struct{})}
	r.flights[i] = f
	first := r.pieces.at(i)
	end = min(end, first.offset+maxSpan)
	for next := i + 1; next < r.pieces.count(); next++ {
		p := r.pieces.at(next)
		if p.offset >= end || p.offset+p.length > first.offset+maxSpan || r.cache.has(next) || r.flights[next] != nil {
			break
		}
		f.last = next
		r.flights[next] = f
	}
	return f
}

// fetch fetches and verifies the pieces of a flight.
func (r *Reader) fetch(f *flight) ([][]byte, error) {
	data := make([][]byte, f.last-f.first+1)
	for k := range data {
		data[k] = make([]byte, r.pieces.at(f.first+k).length)
	}
	from, err := r.blob.read(data, r.pieces.at(f.first).offset)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", printable(r.name), err)
	}
	for k := range data {
		if err := r.check(f.first+k, data[k], from, r.blob.read); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// check looks whether data, which is from there, is piece i. Wrong bytes are read
// once more, and once more for each other place that has them.
func (r *Reader) check(i int, data []byte, from transfer.Placed, read func(bufs [][]byte, off int64) (transfer.Placed, error)) (err error) {
	again := true
	for p := r.pieces.at(i); !r.pieces.right(i, data); {
		if !r.blame(from) && !again {
			return &ChunkError{Name: r.name, Blob: r.blob.desc.Digest, Offset: p.offset, Length: p.length}
		}
		again = false
		if from, err = read([][]byte{data}, p.offset); err != nil {
			return fmt.Errorf("read %s: %w", printable(r.name), err)
		}
	}
	return nil
}

// blame says that bytes were wrong, of the place that they are from if that is
// known. The answer is whether another has them.
func (r *Reader) blame(from transfer.Placed) bool {
	if from != nil {
		return from.Distrust()
	}
	return r.distrust()
}

// distruster returns how to say that the bytes of a blob were wrong. The answer
// is whether another place has them.
func distruster(src content.Fetcher, desc ocispec.Descriptor) func() bool {
	d, ok := src.(transfer.Distruster)
	return func() bool { return ok && d.Distrust(desc) }
}
