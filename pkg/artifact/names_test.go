package artifact_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// twoWays makes an artifact of files: one with a layer each, and one with them
// in an archive.
func twoWays(b *blobs, paths ...string) map[string]ocispec.Descriptor {
	weight := mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw)
	var layers []layerSpec
	var members []member
	for _, p := range paths {
		layers = append(layers, layerSpec{weight, []byte(p), named(p)})
		members = append(members, file(p, p))
	}
	packed := layerSpec{mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Tar), tarOf(members...), named("all")}
	return map[string]ocispec.Descriptor{"layers": modelPack(b, layers...), "archive": modelPack(b, packed)}
}

// Dot files that published models carry come through, others only when they are
// asked for, and those that belong to git or to Unpack never.
func TestDotfiles(t *testing.T) {
	const (
		always = iota
		asked
		never
	)
	tests := map[string]int{
		".gitattributes": always, ".gitignore": always, "sub/.gitkeep": always, ".eval_results/a.yaml": always,
		".mdl": always, ".msc": always, ".mv": always, ".DS_Store": always, "._model.bin": always, ".env.example": always,
		".ssh/authorized_keys": asked, "a/.SSH/config": asked, ".bashrc": asked, ".env": asked, ".env.local": asked,
		".netrc": asked, ".docker/config.json": asked, ".vscode/tasks.json": asked, ".unheard-of": asked, "a/.b/c": asked,
		".cache/huggingface/x.metadata": asked, "...": never,
		".git/config": never, "a/.git/hooks/x": never, ".modelreg/pull.json": never, ".modelregignore": never,
	}
	for name, when := range tests {
		for how, desc := range twoWays(newBlobs(), "model.bin", name) {
			for _, allow := range []bool{false, true} {
				b := newBlobs()
				twoWays(b, "model.bin", name)
				a, err := artifact.Open(t.Context(), b, desc)
				if err == nil {
					_, err = artifact.Unpack(t.Context(), a, b, filepath.Join(t.TempDir(), "out"), artifact.UnpackOptions{AllowDotfiles: allow})
				}
				ok := when == always || when == asked && allow
				if ok && err != nil || !ok && !errors.Is(err, artifact.ErrUnsafe) {
					t.Errorf("%s in %s, allowed: %v: error %v", name, how, allow, err)
				}
				if errors.Is(err, artifact.ErrDotfile) != (when == asked && !allow) {
					t.Errorf("%s in %s, allowed: %v: error %v is of the wrong kind", name, how, allow, err)
				}
			}
		}
	}
}

// What is packed and would be refused later is told when it is packed.
func TestPackTellsOfDotfiles(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{
		"a.bin": "x", ".gitattributes": "", ".vscode/a.json": "{}", ".vscode/b.json": "{}", "sub/.profile": "",
	})
	p := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	want := "packed .vscode/, sub/.profile: dot files, which a pull refuses unless it is told to take them"
	if diff := cmp.Diff([]string{want}, p.Notes); diff != "" {
		t.Error(diff)
	}
}

// Names that differ only in case are let through where they are two names.
func TestCollisions(t *testing.T) {
	b := newBlobs()
	for how, desc := range twoWays(b, "README", "readme", "A/x", "a/x", "straße", "strasse") {
		t.Run(how, func(t *testing.T) {
			if _, err := unpackWitnessed(t, b, desc); !errors.Is(err, artifact.ErrCollision) || !errors.Is(err, artifact.ErrUnsafe) {
				t.Errorf("error %v, want ErrCollision", err)
			}
			a, err := artifact.OpenWith(t.Context(), b, desc, artifact.OpenOptions{AllowCollisions: true})
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "out")
			_, err = artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{})
			if !caseSensitive(t) {
				if !errors.Is(err, artifact.ErrCollision) || !strings.Contains(err.Error(), "file system") {
					t.Errorf("error %v, want ErrCollision that names the file system", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"README": "README", "readme": "readme", "A/x": "A/x", "a/x": "a/x", "straße": "straße", "strasse": "strasse"}
			if diff := cmp.Diff(want, readTree(t, out)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			checkModes(t, out)
			u := mustUnpack(t, a, b, out, artifact.UnpackOptions{})
			if u.Files != len(want) || how == "layers" && u.Fetched != 0 {
				t.Errorf("second time: %+v", u)
			}
		})
	}
}

// A set that no file system can hold is refused whatever is allowed.
func TestCollisionsNeverAllowed(t *testing.T) {
	for _, paths := range [][]string{{"x", "x"}, {"x", "x/y"}, {"\u00e9", "e\u0301"}} {
		b := newBlobs()
		for how, desc := range twoWays(b, paths...) {
			a, err := artifact.OpenWith(t.Context(), b, desc, artifact.OpenOptions{AllowCollisions: true})
			if err == nil {
				_, err = artifact.Unpack(t.Context(), a, b, filepath.Join(t.TempDir(), "out"), artifact.UnpackOptions{})
			}
			if !errors.Is(err, artifact.ErrUnsafe) || errors.Is(err, artifact.ErrCollision) {
				t.Errorf("%q in %s: error %v, want ErrUnsafe", paths, how, err)
			}
		}
	}
}

func caseSensitive(t *testing.T) bool {
	t.Helper()
	if runtime.GOOS == "windows" {
		return false
	}
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"a": "", "A": ""})
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 2
}
