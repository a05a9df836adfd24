package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// jobs says where blobs go: into the store, if that costs no space, to be
// cloned from there; else into the stage.
func (u *unpacker) jobs(ctx context.Context, files []File) (jobs []transfer.Job, viaStore bool) {
	viaStore = u.viaStore()
	for _, f := range files {
		desc := f.Layer
		desc.Annotations, desc.Data = nil, nil
		jobs = append(jobs, transfer.Job{Desc: desc, Name: jobName(f), Open: func() (transfer.Partial, error) {
			if viaStore {
				return u.opts.Store.Partial(desc)
			}
			if members := u.membersOf(f); len(members) > 0 {
				return u.openApart(ctx, desc, members)
			}
			return u.openStaged(desc)
		}})
	}
	return jobs, viaStore
}

// A staged is a blob on its way into the stage, which is one of the files as it is.
type staged struct {
	*store.Partial
	u    *unpacker
	dgst digest.Digest
}

func (u *unpacker) openStaged(desc ocispec.Descriptor) (transfer.Partial, error) {
	p, err := store.OpenStaged(u.stage.root, blobName(desc.Digest), desc, mode)
	if err != nil {
		return nil, err
	}
	return &staged{p, u, desc.Digest}, nil
}

// Commit implements [transfer.Partial].
func (s *staged) Commit() error {
	if err := s.Partial.Commit(); err != nil {
		return err
	}
	s.u.unpacked([]File{{Digest: s.dgst}}, nil)
	return nil
}

// viaStore tells whether what is fetched goes into the store first.
func (u *unpacker) viaStore() bool {
	return u.opts.Link == LinkHard || u.opts.Link != LinkCopy && u.storeClones()
}

// planAlone finds out what must be brought in. Where that goes through the
// store, only one process at a time brings in an artifact: the others wait, and
// find it there. The caller calls over when it is done.
func (u *unpacker) planAlone(ctx context.Context) (n need, over func(), err error) {
	over = func() {}
	n, err = u.plan(ctx)
	if err != nil || len(n.blobs) == 0 || !u.viaStore() {
		return n, over, err
	}
	if over, err = u.opts.Store.Claim(ctx, u.a.Descriptor.Digest); err != nil {
		return n, nil, err
	}
	if n, err = u.plan(ctx); err != nil {
		over()
	}
	return n, over, err
}

func (u *unpacker) pullOptions() transfer.PullOptions {
	return transfer.PullOptions{
		Workers: u.opts.Workers, Limit: u.limit, PageCache: u.opts.PageCache, MaxWait: u.opts.MaxWait, Observe: u.observe,
	}
}

// inStore tells whether the store seems to have a blob.
func (u *unpacker) inStore(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if u.opts.Store == nil {
		return false, nil
	}
	ok, err := u.opts.Store.Exists(ctx, desc)
	return ok && err == nil, ctx.Err()
}

// fromStore takes a blob from the store, if it is whole.
func (u *unpacker) fromStore(ctx context.Context, f File) (bool, error) {
	err := u.takeOut(ctx, f)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.ENOSPC) || ctx.Err() != nil:
		return false, err
	}
	return false, nil // the store puts aside what is damaged
}

// storeClones tells whether files of the store and the stage can share bytes.
func (u *unpacker) storeClones() bool { return u.storeClonesTo(u.stage.root) }

// storeClonesTo tells so of files in a directory.
func (u *unpacker) storeClonesTo(root *os.Root) bool {
	if u.opts.Store == nil {
		return false
	}
	src, err := os.Open(u.opts.Store.Dir() + string(os.PathSeparator) + ocispec.ImageLayoutFile)
	if err != nil {
		return false
	}
	defer src.Close()
	const probe = "probe"
	dst, err := root.OpenFile(probe, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return false
	}
	defer func() {
		dst.Close()
		_ = root.Remove(probe)
	}()
	return store.Clone(dst, src) == nil
}

// checkSpace looks whether what will be written fits, with a margin of 5 %.
// Archives are there twice for a while, unless their files are fetched apart.
func (u *unpacker) checkSpace(layers []File, viaStore bool) error {
	free, err := store.FreeSpace(u.parentDir())
	if err != nil {
		return nil // not told: the write will
	}
	need := int64(0)
	once := make(map[digest.Digest]bool)
	for _, l := range layers {
		pattern := ".partial"
		if once[l.Layer.Digest] = !viaStore && len(u.membersOf(l)) > 0; once[l.Layer.Digest] {
			pattern = ".*.pieces/*"
		}
		need += l.Layer.Size - min(u.arrived(blobName(l.Layer.Digest)+pattern), l.Layer.Size)
	}
	for _, f := range u.a.Files {
		if f.Encoding != mediatypes.Raw && !once[f.Layer.Digest] {
			need += f.Size
		}
	}
	if need += need / 20; need > free {
		return fmt.Errorf("%s: %w: %.1f MB are needed and %.1f MB are free", u.target.dir, syscall.ENOSPC, float64(need)/1e6, float64(free)/1e6)
	}
	return nil
}

// arrived returns how many bytes of the disk an earlier run has filled.
func (u *unpacker) arrived(pattern string) (n int64) {
	names, err := fs.Glob(u.stage.root.FS(), pattern)
	if err != nil {
		return 0
	}
	for _, name := range names {
		if info, err := u.stage.root.Stat(name); err == nil {
			n += store.Allocated(info)
		}
	}
	return n
}

func (u *unpacker) parentDir() string {
	return strings.TrimSuffix(u.target.dir, u.target.base)
}
