package artifact_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// A cut is a source that breaks off in the middle of every blob until it is
// mended.
type cut struct {
	*blobs
	mu     sync.Mutex
	broken bool
	after  int64
	hold   chan struct{} // if not nil, what breaks does so when it is closed
}

var errCut = errors.New("the cable is cut")

func (c *cut) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := c.blobs.Fetch(ctx, desc)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || !c.broken || desc.Size <= c.after {
		return rc, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(rc, c.after), failing{errCut, c.hold}), rc}, nil
}

type failing struct {
	err  error
	hold chan struct{}
}

func (f failing) Read([]byte) (int, error) {
	if f.hold != nil {
		<-f.hold
	}
	return 0, f.err
}

// After a fault of the network the next run uses what was fetched whole.
func TestUnpackResumes(t *testing.T) {
	files := map[string]string{"big.bin": randomText(100_000), "one.txt": randomText(500), "two.txt": randomText(600)}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	out := filepath.Join(parent, "m")
	src := &cut{blobs: b, broken: true, after: 1000}
	_, err := artifact.Unpack(t.Context(), a, src, out, artifact.UnpackOptions{Workers: 1})
	if !errors.Is(err, errCut) {
		t.Fatalf("Unpack = %v, want %v", err, errCut)
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
	// Of a blob that broke nothing is kept: this source gives no parts.
	if left := leftovers(t, parent); len(left) > 1 {
		t.Errorf("left for the next run: %v", left)
	}
	// The small ones come whole before the big one breaks.
	src.after, src.hold = 10_000, make(chan struct{})
	var small sync.WaitGroup
	small.Add(2)
	go func() {
		small.Wait()
		close(src.hold)
	}()
	_, _ = artifact.Unpack(t.Context(), a, src, out, artifact.UnpackOptions{Observe: func(e transfer.Event) {
		if e.Action == transfer.Done && e.Desc.Size < src.after {
			small.Done()
		}
	}})
	src.broken = false
	u := mustUnpack(t, a, src, out, artifact.UnpackOptions{})
	if u.Fetched+u.Reused != u.Size || u.Reused == 0 {
		t.Errorf("of %d bytes %d were fetched and %d reused", u.Size, u.Fetched, u.Reused)
	}
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if left := leftovers(t, parent, "m"); left != nil {
		t.Errorf("left: %v", left)
	}
}

// Blobs of an interrupted run are hashed before they are believed.
func TestUnpackDoesNotTrustTheStage(t *testing.T) {
	files := map[string]string{"a.bin": randomText(5000)}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	bad := strings.Repeat("x", 5000)
	writeTree(t, parent, map[string]string{".modelreg-m.partial/blobs/sha256-" + a.Files[0].Digest.Encoded(): bad})
	out := filepath.Join(parent, "m")
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestUnpackWrongBytes(t *testing.T) {
	good := randomText(5000)
	wrong := map[string]string{
		"first bit": string(good[0]^1) + good[1:], "last bit": good[:4999] + string([]byte{good[4999] ^ 1}),
		"short": good[:4000], "nothing": "",
	}
	for name, data := range wrong {
		for _, updating := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/update=%v", name, updating), func(t *testing.T) {
				// The waits between the tries of a short blob take no time here.
				synctest.Test(t, func(t *testing.T) { unpackWrong(t, good, data, updating) })
			})
		}
	}
}

func unpackWrong(t *testing.T, good, data string, updating bool) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": good, "b.bin": "b"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	out := filepath.Join(parent, "m")
	if updating {
		old := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"old": "x"}), b, artifact.PackOptions{}).Descriptor)
		mustUnpack(t, old, b, out, artifact.UnpackOptions{})
	}
	before := readTree(t, parent)
	d := digest.FromString(good)
	b.content[d] = []byte(data)
	for range 2 { // what is refused once is not taken the second time
		_, err := artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{})
		if err == nil {
			t.Fatal("wrong bytes were taken")
		}
		de, ok := errors.AsType[*transfer.DigestError](err)
		if len(data) == len(good) && (!ok || de.Desc.Digest != d || de.Name != "a.bin") {
			t.Errorf("Unpack = %v, want a *DigestError for a.bin", err)
		}
		if _, err := os.Lstat(out); !updating && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the target is there: %v", err)
		}
		if !ok {
			continue // a fault of the network, as far as anybody can tell
		}
		if left := leftovers(t, parent, "m"); left != nil {
			t.Errorf("left: %v", left)
		}
		if diff := cmp.Diff(before, readTree(t, parent)); diff != "" {
			t.Errorf("something changed (-before +after):\n%s", diff)
		}
	}
}

func TestUnpackIsExclusive(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "abc"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "m")
	h := &held{blobs: b, entered: make(chan struct{}), leave: make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := artifact.Unpack(t.Context(), a, h, out, artifact.UnpackOptions{})
		done <- err
	}()
	<-h.entered
	_, err := artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{})
	if !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("Unpack = %v, want ErrBusy", err)
	}
	close(h.leave)
	if err := <-done; err != nil {
		t.Errorf("the first: %v", err)
	}
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
}

type held struct {
	*blobs
	once           sync.Once
	entered, leave chan struct{}
}

func (h *held) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	h.once.Do(func() { close(h.entered) })
	<-h.leave
	return h.blobs.Fetch(ctx, desc)
}

func TestUnpackUsesTheStore(t *testing.T) {
	files := map[string]string{"a.bin": randomText(5000), "b/c.txt": "c"}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := a.Manifest.Layers[0]
	if err := s.Push(t.Context(), content.NewDescriptorFromBytes(l.MediaType, b.content[l.Digest]), strings.NewReader(files["a.bin"])); err != nil {
		t.Fatal(err)
	}
	var reused []string
	out := filepath.Join(t.TempDir(), "m")
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{Store: s, Observe: func(e transfer.Event) {
		if e.Action == transfer.Reused {
			reused = append(reused, e.Name)
		}
	}})
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if u.Fetched != 1 || u.Reused != 5000 || b.fetched[digest.FromString(files["a.bin"])] != 0 {
		t.Errorf("%+v", u)
	}
	if diff := cmp.Diff([]string{"a.bin"}, reused); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	// A change in the target does not reach the store.
	writeTree(t, out, map[string]string{"a.bin": "changed"})
	for f, err := range s.Verify(t.Context()) {
		t.Errorf("store: %v %v", f, err)
	}
}

func TestUnpackCancelled(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "abc"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := artifact.Unpack(ctx, a, b, filepath.Join(parent, "m"), artifact.UnpackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack = %v, want context.Canceled", err)
	}
	if _, err := os.Lstat(filepath.Join(parent, "m")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
}
