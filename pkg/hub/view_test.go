package hub_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/signing"
)

// viewed is a version with a file of each kind, and its view.
func viewed(t *testing.T) (*world, *hub.View, files) {
	t.Helper()
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	model := files{
		"notes.txt": "0123456789", "empty": "", "onnx/model.txt": "abc",
		"model.safetensors": string(testmodel.SafetensorsFile(testmodel.Transformer(1, 0), nil)),
		"data.csv":          strings.Repeat("0123456789", 1_000_000), // no chunk index
	}
	if _, err := w.Push(t.Context(), dir(t, model), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	w.srv.Reset()
	v, err := w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return w, v, model
}

func openView(t *testing.T, v *hub.View, path string) *hub.ViewReader {
	t.Helper()
	for _, f := range v.Files {
		if f.Path != path {
			continue
		}
		r, err := f.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		return r
	}
	t.Fatalf("no file %s", path)
	return nil
}

// readPieces reads the whole file as a mount does, so many pieces at once.
func readPieces(r *hub.ViewReader, size int, n int64) ([]byte, error) {
	each := r.Piece() * n
	if each == 0 {
		each = 1 << 20
	}
	out := make([]byte, 0, size)
	for len(out) < size {
		p := make([]byte, min(each, int64(size-len(out))))
		if _, err := r.ReadAt(p, int64(len(out))); err != nil && !errors.Is(err, io.EOF) {
			return out, err
		}
		out = append(out, p...)
	}
	return out, nil
}

// blobRequests counts those for blobs.
func (w *world) blobRequests() int {
	n := 0
	for _, r := range w.srv.Requests() {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/blobs/") {
			n++
		}
	}
	return n
}

func TestView(t *testing.T) {
	w, v, model := viewed(t)
	if len(v.Files) != len(model) || v.Verified != nil || v.Digest != w.digestOf("org/m", "v1") {
		t.Errorf("View = %d files of %s, %v", len(v.Files), v.Digest, v.Verified)
	}
	if n := w.blobRequests(); n > 1 { // the config
		t.Errorf("looking made %d requests for blobs", n)
	}
	for name, text := range model {
		w.srv.Reset()
		r := openView(t, v, name)
		got, err := readPieces(r, len(text), 4)
		if err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		// An index, and 2 MiB at a time; or the file at once.
		if n, want := w.blobRequests(), len(text)>>21+2; n > want {
			t.Errorf("%s: %d requests, want at most %d", name, n, want)
		}
	}
	if got := w.warned(); !strings.Contains(got, "data.csv") || strings.Count(got, "only whole") != 1 {
		t.Errorf("warned %q", got)
	}
	// What was fetched whole is in the store now.
	w.srv.Reset()
	if _, err := readPieces(openView(t, v, "data.csv"), 100, 1); err != nil || w.blobRequests() > 0 {
		t.Errorf("again: %v, %d requests", err, w.blobRequests())
	}
}

func TestViewOfWrongBytes(t *testing.T) {
	for _, name := range []string{"notes.txt", "model.safetensors", "data.csv"} {
		t.Run(name, func(t *testing.T) {
			w, v, model := viewed(t)
			w.srv.Add(testreg.Rule{Path: blobPath(model[name]), Do: testreg.FlipBit(-1)})
			r := openView(t, v, name)
			got, err := readPieces(r, len(model[name]), 1)
			if !errors.Is(err, content.ErrMismatchedDigest) || !strings.HasPrefix(model[name], string(got)) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			w.srv.Reset()
			again, err := readPieces(r, len(model[name]), 1)
			if wrong := name == "data.csv"; wrong != errors.Is(err, content.ErrMismatchedDigest) || !wrong && string(again) != model[name] {
				t.Errorf("read again: %d bytes, %v", len(again), err)
			}
		})
	}
}

func blobPath(text string) string { return "/blobs/" + digest.FromString(text).String() }

// Where the registry gives no parts, the file is fetched whole.
func TestViewWithoutRanges(t *testing.T) {
	w, v, model := viewed(t)
	w.srv.Add(testreg.Rule{Range: testreg.With, Do: testreg.IgnoreRange()})
	text := model["model.safetensors"]
	r := openView(t, v, "model.safetensors")
	p := make([]byte, r.Piece())
	off := int64(len(text)) / r.Piece() / 2 * 2 * r.Piece()
	if n, err := r.ReadAt(p[:min(r.Piece(), int64(len(text))-off)], off); err != nil || string(p[:n]) != text[off:off+int64(n)] {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	if got, err := readPieces(r, len(text), 4); err != nil || string(got) != text {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// What the store has is read there, and where that is damaged, in the registry.
func TestViewFromTheStore(t *testing.T) {
	w, v, model := viewed(t)
	for name, text := range model {
		if err := w.store.Push(t.Context(), content.NewDescriptorFromBytes("", []byte(text)), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		w.srv.Reset()
		if got, err := readPieces(openView(t, v, name), len(text), 4); err != nil || string(got) != text || w.blobRequests() > 1 {
			t.Errorf("%s: %d bytes, %v, %d requests", name, len(got), err, w.blobRequests())
		}
	}
	for _, name := range []string{"notes.txt", "model.safetensors", "data.csv"} {
		text := model[name]
		damaged := bytes.Clone([]byte(text))
		damaged[len(damaged)/2] ^= 1
		file := filepath.Join(w.store.Dir(), "blobs", "sha256", digest.FromString(text).Encoded())
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readPieces(openView(t, v, name), len(text), 1); err != nil || string(got) != text {
			t.Errorf("%s, damaged: %d bytes, %v", name, len(got), err)
		}
	}
}

// Small files are parts of a layer, and are read alone.
func TestViewOfManyFiles(t *testing.T) {
	w := newWorld(t)
	model := files{}
	for i := range 600 {
		model["words/"+string(rune('a'+i%26))+strings.Repeat("x", i/26)+".txt"] = strings.Repeat("word ", i)
	}
	if _, err := w.Push(t.Context(), dir(t, model), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	v, err := w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{})
	if err != nil || len(v.Files) != len(model) {
		t.Fatalf("View = %d files, %v, want %d", len(v.Files), err, len(model))
	}
	w.srv.Reset()
	const name = "words/cxxxx.txt"
	if got, err := readPieces(openView(t, v, name), len(model[name]), 1); err != nil || string(got) != model[name] || w.blobRequests() != 1 {
		t.Errorf("read %q, %v, in %d requests", got, err, w.blobRequests())
	}
}

// Dot files that a pull refuses are not shown either: programs would obey them.
func TestViewRefusesDotfiles(t *testing.T) {
	tests := map[string]bool{".vscode/tasks.json": true, "a/.envrc": true, ".vimrc": true, ".gitattributes": false}
	w := newWorld(t)
	for name, refused := range tests {
		if _, err := w.Push(t.Context(), dir(t, files{"notes.txt": "x", name: "x"}), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{})
		if errors.Is(err, artifact.ErrDotfile) != refused || err != nil && !refused {
			t.Errorf("View of %s: %v", name, err)
		}
		if v, err := w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{AllowDotfiles: true}); err != nil || len(v.Files) < 2 {
			t.Errorf("View of %s, allowed: %v", name, err)
		}
	}
}

// The same decides as for a pull, before anything is fetched.
func TestViewIsAdmitted(t *testing.T) {
	w, _, _ := viewed(t)
	w.srv.Reset()
	_, err := w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{Trust: alice().trust})
	wantErr(t, err, signing.ErrNoSignature)
	if n := w.blobRequests(); n > 0 {
		t.Errorf("%d requests for blobs of what was refused", n)
	}
	_, err = w.View(t.Context(), w.ref("org/m:none"), hub.ViewOptions{})
	wantErr(t, err, errdef.ErrNotFound)
}

// What is locked is shown, wherever its tag has moved, and nothing else.
func TestViewLocked(t *testing.T) {
	w := newWorld(t)
	push := func(text string) {
		t.Helper()
		if _, err := w.Push(t.Context(), dir(t, files{"notes.txt": text}), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	push("one")
	e, err := w.Lock(t.Context(), w.ref("org/m:v1"), hub.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	push("the other")
	l := hub.Locked{Name: "m", Entry: e}
	v, err := w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{Locked: &l})
	if err != nil || v.Digest != e.Digest.String() || v.Files[0].Size != 3 {
		t.Fatalf("View = %v, %v, want %s", v, err, e.Digest)
	}
	l.Files = digest.FromString("other files")
	_, err = w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{Locked: &l})
	wantErr(t, err, lock.ErrDrift)
}
