package hub_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

func TestCat(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	var out bytes.Buffer
	if err := w.Cat(t.Context(), w.ref("org/m:v1"), "notes.txt", &out); err != nil || out.String() != "one" {
		t.Errorf("Cat wrote %q, %v", out.String(), err)
	}
	wantErr(t, w.Cat(t.Context(), w.ref("org/m:v1"), "no/such", &out), fs.ErrNotExist)
	full := errors.New("disk full")
	wantErr(t, w.Cat(t.Context(), w.ref("org/m:v1"), "notes.txt", failing{full}), full)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestCatRange(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	large := string(testmodel.SafetensorsFile(testmodel.Transformer(1, 0), nil))
	plain := strings.Repeat("0123456789", 1_000_000)
	model := dir(t, files{"notes.txt": "0123456789", "model.safetensors": large, "data.csv": plain, "empty": ""})
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		file     string
		part     hub.Range
		want     string
		err      error
		doubtful bool // cannot be verified
	}{
		"first":              {"notes.txt", hub.Range{First: 0, Last: 0}, "0", nil, false},
		"middle":             {"notes.txt", hub.Range{First: 2, Last: 4}, "234", nil, false},
		"to the end":         {"notes.txt", hub.Range{First: 7, Last: -1}, "789", nil, false},
		"beyond the end":     {"notes.txt", hub.Range{First: 7, Last: 100}, "789", nil, false},
		"the last":           {"notes.txt", hub.Range{First: -2}, "89", nil, false},
		"more than there is": {"notes.txt", hub.Range{First: -20}, "0123456789", nil, false},
		"behind the end":     {"notes.txt", hub.Range{First: 10, Last: 20}, "", hub.ErrUsage, false},
		"backwards":          {"notes.txt", hub.Range{First: 5, Last: 4}, "", hub.ErrUsage, false},
		"of nothing":         {"empty", hub.Range{First: 0, Last: -1}, "", hub.ErrUsage, false},
		"no such file":       {"nope", hub.Range{First: 0, Last: -1}, "", fs.ErrNotExist, false},
		"of weights":         {"model.safetensors", hub.Range{First: 9_000_000, Last: 9_999_999}, large[9_000_000:10_000_000], nil, false},
		"the end of weights": {"model.safetensors", hub.Range{First: -100}, large[len(large)-100:], nil, false},
		"without an index":   {"data.csv", hub.Range{First: 5_000_005, Last: 5_000_007}, "567", nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.warned()
			var out bytes.Buffer
			err := w.CatRange(t.Context(), w.ref("org/m:v1"), tt.file, tt.part, &out)
			if !errors.Is(err, tt.err) || out.String() != tt.want {
				t.Errorf("CatRange wrote %d bytes, %v; want %d, %v", out.Len(), err, len(tt.want), tt.err)
			}
			if warned := w.warned(); (warned != "") != tt.doubtful {
				t.Errorf("warned %q", warned)
			}
		})
	}
}

// A part of weights costs itself, about the chunks it is in, and their index.
func TestCatRangeMovesLittle(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	large := string(testmodel.SafetensorsFile(testmodel.Transformer(1, 0), nil))
	if _, err := w.Push(t.Context(), dir(t, files{"model.safetensors": large}), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	before := len(w.srv.Requests())
	if err := w.CatRange(t.Context(), w.ref("org/m:v1"), "model.safetensors", hub.Range{First: 9_000_000, Last: 9_000_099}, io.Discard); err != nil {
		t.Fatal(err)
	}
	var moved int64
	for _, r := range w.srv.Requests()[before:] {
		moved += r.BytesOut
	}
	if moved > 600<<10 {
		t.Errorf("%d bytes moved for 100", moved)
	}
	w.srv.Add(testreg.Rule{Path: "/blobs/", Range: testreg.With, Do: testreg.FlipBit(100)})
	err := w.CatRange(t.Context(), w.ref("org/m:v1"), "model.safetensors", hub.Range{First: 9_000_000, Last: 9_000_099}, io.Discard)
	wantErr(t, err, content.ErrMismatchedDigest)
}

// mirrored returns a hub without a store that reads through a mirror, which has
// the model as what it is called, and lies about parts of its blobs.
func (w *world) mirrored(model, name string) *hub.Hub {
	w.t.Helper()
	mirror := testreg.New(w.t, testreg.Options{})
	to, err := ref.Parse(mirror.Host + "/" + name)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Push(w.t.Context(), model, to, hub.PushOptions{}); err != nil {
		w.t.Fatal(err)
	}
	mirror.Add(testreg.Rule{Method: "GET", Path: "/blobs/", Range: testreg.With, Do: testreg.Swap()})
	client, err := remote.New(remote.Options{
		AuthFile: filepath.Join(w.t.TempDir(), "config.json"),
		Mirrors:  map[string][]remote.Mirror{w.srv.Host: {{URL: mirror.URL}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.CloseIdle)
	return hub.New(hub.Options{Remote: client, Warn: w.warn})
}

// Parts that cannot be verified are not read from a mirror.
func TestCatRangeBelievesNoMirror(t *testing.T) {
	t.Parallel() // it waits between attempts
	w := newWorld(t)
	large := string(testmodel.SafetensorsFile(testmodel.Transformer(1, 0), nil))
	model := dir(t, files{"model.safetensors": large, "data.csv": strings.Repeat("0123456789", 1_000_000)})
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	h := w.mirrored(model, "org/m:v1")
	for name, want := range map[string]string{"data.csv": "56789", "model.safetensors": large[5_000_005:5_000_010]} {
		var out bytes.Buffer
		err := h.CatRange(t.Context(), w.ref("org/m:v1"), name, hub.Range{First: 5_000_005, Last: 5_000_009}, &out)
		if err != nil || out.String() != want {
			t.Errorf("%s: CatRange wrote %q, %v; want %q", name, out.String(), err, want)
		}
	}
}
