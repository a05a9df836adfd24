package artifact_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/store"
)

// two are versions of a model of which only small tensors differ.
func two() (v1, v2 []byte) {
	old := testmodel.Transformer(1, 0)
	norm := testmodel.Transformer(2, 0)[1]
	return testmodel.SafetensorsFile(old, nil), testmodel.SafetensorsFile([]testmodel.Tensor{old[0], norm, old[2]}, nil)
}

// Blobs of the store are taken from like files of directories.
func TestUnpackTakesFromTheStore(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v1, v2 := two()
	old, err := artifact.Pack(t.Context(), writeTree(t, t.TempDir(), map[string]string{"a.safetensors": string(v1)}), s, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), old.Descriptor, "registry.example/m:v1"); err != nil {
		t.Fatal(err)
	}
	indexes, err := s.ChunkIndexes()
	if err != nil {
		t.Fatal(err)
	}
	indexes.Put(old.Indexes[0].Raw)
	b := newBlobs()
	p := mustPack(t, writeTree(t, t.TempDir(), map[string]string{"b.safetensors": string(v2)}), b, artifact.PackOptions{})
	if _, err := artifact.PushIndexes(t.Context(), b, p.Descriptor, p.Indexes); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	u, err := artifact.Unpack(t.Context(), mustOpen(t, b, p.Descriptor), ranged{b}, dir, artifact.UnpackOptions{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	if u.Fetched > 2*chunk.Grid || u.Fetched+u.Reused != u.Size {
		t.Errorf("%d fetched and %d reused of %d", u.Fetched, u.Reused, u.Size)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "b.safetensors")); err != nil || !bytes.Equal(got, v2) {
		t.Errorf("the file is another: %v", err)
	}
}

// A source that reads no ranges gives whole blobs, and all is well.
func TestUnpackWithoutRanges(t *testing.T) {
	v1, v2 := two()
	b := newBlobs()
	dir := filepath.Join(t.TempDir(), "out")
	for _, file := range [][]byte{v1, v2} {
		p := mustPack(t, writeTree(t, t.TempDir(), map[string]string{"m.safetensors": string(file)}), b, artifact.PackOptions{})
		if _, err := artifact.PushIndexes(t.Context(), b, p.Descriptor, p.Indexes); err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Unpack(t.Context(), mustOpen(t, b, p.Descriptor), b, dir, artifact.UnpackOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "m.safetensors")); err != nil || !bytes.Equal(got, v2) {
		t.Errorf("the file is another: %v", err)
	}
}

// An index that is promised to be huge is not made room for.
func TestUnpackByAnIndexOfAnySize(t *testing.T) {
	v1, v2 := two()
	b := newBlobs()
	dir := filepath.Join(t.TempDir(), "out")
	for i, file := range [][]byte{v1, v2} {
		p := mustPack(t, writeTree(t, t.TempDir(), map[string]string{"m.safetensors": string(file)}), b, artifact.PackOptions{})
		a := mustOpen(t, b, p.Descriptor)
		if i == 1 {
			for j := range a.Files {
				annotation := a.Files[j].Layer.Annotations["dev.modelreg.index.v1"]
				dgst, _, _ := strings.Cut(annotation, ";")
				a.Files[j].Layer.Annotations["dev.modelreg.index.v1"] = dgst + ";9223372036854775807"
			}
		}
		if _, err := artifact.Unpack(t.Context(), a, ranged{b}, dir, artifact.UnpackOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "m.safetensors")); err != nil || !bytes.Equal(got, v2) {
		t.Errorf("the file is another: %v", err)
	}
}
