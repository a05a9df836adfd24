package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A Link is a way in which files of the store come into a target.
type Link string

// The ways. What a way asks for and the file systems cannot do is an error that
// wraps [ErrTarget], but for LinkAuto.
const (
	// LinkAuto shares bytes where the file system can, until one side is
	// written to, and copies them elsewhere.
	LinkAuto Link = ""

	// LinkReflink shares bytes so, and copies none.
	LinkReflink Link = "reflink"

	// LinkCopy copies all bytes.
	LinkCopy Link = "copy"

	// LinkHard makes the files second names of those in the store. They are
	// read-only (0444), since a change of one damages the store. Files that
	// come out of archives are ordinary ones.
	LinkHard Link = "hardlink"
)

// linkedMode is what files have that are the store's too.
const linkedMode fs.FileMode = 0o444

// checkLink tells, before anything is fetched, whether files can be linked as
// they should.
func (u *unpacker) checkLink() error { return u.checkLinkIn(u.stage.root, u.stagePath()) }

// checkLinkAhead tells so before there is a stage, by trying it in a directory
// that is removed again.
func (u *unpacker) checkLinkAhead() (err error) {
	if u.opts.Store == nil || u.opts.Link != LinkReflink && u.opts.Link != LinkHard {
		return u.checkLinkIn(nil, "")
	}
	above := filepath.Dir(u.target.dir)
	for !isDir(above) && filepath.Dir(above) != above {
		above = filepath.Dir(above)
	}
	dir, err := os.MkdirTemp(above, controlPrefix+"-probe-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return u.checkLinkIn(root, dir)
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// checkLinkIn tells so of files in root, which is the directory dir.
func (u *unpacker) checkLinkIn(root *os.Root, dir string) error {
	if u.opts.Link != LinkReflink && u.opts.Link != LinkHard {
		return nil
	}
	switch {
	case u.opts.Store == nil:
		return fmt.Errorf("%s: %w: without a store there is nothing to link to", u.target.dir, ErrTarget)
	case u.opts.Link == LinkReflink && !u.storeClonesTo(root):
		return fmt.Errorf("%s: %w: its files cannot share bytes with those of the store in %s", u.target.dir, ErrTarget, u.opts.Store.Dir())
	case u.opts.Link == LinkHard:
		if err := u.opts.Store.CanLink(dir); err != nil {
			return fmt.Errorf("%s: %w: its files cannot be links to those of the store in %s: %w", u.target.dir, ErrTarget, u.opts.Store.Dir(), err)
		}
	}
	return nil
}

// stagePath is where the stage is.
func (u *unpacker) stagePath() string { return filepath.Join(u.parentDir(), u.stage.name) }

// modeOf is what a file of the artifact has in the target.
func (u *unpacker) modeOf(f File) fs.FileMode {
	if u.opts.Link == LinkHard && f.Encoding == mediatypes.Raw && !f.Archive && f.Size > 0 {
		return linkedMode
	}
	return mode
}

// isLinked tells whether a file of the tree is the store's.
func (u *unpacker) isLinked(path string) bool {
	if u.opts.Link != LinkHard {
		return false
	}
	f, ok := u.a.file(path)
	return ok && u.modeOf(f) == linkedMode
}

// takeOut brings a blob from the store into the stage.
func (u *unpacker) takeOut(ctx context.Context, f File) error {
	name := blobName(f.Layer.Digest)
	switch {
	case u.modeOf(f) == linkedMode:
		return u.opts.Store.Link(ctx, filepath.Join(u.stagePath(), filepath.FromSlash(name)), f.Layer)
	case u.opts.Link == LinkCopy:
		return u.opts.Store.CopyOut(ctx, u.stage.root, name, f.Layer)
	}
	return u.opts.Store.Materialise(ctx, u.stage.root, name, f.Layer)
}

// localsToStore puts content that is on this machine into the store, for the
// files that will be links to it.
func (u *unpacker) localsToStore(ctx context.Context) error {
	for _, f := range u.a.Files {
		l, ok := u.locals.get(f.Digest)
		if !ok || l.shared || u.modeOf(f) != linkedMode || l.info.Mode() == linkedMode {
			continue
		}
		if err := u.localToStore(ctx, f, l); err != nil {
			return err
		}
		u.locals.forget(f.Digest)
	}
	return nil
}

func (u *unpacker) localToStore(ctx context.Context, f File, l localFile) error {
	src, err := openRegular(u.target.parent, l.name)
	if err != nil {
		return err
	}
	defer src.Close()
	err = u.opts.Store.Push(ctx, ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Digest, Size: f.Size}, src)
	if errors.Is(err, errdef.ErrAlreadyExists) {
		return nil
	}
	return err
}

// notPublished says of an error of the last step what is left.
func (u *unpacker) notPublished(err error) error {
	if !u.kept {
		return err
	}
	return fmt.Errorf("%w (what was fetched is kept in %s for the next run)", err, u.stagePath())
}
