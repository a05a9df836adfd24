package artifact_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// indexesOf packs a directory and returns the indexes by the paths that the
// manifest's annotations bind them to.
func indexesOf(t *testing.T, p *artifact.Packed) map[string]*chunk.Index {
	t.Helper()
	var m ocispec.Manifest
	if err := json.Unmarshal(p.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	byRef := make(map[string][]byte)
	for _, x := range p.Indexes {
		byRef[digest.FromBytes(x.Raw).String()] = x.Raw
	}
	out := make(map[string]*chunk.Index)
	for _, l := range m.Layers {
		dgst, _, ok := strings.Cut(l.Annotations[mediatypes.AnnotationChunkIndex], ";")
		if !ok {
			continue
		}
		x, err := chunk.Parse(byRef[dgst])
		if err != nil {
			t.Fatalf("index of %s: %v", l.Annotations[mediatypes.AnnotationTitle], err)
		}
		if x.Size() != l.Size {
			t.Errorf("index of %s is of %d bytes", l.Annotations[mediatypes.AnnotationTitle], x.Size())
		}
		out[l.Annotations[mediatypes.AnnotationTitle]] = x
	}
	return out
}

func TestPackIndexesLargeWeights(t *testing.T) {
	tensors := testmodel.Transformer(1, 0)
	tensors = append(tensors, testmodel.Tensor{Name: "tail", DType: "BF16", Shape: []int64{4}, Data: make([]byte, 8)})
	file := testmodel.SafetensorsFile(tensors, nil)
	torch := "PK" + strings.Repeat("not a tensor table ", 500_000)
	dir := writeTree(t, t.TempDir(), map[string]string{
		"model.safetensors": string(file), "copy.safetensors": string(file),
		"pytorch_model.bin": torch, "small.safetensors": string(testmodel.SafetensorsFile(tensors[1:2], nil)),
		"damaged.safetensors": string(file[:len(file)-1]), "README.md": "x", "data.csv": strings.Repeat("1,2\n", 3_000_000),
	})
	p := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	indexes := indexesOf(t, p)
	for _, name := range []string{"README.md", "small.safetensors", "data.csv"} {
		if indexes[name] != nil {
			t.Errorf("%s has an index", name)
		}
	}
	x := indexes["model.safetensors"]
	if x == nil || indexes["copy.safetensors"] == nil {
		t.Fatal("weights have no index")
	}
	header := int64(len(file))
	for _, tensor := range tensors {
		header -= int64(len(tensor.Data))
	}
	// The header, the embedding, then small tensors that share a chunk, the
	// head, and what is behind it.
	embed, norm := header+int64(len(tensors[0].Data)), header+int64(len(tensors[0].Data)+len(tensors[1].Data))
	starts := make(map[int64]bool)
	for _, c := range x.All() {
		starts[c.Offset] = true
	}
	for _, start := range []int64{header, embed, norm, int64(len(file) - 8)} {
		if !starts[start] {
			t.Errorf("no chunk starts at %d", start)
		}
	}
	if y := indexes["pytorch_model.bin"]; y == nil || y.At(1).Offset == chunk.Grid {
		t.Error("a file without tensors is not cut by its content")
	}
	if indexes["damaged.safetensors"] == nil {
		t.Error("a damaged file has no index")
	}
	if len(p.Indexes) != len(indexes)-1 {
		t.Errorf("%d indexes for %d files of which two are the same", len(p.Indexes), len(indexes))
	}
}

// A packMemory is an IndexCache and DigestCache in memory.
type packMemory struct {
	mu      sync.Mutex
	indexes map[digest.Digest][]byte
	files   map[string]digest.Digest
	made    int
}

func newPackMemory() *packMemory {
	return &packMemory{indexes: make(map[digest.Digest][]byte), files: make(map[string]digest.Digest)}
}

func (m *packMemory) Lookup(fi os.FileInfo) (digest.Digest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.files[fi.Name()]
	return d, ok
}

func (m *packMemory) Record(fi os.FileInfo, d digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[fi.Name()] = d
}

type rememberedIndexes struct{ *packMemory }

func (m rememberedIndexes) Lookup(file digest.Digest) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, ok := m.indexes[file]
	return raw, ok
}

func (m rememberedIndexes) Record(file digest.Digest, raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made++
	m.indexes[file] = raw
}

// The manifest is the same whether an index was made now, remembered, or lost
// while the digest was kept.
func TestPackWithIndexesIsDeterministic(t *testing.T) {
	dir := t.TempDir()
	file := testmodel.SafetensorsFile(testmodel.Transformer(2, 0), nil)
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	want := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	m := newPackMemory()
	opts := artifact.PackOptions{Digests: m, Indexes: rememberedIndexes{m}}
	for _, step := range []struct {
		name   string
		before func()
		made   int
	}{
		{"first", func() {}, 1},
		{"remembered", func() {}, 1},
		{"index lost", func() { clear(m.indexes) }, 2},
		{"index damaged", func() { m.indexes[digest.FromBytes(file)] = []byte("MRCX") }, 3},
		{"index of another file", func() {
			b := chunk.NewBuilder(0, nil)
			m.indexes[digest.FromBytes(file)], _ = b.Finish()
		}, 4},
	} {
		step.before()
		got := mustPack(t, dir, newBlobs(), opts)
		if got.Descriptor.Digest != want.Descriptor.Digest {
			t.Errorf("%s: another manifest", step.name)
		}
		if diff := cmp.Diff(want.Indexes, got.Indexes); diff != "" {
			t.Errorf("%s: indexes (-want +got):\n%s", step.name, diff)
		}
		if m.made != step.made {
			t.Errorf("%s: %d indexes made, want %d", step.name, m.made, step.made)
		}
	}
}

func TestPushIndexes(t *testing.T) {
	b := newBlobs()
	dir := writeTree(t, t.TempDir(), map[string]string{"model.safetensors": string(testmodel.SafetensorsFile(testmodel.Transformer(3, 0), nil))})
	p := mustPack(t, dir, b, artifact.PackOptions{})
	raw, err := artifact.PushIndexes(t.Context(), b, p.Descriptor, p.Indexes)
	if err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if m.ArtifactType != mediatypes.ArtifactTransfer || m.Subject == nil || m.Subject.Digest != p.Descriptor.Digest || len(m.Layers) != 1 {
		t.Errorf("manifest %s", raw)
	}
	layer := m.Layers[0]
	if layer.Annotations[mediatypes.AnnotationIndexedLayer] != p.Files[0].Layer.Digest.String() || layer.MediaType != mediatypes.LayerChunkIndex {
		t.Errorf("layer %+v", layer)
	}
	if string(b.content[layer.Digest]) != string(p.Indexes[0].Raw) || b.content[m.Config.Digest] == nil {
		t.Error("not all that the manifest names was pushed")
	}
}
