package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// UnpackOptions adjusts [Unpack]. The zero value replaces nothing that did not
// come from an artifact.
type UnpackOptions struct {
	// Force replaces a directory that holds other files, and in a directory
	// that came from an artifact files that were changed since, and other files
	// where they are in the way.
	Force bool

	// AllowDotfiles lets all names through that begin with a dot, and not only
	// those that are known to be harmless; never ".git" and what Unpack itself
	// writes.
	AllowDotfiles bool

	// Select says which files are wanted. The target then holds those and no
	// others of the artifact; a later Unpack with another selection, or none,
	// fetches only what is not there yet.
	Select Selection

	// Workers bounds the blobs fetched at once. Zero means 4.
	Workers int

	// Connections bounds the requests to the source under way at once, and
	// Bandwidth the bytes fetched in a second. Zero is what
	// [transfer.PullOptions] says.
	Connections int
	Bandwidth   int64

	// MaxWait bounds the waits for a source that gives next to nothing. Zero is
	// what [transfer.PullOptions] says.
	MaxWait time.Duration

	// PageCache leaves large files in the system's memory for files, for who
	// loads them at once. See [transfer.PullOptions].
	PageCache bool

	// Store, if not nil, is asked for blobs first, and given those that were
	// fetched where that costs no disk space.
	Store *store.Store

	// NoDelta fetches files of weights whole, where otherwise only those of
	// their chunks are fetched that no file of the target, of directories
	// that were unpacked into before, or of the store has.
	NoDelta bool

	// Variants are codings of layers in fewer bytes, from [ParseVariant], that
	// are fetched and decoded instead of their layers, where the files that
	// they need are on this machine.
	Variants []CodedLayer

	// Reference is recorded in the target, for people to read.
	Reference string

	// Added are small files, by path, that are put among those of the artifact
	// as if they were in it. None may have the name of another.
	Added map[string][]byte

	// Evidence, if not nil, is kept in the target as EvidenceFile: whatever
	// the caller will want to have there to tell who vouched for the files.
	Evidence []byte

	// Admission is recorded in the target unless it is the zero value.
	Admission Admission

	// Link says how files of the store come into the target. The zero value
	// shares their bytes where the file system can, and copies them elsewhere.
	Link Link

	// Observe, if not nil, is told what happens to each blob.
	Observe transfer.Observer
}

// Unpacked is what [Unpack] did. Sizes are bytes.
type Unpacked struct {
	Files   int   // of the artifact, in the target
	Size    int64 // of those files
	LeftOut int   // files of the artifact that were not selected
	Fetched int64 // read from the source
	Reused  int64 // taken from files that were there, an interrupted run, or the store
	Notes   []string
}

// Unpack makes directory dir hold the files of a, with their blobs from src. The
// directory may be missing, empty, or from an earlier Unpack: then its files are
// made those of a, files that came from the earlier artifact and are not in a
// disappear, and files that the user added stay. Content that is there already,
// under whatever name, is not fetched again.
//
// Files of the earlier artifact that were changed since, and would become others
// or disappear, are refused with an [EditedError]: nothing tells damage from work.
//
// Other directories are refused with [ErrNotOurs], and places such as a home
// directory with [ErrTarget]. [ErrBusy] means that another process unpacks into
// dir.
//
// The new content is put together in a directory beside dir and then swapped
// with it. After an interruption or a fault of the network that directory stays,
// and the next Unpack into dir goes on from there; after any other error
// nothing is left of it.
func Unpack(ctx context.Context, a *Artifact, src content.Fetcher, dir string, opts UnpackOptions) (*Unpacked, error) {
	u := &unpacker{a: a, src: src, opts: opts}
	if err := u.run(ctx, dir); err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return &u.out, nil
}

// An unpacker unpacks one artifact once.
type unpacker struct {
	a    *Artifact
	src  content.Fetcher
	opts UnpackOptions

	// blobs is a directory beside the target whose files are named by their
	// digests. Those that are in it already get no second name in the tree.
	blobs   string
	inPlace map[string]bool

	target *target
	stage  *stage
	locals *locals
	names  *pathSet               // of the tree
	placed map[digest.Digest]bool // staged or local content that has a name in the tree
	dirs   map[string]bool        // made in the tree
	synced map[string]bool        // files of the tree that need no more
	wanted func(path string) bool // the selection
	apart  bool                   // names that differ only in case or normal form are let through
	record record
	files  []fs.FileInfo // of record.Files, as they were put in place
	budget int           // entries of archives left

	mu        sync.Mutex
	headers   int                        // in archives whose files are staged
	durable   map[digest.Digest]bool     // staged files that have been synced
	inArchive map[digest.Digest][]string // directories in layers whose files are staged

	delta *delta
	limit *transfer.Limit // of everything that is fetched

	fetching bool
	before   bool // an earlier run has left something that was fetched
	kept     bool // what was fetched stays for the next run, whatever the error
	fetched  atomic.Int64
	copied   atomic.Int64 // of blobs that were fetched in part
	resumed  sync.Map     // of digests to the bytes that an earlier run had fetched
	out      Unpacked
}

func (u *unpacker) run(ctx context.Context, dir string) (err error) {
	u.limit = transfer.NewLimit(u.opts.Connections, u.opts.Bandwidth)
	if err := u.choose(); err != nil {
		return err
	}
	if u.target, err = openTarget(dir); err != nil {
		return err
	}
	defer func() { u.target.close(err != nil) }()
	if u.stage, err = openStage(u.target); err != nil {
		return err
	}
	u.before = u.stage.hasBlobs()
	if err = u.fill(ctx); err != nil {
		if u.kept || u.resumable(ctx, err) && u.stage.hasBlobs() {
			u.stage.close()
			return err
		}
		return errors.Join(err, u.stage.remove())
	}
	if u.a.Parent != "" {
		u.out.Notes = append(u.out.Notes, fmt.Sprintf("the weights are in another artifact: %s", printable(u.a.Parent)))
	}
	if u.stage.clear() == nil {
		u.settled(ctx, u.files)
	}
	if rerr := u.stage.remove(); rerr != nil {
		u.out.Notes = append(u.out.Notes, fmt.Sprintf("what the old directory was could not be removed: %v", rerr))
	}
	u.delta.remember()
	return nil
}

// stageManifest puts the manifest among the blobs, where it is one of the files,
// and what is added to these.
func (u *unpacker) stageManifest() error {
	u.out.Notes = append(u.out.Notes, u.a.notes...)
	for _, data := range u.opts.Added {
		if err := u.stage.root.WriteFile(blobName(digest.FromBytes(data)), data, mode); err != nil {
			return err
		}
	}
	if !u.a.manifestIsFile {
		return nil
	}
	return u.stage.root.WriteFile(blobName(u.a.Descriptor.Digest), u.a.Raw, mode)
}

// resumable tells whether what was fetched so far helps the next run.
func (u *unpacker) resumable(ctx context.Context, err error) bool {
	for _, final := range []error{ErrUnsafe, ErrTarget, content.ErrMismatchedDigest, mediatypes.ErrMalformed, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, final) {
			return false
		}
	}
	if ctx.Err() != nil {
		return true
	}
	_, local := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	return u.fetching && !local && !link
}

// fill does the work between having the stage and removing it.
func (u *unpacker) fill(ctx context.Context) error {
	if err := u.checkNames(); err != nil {
		return err
	}
	if err := u.target.look(u.opts.Force); err != nil {
		return err
	}
	if err := u.checkLink(); err != nil {
		return err
	}
	if err := u.stageManifest(); err != nil {
		return err
	}
	if err := u.findLocals(ctx); err != nil {
		return err
	}
	if u.isCurrent() {
		return nil
	}
	if err := u.checkTheirs(); err != nil {
		return err
	}
	if err := u.checkEdited(); err != nil {
		return err
	}
	if err := u.localsToStore(ctx); err != nil {
		return err
	}
	if err := u.fetch(ctx); err != nil {
		return err
	}
	if err := u.build(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := u.target.stillFree(u.opts.Force); err != nil {
		return err
	}
	if err := u.stillUnedited(); err != nil {
		return err
	}
	edited := u.edited()
	u.files = u.stat()
	if err := u.stage.publish(); err != nil {
		u.kept = u.stage.hasBlobs()
		return u.notPublished(err)
	}
	if note := listed("replaced files that were changed since the last pull:", edited); note != "" {
		u.out.Notes = append(u.out.Notes, note)
	}
	u.carryLate()
	return nil
}

// isCurrent tells whether the target holds the artifact already, and then
// counts it. What archives hold that are not listed is not known.
func (u *unpacker) isCurrent() bool {
	old := u.target.old
	if old == nil || old.Digest != u.a.Descriptor.Digest || !old.selection().same(u.opts.Select) || !u.manifestKept() || !u.evidenceKept() {
		return false
	}
	if old.skipped() && u.opts.Admission.Policy != "" {
		return false // it is no longer true that nobody was asked
	}
	for _, f := range u.a.Files {
		if f.Archive || u.locals.paths[f.Path] != f.Digest {
			return false
		}
	}
	if len(old.Files) != len(u.a.Files) {
		return false // some of the files there are no longer wanted
	}
	for _, e := range u.target.tree {
		if f, ours := u.a.file(e.path); ours && e.info.Mode() != u.modeOf(f) {
			return false
		}
	}
	for _, f := range u.a.Files {
		u.out.Files++
		u.out.Size += f.Size
	}
	u.out.Reused = u.out.Size
	return true
}

// manifestKept tells whether ManifestFile is there with the right size.
func (u *unpacker) manifestKept() bool {
	return slices.ContainsFunc(u.target.tree, func(e existing) bool {
		return e.path == ManifestFile && e.info.Mode().IsRegular() && e.info.Size() == int64(len(u.a.Raw))
	})
}

// checkTheirs refuses, before anything is fetched, to put a file where the user
// has another one.
func (u *unpacker) checkTheirs() error {
	if u.opts.Force {
		return nil
	}
	for _, e := range u.target.theirs() {
		if err := u.inTheWay(e); err != nil {
			return err
		}
	}
	return nil
}

// inTheWay tells whether a file of the user's and the artifact cannot both be
// in the target.
func (u *unpacker) inTheWay(e existing) error {
	conflict := false
	for i := range e.path {
		if e.path[i] == '/' && u.names.isFile(e.path[:i]) {
			conflict = true
		}
	}
	switch {
	case e.info.IsDir():
		conflict = conflict || u.names.isFile(e.path)
	case u.names.isFile(e.path):
		f, listed := u.a.file(e.path)
		conflict = conflict || !listed || u.locals.paths[e.path] != f.Digest
	default:
		conflict = conflict || u.names.isDir(e.path)
	}
	if conflict {
		return fmt.Errorf("%s: %w: %s was not there before and is in the artifact too", u.target.dir, ErrNotOurs, printable(e.path))
	}
	return nil
}

// fetch brings the blobs that are needed into the stage.
func (u *unpacker) fetch(ctx context.Context) error {
	n, over, err := u.planAlone(ctx)
	if err != nil {
		return err
	}
	defer over()
	for _, f := range n.stored {
		ok, err := u.fromStore(ctx, f)
		if err != nil {
			return err
		}
		if ok {
			u.reuse(f.Path, f.Layer)
		} else { // it was damaged
			n.blobs = append(n.blobs, f)
		}
	}
	jobs, viaStore := u.jobs(ctx, n.blobs)
	if err := u.checkSpace(n.blobs, viaStore); err != nil {
		return err
	}
	u.fetching = true
	if jobs, n.blobs, err = u.fromCodings(ctx, jobs, n.blobs); err != nil {
		return err
	}
	u.openDelta(ctx, jobs, n.blobs)
	err = transfer.Pull(ctx, u.src, jobs, u.pullOptions())
	u.delta.finish(err)
	if err == nil {
		err = u.fetchMembers(ctx, n.members)
	}
	u.out.Fetched = u.fetched.Load()
	u.out.Reused += u.copied.Load()
	for _, n := range u.resumed.Range {
		u.out.Reused += n.(int64)
	}
	if err != nil {
		return err
	}
	for _, f := range n.blobs {
		if viaStore {
			if err := u.takeOut(ctx, f); err != nil {
				return err
			}
		}
	}
	u.fetching = false
	return nil
}

// needs tells whether the layer of f must be brought in: not if its content is
// on this machine.
func (u *unpacker) needs(f File) bool {
	if f.Layer.Size == 0 && f.Encoding == mediatypes.Raw {
		return false
	}
	if l, ok := u.locals.get(f.Layer.Digest); ok && l.usable(f) {
		return false
	}
	if f.Archive || f.Encoding == mediatypes.Raw {
		return true
	}
	for _, other := range u.a.Files {
		if other.Layer.Digest != f.Layer.Digest || other.Size == 0 {
			continue
		}
		if _, ok := u.locals.get(other.Digest); !ok {
			return true
		}
	}
	return false
}

// usable tells whether the local file can stand for the layer of f: an archive
// is read from the stage only.
func (l localFile) usable(f File) bool { return l.staged || f.Encoding == mediatypes.Raw }

func jobName(f File) string {
	if f.Encoding == mediatypes.Raw || f.Archive && f.Path != "." {
		return f.Path
	}
	return f.Layer.Digest.String()
}

// reuse tells of content that is not fetched.
func (u *unpacker) reuse(name string, desc ocispec.Descriptor) {
	u.out.Reused += desc.Size
	if u.opts.Observe != nil {
		u.opts.Observe(transfer.Event{Action: transfer.Reused, Name: name, Desc: desc})
	}
}

// observe counts what comes from the source, and passes events on.
func (u *unpacker) observe(e transfer.Event) {
	switch {
	case e.Action == transfer.Progress && e.Bytes > 0:
		u.fetched.Add(e.Bytes)
	case e.Action == transfer.Start && e.Bytes > 0:
		u.resumed.Store(e.Desc.Digest, e.Bytes)
	case e.Action == transfer.Copied:
		u.copied.Add(e.Bytes)
	case e.Action == transfer.Progress && e.Bytes < 0:
		u.resumed.Delete(e.Desc.Digest) // the blob begins again
	}
	if u.opts.Observe != nil {
		u.opts.Observe(e)
	}
}
