package artifact

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// A Layout says how files become layers.
type Layout int

// The layouts.
const (
	// LayoutAuto makes one raw layer of each file, until there are more than
	// 500 files: then small files that are no weights share tar layers.
	LayoutAuto Layout = iota

	// LayoutRaw makes one raw layer of each file however many there are, up
	// to what a manifest may list.
	LayoutRaw
)

// A DigestCache remembers the digests of files on this machine. It must not
// answer for a file that has changed since it was recorded. It is called from
// several goroutines at once.
type DigestCache interface {
	Lookup(fi fs.FileInfo) (digest.Digest, bool)
	Record(fi fs.FileInfo, dgst digest.Digest)
}

// PackOptions adjusts [Pack]. The zero value packs every file that is not
// ignored.
type PackOptions struct {
	// Workers bounds the files hashed at once. Zero means GOMAXPROCS.
	Workers int

	// Layout says how files become layers.
	Layout Layout

	// Annotations are added to the manifest, over those that the files give.
	Annotations map[string]string

	// Created is written as the creation time unless zero. It is part of the
	// manifest and so of its digest.
	Created time.Time

	// IncludeSecrets names files, by their paths below the directory, that
	// are packed although they look like secrets.
	IncludeSecrets []string

	// MountFrom, if not nil, names repositories of the target's registry
	// that may hold a blob. It is called from several goroutines.
	MountFrom func(dgst digest.Digest) []string

	// Digests, if not nil, spares reading files whose digest it knows.
	Digests DigestCache

	// Observe, if not nil, is told what happens to each blob.
	Observe transfer.Observer
}

// Packed is what [Pack] made.
type Packed struct {
	Descriptor ocispec.Descriptor // of the manifest
	Manifest   []byte
	Files      []File   // sorted by path
	Notes      []string // what a user should know: files left out, links followed

	// Bytes of the blobs that were sent, linked from another repository, and
	// found to be there.
	Uploaded, Mounted, Skipped int64
}

// Pack makes an artifact of directory dir in dst.
func Pack(ctx context.Context, dir string, dst transfer.Target, opts PackOptions) (*Packed, error) {
	return nil, errors.ErrUnsupported
}
