package artifact

import (
	"fmt"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// listDockerAI lists a Docker model artifact. In version 0.2 layers have the
// annotations of ModelPack; in version 0.1 they have none, and the names that
// docker model gives them when it unpacks are used.
func listDockerAI(a *Artifact, _ []byte) ([]File, error) {
	names := newNamer(a.Manifest.Layers)
	files := make([]File, 0, len(a.Manifest.Layers))
	for i, desc := range a.Manifest.Layers {
		f, err := layerFile(a.Family, i, desc)
		if err != nil {
			return nil, err
		}
		named := firstOf(desc.Annotations[mediatypes.AnnotationFilepath], desc.Annotations[mediatypes.AnnotationTitle]) != ""
		switch {
		case named || f.Archive:
			f, err = annotatedFile(a.Family, i, desc)
		default:
			f.Path, err = dockerAIName(names, desc.MediaType, i)
		}
		if err != nil {
			return nil, err
		}
		if f.Kind == "" {
			f.Kind = kindByName(f)
		}
		files = append(files, f)
	}
	return files, nil
}

func dockerAIName(names *namer, mediaType string, i int) (string, error) {
	switch mediaType {
	case mediatypes.DockerAIGGUF:
		return names.shard(mediaType, "model", ".gguf"), nil
	case mediatypes.DockerAISafetensors:
		return names.shard(mediaType, "model", ".safetensors"), nil
	case mediatypes.DockerAIDDUF:
		return names.numbered(mediaType, "model", ".dduf"), nil
	case mediatypes.DockerAIMMProj:
		return names.numbered(mediaType, "model", ".mmproj"), nil
	case mediatypes.DockerAIChatTemplate:
		return names.numbered(mediaType, "template", ".jinja"), nil
	case mediatypes.DockerAILicense:
		return names.numbered(mediaType, "LICENSE", ""), nil
	}
	return "", fmt.Errorf("%w: layer %d (%s) has no path", ErrUnsafe, i, mediaType)
}

// kindByName classifies a file of which nothing but the name is known.
func kindByName(f File) mediatypes.Kind {
	if f.Archive {
		return mediatypes.KindWeight
	}
	return mediatypes.Classify([]mediatypes.File{{Path: f.Path, Size: f.Size}})[0].Kind
}
