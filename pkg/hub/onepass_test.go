package hub_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/transfer"
)

const bigFile = 64<<20 + 4096 // large enough to be sent while it is hashed

// bigModel makes a model of one large file of random bytes.
func bigModel(t *testing.T, seed byte) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "weights.bin")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{seed}), bigFile)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// newDiskWorld is a world whose registry does not live in memory.
func newDiskWorld(t *testing.T) *world {
	return newWorldWith(t, testreg.Options{Data: t.TempDir()})
}

// sent returns the bytes that went to the registry by each method.
func (w *world) sent() map[string]int64 {
	sum := make(map[string]int64)
	for _, q := range w.srv.Requests() {
		if q.BytesIn > 1<<20 { // the large blob, and no document
			sum[q.Method] += q.BytesIn
		}
	}
	return sum
}

func (w *world) pushDir(dir, name string, opts hub.PushOptions) *hub.PushResult {
	w.t.Helper()
	res, err := w.Push(w.t.Context(), dir, w.ref(name), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func TestPushOnePass(t *testing.T) {
	w := newDiskWorld(t)
	model, file := bigModel(t, 1)
	var done []transfer.Event
	w.observe = func(e transfer.Event) {
		if e.Action == transfer.Done && e.Name == "weights.bin" {
			done = append(done, e)
		}
	}
	first := w.pushDir(model, "org/m:v1", hub.PushOptions{})
	if got := w.sent(); got["PATCH"] != bigFile || got["PUT"] != 0 {
		t.Errorf("sent %v, want one PATCH of %d bytes", got, bigFile)
	}
	if len(done) != 1 || done[0].Desc.Digest == "" || done[0].Desc.Size != bigFile {
		t.Errorf("told of %+v at the end", done)
	}

	w.srv.Reset()
	if again := w.pushDir(model, "org/m:v1", hub.PushOptions{}); again.Digest != first.Digest || again.Created || len(w.sent()) > 0 {
		t.Errorf("second push: %+v, sent %v", again, w.sent())
	}

	// Hashed first, it is the same version; what is there goes nowhere.
	other := w.pushDir(model, "org/m:v2", hub.PushOptions{MountFrom: []string{"org/none"}})
	if other.Digest != first.Digest || len(w.sent()) > 0 {
		t.Errorf("push by digest: %+v, sent %v", other, w.sent())
	}

	// A new file of that name and size may be the old one.
	if err := os.WriteFile(file, make([]byte, bigFile), 0o600); err != nil {
		t.Fatal(err)
	}
	w.pushDir(model, "org/m:v1", hub.PushOptions{})
	if got := w.sent(); got["PUT"] != bigFile || got["PATCH"] != 0 {
		t.Errorf("changed file sent %v, want one PUT", got)
	}
}

// What the registry has already does no harm.
func TestPushOnePassOfWhatIsThere(t *testing.T) {
	w := newDiskWorld(t)
	model, _ := bigModel(t, 2)
	first := w.pushDir(model, "org/m:v1", hub.PushOptions{})
	second := newWorldOn(t, w)
	if res := second.pushDir(model, "org/m:v2", hub.PushOptions{}); res.Digest != first.Digest || !res.Created {
		t.Errorf("push of the same from elsewhere: %+v, want %s", res, first.Digest)
	}
}

func TestPushOnePassRefused(t *testing.T) {
	w := newDiskWorld(t)
	w.srv.Add(testreg.Fault("no-patch-405"))
	model, _ := bigModel(t, 3)
	retries := 0
	w.observe = func(e transfer.Event) {
		if e.Action == transfer.Retry {
			retries++
		}
	}
	w.pushDir(model, "org/m:v1", hub.PushOptions{})
	if got := w.sent(); got["PUT"] != bigFile {
		t.Errorf("sent %v, want one PUT after the refused PATCH", got)
	}
	if retries > 0 {
		t.Errorf("%d retries told of", retries)
	}

	// Another process knows.
	w.srv.Reset()
	w.srv.Add(testreg.Fault("no-patch-405"))
	other, _ := bigModel(t, 4)
	later := newWorldOn(t, w)
	later.pushDir(other, "org/n:v1", hub.PushOptions{})
	if slices.ContainsFunc(w.srv.Requests(), func(q testreg.Request) bool { return q.Method == "PATCH" }) {
		t.Error("PATCH was tried again")
	}
}

// newWorldOn is another process of the same user: the same registry and store.
func newWorldOn(t *testing.T, w *world) *world {
	t.Helper()
	other := newWorld(t)
	other.srv = w.srv
	other.Hub = hub.New(hub.Options{Remote: other.client, Store: w.store})
	return other
}

// A file that changes while it is sent makes no version.
func TestPushOnePassOfChangingFile(t *testing.T) {
	w := newDiskWorld(t)
	model, file := bigModel(t, 5)
	w.srv.Add(testreg.Rule{Method: "PATCH", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
		if err := os.Truncate(file, bigFile/2); err != nil {
			t.Error(err)
		}
		x.Pass(x.W)
	}})
	_, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{})
	wantErr(t, err, artifact.ErrChanged)
	for _, q := range w.srv.Requests() {
		if strings.Contains(q.Path, "/manifests/") && q.Method == "PUT" {
			t.Errorf("%s %s: a version was made", q.Method, q.Path)
		}
	}
}

// digests are a cache of digests that believes all that it is told.
type digests struct {
	mu   sync.Mutex
	by   map[string]digest.Digest
	told func() // is called when it is told of the large file
}

func (d *digests) Lookup(fi fs.FileInfo) (digest.Digest, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dgst, ok := d.by[fi.Name()]
	return dgst, ok
}

func (d *digests) Record(fi fs.FileInfo, dgst digest.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by[fi.Name()] = dgst; fi.Size() == bigFile {
		d.told()
	}
}

// A push that was stopped while the hash was ahead of the network goes on where it
// stopped, although the digest is known by now.
func TestPushOnePassGoesOn(t *testing.T) {
	w := newDiskWorld(t)
	model, _ := bigModel(t, 6)
	hashed := make(chan struct{})
	known := &digests{by: map[string]digest.Digest{}, told: sync.OnceFunc(func() { close(hashed) })}
	repo := w.repo("org/m")
	ctx, cancel := context.WithCancel(t.Context())
	w.srv.Add(testreg.Rule{Method: "PATCH", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
		<-hashed
		defer cancel()
		testreg.TakeThenDrop(bigFile / 2)(x)
	}})
	_, err := artifact.Pack(ctx, model, repo, artifact.PackOptions{Digests: known})
	wantErr(t, err, context.Canceled)
	w.srv.Reset()
	if _, err := artifact.Pack(t.Context(), model, repo, artifact.PackOptions{Digests: known}); err != nil {
		t.Fatal(err)
	}
	if got := w.sent(); got["PATCH"] > bigFile/2 || got["PUT"] > 0 {
		t.Errorf("sent %v of %d bytes, half of which had arrived", got, bigFile)
	}
}

// A push that was killed while the registry was closing the upload finds the blob
// there, and sends nothing.
func TestPushOnePassWasClosed(t *testing.T) {
	w := newDiskWorld(t)
	model, _ := bigModel(t, 7)
	ctx, cancel := context.WithCancel(t.Context())
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
		defer cancel()
		testreg.CommitThenDrop()(x)
	}})
	_, err := w.Push(ctx, model, w.ref("org/m:v1"), hub.PushOptions{})
	wantErr(t, err, context.Canceled)
	w.srv.Reset()
	res := newWorldOn(t, w).pushDir(model, "org/m:v1", hub.PushOptions{})
	if got := w.sent(); len(got) > 0 || res.SkippedBytes != bigFile {
		t.Errorf("sent %v, skipped %d bytes of %d", got, res.SkippedBytes, bigFile)
	}
}
