package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/chunk"
)

// withIndex is a model of one large file with an index, in memory.
func withIndex(t *testing.T) (*artifact.Artifact, *blobs, []byte) {
	t.Helper()
	file := testmodel.SafetensorsFile(testmodel.Transformer(7, 0), nil)
	b := newBlobs()
	dir := writeTree(t, t.TempDir(), map[string]string{"model.safetensors": string(file), "config.json": "{}"})
	p := mustPack(t, dir, b, artifact.PackOptions{})
	if _, err := artifact.PushIndexes(t.Context(), b, p.Descriptor, p.Indexes); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, b, p.Descriptor), b, file
}

func mustReaderAt(t *testing.T, a *artifact.Artifact, src content.Fetcher, opts artifact.ReaderOptions) *artifact.Reader {
	t.Helper()
	r, err := a.ReaderAt(t.Context(), src, "model.safetensors", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// checkRead reads n bytes at off and compares them.
func checkRead(t *testing.T, r *artifact.Reader, want []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	k, err := r.ReadAt(p, int64(off))
	if short := off+n > len(want); short != errors.Is(err, io.EOF) || err != nil && !short {
		t.Errorf("ReadAt(%d, %d): %v", off, n, err)
	}
	if !bytes.Equal(p[:k], want[off:min(off+n, len(want))]) {
		t.Errorf("ReadAt(%d, %d) gives other bytes", off, n)
	}
}

// A lossy source has ranges that are wrong, or broken, for a while.
type lossy struct {
	ranged
	flip  int64        // the byte that is wrong
	times atomic.Int64 // how often still
	cut   bool         // end early instead
}

func (l *lossy) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	rc, err := l.ranged.FetchRange(ctx, desc, off, n)
	if err != nil || l.flip < off || l.flip >= off+n || l.times.Add(-1) < 0 {
		return rc, err
	}
	data, err := io.ReadAll(rc)
	if l.cut {
		data = data[:l.flip-off]
	} else {
		data = bytes.Clone(data)
		data[l.flip-off] ^= 1
	}
	return io.NopCloser(bytes.NewReader(data)), err
}

func TestReaderVerifies(t *testing.T) {
	a, b, file := withIndex(t)
	r := mustReaderAt(t, a, ranged{b}, artifact.ReaderOptions{})
	if !r.Verified() || r.Size() != int64(len(file)) {
		t.Errorf("verified %v, size %d", r.Verified(), r.Size())
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		checkRead(t, r, file, rnd.IntN(len(file)), 1+rnd.IntN(2<<20))
	}
	checkRead(t, r, file, 0, len(file))
	checkRead(t, r, file, len(file)-1, 2)
}

func TestReaderFetchesWrongBytesAgain(t *testing.T) {
	a, b, file := withIndex(t)
	tests := map[string]struct {
		cut   bool
		times int64
		want  error
	}{
		"a flipped bit once":       {false, 1, nil},
		"a flipped bit ever again": {false, 1 << 40, content.ErrMismatchedDigest},
		"a cut once":               {true, 1, nil},
		"cut ever again":           {true, 1 << 40, io.ErrUnexpectedEOF},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			src := &lossy{ranged: ranged{b}, flip: 5_000_000, cut: tt.cut}
			src.times.Store(tt.times)
			r := mustReaderAt(t, a, src, artifact.ReaderOptions{})
			if tt.want == nil {
				checkRead(t, r, file, 4_000_000, 3_000_000)
				return
			}
			checkRead(t, r, file, 0, 100)
			n, err := r.ReadAt(make([]byte, 3_000_000), 4_000_000)
			if !errors.Is(err, tt.want) || n > 1_000_000 {
				t.Errorf("ReadAt = %d, %v, want %v", n, err, tt.want)
			}
			if e, ok := errors.AsType[*artifact.ChunkError](err); ok != !tt.cut || ok && (e.Offset > src.flip || e.Offset+e.Length <= src.flip) {
				t.Errorf("ReadAt error = %#v; want a ChunkError around %d, unless cut", err, src.flip)
			}
			checkRead(t, r, file, 7_000_000, 1000) // other bytes are fine
		})
	}
}

// A moved source has the right bytes in its second place only.
type moved struct {
	*lossy
	distrusted atomic.Int64
}

func (m *moved) Distrust(ocispec.Descriptor) bool {
	if m.distrusted.Add(1) > 3 {
		return false
	}
	if m.distrusted.Load() == 3 {
		m.times.Store(0)
	}
	return true
}

func TestReaderDistrusts(t *testing.T) {
	a, b, file := withIndex(t)
	src := &moved{lossy: &lossy{ranged: ranged{b}, flip: 5_000_000}}
	src.times.Store(1 << 40)
	checkRead(t, mustReaderAt(t, a, src, artifact.ReaderOptions{}), file, 4_999_000, 2000)
}

// Without an index in the registry, or with one of something else, reads work
// and are not verified.
func TestReaderWithoutIndex(t *testing.T) {
	a, b, file := withIndex(t)
	for _, f := range a.Manifest.Layers {
		if f.Annotations["dev.modelreg.index.v1"] != "" {
			for dgst, raw := range b.content {
				if bytes.HasPrefix(raw, []byte("MRCX")) {
					delete(b.content, dgst)
				}
			}
		}
	}
	src := &lossy{ranged: ranged{b}, flip: 5_000_000}
	r := mustReaderAt(t, a, src, artifact.ReaderOptions{})
	if r.Verified() {
		t.Error("reads are called verified without an index")
	}
	checkRead(t, r, file, 4_000_000, 2_000_000)
	checkRead(t, r, file, len(file)-10, 20)
}

// An index of other bytes than the file's verifies nothing.
func TestReaderByForgedIndex(t *testing.T) {
	a, b, file := withIndex(t)
	other := bytes.Clone(file)
	other[len(other)/2] ^= 1
	builder := chunk.NewBuilder(int64(len(other)), nil)
	if _, err := builder.Write(other); err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b.content[digest.FromBytes(raw)] = raw
	for _, f := range a.Files {
		if _, ok := f.Layer.Annotations["dev.modelreg.index.v1"]; ok {
			f.Layer.Annotations["dev.modelreg.index.v1"] = fmt.Sprintf("%s;%d", digest.FromBytes(raw), len(raw))
		}
	}
	r := mustReaderAt(t, a, ranged{b}, artifact.ReaderOptions{})
	if r.Verified() {
		t.Error("reads are called verified by an index of another file")
	}
	checkRead(t, r, file, len(file)/2, 10)
}

func TestReaderOfSmallFile(t *testing.T) {
	text := randomText(200_000)
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"model.safetensors": text}), b, artifact.PackOptions{}).Descriptor)
	src := &lossy{ranged: ranged{b}, flip: 199_999}
	src.times.Store(1)
	r := mustReaderAt(t, a, src, artifact.ReaderOptions{})
	if !r.Verified() {
		t.Error("a small file is not verified")
	}
	checkRead(t, r, []byte(text), 10, 20)
	if src.ranges != 2 {
		t.Errorf("%d requests, want one, and one more for the wrong byte", src.ranges)
	}
	if r := mustReaderAt(t, a, src, artifact.ReaderOptions{Whole: -1}); r.Verified() {
		t.Error("a file that is not to be fetched whole is called verified")
	}
}

func TestReaderCache(t *testing.T) {
	a, b, file := withIndex(t)
	const most = 4 << 20 // bytes of one request
	atOnce := (len(file) + most - 1) / most
	for name, tt := range map[string]struct {
		cache int64
		again bool
	}{"everything fits": {64 << 20, false}, "a quarter fits": {4 << 20, true}, "nothing fits": {1, true}} {
		t.Run(name, func(t *testing.T) {
			r := mustReaderAt(t, a, ranged{b}, artifact.ReaderOptions{Cache: tt.cache})
			before := b.ranges
			checkRead(t, r, file, 0, len(file))
			if n := b.ranges - before; n < atOnce || n > atOnce+2 {
				t.Errorf("%d requests for all of the file, want about %d", n, atOnce)
			}
			before = b.ranges
			checkRead(t, r, file, 0, len(file))
			if n := b.ranges - before; (n > 0) != tt.again {
				t.Errorf("%d requests to read it again", n)
			}
		})
	}
}

// Whoever reads a file from its beginning to its end in small pieces causes few
// requests, also when several do at once.
func TestReaderReadsAhead(t *testing.T) {
	a, b, file := withIndex(t)
	r := mustReaderAt(t, a, ranged{b}, artifact.ReaderOptions{})
	before := b.ranges
	var wg sync.WaitGroup
	const parts = 2
	for i := range parts {
		from, to := i*len(file)/parts, (i+1)*len(file)/parts
		wg.Go(func() {
			var got bytes.Buffer
			s := io.NewSectionReader(r, int64(from), int64(to-from))
			if _, err := io.CopyBuffer(&got, struct{ io.Reader }{s}, make([]byte, 32<<10)); err != nil || !bytes.Equal(got.Bytes(), file[from:to]) {
				t.Errorf("part %d: %d bytes, %v", i, got.Len(), err)
			}
		})
	}
	wg.Wait()
	if n := b.ranges - before; n > len(file)/(1<<20) {
		t.Errorf("%d requests for %d bytes in order", n, len(file))
	}
	// Far reads are not taken for it.
	before = b.ranges
	r = mustReaderAt(t, a, ranged{b}, artifact.ReaderOptions{})
	for off := 0; off < len(file); off += 1 << 20 {
		checkRead(t, r, file, off, 10)
	}
	if n := b.ranges - before; n < len(file)>>20 {
		t.Errorf("%d requests for %d reads far from each other", n, len(file)>>20+1)
	}
}

func TestReaderAtOnce(t *testing.T) {
	a, b, file := withIndex(t)
	for _, cache := range []int64{1, 1 << 20, 64 << 20} {
		src := &lossy{ranged: ranged{b}, flip: 3_000_000}
		src.times.Store(1)
		r := mustReaderAt(t, a, src, artifact.ReaderOptions{Cache: cache})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 3))
				for range 30 {
					checkRead(t, r, file, rnd.IntN(len(file)), 1+rnd.IntN(300_000))
				}
			})
		}
		wg.Wait()
	}
}

func TestReaderCancelled(t *testing.T) {
	a, b, _ := withIndex(t)
	ctx, cancel := context.WithCancel(t.Context())
	src := stopping{ranged{b}}
	r, err := a.ReaderAt(ctx, src, "model.safetensors", artifact.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadAt = %v, want context.Canceled", err)
	}
}

// A stopping source looks at its context.
type stopping struct{ ranged }

func (s stopping) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.ranged.FetchRange(ctx, desc, off, n)
}
