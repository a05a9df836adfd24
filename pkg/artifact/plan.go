package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// A UnpackPlan is what an [Unpack] would do now. Sizes are bytes.
type UnpackPlan struct {
	Files   int   // listed in the artifact and selected; what archives hold is not known
	Size    int64 // of those files
	LeftOut int   // files that are not selected
	Blobs   int   // to be fetched, whole or in part
	Fetch   int64 // to be read from the source
	Reuse   int64 // what is on this machine: files, and chunks of others
}

// PlanUnpack tells what [Unpack] with the same arguments would do. It fetches
// nothing but the indexes of chunks, changes nothing but what the store
// remembers, and fails where Unpack would before it fetched, unless for want of
// space: whether the files can be linked as asked is tried in a directory that is
// removed again. Files of the target are read as Unpack would read them; what an
// interrupted run left of a blob is counted as its journal has it, and not read.
// Of an archive that Unpack takes apart while it comes it is not counted.
func PlanUnpack(ctx context.Context, a *Artifact, src content.Fetcher, dir string, opts UnpackOptions) (*UnpackPlan, error) {
	u := &unpacker{a: a, src: src, opts: opts}
	p, err := u.foresee(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

func (u *unpacker) foresee(ctx context.Context, dir string) (_ *UnpackPlan, err error) {
	if err := u.choose(); err != nil {
		return nil, err
	}
	if err := u.checkNames(); err != nil {
		return nil, err
	}
	if u.target, err = findTarget(dir); err != nil {
		return nil, err
	}
	if err := u.checkLinkAhead(); err != nil {
		return nil, err
	}
	u.locals = newLocals()
	u.target.parent, err = os.OpenRoot(filepath.Dir(u.target.dir))
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing is there yet
	case err != nil:
		return nil, err
	default:
		defer u.target.parent.Close()
		if err := u.lookRound(ctx); err != nil {
			return nil, err
		}
	}
	if u.a.manifestIsFile { // it has been read
		u.locals.add(u.a.Descriptor.Digest, localFile{staged: true}, "")
	}
	n, err := u.plan(ctx)
	if err != nil {
		return nil, err
	}
	u.foreseeCodings(ctx, &n)
	p := u.planned(n)
	copied, err := u.copies(ctx, slices.DeleteFunc(n.blobs, func(f File) bool { return n.coded[f.Layer.Digest] > 0 }))
	p.Fetch, p.Reuse = p.Fetch-copied, p.Reuse+copied
	return p, err
}

// keptOf returns what an interrupted run has left of a blob, wherever Unpack
// would go on with it.
func (u *unpacker) keptOf(desc ocispec.Descriptor) (staged [][2]int64) {
	if u.target.parent != nil && u.opts.Link != LinkHard {
		staged = store.KeptIn(u.target.parent, stageName(u.target)+"/"+blobName(desc.Digest), desc)
	}
	if u.opts.Store == nil || u.opts.Link == LinkCopy || len(staged) > 0 {
		return staged
	}
	return u.opts.Store.Kept(desc)
}

// copies returns how many bytes of the blobs are on this machine: of earlier runs,
// and in other files.
func (u *unpacker) copies(ctx context.Context, blobs []File) (n int64, err error) {
	u.limit = transfer.NewLimit(u.opts.Connections, u.opts.Bandwidth)
	jobs := make([]transfer.Job, len(blobs))
	for i, f := range blobs {
		jobs[i].Desc = layerOf(f)
	}
	u.openDelta(ctx, jobs, blobs)
	defer func() { u.delta.finish(err) }()
	for _, j := range jobs {
		copied, err := transfer.LocalBytes(ctx, u.src, j, u.keptOf(j.Desc)...)
		if err != nil {
			return 0, err
		}
		n += copied
	}
	return n, nil
}

// lookRound finds what is there already.
func (u *unpacker) lookRound(ctx context.Context) error {
	if err := u.target.look(u.opts.Force); err != nil {
		return err
	}
	if err := u.findLocals(ctx); err != nil {
		return err
	}
	if err := u.checkTheirs(); err != nil {
		return err
	}
	if err := u.checkEdited(); err != nil {
		return err
	}
	// What an interrupted run fetched whole has its digest for a name. Unpack
	// will look at the bytes.
	blobs := stageName(u.target) + "/" + stageBlobs + "/"
	for _, f := range u.a.Files {
		for _, d := range []digest.Digest{f.Layer.Digest, f.Digest} {
			name := blobs + rawName(d)
			if info, err := u.target.parent.Lstat(name); err == nil && info.Mode().IsRegular() {
				u.locals.add(d, localFile{name: name, info: info, staged: true}, "")
			}
		}
	}
	return nil
}

// A need is what must be brought into the stage. Each file stands for its layer,
// but for those in members.
type need struct {
	stored  []File // the store seems to have them
	blobs   []File
	members []File // single files of archives of which little is missing

	coded map[digest.Digest]int64 // bytes of the codings that come in place of blobs; of plans only
}

// plan finds out what must be brought in.
func (u *unpacker) plan(ctx context.Context) (need, error) {
	var n need
	planned := make(map[digest.Digest]bool)
	for _, f := range u.a.Files {
		if planned[f.Layer.Digest] || !u.needs(f) {
			continue
		}
		planned[f.Layer.Digest] = true
		stored, err := u.inStore(ctx, f.Layer)
		if err != nil {
			return n, err
		}
		missing := u.missingMembers(f.Layer.Digest)
		switch {
		case stored:
			n.stored = append(n.stored, f)
		case u.oneByOne(missing):
			n.members = append(n.members, missing...)
		default:
			n.blobs = append(n.blobs, f)
		}
	}
	return n, nil
}

// planned sums up.
func (u *unpacker) planned(n need) *UnpackPlan {
	p := &UnpackPlan{LeftOut: u.out.LeftOut}
	fetched := make(map[digest.Digest]bool)
	fetch := func(desc ocispec.Descriptor) {
		if !fetched[desc.Digest] {
			fetched[desc.Digest] = true
			p.Blobs++
			p.Fetch += desc.Size
		}
	}
	for _, f := range n.blobs {
		layer := f.Layer
		if coded := n.coded[layer.Digest]; coded > 0 {
			layer.Size = coded
		}
		fetch(layer)
	}
	for _, f := range n.members {
		fetch(ocispec.Descriptor{Digest: f.Digest, Size: f.Size})
	}
	for _, f := range u.a.Files {
		if !fetched[f.Layer.Digest] && !fetched[f.Digest] {
			p.Reuse += f.Size
		}
		if f.Archive && f.Encoding != mediatypes.Raw {
			continue
		}
		p.Files++
		p.Size += f.Size
	}
	return p
}
