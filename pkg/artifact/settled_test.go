package artifact_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/store"
)

// The files of a large model are known as soon as they are there, also when
// some came from the old target, and a change right after that is seen.
func TestUnpackKnowsWhatItWrote(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" && runtime.GOOS != "freebsd" {
		t.Skip("the system does not tell change times")
	}
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "out")
	big := strings.Repeat("weights of a model, not as random as they might be", 600_000)
	unpack := func(config string) {
		t.Helper()
		b := newBlobs()
		p := mustPack(t, writeTree(t, t.TempDir(), map[string]string{"config.json": config, "model.bin": big, "copy/model.bin": big}), b, artifact.PackOptions{})
		if _, err := artifact.Unpack(t.Context(), mustOpen(t, b, p.Descriptor), b, dir, artifact.UnpackOptions{Store: s}); err != nil {
			t.Fatal(err)
		}
	}
	known := func(name string) bool {
		t.Helper()
		cache, err := s.StatCache(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, ok := cache.Lookup(info)
		return ok
	}
	for _, config := range []string{`{"version":1}`, `{"version":2}`} {
		unpack(config)
		for _, name := range []string{"config.json", "model.bin", "copy/model.bin"} {
			if !known(name) {
				t.Errorf("%s is not known after it was unpacked with %s", name, config)
			}
		}
	}
	file := filepath.Join(dir, "model.bin")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("W"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if known("model.bin") {
		t.Error("a file that was changed is known as what it was")
	}
}
