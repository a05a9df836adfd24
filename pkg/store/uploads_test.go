package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/pkg/store"
)

func openUpload(t *testing.T, s *store.Store, repository, key string) *store.UploadNote {
	t.Helper()
	n, err := s.Upload(repository, key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// note opens a note, keeps a location and closes it again.
func note(t *testing.T, s *store.Store, repository, key, location string) {
	t.Helper()
	n := openUpload(t, s, repository, key)
	if err := errors.Join(n.Keep(location), n.Close()); err != nil {
		t.Fatal(err)
	}
}

func located(t *testing.T, s *store.Store, repository, key string) string {
	t.Helper()
	n := openUpload(t, s, repository, key)
	at := n.Location()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return at
}

func uploadFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "uploads", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestUploadNote(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	const at = "https://reg.example/v2/a/b/blobs/uploads/1?_state=secret"
	if got := located(t, s, "reg.example/a/b", "k"); got != "" {
		t.Errorf("location of a new note = %q", got)
	}
	if left := uploadFiles(t, dir); left != nil {
		t.Errorf("empty notes are left: %v", left)
	}
	note(t, s, "reg.example/a/b", "k", at)
	for _, other := range [][2]string{{"reg.example/a/c", "k"}, {"other.example/a/b", "k"}, {"reg.example/a/b", "l"}} {
		if got := located(t, s, other[0], other[1]); got != "" {
			t.Errorf("location for %v = %q, which is another's", other, got)
		}
	}
	if got := located(t, openStore(t, dir), "reg.example/a/b", "k"); got != at {
		t.Errorf("location = %q, want %q", got, at)
	}
	files := uploadFiles(t, dir)
	if len(files) != 1 {
		t.Fatalf("files = %v, want one", files)
	}
	if fi, err := os.Stat(files[0]); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("mode of the note = %v, %v; want 0600", fi.Mode(), err)
	}
	note(t, s, "reg.example/a/b", "k", "")
	if left := uploadFiles(t, dir); left != nil {
		t.Errorf("notes of uploads that are over are left: %v", left)
	}
}

func TestUploadNoteIsOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	n := openUpload(t, openStore(t, dir), "h/r", "k")
	if err := n.Keep("https://h/1"); err != nil {
		t.Fatal(err)
	}
	if other, err := openStore(t, dir).Upload("h/r", "k"); !errors.Is(err, store.ErrLocked) {
		t.Errorf("second Upload = %v, %v; want ErrLocked", other, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if got := located(t, openStore(t, dir), "h/r", "k"); got != "https://h/1" {
		t.Errorf("location = %q after the first has closed", got)
	}
}

func TestUploadNoteRefuses(t *testing.T) {
	tests := map[string]func(t *testing.T, file string){
		"empty":     func(t *testing.T, f string) { write(t, f, "") },
		"cut":       func(t *testing.T, f string) { write(t, f, `{"version":1,"repos`) },
		"not JSON":  func(t *testing.T, f string) { write(t, f, strings.Repeat("x", 16<<10)) },
		"old":       func(t *testing.T, f string) { edit(t, f, `"time":1`, `"time":0`) },
		"of other":  func(t *testing.T, f string) { edit(t, f, `"key":"k"`, `"key":"l"`) },
		"newer":     func(t *testing.T, f string) { edit(t, f, `"version":1`, `"version":2`) },
		"in future": func(t *testing.T, f string) { edit(t, f, `"time":1`, `"time":9`) },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := openStore(t, dir)
			note(t, s, "h/r", "k", "https://h/1")
			damage(t, uploadFiles(t, dir)[0])
			if got := located(t, s, "h/r", "k"); got != "" {
				t.Errorf("location = %q, want none", got)
			}
		})
	}
}

func TestUploadNotePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	note(t, s, "h/r", "k", "https://h/1")
	file := uploadFiles(t, dir)[0]
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Upload("h/r", "k"); err == nil {
		t.Errorf("Upload believes %q, which others can write", n.Location())
	}
}

func TestUploadsAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	note(t, s, "h/r", "old", "https://h/old")
	then := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(uploadFiles(t, dir)[0], then, then); err != nil {
		t.Fatal(err)
	}
	note(t, s, "h/r", "new", "https://h/new")
	if n := len(uploadFiles(t, dir)); n != 1 {
		t.Errorf("%d notes, want the new one only", n)
	}
	n := openUpload(t, s, "h/r", "long")
	if err := n.Keep(strings.Repeat("x", 20<<10)); err == nil {
		t.Error("an address of 20 KiB was kept")
	}
	n.Close()
}

func TestUploadHabit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	if got := s.UploadHabit("h"); got != "" {
		t.Errorf("habit of an unknown host = %q", got)
	}
	for i := range 300 {
		if err := s.SetUploadHabit("h"+strings.Repeat("i", i%200)+string(rune('a'+i/200)), "whole 0"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetUploadHabit("h", "chunked 1048576"); err != nil {
		t.Fatal(err)
	}
	if got := openStore(t, dir).UploadHabit("h"); got != "chunked 1048576" {
		t.Errorf("habit = %q", got)
	}
	if err := s.SetUploadHabit("h", strings.Repeat("x", 1000)); err == nil {
		t.Error("a habit of 1000 bytes was kept")
	}
	file := filepath.Join(dir, "uploads", "habits.json")
	raw, err := os.ReadFile(file)
	if err != nil || strings.Count(string(raw), `"text"`) > 256 {
		t.Errorf("%d habits, %v; want at most 256", strings.Count(string(raw), `"text"`), err)
	}
	write(t, file, "junk")
	if got := s.UploadHabit("h"); got != "" {
		t.Errorf("habit from junk = %q", got)
	}
}

func TestFileKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	key := store.FileKey(before)
	if key == "" {
		if runtime.GOOS == "windows" {
			t.Skip("nothing tells a file from another there")
		}
		t.Fatal("this system does not tell files apart")
	}
	write(t, file, "longer")
	after, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if store.FileKey(after) == key {
		t.Error("a changed file has the key of the old one")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit changes a note and keeps its length.
func edit(t *testing.T, file, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(raw), from) {
		t.Fatalf("note %q, %v: no %s in it", raw, err, from)
	}
	write(t, file, strings.Replace(string(raw), from, to, 1))
}
