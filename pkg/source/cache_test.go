package source_test

import (
	"crypto/sha1" //nolint:gosec // what git names its objects by
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/source"
)

const cachedCommit = "0123456789abcdef0123456789abcdef01234567"

// writeCache lays files down as Hugging Face's clients do, and returns the
// model's directory.
func writeCache(t *testing.T, cache, id string, files map[string][]byte) string {
	t.Helper()
	dir := filepath.Join(cache, "models--"+strings.ReplaceAll(id, "/", "--"))
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("refs/main", []byte(cachedCommit))
	for name, b := range files {
		blob := fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(b), b))) //nolint:gosec // as git does
		if len(b) > 1024 {
			blob = digest.FromBytes(b).Encoded()
		}
		write("blobs/"+blob, b)
		link := filepath.Join(dir, "snapshots", cachedCommit, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		to := strings.Repeat("../", strings.Count(name, "/")+2) + "blobs/" + blob
		if err := os.Symlink(to, link); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip("links need a privilege there")
			}
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenCached(t *testing.T) {
	cache := t.TempDir()
	dir := writeCache(t, cache, "Org/Tiny-1.0", tiny())
	offline := source.Options{Offline: true, Cache: cache}
	for name, opts := range map[string]source.Options{
		"hf://Org/Tiny-1.0":                 offline,
		"hf://Org/Tiny-1.0@main":            offline,
		"hf://Org/Tiny-1.0@" + cachedCommit: offline,
		dir:                                 {},
		filepath.Join(dir, "snapshots/"+cachedCommit): {},
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			m := mustOpen(t, name, opts)
			check(t, m, tiny())
			if m.Name != "hf://Org/Tiny-1.0@"+cachedCommit || m.Commit != cachedCommit || m.Page != "https://huggingface.co/Org/Tiny-1.0" {
				t.Errorf("opened %+v", m)
			}
			for _, f := range m.Files {
				if claimed := len(tiny()[f.Path]) > 1024; f.Claimed != claimed {
					t.Errorf("%s: claimed %v", f.Path, f.Claimed)
				}
			}
		})
	}
	if !source.IsCached(dir) || source.IsCached(cache) {
		t.Error("IsCached knows no caches")
	}
}

// What modelreg has pulled into a cache is not said to come from the Hugging Face
// Hub, of which its revision is no commit.
func TestOpenCachedFromRegistry(t *testing.T) {
	dgst := "sha256:" + cachedCommit + strings.Repeat("0", 24)
	for text, want := range map[string]source.Model{
		"localhost:5000/org/m:v1@" + dgst + "\n":   {Name: "oci://localhost:5000/org/m@" + dgst, Hub: "oci", ID: "localhost:5000/org/m", Commit: dgst},
		"host/m@" + dgst:                           {Name: "oci://host/m@" + dgst, Hub: "oci", ID: "host/m", Commit: dgst},
		"host/m@sha256:" + strings.Repeat("0", 64): {Name: "org/tiny@" + cachedCommit, ID: "org/tiny", Commit: cachedCommit},
		"\n": {Name: "org/tiny@" + cachedCommit, ID: "org/tiny", Commit: cachedCommit},
	} {
		dir := writeCache(t, t.TempDir(), "org/tiny", tiny())
		if err := os.Mkdir(filepath.Join(dir, ".modelreg"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".modelreg", cachedCommit), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := mustOpen(t, dir, source.Options{})
		check(t, m, tiny())
		if m.Name != want.Name || m.Hub != want.Hub || m.ID != want.ID || m.Commit != want.Commit || m.Page != "" {
			t.Errorf("%q: opened %+v", text, m)
		}
	}
}

func TestOpenCachedRefuses(t *testing.T) {
	cache := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	leads := writeCache(t, cache, "org/leads-out", tiny())
	if err := os.Symlink(outside, filepath.Join(leads, "snapshots", cachedCommit, "x.txt")); err != nil {
		t.Fatal(err)
	}
	changed := writeCache(t, cache, "org/changed", map[string][]byte{"a.txt": []byte("a")})
	if err := os.WriteFile(filepath.Join(changed, "snapshots", cachedCommit, "a.txt"), []byte("b"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		name string
		want error
	}{
		"a link out of the cache": {"hf://org/leads-out", nil},
		"other bytes":             {"hf://org/changed", content.ErrMismatchedDigest},
		"no such model":           {"hf://org/none", errdef.ErrNotFound},
		"no such revision":        {"hf://org/changed@v9", errdef.ErrNotFound},
		"no such commit":          {"hf://org/changed@" + strings.Repeat("1", 40), errdef.ErrNotFound},
		"ModelScope":              {"ms://org/changed", source.ErrName},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := source.Open(t.Context(), tt.name, source.Options{Offline: true, Cache: cache})
			if err == nil {
				m.Close()
			}
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Open = %v, want %v", err, tt.want)
			}
		})
	}
}
