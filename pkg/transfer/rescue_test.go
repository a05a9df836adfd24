package transfer_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// A turncoat is a network whose second answer breaks after a while, with an
// error that says that there are no parts.
type turncoat struct {
	*network
	after time.Duration
}

func (s turncoat) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	rc, err := s.network.FetchRange(ctx, desc, offset, length)
	s.mu.Lock()
	second := len(s.asked) == 2
	s.mu.Unlock()
	if c, ok := rc.(*networkConn); ok && second {
		return brokenConn{c, s.after}, nil
	}
	return rc, err
}

type brokenConn struct {
	*networkConn
	after time.Duration
}

func (c brokenConn) Read([]byte) (int, error) {
	if err := c.sleep(c.after); err != nil {
		return 0, err
	}
	return 0, errdef.ErrUnsupported
}

// A leader that waits for a connection while a helper finds out that there are
// no parts gives back what it was to fetch.
func TestPullWholeWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(90, 40*mib)
		n := newNetwork(data)
		n.perConnection = 20e6
		limit := transfer.NewLimit(2, 0)
		var outside sync.WaitGroup
		defer outside.Wait()
		outside.Go(func() {
			time.Sleep(time.Second)
			small, data := content(91, 10)
			rc, err := limit.Fetch(t.Context(), newSource(data), small)
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(8 * time.Second)
			rc.Close()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		p := newPartial()
		err := transfer.Pull(ctx, turncoat{n, 5 * time.Second}, []transfer.Job{job(desc, p)}, transfer.PullOptions{Limit: limit})
		if err != nil || !bytes.Equal(p.data, data) {
			t.Errorf("Pull = %v after the ranges %v", err, n.asked)
		}
	})
}
