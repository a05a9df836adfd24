package hub

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// crawlRules names the rules by which a crawl leaves out what is no model. What was
// left out by others is looked at again.
const crawlRules = "1"

// maxImageConfig bounds the config of a container image that is looked into, in
// bytes.
const maxImageConfig = 1 << 20

// isCrawled tells whether a manifest is that of a model. Of container images it is
// one that says that it has a model, of files that somebody pushed by hand those
// with a name by which models have them.
func (c *crawl) isCrawled(ctx context.Context, t *target, m ocispec.Manifest) (bool, error) {
	family, ok := mediatypes.Detect(m)
	switch {
	case !ok, len(m.Layers) == 0, m.ArtifactType == mediatypes.ArtifactSearchIndex, m.ArtifactType == MediaTypePolicy:
		return false, nil
	case m.Annotations[mediatypes.AnnotationFormats] != "":
		return true, nil
	case family == mediatypes.ORAS:
		return slices.ContainsFunc(m.Layers, namedAsModel), nil
	case family != mediatypes.Image:
		return true, nil
	case slices.ContainsFunc(m.Layers, inModelcar):
		return true, nil
	case m.Config.Size > maxImageConfig:
		return false, nil
	}
	raw, err := content.FetchAll(ctx, t.repo, m.Config)
	if err != nil {
		return false, err
	}
	return isModelcar(raw), nil
}

// namedAsModel tells whether a file is called as those of models are.
func namedAsModel(l ocispec.Descriptor) bool {
	name := cmp.Or(l.Annotations[mediatypes.AnnotationFilepath], l.Annotations[mediatypes.AnnotationTitle])
	class := mediatypes.Classify([]mediatypes.File{{Path: name, Size: l.Size}})[0]
	return class.Format != "" || isWeights(l.MediaType) || slices.Contains([]string{"adapter", "tokenizer", "projector", "config", "card"}, class.Role)
}

// inModelcar tells whether olot has put a layer into an image.
func inModelcar(l ocispec.Descriptor) bool {
	return l.Annotations[mediatypes.AnnotationOlotInLayerPath] != "" || l.Annotations[mediatypes.AnnotationModelcarLayer] != ""
}

// imageModelLabel is what RamaLama labels an image with that is a model, and
// imageModelTypes is how its values begin.
const (
	imageModelLabel = "org.containers.type"
	imageModelTypes = "ai.image.model"
)

// isModelcar tells by the config of a container image whether something was copied
// to where images have models: /models.
func isModelcar(config []byte) bool {
	var doc struct {
		Config struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
		History []struct {
			CreatedBy string `json:"created_by"`
		} `json:"history"`
	}
	if err := json.Unmarshal(config, &doc); err != nil {
		return false
	}
	if strings.HasPrefix(doc.Config.Labels[imageModelLabel], imageModelTypes) {
		return true
	}
	for _, step := range doc.History {
		did, _, _ := strings.Cut(step.CreatedBy, " # buildkit")
		words := strings.Fields(did)
		copies := slices.Contains(words, "COPY") || slices.Contains(words, "ADD")
		if !copies {
			continue
		}
		to := path.Clean(strings.Trim(words[len(words)-1], `"'[],`))
		if to == "/models" || strings.HasPrefix(to, "/models/") {
			return true
		}
	}
	return false
}

// skip remembers what a repository has that is no model.
func (c *crawl) skip(repository string, digests []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped = append(c.skipped, index.Skipped{Repository: repository, Rules: crawlRules, Digests: digests})
}
