package artifact_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/store"
)

// cutRanged gives parts of blobs, and breaks after 3 MB of a whole one.
type cutRanged struct{ ranged }

func (c cutRanged) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return (&cut{blobs: c.blobs, broken: true, after: 3_000_000}).Fetch(ctx, desc)
}

// A plan counts what an interrupted run left of a blob as the next run does.
func TestPlanCountsWhatAnEarlierRunLeft(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, opts := range map[string]artifact.UnpackOptions{
		"in the stage": {}, "through the store": {Store: s, Link: artifact.LinkHard},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			files := map[string]string{"big.bin": randomText(8_000_000), "small.txt": "small"}
			a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
			out := filepath.Join(t.TempDir(), "m")
			if _, err := artifact.Unpack(t.Context(), a, cutRanged{ranged{b}}, out, opts); !errors.Is(err, errCut) {
				t.Fatalf("Unpack = %v, want %v", err, errCut)
			}
			plan, err := artifact.PlanUnpack(t.Context(), a, ranged{b}, out, opts)
			if err != nil {
				t.Fatal(err)
			}
			u := mustUnpack(t, a, ranged{b}, out, opts)
			if plan.Fetch != u.Fetched || plan.Reuse != u.Reused || u.Reused < 2_000_000 {
				t.Errorf("planned to fetch %d and to reuse %d, fetched %d and reused %d", plan.Fetch, plan.Reuse, u.Fetched, u.Reused)
			}
		})
	}
}
