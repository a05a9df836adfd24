package format

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/modelreg/modelreg/pkg/format/gguf"
)

// A set is the files that together hold one representation of a model, or of a
// component of one.
type set struct {
	dir, format, stem string
	files             []*weights // by path
	complete          bool
}

// gguf returns the header of the set's first file, which for split files has
// the metadata; nil if it is no GGUF.
func (s *set) gguf() *gguf.Header {
	if len(s.files) == 0 || s.files[0].header == nil {
		return nil
	}
	return s.files[0].header.gguf
}

// companion tells whether a GGUF is of no use by itself. The words are those
// that llama.cpp passes over.
func (s *set) companion() bool {
	name := strings.ToLower(s.stem)
	return s.format == "gguf" && (strings.Contains(name, "mmproj") || strings.Contains(name, "imatrix") ||
		strings.HasPrefix(name, "mtp-") || strings.HasPrefix(name, "eagle3-"))
}

// shard is how the files of a set are numbered.
var shard = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})$`)

// sets groups the weights by name, and by the indexes that list them.
func (d *description) sets(ctx context.Context) ([]*set, error) {
	indexed, err := d.indexed(ctx)
	if err != nil {
		return nil, err
	}
	taken := make(map[*weights]bool)
	for _, s := range indexed {
		for _, w := range s.files {
			taken[w] = true
		}
	}
	groups := make(map[[4]string]*set)
	for i := range d.weights {
		w := &d.weights[i]
		if readerOf(w.file) == nil || taken[w] {
			continue
		}
		dir, base := path.Split(w.file.Path)
		stem, total := strings.TrimSuffix(base, path.Ext(base)), "00001"
		if m := shard.FindStringSubmatch(stem); m != nil {
			stem, total = m[1], m[3]
		}
		key := [4]string{dir, w.format, stem, total}
		if groups[key] == nil {
			groups[key] = &set{dir: dir, format: w.format, stem: stem}
		}
		groups[key].files = append(groups[key].files, w)
	}
	for key, s := range groups {
		n, err := strconv.Atoi(key[3])
		s.complete = err == nil && len(s.files) == n
	}
	sets := slices.AppendSeq(indexed, maps.Values(groups))
	for _, s := range sets {
		slices.SortFunc(s.files, func(a, b *weights) int { return cmp.Compare(a.file.Path, b.file.Path) })
	}
	slices.SortFunc(sets, func(a, b *set) int {
		return cmp.Or(cmp.Compare(a.dir, b.dir), cmp.Compare(a.format, b.format), cmp.Compare(a.stem, b.stem), cmp.Compare(len(a.files), len(b.files)))
	})
	return sets, nil
}

// indexed returns the sets that an index lists: NAME.safetensors.index.json or
// NAME.bin.index.json. An index that names a file that is not there is a
// problem.
func (d *description) indexed(ctx context.Context) ([]*set, error) {
	byPath := make(map[string]*weights, len(d.weights))
	for i := range d.weights {
		byPath[d.weights[i].file.Path] = &d.weights[i]
	}
	var sets []*set
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		dir, base := path.Split(name)
		stem, ok := strings.CutSuffix(base, ".index.json")
		if !ok || !hasAnySuffix(stem, ".safetensors", ".bin") {
			continue
		}
		files, err := readIndex(ctx, d.files[name])
		if err := d.report(name, err); err != nil {
			return nil, err
		}
		s := &set{dir: dir, stem: strings.TrimSuffix(stem, path.Ext(stem)), complete: true}
		for _, file := range slices.Sorted(maps.Keys(files)) {
			w := byPath[path.Join(dir, file)]
			if w == nil {
				d.problem(name, fmt.Errorf("shard %s: %w", file, fs.ErrNotExist))
				s.complete = false
				continue
			}
			s.files, s.format = append(s.files, w), w.format
		}
		if len(s.files) > 0 {
			sets = append(sets, s)
		}
	}
	return sets, nil
}

// order is that in which representations are preferred.
var order = []string{"safetensors", "gguf", "pytorch", "onnx", "numpy"}

// stems are the usual names of weights, in the order in which they are
// preferred.
var stems = []string{"model", "diffusion_pytorch_model", "adapter_model", "pytorch_model", "consolidated"}

// choose returns the sets that are one representation of the whole model: one,
// or one for each component of a pipeline; none if there is a choice.
func choose(sets []*set, components []string) []*set {
	if len(components) == 0 {
		if s := chooseOne(sets); s != nil {
			return []*set{s}
		}
		return nil
	}
	var chosen []*set
	for _, dir := range components {
		var mine []*set
		for _, s := range sets {
			if s.dir == dir+"/" {
				mine = append(mine, s)
			}
		}
		if len(mine) == 0 {
			continue // a scheduler or a tokenizer
		}
		s := chooseOne(mine)
		if s == nil {
			return nil
		}
		chosen = append(chosen, s)
	}
	return chosen
}

func chooseOne(sets []*set) *set {
	for _, format := range order {
		var some []*set
		for _, s := range sets {
			if s.format == format && !s.companion() {
				some = append(some, s)
			}
		}
		if len(some) > 0 {
			return best(highest(some), format)
		}
	}
	return nil
}

// highest returns the sets in the directories closest to the root.
func highest(sets []*set) []*set {
	depth := func(s *set) int { return strings.Count(s.dir, "/") }
	least := depth(slices.MinFunc(sets, func(a, b *set) int { return cmp.Compare(depth(a), depth(b)) }))
	return slices.DeleteFunc(sets, func(s *set) bool { return depth(s) > least })
}

// best returns the set to count among those of one format, nil if that is not
// clear.
func best(sets []*set, format string) *set {
	if len(sets) == 1 {
		return sets[0]
	}
	if format == "gguf" {
		return bestGGUF(sets)
	}
	for _, stem := range stems {
		var found []*set
		for _, s := range sets {
			if s.stem == stem {
				found = append(found, s)
			}
		}
		if len(found) > 0 {
			if len(found) == 1 {
				return found[0]
			}
			return nil
		}
	}
	return nil
}

// bestGGUF chooses among quantisations of one model, as llama.cpp does.
func bestGGUF(sets []*set) *set {
	for _, s := range sets {
		if s.gguf() == nil || s.gguf().Architecture() != sets[0].gguf().Architecture() {
			return nil
		}
	}
	for _, name := range []string{"Q4_K_M", "Q8_0"} {
		for _, s := range sets {
			if s.gguf().FileType() == name {
				return s
			}
		}
	}
	return sets[0]
}
