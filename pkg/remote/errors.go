package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// The classes of errors. What is not there wraps [errdef.ErrNotFound], and
// wrong bytes wrap [content.ErrMismatchedDigest].
var (
	// ErrProtocol means that a registry's answer breaks the rules, or that it
	// refused a request for a reason that waiting does not cure.
	ErrProtocol = errors.New("registry protocol")

	// ErrUnauthorized means that credentials are missing, were refused, or
	// were not sent because they would have gone to a stranger.
	ErrUnauthorized = errors.New("unauthorized")

	// ErrForbidden means that the registry knows the user and says no.
	ErrForbidden = errors.New("forbidden")

	// ErrUnreachable means that the registry could not be reached or did not
	// work, retries included.
	ErrUnreachable = errors.New("registry unreachable")
)

const (
	maxErrorBody = 8 << 10 // bytes of an error answer that are read
	maxErrorText = 512     // bytes of it that are shown
)

// An Error tells which request did not do what it should, and why.
type Error struct {
	Op     string        // method, host and path, without query
	Status int           // HTTP status; 0 when no answer came
	Code   string        // the registry's own error code, such as MANIFEST_UNKNOWN
	Text   string        // what went wrong: printable, at most 512 bytes, no secrets
	Wait   time.Duration // what Retry-After asked for, at most 60 s
	Class  error         // one of the package's errors, or another sentinel

	cause error
	again bool
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	if e.Wait > 0 {
		fmt.Fprintf(&b, " (asks to wait %v)", e.Wait.Round(time.Second))
	}
	return b.String()
}

// Unwrap returns the class and the cause.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Class, e.cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Retry tells whether the same request may succeed later, and the least time
// to wait for that.
func (e *Error) Retry() (wait time.Duration, ok bool) { return e.Wait, e.again }

// Overloaded tells whether the registry says that it gets too many requests.
func (e *Error) Overloaded() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

// protocolError returns an [Error] of class [ErrProtocol].
func protocolError(op, format string, args ...any) *Error {
	return &Error{Op: op, Text: cleanText(fmt.Sprintf(format, args...)), Class: ErrProtocol}
}

// opOf names a request by what may be shown of it: the query can hold a
// signature or an upload's state.
func opOf(req *http.Request) string {
	return strings.ToLower(req.Method) + " " + req.URL.Host + req.URL.EscapedPath()
}

// answerError makes an error of an answer that is not the one hoped for, and
// closes it.
func answerError(op string, resp *http.Response) *Error {
	defer resp.Body.Close()
	e := &Error{Op: op, Status: resp.StatusCode}
	e.Code, e.Text = errorBody(resp)
	e.Wait = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	e.Class, e.again = classOf(resp.StatusCode)
	return e
}

func classOf(status int) (class error, again bool) {
	switch {
	case status == http.StatusUnauthorized:
		return ErrUnauthorized, false
	case status == http.StatusForbidden:
		return ErrForbidden, false
	case status == http.StatusNotFound:
		return errdef.ErrNotFound, false
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return ErrUnreachable, true
	case status == http.StatusNotImplemented:
		return ErrProtocol, false
	case status >= 500:
		return ErrUnreachable, true
	}
	return ErrProtocol, false
}

// errorBody reads what the answer says, in the form of the OCI distribution
// specification section "Error Codes" or in any other.
func errorBody(resp *http.Response) (code, text string) {
	if resp.Body == nil {
		return "", ""
	}
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`

		// As the APIs beside registries have it.
		Message string `json:"message"`
		Detail  string `json:"detail"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", cleanText(string(raw))
	}
	if len(doc.Errors) == 0 {
		return "", cleanText(cmp.Or(doc.Message, doc.Detail, string(raw)))
	}
	var parts []string
	for _, e := range doc.Errors {
		parts = append(parts, strings.TrimPrefix(e.Code+": "+e.Message, ": "))
	}
	return cleanText(doc.Errors[0].Code), cleanText(strings.Join(parts, "; "))
}

// requestError makes an error of a request that got no answer, or whose
// answer the authentication did not like.
func requestError(op string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		// Its text would show the whole URL, signatures included.
		err = ue.Err
	}
	if ans, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		class, again := classOf(ans.StatusCode)
		e := &Error{Op: op, Status: ans.StatusCode, Class: class, again: again, cause: err}
		if len(ans.Errors) > 0 {
			e.Code, e.Text = cleanText(ans.Errors[0].Code), cleanText(ans.Errors.Error())
		}
		return e
	}
	class, again := networkClass(err)
	return &Error{Op: op, Text: cleanText(explain(err)), Class: class, cause: err, again: again}
}

// networkClass tells what kind of failure err is, and whether the same
// request may go better next time.
func networkClass(err error) (class error, again bool) {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, false
	case errors.Is(err, errdef.ErrNotFound):
		return nil, false
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return ErrUnauthorized, false
	case malformedAnswer(err):
		return ErrProtocol, false
	case brokenConnection(err), errors.Is(err, syscall.ECONNREFUSED):
		return ErrUnreachable, true
	}
	if ne, ok := errors.AsType[net.Error](err); ok {
		return ErrUnreachable, ne.Timeout()
	}
	if untrusted(err) {
		return ErrUnreachable, false
	}
	return ErrProtocol, false
}

// brokenConnection reports whether err is how the end of a connection looks
// that was cut before the answer was complete.
func brokenConnection(err error) bool {
	for _, target := range []error{
		io.ErrUnexpectedEOF, io.EOF, net.ErrClosed,
		syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	// net/http does not export this one.
	return strings.Contains(err.Error(), "server closed idle connection")
}

// malformedAnswer knows net/http's words for an answer that is not HTTP, and
// oras-go's for one that is not JSON; they have no error values.
func malformedAnswer(err error) bool {
	text := err.Error()
	return strings.Contains(text, "failed to decode response") ||
		strings.Contains(text, "malformed HTTP") ||
		strings.Contains(text, "malformed MIME header") ||
		strings.Contains(text, "response headers exceeded") ||
		strings.Contains(text, "too many 1xx")
}

func untrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	return strings.Contains(err.Error(), "gave HTTP response to HTTPS client")
}

// orasPrefix is how oras-go names the request in an error, as we do.
var orasPrefix = regexp.MustCompile(`\b(GET|HEAD|POST|PUT|PATCH|DELETE) "[^"]*": `)

// explain adds what can be done to the errors that users meet first.
func explain(err error) string {
	if errors.Is(err, auth.ErrBasicCredentialNotFound) {
		return "authentication required, and there are no credentials for this registry"
	}
	text := orasPrefix.ReplaceAllString(err.Error(), "")
	if strings.Contains(text, "gave HTTP response to HTTPS client") {
		return text + " (is it a registry without TLS? that must be allowed with --plain-http)"
	}
	return text
}
