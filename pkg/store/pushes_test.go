package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/store"
)

func TestPushes(t *testing.T) {
	root := t.TempDir()
	s, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	if got := s.Pushes(dir); len(got) > 0 {
		t.Errorf("Pushes of a directory that was never pushed = %q", got)
	}
	for _, r := range []string{"h:5000/a/m:main@sha256:1", "h:5000/b/m@sha256:2", "h:5000/a/m:dev@sha256:3"} {
		if err := s.NotePush(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"h:5000/a/m:dev@sha256:3", "h:5000/b/m@sha256:2"}
	if diff := cmp.Diff(want, s.Pushes(dir)); diff != "" {
		t.Errorf("Pushes: -want +got\n%s", diff)
	}
	if got := s.Pushes(t.TempDir()); len(got) > 0 {
		t.Errorf("Pushes of another directory = %q", got)
	}
	for i := range 40 {
		if err := s.NotePush(dir, fmt.Sprintf("h/m%d:main@sha256:1", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Pushes(dir); len(got) != 16 || got[0] != "h/m39:main@sha256:1" {
		t.Errorf("Pushes = %d, the first %q", len(got), got[0])
	}
	noted, err := filepath.Glob(filepath.Join(root, "stat", "*.pushes"))
	if err != nil || len(noted) != 1 {
		t.Fatalf("noted in %q, %v", noted, err)
	}
	if err := os.WriteFile(noted[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.Pushes(dir); got != nil {
		t.Errorf("Pushes of a broken file = %q", got)
	}
}
