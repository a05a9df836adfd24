package hub_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestPull(t *testing.T) {
	w := newWorld(t)
	model := t.TempDir()
	names := testmodel.Write(t, model)
	pushed, err := w.Push(t.Context(), model, w.ref("org/tiny:v1"), hub.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	got, err := w.Pull(t.Context(), w.ref("org/tiny:v1"), out, hub.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := &hub.PullResult{
		Reference: pushed.Reference, Digest: pushed.Digest, Directory: out,
		Files: len(names), Size: pushed.Size, FetchedBytes: pushed.Size,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result: %s", diff)
	}
	if diff := cmp.Diff(read(t, model), read(t, out)); diff != "" {
		t.Errorf("files: %s", diff)
	}

	w.fill("org/tiny", "v1")
	second, err := w.Pull(t.Context(), w.ref("org/tiny:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if second.FetchedBytes != 0 || second.ReusedBytes != pushed.Size {
		t.Errorf("with all in the store: %d bytes fetched, %d reused", second.FetchedBytes, second.ReusedBytes)
	}
}

// A store lists what it has whole, by the name it was pulled under.
func TestPullListsInStore(t *testing.T) {
	w := newWorld(t)
	one, two := w.push("org/m:v1", "one"), w.push("org/m:v2", "two")
	pull := func(name string, opts hub.PullOptions) {
		t.Helper()
		if _, err := w.Pull(t.Context(), w.ref(name), filepath.Join(t.TempDir(), "out"), opts); err != nil {
			t.Fatal(err)
		}
	}
	w.fill("org/m", "v1")
	w.fill("org/m", "v2")
	pull("org/m:v1", hub.PullOptions{NoStore: true})
	if got := w.stored(); len(got) > 0 {
		t.Errorf("a pull without a store listed %v", got)
	}
	pull("org/m:v1", hub.PullOptions{})
	pull("org/m@"+one.Digest, hub.PullOptions{})
	pull("org/m@"+two.Digest, hub.PullOptions{})
	want := map[string]string{
		"org/m:v1":            one.Digest,
		"org/m@" + one.Digest: one.Digest,
		"org/m@" + two.Digest: two.Digest,
	}
	if diff := cmp.Diff(want, w.stored()); diff != "" {
		t.Errorf("listed: %s", diff)
	}
	for f, err := range w.store.Verify(t.Context()) {
		t.Errorf("store: %+v, %v", f, err)
	}
}

func TestPullWithoutStore(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	bare := hub.New(hub.Options{Remote: w.client})
	t.Chdir(t.TempDir())
	res, err := bare.Pull(t.Context(), w.ref("org/m:v1"), "", hub.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Directory != "m" {
		t.Errorf("directory = %q, want the model's name", res.Directory)
	}
	if diff := cmp.Diff(files{"notes.txt": "one"}, read(t, "m")); diff != "" {
		t.Error(diff)
	}
}

// What is pulled by name must be signed under that name: an index as such, a
// child as such.
func TestPullVerifies(t *testing.T) {
	w := newWorld(t)
	signer, trust := alice().signer, alice().trust
	stranger := stranger().trust
	one, two := w.push("org/m:one", "one"), w.push("org/m:two", "two")
	w.pushIndex("org/m", "signed-index", "one")
	w.pushIndex("org/m", "signed-child", "two")
	for _, name := range []string{"signed-index", "two"} {
		if _, err := w.Sign(t.Context(), w.ref("org/m:"+name), signer, signing.SignOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		ref    string
		trust  *signing.Trust
		digest string // "" for refused
	}{
		"index":                      {"org/m:signed-index", trust, one.Digest},
		"index, wrong key":           {"org/m:signed-index", stranger, ""},
		"index, only child signed":   {"org/m:signed-child", trust, ""},
		"child":                      {"org/m@" + two.Digest, trust, two.Digest},
		"child, wrong key":           {"org/m@" + two.Digest, stranger, ""},
		"child, only index signed":   {"org/m@" + one.Digest, trust, ""},
		"digest wins over good name": {"org/m:signed-index@" + one.Digest, trust, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			out := filepath.Join(parent, "out")
			res, err := w.Pull(t.Context(), w.ref(tt.ref), out, hub.PullOptions{Trust: tt.trust})
			if tt.digest == "" {
				if !errors.Is(err, signing.ErrNoSignature) && !errors.Is(err, signing.ErrUntrusted) {
					t.Errorf("error = %v, want a refusal", err)
				}
				wantEmpty(t, parent)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Digest != tt.digest || res.Verified == nil || len(res.Verified.Signers) != 1 {
				t.Errorf("result = %+v", res)
			}
		})
	}
}

// The tag moves after it was resolved: what was verified is what is fetched.
func TestPullFetchesWhatItVerified(t *testing.T) {
	w := newWorld(t)
	signer, trust := alice().signer, alice().trust
	good := w.push("org/m:v1", "good")
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	w.push("org/m:evil", "evil")
	move := sync.OnceFunc(func() {
		if _, err := w.Tag(context.WithoutCancel(t.Context()), w.ref("org/m:evil"), "v1"); err != nil {
			t.Error(err)
		}
	})
	w.srv.Add(testreg.Rule{Method: "GET", Path: "/referrers/|/manifests/sha256-", Do: func(x testreg.Exchange) {
		move()
		x.Pass(x.W)
	}})
	out := filepath.Join(t.TempDir(), "out")
	res, err := w.Pull(t.Context(), w.ref("org/m:v1"), out, hub.PullOptions{Trust: trust})
	if err != nil {
		t.Fatal(err)
	}
	if res.Digest != good.Digest || read(t, out)["notes.txt"] != "good" {
		t.Errorf("pulled %s with %v, want what was verified", res.Digest, read(t, out))
	}
	if w.digestOf("org/m", "v1") == good.Digest {
		t.Fatal("the tag did not move")
	}
}

func TestPullWrongBytes(t *testing.T) {
	w := newWorld(t)
	text := strings.Repeat("weights", 100)
	w.push("org/m:v1", text)
	w.srv.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Do: testreg.FlipBit(testreg.Middle)})
	parent := t.TempDir()
	_, err := w.Pull(t.Context(), w.ref("org/m:v1"), filepath.Join(parent, "out"), hub.PullOptions{})
	wantErr(t, err, content.ErrMismatchedDigest)
	wantEmpty(t, parent)
	if got := w.stored(); len(got) > 0 {
		t.Errorf("the store lists %v", got)
	}
}

func TestPullCancelled(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", strings.Repeat("weights", 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	w.observe = func(e transfer.Event) {
		if e.Action == transfer.Progress {
			cancel()
		}
	}
	w.srv.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", From: 2, To: 2, Do: testreg.Stall(testreg.Middle)}) // 1 is the config
	parent := t.TempDir()
	out := filepath.Join(parent, "out")
	_, err := w.Pull(ctx, w.ref("org/m:v1"), out, hub.PullOptions{})
	wantErr(t, err, context.Canceled)
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
	if got := w.stored(); len(got) > 0 {
		t.Errorf("the store lists %v", got)
	}

	w.observe = nil
	w.srv.Reset()
	res, err := w.Pull(t.Context(), w.ref("org/m:v1"), out, hub.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.FetchedBytes >= res.Size {
		t.Errorf("after a pull that was stopped %d of %d bytes were fetched", res.FetchedBytes, res.Size)
	}
	wantOnly(t, parent, "out")
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	wantOnly(t, dir)
}

func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("in the directory: %s", diff)
	}
}
