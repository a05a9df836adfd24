package artifact_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// readCache reads a cache: files as their text, links as what they say.
func readCache(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		rel = filepath.ToSlash(rel)
		if strings.HasPrefix(rel, ".locks/") {
			return nil
		}
		if e.Type()&fs.ModeSymlink != 0 {
			text, err := os.Readlink(p)
			got[rel] = "-> " + text
			return err
		}
		data, err := os.ReadFile(p)
		got[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func hexOf(text string) string { return digest.FromString(text).Encoded() }

func TestUnpackHF(t *testing.T) {
	b := newBlobs()
	files := map[string]string{"config.json": "{}", "onnx/q/model.onnx": "onnx", "copy.json": "{}", "empty": ""}
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	cache := filepath.Join(t.TempDir(), "new", "hub")
	opts := artifact.HFOptions{Cache: cache, RepoID: "acme/tiny", Ref: "feature/x"}
	plan, err := artifact.PlanUnpackHF(t.Context(), a, b, opts, artifact.UnpackOptions{})
	if err != nil || plan.Fetch != 6 || plan.Files != 4 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if _, err := os.Stat(cache); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a plan made the cache: %v", err)
	}
	u, err := artifact.UnpackHF(t.Context(), a, b, opts, artifact.UnpackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rev := a.Descriptor.Digest.Encoded()[:40]
	model := "models--acme--tiny/"
	snapshot := model + "snapshots/" + rev + "/"
	want := map[string]string{
		model + "blobs/" + hexOf("{}"): "{}", model + "blobs/" + hexOf("onnx"): "onnx", model + "blobs/" + hexOf(""): "",
		snapshot + "config.json": "-> ../../blobs/" + hexOf("{}"), snapshot + "copy.json": "-> ../../blobs/" + hexOf("{}"),
		snapshot + "empty": "-> ../../blobs/" + hexOf(""), snapshot + "onnx/q/model.onnx": "-> ../../../../blobs/" + hexOf("onnx"),
		model + "refs/feature/x": rev, model + "refs/main": rev, model + ".modelreg/" + rev: a.Descriptor.Digest.String() + "\n",
	}
	if diff := cmp.Diff(want, readCache(t, cache)); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
	if u.Revision != rev || u.Main != rev || u.Snapshot != filepath.Join(cache, filepath.FromSlash(snapshot)) || u.Files != 4 {
		t.Errorf("result %+v", u)
	}
	if diff := cmp.Diff(files, readThrough(t, u.Snapshot, files)); diff != "" {
		t.Errorf("through the links (-want +got):\n%s", diff)
	}
	before := b.fetches()
	if u, err = artifact.UnpackHF(t.Context(), a, b, opts, artifact.UnpackOptions{}); err != nil || u.Fetched != 0 || b.fetches() != before {
		t.Errorf("second time: %+v, %v", u, err)
	}
	if diff := cmp.Diff(want, readCache(t, cache)); diff != "" {
		t.Errorf("cache after the second time (-want +got):\n%s", diff)
	}
}

func readThrough(t *testing.T, dir string, names map[string]string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for name := range names {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Error(err)
		}
		got[name] = string(data)
	}
	return got
}

// A version is added to what is there: blobs are shared, other snapshots and refs
// stay, main moves only when it is told to, and a selection is completed later.
func TestUnpackHFExtends(t *testing.T) {
	b := newBlobs()
	pack := func(files map[string]string) *artifact.Artifact {
		return mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	}
	v1 := pack(map[string]string{"a.bin": "one", "b.bin": "same", "c.bin": "rest"})
	v2 := pack(map[string]string{"a.bin": "two", "b.bin": "same"})
	cache := t.TempDir()
	theirs := map[string]string{
		"models--acme--tiny/refs/main":                          strings.Repeat("0", 40),
		"models--acme--tiny/snapshots/0000/config.json":         "theirs",
		"models--acme--tiny/blobs/" + hexOf("same"):             "same",
		"models--acme--tiny/blobs/0123456789abcdef.incomplete":  "half",
		"models--acme--tiny/.no_exist/0000/adapter_config.json": "",
		"version.txt": "1",
	}
	writeTree(t, cache, theirs)
	tiny := artifact.HFOptions{Cache: cache, RepoID: "acme/tiny", Ref: "v1"}
	u, err := artifact.UnpackHF(t.Context(), v1, b, tiny, include("[ab].bin"))
	if err != nil || u.Fetched != 3 || u.LeftOut != 1 || u.Main != strings.Repeat("0", 40) {
		t.Fatalf("v1: %+v, %v", u, err)
	}
	if u, err = artifact.UnpackHF(t.Context(), v1, b, tiny, artifact.UnpackOptions{}); err != nil || u.Fetched != 4 {
		t.Errorf("the rest of v1: %+v, %v", u, err)
	}
	tiny.Ref, tiny.Main = "v2", true
	if u, err = artifact.UnpackHF(t.Context(), v2, b, tiny, artifact.UnpackOptions{Force: true}); err != nil || u.Fetched != 3 || u.Main != u.Revision {
		t.Errorf("v2: %+v, %v", u, err)
	}
	got := readCache(t, cache)
	theirs["models--acme--tiny/refs/main"] = u.Revision
	for name, text := range theirs {
		if got[name] != text {
			t.Errorf("%s: %q, was %q", name, got[name], text)
		}
	}
	for _, a := range []*artifact.Artifact{v1, v2} {
		for _, f := range a.Files {
			name := "models--acme--tiny/snapshots/" + a.Descriptor.Digest.Encoded()[:40] + "/" + f.Path
			if got[name] != "-> ../../blobs/"+f.Digest.Encoded() {
				t.Errorf("%s: %q", name, got[name])
			}
		}
	}
	if n := len(got); n != len(theirs)+3+3+2+2+2 {
		t.Errorf("%d files in the cache: %v", n, got)
	}
}

// A ref that another program wrote moves by force only; one of ours, and one that
// is not there, moves without.
func TestUnpackHFKeepsRefs(t *testing.T) {
	b := newBlobs()
	pack := func(text string) (*artifact.Artifact, string) {
		a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": text}), b, artifact.PackOptions{}).Descriptor)
		return a, a.Descriptor.Digest.Encoded()[:40]
	}
	v1, rev1 := pack("one")
	v2, rev2 := pack("two")
	theirs := strings.Repeat("0", 40)
	for name, text := range map[string]string{"a commit": theirs, "something else": "../../x", "much": strings.Repeat("1", 5000)} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			writeTree(t, cache, map[string]string{"models--m/refs/main": text, "models--m/refs/v9": text})
			unpack := func(a *artifact.Artifact, ref string, force bool) *artifact.HFUnpacked {
				t.Helper()
				hf := artifact.HFOptions{Cache: cache, RepoID: "m", Ref: ref, Main: true}
				u, err := artifact.UnpackHF(t.Context(), a, b, hf, artifact.UnpackOptions{Force: force, Reference: "host/m:" + ref})
				if err != nil {
					t.Fatal(err)
				}
				return u
			}
			refs := func(main, v1, v9 string) {
				t.Helper()
				got := readCache(t, cache)
				got = map[string]string{"main": got["models--m/refs/main"], "v1": got["models--m/refs/v1"], "v9": got["models--m/refs/v9"]}
				if diff := cmp.Diff(map[string]string{"main": main, "v1": v1, "v9": v9}, got); diff != "" {
					t.Errorf("refs (-want +got):\n%s", diff)
				}
			}
			u := unpack(v1, "v1", false)
			refs(text, rev1, text)
			if len(u.Kept) != 1 || !strings.HasPrefix(text, u.Kept["main"]) || u.Main != u.Kept["main"] {
				t.Errorf("result %+v", u)
			}
			if u = unpack(v2, "v1", false); len(u.Kept) != 1 {
				t.Errorf("result %+v", u)
			}
			refs(text, rev2, text)
			if u = unpack(v1, "v9", false); len(u.Kept) != 2 {
				t.Errorf("result %+v", u)
			}
			refs(text, rev2, text)
			if u = unpack(v1, "v9", true); len(u.Kept) != 0 || u.Main != rev1 {
				t.Errorf("result %+v", u)
			}
			refs(rev1, rev2, rev1)
			if u = unpack(v2, "v9", false); len(u.Kept) != 0 {
				t.Errorf("result %+v", u)
			}
			refs(rev2, rev2, rev2)
			if got := readCache(t, cache)["models--m/.modelreg/"+rev1]; got != "host/m:v9\n" {
				t.Errorf("marker %q", got)
			}
		})
	}
}

// What is in the cache under a name that is wanted, and is something else, is
// replaced only by force.
func TestUnpackHFRefusesForeign(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "right"}), b, artifact.PackOptions{}).Descriptor)
	rev := a.Descriptor.Digest.Encoded()[:40]
	for _, name := range []string{"blobs/" + hexOf("right"), "snapshots/" + rev + "/a.bin"} {
		t.Run(name[:5], func(t *testing.T) {
			cache := t.TempDir()
			writeTree(t, cache, map[string]string{"models--m/" + name: "wrong"})
			hf := artifact.HFOptions{Cache: cache, RepoID: "m", Ref: "v1"}
			_, err := artifact.UnpackHF(t.Context(), a, b, hf, artifact.UnpackOptions{})
			if !errors.Is(err, artifact.ErrNotOurs) {
				t.Errorf("error %v, want ErrNotOurs", err)
			}
			if got := readCache(t, cache); got["models--m/"+name] != "wrong" || got["models--m/refs/v1"] != "" {
				t.Errorf("cache: %v", got)
			}
			u, err := artifact.UnpackHF(t.Context(), a, b, hf, artifact.UnpackOptions{Force: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := readThrough(t, u.Snapshot, map[string]string{"a.bin": ""}); got["a.bin"] != "right" {
				t.Errorf("files: %v", got)
			}
		})
	}
	// The same content under another name is as good: a hub may have served it.
	cache := t.TempDir()
	writeTree(t, cache, map[string]string{"models--m/snapshots/" + rev + "/a.bin": "right"})
	if _, err := artifact.UnpackHF(t.Context(), a, b, artifact.HFOptions{Cache: cache, RepoID: "m"}, artifact.UnpackOptions{}); err != nil {
		t.Errorf("the same file: %v", err)
	}
}

// A link in the cache that leads out of it is not followed.
func TestUnpackHFStaysInside(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"d/a.bin": "x"}), b, artifact.PackOptions{}).Descriptor)
	rev := a.Descriptor.Digest.Encoded()[:40]
	outside, cache := t.TempDir(), t.TempDir()
	writeTree(t, cache, map[string]string{"models--m/snapshots/" + rev + "/x": ""})
	if err := os.Symlink(outside, filepath.Join(cache, "models--m", "snapshots", rev, "d")); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("links need a privilege there")
		}
		t.Fatal(err)
	}
	if _, err := artifact.UnpackHF(t.Context(), a, b, artifact.HFOptions{Cache: cache, RepoID: "m"}, artifact.UnpackOptions{}); err == nil {
		t.Error("no error")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}

// Wrong bytes are never visible in the cache.
func TestUnpackHFWrongBytes(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "right"}), b, artifact.PackOptions{}).Descriptor)
	b.content[digest.FromString("right")] = []byte("wrong")
	cache := t.TempDir()
	if _, err := artifact.UnpackHF(t.Context(), a, b, artifact.HFOptions{Cache: cache, RepoID: "m", Ref: "v1"}, artifact.UnpackOptions{}); err == nil {
		t.Error("no error")
	}
	if left := leftovers(t, cache, ".locks"); left != nil {
		t.Errorf("left: %v", left)
	}
}

// A pull that was interrupted goes on where it stopped, and shows nothing before.
func TestUnpackHFResumes(t *testing.T) {
	files := map[string]string{"a.bin": randomText(500), "z.bin": randomText(100_000)}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	stop := artifact.UnpackOptions{Workers: 1, Observe: func(e transfer.Event) {
		if e.Action == transfer.Done { // the larger comes first
			cancel()
		}
	}}
	hf := artifact.HFOptions{Cache: cache, RepoID: "m", Ref: "v1"}
	if _, err := artifact.UnpackHF(ctx, a, b, hf, stop); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want context.Canceled", err)
	}
	for name := range readCache(t, cache) {
		if !strings.HasPrefix(name, "models--m/.modelreg-") {
			t.Errorf("%s is there", name)
		}
	}
	u, err := artifact.UnpackHF(t.Context(), a, b, hf, artifact.UnpackOptions{})
	if err != nil || u.Fetched > 500 {
		t.Errorf("%+v, %v", u, err)
	}
	if left := leftovers(t, filepath.Join(cache, "models--m"), "blobs", "refs", "snapshots", ".modelreg"); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestUnpackHFBusy(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "x"}), b, artifact.PackOptions{}).Descriptor)
	cache := t.TempDir()
	writeTree(t, cache, map[string]string{".locks/models--m/modelreg.lock": ""})
	lock := flock.New(filepath.Join(cache, ".locks", "models--m", "modelreg.lock"))
	if ok, err := lock.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	defer lock.Close()
	if _, err := artifact.UnpackHF(t.Context(), a, b, artifact.HFOptions{Cache: cache, RepoID: "m"}, artifact.UnpackOptions{}); !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("error %v, want ErrBusy", err)
	}
}

func TestCheckRepoID(t *testing.T) {
	for _, id := range []string{"gpt2", "acme/tiny", "Org_1/Model.v1-x", "a/b"} {
		if err := artifact.CheckRepoID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", "a/b/c", "../x", "a/..", "a--b", "-a", "a.", ".a/b", "a/b.git", "a b", "größe", `a\b`, "a/", "/a", strings.Repeat("x", 97)} {
		if err := artifact.CheckRepoID(id); !errors.Is(err, artifact.ErrTarget) {
			t.Errorf("CheckRepoID(%q) = %v, want ErrTarget", id, err)
		}
	}
}
