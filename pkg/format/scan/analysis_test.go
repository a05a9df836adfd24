package scan_test

import (
	"crypto/sha256"
	"fmt"
	"go/parser"
	"go/scanner"
	"go/token"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// TestAnalysis fails when what decides about a file has changed and
// [scan.Analysis] has not: results that were kept would then be taken for those
// of today. What decides is the program text of this package and of all of this
// module that it uses, without comments, and the versions of other modules.
//
// That is more than the rules: also a change that finds the same costs a higher
// number, and users one more look at their files. A change that finds something
// else and goes unnoticed would cost more.
func TestAnalysis(t *testing.T) {
	sum := sha256.New()
	for _, dir := range programs(t) {
		write(t, sum, dir)
	}
	now := fmt.Sprintf("%x", sum.Sum(nil))
	raw, err := os.ReadFile(filepath.Join("testdata", "analysis.txt"))
	if err != nil {
		t.Fatal(err)
	}
	number, known, _ := strings.Cut(strings.TrimSpace(string(raw)), " ")
	switch {
	case known == now && number == strconv.Itoa(scan.Analysis):
	case known != now && number == strconv.Itoa(scan.Analysis):
		t.Errorf("the scanner has changed: raise scan.Analysis to %d and write \"%d %s\" to testdata/analysis.txt", scan.Analysis+1, scan.Analysis+1, now)
	default:
		t.Errorf("scan.Analysis is %d: write \"%d %s\" to testdata/analysis.txt", scan.Analysis, scan.Analysis, now)
	}
}

const (
	module = "github.com/modelreg/modelreg/"
	top    = "../../.." // of the module
)

// programs lists what decides: directories of this module, and lines of go.mod.
func programs(t *testing.T) []string {
	t.Helper()
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	dirs, others := []string{"pkg/format/scan"}, []string{}
	for i := 0; i < len(dirs); i++ {
		for _, name := range imports(t, dirs[i]) {
			dir, ours := strings.CutPrefix(name, module)
			switch {
			case ours && dir != "pkg/card" && !slices.Contains(dirs, dir):
				// By what a card declares only licences are compared, which no
				// verdict depends on.
				dirs = append(dirs, dir)
			case !ours:
				for line := range strings.Lines(string(mod)) {
					path, _, _ := strings.Cut(strings.TrimSpace(line), " ")
					if strings.Contains(path, ".") && (name == path || strings.HasPrefix(name, path+"/")) && !slices.Contains(others, line) {
						others = append(others, line)
					}
				}
			}
		}
	}
	if len(dirs) < 5 || len(others) == 0 {
		t.Fatalf("found %q and %q", dirs, others)
	}
	slices.Sort(dirs)
	slices.Sort(others)
	return append(dirs, others...)
}

// sources are the files of a package, without its tests.
func sources(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
}

func imports(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, name := range sources(t, dir) {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, path)
		}
	}
	return names
}

// write adds what stands in the files of a directory of the module, or the line
// itself if it is none.
func write(t *testing.T, sum hash.Hash, dir string) {
	t.Helper()
	fmt.Fprintf(sum, "%q\n", dir)
	for _, name := range sources(t, dir) {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%q\n", filepath.Base(name))
		files := token.NewFileSet()
		var s scanner.Scanner
		s.Init(files.AddFile(name, -1, len(src)), src, nil, 0)
		for {
			_, tok, text := s.Scan()
			if tok == token.EOF {
				break
			}
			if tok != token.SEMICOLON { // those at the ends of lines
				fmt.Fprintf(sum, "%s %q\n", tok, text)
			}
		}
	}
}
