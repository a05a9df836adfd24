package artifact_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// inStore tells whether a file is one with the blob of its bytes in the store.
func inStore(t *testing.T, s *store.Store, file, text string) bool {
	t.Helper()
	mine, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := os.Stat(filepath.Join(s.Dir(), "blobs", "sha256", hexOf(text)))
	return err == nil && os.SameFile(mine, blob)
}

// linkable makes a model of two files with the same bytes, another, an empty one,
// and one in an archive.
func linkable(t *testing.T, b *blobs) (*artifact.Artifact, map[string]string) {
	weight := mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw)
	desc := modelPack(
		b, layerSpec{weight, []byte("one"), named("a.bin")}, layerSpec{weight, []byte("one"), named("d/b.bin")},
		layerSpec{weight, []byte("two"), named("c.bin")}, layerSpec{weight, nil, named("empty")},
		layerSpec{mediatypes.LayerType(mediatypes.KindDoc, mediatypes.Tar), tarOf(file("doc.md", "doc")), named("docs")},
	)
	files := map[string]string{"a.bin": "one", "d/b.bin": "one", "c.bin": "two", "empty": "", "doc.md": "doc"}
	return mustOpen(t, b, desc), files
}

func TestUnpackHardLinks(t *testing.T) {
	b := newBlobs()
	a, files := linkable(t, b)
	s := openStore(t)
	out := filepath.Join(t.TempDir(), "out")
	hard := artifact.UnpackOptions{Store: s, Link: artifact.LinkHard}
	check := func() {
		t.Helper()
		if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		for name, text := range files {
			linked := strings.HasSuffix(name, ".bin")
			info, err := os.Stat(filepath.Join(out, name))
			if err != nil || linked && info.Mode() != 0o444 || !linked && info.Mode() != 0o644 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
			if inStore(t, s, filepath.Join(out, name), text) != linked {
				t.Errorf("%s is one with the store's: %v", name, !linked)
			}
		}
	}
	mustUnpack(t, a, b, out, hard)
	check()
	before := b.fetches()
	mustUnpack(t, a, b, out, hard)
	check()
	// From files that are no links, links are made without fetching.
	mustUnpack(t, a, b, out, artifact.UnpackOptions{Store: s, Link: artifact.LinkCopy})
	if inStore(t, s, filepath.Join(out, "a.bin"), "one") {
		t.Error("a copy is one with the store's")
	}
	checkModes(t, out)
	mustUnpack(t, a, b, out, hard)
	check()
	if n := b.fetches(); n != before {
		t.Errorf("%d fetches after the first time", n-before)
	}
}

// A directory that was there becomes links to a store that has nothing, without
// fetching what is there.
func TestUnpackHardLinksOfLocals(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "one"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	s := openStore(t)
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{Store: s, Link: artifact.LinkHard})
	if u.Fetched != 0 || !inStore(t, s, filepath.Join(out, "a.bin"), "one") {
		t.Errorf("%+v", u)
	}
}

// A blob of the store that was written to through a link is not linked again.
func TestUnpackHardLinkDamaged(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "one"}), b, artifact.PackOptions{}).Descriptor)
	s := openStore(t)
	hard := artifact.UnpackOptions{Store: s, Link: artifact.LinkHard}
	first := filepath.Join(t.TempDir(), "first")
	mustUnpack(t, a, b, first, hard)
	name := filepath.Join(first, "a.bin")
	if err := errors.Join(os.Chmod(name, 0o644), os.WriteFile(name, []byte("0ne"), 0o644)); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(t.TempDir(), "second")
	mustUnpack(t, a, b, second, hard)
	if got := readTree(t, second); got["a.bin"] != "one" {
		t.Errorf("files: %v", got)
	}
	if got := readTree(t, first); got["a.bin"] != "0ne" {
		t.Errorf("the first: %v", got)
	}
	hard.Force = true
	mustUnpack(t, a, b, first, hard)
	if got := readTree(t, first); got["a.bin"] != "one" {
		t.Errorf("the first, pulled again: %v", got)
	}
}

// What cannot be linked as it should be is told before anything is fetched.
func TestUnpackLinkRefused(t *testing.T) {
	b := newBlobs()
	a, _ := linkable(t, b)
	parent := t.TempDir()
	before := b.fetches()
	for _, link := range []artifact.Link{artifact.LinkHard, artifact.LinkReflink} {
		_, err := artifact.Unpack(t.Context(), a, b, filepath.Join(parent, "out"), artifact.UnpackOptions{Link: link})
		if !errors.Is(err, artifact.ErrTarget) {
			t.Errorf("%s without a store: error %v, want ErrTarget", link, err)
		}
	}
	_, err := artifact.Unpack(t.Context(), a, b, filepath.Join(parent, "reflinked"), artifact.UnpackOptions{Store: openStore(t), Link: artifact.LinkReflink})
	if err != nil && !errors.Is(err, artifact.ErrTarget) {
		t.Errorf("reflink: error %v, want none or ErrTarget", err)
	}
	if err != nil && b.fetches() != before {
		t.Errorf("%d fetches", b.fetches()-before)
	}
	if left := leftovers(t, parent, "reflinked"); left != nil {
		t.Errorf("left: %v", left)
	}
}

// When the last step fails, what was fetched is kept for the next run.
func TestUnpackKeepsWhatCannotBeSwapped(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": randomText(5000)}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	out := filepath.Join(parent, "out")
	inTheWay := artifact.UnpackOptions{Force: true, Observe: func(e transfer.Event) {
		if e.Action == transfer.Done {
			_ = os.WriteFile(out, nil, 0o644)
		}
	}}
	_, err := artifact.Unpack(t.Context(), a, b, out, inTheWay)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "is kept in "+filepath.Join(parent, ".modelreg-out.partial")) {
		t.Errorf("error %v, want fs.ErrExist and a word on what is kept", err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	if u.Fetched != 0 || u.Reused != 5000 {
		t.Errorf("the next run: %+v", u)
	}
	if left := leftovers(t, parent, "out"); left != nil {
		t.Errorf("left: %v", left)
	}
}
