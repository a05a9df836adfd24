package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// maxDiscard is how many bytes of an answer are thrown away to come to the
// ones asked for. More are dearer than asking anew.
const maxDiscard = 8 << 20

// FetchRange reads length bytes of a blob from offset, to its end when length
// is negative. The reader fails when it cannot give exactly those. A registry
// that does not give parts of blobs, or gives the wrong ones, is an error that
// wraps errdef.ErrUnsupported: the blob can still be read from its start. The
// caller closes the reader.
func (r *Repository) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if err := checkDesc(desc); err != nil {
		return nil, err
	}
	if offset < 0 || offset > desc.Size {
		return nil, fmt.Errorf("read %s from %d: outside of its %d bytes", desc.Digest, offset, desc.Size)
	}
	if rest := desc.Size - offset; length < 0 || length > rest {
		length = rest
	}
	if length == 0 && desc.Size > 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	want := byteRange{first: offset, last: offset + length - 1, total: desc.Size}
	return r.readBlob(ctx, desc.Digest, want, r.openBlob)
}

// openBlob asks one place for a part of a blob.
func (r *Repository) openBlob(ctx context.Context, at *endpoint, dgst digest.Digest, want byteRange) (io.ReadCloser, error) {
	k := call{
		at: at, method: http.MethodGet, path: "/blobs/" + dgst.String(),
		want: []int{http.StatusOK, http.StatusPartialContent, http.StatusBadRequest, http.StatusRequestedRangeNotSatisfiable},
	}
	if want.last-want.first+1 < want.total {
		k.header = map[string]string{"Range": want.request()}
	}
	resp, err := r.do(ctx, k)
	if err != nil {
		return nil, err
	}
	op := opOf(resp.Request)
	err = checkDigest(op, resp, dgst)
	var rc io.ReadCloser
	if err == nil {
		rc, err = openRange(op, resp, want)
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return rc, nil
}

// openRange turns an answer into a reader of the bytes wanted.
func openRange(op string, resp *http.Response, want byteRange) (io.ReadCloser, error) {
	if err := checkEncoding(op, resp); err != nil {
		return nil, err
	}
	body := &exactReader{rc: resp.Body, op: op, left: want.last - want.first + 1, open: resp.ContentLength < 0}
	// Only an answer of HTTP/1.0's kind ends with its connection, and may have
	// been cut: chunks and HTTP/2 streams have an end of their own.
	body.ends = resp.ProtoMajor >= 2 || slices.Contains(resp.TransferEncoding, "chunked")
	switch resp.StatusCode {
	case http.StatusOK:
		return wholeAnswer(op, resp, want, body)
	case http.StatusPartialContent:
		got, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || got != want {
			return nil, noRange(op, ErrProtocol, fmt.Sprintf("asked for %s, answered %q", want.request(), resp.Header.Get("Content-Range")))
		}
		if n := resp.ContentLength; n >= 0 && n != body.left {
			return nil, noRange(op, ErrProtocol, fmt.Sprintf("%d bytes announced, want %d", n, body.left))
		}
		return body, nil
	}
	e := answerError(op, resp)
	if want.last-want.first+1 < want.total {
		e.cause = errdef.ErrUnsupported
	}
	return nil, e
}

// wholeAnswer reads a part out of an answer that has all of the blob.
func wholeAnswer(op string, resp *http.Response, want byteRange, body *exactReader) (io.ReadCloser, error) {
	if n := resp.ContentLength; n >= 0 && n != want.total {
		return nil, wrongSize(op, fmt.Sprintf("%d bytes announced, want %d", n, want.total))
	}
	if want.last+1 < want.total {
		body.open = false // there is more, and we know
	}
	if want.first > maxDiscard {
		return nil, noRange(op, nil, "the registry gives whole blobs only")
	}
	if _, err := io.CopyN(io.Discard, resp.Body, want.first); err != nil {
		return nil, readError(op, err)
	}
	return body, nil
}

// noRange says that a part of a blob is not to be had.
func noRange(op string, class error, text string) *Error {
	return &Error{Op: op, Text: cleanText(text), Class: class, cause: errdef.ErrUnsupported}
}

// checkEncoding refuses an answer that was compressed on its way: nobody asked
// for that, and digests are of the plain bytes.
func checkEncoding(op string, resp *http.Response) error {
	enc := resp.Header.Get("Content-Encoding")
	if enc == "" || strings.EqualFold(enc, "identity") {
		return nil
	}
	return protocolError(op, "sent with Content-Encoding %s", enc)
}

// A byteRange is a part of a blob: first and last byte, and how many there are
// in all.
type byteRange struct{ first, last, total int64 }

// request returns the range as a Range header has it (RFC 9110 section
// 14.1.2). It is closed even at the end of the blob: caches between us and the
// registry keep closed ranges better.
func (b byteRange) request() string { return fmt.Sprintf("bytes=%d-%d", b.first, b.last) }

// parseContentRange reads a Content-Range header of a 206 answer (RFC 9110
// section 14.4). A total that is not known is -1.
func parseContentRange(s string) (byteRange, bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return byteRange{}, false
	}
	part, total, ok := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok {
		return byteRange{}, false
	}
	first, last, ok := parseSpan(part)
	if !ok {
		return byteRange{}, false
	}
	b := byteRange{first: first, last: last, total: -1}
	if total == "*" {
		return b, true
	}
	if b.total, ok = parseCount(total); !ok || last >= b.total {
		return byteRange{}, false
	}
	return b, true
}

// parseSpan reads first-last, both included.
func parseSpan(s string) (first, last int64, ok bool) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, false
	}
	first, ok1 := parseCount(a)
	last, ok2 := parseCount(b)
	return first, last, ok1 && ok2 && first <= last
}

// parseCount reads a number that is written in digits alone.
func parseCount(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// parseKept reads the Range header of an upload's status: how many leading
// bytes the registry has. The form "0-0" stands for none, and for one byte
// too, which is why one is taken for none.
func parseKept(s string) (int64, bool) {
	if s == "" {
		return 0, true
	}
	s = strings.TrimPrefix(strings.TrimPrefix(s, "bytes="), "bytes ")
	first, last, ok := parseSpan(s)
	if !ok || first != 0 || last == 1<<63-1 {
		return 0, false
	}
	if last == 0 {
		return 0, true
	}
	return last + 1, true
}
