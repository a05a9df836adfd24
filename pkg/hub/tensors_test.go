package hub_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/hub"
)

// writers make a directory each with the tensors of one format.
var writers = map[string]struct {
	write func(testing.TB, string)
	names []string // of the tensors
	files int
}{
	"safetensors": {testmodel.Safetensors, []string{"model.embed_tokens.weight", "lm_head.weight"}, 1},
	"shards":      {testmodel.ShardedSafetensors, []string{"model.embed_tokens.weight", "lm_head.weight"}, 2},
	"gguf":        {testmodel.GGUF, []string{"token_embd.weight", "output_norm.weight"}, 1},
	"onnx":        {testmodel.ONNX, []string{"w", "v"}, 2},
	"pytorch":     {testmodel.TorchZip, []string{"w", "b"}, 1},
	"numpy":       {testmodel.Numpy, []string{"a", "b", "weights"}, 2},
}

func TestTensors(t *testing.T) {
	w := newWorld(t)
	for name, tt := range writers {
		t.Run(name, func(t *testing.T) {
			model := t.TempDir()
			tt.write(t, model)
			if _, err := w.Push(t.Context(), model, w.ref("org/"+name+":v1"), hub.PushOptions{}); err != nil {
				t.Fatal(err)
			}
			got, err := w.Tensors(t.Context(), w.ref("org/"+name+":v1"), "")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, tensor := range got.Tensors {
				names = append(names, tensor.Name)
			}
			if diff := cmp.Diff(tt.names, names); diff != "" {
				t.Error(diff)
			}
			if got.Files != tt.files || got.Elements == 0 || got.Size == 0 || got.Digest == "" || !got.Verified || len(got.Problems) > 0 {
				t.Errorf("list = %+v", got)
			}
			local, err := hub.LocalTensors(t.Context(), model, "")
			if err != nil {
				t.Fatal(err)
			}
			local.Reference, local.Digest, local.Verified = got.Reference, got.Digest, true
			if diff := cmp.Diff(got, local); diff != "" {
				t.Errorf("the directory has other tensors (-pushed +local):\n%s", diff)
			}
		})
	}
}

func TestTensorsOfOneFile(t *testing.T) {
	w := newWorld(t)
	model := t.TempDir()
	testmodel.ShardedSafetensors(t, model)
	if err := os.WriteFile(filepath.Join(model, "broken.gguf"), []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	remote := func(path string) (*hub.TensorList, error) { return w.Tensors(t.Context(), w.ref("org/m:v1"), path) }
	local := func(path string) (*hub.TensorList, error) { return hub.LocalTensors(t.Context(), model, path) }
	for name, tensors := range map[string]func(string) (*hub.TensorList, error){"remote": remote, "local": local} {
		t.Run(name, func(t *testing.T) {
			got, err := tensors("model-00002-of-00002.safetensors")
			if err != nil || len(got.Tensors) != 1 || got.Tensors[0].Name != "lm_head.weight" {
				t.Errorf("tensors of the second shard = %+v, %v", got, err)
			}
			got, err = tensors("")
			if err != nil || len(got.Tensors) != 2 || len(got.Problems) != 1 {
				t.Errorf("tensors = %+v, %v; want two, and a problem", got, err)
			}
			for path, want := range map[string]error{"broken.gguf": format.ErrMalformed, "config.json": hub.ErrUsage, "nope": fs.ErrNotExist} {
				if _, err := tensors(path); !errors.Is(err, want) {
					t.Errorf("tensors of %s: %v, want %v", path, err, want)
				}
			}
		})
	}
}

// Caches of models are links to files elsewhere.
func TestLocalTensorsFollowsLinks(t *testing.T) {
	blobs, model := t.TempDir(), t.TempDir()
	testmodel.Safetensors(t, blobs)
	link := filepath.Join(model, "model.safetensors")
	for to, from := range map[string]string{
		filepath.Join(blobs, "model.safetensors"): link,
		filepath.Join(blobs, "gone"):              filepath.Join(model, "gone.safetensors"),
	} {
		if err := os.Symlink(to, from); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip("links need a privilege there")
			}
			t.Fatal(err)
		}
	}
	for _, name := range []string{model, link} {
		got, err := hub.LocalTensors(t.Context(), name, "")
		if err != nil || len(got.Tensors) != 2 {
			t.Errorf("tensors of %s = %+v, %v", name, got, err)
		}
	}
}
