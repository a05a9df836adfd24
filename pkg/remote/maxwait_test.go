package remote_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelreg/modelreg/pkg/remote"
)

// crawling is a registry that takes so many bytes of an upload and then asks to
// wait for a minute.
func crawling(each int) http.RoundTripper {
	kept := 0
	late := map[string]string{"Retry-After": "60"}
	at := map[string]string{"Location": "/v2/a/b/blobs/uploads/1"}
	transport, _ := answers(func(req *http.Request) (*http.Response, error) {
		switch req.Method {
		case http.MethodPost:
			return status(202, at, nil)(req)
		case http.MethodGet:
			return status(204, map[string]string{"Range": fmt.Sprintf("0-%d", kept-1)}, nil)(req)
		case http.MethodHead:
			return status(404, nil, nil)(req)
		}
		if kept += each; each >= 16<<20 && kept >= 8*each {
			return status(201, nil, nil)(req)
		}
		return status(503, late, nil)(req)
	})
	return transport
}

// A registry that takes a little and then asks to wait has not done enough for
// all the waiting to be forgiven.
func TestUploadMaxWait(t *testing.T) {
	tests := map[string]struct {
		each, size      int
		most            time.Duration // the option
		atLeast, atMost time.Duration
		fails           bool
	}{
		"some bytes a minute":          {10, 1000, 0, 4 * time.Minute, 5 * time.Minute, true},
		"some bytes a minute, shorter": {10, 1000, 2*time.Minute + 30*time.Second, 2 * time.Minute, 150 * time.Second, true},
		"asks for too much":            {10, 1000, 30 * time.Second, 0, 0, true},
		"16 MiB each":                  {16 << 20, 128 << 20, 3 * time.Minute, 7 * time.Minute, 8 * time.Minute, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				desc, data := content(1, tt.size)
				r := repoOf(t, newClient(t, remote.Options{Transport: crawling(tt.each), MaxWait: tt.most}), "registry.example/a/b")
				start := time.Now()
				err := r.PushFrom(t.Context(), desc, opener(data), nil)
				took := time.Since(start)
				if errors.Is(err, remote.ErrMaxWait) != tt.fails || (err == nil) == tt.fails {
					t.Errorf("PushFrom = %v, want it to wait too long: %v", err, tt.fails)
				}
				if tt.fails && !strings.Contains(err.Error(), "(asks to wait 1m0s)") {
					t.Errorf("PushFrom = %v, want what the registry asked for", err)
				}
				// A status is asked for twice, with a moment between.
				if took < tt.atLeast || took > tt.atMost+10*time.Second {
					t.Errorf("took %v, want %v to %v", took, tt.atLeast, tt.atMost)
				}
			})
		})
	}
}

// Small requests wait no longer either.
func TestRequestMaxWait(t *testing.T) {
	for most, want := range map[time.Duration]int{0: 5, 150 * time.Second: 3, 10 * time.Second: 1} {
		t.Run(most.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport, n := answers(status(429, map[string]string{"Retry-After": "60"}, nil))
				r := repoOf(t, newClient(t, remote.Options{Transport: transport, MaxWait: most}), "registry.example/a/b")
				_, _, err := r.Manifest(t.Context(), "v1")
				if !errors.Is(err, remote.ErrUnreachable) || *n != want || !strings.Contains(err.Error(), "asks to wait 1m0s") {
					t.Errorf("%d requests, then %v; want %d", *n, err, want)
				}
			})
		})
	}
}
