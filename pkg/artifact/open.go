package artifact

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// maxConfigBytes bounds the config of an artifact.
const maxConfigBytes = 4 << 20

// An Artifact is an opened manifest. It holds no connection, and its methods
// may be called from several goroutines. Only [Open], [OpenWith] and [OpenRaw]
// make one.
type Artifact struct {
	Descriptor ocispec.Descriptor
	Raw        []byte // the manifest, as stored
	Manifest   ocispec.Manifest
	Family     mediatypes.Family
	Config     []byte // the config blob; nil if there is none to speak of

	// Files are sorted by path. Archives whose members are not listed stand
	// for all of them.
	Files []File

	// Parent is the reference of another artifact that the weights are in,
	// as the config of a ModelKit may say; it is empty for a whole model.
	Parent string

	// strip is the directory that the model is in within its archives.
	strip string

	// collisions says that the names may be some that not every file system
	// keeps apart.
	collisions bool

	// manifestIsFile says that the manifest is one of the files.
	manifestIsFile bool

	// notes are for who unpacks.
	notes []string

	// diffIDs are digests of what compressed layers hold, where known.
	diffIDs map[digest.Digest]digest.Digest
}

// Open reads the manifest that desc describes, of any family that
// [mediatypes.Detect] knows, its config, and the index of its archives if it has
// one. It fetches nothing else, and these only after every path and descriptor
// of the manifest was found safe: errors about those wrap [ErrUnsafe], wrong
// digests content.ErrMismatchedDigest. An index of manifests and what is no
// model wrap [ErrNotModel].
func Open(ctx context.Context, src content.Fetcher, desc ocispec.Descriptor) (*Artifact, error) {
	return OpenWith(ctx, src, desc, OpenOptions{})
}

// OpenOptions adjusts [OpenWith]. The zero value is what [Open] does.
type OpenOptions struct {
	// AllowCollisions lets names through that are equal where case or Unicode
	// normal form is ignored. [Unpack] then refuses them only if the file
	// system that it writes to takes them for the same.
	AllowCollisions bool
}

// OpenWith is [Open] with options.
func OpenWith(ctx context.Context, src content.Fetcher, desc ocispec.Descriptor, opts OpenOptions) (*Artifact, error) {
	a := &Artifact{Descriptor: desc, collisions: opts.AllowCollisions}
	if err := a.open(ctx, src); err != nil {
		return nil, fmt.Errorf("open artifact %s: %w", shortDigest(desc.Digest), err)
	}
	return a, nil
}

func (a *Artifact) open(ctx context.Context, src content.Fetcher) error {
	if err := a.readManifest(ctx, src); err != nil {
		return err
	}
	family, ok := mediatypes.Detect(a.Manifest)
	if !ok {
		return ErrNotModel
	}
	a.Family = family
	if len(a.Manifest.Layers) == 0 {
		return fmt.Errorf("%w: it has no layers", ErrNotModel)
	}
	return a.list(ctx, src)
}

// readManifest fetches the manifest and checks it, whatever it is of.
func (a *Artifact) readManifest(ctx context.Context, src content.Fetcher) error {
	if t := a.Descriptor.MediaType; t == mediatypes.IndexOCI || t == mediatypes.IndexDocker {
		return fmt.Errorf("%w: an index of manifests, one of which must be chosen", ErrNotModel)
	}
	raw, err := fetchBytes(ctx, src, a.Descriptor, mediatypes.MaxManifestBytes)
	if err != nil {
		return err
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	// The same bytes must not be one thing to the registry and another to
	// their reader (CVE-2021-41190).
	if t := a.Descriptor.MediaType; m.MediaType != "" && t != "" && t != m.MediaType {
		return fmt.Errorf("%w: manifest says it is %q and was served as %q", ErrUnsafe, m.MediaType, t)
	}
	a.Raw, a.Manifest = raw, m
	return nil
}

// A lister names the files of the layers of one family. It is called with the
// config, or, before that is fetched, with none: then it may leave out what it
// cannot know, but must refuse what it can see is unsafe.
type lister func(a *Artifact, config []byte) ([]File, error)

func (a *Artifact) list(ctx context.Context, src content.Fetcher) error {
	list := map[mediatypes.Family]lister{
		mediatypes.ModelPack: listModelPack,
		mediatypes.ModelKit:  listModelKit,
		mediatypes.DockerAI:  listDockerAI,
		mediatypes.Ollama:    listOllama,
		mediatypes.Image:     listImage,
		mediatypes.ORAS:      listORAS,
	}[a.Family]
	if list == nil {
		return fmt.Errorf("%w: family %q", ErrNotModel, a.Family)
	}
	files, err := list(a, nil)
	if err != nil {
		return err
	}
	if err := a.checkFiles(files); err != nil {
		return err
	}
	if err := a.readConfig(ctx, src); err != nil {
		return err
	}
	if a.Config != nil {
		if files, err = list(a, a.Config); err != nil {
			return err
		}
		if err := a.checkDiffIDs(); err != nil {
			return err
		}
	}
	if files, err = a.expandIndexed(ctx, src, files); err != nil {
		return err
	}
	if err := a.checkFiles(files); err != nil {
		return err
	}
	slices.SortStableFunc(files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	a.Files = files
	return nil
}

// checkFiles judges all names. An archive's own name is for people only: its
// members are judged when they are seen.
func (a *Artifact) checkFiles(files []File) error {
	paths := make([]string, 0, len(files))
	for _, f := range files {
		if !f.Archive {
			paths = append(paths, f.Path)
		} else if f.Path != "." {
			if err := CheckPath(f.Path); err != nil {
				return err
			}
		}
	}
	if a.collisions {
		return checkPaths(paths, newExactSet())
	}
	return CheckPaths(paths)
}

// readConfig fetches the config where it is one.
func (a *Artifact) readConfig(ctx context.Context, src content.Fetcher) error {
	desc := a.Manifest.Config
	switch {
	case desc.MediaType == mediatypes.ConfigEmpty || desc.MediaType == mediatypes.ConfigUnknown || desc.Size == 0:
		return nil
	case a.Family == mediatypes.ORAS && desc.MediaType != mediatypes.ConfigOMLMD:
		return nil // of somebody's own type
	}
	raw, err := fetchBytes(ctx, src, desc, maxConfigBytes)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := checkJSON(raw, maxJSONDepth); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	a.Config = raw
	return nil
}

// fetchBytes reads a small blob and checks it.
func fetchBytes(ctx context.Context, src content.Fetcher, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := checkDigest(desc.Digest); err != nil {
		return nil, err
	}
	if desc.Size < 0 || desc.Size > limit {
		return nil, fmt.Errorf("%w: blob %s of %d bytes, more than %d", ErrUnsafe, shortDigest(desc.Digest), desc.Size, limit)
	}
	rc, err := src.Fetch(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", shortDigest(desc.Digest), err)
	}
	defer rc.Close()
	raw, err := io.ReadAll(io.LimitReader(rc, desc.Size+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", shortDigest(desc.Digest), err)
	}
	if got := desc.Digest.Algorithm().FromBytes(raw); int64(len(raw)) != desc.Size || got != desc.Digest {
		return nil, &transfer.DigestError{Name: desc.Digest.String(), Desc: desc, Got: got, Size: int64(len(raw))}
	}
	return raw, nil
}

// checkDigest accepts what go-digest can hash and compare as it is written.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%w: digest %.80q: %w", ErrUnsafe, d, err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return fmt.Errorf("%w: digest algorithm %.40q", ErrUnsafe, a)
	}
	return nil
}

// shortDigest is what people recognise a digest by.
func shortDigest(d digest.Digest) string {
	s := string(d)
	if d.Validate() != nil {
		return fmt.Sprintf("%.80q", s)
	}
	return s[:strings.IndexByte(s, ':')+13]
}
