package registry

import (
	"context"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The kinds of path, for tests.
const (
	KindBase      = kindBase
	KindCatalog   = kindCatalog
	KindTags      = kindTags
	KindManifest  = kindManifest
	KindBlob      = kindBlob
	KindUpload    = kindUpload
	KindReferrers = kindReferrers
	MaxPage       = maxPage
)

// PathKind is the kind of a path.
type PathKind = pathKind

// ParsePath is parsePath.
func ParsePath(path string) (kind PathKind, name, ref string, ok bool) {
	rt, ok := parsePath(path)
	return rt.kind, rt.name, rt.ref, ok
}

// NewDurableDriver returns the driver over root, with another way to sync.
func NewDurableDriver(root string, sync func(dir string) error) storagedriver.StorageDriver {
	inner := filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: maxThreads})
	return &durableDriver{StorageDriver: inner, root: root, sync: sync}
}

// WithLogger is a context from which Distribution takes a silent logger.
func WithLogger(ctx context.Context) context.Context {
	return logContext{Context: ctx, entry: newLog(nil)}
}

// Describe parses a manifest and returns what a list would say of it, and its
// subject.
func Describe(mediaType string, raw []byte) (desc ocispec.Descriptor, subject digest.Digest, err error) {
	doc, err := parseDocument(raw)
	return doc.descriptor(mediaType, raw), doc.subject(), err
}

// ReferrersTag is referrersTag.
func ReferrersTag(d digest.Digest) string { return referrersTag(d) }

// IsReferrersTag is isReferrersTag.
func IsReferrersTag(tag string) bool { return isReferrersTag(tag) }

// MaxListed is the size of annotations up to which they are listed.
const MaxListed = maxListed
