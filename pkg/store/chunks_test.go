package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/store"
)

func TestChunkIndexes(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.ChunkIndexes()
	if err != nil {
		t.Fatal(err)
	}
	file, raw := digest.FromString("a file"), []byte("its index")
	own := digest.FromBytes(raw)
	if _, ok := c.Lookup(file); ok {
		t.Error("an index of nothing")
	}
	if !c.Put(raw) {
		t.Fatal("not kept")
	}
	if _, ok := c.Lookup(file); ok {
		t.Error("what others made counts as made here")
	}
	if got, ok := c.Get(own); !ok || string(got) != string(raw) {
		t.Errorf("Get = %q, %v", got, ok)
	}
	c.Record(file, raw)
	if got, ok := c.Lookup(file); !ok || string(got) != string(raw) {
		t.Errorf("Lookup = %q, %v", got, ok)
	}
	// What was changed on the disk is not believed, and replaced.
	name := filepath.Join(s.Dir(), "chunks", own.Encoded())
	if err := os.WriteFile(name, []byte("its indeX"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Lookup(file); ok {
		t.Error("a damaged index was believed")
	}
	c.Record(file, raw)
	if _, ok := c.Lookup(file); !ok {
		t.Error("a damaged index was not replaced")
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), "chunks", file.Encoded()+".made"), []byte("../../x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Lookup(file); ok {
		t.Error("a name that is no digest led to an index")
	}
	if _, ok := c.Get("sha256:../../../etc/passwd"); ok {
		t.Error("a digest that is none led to an index")
	}
}

func TestChunkIndexesThatOthersWroteAreRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.MkdirAll(filepath.Join(dir, "chunks"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "chunks"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ChunkIndexes(); err == nil {
		t.Error("took what others can write to")
	}
}

func TestPruneRemovesOldChunkIndexes(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.ChunkIndexes()
	if err != nil {
		t.Fatal(err)
	}
	old, used := []byte("an index that is old"), []byte("an index in use")
	c.Put(old)
	c.Put(used)
	past := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(filepath.Join(s.Dir(), "chunks", digest.FromBytes(old).Encoded()), past, past); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []store.PruneOptions{{}, {All: true, DryRun: true}, {All: true}} {
		if _, err := s.Prune(t.Context(), opts); err != nil {
			t.Fatal(err)
		}
		_, there := os.Lstat(filepath.Join(s.Dir(), "chunks", digest.FromBytes(old).Encoded()))
		if removed := there != nil; removed != (opts.All && !opts.DryRun) {
			t.Errorf("%+v: removed = %v", opts, removed)
		}
	}
	if _, ok := c.Get(digest.FromBytes(used)); !ok {
		t.Error("one in use was removed")
	}
}
