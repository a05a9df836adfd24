package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

const (
	// maxSources bounds the files that one blob is put together from.
	maxSources = 64

	// minMissing is how many bytes of a blob must be missing before files
	// without an index are read for what they have of it.
	minMissing = 1 << 20

	// learnAtOnce is how many indexes are fetched at once, and learnGrace how
	// long those are waited for that no blob needs any more. One that is larger
	// than largeIndex is fetched alone.
	learnAtOnce = 4
	learnGrace  = 5 * time.Second
	largeIndex  = 2 << 20

	// maxPlanned is the size of the largest index that is used, that of a file
	// of 500 GB, and keptIndexes bounds the bytes of those that stay in memory
	// because there is no store.
	maxPlanned  = 64 << 20
	keptIndexes = 16 << 20
)

// A delta finds the bytes of wanted blobs in files of this machine by their
// chunk indexes. Nothing depends on it: what it does not find is fetched, and
// what it finds is compared with its hash by whoever copies it.
//
// Its memory is that of planning one blob, two tables and the plan, besides what
// was found for the blobs under way. The indexes lie in the store.
type delta struct {
	u       *unpacker
	indexes *store.ChunkIndexes // nil without a store
	sources []*chunkSource
	wants   map[digest.Digest]*wantedIndex // by the digest of the index

	// alone has a token for who plans a blob or fetches a large index: each
	// takes memory as its file is large.
	alone chan struct{}

	mu    sync.Mutex
	files []io.Closer
	room  int64 // for indexes that are kept in memory

	stop func()
	done chan struct{}
}

// A wantedIndex is the index of a blob to be fetched.
type wantedIndex struct {
	desc  ocispec.Descriptor
	size  int64         // of the blob
	ready chan struct{} // closed when the others are set
	table *chunk.Table  // nil if it is elsewhere; until it is used
	lost  bool          // it cannot be had
}

// openDelta gives the jobs, for the layers of whose, what of them is on this
// machine. It looks which files there are to take bytes from, and reads none of
// them yet.
func (u *unpacker) openDelta(ctx context.Context, jobs []transfer.Job, whose []File) {
	if u.opts.NoDelta {
		return
	}
	d := &delta{u: u, wants: make(map[digest.Digest]*wantedIndex), alone: make(chan struct{}, 1), room: keptIndexes}
	if u.opts.Store != nil {
		// What others could have written to is not used.
		d.indexes, _ = u.opts.Store.ChunkIndexes()
	}
	for i, f := range whose {
		desc, ok := indexRef(f.Layer)
		if !ok || desc.Size > maxPlanned || f.Encoding != mediatypes.Raw || f.Layer.Size < minIndexed {
			continue
		}
		want := &wantedIndex{desc: desc, size: f.Layer.Size, ready: make(chan struct{})}
		if other, ok := d.wants[desc.Digest]; ok {
			want = other // one of them is not its layer's
		}
		d.wants[desc.Digest] = want
		jobs[i].Local = func(ctx context.Context) (iter.Seq[transfer.Segment], error) { return d.local(ctx, f, want) }
	}
	if len(d.wants) == 0 {
		return
	}
	d.sources = d.findSources(ctx)
	if len(d.sources) == 0 && (d.indexes == nil || u.stage == nil) {
		return // neither is there anything to copy, nor to learn for the next time
	}
	u.delta = d
	d.start(ctx)
}

// local names the parts of the layer of f that can be copied.
func (d *delta) local(ctx context.Context, f File, want *wantedIndex) (iter.Seq[transfer.Segment], error) {
	if len(d.sources) == 0 {
		return nil, nil
	}
	select {
	case <-want.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if want.lost {
		return nil, nil
	}
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	defer d.end()
	table := want.table
	want.table = nil
	if table == nil {
		table = d.tableOf(ctx, want.desc, want.size)
	}
	if table == nil || !indexIsOf(table, f.Layer.Size, f.Layer.Digest) {
		return nil, nil
	}
	return d.segments(ctx, f, table)
}

// begin waits until nobody else plans.
func (d *delta) begin(ctx context.Context) error {
	select {
	case d.alone <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *delta) end() { <-d.alone }

// start fetches the indexes of the wanted blobs, beside the blobs.
func (d *delta) start(ctx context.Context) {
	ctx, d.stop = context.WithCancel(ctx)
	d.done = make(chan struct{})
	go func() {
		defer close(d.done)
		var g errgroup.Group
		g.SetLimit(learnAtOnce)
		for _, want := range d.wants {
			g.Go(func() error {
				defer close(want.ready)
				d.learn(ctx, want)
				return nil
			})
		}
		_ = g.Wait() // none fails
	}()
}

// learn brings the index of a wanted blob into the store. Without one it is kept
// in memory, or fetched when it is the blob's turn.
func (d *delta) learn(ctx context.Context, want *wantedIndex) {
	if d.has(want.desc.Digest) || d.indexes == nil && !d.take(want.desc.Size) {
		return
	}
	if want.desc.Size > largeIndex {
		if d.begin(ctx) != nil {
			return
		}
		defer d.end()
	}
	table, stored := d.fetchIndex(ctx, want.desc, want.size)
	want.lost = table == nil
	if d.indexes == nil || !stored && d.take(want.desc.Size) {
		want.table = table
	}
}

// take tells whether there is room for so many bytes more.
func (d *delta) take(n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > d.room {
		return false
	}
	d.room -= n
	return true
}

// finish waits for what start began, and closes what was opened. After a pull
// that failed nobody waits.
func (d *delta) finish(err error) {
	if d == nil {
		return
	}
	if err == nil {
		select {
		case <-d.done:
		case <-time.After(learnGrace):
		}
	}
	d.stop()
	<-d.done
	for _, f := range d.files {
		_ = f.Close() // only read
	}
	d.files = nil
}

// tableOf returns the table of the index that desc is of, from the store or the
// source, or nil.
func (d *delta) tableOf(ctx context.Context, desc ocispec.Descriptor, size int64) *chunk.Table {
	if x := d.storedTable(desc.Digest, size); x != nil {
		return x
	}
	x, _ := d.fetchIndex(ctx, desc, size)
	return x
}

// fetchIndex fetches an index from the source, and tells whether the store has
// it now. The table is nil if it cannot be had.
func (d *delta) fetchIndex(ctx context.Context, desc ocispec.Descriptor, size int64) (x *chunk.Table, stored bool) {
	raw, err := d.readIndexBlob(ctx, desc)
	if err != nil {
		return nil, false
	}
	x = parseTable(raw, size)
	return x, x != nil && d.indexes != nil && d.indexes.Put(raw)
}

// readIndexBlob fetches an index. Memory grows with what comes, not with what
// was promised.
func (d *delta) readIndexBlob(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	rc, err := d.u.limit.Fetch(ctx, d.u.src, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	raw, err := io.ReadAll(io.LimitReader(rc, desc.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != desc.Size || desc.Digest.Algorithm().FromBytes(raw) != desc.Digest {
		return nil, &transfer.DigestError{Name: "chunk index", Desc: desc, Size: int64(len(raw))}
	}
	return raw, nil
}

// has tells whether the store seems to have an index.
func (d *delta) has(dgst digest.Digest) bool {
	if d.indexes == nil {
		return false
	}
	r, _, ok := d.indexes.Open(dgst)
	return ok && r.Close() == nil
}

// storedTable returns the table of the index with this digest, for a file of this
// size, if the store has it.
func (d *delta) storedTable(dgst digest.Digest, size int64) *chunk.Table {
	if d.indexes == nil {
		return nil
	}
	r, n, ok := d.indexes.Open(dgst)
	if !ok {
		return nil
	}
	defer r.Close()
	if n > maxPlanned {
		return nil
	}
	h := sha256.New()
	x, err := chunk.ReadTable(io.TeeReader(r, h), n)
	if err != nil || x.Size() != size || dgst != digest.NewDigest(digest.SHA256, h) {
		return nil
	}
	return x
}

// madeTable is the same for the index that was made here of a file.
func (d *delta) madeTable(file digest.Digest, size int64) *chunk.Table {
	if d.indexes == nil {
		return nil
	}
	dgst, ok := d.indexes.Made(file)
	if !ok {
		return nil
	}
	return d.storedTable(dgst, size)
}

// indexIsOf tells whether an index says that it is of a file with this digest.
func indexIsOf(x *chunk.Table, size int64, dgst digest.Digest) bool {
	sum := x.Sum256()
	return x.Size() == size && (dgst.Algorithm() != digest.SHA256 || dgst.Encoded() == hex.EncodeToString(sum[:]))
}

func parseTable(raw []byte, size int64) *chunk.Table {
	x, err := chunk.ReadTable(bytes.NewReader(raw), int64(len(raw)))
	if err != nil || x.Size() != size {
		return nil
	}
	return x
}

// segments plans which parts of the layer of f are copied, and from where.
func (d *delta) segments(ctx context.Context, f File, want *chunk.Table) (iter.Seq[transfer.Segment], error) {
	plan := chunk.NewPlan(want)
	var used []*chunkSource
	order := d.order(f)
	// Those that must be read for their index come last, and only if they are
	// needed.
	for _, read := range []bool{false, true} {
		for _, s := range order {
			if plan.Missing() == 0 || read && plan.Missing() < minMissing {
				break
			}
			x, err := d.indexOf(ctx, s, read)
			if err != nil {
				return nil, err
			}
			if x != nil && !s.planned(used) {
				plan.Add(x)
				used = append(used, s)
			}
		}
	}
	recipe := plan.Recipe()
	return func(yield func(transfer.Segment) bool) {
		for c := range recipe.Copies() {
			from := d.reader(used[c.Source])
			if from == nil {
				continue
			}
			if !yield(transfer.Segment{Offset: c.Offset, Length: c.Length, From: from, At: c.At, Hash: chunk.NewHash, Sum: c.Sum}) {
				return
			}
		}
	}, nil
}

// reader opens a source, once.
func (d *delta) reader(s *chunkSource) io.ReaderAt {
	s.opened.Do(func() {
		f, err := s.open()
		if err != nil {
			return
		}
		s.file = f
		d.mu.Lock()
		defer d.mu.Unlock()
		d.files = append(d.files, f)
	})
	return s.file
}

// remember notes where the files of the artifact lie, and their indexes, for
// later pulls into whatever directory.
func (d *delta) remember() {
	if d == nil || d.indexes == nil {
		return
	}
	var known []store.KnownFile
	for _, f := range d.u.a.Files {
		desc, ok := indexRef(f.Layer)
		if !ok || f.Encoding != mediatypes.Raw || !d.has(desc.Digest) {
			continue
		}
		name := d.u.target.path(f.Path)
		info, err := os.Lstat(name)
		if err != nil {
			continue
		}
		if k, ok := store.NewKnownFile(name, info, desc.Digest); ok && info.Size() == f.Size {
			known = append(known, k)
		}
	}
	d.indexes.Know(known...)
}
