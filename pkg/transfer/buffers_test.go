package transfer_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// What a pull holds in memory grows little with its connections: those that are
// many are slow, and need no large buffers.
func TestPullBuffers(t *testing.T) {
	const connections = 8 // 128 MiB have no more parts
	synctest.Test(t, func(t *testing.T) {
		desc, data := content(60, 128*mib)
		n := newNetwork(data)
		n.perConnection, n.delay = 5e6, 20*time.Millisecond
		got, err := transfer.PullBuffers(t.Context(), n, []transfer.Job{{
			Desc: desc, Name: "weights",
			Open: func() (transfer.Partial, error) {
				f, err := os.Create(filepath.Join(t.TempDir(), "weights"))
				return filePartial{f}, err
			},
		}}, connections)
		if err != nil || n.most != connections {
			t.Fatalf("Pull = %v over %d connections, want %d", err, n.most, connections)
		}
		// One read, two in the queue and one being hashed of the blob, and one
		// of each connection beside it.
		if most := int64(4*mib + (connections-1)*mib/4); got > most {
			t.Errorf("%d bytes of buffers, want at most %d", got, most)
		}
	})
}
