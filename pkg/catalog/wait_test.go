package catalog_test

import (
	"errors"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/remote"
)

// An API that asks to come back later is obeyed, and left alone if that is far off.
func TestWaits(t *testing.T) {
	soon := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	tests := map[string]struct {
		status   int
		header   func() map[string]string
		min, max time.Duration
		fails    error
		requests int
	}{
		"429":               {status: 429, header: func() map[string]string { return map[string]string{"Retry-After": "90"} }, min: 90 * time.Second, max: 101 * time.Second, requests: 2},
		"403, second limit": {status: 403, header: func() map[string]string { return map[string]string{"Retry-After": "60"} }, min: time.Minute, max: 71 * time.Second, requests: 2},
		"403, limit is used": {status: 403, header: func() map[string]string {
			return map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": soon(2 * time.Minute)}
		}, min: 119 * time.Second, max: 131 * time.Second, requests: 2},
		"429, X-Retry-After": {status: 429, header: func() map[string]string { return map[string]string{"X-Retry-After": soon(time.Minute)} }, min: 59 * time.Second, max: 71 * time.Second, requests: 2},
		"503":                {status: 503, max: 11 * time.Second, requests: 2},
		"in an hour": {status: 403, header: func() map[string]string {
			return map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": soon(time.Hour)}
		}, max: time.Second, fails: remote.ErrUnreachable, requests: 1},
		"403 and no more": {status: 403, max: time.Second, fails: remote.ErrForbidden, requests: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := services()
				first := true
				n.hosts["quay.io"] = func(w http.ResponseWriter, r *http.Request) {
					if !first {
						answer(w, http.StatusOK, `{"repositories":[{"namespace":"acme","name":"open"}]}`)
						return
					}
					first = false
					if tt.header != nil {
						for k, v := range tt.header() {
							w.Header().Set(k, v)
						}
					}
					answer(w, tt.status, `{"message":"slowly"}`)
				}
				start := time.Now()
				names, _, err := list(t, n.client(t, nil), "quay.io/acme", catalog.Options{})
				took := time.Since(start)
				if !errors.Is(err, tt.fails) || (err == nil) != (len(names) == 1) {
					t.Errorf("names %q, error %v; want %v", names, err, tt.fails)
				}
				if took < tt.min || took > tt.max || len(n.requests()) != tt.requests {
					t.Errorf("took %v, want %v to %v", took, tt.min, tt.max)
				}
			})
		})
	}
}

// A service that never works is asked six times.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := services()
		n.hosts["quay.io"] = func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusBadGateway, "") }
		_, _, err := list(t, n.client(t, nil), "quay.io/acme", catalog.Options{})
		if asked := n.requests(); !errors.Is(err, remote.ErrUnreachable) || len(asked) != 6 {
			t.Errorf("%d requests, error %v", len(asked), err)
		}
	})
}
