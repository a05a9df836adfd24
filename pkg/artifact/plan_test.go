package artifact_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/artifact"
)

// A plan fails where a pull would before it fetched.
func TestPlanFailsAsUnpackDoes(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "right"}), b, artifact.PackOptions{}).Descriptor)
	s := openStore(t)
	for name, opts := range map[string]artifact.UnpackOptions{
		"copy": {Store: s, Link: artifact.LinkCopy}, "hard link": {Store: s, Link: artifact.LinkHard},
		"hard link, no store": {Link: artifact.LinkHard}, "reflink": {Store: s, Link: artifact.LinkReflink},
		"reflink, no store": {Link: artifact.LinkReflink},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			for _, dir := range []string{"out", "deep/down/out"} {
				_, planned := artifact.PlanUnpack(t.Context(), a, b, filepath.Join(parent, dir), opts)
				if left := leftovers(t, parent); left != nil {
					t.Errorf("a plan left %v", left)
				}
				_, err := artifact.Unpack(t.Context(), a, b, filepath.Join(t.TempDir(), dir), opts)
				if errors.Is(planned, artifact.ErrTarget) != errors.Is(err, artifact.ErrTarget) {
					t.Errorf("%s: plan %v, unpack %v", dir, planned, err)
				}
			}
		})
	}
}

// So it does for a cache with another file in the way, and without a cache.
func TestPlanUnpackHFFindsForeign(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "right"}), b, artifact.PackOptions{}).Descriptor)
	cache := t.TempDir()
	writeTree(t, cache, map[string]string{"models--m/snapshots/" + a.Descriptor.Digest.Encoded()[:40] + "/a.bin": "wrong"})
	before := readCache(t, cache)
	hf := artifact.HFOptions{Cache: cache, RepoID: "m", Ref: "v1"}
	if _, err := artifact.PlanUnpackHF(t.Context(), a, b, hf, artifact.UnpackOptions{}); !errors.Is(err, artifact.ErrNotOurs) {
		t.Errorf("error %v, want ErrNotOurs", err)
	}
	if _, err := artifact.PlanUnpackHF(t.Context(), a, b, hf, artifact.UnpackOptions{Force: true}); err != nil {
		t.Errorf("by force: %v", err)
	}
	if diff := cmp.Diff(before, readCache(t, cache)); diff != "" {
		t.Errorf("cache: %s", diff)
	}
}
