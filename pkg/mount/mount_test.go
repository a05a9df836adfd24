package mount_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mount"
)

// TestMain also runs what must be another process than the one that serves a
// mount.
func TestMain(m *testing.M) {
	if job := os.Getenv("MOUNT_TEST_JOB"); job != "" {
		os.Exit(runJob(job, os.Args[len(os.Args)-1]))
	}
	goleak.VerifyTestMain(m)
}

const piece = 64 << 10

// A source is the content of a file, and what was asked of it.
type source struct {
	data   []byte
	piece  int64
	memory int64 // that it says it takes

	mu     sync.Mutex
	reads  [][2]int64 // offset and length
	now    int        // reads under way
	most   int        // that were under way at once
	held   int64      // bytes of those under way
	heavy  int64      // the most of them
	bad    map[int64]error
	closed int

	// gate, if not nil, is asked before a read is answered.
	gate func(off int64)
}

func newSource(seed uint64, size int) *source {
	s := &source{data: make([]byte, size), piece: piece, bad: make(map[int64]error)}
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(s.data)
	return s
}

func (s *source) Piece() int64  { return s.piece }
func (s *source) Memory() int64 { return s.memory }

func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	if err := s.begin(off, int64(len(p))); err != nil {
		return 0, err
	}
	defer s.end(int64(len(p)))
	if s.gate != nil {
		s.gate(off)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, err := range s.bad {
		if off <= at && at < off+int64(len(p)) {
			clear(p) // as wrong as can be
			return 0, err
		}
	}
	return bytes.NewReader(s.data).ReadAt(p, off)
}

func (s *source) begin(off, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.piece > 0 && (off%s.piece != 0 || n%s.piece != 0 && off+n != int64(len(s.data))) {
		return fmt.Errorf("read %d bytes at %d: not whole pieces", n, off)
	}
	s.reads = append(s.reads, [2]int64{off, n})
	s.now++
	s.held += n
	s.most, s.heavy = max(s.most, s.now), max(s.heavy, s.held)
	return nil
}

func (s *source) end(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	s.held -= n
}

func (s *source) fail(off int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.bad, off)
	} else {
		s.bad[off] = err
	}
}

// asked returns how many bytes were asked for, in how many reads.
func (s *source) asked() (n int64, reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reads {
		n += r[1]
	}
	return n, len(s.reads)
}

func (s *source) open(context.Context) (mount.Content, error) { return s, nil }

// one is an FS of one file, and that file.
func one(t *testing.T, s *source, opts mount.Options) io.ReaderAt {
	t.Helper()
	m, err := mount.New(t.Context(), []mount.File{{Path: "a/model", Size: int64(len(s.data)), Open: s.open}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := m.ReaderAt("a/model")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func check(t *testing.T, r io.ReaderAt, want []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	k, err := r.ReadAt(p, int64(off))
	if short := off+n > len(want); short != errors.Is(err, io.EOF) || err != nil && !short {
		t.Errorf("ReadAt(%d, %d) = %d, %v", off, n, k, err)
	}
	if !bytes.Equal(p[:k], want[off:min(off+n, len(want))]) {
		t.Errorf("ReadAt(%d, %d) gives other bytes", off, n)
	}
}

func TestReads(t *testing.T) {
	tests := map[string]struct {
		size  int
		piece int64
	}{
		"pieces":        {5<<20 + 12345, piece},
		"one piece":     {300_000, 300_000},
		"large pieces":  {9 << 20, 3 << 20},
		"from a disk":   {1 << 20, 0},
		"of few bytes":  {1, 1},
		"of whole ones": {4 << 20, piece},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSource(1, tt.size)
			s.piece = tt.piece
			r := one(t, s, mount.Options{Memory: 6 << 20})
			rnd := rand.New(rand.NewPCG(1, 2))
			var readers sync.WaitGroup
			for range 4 {
				seed := rnd.Uint64()
				readers.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, 2))
					for range 15 {
						check(t, r, s.data, rnd.IntN(len(s.data)), 1+rnd.IntN(700_000))
					}
				})
			}
			readers.Wait()
			check(t, r, s.data, 0, len(s.data))
			check(t, r, s.data, len(s.data)-1, 2)
			if n, err := r.ReadAt(make([]byte, 1), int64(len(s.data))); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("ReadAt behind the end = %d, %v", n, err)
			}
			if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
				t.Error("ReadAt took a negative offset")
			}
		})
	}
}

// Whoever reads on has several fetches under way; each byte is fetched once, in few
// of them, and no more memory is held than was allowed.
func TestReadingOnFetchesAhead(t *testing.T) {
	s := newSource(2, 64<<20)
	const memory, step = 24 << 20, 128 << 10
	several := make(chan struct{})
	var once sync.Once
	s.gate = func(int64) {
		s.mu.Lock()
		enough := s.now >= 3
		s.mu.Unlock()
		if enough {
			once.Do(func() { close(several) })
		}
		s.mu.Lock()
		first := len(s.reads) <= 2
		s.mu.Unlock()
		if !first {
			<-several // hangs if there are never so many
		}
	}
	r := one(t, s, mount.Options{Memory: memory})
	for off := 0; off < len(s.data); off += step {
		check(t, r, s.data, off, step)
	}
	n, reads := s.asked()
	if n != int64(len(s.data)) || reads > 80 {
		t.Errorf("%d bytes fetched in %d reads of a file of %d bytes", n, reads, len(s.data))
	}
	if s.heavy > memory {
		t.Errorf("%d bytes were under way at once", s.heavy)
	}
}

// Several that read on share what there is, and do not drive each other out.
func TestSeveralReadOn(t *testing.T) {
	s := newSource(3, 32<<20)
	r := one(t, s, mount.Options{Memory: 24 << 20})
	var readers sync.WaitGroup
	for part := range 4 {
		readers.Go(func() {
			for off := part * 8 << 20; off < (part+1)*8<<20; off += 128 << 10 {
				check(t, r, s.data, off, 128<<10)
			}
		})
	}
	readers.Wait()
	// What one reads ahead at its end, another may have read long ago; and who has to
	// wait for the processor may find what was read ahead for it gone.
	if n, reads := s.asked(); n > 3*int64(len(s.data)) || reads > 128 {
		t.Errorf("%d bytes fetched in %d reads", n, reads)
	}
}

// Here and there costs the pieces that it is in, and those once.
func TestRandomReadsFetchLittle(t *testing.T) {
	s := newSource(4, 64<<20)
	r := one(t, s, mount.Options{})
	for range 2 {
		for _, off := range []int{0, 40 << 20, 21<<20 + piece - 10, 60 << 20} {
			check(t, r, s.data, off, 100)
		}
	}
	want := [][2]int64{{0, piece}, {40 << 20, piece}, {21 << 20, 2 * piece}, {60 << 20, piece}}
	if diff := cmp.Diff(want, s.reads); diff != "" {
		t.Error(diff)
	}
}

// What is not right is an error for whoever reads it, told once, and nothing else
// fails for it; when it is right again, so are reads.
func TestErrors(t *testing.T) {
	s := newSource(5, 16<<20)
	var mu sync.Mutex
	var warned []string
	r := one(t, s, mount.Options{Warn: func(m string) {
		mu.Lock()
		defer mu.Unlock()
		warned = append(warned, m)
	}})
	wrong := errors.New("wrong bytes")
	const bad = 7<<20 + 5
	s.fail(bad, wrong)
	p := make([]byte, 128<<10)
	failures := 0
	for off := int64(0); off < 16<<20; off += int64(len(p)) {
		n, err := r.ReadAt(p, off)
		if !bytes.Equal(p[:n], s.data[off:off+int64(n)]) {
			t.Fatalf("ReadAt(%d) gives wrong bytes", off)
		}
		if err != nil {
			failures++
			if !errors.Is(err, wrong) || off > bad || off+int64(len(p)) <= bad {
				t.Errorf("ReadAt(%d): %v", off, err)
			}
		}
	}
	if failures != 1 || len(warned) != 1 || warned[0] != wrong.Error() {
		t.Errorf("%d failures, warned %q", failures, warned)
	}
	s.fail(bad, nil)
	check(t, r, s.data, 0, len(s.data))
}

// Who waits for what others fetch is not let down by a wrong piece beside the one
// that he reads.
func TestWrongPieceBesideOthers(t *testing.T) {
	for range 5 { // who goes on first is the scheduler's choice
		for _, order := range [][]int{{0, 1}, {1, 0}, {0, 1, 2}, {2, 1, 0}} {
			synctest.Test(t, func(t *testing.T) { wrongPieceBesideOthers(t, order) })
		}
	}
}

func wrongPieceBesideOthers(t *testing.T, order []int) {
	const each, span = 512 << 10, 2 << 20
	wrong := errors.New("wrong bytes")
	s := newSource(13, 8<<20)
	s.piece = each
	s.fail(span+3*each, wrong)
	step := make(chan struct{})
	s.gate = func(off int64) {
		if off >= span && off < 2*span {
			<-step
		}
	}
	r := one(t, s, mount.Options{})
	for i := range 3 { // the third reads ahead
		check(t, r, s.data, span-30+i*10, 10)
	}
	for _, i := range order {
		go check(t, r, s.data, span+i*each, 10)
		synctest.Wait()
	}
	for failed := false; ; {
		synctest.Wait() // all wait for what is fetched
		select {
		case step <- struct{}{}:
			continue
		default:
		}
		if failed {
			break
		}
		failed = true
		go func() {
			if _, err := r.ReadAt(make([]byte, 10), span+3*each); !errors.Is(err, wrong) {
				t.Errorf("read of the wrong piece: %v", err)
			}
		}()
	}
}

// A file that cannot be opened can be read as soon as it can.
func TestOpenFails(t *testing.T) {
	s := newSource(6, 1000)
	broken := errors.New("no network")
	var warned []string
	m, err := mount.New(t.Context(), []mount.File{{Path: "f", Size: 1000, Open: func(context.Context) (mount.Content, error) {
		if broken != nil {
			return nil, broken
		}
		return s, nil
	}}}, mount.Options{Warn: func(m string) { warned = append(warned, m) }})
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.ReaderAt("f")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.ReadAt(make([]byte, 1), 0); !errors.Is(err, broken) {
			t.Errorf("ReadAt: %v", err)
		}
	}
	broken = nil
	check(t, r, s.data, 0, 1000)
	if err := m.Close(); err != nil || s.closed != 1 || len(warned) != 1 {
		t.Errorf("Close: %v, closed %d times, warned %q", err, s.closed, warned)
	}
	if _, err := r.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("ReadAt after Close")
	}
}

// Close ends reads that wait, for others and for memory.
func TestCloseEndsReads(t *testing.T) {
	s := newSource(7, 8<<20)
	begun := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	s.gate = func(int64) {
		begun <- struct{}{}
		<-ctx.Done()
	}
	s.fail(0, context.Canceled)
	s.fail(1<<20, context.Canceled)
	m, err := mount.New(t.Context(), []mount.File{{Path: "f", Size: 8 << 20, Open: func(c context.Context) (mount.Content, error) {
		context.AfterFunc(c, cancel)
		return s, nil
	}}}, mount.Options{Memory: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := m.ReaderAt("f")
	var readers sync.WaitGroup
	for i := range int64(3) {
		readers.Go(func() {
			if _, err := r.ReadAt(make([]byte, 10), i/2<<20); err == nil {
				t.Error("a read ended well")
			}
		})
	}
	<-begun
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	readers.Wait()
}

func TestNewRefuses(t *testing.T) {
	tests := map[string][]string{
		"outside":   {"../x"},
		"absolute":  {"/x"},
		"twice":     {"x", "x"},
		"file, dir": {"x", "x/y"},
		"control":   {".modelreg/x"},
	}
	for name, paths := range tests {
		t.Run(name, func(t *testing.T) {
			var files []mount.File
			for _, p := range paths {
				files = append(files, mount.File{Path: p})
			}
			if _, err := mount.New(t.Context(), files, mount.Options{}); !errors.Is(err, artifact.ErrUnsafe) {
				t.Errorf("New: %v", err)
			}
		})
	}
	if _, err := mount.New(t.Context(), []mount.File{{Path: "x", Size: -1}}, mount.Options{}); err == nil {
		t.Error("New took a negative size")
	}
}

func TestCheckDir(t *testing.T) {
	dir := t.TempDir()
	if err := mount.CheckDir(dir); err != nil {
		t.Error(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]error{dir: artifact.ErrTarget, file: artifact.ErrTarget, filepath.Join(dir, "none"): fs.ErrNotExist}
	for name, want := range tests {
		if err := mount.CheckDir(name); !errors.Is(err, want) {
			t.Errorf("CheckDir(%s) = %v, want %v", name, err, want)
		}
	}
}
