package source_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/internal/testhub"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transport is how modelreg reaches hubs.
func transport(t testing.TB) *remote.Client {
	t.Helper()
	c, err := remote.New(remote.Options{AuthFile: filepath.Join(t.TempDir(), "none.json")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

func options(t testing.TB, hub *testhub.Server) source.Options {
	t.Helper()
	return source.Options{
		Transport:   transport(t).Transport(),
		HuggingFace: source.Hub{Endpoint: hub.URL()},
		ModelScope:  source.Hub{Endpoint: hub.URL()},
		TempDir:     t.TempDir(),
	}
}

// noise is n bytes that do not repeat.
func noise(n int) []byte {
	var b []byte
	for seed := sha256.Sum256([]byte("noise")); len(b) < n; seed = sha256.Sum256(seed[:]) {
		b = append(b, seed[:]...)
	}
	return b[:n]
}

// tiny is a model with all kinds of files: large, small, empty, deep, and with
// names that must be escaped.
func tiny() map[string][]byte {
	return map[string][]byte{
		"README.md":         []byte("---\nlicense: apache-2.0\n---\n# Tiny\n"),
		"config.json":       []byte(`{"model_type":"llama"}`),
		"empty.txt":         nil,
		"model.safetensors": noise(3 << 20),
		"tokenizer.json":    noise(5000),
		"sub/dir/a b#1.txt": []byte("a name with a space\n"),
		"sub/übersicht.md":  []byte("# Übersicht\n"),
	}
}

func mustOpen(t *testing.T, name string, opts source.Options) *source.Model {
	t.Helper()
	m, err := source.Open(t.Context(), name, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// check compares the files of a model with what they should be.
func check(t *testing.T, m *source.Model, want map[string][]byte) {
	t.Helper()
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Path)
		b := want[f.Path]
		if f.Size != int64(len(b)) || f.Digest != digest.FromBytes(b) {
			t.Errorf("%s: %d bytes, %s", f.Path, f.Size, f.Digest)
		}
		got, err := read(t.Context(), f, 0, -1)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: read %d bytes, %v", f.Path, len(got), err)
		}
		part, err := read(t.Context(), f, f.Size/2, f.Size/4)
		if err != nil || !bytes.Equal(part, b[f.Size/2:f.Size/2+f.Size/4]) {
			t.Errorf("%s: read a part of %d bytes, %v", f.Path, len(part), err)
		}
	}
	if w := slices.Sorted(maps.Keys(want)); !slices.Equal(names, w) {
		t.Errorf("files are %q, want %q", names, w)
	}
}

func read(ctx context.Context, f source.File, offset, length int64) ([]byte, error) {
	rc, err := f.Open(ctx, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(rc)
	return b, errors.Join(err, rc.Close())
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not say %q", text, p)
		}
	}
}
