package hub_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
)

// keep puts bytes into the store under the digest of others.
func (w *world) keep(text string, bytes []byte) {
	w.t.Helper()
	if err := w.store.Push(w.t.Context(), content.NewDescriptorFromBytes("", []byte(text)), strings.NewReader(text)); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.store.Dir(), "blobs", "sha256", digest.FromString(text).Encoded())
	if err := os.Chmod(file, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// What was found out about a file that is had whole outlasts the reader: it is not
// fetched again because it is opened again.
func TestViewReopened(t *testing.T) {
	w, v, model := viewed(t)
	text := model["data.csv"]
	w.srv.Add(testreg.Rule{Path: blobPath(text), Do: testreg.FlipBit(-1)})
	if _, err := readPieces(openView(t, v, "data.csv"), len(text), 1); !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("wrong bytes: %v", err)
	}
	before := w.blobRequests()
	if _, err := readPieces(openView(t, v, "data.csv"), len(text), 1); !errors.Is(err, content.ErrMismatchedDigest) || w.blobRequests() > before {
		t.Errorf("opened again: %v, %d requests", err, w.blobRequests()-before)
	}
	// It came otherwise.
	w.keep(text, []byte(text))
	if got, err := readPieces(openView(t, v, "data.csv"), len(text), 1); err != nil || string(got) != text {
		t.Errorf("from the store: %d bytes, %v", len(got), err)
	}
}

// Files tell which of them are the same, and readers what they take.
func TestViewContent(t *testing.T) {
	w := newWorld(t)
	text := string(testmodel.SafetensorsFile(testmodel.Transformer(1, 0), nil))
	model := files{"a.safetensors": text, "b/c.safetensors": text, "notes.txt": "0123"}
	if _, err := w.Push(t.Context(), dir(t, model), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	v, err := w.View(t.Context(), w.ref("org/m:v1"), hub.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a, b, c := v.Files[0].Content(), v.Files[1].Content(), v.Files[2].Content(); a != b || a == c {
		t.Errorf("contents are %q, %q and %q", a, b, c)
	}
	if a, c := openView(t, v, "a.safetensors").Memory(), openView(t, v, "notes.txt").Memory(); a < 32*int64(len(text))>>19 || a > 4096 || c != 0 {
		t.Errorf("indexes take %d and %d bytes", a, c)
	}
}
