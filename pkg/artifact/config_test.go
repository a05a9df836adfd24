package artifact_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelpack/model-spec/schema"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
)

func TestConfigFitsTheSchema(t *testing.T) {
	valid := func(config string) error {
		return schema.ValidatorMediaTypeModelConfig.Validate(strings.NewReader(config))
	}
	// The check itself must be able to say no.
	for _, bad := range []string{`{}`, `{"descriptor":{},"config":{},"modelfs":{"type":"layers","diffIds":[]}}`, `{"descriptor":{"name":""},"config":{},"modelfs":{"type":"layers","diffIds":["x"]}}`, `{"descriptor":{},"config":{"x":1},"modelfs":{"type":"layers","diffIds":["x"]}}`} {
		if valid(bad) == nil {
			t.Errorf("%s is valid", bad)
		}
	}
	dirs := map[string]string{"tiny": tinyModel(t), "bare": writeTree(t, t.TempDir(), map[string]string{"x": "y"})}
	for name, write := range map[string]func(testing.TB, string){
		"gguf": testmodel.GGUF, "onnx": testmodel.ONNX, "shards": testmodel.ShardedSafetensors, "torch": testmodel.TorchZip, "numpy": testmodel.Numpy,
	} {
		dirs[name] = t.TempDir()
		write(t, dirs[name])
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			p := mustPack(t, dir, b, artifact.PackOptions{Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))})
			a := mustOpen(t, b, p.Descriptor)
			if err := valid(string(a.Config)); err != nil {
				t.Errorf("config %s: %v", a.Config, err)
			}
			if !strings.Contains(string(a.Config), `"createdAt":"2026-01-02T02:04:05Z"`) || a.Manifest.Annotations[ocispec.AnnotationCreated] != "2026-01-02T02:04:05Z" {
				t.Errorf("config %s has no or another time", a.Config)
			}
		})
	}
}

func TestConfigSaysWhatFilesSay(t *testing.T) {
	b := newBlobs()
	p := mustPack(t, tinyModel(t), b, artifact.PackOptions{})
	a := mustOpen(t, b, p.Descriptor)
	var got struct {
		Descriptor, Config map[string]any
	}
	if err := json.Unmarshal(a.Config, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"family": "llama", "name": "Tiny", "licenses": []any{"apache-2.0"}}, got.Descriptor); diff != "" {
		t.Errorf("descriptor (-want +got):\n%s", diff)
	}
	want := map[string]any{
		"architecture": "LlamaForCausalLM", "format": "safetensors", "paramSize": got.Config["paramSize"], "precision": got.Config["precision"],
		"capabilities": map[string]any{"inputTypes": []any{"text"}, "outputTypes": []any{"text"}, "languages": []any{"en", "de"}},
	}
	if diff := cmp.Diff(want, got.Config); diff != "" || got.Config["paramSize"] == nil || got.Config["precision"] == nil {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	m, c, err := a.Describe(t.Context(), ranged{b})
	if err != nil {
		t.Fatal(err)
	}
	if m.Family != "llama" || m.Parameters == 0 || c == nil || c.Meta.Name != "Tiny" {
		t.Errorf("Describe = %+v, %+v", m, c)
	}
}
