package mediatypes

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Layer is what a media type says of a blob.
type Layer struct {
	Family Family

	// Kind is empty where the type does not say: a generic file, a container
	// image's layer. [Classify] of the files then does.
	Kind Kind

	Encoding Encoding

	// Role is the blob's part in its family where the kind is too coarse:
	// "template", "system", "params", "messages", "license", "adapter",
	// "projector", "mmproj", "chat-template", "dduf", "prompt", "embed",
	// "tensor", "json", "part", "mcpb", "runtime-config", "metadata". It is
	// empty for an ordinary file.
	Role string
}

// fixedLayers are the types that stand for one thing each.
var fixedLayers = map[string]Layer{
	// Docker model artifacts, v0.1 and v0.2.
	DockerAIGGUF:         {DockerAI, KindWeight, Raw, ""},
	DockerAISafetensors:  {DockerAI, KindWeight, Raw, ""},
	DockerAIDDUF:         {DockerAI, KindWeight, Raw, "dduf"},
	DockerAIMMProj:       {DockerAI, KindWeight, Raw, "mmproj"},
	DockerAILicense:      {DockerAI, KindDoc, Raw, "license"},
	DockerAIChatTemplate: {DockerAI, KindWeightConfig, Raw, "chat-template"},
	DockerAIFile:         {DockerAI, "", Raw, ""},
	DockerAIVLLMConfig:   {DockerAI, KindWeightConfig, Tar, "runtime-config"},
	DockerAIDir:          {DockerAI, "", Tar, ""},

	OllamaModel:     {Ollama, KindWeight, Raw, ""},
	OllamaAdapter:   {Ollama, KindWeight, Raw, "adapter"},
	OllamaProjector: {Ollama, KindWeight, Raw, "projector"},
	OllamaTemplate:  {Ollama, KindWeightConfig, Raw, "template"},
	OllamaSystem:    {Ollama, KindWeightConfig, Raw, "system"},
	OllamaParams:    {Ollama, KindWeightConfig, Raw, "params"},
	OllamaMessages:  {Ollama, KindWeightConfig, Raw, "messages"},
	OllamaLicense:   {Ollama, KindDoc, Raw, "license"},
	OllamaPrompt:    {Ollama, KindWeightConfig, Raw, "prompt"},
	OllamaEmbed:     {Ollama, KindWeight, Raw, "embed"},
	OllamaTensor:    {Ollama, KindWeight, Raw, "tensor"},
	OllamaJSON:      {Ollama, KindWeightConfig, Raw, "json"},

	OMLMDModel:  {ORAS, KindWeight, Raw, ""},
	ConfigOMLMD: {ORAS, KindWeightConfig, Raw, "metadata"},

	ocispec.MediaTypeImageLayer:     {Image, "", Tar, ""},
	ocispec.MediaTypeImageLayerGzip: {Image, "", TarGzip, ""},
	ocispec.MediaTypeImageLayerZstd: {Image, "", TarZstd, ""},

	"application/vnd.docker.image.rootfs.diff.tar":      {Image, "", Tar, ""},
	"application/vnd.docker.image.rootfs.diff.tar.gzip": {Image, "", TarGzip, ""},
	"application/vnd.docker.image.rootfs.diff.tar.zstd": {Image, "", TarZstd, ""},
}

// ParseLayer tells what a layer of this media type holds. It reports false for
// a type that no family owns, such as text/plain; in a manifest of family
// [ORAS] such a layer is a file all the same, see [LayerOf].
func ParseLayer(mediaType string) (Layer, bool) {
	if l, ok := fixedLayers[mediaType]; ok {
		return l, true
	}
	if rest, ok := strings.CutPrefix(mediaType, prefixModelPack); ok {
		return parseModelPack(rest)
	}
	if rest, ok := strings.CutPrefix(mediaType, prefixModelKit); ok {
		return parseModelKit(rest)
	}
	if rest, ok := strings.CutPrefix(mediaType, prefixJozu); ok {
		// The first kits had one layer type for the model.
		if enc, ok := strings.CutPrefix(rest, "content.v1."); ok {
			rest = "model.v1." + enc
		}
		return parseModelKit(rest)
	}
	return Layer{}, false
}

// LayerOf tells what a layer holds in a manifest of family f, from its media
// type and annotations. Unlike [ParseLayer] it has an answer for every layer of
// an [ORAS] artifact, where the type is free and an annotation tells packed
// directories from files; that oras gives plain files the type of an image
// layer when the user names none is known to it.
func LayerOf(f Family, desc ocispec.Descriptor) (Layer, bool) {
	l, ok := ParseLayer(desc.MediaType)
	if f == ORAS && (!ok || l.Family == Image) {
		l, ok = Layer{Family: ORAS, Encoding: Raw}, true
		if desc.Annotations[AnnotationORASUnpack] == "true" {
			l.Encoding = TarGzip
		}
	}
	if ok && desc.Annotations[AnnotationKitLayerSubtype] == "prompt" {
		l.Role = "prompt"
	}
	return l, ok
}

// parseModelPack reads what follows the prefix: KIND.v1.ENCODING.
func parseModelPack(s string) (Layer, bool) {
	kind, enc, ok := strings.Cut(s, ".v1.")
	if !ok {
		return Layer{}, false
	}
	l := Layer{Family: ModelPack, Kind: Kind(kind)}
	switch l.Kind {
	case KindWeight:
		// Early versions of docker model wrote the format there.
		if enc == "gguf" || enc == "safetensors" {
			enc = string(Raw)
		}
	case KindWeightConfig, KindDoc, KindCode, KindDataset:
	case "layer": // RamaLama declares application/vnd.cncf.model.layer.v1.tar[+gzip]
		if enc == string(Raw) {
			return Layer{}, false
		}
		l.Kind = ""
	default:
		return Layer{}, false
	}
	return l.encoded(enc)
}

// parseModelKit reads what follows the prefix: TYPE.v1.ENCODING.
func parseModelKit(s string) (Layer, bool) {
	typ, enc, ok := strings.Cut(s, ".v1.")
	if !ok {
		return Layer{}, false
	}
	l := Layer{Family: ModelKit}
	switch typ {
	case "model":
		l.Kind = KindWeight
	case "modelpart":
		l.Kind, l.Role = KindWeight, "part"
	case "code":
		l.Kind = KindCode
	case "dataset":
		l.Kind = KindDataset
	case "docs":
		l.Kind = KindDoc
	case "mcpb":
		l.Kind, l.Role = KindCode, "mcpb"
	default:
		return Layer{}, false
	}
	return l.encoded(enc)
}

// encoded is l if enc is an encoding.
func (l Layer) encoded(enc string) (Layer, bool) {
	l.Encoding = Encoding(enc)
	switch l.Encoding {
	case Raw, Tar, TarGzip, TarZstd:
		return l, true
	}
	return Layer{}, false
}
