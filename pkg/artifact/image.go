package artifact

import (
	"strings"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// imageModels is where container images have models: KServe's modelcars,
// RamaLama and kit all put them there.
const imageModels = "models/"

// listImage lists a container image. What is below /models is the model, the
// rest of the image is not looked at; only reading a layer tells what is in it,
// unless olot wrote that down.
func listImage(a *Artifact, _ []byte) ([]File, error) {
	a.strip = imageModels
	files := make([]File, 0, len(a.Manifest.Layers))
	for i, desc := range a.Manifest.Layers {
		f, err := layerFile(a.Family, i, desc)
		if err != nil {
			return nil, err
		}
		inside := strings.TrimPrefix(desc.Annotations[mediatypes.AnnotationOlotInLayerPath], "/")
		f.Path = archivePath(strings.TrimPrefix(inside, imageModels))
		if f.Kind == "" {
			f.Kind = kindByName(f)
		}
		files = append(files, f)
	}
	return files, nil
}
