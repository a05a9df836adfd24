package artifact

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/glob"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A Selection says which files of an artifact are wanted: those that match one
// of Include, or all if there is none, and none of Exclude. The zero value takes
// all files.
//
// Patterns are those of package glob.
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
// wraps glob.ErrPattern.
func (s Selection) Matcher() (func(path string) bool, error) {
	return glob.Matcher(s.Include, s.Exclude)
}

// choose makes the unpacker work on the selected files only. What archives hold
// that are not listed is chosen from when they are read.
func (u *unpacker) choose() error {
	u.wanted = func(string) bool { return true }
	defer u.add()
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
		return glob.ErrNoMatch
	}
	return nil
}

// add puts what the caller adds among the files.
func (u *unpacker) add() {
	if len(u.opts.Added) == 0 {
		return
	}
	more := *u.a
	more.Files = slices.Clone(u.a.Files)
	for name, data := range u.opts.Added {
		desc := ocispec.Descriptor{MediaType: mediatypes.LayerType(mediatypes.KindDoc, mediatypes.Raw), Digest: digest.FromBytes(data), Size: int64(len(data))}
		more.Files = append(more.Files, File{
			Path: name, Kind: mediatypes.KindDoc, MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Mode: mode,
			Layer: desc, Encoding: mediatypes.Raw,
		})
	}
	slices.SortStableFunc(more.Files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	u.a = &more
}

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
