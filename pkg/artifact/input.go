package artifact

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// An Input is a file of a model that is not in a directory here, for
// [PackFiles].
type Input struct {
	// Path is relative to the model's root, with slashes.
	Path string

	// Size is the file's, in bytes.
	Size int64

	// Digest is what the file is said to have. It becomes the layer's, and
	// the bytes are compared with it while they are read.
	Digest digest.Digest

	// Open opens length bytes from offset, or all to the end when length is
	// negative. It is called several times, also at once; the caller closes
	// what it returns. It is for Open to go on after a broken connection: an
	// error while reading ends the packing.
	Open func(ctx context.Context, offset, length int64) (io.ReadCloser, error)

	// An archive is taken over as it is. Only [Artifact.Inputs] makes one.
	kind     mediatypes.Kind
	encoding mediatypes.Encoding
	diffID   digest.Digest
}

// PackFiles makes an artifact of files as [Pack] does of a directory: the same
// files give the same artifact, whatever the target had of it before. Only the
// beginnings and headers of large files are read before the target is asked
// whether it has them; what it has not is read once, from its source to the
// target, and nowhere put in between. A file whose bytes do not have the digest
// that its input names is an error that wraps content.ErrMismatchedDigest,
// before the last of them is sent.
//
// A file that has a chunk index, of which the bytes did not pass or not all, and
// of which opts.Indexes knows none, is read once for it: from the target if that
// is a content.Fetcher and gives the right bytes, else from its source. With
// [Discard] as the target that is left out, see Packed.Unindexed.
func PackFiles(ctx context.Context, files []Input, dst transfer.Target, opts PackOptions) (*Packed, error) {
	opts.Digests = nil // of files on this machine
	p := &packer{inputs: files, dst: dst, opts: opts, pushed: make(map[digest.Digest]bool)}
	packed, err := p.pack(ctx)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return packed, nil
}

// walkInputs does for inputs what the walker does for a directory.
func (p *packer) walkInputs(ctx context.Context) (*walker, error) {
	text, err := ignoresOf(ctx, p.inputs)
	if err != nil {
		return nil, err
	}
	w := &walker{ignore: newIgnorer(text, p.opts.IncludeSecrets)}
	if len(p.inputs) > maxFiles {
		return nil, fmt.Errorf("%w: more than %d files", ErrUnsafe, maxFiles)
	}
	for i := range p.inputs {
		in := &p.inputs[i]
		if err := in.check(); err != nil {
			return nil, err
		}
		if name, reason := w.ignored(in.Path); reason != "" {
			w.skip(name, name != in.Path, reason)
			continue
		}
		w.files = append(w.files, source{path: in.Path, info: inputInfo{in}, digest: in.Digest, input: &input{Input: *in}})
	}
	slices.Sort(w.skipped)
	w.skipped = slices.Compact(w.skipped)
	slices.SortFunc(w.files, func(a, b source) int { return strings.Compare(a.path, b.path) })
	return w, checkSources(w.files)
}

// checkSources judges the names. That of an archive is for people only.
func checkSources(files []source) error {
	paths := make([]string, 0, len(files))
	for _, f := range files {
		if !f.input.archived() {
			paths = append(paths, f.path)
		} else if f.path != "." {
			if err := CheckPath(f.path); err != nil {
				return err
			}
		}
	}
	return CheckPaths(paths)
}

func ignoresOf(ctx context.Context, files []Input) (string, error) {
	i := slices.IndexFunc(files, func(in Input) bool { return in.Path == IgnoreFile })
	if i < 0 {
		return "", nil
	}
	rc, err := files[i].Open(ctx, 0, -1)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", IgnoreFile, err)
	}
	defer rc.Close()
	return readIgnores(rc)
}

// check refuses what cannot be asked for or compared.
func (in Input) check() error {
	if in.Size < 0 {
		return &PathError{Path: in.Path, Reason: fmt.Sprintf("size %d", in.Size)}
	}
	return checkDigest(in.Digest)
}

// ignored asks about a file and the directories that it is in, from the top.
func (w *walker) ignored(p string) (name, reason string) {
	for i := range len(p) {
		if p[i] == '/' {
			if reason := w.ignore.skip(p[:i], true); reason != "" {
				return p[:i], reason
			}
		}
	}
	return p, w.ignore.skip(p, false)
}

// An inputInfo makes an Input describe itself as a file on disk does.
type inputInfo struct{ in *Input }

func (i inputInfo) Name() string       { return path.Base(i.in.Path) }
func (i inputInfo) Size() int64        { return i.in.Size }
func (i inputInfo) Mode() fs.FileMode  { return mode }
func (i inputInfo) ModTime() time.Time { return time.Time{} }
func (i inputInfo) IsDir() bool        { return false }
func (i inputInfo) Sys() any           { return nil }

// An input is an Input while it is packed.
type input struct {
	Input

	mu     sync.Mutex
	hashed int64     // how many bytes have been, from the first on
	state  hash.Hash // of them, unless index has it
	index  *indexer  // of them; nil where none is wanted
}

// archived tells whether the input is an archive that is taken over as it is.
// A file on disk, which has no input, is not.
func (in *input) archived() bool { return in != nil && in.encoding != "" }

// archive is the layer of such an input.
func (s *source) archive() *layer {
	body := &stream{}
	body.add(segment{file: s, size: s.input.Size})
	return &layer{
		kind: s.input.kind, encoding: s.input.encoding, path: s.path,
		title: archiveTitle(s.input.kind, strings.ReplaceAll(s.path, "/", "-")),
		files: []*source{s}, body: body, diffID: s.input.diffID,
	}
}

func (in *input) open(ctx context.Context) *inputFile { return &inputFile{ctx: ctx, in: in} }

// saw is told of the bytes p at offset, and hashes those that follow the ones
// hashed before. An upload that went on at what an earlier process had sent
// leaves a gap, and the comparison to the registry.
func (in *input) saw(offset int64, p []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	end := offset + int64(len(p))
	if offset > in.hashed || end < in.hashed {
		return nil
	}
	in.hash(p[in.hashed-offset:])
	in.hashed = end
	if end < in.Size {
		return nil
	}
	if got := in.sum(); got != in.Digest {
		in.state, in.hashed, in.index = nil, 0, nil
		return in.mismatch(got, end)
	}
	return nil
}

// hash takes the next bytes.
func (in *input) hash(p []byte) {
	if in.index != nil {
		_, _ = in.index.Write(p)
	}
	if in.index != nil && in.Digest.Algorithm() == digest.SHA256 {
		return // the indexer hashes, too
	}
	if in.state == nil {
		in.state = in.Digest.Algorithm().Hash()
	}
	in.state.Write(p)
}

// sum returns the digest of the bytes so far.
func (in *input) sum() digest.Digest {
	if in.state == nil {
		return in.index.digest()
	}
	return digest.NewDigest(in.Digest.Algorithm(), in.state)
}

func (in *input) mismatch(got digest.Digest, size int64) error {
	return &transfer.DigestError{Name: in.Path, Desc: ocispec.Descriptor{Digest: in.Digest, Size: in.Size}, Got: got, Size: size}
}

// An inputFile is an input being read. It lives for one upload or one look at
// the headers, and keeps the context for that long. Only ReadAt may be called
// from several goroutines.
type inputFile struct {
	ctx context.Context
	in  *input
	pos int64
	rc  io.ReadCloser // from pos on; nil before the first Read
}

// Read reads on, and withholds the last bytes of a file whose digest is wrong.
func (f *inputFile) Read(p []byte) (int, error) {
	if f.pos >= f.in.Size {
		return 0, io.EOF
	}
	if f.rc == nil {
		rc, err := f.in.Open(f.ctx, f.pos, -1)
		if err != nil {
			return 0, err
		}
		f.rc = rc
	}
	n, err := f.rc.Read(p[:min(int64(len(p)), f.in.Size-f.pos)])
	if bad := f.in.saw(f.pos, p[:n]); bad != nil {
		return 0, bad
	}
	f.pos += int64(n)
	if errors.Is(err, io.EOF) && f.pos < f.in.Size {
		return n, f.in.mismatch("", f.pos)
	}
	if errors.Is(err, io.EOF) {
		err = nil // the next Read tells
	}
	return n, err
}

// ReadAt implements [io.ReaderAt].
func (f *inputFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset", printable(f.in.Path))
	}
	want := min(int64(len(p)), max(f.in.Size-off, 0))
	if want == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	rc, err := f.in.Open(f.ctx, off, want)
	if err != nil {
		return 0, err
	}
	defer rc.Close()
	n, err := io.ReadFull(rc, p[:want])
	switch {
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case err == nil && want < int64(len(p)):
		err = io.EOF
	}
	return n, err
}

// Seek implements [io.Seeker].
func (f *inputFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.in.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in %s: negative offset", printable(f.in.Path))
	}
	err := f.Close()
	f.pos = offset
	return offset, err
}

// Close ends reading; a later Read begins anew.
func (f *inputFile) Close() error {
	if f.rc == nil {
		return nil
	}
	rc := f.rc
	f.rc = nil
	return rc.Close()
}
