package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
)

// An elsewhere is files that are read over a network, and counts what is read.
type elsewhere struct {
	files map[string][]byte

	mu     sync.Mutex
	opened map[string][]string // offsets and lengths
}

func newElsewhere(files map[string][]byte) *elsewhere {
	return &elsewhere{files: files, opened: make(map[string][]string)}
}

func (e *elsewhere) inputs() []artifact.Input {
	var list []artifact.Input
	for name, data := range e.files {
		list = append(list, artifact.Input{
			Path: name, Size: int64(len(data)), Digest: digest.FromBytes(data), Open: e.opener(name),
		})
	}
	return list
}

func (e *elsewhere) opener(name string) func(context.Context, int64, int64) (io.ReadCloser, error) {
	return func(_ context.Context, offset, length int64) (io.ReadCloser, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.opened[name] = append(e.opened[name], fmt.Sprintf("%d+%d", offset, length))
		data := e.files[name][offset:]
		if length >= 0 {
			data = data[:length]
		}
		return io.NopCloser(io.MultiReader(bytes.NewReader(data))), nil
	}
}

// allFiles reads the files of a directory.
func allFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	if err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(p)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

// The artifact of files from elsewhere is that of the same files in a
// directory, ignored ones left out.
func TestPackFilesIsPack(t *testing.T) {
	dir := t.TempDir()
	testmodel.Write(t, dir)
	writeTree(t, dir, map[string]string{
		".modelregignore": "*.tmp\nscratch/\n", "a.tmp": "x", "scratch/b/c.txt": "y", "scratch/a.txt": "y", ".git/config": "z", "docs/.DS_Store": "w",
	})
	for _, layout := range []artifact.Layout{artifact.LayoutAuto, artifact.LayoutRaw} {
		opts := artifact.PackOptions{Layout: layout, Annotations: map[string]string{"a": "b"}}
		want, err := artifact.Pack(t.Context(), dir, newBlobs(), opts)
		if err != nil {
			t.Fatal(err)
		}
		got, err := artifact.PackFiles(t.Context(), newElsewhere(allFiles(t, dir)).inputs(), newBlobs(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want.Manifest), string(got.Manifest)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPackFilesInArchives(t *testing.T) {
	dir := t.TempDir()
	for i := range 600 {
		writeTree(t, dir, map[string]string{fmt.Sprintf("vocab/%03d.txt", i): fmt.Sprint("word ", i)})
	}
	want, err := artifact.Pack(t.Context(), dir, newBlobs(), artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := artifact.PackFiles(t.Context(), newElsewhere(allFiles(t, dir)).inputs(), newBlobs(), artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want.Descriptor.Digest != got.Descriptor.Digest {
		t.Errorf("PackFiles made %s, Pack %s", got.Manifest, want.Manifest)
	}
}

// What the target has is not read, but for its beginning.
func TestPackFilesReadsHeadersOnly(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	e := newElsewhere(map[string][]byte{"model.bin": big, "notes.txt": []byte("small")})
	dst := newBlobs()
	if _, err := artifact.PackFiles(t.Context(), e.inputs(), dst, artifact.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.opened["model.bin"][len(e.opened["model.bin"])-1], "0+-1"); diff != "" {
		t.Errorf("the first time: %v", e.opened)
	}
	clear(e.opened)
	if _, err := artifact.PackFiles(t.Context(), e.inputs(), dst, artifact.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, o := range e.opened["model.bin"] {
		if o == "0+-1" {
			t.Errorf("read again: %v", e.opened)
		}
	}
}

// An eager target takes a blob without looking at its digest.
type eager struct {
	*blobs
	whole bool // a large blob was read to its end
}

func (e *eager) Push(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	n, err := io.Copy(io.Discard, r)
	if n == desc.Size && desc.Size > 1<<20 {
		e.whole = true
	}
	return err
}

func TestPackFilesComparesDigests(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	changed := bytes.Clone(big)
	changed[len(changed)/2] ^= 1
	tests := map[string][]byte{"a flipped bit": changed, "too short": big[:len(big)-1]}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			e := newElsewhere(map[string][]byte{"model.bin": data})
			in := e.inputs()
			in[0].Digest, in[0].Size = digest.FromBytes(big), int64(len(big))
			dst := &eager{blobs: newBlobs()}
			_, err := artifact.PackFiles(t.Context(), in, dst, artifact.PackOptions{})
			if !errors.Is(err, content.ErrMismatchedDigest) {
				t.Errorf("PackFiles = %v", err)
			}
			if dst.whole {
				t.Error("the target got all bytes")
			}
		})
	}
}

func TestPackFilesRefuses(t *testing.T) {
	one := func(path string) []artifact.Input {
		return newElsewhere(map[string][]byte{path: []byte("x")}).inputs()
	}
	noDigest, negative := one("a"), one("a")
	noDigest[0].Digest = ""
	negative[0].Size = -1
	tests := map[string]struct {
		files []artifact.Input
		want  error
	}{
		"no files":        {nil, artifact.ErrEmpty},
		"leaves the root": {one("../a"), artifact.ErrUnsafe},
		"same path twice": {append(one("a"), one("a")...), artifact.ErrUnsafe},
		"no digest":       {noDigest, artifact.ErrUnsafe},
		"negative size":   {negative, artifact.ErrUnsafe},
		"a private key":   {newElsewhere(map[string][]byte{"k.txt": []byte("-----BEGIN RSA PRIVATE KEY-----\nMIIB")}).inputs(), artifact.ErrUnsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dst := newBlobs()
			if _, err := artifact.PackFiles(t.Context(), tt.files, dst, artifact.PackOptions{}); !errors.Is(err, tt.want) {
				t.Errorf("PackFiles = %v, want %v", err, tt.want)
			}
			if len(dst.pushed) > 0 {
				t.Errorf("pushed %v", dst.pushed)
			}
		})
	}
}
