package artifact_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oras.land/oras-go/v2/content"

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

// A plan counts what chunks spare as the pull does: what is too short for a
// request of its own is fetched with what is around it, and a source without
// ranges gives all.
func TestPlanCountsChunksAsThePullDoes(t *testing.T) {
	tensor := func(name string, seed byte, n int64) testmodel.Tensor {
		data := make([]byte, n)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
		return testmodel.Tensor{Name: name, DType: "U8", Shape: []int64{n}, Data: data}
	}
	version := func(seed byte) []byte {
		return testmodel.SafetensorsFile([]testmodel.Tensor{
			tensor("a", 1, 4<<20), tensor("b", seed, 2<<20), tensor("short", 2, 40<<10), tensor("c", seed+1, 2<<20), tensor("d", 3, 1<<20),
		}, nil)
	}
	b := newBlobs()
	for name, src := range map[string]content.Fetcher{"ranges": ranged{b}, "no ranges": b} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			for _, seed := range []byte{10, 20} {
				p := mustPack(t, writeTree(t, t.TempDir(), map[string]string{"m.safetensors": string(version(seed))}), b, artifact.PackOptions{})
				if _, err := artifact.PushIndexes(t.Context(), b, p.Descriptor, p.Indexes); err != nil {
					t.Fatal(err)
				}
				a := mustOpen(t, b, p.Descriptor)
				plan, err := artifact.PlanUnpack(t.Context(), a, src, dir, artifact.UnpackOptions{})
				if err != nil {
					t.Fatal(err)
				}
				u, err := artifact.Unpack(t.Context(), a, src, dir, artifact.UnpackOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if plan.Fetch != u.Fetched || plan.Reuse != u.Reused {
					t.Errorf("planned to fetch %d and to reuse %d, fetched %d and reused %d", plan.Fetch, plan.Reuse, u.Fetched, u.Reused)
				}
				if some := seed == 20 && name == "ranges"; some != (u.Reused > 0) {
					t.Errorf("%d bytes reused", u.Reused)
				}
			}
		})
	}
}
