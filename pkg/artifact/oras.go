package artifact

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// listORAS lists files that oras, oras-py (omlmd) or podman artifact pushed:
// each layer has a title, and packed directories say so.
func listORAS(a *Artifact, _ []byte) ([]File, error) {
	files := make([]File, 0, len(a.Manifest.Layers))
	for i, desc := range a.Manifest.Layers {
		f, err := layerFile(a.Family, i, desc)
		if err != nil {
			return nil, err
		}
		if isPackedDir(desc) {
			f.Encoding, f.Archive = mediatypes.TarGzip, true
		}
		f.Path = desc.Annotations[mediatypes.AnnotationTitle]
		if f.Archive {
			f.Path = archivePath(f.Path)
		}
		if f.Kind == "" {
			f.Kind = kindByName(f)
		}
		if d := digest.Digest(desc.Annotations[mediatypes.AnnotationORASTarDigest]); d != "" && f.Archive {
			if err := checkDigest(d); err != nil {
				return nil, fmt.Errorf("layer %d: %w", i, err)
			}
			a.expect(desc.Digest, d)
		}
		files = append(files, f)
	}
	return files, nil
}

// isPackedDir recognises the directories of oras-py, which does not mark them:
// the type is one that it gives to nothing else.
func isPackedDir(desc ocispec.Descriptor) bool {
	title := strings.ToLower(desc.Annotations[mediatypes.AnnotationTitle])
	return desc.MediaType == ocispec.MediaTypeImageLayerGzip && !strings.HasSuffix(title, "gz")
}
