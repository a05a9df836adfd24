package diff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const (
	maxText      = 1 << 20  // bytes of a file that is compared as a text
	maxTokenizer = 64 << 20 // bytes of a tokenizer.json that is read
	maxTexts     = 200      // files that are compared as texts

	// maxComparisons bounds the texts that are compared to find renamed ones.
	maxComparisons = 400
)

// What a text file is compared as.
type role int

const (
	other     role = iota
	config         // by its structure
	tokenizer      // by its vocabulary
	cardText       // as the card
	template       // line by line, as configuration
	plain          // line by line
)

// roleOf tells by name what a file is compared as. What weights are cut into is
// told by the tensors.
func roleOf(f *File) role {
	name := path.Base(f.Path)
	switch ext := path.Ext(name); {
	case f.Kind == mediatypes.KindWeight || f.Open == nil || strings.HasSuffix(name, ".index.json"):
		return other
	case f.Path == "README.md":
		return cardText
	case name == "tokenizer.json":
		return tokenizer
	case name == "vocab.json" || name == "merges.txt" || name == "vocab.txt":
		return other // what they say is in tokenizer.json, or too long for people
	case ext == ".json":
		return config
	case ext == ".jinja":
		return template
	case slices.Contains(textNames, ext) || slices.Contains(textNames, name):
		return plain
	}
	return other
}

// textNames are extensions, and names without one, of texts.
var textNames = []string{
	".py", ".md", ".txt", ".j2", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".sh", ".rst", ".template",
	"LICENSE", "NOTICE", "Modelfile", "Kitfile", ".gitattributes", ".modelregignore",
}

// A textPair is a file's text in both sides; nil where it is not there.
type textPair struct {
	path string // in the new side, or the old one if it is gone
	role role
	from []byte
	to   []byte
}

type textPairs struct {
	pairs []textPair
}

// readTexts reads what is compared by what it says: files that changed, and
// those that come and go.
func (c *comparer) readTexts(ctx context.Context, files *Files, changed []pair) (*textPairs, error) {
	pairs := slices.Clone(changed)
	was, is := byPath(c.a.Files), byPath(c.b.Files)
	for _, f := range files.Removed {
		pairs = append(pairs, pair{from: was[f.Path]})
	}
	for _, f := range files.Added {
		pairs = append(pairs, pair{to: is[f.Path]})
	}
	t := &textPairs{}
	var read []pair
	for _, p := range pairs {
		one := p.to
		if one == nil {
			one = p.from
		}
		if r := c.wanted(roleOf(one)); r != other && len(t.pairs) < maxTexts && p.size() <= sizeLimit(r) {
			t.pairs = append(t.pairs, textPair{path: one.Path, role: r})
			read = append(read, p)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.Workers)
	for i := range t.pairs {
		if t.pairs[i].role == tokenizer {
			continue // too large to be held
		}
		group.Go(func() (err error) {
			t.pairs[i].from, err = readFile(ctx, read[i].from)
			return err
		})
		group.Go(func() (err error) {
			t.pairs[i].to, err = readFile(ctx, read[i].to)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if c.opts.Levels.Files {
		t.findRenames(files)
	}
	return t, nil
}

// wanted is a role, if the level that it belongs to is asked for.
func (c *comparer) wanted(r role) role {
	l := c.opts.Levels
	switch {
	case r == plain && l.Files, (r == config || r == template || r == tokenizer) && (l.Config || l.Files), r == cardText && (l.Card || l.Files):
		return r
	}
	return other
}

func sizeLimit(r role) int64 {
	if r == tokenizer {
		return maxTokenizer
	}
	return maxText
}

// size is that of the larger file.
func (p pair) size() int64 {
	var n int64
	for _, f := range []*File{p.from, p.to} {
		if f != nil {
			n = max(n, f.Size)
		}
	}
	return n
}

// readFile reads a small file; nil for one that is not there.
func readFile(ctx context.Context, f *File) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	r, err := f.Open(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw := make([]byte, f.Size)
	if _, err := r.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %+q: %w", f.Path, err)
	}
	return raw, nil
}

func isUTF8(raw []byte) bool { return utf8.Valid(raw) && bytes.IndexByte(raw, 0) < 0 }

// intoFiles adds how texts changed to the list of files.
func (t *textPairs) intoFiles(files *Files) {
	for _, p := range t.pairs {
		if p.role != plain || p.from == nil || p.to == nil || !isUTF8(p.from) || !isUTF8(p.to) {
			continue
		}
		i := slices.IndexFunc(files.Changed, func(f FileChange) bool { return f.Path == p.path })
		if i >= 0 {
			files.Changed[i].Text = Text(string(p.from), string(p.to))
		}
	}
}

// findRenames takes a text that went and one that came for the same, if they are
// alike enough.
func (t *textPairs) findRenames(files *Files) {
	left := maxComparisons
	for i := range t.pairs {
		gone := &t.pairs[i]
		if gone.to != nil || gone.from == nil {
			continue
		}
		best, most := -1, minSimilarity
		for j := range t.pairs {
			come := &t.pairs[j]
			if come.from != nil || come.to == nil || path.Ext(come.path) != path.Ext(gone.path) || 3*min(len(gone.from), len(come.to)) < max(len(gone.from), len(come.to)) {
				continue // no half of the lines can be the same
			}
			if left--; left < 0 {
				break
			}
			if s := similarity(string(gone.from), string(come.to)); s >= most && (best < 0 || s > most) {
				best, most = j, s
			}
		}
		if best >= 0 {
			files.rename(gone.path, t.pairs[best].path, most)
			t.pairs[best].from = gone.from
			gone.from, gone.role = nil, other
		}
	}
	files.sort()
}

// rename makes one entry of two.
func (f *Files) rename(from, to string, similarity float64) {
	i := slices.IndexFunc(f.Removed, func(x FileInfo) bool { return x.Path == from })
	j := slices.IndexFunc(f.Added, func(x FileInfo) bool { return x.Path == to })
	if i < 0 || j < 0 {
		return
	}
	f.Renamed = append(f.Renamed, FileRename{From: f.Removed[i], To: f.Added[j], Similarity: similarity})
	f.Removed = slices.Delete(f.Removed, i, i+1)
	f.Added = slices.Delete(f.Added, j, j+1)
}

// configs compares configuration by what it says.
func (c *comparer) configs(ctx context.Context, t *textPairs) error {
	for _, p := range t.pairs {
		var changes []Change
		switch {
		case p.role == tokenizer:
			var err error
			if changes, err = c.tokenizers(ctx, p.path); err != nil {
				return err
			}
		case p.role == config || p.role == template:
			changes = c.configTexts(p)
		}
		for _, ch := range changes {
			ch.File = p.path
			c.res.Config = append(c.res.Config, ch)
		}
	}
	c.modelConfigs()
	rank := func(ch Change) int {
		return slices.Index([]string{ModelConfig, "config.json"}, ch.File) // -1 for others
	}
	slices.SortStableFunc(c.res.Config, func(x, y Change) int {
		return cmp.Or(cmp.Compare(rank(y), rank(x)), cmp.Compare(x.File, y.File))
	})
	return nil
}

func (c *comparer) configTexts(p textPair) []Change {
	switch {
	case p.from == nil && p.to == nil:
		return nil
	case p.from == nil:
		return []Change{{Op: Added}}
	case p.to == nil:
		return []Change{{Op: Removed}}
	}
	if p.role == config {
		changes, more, err := JSON(p.from, p.to)
		if err == nil {
			if more > 0 {
				c.problem("%s: %d more changes are not listed", p.path, more)
			}
			return changes
		}
		c.problem("%s: compared as a text, since it is no JSON: %v", p.path, err)
	}
	if !isUTF8(p.from) || !isUTF8(p.to) {
		return []Change{{Op: Changed}}
	}
	if text := Text(string(p.from), string(p.to)); text != nil {
		return []Change{{Op: Changed, Text: text}}
	}
	return nil
}

// ModelConfig stands for the ModelPack config in [Change.File].
const ModelConfig = "(model config)"

// modelConfigs compares what the manifests say of the models, but for the list
// of layers, which the files tell.
func (c *comparer) modelConfigs() {
	if c.a.Config == nil || c.b.Config == nil || bytes.Equal(c.a.Config, c.b.Config) {
		return
	}
	changes, _, err := JSON(c.a.Config, c.b.Config)
	if err != nil {
		return // an artifact of another kind
	}
	for _, ch := range changes {
		if strings.HasPrefix(ch.Path, "descriptor") || strings.HasPrefix(ch.Path, "config") {
			ch.File = ModelConfig
			c.res.Config = append(c.res.Config, ch)
		}
	}
}
