package artifact

import (
	"context"
	"encoding/hex"
	"io"
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
	// long those are waited for that no blob needs any more.
	learnAtOnce = 4
	learnGrace  = 5 * time.Second
)

// A delta finds the bytes of wanted blobs in files of this machine by their
// chunk indexes. Nothing depends on it: what it does not find is fetched, and
// what it finds is compared with its hash by whoever copies it.
type delta struct {
	u       *unpacker
	indexes *store.ChunkIndexes // nil without a store
	sources []*chunkSource

	mu    sync.Mutex
	wants map[digest.Digest]*wantedIndex // by the digest of the index
	files []io.Closer

	stop func()
	done chan struct{}
}

// A wantedIndex is the index of a blob to be fetched.
type wantedIndex struct {
	desc  ocispec.Descriptor
	size  int64 // of the blob
	ready chan struct{}
	index *chunk.Index // nil if it cannot be had
}

// openDelta gives the jobs, for the layers of whose, what of them is on this
// machine. It looks which files there are to take bytes from, and reads none of
// them yet.
func (u *unpacker) openDelta(ctx context.Context, jobs []transfer.Job, whose []File) {
	if u.opts.NoDelta {
		return
	}
	d := &delta{u: u, wants: make(map[digest.Digest]*wantedIndex)}
	if u.opts.Store != nil {
		// What others could have written to is not used.
		d.indexes, _ = u.opts.Store.ChunkIndexes()
	}
	for i, f := range whose {
		desc, ok := indexRef(f.Layer)
		if !ok || f.Encoding != mediatypes.Raw || f.Layer.Size < minIndexed {
			continue
		}
		want := &wantedIndex{desc: desc, size: f.Layer.Size, ready: make(chan struct{})}
		if other, ok := d.wants[desc.Digest]; ok {
			want = other // one of them is not its layer's
		}
		d.wants[desc.Digest] = want
		jobs[i].Local = func(ctx context.Context) ([]transfer.Segment, error) { return d.local(ctx, f, want) }
	}
	if len(d.wants) == 0 {
		return
	}
	d.sources = d.findSources(ctx)
	if len(d.sources) == 0 && d.indexes == nil {
		return // neither is there anything to copy, nor to learn for the next time
	}
	u.delta = d
	d.start(ctx)
}

// local names the parts of the layer of f that can be copied.
func (d *delta) local(ctx context.Context, f File, want *wantedIndex) ([]transfer.Segment, error) {
	if len(d.sources) == 0 {
		return nil, nil
	}
	select {
	case <-want.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if want.index == nil || !indexIsOf(want.index, f.Layer.Size, f.Layer.Digest) {
		return nil, nil
	}
	return d.segments(ctx, f, want.index)
}

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
				want.index = d.fetchIndex(ctx, want.desc, want.size)
				return nil
			})
		}
		_ = g.Wait() // none fails
	}()
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

// fetchIndex returns the index that desc is of, from the store or the source,
// or nil.
func (d *delta) fetchIndex(ctx context.Context, desc ocispec.Descriptor, size int64) *chunk.Index {
	if x := d.storedIndex(desc.Digest, size); x != nil {
		return x
	}
	raw, err := d.readIndexBlob(ctx, desc)
	if err != nil {
		return nil
	}
	x := parseIndexOf(raw, size)
	if x != nil && d.indexes != nil {
		d.indexes.Put(raw)
	}
	return x
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

// storedIndex returns the index with this digest for a file of this size, if
// the store has it.
func (d *delta) storedIndex(dgst digest.Digest, size int64) *chunk.Index {
	if d.indexes == nil {
		return nil
	}
	raw, ok := d.indexes.Get(dgst)
	if !ok {
		return nil
	}
	return parseIndexOf(raw, size)
}

// madeIndex is the same for the index that was made here of a file.
func (d *delta) madeIndex(file digest.Digest, size int64) *chunk.Index {
	if d.indexes == nil {
		return nil
	}
	raw, ok := d.indexes.Lookup(file)
	if !ok {
		return nil
	}
	return parseIndexOf(raw, size)
}

// indexIsOf tells whether an index says that it is of a file with this digest.
func indexIsOf(x *chunk.Index, size int64, dgst digest.Digest) bool {
	sum := x.Sum256()
	return x.Size() == size && (dgst.Algorithm() != digest.SHA256 || dgst.Encoded() == hex.EncodeToString(sum[:]))
}

func parseIndexOf(raw []byte, size int64) *chunk.Index {
	x, err := chunk.Parse(raw)
	if err != nil || x.Size() != size {
		return nil
	}
	return x
}

// segments plans which parts of the layer of f are copied, and from where.
func (d *delta) segments(ctx context.Context, f File, want *chunk.Index) ([]transfer.Segment, error) {
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
	segs := make([]transfer.Segment, 0, want.Len())
	for c := range plan.Copies() {
		if from := d.reader(used[c.Source]); from != nil {
			segs = append(segs, transfer.Segment{
				Offset: c.Offset, Length: c.Length, From: from, At: c.At,
				Hash: chunk.NewHash, Sum: c.Hash,
			})
		}
	}
	return segs, nil
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
		if !ok || f.Encoding != mediatypes.Raw || d.storedIndex(desc.Digest, f.Size) == nil {
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
