package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// maxIndex bounds an index of safetensors, which has a line for each tensor.
const maxIndex = 64 << 20

// A set is the files that together hold the weights of one model or one
// component.
type set struct {
	dir, stem string
	gguf      bool
	files     []*File // in the order of the shards
	index     *File   // nil if there is none
	meta      map[string]jsontext.Value
	missing   []string // files of the set that are not there
}

// numbered is how the files of a set are named.
var numbered = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})$`)

// group finds the sets: what an index lists, what is numbered, and single
// files.
func group(ctx context.Context, files []File) ([]*set, error) {
	byName := make(map[string]*File, len(files))
	for i := range files {
		byName[files[i].Path] = &files[i]
	}
	names := slices.Sorted(maps.Keys(byName))
	var sets []*set
	taken := make(map[string]bool)
	for _, name := range names {
		if !strings.HasSuffix(name, ".safetensors.index.json") {
			continue
		}
		s, err := indexed(ctx, byName, name)
		if err != nil {
			return nil, err
		}
		for _, f := range s.files {
			if taken[f.Path] {
				return nil, fmt.Errorf("%s: %w: two indexes list it", f.Path, ErrConflict)
			}
			taken[f.Path] = true
		}
		sets = append(sets, s)
	}
	groups := make(map[[2]string]*set)
	for _, name := range names {
		ext := path.Ext(name)
		if taken[name] || ext != ".safetensors" && ext != ".gguf" {
			continue
		}
		s, key := single(byName[name])
		if had := groups[key]; had != nil {
			had.files = append(had.files, s.files[0])
			continue
		}
		groups[key] = s
		sets = append(sets, s)
	}
	for key, s := range groups {
		s.count(key[1])
	}
	return slices.DeleteFunc(sets, (*set).companion), nil
}

// single returns the set of a file, and what the files of that set have in
// common: its name without the number, and how many there are.
func single(f *File) (*set, [2]string) {
	dir, base := path.Split(f.Path)
	ext := path.Ext(base)
	stem, total := strings.TrimSuffix(base, ext), ""
	if m := numbered.FindStringSubmatch(stem); m != nil {
		stem, total = m[1], m[3]
	}
	s := &set{dir: dir, stem: stem, gguf: ext == ".gguf", files: []*File{f}}
	return s, [2]string{dir + stem + ext, total}
}

// count notes which files are missing in a numbered set.
func (s *set) count(total string) {
	if n, err := strconv.Atoi(total); err == nil && n != len(s.files) {
		s.missing = []string{fmt.Sprintf("%d of %d files", n-len(s.files), n)}
	}
}

// companion tells whether a GGUF belongs beside a model and is loaded whole.
// The words are those that llama.cpp knows them by.
func (s *set) companion() bool {
	name := strings.ToLower(s.stem)
	return s.gguf && (strings.Contains(name, "mmproj") || strings.Contains(name, "imatrix"))
}

func (s *set) over(limit int64) bool {
	return slices.ContainsFunc(s.files, func(f *File) bool { return f.Size > limit })
}

// indexed reads the index name and returns its set.
func indexed(ctx context.Context, byName map[string]*File, name string) (*set, error) {
	f := byName[name]
	raw, err := readAll(ctx, f)
	if err != nil {
		return nil, err
	}
	var index struct {
		Metadata  map[string]jsontext.Value `json:"metadata"`
		WeightMap map[string]string         `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, &malformed.Error{Format: "json", Reason: fmt.Sprintf("%s is no index: %v", name, err)}
	}
	dir, base := path.Split(name)
	s := &set{dir: dir, stem: strings.TrimSuffix(base, ".safetensors.index.json"), index: f, meta: index.Metadata}
	listed := make(map[string]bool)
	for _, file := range index.WeightMap {
		listed[path.Join(dir, file)] = true
	}
	for _, p := range slices.Sorted(maps.Keys(listed)) {
		switch file := byName[p]; {
		case file == nil:
			s.missing = append(s.missing, p)
		case !strings.HasSuffix(p, ".safetensors"):
			return nil, &malformed.Error{Format: "json", Reason: fmt.Sprintf("%s lists %.80q", name, p)}
		default:
			s.files = append(s.files, file)
		}
	}
	return s, nil
}

func readAll(ctx context.Context, f *File) ([]byte, error) {
	if f.Size > maxIndex {
		return nil, &malformed.Error{Format: "json", Offset: maxIndex, Reason: fmt.Sprintf("%s is over %d bytes", f.Path, maxIndex)}
	}
	r, err := f.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Path, err)
	}
	defer r.Close() //nolint:errcheck // only read
	raw := make([]byte, f.Size)
	if n, err := r.ReadAt(raw, 0); n < len(raw) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return raw, nil
}
