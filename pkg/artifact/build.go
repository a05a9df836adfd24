package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/glob"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// build puts the tree together from what is in the stage and in the target.
func (u *unpacker) build(ctx context.Context) error {
	u.names, u.budget = u.newNames(), maxEntries
	u.placed, u.dirs = make(map[digest.Digest]bool), make(map[string]bool)
	u.inPlace, u.synced = make(map[string]bool), make(map[string]bool)
	inLayer := make(map[digest.Digest][]File)
	for _, f := range u.a.Files {
		if f.Encoding != mediatypes.Raw {
			inLayer[f.Layer.Digest] = append(inLayer[f.Layer.Digest], f)
			continue
		}
		if err := u.place(ctx, f); err != nil {
			return err
		}
	}
	for _, l := range u.a.Manifest.Layers {
		files := inLayer[l.Digest]
		delete(inLayer, l.Digest)
		if len(files) == 0 {
			continue
		}
		if err := u.unfold(ctx, files); err != nil {
			return err
		}
	}
	if len(u.record.Files) == 0 && u.out.LeftOut > 0 {
		return glob.ErrNoMatch
	}
	if len(u.record.Files) == 0 {
		return fmt.Errorf("%w: no files in it", ErrNotModel)
	}
	if err := u.settle(ctx); err != nil {
		return err
	}
	if err := u.writeControl(); err != nil {
		return err
	}
	return u.carry(ctx)
}

// unfold puts the files of a layer into the tree: from the archive if it is in
// the stage, else one by one from where they are.
func (u *unpacker) unfold(ctx context.Context, files []File) error {
	if _, err := u.stage.root.Lstat(blobName(files[0].Layer.Digest)); err == nil {
		return u.extract(ctx, files)
	}
	for _, dir := range u.inArchive[files[0].Layer.Digest] {
		if err := u.addDir(dir); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := u.place(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// place puts one file whose content is known into the tree.
func (u *unpacker) place(ctx context.Context, f File) error {
	if err := u.addFile(f.Path, f.Digest, f.Size); err != nil {
		return err
	}
	if err := u.mkdir(path.Dir(f.Path)); err != nil {
		return err
	}
	switch l, ok := u.locals.get(f.Digest); {
	case ok && l.shared && path.Base(l.name) == f.Digest.Encoded():
		u.reuse(f.Path, ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Digest, Size: f.Size})
		u.inPlace[f.Path] = true
		return nil
	case f.Size == 0:
		return u.placeEmpty(f)
	case ok && !l.staged && (u.opts.Link != LinkHard || l.info.Mode() == u.modeOf(f)):
		u.reuse(f.Path, ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Digest, Size: f.Size})
		return u.placeLocal(ctx, f, l)
	case ok && l.staged:
		u.reuse(f.Path, ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Digest, Size: f.Size})
	}
	return u.placeStaged(ctx, f)
}

// placeEmpty makes a file of no bytes, after making sure that its digest says
// so.
func (u *unpacker) placeEmpty(f File) error {
	if f.Digest != f.Digest.Algorithm().FromBytes(nil) {
		return &transfer.DigestError{Name: f.Path, Desc: f.Layer, Got: f.Digest.Algorithm().FromBytes(nil)}
	}
	w, err := u.stage.tree.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return w.Close()
}

// placeStaged gives a fetched blob its name in the tree. Each name gets a file
// of its own, so that changing one later changes no other; the first is the
// blob itself.
func (u *unpacker) placeStaged(ctx context.Context, f File) error {
	blob := blobName(f.Digest)
	if u.modeOf(f) == linkedMode {
		return u.stage.root.Link(blob, stageTree+"/"+f.Path)
	}
	if !u.placed[f.Digest] {
		u.placed[f.Digest] = true
		if u.stage.root.Link(blob, stageTree+"/"+f.Path) == nil {
			u.synced[f.Path] = u.durable[f.Digest]
			return nil
		}
		if !u.usedTwice(f.Digest) {
			return u.stage.root.Rename(blob, stageTree+"/"+f.Path)
		}
	}
	src, err := u.stage.root.Open(blob)
	if err != nil {
		return err
	}
	defer src.Close()
	return u.copyFile(ctx, f, src)
}

func (u *unpacker) usedTwice(d digest.Digest) bool {
	n := 0
	for _, f := range u.a.Files {
		if f.Digest == d {
			n++
		}
	}
	return n > 1
}

// placeLocal puts a file of the old target into the tree. A link is enough: the
// old name is about to go.
func (u *unpacker) placeLocal(ctx context.Context, f File, l localFile) error {
	if linked := u.modeOf(f) == linkedMode; l.info.Mode() == u.modeOf(f) && (linked || !u.placed[f.Digest]) {
		u.placed[f.Digest] = true
		if u.target.parent.Link(l.name, u.stage.name+"/"+stageTree+"/"+f.Path) == nil {
			return u.checkLinked(f.Path, l)
		}
	}
	src, err := openRegular(u.target.parent, l.name)
	if err != nil {
		return err
	}
	defer src.Close()
	return u.copyFile(ctx, f, src)
}

// checkLinked makes sure that what was linked is what was hashed.
func (u *unpacker) checkLinked(name string, l localFile) error {
	f, err := openRegular(u.stage.tree, name)
	if err != nil {
		return err
	}
	defer f.Close()
	return sameAs(f, l.name, l.info)
}

// copyFile clones or copies src, and hashes it again on the way.
func (u *unpacker) copyFile(ctx context.Context, f File, src *os.File) error {
	return store.CopyFile(ctx, u.stage.tree, f.Path, src, ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Digest, Size: f.Size})
}

// addFile enters a file into the tree's list.
func (u *unpacker) addFile(p string, d digest.Digest, size int64) error {
	if err := u.addName(p); err != nil {
		return err
	}
	u.listFile(p, d, size)
	return nil
}

func (u *unpacker) listFile(p string, d digest.Digest, size int64) {
	u.record.Files = append(u.record.Files, recordedFile{Path: p, Digest: d, Size: size})
	u.out.Files++
	u.out.Size += size
}

// extract unpacks a staged archive into the tree. The files that an index lists
// must be there as it says, and no others.
func (u *unpacker) extract(ctx context.Context, files []File) error {
	f := files[0]
	src, err := u.stage.root.Open(blobName(f.Layer.Digest))
	if err != nil {
		return err
	}
	defer src.Close()
	x, err := u.a.openArchive(src, f.Layer, f.Encoding, &u.budget)
	if err != nil {
		return err
	}
	defer x.Close()
	listed := make(map[string]File)
	for _, f := range files {
		if !f.Archive {
			listed[f.Path] = f
		}
	}
	indexed := len(listed) > 0
	buf := make([]byte, copyBytes)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := x.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", shortDigest(f.Layer.Digest), err)
		}
		if !m.reserved && !u.wantsMember(m) {
			if !m.dir && !indexed {
				u.out.LeftOut++
			}
			continue
		}
		d, err := u.extractMember(x, m, buf)
		if err != nil {
			return fmt.Errorf("layer %s: %w", shortDigest(f.Layer.Digest), err)
		}
		if !indexed || m.dir {
			continue
		}
		if want, ok := listed[m.path]; !ok || want.Digest != d {
			return &transfer.DigestError{Name: m.path, Desc: ocispec.Descriptor{Digest: want.Digest, Size: want.Size}, Got: d, Size: m.size}
		}
		delete(listed, m.path)
	}
	u.out.Notes = append(u.out.Notes, x.notes...)
	if len(listed) > 0 {
		return fmt.Errorf("%w: layer %s does not hold %d files that its index lists", ErrUnsafe, shortDigest(f.Layer.Digest), len(listed))
	}
	return nil
}

// extractMember writes one member and returns the digest of its bytes.
func (u *unpacker) extractMember(x *archive, m member, buf []byte) (digest.Digest, error) {
	if m.dir {
		return "", u.addDir(m.path)
	}
	if err := u.addName(m.path); err != nil {
		return "", err
	}
	if m.reserved {
		return "", nil
	}
	if err := u.mkdir(path.Dir(m.path)); err != nil {
		return "", err
	}
	w, err := u.stage.tree.OpenFile(m.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return "", err
	}
	h := digest.Canonical.Hash()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, h)}, struct{ io.Reader }{x}, buf)
	if err := errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	if n != m.size {
		return "", &PathError{Path: m.path, Reason: fmt.Sprintf("%d bytes in the archive instead of %d", n, m.size)}
	}
	d := digest.NewDigest(digest.Canonical, h)
	u.listFile(m.path, d, n)
	return d, nil
}

// addDir puts a directory into the tree that an archive has.
func (u *unpacker) addDir(p string) error {
	if err := u.checkDots(p); err != nil {
		return err
	}
	if err := u.names.addDir(p); err != nil {
		return err
	}
	return u.mkdir(p)
}

// mkdir makes a directory of the tree and those above it, once.
func (u *unpacker) mkdir(dir string) error {
	if dir == "." || u.dirs[dir] {
		return nil
	}
	u.dirs[dir] = true
	return u.stage.tree.MkdirAll(dir, 0o755)
}

// settle gives all files and directories of the artifact their modes, whatever
// the umask and the artifact say, and makes the files durable. The directories
// the swap does.
func (u *unpacker) settle(ctx context.Context) error {
	for _, e := range u.names.byFold {
		if e.dir {
			if err := u.stage.tree.Chmod(e.path, 0o755); err != nil {
				return err
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	// The disk gathers syncs that come together into one.
	g.SetLimit(4 * runtime.GOMAXPROCS(0))
	for _, f := range u.record.Files {
		g.Go(func() error {
			if err := ctx.Err(); err != nil || u.inPlace[f.Path] || u.synced[f.Path] || u.isLinked(f.Path) {
				return err
			}
			return settleFile(u.stage.tree, f.Path)
		})
	}
	return g.Wait()
}

func settleFile(root *os.Root, name string) error {
	flag := os.O_RDONLY
	if runtime.GOOS == "windows" {
		flag = os.O_RDWR // files are synced there only by who may write them
	}
	f, err := root.OpenFile(name, flag, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode() != mode {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// writeControl writes down where the tree comes from.
func (u *unpacker) writeControl() error {
	r := &u.record
	r.Version, r.Reference = recordVersion, u.opts.Reference
	r.MediaType, r.Digest = u.a.Descriptor.MediaType, u.a.Descriptor.Digest
	if !u.opts.Select.IsAll() {
		r.Selection = &u.opts.Select
	}
	if u.opts.Admission != (Admission{}) {
		r.Admission = &u.opts.Admission
	}
	slices.SortFunc(r.Files, func(a, b recordedFile) int { return strings.Compare(a.Path, b.Path) })
	raw, err := encodeJSON(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", RecordFile, err)
	}
	if err := u.mkdir(controlPrefix); err != nil {
		return err
	}
	if err := u.stage.tree.Chmod(controlPrefix, 0o755); err != nil {
		return err
	}
	if err := cmp.Or(u.writeFile(ManifestFile, u.a.Raw), u.writeFile(RecordFile, append(raw, '\n'))); err != nil {
		return err
	}
	if u.opts.Evidence == nil {
		return nil
	}
	return u.writeFile(EvidenceFile, u.opts.Evidence)
}

func (u *unpacker) writeFile(name string, data []byte) error {
	if err := u.stage.tree.WriteFile(name, data, mode); err != nil {
		return err
	}
	return settleFile(u.stage.tree, name)
}
