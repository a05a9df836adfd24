package diff

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Files is how the list of files changed. Lists are sorted by path.
type Files struct {
	Added     []FileInfo   `json:"added"`
	Removed   []FileInfo   `json:"removed"`
	Changed   []FileChange `json:"changed"`
	Renamed   []FileRename `json:"renamed"`
	Identical int          `json:"identical"` // number of files
	FromSize  int64        `json:"fromSize"`  // of all files, bytes
	ToSize    int64        `json:"toSize"`    // likewise
}

// A FileInfo is one file.
type FileInfo struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Size   int64  `json:"size"` // bytes
	Digest string `json:"digest"`
}

// A FileChange is a file with other bytes than before.
type FileChange struct {
	Path string   `json:"path"`
	Kind string   `json:"kind"`
	From FileInfo `json:"from"`
	To   FileInfo `json:"to"`

	// Text is how it changed, if it is a text that is no configuration and
	// no card.
	Text *TextChange `json:"text,omitempty"`
}

// A FileRename is a file that has another name, and perhaps other bytes.
type FileRename struct {
	From FileInfo `json:"from"`
	To   FileInfo `json:"to"`

	// Similarity is the part of the lines that did not change, from 0.5 to 1.
	Similarity float64 `json:"similarity"`
}

func (f File) info() FileInfo {
	return FileInfo{Path: f.Path, Kind: string(f.Kind), Size: f.Size, Digest: f.Digest.String()}
}

// pair is a file in both sides, perhaps under two names.
type pair struct{ from, to *File }

// compareFiles compares what there is by name and digest.
func compareFiles(a, b []File) (*Files, []pair) {
	f := &Files{Added: []FileInfo{}, Removed: []FileInfo{}, Changed: []FileChange{}, Renamed: []FileRename{}}
	was := byPath(a)
	var gone, come []*File
	var changed []pair
	for i := range b {
		to := &b[i]
		f.ToSize += to.Size
		from := was[to.Path]
		delete(was, to.Path)
		switch {
		case from == nil:
			come = append(come, to)
		case from.Digest == to.Digest:
			f.Identical++
		default:
			changed = append(changed, pair{from, to})
			f.Changed = append(f.Changed, FileChange{Path: to.Path, Kind: string(to.Kind), From: from.info(), To: to.info()})
		}
	}
	for i := range a {
		f.FromSize += a[i].Size
		if was[a[i].Path] != nil {
			gone = append(gone, &a[i])
		}
	}
	gone, come = f.renames(gone, come)
	for _, g := range gone {
		f.Removed = append(f.Removed, g.info())
	}
	for _, c := range come {
		f.Added = append(f.Added, c.info())
	}
	f.sort()
	return f, changed
}

func byPath(files []File) map[string]*File {
	m := make(map[string]*File, len(files))
	for i := range files {
		m[files[i].Path] = &files[i]
	}
	return m
}

// renames finds the files that went and came with the same bytes, the first by
// name with the first.
func (f *Files) renames(gone, come []*File) (stillGone, stillNew []*File) {
	at := map[digest.Digest][]*File{}
	for _, g := range gone {
		if g.Size > 0 { // all empty files are alike
			at[g.Digest] = append(at[g.Digest], g)
		}
	}
	moved := map[*File]bool{}
	for _, c := range come {
		from := at[c.Digest]
		if len(from) == 0 {
			stillNew = append(stillNew, c)
			continue
		}
		at[c.Digest] = from[1:]
		moved[from[0]] = true
		f.Renamed = append(f.Renamed, FileRename{From: from[0].info(), To: c.info(), Similarity: 1})
	}
	return slices.DeleteFunc(gone, func(g *File) bool { return moved[g] }), stillNew
}

func (f *Files) sort() {
	byName := func(a, b FileInfo) int { return cmp.Compare(a.Path, b.Path) }
	slices.SortFunc(f.Added, byName)
	slices.SortFunc(f.Removed, byName)
	slices.SortFunc(f.Changed, func(a, b FileChange) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(f.Renamed, func(a, b FileRename) int { return byName(a.To, b.To) })
}

// minSimilarity is from which on a text counts as the old one under another
// name, as git has it.
const minSimilarity = 0.5

// similarity is the part of two texts' lines that both have.
func similarity(a, b string) float64 {
	from, to := splitLines(a), splitLines(b)
	if len(from)+len(to) == 0 {
		return 0
	}
	gone := 0
	for _, e := range script(from, to) {
		gone += e.a1 - e.a0 + e.b1 - e.b0
	}
	return 1 - float64(gone)/float64(len(from)+len(to))
}
