package artifact_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
)

// What a process that unpacks until it is killed is told by its environment:
// the target, the layout that it reads from, and the manifest.
const (
	childTarget   = "MODELREG_TEST_UNPACK_TARGET"
	childLayout   = "MODELREG_TEST_UNPACK_LAYOUT"
	childManifest = "MODELREG_TEST_UNPACK_MANIFEST"
)

// unpackChild unpacks once.
func unpackChild(target string) {
	var size int64
	var dgst string
	_, err := fmt.Sscan(os.Getenv(childManifest), &dgst, &size)
	if err == nil {
		src := layout(os.Getenv(childLayout))
		var a *artifact.Artifact
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(dgst), Size: size}
		if a, err = artifact.Open(context.Background(), src, desc); err == nil {
			_, err = artifact.Unpack(context.Background(), a, src, target, artifact.UnpackOptions{})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// saveLayout writes content where [layout] reads it.
func saveLayout(t *testing.T, b *blobs) string {
	t.Helper()
	dir := t.TempDir()
	files := make(map[string]string)
	for d, data := range b.content {
		files["blobs/sha256/"+d.Encoded()] = string(data)
	}
	return writeTree(t, dir, files)
}

// A process that is killed at any moment leaves the old version or the new one.
func TestUnpackKilled(t *testing.T) {
	t.Run("files", func(t *testing.T) { unpackKilled(t, 60, 20) })
	t.Run("archive", func(t *testing.T) { unpackKilled(t, 510, 4) })
}

func unpackKilled(t *testing.T, files, kills int) {
	t.Helper()
	old := map[string]string{"gone.txt": "old", "README.md": "old", "same.bin": randomText(300_000)}
	next := map[string]string{"README.md": "new", "same.bin": old["same.bin"], "big.bin": randomText(3_000_000)}
	for i := range files {
		next[fmt.Sprintf("dir%d/file%02d.txt", i%7, i)] = strings.Repeat("x", i*100)
	}
	b := newBlobs()
	v1 := mustPack(t, writeTree(t, t.TempDir(), old), b, artifact.PackOptions{})
	v2 := mustPack(t, writeTree(t, t.TempDir(), next), b, artifact.PackOptions{})
	src := saveLayout(t, b)
	parent := t.TempDir()
	out := filepath.Join(parent, "m")
	mustUnpack(t, mustOpen(t, b, v1.Descriptor), b, out, artifact.UnpackOptions{})
	writeTree(t, out, map[string]string{"mine.txt": "mine"})
	old["mine.txt"], next["mine.txt"] = "mine", "mine"

	start := time.Now()
	run := func(v *artifact.Packed, kill time.Duration) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childTarget+"="+out, childLayout+"="+src,
			fmt.Sprintf("%s=%s %d", childManifest, v.Descriptor.Digest, v.Descriptor.Size))
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if kill > 0 {
			time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
		}
		if err := cmd.Wait(); err != nil && kill == 0 {
			t.Fatalf("%v: %s", err, stderr.String())
		}
	}
	run(v2, 0) // how long it takes, and that it works
	whole := time.Since(start)
	run(v1, 0)
	for i := range kills {
		run(v2, whole*time.Duration(i+1)/time.Duration(kills))
		got := readTree(t, out)
		want := next
		if _, ok := got["gone.txt"]; ok {
			want = old
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d: neither the old version nor the new one (-want +got):\n%.2000s", i, diff)
		}
		if _, ok := got["gone.txt"]; !ok {
			run(v1, 0)
			if diff := cmp.Diff(old, readTree(t, out)); diff != "" {
				t.Fatalf("round %d: back at the old version (-want +got):\n%.2000s", i, diff)
			}
		}
	}
	run(v2, 0)
	if diff := cmp.Diff(next, readTree(t, out)); diff != "" {
		t.Errorf("in the end (-want +got):\n%.2000s", diff)
	}
	if left := leftovers(t, parent, "m"); left != nil {
		t.Errorf("left: %v", left)
	}
}
