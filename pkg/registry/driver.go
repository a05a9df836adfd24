package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/store"
)

const (
	driverName      = "modelreg"
	driverParameter = "driver"
	maxThreads      = 100 // files open at once; Distribution's own default

	// Where Distribution keeps things below the data directory.
	blobRoot   = "/docker/registry/v2/blobs/"
	repoRoot   = "/docker/registry/v2/repositories"
	uploadsDir = "_uploads"
)

// namedDriver exists for the shorter name.
type namedDriver = storagedriver.StorageDriver

// registerDriver makes our driver known to Distribution, which takes drivers by
// name from a table of the process and by no other way. The table is not safe
// for concurrent use and refuses a second entry, hence the Once.
var registerDriver = sync.OnceFunc(func() {
	factory.Register(driverName, givenDriver{})
})

// givenDriver is the factory that returns the driver it is given.
type givenDriver struct{}

// Create returns the driver among the parameters.
func (givenDriver) Create(_ context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	d, ok := parameters[driverParameter].(storagedriver.StorageDriver)
	if !ok {
		return nil, errors.New("no storage driver given")
	}
	return d, nil
}

func openDriver(opts Options) (namedDriver, error) {
	registerDriver()
	if opts.Data == "" {
		return inmemory.New(), nil
	}
	root, err := filepath.Abs(opts.Data)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	if !opts.ReadOnly {
		if err := os.MkdirAll(root, 0o700); err != nil {
			return nil, fmt.Errorf("make data directory: %w", err)
		}
	}
	if _, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	inner := filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: maxThreads})
	return &durableDriver{StorageDriver: inner, root: root, sync: syncDir}, nil
}

// A durableDriver is Distribution's file system driver with the syncs that it
// leaves out. That driver syncs a file before it renames it and, in PutContent,
// the directory; but a blob moved into place has no name on the disk yet, nor
// have the directories made for it, when the client is told 201.
type durableDriver struct {
	storagedriver.StorageDriver
	root string
	sync func(dir string) error

	mu    sync.Mutex
	known map[string]struct{} // directories whose names are on the disk
}

// maxKnown bounds what is remembered; past it, everything is synced once more.
const maxKnown = 1 << 16

// PutContent writes a small file whose data, name and directories are on the
// disk when it returns. What belongs to a running upload is only written whole:
// nearly half of the syncs of a small blob went into notes that are thrown away
// with its upload a moment later, and a power cut costs no more than that upload.
func (d *durableDriver) PutContent(ctx context.Context, name string, content []byte) error {
	if isUpload(name) && storagedriver.PathRegexp.MatchString(name) {
		return writeWhole(d.full(name), content)
	}
	if err := d.makeParents(name); err != nil {
		return err
	}
	return d.StorageDriver.PutContent(ctx, name, content)
}

// Move renames a file whose data is already on the disk, and returns when its
// new name is, too.
func (d *durableDriver) Move(ctx context.Context, from, to string) error {
	if err := d.makeParents(to); err != nil {
		return err
	}
	if err := d.StorageDriver.Move(ctx, from, to); err != nil {
		return err
	}
	return d.sync(filepath.Dir(d.full(to)))
}

// Delete removes a file or a tree.
func (d *durableDriver) Delete(ctx context.Context, name string) error {
	if isUpload(name) {
		return d.StorageDriver.Delete(ctx, name)
	}
	d.forget(d.full(name))
	err := d.StorageDriver.Delete(ctx, name)
	d.forget(d.full(name)) // a write that ran meanwhile may have known it again
	return err
}

// Stat says that a blob without bytes is not there, unless it is the empty
// blob: a crash can leave such a file, and believing in it would keep it from
// ever being repaired.
func (d *durableDriver) Stat(ctx context.Context, name string) (storagedriver.FileInfo, error) {
	fi, err := d.StorageDriver.Stat(ctx, name)
	if err != nil || fi.IsDir() || fi.Size() != 0 {
		return fi, err
	}
	if dgst, ok := blobOf(name); ok && dgst.Algorithm().FromBytes(nil) != dgst {
		return nil, storagedriver.PathNotFoundError{Path: name, DriverName: d.Name()}
	}
	return fi, nil
}

// blobOf returns the digest of the blob stored under name, which has the form
// <blobRoot>/<algorithm>/<first two digits>/<hex>/data.
func blobOf(name string) (digest.Digest, bool) {
	rest, ok := strings.CutPrefix(name, blobRoot)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 || parts[3] != "data" {
		return "", false
	}
	dgst := digest.NewDigestFromEncoded(digest.Algorithm(parts[0]), parts[2])
	return dgst, dgst.Validate() == nil
}

func (d *durableDriver) full(name string) string {
	return filepath.Join(d.root, filepath.FromSlash(name))
}

// makeParents makes the directories above name, and returns when their names
// are on the disk. It also waits for those that another request has just made
// and not yet synced. Uploads need none of it: they promise nothing.
func (d *durableDriver) makeParents(name string) error {
	if !storagedriver.PathRegexp.MatchString(name) || isUpload(name) {
		return nil // the driver below decides
	}
	return d.makeDir(filepath.Dir(d.full(name)))
}

func isUpload(name string) bool {
	return strings.Contains(name, "/"+uploadsDir+"/")
}

func (d *durableDriver) makeDir(dir string) error {
	if dir == d.root || d.isKnown(dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := d.makeDir(parent); err != nil {
		return err
	}
	// MkdirAll, because a garbage collector may have removed a known parent.
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := d.sync(parent); err != nil {
		return err
	}
	d.remember(dir)
	return nil
}

func (d *durableDriver) isKnown(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.known[dir]
	return ok
}

func (d *durableDriver) remember(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= maxKnown {
		d.known = make(map[string]struct{})
	}
	d.known[dir] = struct{}{}
}

// forget drops everything at and below name.
func (d *durableDriver) forget(name string) {
	below := name + string(filepath.Separator)
	d.mu.Lock()
	defer d.mu.Unlock()
	for dir := range d.known {
		if dir == name || strings.HasPrefix(dir, below) {
			delete(d.known, dir)
		}
	}
}

// writeWhole writes a file that another process sees complete or not at all.
func writeWhole(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	temp := name + ".tmp" // one request at a time has the upload
	if err := os.WriteFile(temp, content, 0o666); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

// syncDir writes a directory to the disk.
func syncDir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(store.SyncDir(root, "."), root.Close())
}
