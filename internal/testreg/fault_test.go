package testreg_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
)

// A fixture is a server with one fault and something to ask it for.
type fixture struct {
	*testreg.Server
	t        *testing.T
	data     []byte
	blob     string // its path
	manifest string // by digest
	raw      []byte // the manifest
	referrer ocispec.Descriptor
}

const blobSize = 3 << 20

func setUp(t *testing.T, rules ...testreg.Rule) fixture {
	t.Helper()
	f := fixture{Server: testreg.New(t, testreg.Options{}), t: t}
	f.data = make([]byte, blobSize)
	for i := range f.data {
		f.data[i] = byte(i * 7 >> 3)
	}
	f.blob = put(t, f.Server, f.data)
	empty := ocispec.DescriptorEmptyJSON
	put(t, f.Server, empty.Data)
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/x-model", Config: empty,
		Layers: []ocispec.Descriptor{{MediaType: "a/b", Digest: digest.FromBytes(f.data), Size: blobSize}},
	}
	subject := f.putManifest("v1", m)
	f.manifest = repo + "/manifests/" + subject.Digest.String()
	f.raw, _ = json.Marshal(m)
	m.Subject = &subject
	f.referrer = f.putManifest("", m)
	f.Add(rules...)
	return f
}

// putManifest stores m behind the rules.
func (f fixture) putManifest(tag string, m ocispec.Manifest) ocispec.Descriptor {
	f.t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if tag == "" {
		tag = desc.Digest.String()
	}
	req, err := http.NewRequestWithContext(f.t.Context(), "PUT", f.URL+repo+"/manifests/"+tag, bytes.NewReader(raw))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", m.MediaType)
	if a := serveBehind(f.Server, req); a.status != http.StatusCreated {
		f.t.Fatalf("put manifest = %d %s", a.status, a.body)
	}
	return desc
}

func (f fixture) get(path string) answer {
	f.t.Helper()
	return do(f.t, f.Server, "GET", path, map[string]string{
		"Accept": ocispec.MediaTypeImageManifest + "," + ocispec.MediaTypeImageIndex,
	})
}

func (f fixture) getRange(value string) answer {
	f.t.Helper()
	return do(f.t, f.Server, "GET", f.blob, map[string]string{"Range": value})
}

// fine checks that the blob arrives as it is.
func (f fixture) fine() {
	f.t.Helper()
	if a := f.get(f.blob); a.err != nil || a.status != 200 || !bytes.Equal(a.body, f.data) {
		f.t.Errorf("GET blob = %d, %d bytes, %v; want it whole", a.status, len(a.body), a.err)
	}
}

// A check tells whether the server does what a fault says.
type check func(f fixture)

func TestFaults(t *testing.T) {
	checks := make(map[string]check)
	for _, group := range []map[string]check{
		connectionChecks(), statusChecks(), rangeChecks(), contentChecks(),
		placeChecks(), authChecks(), uploadChecks(), refusalChecks(), listChecks(),
	} {
		maps.Copy(checks, group)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(checks)), testreg.FaultNames()); diff != "" {
		t.Errorf("faults (-checked +there):\n%s", diff)
	}
	for name, c := range checks {
		t.Run(name, func(t *testing.T) { c(setUp(t, testreg.Fault(name))) })
	}
}

func TestUnknownFault(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Fault took a name that it does not know")
		}
	}()
	testreg.Fault("no such thing")
}

// cutAt wants at most n bytes and a reset connection.
func cutAt(n int) check {
	return func(f fixture) {
		f.t.Helper()
		a := f.get(f.blob)
		if !errors.Is(a.err, syscall.ECONNRESET) || len(a.body) > n || !bytes.HasPrefix(f.data, a.body) {
			f.t.Errorf("GET blob = %d bytes, %v; want at most %d and a reset", len(a.body), a.err, n)
		}
	}
}

// then runs one check after the other.
func then(checks ...check) check {
	return func(f fixture) {
		f.t.Helper()
		for _, c := range checks {
			c(f)
		}
	}
}

func isFine(f fixture) {
	f.t.Helper()
	f.fine()
}

// silentAfter wants n bytes, and then nothing while the client waits.
func silentAfter(n int) check {
	return func(f fixture) {
		f.t.Helper()
		ctx, cancel := context.WithTimeout(f.t.Context(), 200*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", f.URL+f.blob, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		resp, err := f.Client().Do(req)
		var got []byte
		if err == nil {
			defer resp.Body.Close()
			got, err = io.ReadAll(resp.Body)
		}
		if !errors.Is(err, context.DeadlineExceeded) || len(got) != n {
			f.t.Errorf("GET blob = %d bytes, %v; want %d and silence", len(got), err, n)
		}
	}
}

func connectionChecks() map[string]check {
	return map[string]check{
		"cut@0":       then(cutAt(0), isFine),
		"cut@1":       then(cutAt(1), isFine),
		"cut@mid":     then(cutAt(blobSize/2), isFine),
		"cut@end-1":   then(cutAt(blobSize-1), isFine),
		"cut-forever": then(cutAt(blobSize/2), cutAt(blobSize/2), cutAt(blobSize/2)),
		"fin": then(func(f fixture) {
			a := f.get(f.blob)
			if !errors.Is(a.err, io.ErrUnexpectedEOF) || len(a.body) != blobSize/2 {
				f.t.Errorf("GET blob = %d bytes, %v; want half and an early end", len(a.body), a.err)
			}
		}, isFine),
		"stall": then(silentAfter(blobSize/2), isFine),
		"hang":  then(silentAfter(0), isFine),
		"drip":  then(silentAfter(0), isFine), // a byte a second
		"reset": then(func(f fixture) {
			if a := f.get(f.blob); !errors.Is(a.err, syscall.ECONNRESET) || a.status != 0 {
				f.t.Errorf("GET blob = %d, %v; want a reset", a.status, a.err)
			}
		}, isFine),
		"delay": func(f fixture) {
			start := time.Now()
			f.fine()
			if d := time.Since(start); d < 100*time.Millisecond {
				f.t.Errorf("answered after %v, want 100ms at least", d)
			}
		},
		"duplicate-resp": func(f fixture) {
			wire := f.wire("GET " + f.blob + " HTTP/1.1\r\nHost: x\r\n\r\n")
			if !bytes.Contains(wire, f.data) || !bytes.HasSuffix(wire, []byte("\r\n\r\npoison")) {
				f.t.Errorf("on the wire are %d bytes, without a second answer", len(wire))
			}
		},
		"header-1m": func(f fixture) {
			if a := f.get(f.blob); len(a.header.Get("X-Padding")) < 1<<20 {
				f.t.Error("the header is not of a megabyte")
			}
		},
		"1xx-1000": func(f fixture) {
			var n int
			ctx := httptrace.WithClientTrace(f.t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(int, textproto.MIMEHeader) error { n++; return nil },
			})
			req, err := http.NewRequestWithContext(ctx, "GET", f.URL+f.blob, nil)
			if err != nil {
				f.t.Fatal(err)
			}
			resp, err := f.Client().Do(req)
			if err != nil {
				f.t.Fatal(err)
			}
			defer resp.Body.Close()
			if n != 1000 || resp.StatusCode != 200 {
				f.t.Errorf("%d informational answers before %s, want 1000 before 200", n, resp.Status)
			}
		},
	}
}

// wire returns all that the server sends for a request, to the end of the
// connection.
func (f fixture) wire(request string) []byte {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.Host)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		f.t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// answers wants these statuses one after the other for the blob.
func answers(statuses ...int) check {
	return func(f fixture) {
		f.t.Helper()
		for i, want := range statuses {
			if a := f.get(f.blob); a.err != nil || a.status != want {
				f.t.Errorf("answer %d = %d, %v; want %d", i+1, a.status, a.err, want)
			}
		}
	}
}

func retryAfter(want string) check {
	return func(f fixture) {
		f.t.Helper()
		if a := f.get(f.blob); a.status != 503 || a.header.Get("Retry-After") != want {
			f.t.Errorf("answer = %d, Retry-After %q; want 503, %q", a.status, a.header.Get("Retry-After"), want)
		}
		f.fine()
	}
}

func statusChecks() map[string]check {
	return map[string]check{
		"429x3":            answers(429, 429, 429, 200),
		"503x3":            answers(503, 503, 503, 200),
		"500-forever":      answers(500, 500, 500, 500, 500),
		"retry-after-9e9":  retryAfter("9000000000"),
		"retry-after-neg":  retryAfter("-5"),
		"retry-after-junk": retryAfter("soon"),
		"retry-after-past": retryAfter("Wed, 21 Oct 2015 07:28:00 GMT"),
		"retry-after-date": func(f fixture) {
			at, err := http.ParseTime(f.get(f.blob).header.Get("Retry-After"))
			if err != nil || time.Until(at) > time.Second {
				f.t.Errorf("Retry-After = %v, %v; want a moment from now", at, err)
			}
		},
		"html-error": func(f fixture) {
			if a := f.get(f.blob); a.status != 403 || !bytes.Contains(a.body, []byte("<script>")) || len(a.body) < 1000 {
				f.t.Errorf("answer = %d %.40q, want a long page", a.status, a.body)
			}
		},
		"ansi-error": func(f fixture) {
			var body struct {
				Errors []struct{ Message string }
			}
			a := f.get(f.blob)
			if err := json.Unmarshal(a.body, &body); err != nil || a.status != 403 || !strings.Contains(body.Errors[0].Message, "\x1b[2J") {
				f.t.Errorf("answer = %d %q, %v; want JSON with an escape", a.status, a.body, err)
			}
		},
		"head-405": func(f fixture) {
			if a := do(f.t, f.Server, "HEAD", f.blob, nil); a.status != 405 {
				f.t.Errorf("HEAD = %d, want 405", a.status)
			}
			f.fine()
		},
		"no-digest": headerGone("Docker-Content-Digest"),
		"no-etag":   headerGone("Etag"),
	}
}

// headerGone wants the manifest as it is, less one header.
func headerGone(name string) check {
	return func(f fixture) {
		f.t.Helper()
		a := f.get(f.manifest)
		if a.status != 200 || !bytes.Equal(a.body, f.raw) || a.header.Get(name) != "" {
			f.t.Errorf("manifest = %d, %s: %q; want 200 without it", a.status, name, a.header.Get(name))
		}
	}
}

func rangeChecks() map[string]check {
	// partial wants a 206 whose header and bytes are these.
	partial := func(contentRange string, start int) check {
		return func(f fixture) {
			f.t.Helper()
			a := f.getRange("bytes=1000-1999")
			if a.status != 206 || a.header.Get("Content-Range") != contentRange || !bytes.Equal(a.body, f.data[start:start+1000]) {
				f.t.Errorf("range = %d %q, right bytes: %v; want 206 %q",
					a.status, a.header.Get("Content-Range"), bytes.Equal(a.body, f.data[start:start+1000]), contentRange)
			}
			f.fine()
		}
	}
	refused := func(status int) check {
		return func(f fixture) {
			f.t.Helper()
			if a := f.getRange("bytes=1000-1999"); a.status != status {
				f.t.Errorf("range = %d, want %d", a.status, status)
			}
			f.fine()
		}
	}
	return map[string]check{
		"ignore_range": func(f fixture) {
			a := f.getRange("bytes=1000-1999")
			if a.status != 200 || !bytes.Equal(a.body, f.data) || a.header.Get("Content-Range") != "" {
				f.t.Errorf("range = %d, %d bytes; want 200 and all", a.status, len(a.body))
			}
		},
		"range_shift":       partial(fmt.Sprintf("bytes 1000-1999/%d", blobSize), 1001),
		"range_wrong-start": partial(fmt.Sprintf("bytes 1001-2000/%d", blobSize), 1000),
		"range_wrong-total": partial(fmt.Sprintf("bytes 1000-1999/%d", blobSize+1), 1000),
		"416":               refused(416),
		"range-400":         refused(400),
	}
}

// flipped wants the blob with one bit changed in the byte at i.
func flipped(i int) check {
	return func(f fixture) {
		f.t.Helper()
		want := bytes.Clone(f.data)
		want[i] ^= 1
		if a := f.get(f.blob); a.err != nil || !bytes.Equal(a.body, want) {
			f.t.Errorf("GET blob = %d bytes, %v; want bit 0 of byte %d changed and no other", len(a.body), a.err, i)
		}
	}
}

func contentChecks() map[string]check {
	return map[string]check{
		"corrupt@0":     then(flipped(0), flipped(0)),
		"corrupt@chunk": flipped(1 << 20),
		"corrupt@last":  flipped(blobSize - 1),
		"corrupt-once":  then(flipped(blobSize/2), isFine),
		"truncate": func(f fixture) {
			a := f.get(f.blob)
			if a.err != nil || !bytes.Equal(a.body, f.data[:blobSize/2]) || a.header.Get("Content-Length") != fmt.Sprint(blobSize/2) {
				f.t.Errorf("GET blob = %d bytes, %v; want half, consistently", len(a.body), a.err)
			}
		},
		"long": func(f fixture) {
			a := f.get(f.blob)
			if a.err != nil || len(a.body) != blobSize+1 || !bytes.HasPrefix(a.body, f.data) {
				f.t.Errorf("GET blob = %d bytes, %v; want one more", len(a.body), a.err)
			}
		},
		"chunked": func(f fixture) {
			f.fine()
			if a := f.get(f.blob); a.header.Get("Content-Length") != "" {
				f.t.Error("the length is told")
			}
		},
		"chunked-header": func(f fixture) {
			if a := f.get(f.manifest); !bytes.Equal(a.body, f.raw) || a.header.Get("Content-Length") != "" {
				f.t.Errorf("manifest = %s, length %q; want no length", a.body, a.header.Get("Content-Length"))
			}
		},
		"swap": func(f fixture) {
			if a := f.get(f.blob); a.err != nil || len(a.body) != blobSize || bytes.Equal(a.body, f.data) {
				f.t.Errorf("GET blob = %d bytes, %v; want as many others", len(a.body), a.err)
			}
		},
		"swap-manifest": func(f fixture) {
			if a := f.get(f.manifest); a.err != nil || len(a.body) != len(f.raw) || bytes.Equal(a.body, f.raw) {
				f.t.Errorf("manifest = %d bytes, %v; want as many others", len(a.body), a.err)
			}
		},
		"digest-header": func(f fixture) {
			a := f.get(f.manifest)
			if got := a.header.Get("Docker-Content-Digest"); !bytes.Equal(a.body, f.raw) || got != "sha256:"+strings.Repeat("0", 64) {
				f.t.Errorf("Docker-Content-Digest = %q, want a wrong one", got)
			}
		},
		"media-type": func(f fixture) {
			if got := f.get(f.manifest).header.Get("Content-Type"); got != "text/plain" {
				f.t.Errorf("Content-Type = %q", got)
			}
		},
		"gzip-lie": func(f fixture) {
			a := f.get(f.blob)
			if a.header.Get("Content-Encoding") != "gzip" || !bytes.Equal(a.body, f.data) {
				f.t.Errorf("Content-Encoding = %q, want a lie", a.header.Get("Content-Encoding"))
			}
		},
		"endless-manifest": endless(repo + "/manifests/v1"),
	}
}

// endless wants more than a client would ever take.
func endless(path string) check {
	return func(f fixture) {
		f.t.Helper()
		req, err := http.NewRequestWithContext(f.t.Context(), "GET", f.URL+path, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		resp, err := f.Client().Do(req)
		if err != nil {
			f.t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.CopyN(io.Discard, resp.Body, 32<<20); err != nil || resp.StatusCode != 200 {
			f.t.Errorf("%s and %d bytes, %v; want no end", resp.Status, n, err)
		}
	}
}
