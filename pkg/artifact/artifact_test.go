package artifact_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childTarget); dir != "" {
		unpackChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// A blobs is content in memory that counts what is read from it.
type blobs struct {
	mu      sync.Mutex
	content map[digest.Digest][]byte
	fetched map[digest.Digest]int
	ranges  int
	pushed  []string
}

func newBlobs() *blobs {
	return &blobs{content: make(map[digest.Digest][]byte), fetched: make(map[digest.Digest]int)}
}

func (b *blobs) put(mediaType string, data []byte) ocispec.Descriptor {
	b.mu.Lock()
	defer b.mu.Unlock()
	desc := content.NewDescriptorFromBytes(mediaType, data)
	b.content[desc.Digest] = data
	return desc
}

func (b *blobs) Exists(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.content[desc.Digest]
	return ok, nil
}

func (b *blobs) Push(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	data, err := content.ReadAll(r, desc)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content[desc.Digest] = data
	b.pushed = append(b.pushed, desc.MediaType)
	return nil
}

func (b *blobs) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.content[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", desc.Digest, errdef.ErrNotFound)
	}
	b.fetched[desc.Digest]++
	// Not a *bytes.Reader: a registry gives nothing but bytes in order.
	return io.NopCloser(io.MultiReader(bytes.NewReader(data))), nil
}

// fetches is how often blobs were read from their beginning.
func (b *blobs) fetches() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, k := range b.fetched {
		n += k
	}
	return n
}

// A ranged is a blobs that can read parts.
type ranged struct{ *blobs }

func (r ranged) FetchRange(_ context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, ok := r.content[desc.Digest]
	if !ok || off < 0 || off > int64(len(data)) {
		return nil, errdef.ErrNotFound
	}
	r.ranges++
	if n < 0 || n > int64(len(data))-off {
		n = int64(len(data)) - off
	}
	return io.NopCloser(bytes.NewReader(data[off : off+n])), nil
}

// writeTree makes a directory of files.
func writeTree(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readTree reads the files of a directory, without what Unpack writes besides.
func readTree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || strings.HasPrefix(rel, ".modelreg") {
			return err
		}
		if e.Type() != 0 {
			files[filepath.ToSlash(rel)] = e.Type().String()
			return nil
		}
		data, err := os.ReadFile(p)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// leftovers are the entries of dir but those named.
func leftovers(t testing.TB, dir string, but ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
next:
	for _, e := range entries {
		for _, b := range but {
			if e.Name() == b {
				continue next
			}
		}
		out = append(out, e.Name())
	}
	return out
}

func mustPack(t testing.TB, dir string, dst *blobs, opts artifact.PackOptions) *artifact.Packed {
	t.Helper()
	p, err := artifact.Pack(t.Context(), dir, dst, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustOpen(t testing.TB, src content.Fetcher, desc ocispec.Descriptor) *artifact.Artifact {
	t.Helper()
	a, err := artifact.Open(t.Context(), src, desc)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustUnpack(t testing.TB, a *artifact.Artifact, src content.Fetcher, dir string, opts artifact.UnpackOptions) *artifact.Unpacked {
	t.Helper()
	u, err := artifact.Unpack(t.Context(), a, src, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A tarEntry is a member of an archive made for a test.
type layerSpec struct {
	mediaType   string
	data        []byte
	annotations map[string]string
}

func named(path string) map[string]string {
	return map[string]string{mediatypes.AnnotationFilepath: path}
}

// modelPack makes an artifact with these layers and a config that fits.
func modelPack(b *blobs, layers ...layerSpec) ocispec.Descriptor {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: mediatypes.ArtifactModel,
	}
	diffIDs := []string{}
	for _, l := range layers {
		desc := b.put(l.mediaType, l.data)
		desc.Annotations = maps.Clone(l.annotations)
		m.Layers = append(m.Layers, desc)
		diffIDs = append(diffIDs, desc.Digest.String())
	}
	config, _ := json.Marshal(map[string]any{
		"descriptor": map[string]any{}, "config": map[string]any{},
		"modelfs": map[string]any{"type": "layers", "diffIds": diffIDs},
	})
	m.Config = b.put(mediatypes.ConfigModel, config)
	return putManifest(b, m)
}

func putManifest(b *blobs, m any) ocispec.Descriptor {
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b.put(ocispec.MediaTypeImageManifest, raw)
}

func randomText(n int) string {
	buf := make([]byte, n)
	_, _ = rand.Read(buf)
	return string(buf)
}
