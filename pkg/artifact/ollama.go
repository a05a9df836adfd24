package artifact

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// ollamaNames are the names of layers that have none.
var ollamaNames = map[string][2]string{
	mediatypes.OllamaModel:     {"model", ".gguf"},
	mediatypes.OllamaAdapter:   {"adapter", ".gguf"},
	mediatypes.OllamaProjector: {"projector", ".gguf"},
	mediatypes.OllamaTemplate:  {"template", ".txt"},
	mediatypes.OllamaSystem:    {"system", ".txt"},
	mediatypes.OllamaPrompt:    {"prompt", ".txt"},
	mediatypes.OllamaParams:    {"params", ".json"},
	mediatypes.OllamaMessages:  {"messages", ".json"},
	mediatypes.OllamaLicense:   {"LICENSE", ""},
	mediatypes.OllamaEmbed:     {"embed", ".bin"},
}

// listOllama lists an Ollama model, whose layers are told apart by their media
// types. Layers of the experimental layout, a tensor or config file each, are
// titled.
func listOllama(a *Artifact, _ []byte) ([]File, error) {
	names := newNamer(a.Manifest.Layers)
	files := make([]File, 0, len(a.Manifest.Layers))
	for i, desc := range a.Manifest.Layers {
		f, err := layerFile(a.Family, i, desc)
		if err != nil {
			return nil, err
		}
		title := desc.Annotations[mediatypes.AnnotationTitle]
		switch name, ok := ollamaNames[desc.MediaType]; {
		case ok:
			f.Path = names.numbered(desc.MediaType, name[0], name[1])
		case title == "":
			return nil, fmt.Errorf("%w: layer %d (%s) has no name", ErrUnsafe, i, desc.MediaType)
		case desc.MediaType == mediatypes.OllamaTensor:
			f.Path = "tensors/" + title + ".safetensors"
		default:
			f.Path = title
		}
		files = append(files, f)
	}
	return files, nil
}

// A namer names layers by their media types and their order.
type namer struct {
	total map[string]int
	used  map[string]int
}

func newNamer(layers []ocispec.Descriptor) *namer {
	n := &namer{total: make(map[string]int), used: make(map[string]int)}
	for _, l := range layers {
		n.total[l.MediaType]++
	}
	return n
}

// numbered gives base, base-2, base-3.
func (n *namer) numbered(mediaType, base, ext string) string {
	n.used[mediaType]++
	if k := n.used[mediaType]; k > 1 {
		return fmt.Sprintf("%s-%d%s", base, k, ext)
	}
	return base + ext
}

// shard gives base, or base-00001-of-00003 where there are several.
func (n *namer) shard(mediaType, base, ext string) string {
	n.used[mediaType]++
	if n.total[mediaType] == 1 {
		return base + ext
	}
	return fmt.Sprintf("%s-%05d-of-%05d%s", base, n.used[mediaType], n.total[mediaType], ext)
}
