package remote

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"oras.land/oras-go/v2/errdef"
)

// maxDiscard is how many bytes of an answer are thrown away to come to the
// ones asked for. More are dearer than asking anew.
const maxDiscard = 8 << 20

// openRange turns an answer into a reader of the bytes wanted.
func openRange(op string, resp *http.Response, want byteRange) (*exactReader, error) {
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
		// The total may be unknown to who answers (RFC 9110 section 14.4).
		if got.total < 0 {
			got.total = want.total
		}
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

// wholeAnswer checks an answer that has all of the blob. Where a part was asked
// for that does not begin it, the reader has all of it.
func wholeAnswer(op string, resp *http.Response, want byteRange, body *exactReader) (*exactReader, error) {
	if n := resp.ContentLength; n >= 0 && n != want.total {
		return nil, wrongSize(op, fmt.Sprintf("%d bytes announced, want %d", n, want.total))
	}
	if want.first > 0 {
		body.whole, body.left = true, want.total
	} else if want.last+1 < want.total {
		body.open = false // there is more, and we know
	}
	return body, nil
}

// skipTo throws away what comes before the part that is wanted, if that is not
// too much.
func (r *exactReader) skipTo(want byteRange) error {
	if !r.whole {
		return nil
	}
	if want.first > maxDiscard {
		return noRange(r.op, nil, "the registry gives whole blobs only")
	}
	if _, err := io.CopyN(io.Discard, r, want.first); err != nil {
		return err
	}
	r.whole, r.left = false, want.last-want.first+1
	if want.last+1 < want.total {
		r.open = false // there is more, and we know
	}
	return nil
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

// empty tells whether it is nothing of a blob that is something.
func (b byteRange) empty() bool { return b.last < b.first && b.total > 0 }

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
