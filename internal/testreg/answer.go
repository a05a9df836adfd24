package testreg

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Status answers with a status, a header and a body instead of the registry.
// In the header's values {url}, {host}, {sink}, {sink-host} and {sink-http}
// stand for the server and its [Sink], {path} for the path and query of the
// request.
func Status(code int, header map[string]string, body string) Action {
	return func(x Exchange) {
		for key, value := range header {
			value = strings.ReplaceAll(value, "{path}", x.R.URL.RequestURI())
			x.W.Header().Set(key, x.Server.expand(value))
		}
		x.W.WriteHeader(code)
		_, _ = io.WriteString(x.W, body)
	}
}

// RetryAfter answers with a status and a Retry-After header as given.
func RetryAfter(code int, value string) Action {
	return Status(code, map[string]string{"Retry-After": value}, "")
}

// Redirect answers 307 with a Location, in which the names of [Status] are
// replaced.
func Redirect(location string) Action {
	return Status(http.StatusTemporaryRedirect, map[string]string{"Location": location}, "")
}

// Unauthorized answers 401 with a challenge for a token from realm.
func Unauthorized(realm string) Action {
	return Status(http.StatusUnauthorized, map[string]string{
		"Www-Authenticate": fmt.Sprintf(`Bearer realm="%s",service="testreg"`, realm),
	}, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
}

// ReadThen reads the body of the request and then acts.
func ReadThen(do Action) Action {
	return func(x Exchange) {
		_, _ = io.Copy(io.Discard, x.R.Body)
		do(x)
	}
}

// SetHeader lets the registry answer and changes its header; an empty value
// removes one. The names of [Status] are replaced.
func SetHeader(header map[string]string) Action {
	return func(x Exchange) {
		s := &stream{ResponseWriter: x.W}
		s.head = func(status int, h http.Header) int {
			for key, value := range header {
				if value == "" {
					h.Del(key)
					continue
				}
				value = strings.ReplaceAll(value, "{path}", x.R.URL.RequestURI())
				h.Set(key, x.Server.expand(value))
			}
			return status
		}
		x.Pass(s)
	}
}

// Endless answers 200 with a body that does not end.
func Endless(mediaType, start, piece string) Action {
	return func(x Exchange) {
		x.W.Header().Set("Content-Type", mediaType)
		_, _ = io.WriteString(x.W, start)
		x.endless(piece)
	}
}

// EndlessTags answers a list of tags with one that has always a next page. If
// loop is set, the next page is the same one again.
func EndlessTags(loop bool) Action {
	return func(x Exchange) {
		last := x.R.URL.Query().Get("last")
		tag := last + "x"
		if len(tag) > 100 {
			tag = "y" + fmt.Sprint(len(x.Server.Requests()))
		}
		if loop {
			tag = "x"
		}
		x.W.Header().Set("Content-Type", "application/json")
		x.W.Header().Set("Link", fmt.Sprintf(`<%s?last=%s>; rel="next"`, x.R.URL.Path, tag))
		fmt.Fprintf(x.W, `{"name":"x","tags":[%q]}`, tag)
	}
}

// WithoutReferrers lets the registry answer as one that knows no referrers
// API, gives no OCI-Subject and leaves referrers tags to the clients.
func WithoutReferrers() Action {
	return func(x Exchange) { x.Server.guarded(x.Server.plain).ServeHTTP(x.W, x.R) }
}

// FallbackIsSubject answers a request for a referrers tag with the subject
// itself.
func FallbackIsSubject() Action {
	return func(x Exchange) {
		x.R.URL.Path = strings.Replace(x.R.URL.Path, "/manifests/sha256-", "/manifests/sha256:", 1)
		x.Pass(x.W)
	}
}
