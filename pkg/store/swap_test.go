package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/store"
)

// A swapWay is one of the two ways to swap directories.
type swapWay func(parent *os.Root, staged, final string) error

var swapWays = map[string]swapWay{
	"in one step": store.SwapDir,
	"by names": func(parent *os.Root, staged, final string) error {
		return store.SwapByNames(parent, staged, final, store.OSDisk{})
	},
}

// stage makes a directory with a file that has its text.
func stage(t *testing.T, parent *os.Root, name, text string) {
	t.Helper()
	if err := parent.MkdirAll(name+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := parent.WriteFile(name+"/sub/f", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree maps the directories of a parent to the text of their file.
func tree(t *testing.T, parent *os.Root) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for _, name := range names(t, parent) {
		b, err := parent.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got[strings.TrimSuffix(name, "/sub/f")] = string(b)
	}
	return got
}

func TestSwapDir(t *testing.T) {
	for name, swap := range swapWays {
		t.Run(name, func(t *testing.T) {
			parent := openRoot(t)
			stage(t, parent, "staged", "new")
			if err := swap(parent, "staged", "final"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"final": "new"}, tree(t, parent)); diff != "" {
				t.Errorf("after the first (-want +got):\n%s", diff)
			}
			stage(t, parent, "staged", "newer")
			if err := swap(parent, "staged", "final"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"final": "newer", "staged": "new"}, tree(t, parent)); diff != "" {
				t.Errorf("after the second (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSwapDirRefuses(t *testing.T) {
	for way, swap := range swapWays {
		t.Run(way, func(t *testing.T) {
			parent := openRoot(t)
			stage(t, parent, "staged", "new")
			if err := parent.WriteFile("file", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("staged", filepath.Join(parent.Name(), "link")); err != nil {
				t.Fatal(err)
			}
			tests := []struct{ staged, final string }{
				{"staged", "file"},
				{"staged", "link"},
				{"staged", "staged"},
				{"staged", ".."},
				{"staged", "."},
				{"staged", ""},
				{"staged", "/tmp/x"},
				{"staged", "staged/sub/x"},
				{"staged", `a\b`},
				{"../staged", "final"},
				{"file", "final"},
				{"nothing", "final"},
			}
			for _, test := range tests {
				if err := swap(parent, test.staged, test.final); err == nil {
					t.Errorf("swap of %q into %q error = nil, want one", test.staged, test.final)
				}
			}
			if diff := cmp.Diff(map[string]string{"staged": "new", "file": ""}, tree(t, parent)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
	if err := store.RecoverSwap(openRoot(t), "../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("RecoverSwap of a path error = %v, want fs.ErrInvalid", err)
	}
}

var errPower = errors.New("power is gone")

// A dyingDisk renames so many times, and then nothing works any more.
type dyingDisk struct {
	store.OSDisk
	left int
}

func (d *dyingDisk) Rename(root *os.Root, from, to string) error {
	if d.left--; d.left < 0 {
		return errPower
	}
	return d.OSDisk.Rename(root, from, to)
}

// TestRecoverSwap has the power go before each rename of a swap.
func TestRecoverSwap(t *testing.T) {
	old := map[string]string{"final": "old", "staged": "new"}
	swapped := map[string]string{"final": "new", "staged": "old"}
	tests := []struct {
		renames int
		want    map[string]string
	}{
		{0, old},     // the note has no name
		{1, old},     // the note has its name
		{2, swapped}, // the old one is aside
		{3, swapped}, // the new one is in its place
		{4, swapped}, // and the old one in the place of the new
	}
	for _, test := range tests {
		parent := openRoot(t)
		stage(t, parent, "final", "old")
		stage(t, parent, "staged", "new")
		if err := store.SwapByNames(parent, "staged", "final", &dyingDisk{left: test.renames}); (err == nil) != (test.renames == 4) {
			t.Errorf("%d renames: swap error = %v", test.renames, err)
		}
		for range 2 {
			if err := store.RecoverSwap(parent, "final"); err != nil {
				t.Errorf("%d renames: RecoverSwap error = %v", test.renames, err)
			}
			if diff := cmp.Diff(test.want, tree(t, parent)); diff != "" {
				t.Errorf("%d renames (-want +got):\n%s", test.renames, diff)
			}
		}
		if err := store.SwapDir(parent, "staged", "final"); err != nil {
			t.Errorf("%d renames: next swap error = %v", test.renames, err)
		}
	}
}

// TestRecoverSwapWithoutStaged has someone tidy up between crash and recovery.
func TestRecoverSwapWithoutStaged(t *testing.T) {
	parent := openRoot(t)
	stage(t, parent, "final", "old")
	stage(t, parent, "staged", "new")
	if err := store.SwapByNames(parent, "staged", "final", &dyingDisk{left: 2}); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	if err := parent.RemoveAll("staged"); err != nil {
		t.Fatal(err)
	}
	if err := store.RecoverSwap(parent, "final"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]string{"final": "old"}, tree(t, parent)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// TestRecoverSwapDestroysNothing has someone make the directory anew between
// crash and recovery.
func TestRecoverSwapDestroysNothing(t *testing.T) {
	parent := openRoot(t)
	stage(t, parent, "final", "old")
	stage(t, parent, "staged", "new")
	if err := store.SwapByNames(parent, "staged", "final", &dyingDisk{left: 2}); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	stage(t, parent, "final", "third")
	if err := store.RecoverSwap(parent, "final"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("RecoverSwap error = %v, want fs.ErrExist", err)
	}
	texts := make(map[string]bool)
	for _, text := range tree(t, parent) {
		texts[text] = true
	}
	if !texts["old"] || !texts["new"] || !texts["third"] {
		t.Errorf("tree = %v, want all three", tree(t, parent))
	}
}
