package testreg

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What rules pick.
const (
	blobs     = `/blobs/sha256:`
	manifests = `/manifests/`
	uploads   = `/blobs/uploads/`
	tags      = `/tags/list`
)

// Fault returns the rule of that name, for use as it is or with some fields
// changed. It panics for a name that is not among [FaultNames].
func Fault(name string) Rule {
	r, ok := faults()[name]
	if !ok {
		panic(fmt.Sprintf("testreg: no fault called %q", name))
	}
	r.Name = name
	return r
}

// FaultNames returns the names that [Fault] knows, sorted.
func FaultNames() []string {
	return slices.Sorted(maps.Keys(faults()))
}

func faults() map[string]Rule {
	all := make(map[string]Rule)
	for _, group := range []map[string]Rule{
		connectionFaults(), statusFaults(), rangeFaults(), contentFaults(),
		placeFaults(), authFaults(), uploadFaults(), refusals(), listFaults(),
	} {
		maps.Copy(all, group)
	}
	return all
}

// once acts on the first GET of a blob.
func once(do Action) Rule { return Rule{Method: "GET", Path: blobs, To: 1, Do: do} }

// always acts on every GET of a blob.
func always(do Action) Rule { return Rule{Method: "GET", Path: blobs, Do: do} }

func connectionFaults() map[string]Rule {
	return map[string]Rule{
		"cut@0":          once(Cut(0)),
		"cut@1":          once(Cut(1)),
		"cut@mid":        once(Cut(Middle)),
		"cut@end-1":      once(Cut(-1)),
		"cut-forever":    always(Cut(Middle)),
		"fin":            once(Fin(Middle)),
		"stall":          once(Stall(Middle)),
		"drip":           once(Drip(1, time.Second)),
		"reset":          once(Reset()),
		"hang":           once(Hang()),
		"delay":          once(Delay(100 * time.Millisecond)),
		"duplicate-resp": once(TwoAnswers()),
		"header-1m":      always(HugeHeader(1 << 20)),
		"1xx-1000":       once(Informational(1000)),
	}
}

func statusFaults() map[string]Rule {
	three := func(do Action) Rule { return Rule{Path: "^/v2/.+", To: 3, Do: do} }
	return map[string]Rule{
		"429x3":       three(RetryAfter(http.StatusTooManyRequests, "0")),
		"503x3":       three(Status(http.StatusServiceUnavailable, nil, "")),
		"500-forever": {Path: "^/v2/.+", Do: Status(http.StatusInternalServerError, nil, "")},

		"retry-after-9e9": once(RetryAfter(http.StatusServiceUnavailable, "9000000000")),
		"retry-after-neg": once(RetryAfter(http.StatusServiceUnavailable, "-5")),
		"retry-after-date": once(func(x Exchange) {
			at := time.Now().Add(time.Second).UTC().Format(http.TimeFormat)
			RetryAfter(http.StatusServiceUnavailable, at)(x)
		}),
		"retry-after-past": once(RetryAfter(http.StatusServiceUnavailable, "Wed, 21 Oct 2015 07:28:00 GMT")),
		"retry-after-junk": once(RetryAfter(http.StatusServiceUnavailable, "soon")),

		"html-error": {Path: "^/v2/.+", Do: Status(http.StatusForbidden,
			map[string]string{"Content-Type": "text/html"},
			"<!DOCTYPE html><html><script>alert(1)</script>"+strings.Repeat("<p>no</p>", 1000)+"</html>")},
		"ansi-error": {Path: "^/v2/.+", Do: Status(http.StatusForbidden,
			map[string]string{"Content-Type": "application/json"},
			"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b[2J\\u001b]0;owned\\u0007no\\r\\nok\"}]}")},
		"head-405":  {Method: "HEAD", Do: Status(http.StatusMethodNotAllowed, nil, "")},
		"no-digest": {Path: manifests, Do: SetHeader(map[string]string{"Docker-Content-Digest": ""})},
		"no-etag":   {Do: SetHeader(map[string]string{"Etag": ""})},
	}
}

func rangeFaults() map[string]Rule {
	ranged := func(do Action) Rule { return Rule{Method: "GET", Path: blobs, Range: With, Do: do} }
	return map[string]Rule{
		"ignore_range":      ranged(IgnoreRange()),
		"range_shift":       ranged(ShiftRange(1)),
		"range_wrong-start": ranged(ContentRange(1, 0)),
		"range_wrong-total": ranged(ContentRange(0, 1)),
		"416": ranged(Status(http.StatusRequestedRangeNotSatisfiable,
			map[string]string{"Content-Range": "bytes */1"}, "")),
		"range-400": ranged(Status(http.StatusBadRequest, nil, "")),
	}
}

func contentFaults() map[string]Rule {
	const chunk = 1 << 20
	other := "sha256:" + strings.Repeat("0", 64)
	return map[string]Rule{
		"truncate":       always(Truncate(Middle)),
		"long":           always(Long(1)),
		"chunked":        always(Chunked()),
		"corrupt@0":      always(FlipBit(0)),
		"corrupt@chunk":  always(FlipBit(chunk)),
		"corrupt@last":   always(FlipBit(-1)),
		"corrupt-once":   once(FlipBit(Middle)),
		"swap":           always(Swap()),
		"swap-manifest":  {Method: "GET", Path: manifests, Do: Swap()},
		"digest-header":  {Path: manifests, Do: SetHeader(map[string]string{"Docker-Content-Digest": other})},
		"media-type":     {Path: manifests, Do: SetHeader(map[string]string{"Content-Type": "text/plain"})},
		"gzip-lie":       always(SetHeader(map[string]string{"Content-Encoding": "gzip"})),
		"chunked-header": {Method: "GET", Path: manifests, Do: Chunked()},
		"endless-manifest": {Method: "GET", Path: manifests, Do: Endless(
			"application/vnd.oci.image.manifest.v1+json", `{"schemaVersion":2,"layers":[`, strings.Repeat(" ", 1<<16))},
	}
}

func placeFaults() map[string]Rule {
	return map[string]Rule{
		"redirect-sink":      always(Redirect("{sink}{path}")),
		"redirect-http":      always(Redirect("{sink-http}{path}")),
		"redirect-loop":      always(Redirect("{path}")),
		"redirect-userinfo":  always(Redirect("http://user:secret@{sink-host}{path}")),
		"redirect-linklocal": always(Redirect("http://169.254.169.254{path}")),
		"redirect-file":      always(Redirect("file:///etc/passwd")),
		"location-sink": {Method: "POST", Path: uploads, Do: Status(http.StatusAccepted,
			map[string]string{"Location": "{sink}{path}stolen"}, "")},
		"link-sink": {Method: "GET", Path: tags, Do: SetHeader(map[string]string{"Link": `<{sink}{path}>; rel="next"`})},
		"link-loop": {Method: "GET", Path: tags, Do: EndlessTags(true)},
	}
}

func authFaults() map[string]Rule {
	realm := func(url string) Rule {
		return Rule{Path: "^/v2/", Auth: Without, Do: Unauthorized(url)}
	}
	bearer := func(uses int) func(*Server) {
		return func(s *Server) { s.SetAuth(Auth{Scheme: Bearer, TokenUses: uses}) }
	}
	forever := Rule{Path: "^/v2/", Do: Unauthorized("{url}/token"), setup: bearer(0)}
	return map[string]Rule{
		"realm-sink":       realm("{sink}/token"),
		"realm-http":       realm("{sink-http}/token"),
		"realm-ip-decimal": realm("http://2130706433/token"),
		"realm-ip-hex":     realm("http://0x7f000001/token"),
		"realm-ip-mapped":  realm("http://[::ffff:127.0.0.1]/token"),
		"realm-linklocal":  realm("http://169.254.169.254/token"),
		"token-3":          {Path: "^$", setup: bearer(3)},
		"401-forever":      forever,
		"401-after-body": {
			Method: "PATCH,PUT", Path: uploads, To: 1,
			Do: ReadThen(Unauthorized("{url}/token")), setup: bearer(0),
		},
		"endless-token": {
			Path: "^/token", setup: bearer(0),
			Do: Endless("application/json", `{"token":"`, strings.Repeat("a", 1<<16)),
		},
		"token-redirect": {Path: "^/token", Do: Redirect("{sink}{path}"), setup: bearer(0)},
	}
}

func uploadFaults() map[string]Rule {
	put := func(path string) Rule {
		return Rule{Method: "PUT", Path: path, To: 1, Do: CommitThenDrop()}
	}
	return map[string]Rule{
		"forget-upload":        {Method: "PATCH,PUT", Path: uploads, To: 1, Do: ForgetUpload()},
		"forget-upload@2":      {Method: "PATCH", Path: uploads, From: 2, To: 2, Do: ForgetUpload()},
		"patch-416":            {Method: "PATCH", Path: uploads, To: 1, Do: RefuseChunk()},
		"patch-part":           {Method: "PATCH", Path: uploads, To: 1, Do: KeepPart(1)},
		"patch-overclaim":      {Method: "PATCH", Path: uploads, To: 1, Do: Overclaim(1)},
		"patch-cut":            {Method: "PATCH,PUT", Path: uploads, To: 1, Do: TakeThenDrop(1)},
		"digest-refused":       {Method: "PUT", Path: uploads, Do: refuseDigest()},
		"slow-commit":          {Method: "PUT", Path: uploads, Do: Delay(100 * time.Millisecond)},
		"commit-drop-blob":     put(uploads),
		"commit-drop-manifest": put(manifests + "sha256:"),
		"commit-drop-tag":      put(manifests + `[^:]+$`),
	}
}

func refuseDigest() Action {
	return ReadThen(Status(http.StatusBadRequest, nil,
		`{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}`))
}

func listFaults() map[string]Rule {
	return map[string]Rule{
		"no-referrers":        {Do: WithoutReferrers()},
		"fallback-is-subject": {Method: "GET", Path: manifests + "sha256-", Do: FallbackIsSubject()},
		"endless-tags":        {Method: "GET", Path: tags, Do: EndlessTags(false)},
		"endless-referrers": {Method: "GET", Path: "/referrers/", Do: func(x Exchange) {
			next := fmt.Sprintf(`<%s?last=%d>; rel="next"`, x.R.URL.Path, len(x.Server.Requests()))
			SetHeader(map[string]string{"Link": next})(x)
		}},
	}
}
