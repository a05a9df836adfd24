// Package store keeps content on a disk, by digest, in an OCI image layout that
// oras, crane and skopeo can read as it lies there.
//
//	oci-layout, index.json    the layout; tags are entries of index.json
//	blobs/<algorithm>/<hex>   whole, verified, read-only
//	ingest/<hex>.<random>/    a blob on its way: data and journal
//	bad/                      what was found damaged, put aside
//	locks/, stat/, origins/   locks, digests of known files, where blobs were seen
//	uploads/                  where uploads go on, and how registries want them
//	VERSION                   of all this
//
// A name is given after the truth: bytes are written below ingest, hashed,
// synced, renamed into blobs, and the directory is synced. What has a name in
// blobs was right when it got it, and no crash leaves half a blob there. A blob
// that went bad on the disk later is found by its size when it is used or by
// [Store.Verify], is moved to bad, and is written again by the next Push.
//
// Several processes may use one store at the same time. Kernel locks keep them
// from working on the same partial blob and from losing each other's tags; they
// end with their process, and there is nothing to clean up by hand. Where a
// file system has no locks, partial blobs are not shared and nothing is resumed.
//
// A [Store] is an oras-go content.Storage and content.TagResolver, and its
// [Partial] is what package transfer writes to. The package never talks to a
// network, and trusts neither names nor sizes that come from one.
package store

import (
	"bytes"
	_ "crypto/sha256" // go-digest finds its hashes through their registration
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// ErrCorrupt is wrapped by errors about content of the store that is not what
// its name says. What was found so is no longer in the store.
var ErrCorrupt = errors.New("content is damaged")

// ErrLocked is wrapped by errors about something another process works on.
var ErrLocked = errors.New("in use by another process")

// version is of the directories beside the image layout.
const version = 1

// maxBlobSize is the largest integer that JSON carries exactly in every
// implementation (RFC 8259, section 6).
const maxBlobSize = 1 << 53

const (
	layoutName  = ocispec.ImageLayoutFile
	indexName   = ocispec.ImageIndexFile
	versionName = "VERSION"
	blobsDir    = ocispec.ImageBlobsDir
	ingestDir   = "ingest"
	badDir      = "bad"
	locksDir    = "locks"
	statDir     = "stat"
	originsDir  = "origins"
)

// A Store is content on a disk. Its methods may be called at the same time.
type Store struct {
	dir  string
	root *os.Root
	disk disk

	session session
	origins origins

	indexing sync.Mutex // spares goroutines of one process the polling of the index lock
}

// Open opens the store in dir, and makes one if dir is missing or empty. An
// image layout made by another tool is taken as it is. Any other directory
// that has something in it is refused. The caller should Close the store: what
// was used through it, nobody prunes before. A process that runs for long
// should open it anew for each job.
func Open(dir string) (*Store, error) {
	s, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := makeStoreDir(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, root: root, disk: osDisk{}}
	if err := s.prepare(); err != nil {
		root.Close()
		return nil, err
	}
	return s, nil
}

// makeStoreDir is os.MkdirAll that makes the new names durable.
func makeStoreDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := makeStoreDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer root.Close()
	return syncDir(osDisk{}, root, ".")
}

// prepare makes what is missing. Several processes may do so at once: each step
// is atomic and gives the same result whoever does it.
func (s *Store) prepare() error {
	if err := s.recognise(); err != nil {
		return err
	}
	complete := true
	for _, name := range []string{versionName, layoutName, indexName, blobsDir + "/sha256", ingestDir, badDir, locksDir, statDir, originsDir} {
		if _, err := s.root.Lstat(name); err != nil {
			complete = false
		}
	}
	if complete {
		return nil
	}
	for _, name := range []string{ingestDir, locksDir, blobsDir + "/sha256", badDir, statDir, originsDir} {
		if err := makeDirs(s.disk, s.root, name, 0o700); err != nil {
			return err
		}
	}
	unlock, err := s.lockFile("index")
	if err != nil {
		return err
	}
	defer unlock()
	for _, file := range []struct{ name, text string }{
		{versionName, strconv.Itoa(version) + "\n"},
		{indexName, `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`},
		{layoutName, `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`},
	} {
		if _, err := s.root.Lstat(file.name); err == nil {
			continue
		}
		if err := s.replaceFile(file.name, []byte(file.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// recognise refuses stores of newer versions, and directories that are in use
// for something else.
func (s *Store) recognise() error {
	raw, err := readFile(s.root, versionName, 64)
	if err == nil {
		n, err := strconv.Atoi(string(bytes.TrimSpace(raw)))
		if err != nil || n < 1 {
			return fmt.Errorf("%w: VERSION says %q", ErrCorrupt, raw)
		}
		if n > version {
			return fmt.Errorf("version %d is newer than this program knows (%d)", n, version)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := s.root.Lstat(layoutName); err == nil {
		return nil
	}
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case ingestDir, locksDir, blobsDir, badDir, statDir, originsDir, uploadsDir, versionName, indexName, layoutName:
			// Another process is in the middle of making the store.
		default:
			return fmt.Errorf("directory is not a store and holds other files (%q)", e.Name())
		}
	}
	return nil
}

// Close gives up the store. Open readers and partials of it must be closed first.
func (s *Store) Close() error {
	return errors.Join(s.session.end(s), s.root.Close())
}

// Dir returns the absolute path of the store.
func (s *Store) Dir() string { return s.dir }

// blobName returns the path of a blob in the store, or an error for
// descriptors that no blob can have.
func blobName(desc ocispec.Descriptor) (string, error) {
	if desc.Size < 0 || desc.Size > maxBlobSize {
		return "", fmt.Errorf("blob %s has size %d: %w", desc.Digest, desc.Size, content.ErrInvalidDescriptorSize)
	}
	return digestName(desc.Digest)
}

func digestName(dgst digest.Digest) (string, error) {
	if err := dgst.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w: %w", string(dgst), errdef.ErrInvalidDigest, err)
	}
	switch alg := dgst.Algorithm(); alg {
	case digest.SHA256, digest.SHA512:
		return path.Join(blobsDir, alg.String(), dgst.Encoded()), nil
	default:
		return "", fmt.Errorf("digest algorithm %s: %w", alg, errdef.ErrUnsupported)
	}
}

// nameDigest is the reverse of digestName.
func nameDigest(name string) (digest.Digest, bool) {
	alg, hex, ok := strings.Cut(strings.TrimPrefix(name, blobsDir+"/"), "/")
	if !ok {
		return "", false
	}
	dgst := digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
	_, err := digestName(dgst)
	return dgst, err == nil
}
