package remote_test

import (
	"math/rand/v2"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

// TestUploadCutOften breaks the connection of one upload many times: what the
// registry has kept is not sent again.
func TestUploadCutOften(t *testing.T) {
	const size, cuts = 24 << 20, 20
	_, data := content(19, size)
	ways := map[string]func(r *remote.Repository) error{
		"known": func(r *remote.Repository) error {
			return r.PushFrom(t.Context(), describe("x/y", data), opener(data), nil)
		},
		"stream": func(r *remote.Repository) error {
			_, err := r.PushStream(t.Context(), bytesStream{data}, nil)
			return err
		},
	}
	for way, push := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{Data: t.TempDir()})
			random := rand.New(rand.NewPCG(1, 2))
			s.Add(testreg.Rule{Method: "PUT,PATCH", Path: "/blobs/uploads/", To: cuts, Do: func(x testreg.Exchange) {
				testreg.TakeThenDrop(1 + random.Int64N(size/cuts))(x)
			}})
			if err := push(newRepo(t, s)); err != nil {
				t.Fatal(err)
			}
			if n := bytesIn(s); n > size+cuts<<20 {
				t.Errorf("%d bytes sent for a blob of %d", n, size)
			}
			if ok, err := newRepo(t, s).Exists(t.Context(), describe("x/y", data)); !ok || err != nil {
				t.Errorf("Exists = %v, %v", ok, err)
			}
		})
	}
}
