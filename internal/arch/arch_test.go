package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/arch"
)

const module = "github.com/modelreg/modelreg"

// A pkg is what the files of one directory say, without tests.
type pkg struct {
	imports []string // directories in the module, or import paths
	name    string
	doc     bool
	only    bool // nothing but tests in it
}

// load reads the whole module, for every operating system. It asks no go
// command and no network.
func load(t *testing.T) map[string]*pkg {
	t.Helper()
	root := "../.."
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	pkgs := map[string]*pkg{}
	err := fs.WalkDir(os.DirFS(root), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != ".":
			return skip(root, file)
		case !d.IsDir() && path.Ext(file) == ".go":
			return read(root, file, pkgs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

// skip leaves out what the go command leaves out.
func skip(root, dir string) error {
	base := path.Base(dir)
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(root, dir, "go.mod")); err == nil {
		return fs.SkipDir // a module of its own
	}
	return nil
}

func read(root, file string, pkgs map[string]*pkg) error {
	p := pkgs[path.Dir(file)]
	if p == nil {
		p = &pkg{only: true}
		pkgs[path.Dir(file)] = p
	}
	if strings.HasSuffix(file, "_test.go") {
		return nil
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	p.only, p.name, p.doc = false, f.Name.Name, p.doc || f.Doc.Text() != ""
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		imp = strings.TrimPrefix(imp, module+"/")
		if !slices.Contains(p.imports, imp) {
			p.imports = append(p.imports, imp)
		}
	}
	return nil
}

// TestMap states that every package is on the map and imports only what its
// line says.
func TestMap(t *testing.T) {
	pkgs := load(t)
	if len(pkgs) == 0 {
		t.Fatal("found no packages")
	}
	for _, dir := range slices.Sorted(maps.Keys(pkgs)) {
		for _, wrong := range arch.Check(dir, pkgs[dir].imports) {
			t.Error(wrong)
		}
	}
}

// TestDocComments states that every package says what it is for.
func TestDocComments(t *testing.T) {
	for dir, p := range load(t) {
		if !p.doc && !p.only {
			t.Errorf("%s: package %s has no doc comment", dir, p.name)
		}
	}
}

// TestNames states that a package is called what its directory is called.
func TestNames(t *testing.T) {
	for dir, p := range load(t) {
		if !p.only && p.name != "main" && p.name != path.Base(dir) {
			t.Errorf("%s: package is called %s", dir, p.name)
		}
	}
}

// TestMapIsDownward states that the map itself has no circle, and one line for a
// package.
func TestMapIsDownward(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range slices.Backward(arch.Packages) {
		if seen[p.Path] {
			t.Errorf("%s has two lines", p.Path)
		}
		seen[p.Path] = true
	}
	var visit func(dir string, trail []string)
	visit = func(dir string, trail []string) {
		if slices.Contains(trail, dir) {
			t.Fatalf("circle: %s", strings.Join(append(trail, dir), " → "))
		}
		for _, p := range arch.Packages {
			if len(arch.Check(dir, []string{p.Path})) == 0 && p.Path != dir && !strings.HasSuffix(dir, "/...") {
				visit(p.Path, append(slices.Clone(trail), dir))
			}
		}
	}
	for _, p := range arch.Packages {
		visit(p.Path, nil)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name, dir, imp string
		want           string // part of the one complaint; empty: none
	}{
		{name: "standard library", dir: "pkg/ref", imp: "internal/abi-like.example/x"},
		{name: "light dependency", dir: "pkg/ref", imp: "github.com/opencontainers/go-digest"},
		{name: "down", dir: "pkg/hub", imp: "pkg/ref"},
		{name: "down through a pattern", dir: "cmd/modelreg", imp: "pkg/registry"},
		{name: "a part of its own tree", dir: "pkg/server/internal/api", imp: "pkg/server/internal/account"},
		{name: "a tree's own line", dir: "pkg/server/internal/api", imp: "pkg/hub"},
		{name: "example", dir: "examples/digits", imp: "pkg/hub"},

		{name: "unknown package", dir: "pkg/cache", imp: "fmt", want: "not on the map"},
		{name: "unknown package below a known one", dir: "pkg/ref/internal/x", imp: "fmt", want: "not on the map"},
		{name: "unknown package at the root", dir: ".", imp: "fmt", want: "not on the map"},
		{name: "up", dir: "pkg/ref", imp: "pkg/hub", want: "may only none of ours"},
		{name: "sideways", dir: "pkg/store", imp: "pkg/remote", want: "may only pkg/mediatypes"},
		{name: "hub's exception", dir: "pkg/hub", imp: "pkg/registry", want: "may only pkg/lineage"},
		{name: "test package from code", dir: "pkg/remote", imp: "internal/testreg", want: "may only pkg/ref"},
		{name: "unknown import", dir: "cmd/modelreg", imp: "internal/secret", want: "may only"},
		{name: "inside of another package", dir: "cmd/modelreg", imp: "pkg/format/gguf", want: "may only"},

		{name: "sigstore", dir: "pkg/hub", imp: "github.com/sigstore/cosign/v2/pkg/cosign", want: "only pkg/signing pkg/signing/oms internal/testsigstore may"},
		{name: "sigstore's owner", dir: "pkg/signing", imp: "github.com/sigstore/sigstore-go/pkg/verify"},
		{name: "mpb", dir: "cmd/modelreg", imp: "github.com/vbauerster/mpb/v8", want: "only internal/ui may"},
		{name: "goldmark", dir: "pkg/hub", imp: "github.com/yuin/goldmark/ast", want: "only pkg/card may"},
		{name: "bluemonday", dir: "pkg/server/internal/web", imp: "github.com/microcosm-cc/bluemonday", want: "only pkg/card may"},
		{name: "distribution", dir: "pkg/hub", imp: "github.com/distribution/distribution/v3", want: "only pkg/registry may"},
		{name: "distribution's names", dir: "pkg/remote", imp: "github.com/distribution/reference"},
		{name: "oras", dir: "pkg/format", imp: "oras.land/oras-go/v2", want: "may"},
		{name: "oras' client", dir: "pkg/hub", imp: "oras.land/oras-go/v2/registry/remote", want: "only pkg/remote may"},
		{name: "oras' status codes in a transfer", dir: "pkg/transfer", imp: "oras.land/oras-go/v2/registry/remote/errcode"},
		{name: "oras' words in a command", dir: "cmd/modelreg", imp: "oras.land/oras-go/v2/errdef"},
		{name: "oras itself in a command", dir: "cmd/modelreg", imp: "oras.land/oras-go/v2", want: "may"},
		{name: "SQL", dir: "pkg/hub", imp: "database/sql", want: "only pkg/index may"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := arch.Check(tt.dir, []string{tt.imp})
			if tt.want == "" {
				if diff := cmp.Diff([]string(nil), got); diff != "" {
					t.Errorf("Check:\n%s", diff)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0], tt.want) {
				t.Errorf("Check = %q, want one complaint with %q", got, tt.want)
			}
		})
	}
}

// TestVagueNames needs a tree on the map in which any name may be tried.
func TestVagueNames(t *testing.T) {
	for _, name := range []string{"util", "common", "helper", "helpers", "manager", "types", "constants"} {
		if got := arch.Check("pkg/server/internal/"+name, nil); len(got) != 1 {
			t.Errorf("Check(%s) = %q, want one complaint", name, got)
		}
	}
}
