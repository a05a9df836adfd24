package artifact_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
)

// schema is the part of JSON schema that the ModelPack schema uses.
type schema struct {
	Ref                  string            `json:"$ref"`
	Type                 string            `json:"type"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties *bool             `json:"additionalProperties"`
	Required             []string          `json:"required"`
	Items                *schema           `json:"items"`
	MinItems             int               `json:"minItems"`
	MinLength            int               `json:"minLength"`
	Enum                 []string          `json:"enum"`
	Format               string            `json:"format"`
	Defs                 map[string]schema `json:"$defs"`
}

// check lists what is wrong with v at path p.
func (s schema) check(defs map[string]schema, p string, v any) []string {
	if s.Ref != "" {
		return defs[filepath.Base(s.Ref)].check(defs, p, v)
	}
	var bad []string
	fail := func(format string, args ...any) { bad = append(bad, p+": "+fmt.Sprintf(format, args...)) }
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			fail("is an object")
		}
		for _, k := range s.Required {
			if _, ok := v[k]; !ok {
				fail("lacks %s", k)
			}
		}
		for k, member := range v {
			sub, ok := s.Properties[k]
			if !ok && s.AdditionalProperties != nil && !*s.AdditionalProperties {
				fail("may not have %s", k)
			} else if ok {
				bad = append(bad, sub.check(defs, p+"."+k, member)...)
			}
		}
	case []any:
		if s.Type != "array" || len(v) < s.MinItems {
			fail("is an array of %d", len(v))
		}
		for i, item := range v {
			if s.Items != nil {
				bad = append(bad, s.Items.check(defs, fmt.Sprintf("%s[%d]", p, i), item)...)
			}
		}
	case string:
		if s.Type != "string" || len(v) < s.MinLength || s.Enum != nil && !slices.Contains(s.Enum, v) {
			fail("is %q", v)
		}
		if _, err := time.Parse(time.RFC3339, v); s.Format == "date-time" && err != nil {
			fail("is %q", v)
		}
	default:
		fail("is %T", v)
	}
	return bad
}

func TestConfigFitsTheSchema(t *testing.T) {
	raw, err := os.ReadFile("testdata/config-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	valid := func(config string) []string {
		var v any
		if err := json.Unmarshal([]byte(config), &v); err != nil {
			return []string{err.Error()}
		}
		return s.check(s.Defs, "config", v)
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
			if bad := valid(string(a.Config)); bad != nil {
				t.Errorf("config %s: %s", a.Config, strings.Join(bad, "; "))
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
