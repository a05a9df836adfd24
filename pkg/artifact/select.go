package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// maxPatterns bounds the patterns of a selection.
const maxPatterns = 1000

// ErrPattern is wrapped by errors about a pattern that cannot be read.
var ErrPattern = errors.New("bad pattern")

// A Selection says which files of an artifact are wanted: those that match one
// of Include, or all if there is none, and none of Exclude. The zero value takes
// all files.
//
// Patterns are those of huggingface_hub's allow_patterns and ignore_patterns:
// they match the whole path, "*" is any text with its slashes, "?" one letter,
// "[abc]" one of these, and a pattern that ends in a slash means all that is
// below it. Case counts.
type Selection struct {
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
}

// IsAll tells whether the selection takes all files, whatever they are called.
func (s Selection) IsAll() bool { return len(s.Include) == 0 && len(s.Exclude) == 0 }

// same tells whether two selections are written alike.
func (s Selection) same(o Selection) bool {
	return slices.Equal(s.Include, o.Include) && slices.Equal(s.Exclude, o.Exclude)
}

// Matcher returns the function that tells whether a path is wanted. The error
// wraps [ErrPattern].
func (s Selection) Matcher() (func(path string) bool, error) {
	if len(s.Include)+len(s.Exclude) > maxPatterns {
		return nil, fmt.Errorf("%w: more than %d of them", ErrPattern, maxPatterns)
	}
	include, err := parseGlobs(s.Include)
	if err != nil {
		return nil, err
	}
	exclude, err := parseGlobs(s.Exclude)
	if err != nil {
		return nil, err
	}
	return func(path string) bool {
		fits := func(g glob) bool { return g.matches(path) }
		return (len(include) == 0 || slices.ContainsFunc(include, fits)) && !slices.ContainsFunc(exclude, fits)
	}, nil
}

func parseGlobs(patterns []string) ([]glob, error) {
	globs := make([]glob, len(patterns))
	for i, p := range patterns {
		var err error
		if globs[i], err = parseGlob(p); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPattern, err)
		}
	}
	return globs, nil
}

// choose makes the unpacker work on the selected files only. What archives hold
// that are not listed is chosen from when they are read.
func (u *unpacker) choose() error {
	u.wanted = func(string) bool { return true }
	if u.opts.Select.IsAll() {
		return nil
	}
	var err error
	if u.wanted, err = u.opts.Select.Matcher(); err != nil {
		return err
	}
	chosen := *u.a
	chosen.Files = slices.DeleteFunc(slices.Clone(u.a.Files), func(f File) bool { return !f.Archive && !u.wanted(f.Path) })
	for _, f := range u.a.Files {
		if !f.Archive && !u.wanted(f.Path) {
			u.out.LeftOut++
		}
	}
	u.a = &chosen
	if len(chosen.Files) == 0 {
		return ErrNoMatch
	}
	return nil
}

// ErrNoMatch says that no file of an artifact is selected.
var ErrNoMatch = fmt.Errorf("no file of the artifact matches: %w", fs.ErrNotExist)

// partNote tells of a directory that was pulled in part: whoever packs it may not
// mean a part to be the whole. A nil root is of files from elsewhere.
func partNote(root *os.Root) string {
	if root == nil {
		return ""
	}
	r, err := readRecord(root, RecordFile)
	if err != nil || r.Selection == nil {
		return ""
	}
	return fmt.Sprintf("the directory came from a pull of some of the files of %+q: the others are not in it", r.Reference)
}
