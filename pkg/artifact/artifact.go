// Package artifact turns a model directory into an OCI artifact of the CNCF
// ModelPack form, and artifacts of that and other forms back into a directory.
//
// [Pack] writes the files of a directory, a config and a manifest to anything
// that takes blobs: a registry, an OCI layout on disk, memory. The same files
// give the same manifest digest on every machine: layers are sorted by path,
// and neither times, owners, modes nor the order of hashing enter the
// manifest. Tests and users may compare digests.
//
// [Open] reads the manifest of a ModelPack artifact, a ModelKit, a Docker or
// Ollama model, a container image with models in it or a set of plain files,
// and gives one view of them: a list of [File]. It checks every descriptor and
// every path before a blob that is not metadata is fetched.
//
// [Unpack] makes a directory hold what an artifact holds. The directory shows
// the old state or the new one and never a mix, whatever happens; nothing is
// written outside it; nothing has its final name before its digest is right.
//
// [Artifact.ReaderAt] reads parts of a file where it lies, without the rest of
// it, and verifies them where the file has an index of its chunks.
//
// [CheckPath] is the one judge of names that go into or come out of an
// artifact.
//
// Package artifact speaks no HTTP, judges no signature, and keeps no state
// besides the directories it is given.
package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// Errors that callers branch on.
var (
	// ErrUnsafe is wrapped by every error about a name, link, limit or
	// document that is refused whatever the options say.
	ErrUnsafe = errors.New("unsafe")

	// ErrCollision is wrapped, and wraps [ErrUnsafe], when two names are one
	// to some file systems. [OpenOptions] can allow it where they are two.
	ErrCollision error = &unsafeError{"names that some file systems take for the same"}

	// ErrDotfile is wrapped, and wraps [ErrUnsafe], when a name begins with a
	// dot and is not known to be harmless. [UnpackOptions] can allow it.
	ErrDotfile error = &unsafeError{"dot file"}

	// ErrNotModel is wrapped when a manifest is not that of a model.
	ErrNotModel = errors.New("not a model artifact")

	// ErrEmpty is wrapped when a directory has no files to pack.
	ErrEmpty = errors.New("no files to pack")

	// ErrChanged is wrapped when a file was written to while it was packed.
	ErrChanged = errors.New("changed while being read")

	// ErrTarget is wrapped when a directory cannot be the target of
	// [Unpack], whatever is in the artifact.
	ErrTarget = errors.New("not a usable target")

	// ErrNotOurs is wrapped, and wraps [ErrTarget], when a target holds
	// files that unpacking would remove and that Unpack did not put there.
	// The option Force overrides it.
	ErrNotOurs error = &targetError{"would replace files that did not come from an artifact"}

	// ErrBusy is wrapped when another process unpacks into the same target.
	ErrBusy = errors.New("in use by another process")
)

type targetError struct{ reason string }

func (e *targetError) Error() string { return e.reason }

func (e *targetError) Unwrap() error { return ErrTarget }

type unsafeError struct{ reason string }

func (e *unsafeError) Error() string { return e.reason }

func (e *unsafeError) Unwrap() error { return ErrUnsafe }

// A File is one file of an artifact, or an archive whose members are not
// listed.
type File struct {
	// Path is relative to the model's root, with slashes. For an Archive it
	// is what the archive is said to hold, "." when that is not said.
	Path string

	Kind      mediatypes.Kind
	MediaType string // of the layer

	// Digest is that of the file's own bytes; for an Archive, of the blob.
	Digest digest.Digest

	// Size is the file's; for an Archive, the blob's.
	Size int64

	// Mode is what the writer recorded, masked to permission bits, or 0644.
	// It is for display: unpacked files are always 0644.
	Mode fs.FileMode

	// Layer is the blob that holds the file.
	Layer    ocispec.Descriptor
	Encoding mediatypes.Encoding

	// Offset is where the file's bytes begin in an uncompressed tar layer;
	// zero for a raw one.
	Offset int64

	// Archive says that this stands for a whole archive.
	Archive bool
}

// Discard is a [transfer.Target] that has nothing and takes everything, for a
// [Pack] that only tells what it would write.
var Discard transfer.Target = discard{}

type discard struct{}

func (discard) Exists(context.Context, ocispec.Descriptor) (bool, error) { return false, nil }

func (discard) Push(ctx context.Context, _ ocispec.Descriptor, _ io.Reader) error {
	// The bytes were read and hashed before they came here; reading them a
	// second time would tell nothing new.
	return ctx.Err()
}
