package artifact_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/format/shard"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// blocky is a model of blocks of two tensors each, over 64 KiB.
func blocky() string {
	var tensors []testmodel.Tensor
	for i := range 16 {
		for _, name := range []string{"up", "down"} {
			data := []byte(strings.Repeat(fmt.Sprintf("%s%03d", name[:1], i), 1024))
			tensors = append(tensors, testmodel.Tensor{Name: fmt.Sprintf("h.%d.%s", i, name), DType: "BF16", Shape: []int64{2, 1024}, Data: data})
		}
	}
	return string(testmodel.SafetensorsFile(tensors, map[string]string{"format": "pt"}))
}

// tensorsOf reads all tensors below a directory.
func tensorsOf(t *testing.T, dir string) map[string]digest.Digest {
	t.Helper()
	all := make(map[string]digest.Digest)
	for name, data := range allFiles(t, dir) {
		list, err := format.Tensors(t.Context(), format.File{
			Path: name, Size: int64(len(data)), Open: func(context.Context) (format.ReaderAtCloser, error) { return os.Open(filepath.Join(dir, name)) },
		})
		if errors.Is(err, format.ErrUnknownFormat) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			all[x.Name] = digest.FromBytes(data[x.Offset : x.Offset+x.Bytes])
		}
	}
	return all
}

func annotations(t *testing.T, p *artifact.Packed) map[string]string {
	t.Helper()
	var m ocispec.Manifest
	if err := json.Unmarshal(p.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	return m.Annotations
}

func TestPackReshard(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{"model.safetensors": blocky(), "config.json": `{"model_type":"gpt2"}`, "README.md": readme})
	b := newBlobs()
	whole := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	cut := mustPack(t, dir, b, artifact.PackOptions{Reshard: 20_000})
	var names []string
	for _, f := range cut.Files {
		names = append(names, f.Path)
		if f.Size > 20_000 {
			t.Errorf("%s has %d bytes", f.Path, f.Size)
		}
	}
	want := []string{"README.md", "config.json"}
	for i := range 8 {
		want = append(want, fmt.Sprintf("model-%05d-of-00008.safetensors", i+1))
	}
	if diff := cmp.Diff(append(want, "model.safetensors.index.json"), names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if len(cut.Notes) != 1 || !strings.Contains(cut.Notes[0], "cut model.safetensors into 8 shards") {
		t.Errorf("notes %q", cut.Notes)
	}
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, mustOpen(t, b, cut.Descriptor), b, out, artifact.UnpackOptions{})
	if diff := cmp.Diff(tensorsOf(t, dir), tensorsOf(t, out)); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
	// What is said of the model is the same, however it is stored.
	if diff := cmp.Diff(annotations(t, whole), annotations(t, cut)); diff != "" {
		t.Errorf("annotations (-whole +cut):\n%s", diff)
	}
	if again := mustPack(t, dir, b, artifact.PackOptions{Reshard: 20_000}); again.Descriptor.Digest != cut.Descriptor.Digest || again.Uploaded != 0 {
		t.Errorf("packed again it is %s, %d bytes sent; want %s, none", again.Descriptor.Digest, again.Uploaded, cut.Descriptor.Digest)
	}
}

// A GGUF in shards is described as the whole was, by its first.
func TestPackReshardGGUF(t *testing.T) {
	m := testmodel.TinyGGUF()
	for i := range 16 {
		m.Tensors = append(m.Tensors, testmodel.GGUFTensor{
			Name: fmt.Sprintf("blk.%d.ffn_up.weight", i), Type: 30, Dims: []uint64{1024, 2}, Data: []byte(strings.Repeat(fmt.Sprintf("%04d", i), 1024)),
		})
	}
	dir := writeTree(t, t.TempDir(), map[string]string{"tiny-Q8_0.gguf": string(testmodel.GGUFFile(m))})
	b := newBlobs()
	whole := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	cut := mustPack(t, dir, b, artifact.PackOptions{Reshard: 20_000})
	if diff := cmp.Diff(annotations(t, whole), annotations(t, cut)); diff != "" || annotations(t, cut)[mediatypes.AnnotationParameters] == "" {
		t.Errorf("annotations (-whole +cut):\n%s", diff)
	}
	if n := len(cut.Files); n != 4 || cut.Files[0].Path != "tiny-Q8_0-00001-of-00004.gguf" || cut.Files[0].Kind != mediatypes.KindWeight {
		t.Errorf("%d files, the first %v", n, cut.Files[0])
	}
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, mustOpen(t, b, cut.Descriptor), b, out, artifact.UnpackOptions{})
	if diff := cmp.Diff(tensorsOf(t, dir), tensorsOf(t, out)); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
}

// A file that changes while its shards are read is noticed.
func TestPackReshardChanged(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{"model.safetensors": blocky()})
	opts := artifact.PackOptions{Reshard: 20_000, MountFrom: func(digest.Digest) []string {
		if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte("other"), 0o600); err != nil {
			t.Error(err)
		}
		return nil
	}, Workers: 1}
	if _, err := artifact.Pack(t.Context(), dir, newBlobs(), opts); !errors.Is(err, artifact.ErrChanged) {
		t.Errorf("Pack = %v, want ErrChanged", err)
	}
}

func TestPackReshardRefuses(t *testing.T) {
	big := blocky()
	tests := map[string]struct {
		files map[string]string
		want  error
	}{
		"malformed":         {map[string]string{"model.safetensors": big[:len(big)-1]}, format.ErrMalformed},
		"a name is taken":   {map[string]string{"model.safetensors": big, "model.safetensors.index.json": `{"weight_map":{}}`}, shard.ErrConflict},
		"shards are absent": {map[string]string{"model-00001-of-00002.safetensors": big}, shard.ErrConflict},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			dir := writeTree(t, t.TempDir(), test.files)
			if _, err := artifact.Pack(t.Context(), dir, b, artifact.PackOptions{Reshard: 20_000}); !errors.Is(err, test.want) {
				t.Errorf("Pack = %v, want %v", err, test.want)
			}
			if len(b.content) > 0 {
				t.Errorf("%d blobs were sent", len(b.content))
			}
		})
	}
}
