package artifact_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/store"
)

// Those that unpack one artifact through one store at the same time, as several
// processes do, fetch it once between them.
func TestUnpackTogether(t *testing.T) {
	b := newBlobs()
	a, files := linkable(t, b)
	dir := filepath.Join(t.TempDir(), "store")
	before := b.fetches()
	var all sync.WaitGroup
	for i := range 8 {
		s, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		out := filepath.Join(t.TempDir(), fmt.Sprint(i))
		all.Go(func() {
			if _, err := artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{Store: s, Link: artifact.LinkHard}); err != nil {
				t.Errorf("Unpack: %v", err)
				return
			}
			if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
	all.Wait()
	blobs := make(map[digest.Digest]bool)
	for _, f := range a.Files {
		if f.Layer.Size > 0 {
			blobs[f.Layer.Digest] = true
		}
	}
	if n := b.fetches() - before; n != len(blobs) {
		t.Errorf("%d fetches of %d blobs", n, len(blobs))
	}
}
