package artifact_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// An update fetches what is new, keeps what the user added, and takes away what
// is gone.
func TestUpdate(t *testing.T) {
	big := randomText(100_000)
	v1 := map[string]string{"model.bin": big, "old.txt": "old", "README.md": "one", "dir/gone.txt": "gone", "empty": ""}
	v2 := map[string]string{"renamed.bin": big, "copy.bin": big, "README.md": "two", "new/file.txt": "new", "empty": ""}
	b := newBlobs()
	a1 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), v1), b, artifact.PackOptions{}).Descriptor)
	a2 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), v2), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "model")
	mustUnpack(t, a1, b, out, artifact.UnpackOptions{})
	writeTree(t, out, map[string]string{"mine.txt": "mine", "dir/mine.txt": "mine too", "notes/a/b": "c"})
	symlink(t, "mine.txt", filepath.Join(out, "link"))
	if err := os.Mkdir(filepath.Join(out, "my empty"), 0o700); err != nil {
		t.Fatal(err)
	}

	before := b.fetched[digest.FromString(big)]
	u := mustUnpack(t, a2, b, out, artifact.UnpackOptions{})
	want := map[string]string{
		"renamed.bin": big, "copy.bin": big, "README.md": "two", "new/file.txt": "new", "empty": "",
		"mine.txt": "mine", "dir/mine.txt": "mine too", "notes/a/b": "c", "link": fs.ModeSymlink.String(),
	}
	if diff := cmp.Diff(want, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if b.fetched[digest.FromString(big)] != before {
		t.Error("a file that was there was fetched")
	}
	if u.Fetched != int64(len("two")+len("new")) || u.Reused != 2*int64(len(big)) {
		t.Errorf("fetched %d, reused %d", u.Fetched, u.Reused)
	}
	if info, err := os.Stat(filepath.Join(out, "my empty")); err != nil || !info.IsDir() {
		t.Errorf("the user's directory is gone: %v", err)
	}
	one, err1 := os.Stat(filepath.Join(out, "copy.bin"))
	two, err2 := os.Stat(filepath.Join(out, "renamed.bin"))
	if err1 != nil || err2 != nil || os.SameFile(one, two) {
		t.Errorf("two files of the model are one on the disk (%v, %v)", err1, err2)
	}
}

func TestUnpackRepairs(t *testing.T) {
	files := map[string]string{"a.bin": randomText(1000), "b.bin": randomText(2000), "c.txt": "c"}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "m")
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	writeTree(t, out, map[string]string{"a.bin": files["a.bin"][:999] + "\x00"})
	if err := errors.Join(os.Remove(filepath.Join(out, "c.txt")), os.Chmod(filepath.Join(out, "b.bin"), 0o400)); err != nil {
		t.Fatal(err)
	}
	before := b.fetched[digest.FromString(files["b.bin"])]
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{Force: true})
	if want := []string{"replaced files that were changed since the last pull: a.bin"}; !slices.Equal(u.Notes, want) {
		t.Errorf("notes %q, want %q", u.Notes, want)
	}
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	checkModes(t, out)
	if b.fetched[digest.FromString(files["b.bin"])] != before {
		t.Error("b.bin was fetched again")
	}
}

func TestUnpackRefusesTargets(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "a"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	file := filepath.Join(writeTree(t, parent, map[string]string{"file": "x"}), "file")
	home := writeTree(t, filepath.Join(parent, "somebody"), map[string]string{".bashrc": "x"})
	other := writeTree(t, filepath.Join(parent, "other"), map[string]string{"thesis.tex": "x"})
	fake := writeTree(t, filepath.Join(parent, "fake"), map[string]string{".modelreg/pull.json": `{"version":1,"Version":2}`, "x": "y"})
	future := writeTree(t, filepath.Join(parent, "future"), map[string]string{".modelreg/pull.json": `{"version":99}`, "x": "y"})
	here := writeTree(t, filepath.Join(parent, "here"), map[string]string{"sub/x": "y"})
	t.Chdir(filepath.Join(here, "sub"))
	tests := map[string]struct {
		dir   string
		force bool
		want  error
	}{
		"root":               {"/", true, artifact.ErrTarget},
		"home":               {"/home/nobody-in-particular", true, artifact.ErrTarget},
		"root's home":        {"/root", true, artifact.ErrTarget},
		"looks like a home":  {home, true, artifact.ErrTarget},
		"file":               {file, true, artifact.ErrTarget},
		"current directory":  {".", true, artifact.ErrTarget},
		"above the current":  {here, true, artifact.ErrTarget},
		"proc":               {"/proc", true, artifact.ErrTarget},
		"not ours":           {other, false, artifact.ErrNotOurs},
		"bad record":         {fake, false, artifact.ErrNotOurs},
		"record from future": {future, false, artifact.ErrNotOurs},
		"below a file":       {filepath.Join(file, "x"), true, fs.ErrInvalid},
	}
	before := readTree(t, parent)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fetches := b.fetches()
			_, err := artifact.Unpack(t.Context(), a, b, tt.dir, artifact.UnpackOptions{Force: tt.force})
			if tt.want == fs.ErrInvalid { // any error will do
				tt.want = err
			}
			if err == nil || !errors.Is(err, tt.want) {
				t.Errorf("Unpack = %v, want %v", err, tt.want)
			}
			if errors.Is(tt.want, artifact.ErrNotOurs) && !errors.Is(err, artifact.ErrTarget) {
				t.Error("ErrNotOurs does not wrap ErrTarget")
			}
			if b.fetches() != fetches {
				t.Error("blobs were fetched")
			}
		})
	}
	if diff := cmp.Diff(before, readTree(t, parent)); diff != "" {
		t.Errorf("something changed (-before +after):\n%s", diff)
	}
	if left := leftovers(t, parent, "file", "somebody", "other", "fake", "future", "here"); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestUnpackForce(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "a"}), b, artifact.PackOptions{}).Descriptor)
	out := writeTree(t, filepath.Join(t.TempDir(), "m"), map[string]string{"thesis.tex": "x", "a.bin": "other"})
	mustUnpack(t, a, b, out, artifact.UnpackOptions{Force: true})
	if diff := cmp.Diff(map[string]string{"a.bin": "a"}, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// A file that the user added is not overwritten by a new version that has one
// of the same name.
func TestUnpackSparesTheUsersFiles(t *testing.T) {
	tests := map[string]struct {
		mine  map[string]string
		next  map[string]string
		clash bool
	}{
		"other content": {map[string]string{"x.txt": "mine"}, map[string]string{"a": "2", "x.txt": "theirs"}, true},
		"same content":  {map[string]string{"x.txt": "same"}, map[string]string{"a": "2", "x.txt": "same"}, false},
		"file for dir":  {map[string]string{"x": "mine"}, map[string]string{"a": "2", "x/y": "theirs"}, true},
		"dir for file":  {map[string]string{"x/y": "mine"}, map[string]string{"a": "2", "x": "theirs"}, true},
		"beside":        {map[string]string{"x/mine": "mine"}, map[string]string{"a": "2", "x/y": "theirs"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			a1 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "1"}), b, artifact.PackOptions{}).Descriptor)
			a2 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), tt.next), b, artifact.PackOptions{}).Descriptor)
			out := filepath.Join(t.TempDir(), "m")
			mustUnpack(t, a1, b, out, artifact.UnpackOptions{})
			writeTree(t, out, tt.mine)
			before := readTree(t, out)
			_, err := artifact.Unpack(t.Context(), a2, b, out, artifact.UnpackOptions{})
			if !tt.clash {
				if err != nil {
					t.Fatal(err)
				}
				for p, text := range tt.mine {
					if readTree(t, out)[p] != text {
						t.Errorf("%s is gone", p)
					}
				}
				return
			}
			if !errors.Is(err, artifact.ErrNotOurs) {
				t.Fatalf("Unpack = %v, want ErrNotOurs", err)
			}
			if diff := cmp.Diff(before, readTree(t, out)); diff != "" {
				t.Errorf("the target changed (-before +after):\n%s", diff)
			}
			u := mustUnpack(t, a2, b, out, artifact.UnpackOptions{Force: true})
			if diff := cmp.Diff(tt.next, readTree(t, out)); diff != "" {
				t.Errorf("forced (-want +got):\n%s", diff)
			}
			if len(u.Notes) == 0 {
				t.Error("no note tells what was replaced")
			}
		})
	}
}

// A file that appears in the target while the next version is fetched is not
// lost with the old one.
func TestUpdateKeepsWhatComesLate(t *testing.T) {
	b := newBlobs()
	a1 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "1"}), b, artifact.PackOptions{}).Descriptor)
	a2 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "2"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "m")
	mustUnpack(t, a1, b, out, artifact.UnpackOptions{})
	mustUnpack(t, a2, b, out, artifact.UnpackOptions{Observe: func(transfer.Event) {
		writeTree(t, out, map[string]string{"logs/today.txt": "line"})
	}})
	if diff := cmp.Diff(map[string]string{"a": "2", "logs/today.txt": "line"}, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// A directory that was empty when the pull began may have been filled since.
func TestUnpackSparesWhatFilledTheTarget(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "1"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "m")
	_, err := artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{Observe: func(transfer.Event) {
		writeTree(t, out, map[string]string{"a": "somebody else's", "b": "too"})
	}})
	if !errors.Is(err, artifact.ErrNotOurs) {
		t.Errorf("Unpack error = %v, want ErrNotOurs", err)
	}
	if diff := cmp.Diff(map[string]string{"a": "somebody else's", "b": "too"}, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// What a user removes while the next version is fetched need not be kept.
func TestUpdateWithoutWhatVanished(t *testing.T) {
	b := newBlobs()
	a1 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "1"}), b, artifact.PackOptions{}).Descriptor)
	a2 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "2"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "m")
	mustUnpack(t, a1, b, out, artifact.UnpackOptions{})
	writeTree(t, out, map[string]string{".a.swp": "x"})
	mustUnpack(t, a2, b, out, artifact.UnpackOptions{Observe: func(transfer.Event) { os.Remove(filepath.Join(out, ".a.swp")) }})
	if diff := cmp.Diff(map[string]string{"a": "2"}, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// In a directory that all may write to, another user could make the staging
// directory first, and change files in it after they were checked.
func TestUnpackRefusesAStageThatOthersCanChange(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such permissions")
	}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "1"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	stage := filepath.Join(parent, ".modelreg-m.partial")
	if err := errors.Join(os.Mkdir(stage, 0o700), os.Chmod(stage, 0o777)); err != nil {
		t.Fatal(err)
	}
	_, err := artifact.Unpack(t.Context(), a, b, filepath.Join(parent, "m"), artifact.UnpackOptions{})
	if !errors.Is(err, artifact.ErrTarget) {
		t.Errorf("Unpack error = %v, want ErrTarget", err)
	}
}
