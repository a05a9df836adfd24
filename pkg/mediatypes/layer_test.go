package mediatypes_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

var (
	kinds     = []mediatypes.Kind{mediatypes.KindWeight, mediatypes.KindWeightConfig, mediatypes.KindDoc, mediatypes.KindCode, mediatypes.KindDataset}
	encodings = []mediatypes.Encoding{mediatypes.Raw, mediatypes.Tar, mediatypes.TarGzip, mediatypes.TarZstd}
)

// TestLayerTypes goes through the twenty types of ModelPack.
func TestLayerTypes(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range kinds {
		for _, e := range encodings {
			typ := mediatypes.LayerType(k, e)
			seen[typ] = true
			want := mediatypes.Layer{Family: mediatypes.ModelPack, Kind: k, Encoding: e}
			if got, ok := mediatypes.ParseLayer(typ); !ok || got != want {
				t.Errorf("ParseLayer(%q) = %+v, %t, want %+v", typ, got, ok, want)
			}
		}
	}
	if len(seen) != 20 || !seen["application/vnd.cncf.model.weight.config.v1.tar+zstd"] {
		t.Errorf("got %d types: %v", len(seen), seen)
	}
}

func TestParseLayer(t *testing.T) {
	const (
		cncf   = "application/vnd.cncf.model."
		kit    = "application/vnd.kitops.modelkit."
		docker = "application/vnd.docker.ai."
		ollama = "application/vnd.ollama.image."
	)
	tests := map[string]mediatypes.Layer{
		cncf + "weight.v1.gguf":        {Family: "modelpack", Kind: "weight", Encoding: "raw"},
		cncf + "weight.v1.safetensors": {Family: "modelpack", Kind: "weight", Encoding: "raw"},
		cncf + "layer.v1.tar":          {Family: "modelpack", Encoding: "tar"},
		cncf + "layer.v1.tar+gzip":     {Family: "modelpack", Encoding: "tar+gzip"},

		kit + "model.v1.tar":         {Family: "modelkit", Kind: "weight", Encoding: "tar"},
		kit + "model.v1.tar+gzip":    {Family: "modelkit", Kind: "weight", Encoding: "tar+gzip"},
		kit + "modelpart.v1.tar":     {Family: "modelkit", Kind: "weight", Encoding: "tar", Role: "part"},
		kit + "code.v1.tar+zstd":     {Family: "modelkit", Kind: "code", Encoding: "tar+zstd"},
		kit + "dataset.v1.raw":       {Family: "modelkit", Kind: "dataset", Encoding: "raw"},
		kit + "docs.v1.tar":          {Family: "modelkit", Kind: "doc", Encoding: "tar"},
		kit + "mcpb.v1.raw":          {Family: "modelkit", Kind: "code", Encoding: "raw", Role: "mcpb"},
		jozu + "content.v1.tar+gzip": {Family: "modelkit", Kind: "weight", Encoding: "tar+gzip"},

		docker + "gguf.v3":             {Family: "docker-ai", Kind: "weight", Encoding: "raw"},
		docker + "safetensors":         {Family: "docker-ai", Kind: "weight", Encoding: "raw"},
		docker + "dduf":                {Family: "docker-ai", Kind: "weight", Encoding: "raw", Role: "dduf"},
		docker + "mmproj":              {Family: "docker-ai", Kind: "weight", Encoding: "raw", Role: "mmproj"},
		docker + "license":             {Family: "docker-ai", Kind: "doc", Encoding: "raw", Role: "license"},
		docker + "chat.template.jinja": {Family: "docker-ai", Kind: "weight.config", Encoding: "raw", Role: "chat-template"},
		docker + "model.file":          {Family: "docker-ai", Encoding: "raw"},
		docker + "vllm.config.tar":     {Family: "docker-ai", Kind: "weight.config", Encoding: "tar", Role: "runtime-config"},
		docker + "dir.tar":             {Family: "docker-ai", Encoding: "tar"},

		ollama + "model":     {Family: "ollama", Kind: "weight", Encoding: "raw"},
		ollama + "adapter":   {Family: "ollama", Kind: "weight", Encoding: "raw", Role: "adapter"},
		ollama + "projector": {Family: "ollama", Kind: "weight", Encoding: "raw", Role: "projector"},
		ollama + "template":  {Family: "ollama", Kind: "weight.config", Encoding: "raw", Role: "template"},
		ollama + "system":    {Family: "ollama", Kind: "weight.config", Encoding: "raw", Role: "system"},
		ollama + "params":    {Family: "ollama", Kind: "weight.config", Encoding: "raw", Role: "params"},
		ollama + "messages":  {Family: "ollama", Kind: "weight.config", Encoding: "raw", Role: "messages"},
		ollama + "license":   {Family: "ollama", Kind: "doc", Encoding: "raw", Role: "license"},
		ollama + "prompt":    {Family: "ollama", Kind: "weight.config", Encoding: "raw", Role: "prompt"},
		ollama + "embed":     {Family: "ollama", Kind: "weight", Encoding: "raw", Role: "embed"},
		ollama + "tensor":    {Family: "ollama", Kind: "weight", Encoding: "raw", Role: "tensor"},
		ollama + "json":      {Family: "ollama", Kind: "weight.config", Encoding: "raw", Role: "json"},

		"application/x-mlmodel": {Family: "oras", Kind: "weight", Encoding: "raw"},
		"application/x-config":  {Family: "oras", Kind: "weight.config", Encoding: "raw", Role: "metadata"},

		ocispec.MediaTypeImageLayer:                         {Family: "image", Encoding: "tar"},
		ocispec.MediaTypeImageLayerGzip:                     {Family: "image", Encoding: "tar+gzip"},
		ocispec.MediaTypeImageLayerZstd:                     {Family: "image", Encoding: "tar+zstd"},
		"application/vnd.docker.image.rootfs.diff.tar.gzip": {Family: "image", Encoding: "tar+gzip"},
	}
	for typ, want := range tests {
		if got, ok := mediatypes.ParseLayer(typ); !ok || got != want {
			t.Errorf("ParseLayer(%q) = %+v, %t, want %+v", typ, got, ok, want)
		}
	}
}

const jozu = "application/vnd.jozu.model."

func TestParseLayerRejects(t *testing.T) {
	for _, typ := range []string{
		"", "text/plain", "application/octet-stream",
		"application/vnd.cncf.model.", "application/vnd.cncf.model.weight", "application/vnd.cncf.model.weight.v1.", "application/vnd.cncf.model.weight.v2.raw",
		"application/vnd.cncf.model.weight.v1.raw+gzip", "application/vnd.cncf.model.doc.v1.gguf", "application/vnd.cncf.model.layer.v1.raw",
		"application/vnd.cncf.model.Weight.v1.raw", mediatypes.ConfigModel, mediatypes.ArtifactModel,
		"application/vnd.kitops.modelkit.config.v1+json", "application/vnd.kitops.modelkit.content.v1.tar", "application/vnd.kitops.modelkit.model.v1.tar+bz2",
		jozu + "config.v1+json", "application/vnd.ollama.image.future", "application/vnd.docker.ai.future",
		"application/vnd.dev.cosign.simplesigning.v1+json",
	} {
		if got, ok := mediatypes.ParseLayer(typ); ok || got != (mediatypes.Layer{}) {
			t.Errorf("ParseLayer(%q) = %+v, %t, want nothing", typ, got, ok)
		}
	}
}

func TestLayerOf(t *testing.T) {
	desc := func(typ, key, value string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: typ, Annotations: map[string]string{key: value}}
	}
	const dir = mediatypes.AnnotationORASUnpack
	tests := []struct {
		name   string
		family mediatypes.Family
		desc   ocispec.Descriptor
		want   mediatypes.Layer
	}{
		{"oras file of any type", "oras", desc("text/plain", "", ""), mediatypes.Layer{Family: "oras", Encoding: "raw"}},
		{"oras file without a type", "oras", desc(ocispec.MediaTypeImageLayer, "", ""), mediatypes.Layer{Family: "oras", Encoding: "raw"}},
		{"oras directory", "oras", desc(ocispec.MediaTypeImageLayerGzip, dir, "true"), mediatypes.Layer{Family: "oras", Encoding: "tar+gzip"}},
		{"oras file of gzip, kept", "oras", desc(ocispec.MediaTypeImageLayerGzip, dir, "false"), mediatypes.Layer{Family: "oras", Encoding: "raw"}},
		{"omlmd model", "oras", desc(mediatypes.OMLMDModel, "", ""), mediatypes.Layer{Family: "oras", Kind: "weight", Encoding: "raw"}},
		{"modelpack layer among files", "oras", desc(mediatypes.LayerType("doc", "raw"), "", ""), mediatypes.Layer{Family: "modelpack", Kind: "doc", Encoding: "raw"}},
		{"image layer in an image", "image", desc(ocispec.MediaTypeImageLayer, "", ""), mediatypes.Layer{Family: "image", Encoding: "tar"}},
		{"prompt of a kit", "modelkit", desc("application/vnd.kitops.modelkit.code.v1.tar", mediatypes.AnnotationKitLayerSubtype, "prompt"), mediatypes.Layer{Family: "modelkit", Kind: "code", Encoding: "tar", Role: "prompt"}},
		{"unknown in a model", "modelpack", desc("text/plain", "", ""), mediatypes.Layer{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := mediatypes.LayerOf(tt.family, tt.desc)
			if got != tt.want || ok != (tt.want != mediatypes.Layer{}) {
				t.Errorf("LayerOf = %+v, %t, want %+v", got, ok, tt.want)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	want := map[string]mediatypes.Family{
		"modctl": "modelpack", "docker-model-cncf": "modelpack", "olot-modelpack": "modelpack", "ramalama-podman": "modelpack",
		"kitops-1.7": "modelkit", "kitops-2026": "modelkit", "jozu": "modelkit",
		"docker-model-0.1": "docker-ai", "docker-model-0.2": "docker-ai",
		"ollama": "ollama", "ollama-tensors": "ollama",
		"omlmd": "oras", "oras": "oras",
		"modelcar":             "image",
		"not-cosign-signature": "", "not-sigstore-bundle": "", "not-helm-chart": "", "not-attestation": "", "not-files": "", "not-referrer": "",
	}
	got := map[string]mediatypes.Family{}
	for name := range want {
		f, ok := mediatypes.Detect(parse(t, name))
		if ok != (f != "") {
			t.Errorf("%s: Detect = %q, %t", name, f, ok)
		}
		got[name] = f
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Detect (-want +got):\n%s", diff)
	}
}

// TestDetectByLess takes away what registries take away.
func TestDetectByLess(t *testing.T) {
	m := parse(t, "modctl")
	m.ArtifactType = ""
	if f, ok := mediatypes.Detect(m); f != mediatypes.ModelPack || !ok {
		t.Errorf("without artifactType: %q, %t", f, ok)
	}
	m.Config.MediaType = mediatypes.ConfigEmpty
	if f, ok := mediatypes.Detect(m); f != mediatypes.ModelPack || !ok {
		t.Errorf("without config's type: %q, %t", f, ok)
	}
	m.Layers = nil
	if f, ok := mediatypes.Detect(m); ok {
		t.Errorf("without layers: %q", f)
	}
}

// TestDetectedLayers states that every layer of every model that is detected
// has a meaning.
func TestDetectedLayers(t *testing.T) {
	for name := range strings.FieldsSeq("modctl docker-model-cncf olot-modelpack ramalama-podman kitops-1.7 kitops-2026 jozu docker-model-0.1 docker-model-0.2 ollama ollama-tensors omlmd oras modelcar") {
		m := parse(t, name)
		f, _ := mediatypes.Detect(m)
		for _, l := range m.Layers {
			if got, ok := mediatypes.LayerOf(f, l); !ok || got.Encoding == "" {
				t.Errorf("%s: LayerOf(%s) = %+v, %t", name, l.MediaType, got, ok)
			}
		}
	}
}
