package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// memberOverhead is what one more request costs, in bytes that could have been
// fetched meanwhile.
const memberOverhead = 128 << 10

// missingMembers lists the files of a layer with an index whose content is not
// here, once each.
func (u *unpacker) missingMembers(layer digest.Digest) []File {
	var missing []File
	seen := make(map[digest.Digest]bool)
	for _, f := range u.a.Files {
		if f.Layer.Digest != layer || f.Size == 0 || seen[f.Digest] {
			continue
		}
		seen[f.Digest] = true
		if _, ok := u.locals.get(f.Digest); !ok {
			missing = append(missing, f)
		}
	}
	return missing
}

// oneByOne tells whether it is better to fetch some files of an archive by
// ranges than all of it.
func (u *unpacker) oneByOne(missing []File) bool {
	if _, ok := u.src.(transfer.RangeFetcher); !ok || len(missing) == 0 {
		return false
	}
	cost := int64(0)
	for _, f := range missing {
		if f.Archive || f.Encoding != mediatypes.Tar {
			return false
		}
		cost += f.Size + memberOverhead
	}
	return cost < missing[0].Layer.Size
}

// fetchMembers brings files of archives into the stage, by ranges. Where that
// cannot be done, or the index tells wrong places, the archives are fetched.
func (u *unpacker) fetchMembers(ctx context.Context, files []File) error {
	src, ok := u.src.(transfer.RangeFetcher)
	if !ok || len(files) == 0 {
		return nil
	}
	members := memberSource{src: src, files: make(map[digest.Digest]File)}
	var jobs []transfer.Job
	for _, f := range files {
		if _, ok := members.files[f.Digest]; ok {
			continue
		}
		if _, err := u.stage.root.Lstat(blobName(f.Digest)); err == nil {
			continue // another layer is the same file
		}
		members.files[f.Digest] = f
		desc := ocispec.Descriptor{MediaType: f.MediaType, Digest: f.Digest, Size: f.Size}
		jobs = append(jobs, u.stageJob(desc, f.Path))
	}
	err := transfer.Pull(ctx, members, jobs, u.pullOptions())
	if errors.Is(err, errdef.ErrUnsupported) || errors.Is(err, content.ErrMismatchedDigest) {
		return u.fetchArchives(ctx, files)
	}
	return err
}

// fetchArchives brings the archives that files are in into the stage.
func (u *unpacker) fetchArchives(ctx context.Context, files []File) error {
	var jobs []transfer.Job
	planned := make(map[digest.Digest]bool)
	for _, f := range files {
		desc := f.Layer
		if planned[desc.Digest] {
			continue
		}
		planned[desc.Digest] = true
		desc.Annotations, desc.Data = nil, nil
		jobs = append(jobs, u.stageJob(desc, jobName(f)))
	}
	return transfer.Pull(ctx, u.src, jobs, u.pullOptions())
}

func (u *unpacker) stageJob(desc ocispec.Descriptor, name string) transfer.Job {
	return transfer.Job{Desc: desc, Name: name, Open: func() (transfer.Partial, error) {
		return store.OpenPartial(u.stage.root, blobName(desc.Digest), desc)
	}}
}

// A memberSource reads files out of archives as if each were a blob.
type memberSource struct {
	src   transfer.RangeFetcher
	files map[digest.Digest]File
}

// Fetch implements [content.Fetcher].
func (m memberSource) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return m.FetchRange(ctx, desc, 0, -1)
}

// FetchRange implements [transfer.RangeFetcher].
func (m memberSource) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	f, ok := m.files[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("fetch %s: %w", shortDigest(desc.Digest), errdef.ErrNotFound)
	}
	return m.src.FetchRange(ctx, layerOf(f), f.Offset+offset, f.rest(offset, length))
}

// Locate implements [transfer.Locator]: a source that has it may leave it to
// its caller when to ask again, which FetchRange does not.
func (m memberSource) Locate(desc ocispec.Descriptor) func(ctx context.Context, offset, length int64) (io.ReadCloser, int64, error) {
	f, known := m.files[desc.Digest]
	l, ok := m.src.(transfer.Locator)
	if !known || !ok {
		return func(ctx context.Context, offset, length int64) (io.ReadCloser, int64, error) {
			rc, err := m.FetchRange(ctx, desc, offset, length)
			return rc, offset, err
		}
	}
	open := l.Locate(layerOf(f))
	return func(ctx context.Context, offset, length int64) (io.ReadCloser, int64, error) {
		rc, from, err := open(ctx, f.Offset+offset, f.rest(offset, length))
		if err == nil && from != f.Offset+offset { // all of the archive
			rc.Close()
			rc, err = m.FetchRange(ctx, desc, offset, length)
		}
		return rc, offset, err
	}
}

// Distrust implements [transfer.Distruster]: wrong bytes of a file are wrong
// bytes of the layer that it is in.
func (m memberSource) Distrust(desc ocispec.Descriptor) bool {
	f, ok := m.files[desc.Digest]
	d, other := m.src.(transfer.Distruster)
	return ok && other && d.Distrust(layerOf(f))
}

// layerOf describes the layer of a file, as sources are asked for it.
func layerOf(f File) ocispec.Descriptor {
	layer := f.Layer
	layer.Annotations, layer.Data = nil, nil
	return layer
}

// rest returns how many of length bytes there are from offset; a negative
// length means all.
func (f File) rest(offset, length int64) int64 {
	if n := f.Size - offset; length < 0 || length > n {
		return n
	}
	return length
}

// wantsMember tells whether a member of an archive is selected. Of a selection
// only the directories are made that its files are in.
func (u *unpacker) wantsMember(m member) bool {
	return u.opts.Select.IsAll() || !m.dir && u.wanted(m.path)
}
