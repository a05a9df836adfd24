package artifact

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// listModelPack lists a CNCF ModelPack artifact by the annotations of its
// layers, in the spelling of all its writers.
func listModelPack(a *Artifact, _ []byte) ([]File, error) {
	a.strip = ""
	if a.Manifest.Annotations[mediatypes.AnnotationModelcarAuthor] != "" {
		a.strip = imageModels
	}
	files := make([]File, 0, len(a.Manifest.Layers))
	for i, desc := range a.Manifest.Layers {
		if desc.Annotations[mediatypes.AnnotationOlotType] != "" {
			// olot puts the layers of a container image into a ModelPack
			// manifest as they are.
			a.strip = imageModels
		}
		if v := desc.Annotations[mediatypes.AnnotationTarIndex]; v != "" {
			if v != indexVersion {
				return nil, fmt.Errorf("index of archives of version %q: %w", v, errdef.ErrUnsupported)
			}
			continue
		}
		f, err := annotatedFile(a.Family, i, desc)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// annotatedFile makes a file of a layer that is named by its annotations.
func annotatedFile(family mediatypes.Family, i int, desc ocispec.Descriptor) (File, error) {
	f, err := layerFile(family, i, desc)
	if err != nil {
		return File{}, err
	}
	meta := fileMetadata(desc.Annotations)
	if meta.Mode != 0 {
		f.Mode = fs.FileMode(meta.Mode & 0o777)
	}
	f.Path = firstOf(desc.Annotations[mediatypes.AnnotationFilepath], desc.Annotations[mediatypes.AnnotationLegacyFilepath],
		meta.Name, desc.Annotations[mediatypes.AnnotationTitle])
	if f.Archive {
		f.Path = archivePath(f.Path)
		return f, nil
	}
	if f.Path == "" {
		return File{}, fmt.Errorf("%w: layer %d (%s) has no path", ErrUnsafe, i, desc.MediaType)
	}
	switch meta.Typeflag {
	case 0, '0': // modctl and docker model write the number, RamaLama and kit the character
		return f, nil
	}
	return File{}, &PathError{Path: f.Path, Reason: "not a regular file"}
}

// layerFile makes a file without a path of a layer.
func layerFile(family mediatypes.Family, i int, desc ocispec.Descriptor) (File, error) {
	l, ok := mediatypes.LayerOf(family, desc)
	if !ok {
		return File{}, fmt.Errorf("layer %d has media type %q: %w", i, desc.MediaType, errdef.ErrUnsupported)
	}
	return File{
		Kind: l.Kind, MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Mode: mode,
		Layer: desc, Encoding: l.Encoding, Archive: l.Encoding != mediatypes.Raw,
	}, nil
}

// archivePath is what an archive is listed as.
func archivePath(p string) string {
	p = strings.TrimSuffix(strings.TrimPrefix(p, "./"), "/")
	if p == "" {
		return "."
	}
	return p
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// metadata is the part of org.cncf.model.file.metadata+json that is read. Its
// size, owner and time are the writer's own affair.
type metadata struct {
	Name     string `json:"name"`
	Mode     uint32 `json:"mode"`
	Typeflag uint8  `json:"typeflag"`
}

// fileMetadata reads that annotation. What cannot be read says nothing: it is
// only a second opinion on what the layer itself says.
func fileMetadata(annotations map[string]string) metadata {
	text := firstOf(annotations[mediatypes.AnnotationFileMetadata], annotations[mediatypes.AnnotationLegacyFileMetadata])
	var m metadata
	if text == "" || checkJSON([]byte(text), maxJSONDepth) != nil || json.Unmarshal([]byte(text), &m) != nil {
		return metadata{}
	}
	return m
}

// expandIndexed puts the members of archives that the artifact's own index
// lists in the place of those archives.
func (a *Artifact) expandIndexed(ctx context.Context, src content.Fetcher, files []File) ([]File, error) {
	var index *ocispec.Descriptor
	for _, l := range a.Manifest.Layers {
		if l.Annotations[mediatypes.AnnotationTarIndex] == "" {
			continue
		}
		if index != nil || a.Family != mediatypes.ModelPack {
			return nil, fmt.Errorf("%w: more than one index of archives, or one that does not belong here", ErrUnsafe)
		}
		index = &l
	}
	if index == nil {
		return files, nil
	}
	archives := make(map[digest.Digest]ocispec.Descriptor)
	kinds := make(map[digest.Digest]File)
	for _, f := range files {
		if f.Encoding == mediatypes.Tar {
			archives[f.Layer.Digest] = f.Layer
			kinds[f.Layer.Digest] = f
		}
	}
	raw, err := fetchBytes(ctx, src, *index, maxIndexBytes)
	if err != nil {
		return nil, fmt.Errorf("index of archives: %w", err)
	}
	x, err := parseIndex(raw, archives)
	if err != nil {
		return nil, err
	}
	for _, l := range x.Layers {
		archive := kinds[l.Digest]
		files = slices.DeleteFunc(files, func(f File) bool { return f.Archive && f.Layer.Digest == l.Digest })
		for _, e := range l.Files {
			f := archive
			f.Path, f.Digest, f.Size, f.Offset, f.Archive = e.Path, e.Digest, e.Size, e.Offset, false
			files = append(files, f)
		}
	}
	return files, nil
}

// checkDiffIDs compares the digests that the config has for the contents of the
// layers with the layers. What is not compressed is its own content; for the
// rest the digest is kept until the content is seen.
func (a *Artifact) checkDiffIDs() error {
	ids, err := a.configDiffIDs()
	if err != nil || len(ids) == 0 {
		return err
	}
	layers := a.Manifest.Layers
	if len(ids) != len(layers) {
		return fmt.Errorf("%w: config has diff ids for %d layers, manifest has %d layers", content.ErrMismatchedDigest, len(ids), len(layers))
	}
	for i, id := range ids {
		if err := checkDigest(id); err != nil {
			return fmt.Errorf("config: %w", err)
		}
		l, _ := mediatypes.LayerOf(a.Family, layers[i])
		switch {
		case id == layers[i].Digest:
			// Also for compressed layers: modctl never looks inside.
		case l.Encoding == mediatypes.TarGzip || l.Encoding == mediatypes.TarZstd:
			a.expect(layers[i].Digest, id)
		default:
			return fmt.Errorf("config: diff id of layer %d: %w", i,
				&transfer.DigestError{Name: layers[i].Digest.String(), Desc: layers[i], Got: id, Size: layers[i].Size})
		}
	}
	return nil
}

// expect records the digest of what a compressed layer holds.
func (a *Artifact) expect(layer, inside digest.Digest) {
	if a.diffIDs == nil {
		a.diffIDs = make(map[digest.Digest]digest.Digest)
	}
	a.diffIDs[layer] = inside
}

func (a *Artifact) configDiffIDs() ([]digest.Digest, error) {
	var c struct {
		ModelFS struct {
			DiffIDs []digest.Digest `json:"diffIds"`
		} `json:"modelfs"`
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	switch a.Family {
	case mediatypes.ModelPack, mediatypes.DockerAI, mediatypes.Image:
	default:
		return nil, nil // Ollama's are never looked at, others have none
	}
	if err := json.Unmarshal(a.Config, &c); err != nil {
		return nil, fmt.Errorf("%w: config: %w", ErrUnsafe, err)
	}
	if a.Manifest.Config.MediaType == mediatypes.ConfigModel {
		return c.ModelFS.DiffIDs, nil
	}
	return c.RootFS.DiffIDs, nil
}
