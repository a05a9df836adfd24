package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
)

// Names in a Hugging Face cache, as huggingface_hub writes them. See "Manage
// your cache" in its documentation.
const (
	hfPrefix    = "models--"
	hfBlobs     = "blobs"
	hfSnapshots = "snapshots"
	hfRefs      = "refs"
	hfLocks     = ".locks"

	// hfDefaultRef is what loaders ask for when nobody says.
	hfDefaultRef = "main"

	hfRevisionLen = 40
)

// HFOptions says where [UnpackHF] puts an artifact in a Hugging Face cache.
type HFOptions struct {
	// Cache is the directory of the cache. It is made if it is not there.
	Cache string

	// RepoID is the name that loaders know the model by: NAME or ORG/NAME.
	RepoID string

	// Ref is the branch or tag that will point to the version, if not empty.
	Ref string

	// Main makes the branch main point to it too. Without, that is done only
	// if there is no such branch yet.
	Main bool
}

// HFUnpacked is what [UnpackHF] did.
type HFUnpacked struct {
	Unpacked

	Snapshot string // the directory with the files
	Revision string // the first 40 digits of the version's digest
	Main     string // the revision that the branch main points to now

	// Kept are the refs that were left as they are, and the revisions of
	// another hub that they point to.
	Kept map[string]string
}

// UnpackHF puts the files of a into a cache of huggingface_hub, in such a way
// that loaders find them without a network: blobs named by their digests, a
// snapshot of links to them named by the revision, and a file for each ref. The
// cache may have been made by huggingface_hub, and is only added to: a file that
// is there and is another is an error that wraps [ErrNotOurs] unless opts.Force
// is set, and nothing is removed. Blobs that are there are not fetched again. Nor
// is a ref moved, without opts.Force, that points to a revision which UnpackHF
// did not make: it makes models--NAME/.modelreg/REVISION beside each of its own.
//
// Everything is verified before it has a name in the cache; a snapshot that was
// not there appears as a whole, and refs move last. [ErrBusy] means that another
// process unpacks the same model there.
func UnpackHF(ctx context.Context, a *Artifact, src content.Fetcher, hf HFOptions, opts UnpackOptions) (*HFUnpacked, error) {
	h, err := newHFCache(a, hf, opts)
	if err == nil {
		err = h.run(ctx, src)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack into cache %s: %w", hf.Cache, err)
	}
	return &h.out, nil
}

// An HFPlan is what an [UnpackHF] would do now.
type HFPlan struct {
	UnpackPlan

	Snapshot string // the directory that the files will be in
	Revision string // the first 40 digits of the version's digest
}

// PlanUnpackHF is [PlanUnpack] for [UnpackHF].
func PlanUnpackHF(ctx context.Context, a *Artifact, src content.Fetcher, hf HFOptions, opts UnpackOptions) (*HFPlan, error) {
	h, err := newHFCache(a, hf, opts)
	if err != nil {
		return nil, fmt.Errorf("plan for cache %s: %w", hf.Cache, err)
	}
	if err := h.checkForeignAhead(ctx); err != nil {
		return nil, fmt.Errorf("plan for cache %s: %w", hf.Cache, err)
	}
	u := &unpacker{a: a, src: src, opts: h.opts, blobs: hfBlobs}
	p, err := u.foresee(ctx, h.staging())
	if err != nil {
		return nil, fmt.Errorf("plan for cache %s: %w", hf.Cache, err)
	}
	return &HFPlan{UnpackPlan: *p, Snapshot: h.snapshotDir(), Revision: h.revision}, nil
}

// An hfCache is one model in a cache while an artifact is added to it.
type hfCache struct {
	a        *Artifact
	cache    string // absolute
	name     string // of the model's directory
	hf       HFOptions
	opts     UnpackOptions
	revision string

	root    *os.Root // the model's directory
	checked *locals  // what was found there, and has the right bytes
	out     HFUnpacked
}

// validRepoID is what huggingface_hub accepts (utils/_validators.py), one
// element of it.
var validRepoID = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// CheckRepoID tells whether huggingface_hub takes id for the name of a model.
func CheckRepoID(id string) error {
	parts := strings.Split(id, "/")
	ok := len(parts) <= 2 && len(id) <= 96 && !strings.Contains(id, "--") && !strings.Contains(id, "..") && !strings.HasSuffix(id, ".git")
	for _, p := range parts {
		ok = ok && validRepoID.MatchString(p)
	}
	if !ok {
		return fmt.Errorf("%w: %q is no name of a model for huggingface_hub: use NAME or ORG/NAME", ErrTarget, id)
	}
	return nil
}

func newHFCache(a *Artifact, hf HFOptions, opts UnpackOptions) (*hfCache, error) {
	if err := CheckRepoID(hf.RepoID); err != nil {
		return nil, err
	}
	if hf.Ref != "" {
		if err := CheckPath(hf.Ref); err != nil {
			return nil, err
		}
	}
	abs, err := filepath.Abs(hf.Cache)
	if err != nil {
		return nil, err
	}
	hex := a.Descriptor.Digest.Encoded()
	h := &hfCache{a: a, cache: abs, hf: hf, opts: opts, revision: hex[:hfRevisionLen]}
	h.name = hfPrefix + strings.ReplaceAll(hf.RepoID, "/", "--")
	return h, nil
}

// dir is the model's directory.
func (h *hfCache) dir() string { return filepath.Join(h.cache, h.name) }

// snapshotDir is where the files will be.
func (h *hfCache) snapshotDir() string { return filepath.Join(h.dir(), hfSnapshots, h.revision) }

// staging is where the artifact is unpacked first.
func (h *hfCache) staging() string { return filepath.Join(h.dir(), h.stagingName()) }

func (h *hfCache) stagingName() string { return controlPrefix + "-" + h.revision }

func (h *hfCache) run(ctx context.Context, src content.Fetcher) (err error) {
	remove, err := h.makeDirs()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	if h.root, err = os.OpenRoot(h.dir()); err != nil {
		return err
	}
	defer h.root.Close()
	unlock, err := h.lock(ctx, "modelreg", false)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.checkForeign(ctx); err != nil {
		return err
	}
	u := &unpacker{a: h.a, src: src, opts: h.opts, blobs: hfBlobs}
	if err := u.run(ctx, h.staging()); err != nil {
		return err
	}
	h.out.Unpacked, h.checked = u.out, u.locals
	files := u.record.Files
	if files == nil { // an earlier run came this far
		files = u.target.old.Files
	}
	if err := h.place(ctx, files); err != nil {
		return err
	}
	return h.root.RemoveAll(h.stagingName())
}

// makeDirs makes the model's directories. What it returns takes those away again
// that were not there and are empty.
func (h *hfCache) makeDirs() (remove func(), err error) {
	var made []string
	for _, dir := range []string{h.dir(), filepath.Join(h.dir(), hfBlobs), filepath.Join(h.dir(), hfSnapshots), filepath.Join(h.dir(), hfRefs)} {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			made = append(made, dir)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return func() {
		for _, dir := range slices.Backward(made) {
			_ = os.Remove(dir) // fails, as it should, where something is in it
		}
	}, nil
}

// checkForeign finds files that are in the way before anything is fetched.
func (h *hfCache) checkForeign(ctx context.Context) error {
	wanted, err := h.opts.Select.Matcher()
	if err != nil || h.opts.Force {
		return err
	}
	for _, f := range h.a.Files {
		if f.Archive || !wanted(f.Path) {
			continue
		}
		r := recordedFile{Path: f.Path, Digest: f.Digest, Size: f.Size}
		if _, err := h.linked(ctx, hfSnapshots+"/"+h.revision, r); err != nil {
			return err
		}
	}
	return nil
}

// checkForeignAhead does so, where the model's directory may not be there yet.
func (h *hfCache) checkForeignAhead(ctx context.Context) (err error) {
	h.root, err = os.OpenRoot(h.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.root.Close()
	return h.checkForeign(ctx)
}

// place gives the files their names in the cache.
func (h *hfCache) place(ctx context.Context, files []recordedFile) error {
	for _, f := range files {
		if err := h.placeBlob(ctx, f); err != nil {
			return err
		}
	}
	if err := syncRoot(h.root, hfBlobs); err != nil {
		return err
	}
	if err := h.mark(); err != nil {
		return err
	}
	if err := h.snapshot(ctx, files); err != nil {
		return err
	}
	h.out.Kept = make(map[string]string)
	h.out.Revision, h.out.Snapshot = h.revision, h.snapshotDir()
	return h.setRefs()
}

// lock takes the lock that huggingface_hub takes for a file of the cache. If
// wait is not set, another's lock is [ErrBusy].
func (h *hfCache) lock(ctx context.Context, name string, wait bool) (unlock func(), err error) {
	dir := filepath.Join(h.cache, hfLocks, h.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(dir, name+".lock"))
	var locked bool
	if wait {
		locked, err = l.TryLockContext(ctx, 20*time.Millisecond)
	} else {
		locked, err = l.TryLock()
	}
	if err == nil && !locked {
		err = fmt.Errorf("%s: %w", h.dir(), ErrBusy)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return func() { _ = l.Close() }, nil
}

// placeBlob makes the blob of a file in the staging directory, if it is not
// there.
func (h *hfCache) placeBlob(ctx context.Context, f recordedFile) error {
	hex := f.Digest.Encoded()
	if l, ok := h.checked.get(f.Digest); ok && l.name == hfBlobs+"/"+hex {
		return nil
	}
	unlock, err := h.lock(ctx, hex, true)
	if err != nil {
		return err
	}
	defer unlock()
	from, to := h.stagingName()+"/"+f.Path, hfBlobs+"/"+hex
	info, err := h.root.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if h.root.Link(from, to) == nil {
			return nil
		}
		return h.root.Rename(from, to)
	case err != nil:
		return err
	}
	if staged, err := h.root.Lstat(from); err == nil && os.SameFile(staged, info) {
		return nil
	}
	same, err := h.holds(ctx, to, f.Digest, f.Size)
	if err != nil || same {
		return err
	}
	if !h.opts.Force {
		return fmt.Errorf("%w: %s is not what its name says", ErrNotOurs, filepath.Join(h.dir(), hfBlobs, hex))
	}
	return h.root.Rename(from, to)
}

// holds tells whether a regular file, behind links or not, has these bytes.
func (h *hfCache) holds(ctx context.Context, name string, d digest.Digest, size int64) (bool, error) {
	info, err := h.root.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false, nil
	}
	got, err := localFile{name: name, info: info}.hash(ctx, h.root, d.Algorithm(), nil)
	return got == d, err
}

// snapshot makes the links of a snapshot: all at once if it is not there, else
// those that are missing.
func (h *hfCache) snapshot(ctx context.Context, files []recordedFile) error {
	final := hfSnapshots + "/" + h.revision
	if _, err := h.root.Lstat(final); err == nil {
		for _, f := range files {
			if err := h.link(ctx, final, f); err != nil {
				return err
			}
		}
		return syncTree(h.root, final)
	}
	next := controlPrefix + "-" + h.revision + ".snapshot"
	if err := h.root.RemoveAll(next); err != nil {
		return err
	}
	for _, f := range files {
		if err := h.link(ctx, next, f); err != nil {
			return err
		}
	}
	if err := syncTree(h.root, next); err != nil {
		return err
	}
	if err := h.root.Rename(next, final); err != nil {
		return err
	}
	return syncRoot(h.root, hfSnapshots)
}

// linkText is what the link of a file says: from models--X/snapshots/REVISION/a/b
// to models--X/blobs/HEX.
func linkText(f recordedFile) string {
	return strings.Repeat("../", 2+strings.Count(f.Path, "/")) + hfBlobs + "/" + f.Digest.Encoded()
}

// linked tells whether a snapshot has the file: as our link, or as whatever else
// that has its bytes. Something else is an error that wraps [ErrNotOurs].
func (h *hfCache) linked(ctx context.Context, snapshot string, f recordedFile) (bool, error) {
	name := snapshot + "/" + f.Path
	if now, err := h.root.Readlink(name); err == nil && now == linkText(f) {
		return true, nil
	}
	if _, err := h.root.Lstat(name); err != nil {
		return false, nil // making it will tell what is wrong
	}
	same, err := h.holds(ctx, name, f.Digest, f.Size)
	if err == nil && !same {
		err = fmt.Errorf("%w: %s is there and is another file", ErrNotOurs, filepath.Join(h.dir(), filepath.FromSlash(name)))
	}
	return same, err
}

// link makes one file of a snapshot.
func (h *hfCache) link(ctx context.Context, snapshot string, f recordedFile) error {
	name := snapshot + "/" + f.Path
	there, err := h.linked(ctx, snapshot, f)
	if there {
		return nil
	}
	if errors.Is(err, ErrNotOurs) && h.opts.Force {
		err = h.root.Remove(name)
	}
	if err != nil {
		return err
	}
	if err := h.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if h.root.Symlink(linkText(f), name) == nil {
		return nil
	}
	// Where links are not allowed huggingface_hub has the files themselves in
	// the snapshot.
	return h.root.Link(hfBlobs+"/"+f.Digest.Encoded(), name)
}

// syncRoot makes the names in a directory durable, where that can be asked for.
func syncRoot(root *os.Root, name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// syncTree does so with a directory and all below it.
func syncTree(root *os.Root, name string) error {
	return fs.WalkDir(root.FS(), name, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncRoot(root, p)
	})
}
