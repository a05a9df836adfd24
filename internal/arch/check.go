package arch

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Check compares the imports of a package, by its directory in the module,
// with the map, and returns what is wrong with them. Imports are directories
// in the module, or import paths from outside.
func Check(dir string, imports []string) []string {
	line, ok := find(dir)
	if !ok {
		return []string{dir + ": not on the map of internal/arch; a new package begins as a line there"}
	}
	var wrong []string
	if slices.Contains(VagueNames, path.Base(dir)) {
		wrong = append(wrong, dir+": the name says nothing of what is in the package")
	}
	for _, imp := range imports {
		if strings.Contains(imp, ".") || !ours(imp) {
			if may, owned := owners(imp); owned && !matches(may, dir) {
				wrong = append(wrong, fmt.Sprintf("%s: imports %s, which only %s may", dir, imp, may))
			}
			continue
		}
		if imp != dir && !matches(line.May, imp) && !within(line.Path, imp) {
			wrong = append(wrong, fmt.Sprintf("%s: imports %s, and may only %s", dir, imp, cmp.Or(line.May, "none of ours")))
		}
	}
	return wrong
}

// find returns the line of a package: its own, or that of a tree it is in.
func find(dir string) (Package, bool) {
	for _, p := range Packages {
		if p.Path == dir {
			return p, true
		}
	}
	for _, p := range Packages {
		if within(p.Path, dir) {
			return p, true
		}
	}
	return Package{}, false
}

// within tells whether dir lies in the tree that p stands for.
func within(p, dir string) bool {
	root, ok := strings.CutSuffix(p, "/...")
	return ok && (dir == root || strings.HasPrefix(dir, root+"/"))
}

// ours tells whether an import without a dot is a directory of the module, and
// not of the standard library.
func ours(imp string) bool {
	top, _, _ := strings.Cut(imp, "/")
	return slices.Contains([]string{"cmd", "pkg", "internal", "examples", "tools"}, top)
}

func owners(imp string) (may string, owned bool) {
	var longest string
	for _, o := range Owners {
		if strings.HasPrefix(imp, o.Prefix) && len(o.Prefix) > len(longest) {
			longest, may, owned = o.Prefix, o.May, true
		}
	}
	return may, owned
}

func matches(list, dir string) bool {
	for pattern := range strings.FieldsSeq(list) {
		if ok, err := path.Match(pattern, dir); err == nil && ok {
			return true
		}
	}
	return false
}
