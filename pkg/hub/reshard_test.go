package hub_test

import (
	"path/filepath"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
)

// Shards are made of the bytes of the file: who has it fetches headers, and the
// chunks at which they were cut.
func TestReshardedFetchesLittle(t *testing.T) {
	w, v := newWorldWith(t, testreg.Options{Data: t.TempDir()}), single(testmodel.Transformer(1, 2))
	dir, out := v.write(t), filepath.Join(t.TempDir(), "out")
	w.pushDir(dir, "org/m:whole", hub.PushOptions{})
	w.fetch("org/m:whole", out, hub.PullOptions{NoStore: true})
	pushed := w.pushDir(dir, "org/m:shards", hub.PushOptions{Reshard: 14 << 20})
	res, served := w.fetch("org/m:shards", out, hub.PullOptions{NoStore: true})
	if pushed.Files < 3 || res.Files != pushed.Files {
		t.Errorf("%d files pushed, %d pulled", pushed.Files, res.Files)
	}
	if most := pushed.Size / 20; served > most {
		t.Errorf("%d bytes of %d were sent, want at most %d", served, pushed.Size, most)
	}
}
