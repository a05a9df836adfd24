package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// expandPlain adds the members of archives that are not compressed to the
// files, by reading the headers of the archives and skipping what is between.
// Their digests are not known. Archives of container images are left out: most
// of what is in them is no model.
func (a *Artifact) expandPlain(ctx context.Context, src content.Fetcher) ([]File, error) {
	files := make([]File, 0, len(a.Files))
	budget := maxEntries
	for _, f := range a.Files {
		files = append(files, f)
		if !f.Archive || f.Encoding != mediatypes.Tar || a.Family == mediatypes.Image {
			continue
		}
		members, err := a.members(ctx, src, f, &budget)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", shortDigest(f.Layer.Digest), err)
		}
		files = append(files, members...)
	}
	// What could not be unpacked is not described either.
	if err := a.checkFiles(files); err != nil {
		return nil, err
	}
	return files, nil
}

func (a *Artifact) members(ctx context.Context, src content.Fetcher, f File, budget *int) ([]File, error) {
	blob, err := openFileAt(ctx, src, File{Layer: f.Layer, Size: f.Layer.Size})
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	at := &headerReader{src: blob, size: f.Layer.Size}
	raw := &sourceReader{r: at}
	x := &archive{
		raw: raw, body: &boundedReader{r: raw, left: f.Layer.Size}, tar: tar.NewReader(at), strip: a.strip, budget: budget,
	}
	var files []File
	for {
		m, err := x.next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, errors.Join(at.err, err)
		}
		if m.dir || m.reserved {
			continue
		}
		found := f
		found.Path, found.Size, found.Offset, found.Digest, found.Archive = m.path, m.size, at.pos, "", false
		files = append(files, found)
	}
}

// A headerReader reads an archive whose contents are skipped, by seeking: a
// window at a time, so that one range covers a header and what belongs to it.
type headerReader struct {
	src  io.ReaderAt
	size int64
	pos  int64
	err  error

	stops []int64 // sorted: where contents begin, which no window need cover

	window []byte
	start  int64 // of window
}

const headerWindow = 8 << 10

func (h *headerReader) Read(p []byte) (int, error) {
	if h.pos >= h.size {
		return 0, io.EOF
	}
	if h.pos < h.start || h.pos >= h.start+int64(len(h.window)) {
		buf := make([]byte, min(headerWindow, h.stop()-h.pos))
		if _, err := h.src.ReadAt(buf, h.pos); err != nil && !errors.Is(err, io.EOF) {
			h.err = err
			return 0, err
		}
		h.window, h.start = buf, h.pos
	}
	n := copy(p, h.window[h.pos-h.start:])
	h.pos += int64(n)
	return n, nil
}

// stop returns where a window from here ends.
func (h *headerReader) stop() int64 {
	if i := sort.Search(len(h.stops), func(i int) bool { return h.stops[i] > h.pos }); i < len(h.stops) {
		return h.stops[i]
	}
	return h.size
}

// Seek implements io.Seeker.
func (h *headerReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += h.pos
	case io.SeekEnd:
		offset += h.size
	}
	if offset < 0 || offset > h.size {
		return h.pos, io.ErrUnexpectedEOF
	}
	h.pos = offset
	return offset, nil
}
