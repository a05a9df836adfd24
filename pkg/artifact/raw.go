package artifact

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// What [OpenRaw] calls the manifest and the config.
const (
	RawManifest = "manifest.json"
	RawConfig   = "config.json"
)

// OpenRaw opens an artifact of any kind, a chart or a signature or a container
// image, as what it is made of: its manifest, its config unless that is the
// empty one, and its layers, each a file. Layers have the names that their
// titles give them; where that is no name that [CheckPath] lets through, or one
// that another file has, ALGORITHM-HEX of their digest. Archives among them stay
// what they are.
//
// It reads the manifest and nothing else. An index of manifests wraps
// [ErrNotModel].
func OpenRaw(ctx context.Context, src content.Fetcher, desc ocispec.Descriptor) (*Artifact, error) {
	a := &Artifact{Descriptor: desc}
	if err := a.readManifest(ctx, src); err != nil {
		return nil, fmt.Errorf("open artifact %s: %w", shortDigest(desc.Digest), err)
	}
	a.rawFiles()
	return a, nil
}

// rawFiles lists everything that the manifest holds.
func (a *Artifact) rawFiles() {
	names := newPathSet()
	seen := make(map[digest.Digest]bool)
	add := func(desc ocispec.Descriptor, name string) {
		err := names.addFile(name)
		if err != nil && seen[desc.Digest] {
			return // the same layer again
		}
		if title := name; err != nil {
			name = freeName(names, rawName(desc.Digest))
			a.notes = append(a.notes, fmt.Sprintf("a layer called %s is in %s: %v", printable(title), name, err))
		}
		seen[desc.Digest] = true
		a.Files = append(a.Files, File{
			Path: name, MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Mode: mode,
			Layer: desc, Encoding: mediatypes.Raw,
		})
	}
	a.manifestIsFile = true
	add(a.Descriptor, RawManifest)
	if a.Manifest.Config.MediaType != mediatypes.ConfigEmpty {
		add(a.Manifest.Config, RawConfig)
	}
	for _, l := range a.Manifest.Layers {
		if l.MediaType != mediatypes.ConfigEmpty {
			add(l, firstOf(l.Annotations[ocispec.AnnotationTitle], rawName(l.Digest)))
		}
	}
	slices.SortStableFunc(a.Files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
}

// freeName adds a name that nothing in the set has: a title may have been made
// to look like the name of another layer.
func freeName(names *pathSet, name string) string {
	for i, base := 1, name; names.addFile(name) != nil; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}

// rawName is what a layer without a name is called.
func rawName(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }
