package transfer_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// Two pulls and a fetch with one limit are together within it.
func TestLimitIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, first := content(31, 4<<20)
		two, second := content(32, 4<<20)
		three, third := content(33, 2<<20)
		const bandwidth = 1 << 20
		src := newNetwork(first, second, third)
		limit := transfer.NewLimit(2, bandwidth)
		start := time.Now()
		var g errgroup.Group
		for _, j := range []transfer.Job{job(one, newPartial()), job(two, newPartial())} {
			g.Go(func() error {
				return transfer.Pull(t.Context(), src, []transfer.Job{j}, transfer.PullOptions{Limit: limit, Connections: 9})
			})
		}
		g.Go(func() error {
			rc, err := limit.Fetch(t.Context(), src, three)
			if err != nil {
				return err
			}
			defer rc.Close()
			n, err := io.Copy(io.Discard, rc)
			if n != three.Size {
				t.Errorf("%d bytes, want %d", n, three.Size)
			}
			return err
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start).Seconds(); took < 9 || took > 11 {
			t.Errorf("10 MiB at 1 MiB a second took %.2f s", took)
		}
		if src.most > 2 {
			t.Errorf("%d requests at once, want 2 at most", src.most)
		}
	})
}
