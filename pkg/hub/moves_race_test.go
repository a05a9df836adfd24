package hub_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
)

// Somebody else makes the release after it was seen that there is none.
func TestReleaseOfTwoMakers(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:one", "one")
	w.push("org/m:two", "two")
	w.says(func(r *record.Record) { r.Immutable = []string{"v*"} })
	var once atomic.Bool
	w.srv.Add(testreg.Rule{Method: http.MethodGet, Path: "/manifests/_modelreg$", Do: func(x testreg.Exchange) {
		if once.CompareAndSwap(false, true) {
			w.again("two", "v1")
		}
		x.Pass(x.W)
	}})
	_, err := hub.New(hub.Options{Remote: w.client}).Tag(t.Context(), w.ref("org/m:one"), "v1")
	wantErr(t, err, hub.ErrConflict)
	if got := w.digestOf("org/m", "v1"); got != w.digestOf("org/m", "two") {
		t.Errorf("the release is at %s", got)
	}
}
