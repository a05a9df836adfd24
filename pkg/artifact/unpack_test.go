package artifact_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestRoundTrip(t *testing.T) {
	many := make(map[string]string)
	for i := range 2000 {
		many[fmt.Sprintf("data/%02d/file %04d.json", i%50, i)] = fmt.Sprintf(`{"n":%d}`, i)
	}
	many["README.md"], many["model.safetensors"], many["empty/none.txt"] = readme, randomText(5000), ""
	flat := map[string]string{"config.json": "{}", "README.md": "x"}
	for i := range 600 {
		flat[fmt.Sprintf("image-%03d.txt", i)] = strings.Repeat("x", i)
	}
	tests := map[string]map[string]string{
		"one file":   {"a.bin": "a"},
		"empty file": {"a.bin": "", "b.bin": "b"},
		"only empty": {"a.bin": ""},
		"odd names":  {"mit Leerzeichen.bin": "1", "größe/模型.json": "2", "'quoted' & (b).txt": "3", ".dot/.file": "4", "a+b=c,d;e%20.md": "5", "🙂.txt": "6"},
		"deep":       {strings.Repeat("d/", 31) + "f.bin": "deep", strings.Repeat("long-component-", 17) + "/x": "long"},
		"2000 files": many,
		"600 in one": flat,
		"same bytes": {"a.bin": "same", "b.bin": "same", "c/d.bin": "same", "e.bin": "other"},
	}
	for name, files := range tests {
		for _, layout := range []artifact.Layout{artifact.LayoutAuto, artifact.LayoutRaw} {
			t.Run(fmt.Sprintf("%s/%d", name, layout), func(t *testing.T) {
				roundTrip(t, files, layout)
			})
		}
	}
}

func roundTrip(t *testing.T, files map[string]string, layout artifact.Layout) {
	t.Helper()
	b := newBlobs()
	dir := writeTree(t, t.TempDir(), files)
	p := mustPack(t, dir, b, artifact.PackOptions{Layout: layout})
	a := mustOpen(t, b, p.Descriptor)
	if diff := cmp.Diff(p.Files, a.Files); diff != "" {
		t.Errorf("files packed and opened (-packed +opened):\n%s", diff)
	}
	parent := t.TempDir()
	out := filepath.Join(parent, "new", "model")
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{Reference: "example.org/m:v1"})
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if u.Files != len(files) {
		t.Errorf("%d files, want %d", u.Files, len(files))
	}
	if left := leftovers(t, filepath.Join(parent, "new"), "model"); left != nil {
		t.Errorf("left beside the target: %v", left)
	}
	raw, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(artifact.ManifestFile)))
	if err != nil || string(raw) != string(p.Manifest) {
		t.Errorf("the manifest is not in the target: %v", err)
	}
	checkModes(t, out)
	// Packed again it is the same version, and unpacked again nothing moves.
	if again := mustPack(t, out, newBlobs(), artifact.PackOptions{Layout: layout}); again.Descriptor.Digest != p.Descriptor.Digest {
		t.Errorf("packed again: %s, want %s", again.Descriptor.Digest, p.Descriptor.Digest)
	}
	before := b.fetches()
	u = mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	if b.fetches() != before || u.Fetched != 0 || u.Files != len(files) {
		t.Errorf("second time: %+v after %d fetches", u, b.fetches()-before)
	}
}

// checkModes makes sure that files are 0644 and directories 0755.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := fs.FileMode(0o644)
		if e.IsDir() {
			want = fs.ModeDir | 0o755
		}
		if err == nil && info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", p, info.Mode(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Small files of a large model share layers; weights and what people look for
// do not.
func TestManyFilesShareLayers(t *testing.T) {
	files := map[string]string{"README.md": "x", "config.json": "{}", "LICENSE": "y", "weights/tiny.safetensors": "z", "big.txt": strings.Repeat("b", 2<<20)}
	for i := range 700 {
		files[fmt.Sprintf("src/f%03d.py", i)] = "x" + fmt.Sprint(i)
		files[fmt.Sprintf("docs/d%03d.md", i)] = "x" + fmt.Sprint(i)
	}
	b := newBlobs()
	p := mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{})
	var m ocispec.Manifest
	if err := json.Unmarshal(p.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range m.Layers {
		got = append(got, l.Annotations[mediatypes.AnnotationFilepath]+" "+l.Annotations[mediatypes.AnnotationTitle]+" "+l.MediaType[len("application/vnd.cncf.model."):])
	}
	want := []string{
		".modelreg/index.json .modelreg/index.json doc.v1.raw",
		"LICENSE LICENSE doc.v1.raw", "README.md README.md doc.v1.raw", "big.txt big.txt " + kindOf(p, "big.txt") + ".v1.raw",
		"config.json config.json weight.config.v1.raw", "docs .modelreg/dir-docs.doc.tar doc.v1.tar", "src .modelreg/dir-src.code.tar code.v1.tar",
		"weights/tiny.safetensors weights/tiny.safetensors weight.v1.raw",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	if m.Layers[0].Annotations[mediatypes.AnnotationTarIndex] != "v1" {
		t.Errorf("the index is not marked: %v", m.Layers[0].Annotations)
	}
	// One file by its range, and only its bytes.
	src := ranged{b}
	a := mustOpen(t, src, p.Descriptor)
	before := b.fetches()
	rc, f, err := a.OpenFile(t.Context(), src, "src/f123.py")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	text, err := io.ReadAll(rc)
	if string(text) != "x123" || err != nil || b.fetches() != before || src.ranges != 1 {
		t.Errorf("read %q, %v with %d fetches and %d ranges", text, err, b.fetches()-before, src.ranges)
	}
	if f.Digest != digest.FromString("x123") || f.Kind != mediatypes.KindCode || f.Offset == 0 {
		t.Errorf("file is %+v", f)
	}
}

func kindOf(p *artifact.Packed, path string) string {
	for _, f := range p.Files {
		if f.Path == path {
			return string(f.Kind)
		}
	}
	return ""
}

func TestSparseBigFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "model.bin"))
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.WriteAt([]byte("end"), 40<<20)
	if err := errors.Join(werr, f.Close()); err != nil {
		t.Fatal(err)
	}
	b := newBlobs()
	p := mustPack(t, dir, b, artifact.PackOptions{})
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, mustOpen(t, b, p.Descriptor), b, out, artifact.UnpackOptions{})
	got, err := os.ReadFile(filepath.Join(out, "model.bin"))
	if err != nil || digest.FromBytes(got) != p.Files[0].Digest {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

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
	if err := os.WriteFile(filepath.Join(out, "old.txt"), []byte("changed"), 0o600); err != nil {
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
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
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

// A cut is a source that breaks off in the middle of every blob until it is
// mended.
type cut struct {
	*blobs
	mu     sync.Mutex
	broken bool
	after  int64
}

var errCut = errors.New("the cable is cut")

func (c *cut) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := c.blobs.Fetch(ctx, desc)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || !c.broken || desc.Size <= c.after {
		return rc, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(rc, c.after), failing{errCut}), rc}, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// After a fault of the network the next run uses what was fetched whole.
func TestUnpackResumes(t *testing.T) {
	files := map[string]string{"big.bin": randomText(100_000), "one.txt": randomText(500), "two.txt": randomText(600)}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	out := filepath.Join(parent, "m")
	src := &cut{blobs: b, broken: true, after: 1000}
	_, err := artifact.Unpack(t.Context(), a, src, out, artifact.UnpackOptions{Workers: 1})
	if !errors.Is(err, errCut) {
		t.Fatalf("Unpack = %v, want %v", err, errCut)
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
	if left := leftovers(t, parent); len(left) != 1 {
		t.Errorf("left for the next run: %v", left)
	}
	// Make sure the small ones are there whatever came first.
	src.after = 10_000
	_, _ = artifact.Unpack(t.Context(), a, src, out, artifact.UnpackOptions{})
	src.broken = false
	mustUnpack(t, a, src, out, artifact.UnpackOptions{})
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if left := leftovers(t, parent, "m"); left != nil {
		t.Errorf("left: %v", left)
	}
}

// Blobs of an interrupted run are hashed before they are believed.
func TestUnpackDoesNotTrustTheStage(t *testing.T) {
	files := map[string]string{"a.bin": randomText(5000)}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	bad := strings.Repeat("x", 5000)
	writeTree(t, parent, map[string]string{".modelreg-m.partial/blobs/sha256-" + a.Files[0].Digest.Encoded(): bad})
	out := filepath.Join(parent, "m")
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestUnpackWrongBytes(t *testing.T) {
	good := randomText(5000)
	wrong := map[string]string{
		"first bit": string(good[0]^1) + good[1:], "last bit": good[:4999] + string([]byte{good[4999] ^ 1}),
		"short": good[:4000], "nothing": "",
	}
	for name, data := range wrong {
		for _, updating := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/update=%v", name, updating), func(t *testing.T) {
				// The waits between the tries of a short blob take no time here.
				synctest.Test(t, func(t *testing.T) { unpackWrong(t, good, data, updating) })
			})
		}
	}
}

func unpackWrong(t *testing.T, good, data string, updating bool) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": good, "b.bin": "b"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	out := filepath.Join(parent, "m")
	if updating {
		old := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"old": "x"}), b, artifact.PackOptions{}).Descriptor)
		mustUnpack(t, old, b, out, artifact.UnpackOptions{})
	}
	before := readTree(t, parent)
	d := digest.FromString(good)
	b.content[d] = []byte(data)
	for range 2 { // what is refused once is not taken the second time
		_, err := artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{})
		if err == nil {
			t.Fatal("wrong bytes were taken")
		}
		de, ok := errors.AsType[*transfer.DigestError](err)
		if len(data) == len(good) && (!ok || de.Desc.Digest != d || de.Name != "a.bin") {
			t.Errorf("Unpack = %v, want a *DigestError for a.bin", err)
		}
		if _, err := os.Lstat(out); !updating && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the target is there: %v", err)
		}
		if !ok {
			continue // a fault of the network, as far as anybody can tell
		}
		if left := leftovers(t, parent, "m"); left != nil {
			t.Errorf("left: %v", left)
		}
		if diff := cmp.Diff(before, readTree(t, parent)); diff != "" {
			t.Errorf("something changed (-before +after):\n%s", diff)
		}
	}
}

func TestUnpackIsExclusive(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "abc"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "m")
	h := &held{blobs: b, entered: make(chan struct{}), leave: make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := artifact.Unpack(t.Context(), a, h, out, artifact.UnpackOptions{})
		done <- err
	}()
	<-h.entered
	_, err := artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{})
	if !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("Unpack = %v, want ErrBusy", err)
	}
	close(h.leave)
	if err := <-done; err != nil {
		t.Errorf("the first: %v", err)
	}
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
}

type held struct {
	*blobs
	once           sync.Once
	entered, leave chan struct{}
}

func (h *held) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	h.once.Do(func() { close(h.entered) })
	<-h.leave
	return h.blobs.Fetch(ctx, desc)
}

func TestUnpackUsesTheStore(t *testing.T) {
	files := map[string]string{"a.bin": randomText(5000), "b/c.txt": "c"}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := a.Manifest.Layers[0]
	if err := s.Push(t.Context(), content.NewDescriptorFromBytes(l.MediaType, b.content[l.Digest]), strings.NewReader(files["a.bin"])); err != nil {
		t.Fatal(err)
	}
	var reused []string
	out := filepath.Join(t.TempDir(), "m")
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{Store: s, Observe: func(e transfer.Event) {
		if e.Action == transfer.Reused {
			reused = append(reused, e.Name)
		}
	}})
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if u.Fetched != 1 || u.Reused != 5000 || b.fetched[digest.FromString(files["a.bin"])] != 0 {
		t.Errorf("%+v", u)
	}
	if diff := cmp.Diff([]string{"a.bin"}, reused); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	// A change in the target does not reach the store.
	writeTree(t, out, map[string]string{"a.bin": "changed"})
	for f, err := range s.Verify(t.Context()) {
		t.Errorf("store: %v %v", f, err)
	}
}

func TestUnpackCancelled(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "abc"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := artifact.Unpack(ctx, a, b, filepath.Join(parent, "m"), artifact.UnpackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack = %v, want context.Canceled", err)
	}
	if _, err := os.Lstat(filepath.Join(parent, "m")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
}
