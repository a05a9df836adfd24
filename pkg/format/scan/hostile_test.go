package scan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// The files of testdata/hostile have the verdict that their directory says.
func TestHostileFiles(t *testing.T) {
	for _, dir := range []string{"safe", "unknown", "unscannable", "dangerous"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*"))
		if err != nil {
			t.Fatalf("no files: %v", err)
		}
		for _, name := range files {
			t.Run(strings.ReplaceAll(name, "testdata/", ""), func(t *testing.T) {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				got := run(t, filepath.Base(name), b)
				if got.Verdict != scan.Verdict(dir) {
					t.Errorf("verdict %s, want %s: %v", got.Verdict, dir, got.Findings)
				}
			})
		}
	}
}
