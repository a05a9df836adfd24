package artifact

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// An apart is an archive on its way whose members lie in files of their own from
// the beginning, where its index says that they are. When all of it has come and
// its digest is right, the headers in it are compared with the index, and each
// file with its digest: then the files are staged, as if each were a blob. Where
// the index is wrong, the archive is put together again, to be unpacked as one
// that has none.
type apart struct {
	*store.Partial
	ctx   context.Context // of the one fetch it is made for
	u     *unpacker
	layer ocispec.Descriptor
	files []File // by offset
}

// membersOf lists the files of an archive that can be fetched so: those that are
// wanted of an archive that has an index and is not compressed.
func (u *unpacker) membersOf(layer File) []File {
	if layer.Archive || layer.Encoding != mediatypes.Tar {
		return nil
	}
	var files []File
	for _, f := range u.a.Files {
		if f.Layer.Digest == layer.Layer.Digest {
			files = append(files, f)
		}
	}
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Offset, b.Offset) })
	return files
}

// openApart opens the partial of an archive with these members.
func (u *unpacker) openApart(ctx context.Context, layer ocispec.Descriptor, files []File) (transfer.Partial, error) {
	pieces := make([]store.Piece, 0, len(files))
	for _, f := range files {
		if f.Size > 0 {
			pieces = append(pieces, store.Piece{Offset: f.Offset, Size: f.Size, Digest: f.Digest, Name: rawName(f.Digest)})
		}
	}
	p, err := store.OpenPieces(ctx, u.stage.root, blobName(layer.Digest), layer, pieces)
	if err != nil {
		return nil, err
	}
	return &apart{Partial: p, ctx: ctx, u: u, layer: layer, files: files}, nil
}

// Commit implements [transfer.Partial].
func (a *apart) Commit() error {
	dirs, err := a.headers()
	if err == nil {
		err = a.Partial.Commit()
	}
	switch {
	case err == nil:
		a.u.unpacked(a.files, dirs)
		return nil
	case errors.Is(err, ErrUnsafe) || errors.Is(err, store.ErrCorrupt):
		return a.assemble()
	}
	return err
}

// headers reads what is between the files: they must be there as the index says,
// and no others. It returns the directories in the archive.
func (a *apart) headers() (dirs []string, err error) {
	listed := make(map[string]File, len(a.files))
	at := &headerReader{src: a.Partial, size: a.layer.Size}
	for _, f := range a.files {
		listed[f.Path] = f
		at.stops = append(at.stops, f.Offset)
	}
	a.u.mu.Lock() // of the budget
	defer a.u.mu.Unlock()
	budget := maxEntries - a.u.headers
	defer func() { a.u.headers = maxEntries - budget }()
	raw := &sourceReader{r: at}
	x := &archive{
		raw: raw, body: &boundedReader{r: raw, left: a.layer.Size}, tar: tar.NewReader(at), strip: a.u.a.strip, budget: &budget,
	}
	for {
		if err := a.ctx.Err(); err != nil {
			return nil, err
		}
		m, err := x.next()
		switch {
		case errors.Is(err, io.EOF) && len(listed) == 0:
			return dirs, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: %d files are not in the archive", ErrUnsafe, len(listed))
		case err != nil:
			return nil, cmp.Or(at.err, err)
		case !m.reserved && !a.u.wantsMember(m):
			continue
		case m.dir:
			dirs = append(dirs, m.path)
			continue
		}
		if f, ok := listed[m.path]; !ok || m.reserved || f.Offset != at.pos || f.Size != m.size {
			return nil, &PathError{Path: m.path, Reason: "not where the index says"}
		}
		delete(listed, m.path)
	}
}

// assemble makes one file of the archive after all.
func (a *apart) assemble() (err error) {
	p, err := store.OpenPartial(a.u.stage.root, blobName(a.layer.Digest), a.layer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.Reset(); err != nil {
		return err
	}
	h := a.layer.Digest.Algorithm().Hash()
	buf := make([]byte, copyBytes)
	for off := int64(0); off < a.layer.Size; {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		n, err := a.ReadAt(buf[:min(copyBytes, a.layer.Size-off)], off)
		if err != nil {
			return err
		}
		if _, err := p.WriteAt(buf[:n], off); err != nil {
			return err
		}
		h.Write(buf[:n])
		off += int64(n)
	}
	if got := digest.NewDigest(a.layer.Digest.Algorithm(), h); got != a.layer.Digest {
		return &transfer.DigestError{Name: a.layer.Digest.String(), Desc: a.layer, Got: got, Size: a.layer.Size}
	}
	return errors.Join(p.Commit(), a.Reset())
}

// unpacked notes that files are staged and durable, and what directories were in the
// archive that they are from.
func (u *unpacker) unpacked(files []File, dirs []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.durable == nil {
		u.durable, u.inArchive = make(map[digest.Digest]bool), make(map[digest.Digest][]string)
	}
	for _, f := range files {
		u.durable[f.Digest] = true
	}
	if len(dirs) > 0 {
		u.inArchive[files[0].Layer.Digest] = dirs
	}
}
