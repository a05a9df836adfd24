package artifact

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/coding"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A baseFile is a file that differences are taken to.
type baseFile struct {
	file    File
	reader  format.ReaderAtCloser
	tensors map[string]format.Tensor
}

// readBase lists the tensors of the base's weights.
func (e *encoder) readBase(ctx context.Context) error {
	base := e.variant.Base
	if base == nil {
		return nil
	}
	for _, f := range base.Files {
		if f.Kind != mediatypes.KindWeight || f.Encoding != mediatypes.Raw || f.Archive || f.Size < minCoded {
			continue
		}
		r, err := base.ReaderAt(ctx, e.variant.Source, f.Path, ReaderOptions{})
		if err != nil {
			return fmt.Errorf("open base %s: %w", printable(f.Path), err)
		}
		b := &baseFile{file: f, reader: r, tensors: make(map[string]format.Tensor)}
		e.bases = append(e.bases, b)
		tensors, err := weightsOf(ctx, format.File{Path: f.Path, Size: f.Size, Open: func(context.Context) (format.ReaderAtCloser, error) {
			return nopCloserAt{r}, nil
		}})
		if err != nil {
			return fmt.Errorf("read base %s: %w", printable(f.Path), err)
		}
		for _, t := range tensors {
			b.tensors[t.Name] = t
		}
	}
	return nil
}

// baseFor returns the file of the base that has most of the tensors, nil if
// none has any.
func (e *encoder) baseFor(tensors []format.Tensor) (best *baseFile) {
	most := int64(0)
	for _, b := range e.bases {
		n := int64(0)
		for _, t := range tensors {
			if other, ok := b.tensors[t.Name]; ok && like(t, other) {
				n += t.Bytes
			}
		}
		if n > most {
			best, most = b, n
		}
	}
	return best
}

// An encoding is a layer in the fewer bytes of its coding, which are made when
// they are read.
type encoding struct {
	body    *stream
	regions []coding.Region
	opts    coding.EncodeOptions
}

func (x *encoding) write(ctx context.Context, w io.Writer) error {
	src, err := x.body.open(ctx, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := coding.Encode(ctx, w, src, x.body.size, x.regions, x.opts); err != nil {
		return err
	}
	// At its end the stream looks whether the file is still what it was.
	_, err = io.Copy(io.Discard, src)
	return err
}

// measure returns digest and size of the coding.
func (x *encoding) measure(ctx context.Context) (digest.Digest, int64, error) {
	h, n := digest.Canonical.Hash(), new(countingWriter)
	err := x.write(ctx, io.MultiWriter(h, n))
	return digest.NewDigest(digest.Canonical, h), int64(*n), err
}

type countingWriter int64

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

// open is a transfer.Opener.
func (x *encoding) open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	r := &encodingReader{PipeReader: pr, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		pw.CloseWithError(x.write(ctx, &tailWriter{w: pw, skip: offset})) //nolint:errcheck // never fails
	}()
	return r, nil
}

// An encodingReader reads a coding while it is made.
type encodingReader struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close ends the coding and waits for that.
func (r *encodingReader) Close() error {
	r.cancel()
	err := r.PipeReader.Close()
	<-r.done
	return err
}

// A tailWriter leaves the first bytes out.
type tailWriter struct {
	w    io.Writer
	skip int64
}

func (t *tailWriter) Write(p []byte) (int, error) {
	n := int(min(t.skip, int64(len(p))))
	t.skip -= int64(n)
	if n == len(p) {
		return n, nil
	}
	k, err := t.w.Write(p[n:])
	return n + k, err
}
