package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/remote"
)

// answers returns a transport without a network, that gives one answer after
// the other and then the last one for ever.
func answers(list ...func(*http.Request) (*http.Response, error)) (http.RoundTripper, *int) {
	n := 0
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			_, _ = io.Copy(io.Discard, req.Body)
			req.Body.Close()
		}
		n++
		return list[min(n, len(list))-1](req)
	}), &n
}

func status(code int, header map[string]string, body io.Reader) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		h := make(http.Header)
		for k, v := range header {
			h.Set(k, v)
		}
		if body == nil {
			body = strings.NewReader("")
		}
		return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(body), ContentLength: -1, Request: req}, nil
	}
}

func broken(err error) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func silent(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, context.Cause(req.Context())
}

func TestRequestsAreTriedAgain(t *testing.T) {
	ok := status(200, map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}, strings.NewReader("{}"))
	tests := map[string]struct {
		first    func(*http.Request) (*http.Response, error)
		again    bool
		min, max time.Duration
	}{
		"503":             {status(503, nil, nil), true, 0, time.Second},
		"408":             {status(408, nil, nil), true, 0, time.Second},
		"429 in a moment": {status(429, map[string]string{"Retry-After": "7"}, nil), true, 7 * time.Second, 8 * time.Second},
		"503 in an age":   {status(503, map[string]string{"Retry-After": "9000000000"}, nil), true, time.Minute, 61 * time.Second},
		"reset":           {broken(syscall.ECONNRESET), true, 0, time.Second},
		"end of file":     {broken(io.ErrUnexpectedEOF), true, 0, time.Second},
		"refused":         {broken(syscall.ECONNREFUSED), false, 0, 0},
		"500":             {status(500, nil, nil), true, 0, time.Second},
		"501":             {status(501, nil, nil), false, 0, 0},
		"403":             {status(403, nil, nil), false, 0, 0},
		"404":             {status(404, nil, nil), false, 0, 0},
		"silence":         {silent, false, 50 * time.Second, 51 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport, n := answers(tt.first, ok)
				r := repoOf(t, newClient(t, remote.Options{Transport: transport}), "registry.example/a/b")
				start := time.Now()
				_, _, err := r.Manifest(t.Context(), "v1")
				took := time.Since(start)
				if (err == nil) != tt.again || (*n == 2) != tt.again {
					t.Errorf("%d requests, then %v; want to be tried again: %v", *n, err, tt.again)
				}
				if took < tt.min || took > tt.max {
					t.Errorf("took %v, want %v to %v", took, tt.min, tt.max)
				}
			})
		})
	}
}

func TestSixTriesAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport, n := answers(status(503, nil, nil))
		r := repoOf(t, newClient(t, remote.Options{Transport: transport}), "registry.example/a/b")
		_, _, err := r.Manifest(t.Context(), "v1")
		if !errors.Is(err, remote.ErrUnreachable) || *n != 6 {
			t.Errorf("%d requests, then %v; want 6, then ErrUnreachable", *n, err)
		}
		if e, ok := errors.AsType[*remote.Error](err); !ok {
			t.Errorf("error is a %T", err)
		} else if _, again := e.Retry(); again {
			t.Error("the error asks for a seventh")
		}
	})
}

// hangingBody gives some bytes and then none, until its request is cancelled.
type hangingBody struct {
	io.Reader
	ctx  context.Context
	each time.Duration // between bytes, in place of for ever
}

func (b hangingBody) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); n > 0 {
		return n, err
	}
	var tick <-chan time.Time
	if b.each > 0 {
		tick = time.After(b.each)
	}
	select {
	case <-tick:
		p[0] = 'x'
		return 1, nil
	case <-b.ctx.Done():
		return 0, context.Cause(b.ctx)
	}
}

func TestStalledBlob(t *testing.T) {
	for name, each := range map[string]time.Duration{"no byte at all": 0, "a byte a second": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				desc, data := content(1, 100_000)
				transport, _ := answers(func(req *http.Request) (*http.Response, error) {
					return status(200, nil, hangingBody{bytes.NewReader(data[:1000]), req.Context(), each})(req)
				})
				r := repoOf(t, newClient(t, remote.Options{Transport: transport}), "registry.example/a/b")
				start := time.Now()
				got, err := readAll(r.Fetch(t.Context(), desc))
				took := time.Since(start)
				if !errors.Is(err, remote.ErrUnreachable) || took < time.Minute || took > 65*time.Second {
					t.Errorf("Fetch = %d bytes, %v after %v; want ErrUnreachable after a minute", len(got), err, took)
				}
				if e, ok := errors.AsType[*remote.Error](err); ok {
					if _, again := e.Retry(); !again {
						t.Error("the error does not say that it may be tried again")
					}
				}
			})
		})
	}
}

// A reader that takes its time is no stall.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(1, 1000)
		transport, _ := answers(status(200, nil, bytes.NewReader(data)))
		r := repoOf(t, newClient(t, remote.Options{Transport: transport}), "registry.example/a/b")
		rc, err := r.Fetch(t.Context(), desc)
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		for range 10 {
			time.Sleep(time.Hour)
			if _, err := io.ReadFull(rc, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The answer to an upload may take long, as it does where the registry has to
// copy the blob. But not for ever.
func TestSlowCommit(t *testing.T) {
	desc, data := content(1, 5<<20)
	for name, tt := range map[string]struct {
		wait  time.Duration
		tries int
	}{"ten minutes": {10 * time.Minute, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport, n := answers(
					status(202, map[string]string{"Location": "/v2/a/b/blobs/uploads/1"}, nil),
					func(req *http.Request) (*http.Response, error) {
						time.Sleep(tt.wait)
						return status(201, nil, nil)(req)
					})
				r := repoOf(t, newClient(t, remote.Options{Transport: transport}), "registry.example/a/b")
				if err := r.PushFrom(t.Context(), desc, opener(data), nil); err != nil || *n != tt.tries {
					t.Errorf("PushFrom = %v after %d requests; want success after %d", err, *n, tt.tries)
				}
			})
		})
	}
}
