package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

// age makes everything in a store look as if last used long ago.
func age(t *testing.T, dir string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	for _, pattern := range []string{"blobs/*/*", "ingest/*", "ingest/*/*", "bad/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			if stat(t, name).Mode()&fs.ModeSymlink != 0 {
				continue
			}
			if err := os.Chtimes(name, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// reopened fills a store and opens it again, as another process would later.
func reopened(t *testing.T, fill func(s *store.Store)) *store.Store {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	fill(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openStore(t, dir)
}

func wantBlobs(t *testing.T, s *store.Store, want map[string]bool) {
	t.Helper()
	got := make(map[string]bool)
	for text := range want {
		_, err := os.Stat(blobPath(s, digest.FromString(text)))
		got[text] = err == nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
}

func prune(t *testing.T, s *store.Store, opts store.PruneOptions) store.Pruned {
	t.Helper()
	p, err := s.Prune(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPruneKeepsWhatTagsLeadTo(t *testing.T) {
	s := reopened(t, func(s *store.Store) {
		tagged := storetest.PushManifest(t, s, "tagged", "shared")
		named := storetest.PushManifest(t, s, "by digest")
		storetest.PushManifest(t, s, "loose", "shared")
		if err := errors.Join(s.Tag(t.Context(), tagged, "v1"), s.Tag(t.Context(), named, named.Digest.String())); err != nil {
			t.Fatal(err)
		}
	})
	age(t, s.Dir(), 48*time.Hour)

	if p := prune(t, s, store.PruneOptions{OlderThan: 72 * time.Hour}); p != (store.Pruned{}) {
		t.Errorf("Prune of older things = %+v, want nothing", p)
	}
	dry := prune(t, s, store.PruneOptions{DryRun: true})
	wantBlobs(t, s, map[string]bool{"tagged": true, "shared": true, "by digest": true, "loose": true})
	if p := prune(t, s, store.PruneOptions{}); p != dry || p.Blobs != 2 || p.References != 0 {
		t.Errorf("Prune = %+v, want 2 blobs as foretold by %+v", p, dry)
	}
	wantBlobs(t, s, map[string]bool{"tagged": true, "shared": true, "by digest": true, "loose": false})

	if p := prune(t, s, store.PruneOptions{All: true, OlderThan: 72 * time.Hour}); p != (store.Pruned{}) {
		t.Errorf("Prune of all older things = %+v, want nothing", p)
	}
	if p := prune(t, s, store.PruneOptions{All: true}); p.Blobs != 6 || p.References != 2 {
		t.Errorf("Prune of all = %+v, want 6 blobs and 2 references", p)
	}
	if u, err := s.Usage(t.Context()); err != nil || u != (store.Usage{}) {
		t.Errorf("Usage = %+v, %v, want nothing", u, err)
	}
}

func TestPruneKeepsWhatIsYoung(t *testing.T) {
	s := reopened(t, func(s *store.Store) { pushBlob(t, s, []byte("young")) })
	if p := prune(t, s, store.PruneOptions{All: true, OlderThan: time.Nanosecond}); p.Blobs != 0 {
		t.Errorf("Prune = %+v, want nothing", p)
	}
	wantBlobs(t, s, map[string]bool{"young": true})
}

// TestUseMakesYoung has an old blob be asked for before a Prune.
func TestUseMakesYoung(t *testing.T) {
	uses := map[string]func(s *store.Store, desc ocispec.Descriptor) error{
		"Exists": func(s *store.Store, desc ocispec.Descriptor) error {
			_, err := s.Exists(t.Context(), desc)
			return err
		},
		"Fetch": func(s *store.Store, desc ocispec.Descriptor) error {
			rc, err := s.Fetch(t.Context(), desc)
			if err == nil {
				err = rc.Close()
			}
			return err
		},
		"Push": func(s *store.Store, desc ocispec.Descriptor) error {
			_ = s.Push(t.Context(), desc, bytes.NewReader(nil))
			return nil
		},
	}
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			s := reopened(t, func(s *store.Store) {
				pushBlob(t, s, []byte("used"))
				pushBlob(t, s, []byte("unused"))
			})
			age(t, s.Dir(), 48*time.Hour)
			if err := use(s, storetest.Blob([]byte("used"))); err != nil {
				t.Fatal(err)
			}
			prune(t, s, store.PruneOptions{})
			wantBlobs(t, s, map[string]bool{"used": true, "unused": false})
		})
	}
}

// TestUseRacesPrune has an old blob be asked for in the moment of a Prune.
// Whoever is told that it exists can rely on it.
func TestUseRacesPrune(t *testing.T) {
	s := reopened(t, func(s *store.Store) {})
	b := []byte("contended")
	desc := storetest.Blob(b)
	user := openStore(t, s.Dir())
	kept := 0
	for range 100 {
		pushBlob(t, user, b)
		age(t, s.Dir(), 48*time.Hour)
		if err := user.Close(); err != nil { // else its session would keep the blob
			t.Fatal(err)
		}
		user = openStore(t, s.Dir())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Prune(t.Context(), store.PruneOptions{}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			ok, err := user.Exists(t.Context(), desc)
			if err != nil {
				t.Error(err)
			}
			if ok {
				kept++
				if _, err := content.FetchAll(t.Context(), user, desc); err != nil {
					t.Errorf("blob that exists: %v", err)
				}
			}
		})
		wg.Wait()
	}
	t.Logf("kept %d of 100", kept)
}

// TestYoungManifestKeepsItsLayers has only a manifest be used lately.
func TestYoungManifestKeepsItsLayers(t *testing.T) {
	var desc ocispec.Descriptor
	s := reopened(t, func(s *store.Store) {
		desc = storetest.PushManifest(t, s, "old layer")
		pushBlob(t, s, []byte("loose"))
	})
	age(t, s.Dir(), 48*time.Hour)
	if ok, err := s.Exists(t.Context(), desc); !ok || err != nil {
		t.Fatal(ok, err)
	}
	prune(t, s, store.PruneOptions{})
	wantBlobs(t, s, map[string]bool{"old layer": true, "loose": false})
}

// TestPruneBesideLongPull has a process that has been at it for days, with
// nothing in the making at this moment.
func TestPruneBesideLongPull(t *testing.T) {
	dir := t.TempDir()
	pulling := openStore(t, dir)
	pushBlob(t, pulling, []byte("first shard"))
	age(t, dir, 48*time.Hour)
	sessions, err := filepath.Glob(filepath.Join(dir, "locks", "session.*"))
	if err != nil || len(sessions) != 1 {
		t.Fatalf("sessions = %v, %v, want one", sessions, err)
	}
	then := time.Now().Add(-72 * time.Hour)
	if err := os.Chtimes(sessions[0], then, then); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir)
	prune(t, s, store.PruneOptions{})
	wantBlobs(t, s, map[string]bool{"first shard": true})
	if err := pulling.Close(); err != nil {
		t.Fatal(err)
	}
	prune(t, s, store.PruneOptions{})
	wantBlobs(t, s, map[string]bool{"first shard": false})
}

func TestPrunePartials(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "hold", dir)
	c.line(t)
	s := openStore(t, dir)
	age(t, dir, 48*time.Hour)
	if p := prune(t, s, store.PruneOptions{}); p.Partials != 0 {
		t.Errorf("Prune beside a running process = %+v, want no partials", p)
	}
	c.kill()
	if p := prune(t, s, store.PruneOptions{OlderThan: 72 * time.Hour}); p.Partials != 0 {
		t.Errorf("Prune of older things = %+v, want no partials", p)
	}
	if p := prune(t, s, store.PruneOptions{}); p.Partials != 1 || p.Bytes < 2*step {
		t.Errorf("Prune = %+v, want one partial", p)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "locks", "session.*")); len(left) != 1 {
		// The killed one's session is younger than a minute, and stays so long.
		t.Errorf("sessions = %v, want one", left)
	}
}

// TestPruneOfOddThings has things in the store that it did not put there.
func TestPruneOfOddThings(t *testing.T) {
	s := openStore(t, t.TempDir())
	blobs := filepath.Join(s.Dir(), "blobs", "sha256")
	outside := filepath.Join(t.TempDir(), "outside")
	odd := func(text string) string { return filepath.Join(blobs, digest.FromString(text).Encoded()) }
	err := errors.Join(
		os.WriteFile(outside, nil, 0o600),
		os.Symlink(outside, odd("a link out")),
		os.Symlink("nowhere", odd("a dead link")),
		os.MkdirAll(filepath.Join(odd("a directory"), "sub"), 0o700),
		os.WriteFile(filepath.Join(blobs, "README"), nil, 0o600),
		os.WriteFile(filepath.Join(s.Dir(), "ingest", "tmp.left"), []byte("left"), 0o600),
		os.WriteFile(filepath.Join(s.Dir(), "ingest", "of another tool"), nil, 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	age(t, s.Dir(), 48*time.Hour)
	prune(t, s, store.PruneOptions{})
	for name, want := range map[string]bool{
		outside: true, odd("a directory"): false, filepath.Join(blobs, "README"): true,
		filepath.Join(s.Dir(), "ingest", "tmp.left"): false, filepath.Join(s.Dir(), "ingest", "of another tool"): true,
	} {
		if _, err := os.Lstat(name); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
}

func TestPruneHonoursContext(t *testing.T) {
	s := openStore(t, t.TempDir())
	pushBlob(t, s, []byte("x"))
	if _, err := s.Prune(cancelledContext(t), store.PruneOptions{}); err == nil {
		t.Error("Prune error = nil, want one")
	}
}

func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	s := openStore(t, t.TempDir())
	blobs := make(map[digest.Digest][]byte)
	want := make(map[digest.Digest]bool)
	for i := range uint64(60) {
		b := blobOf(i, 100+int(i)*997)
		desc := pushBlob(t, s, b)
		switch name := blobPath(s, desc.Digest); i % 4 {
		case 0: // stays good
			continue
		case 1:
			if err := errors.Join(os.Chmod(name, 0o600), os.Truncate(name, int64(i))); err != nil {
				t.Fatal(err)
			}
		default:
			flipBit(t, name, int64(i*7919)%(int64(len(b))*8))
		}
		blobs[desc.Digest], want[desc.Digest] = b, true
	}
	got := make(map[digest.Digest]bool)
	for f, err := range s.Verify(t.Context()) {
		if err != nil || !errors.Is(f.Err, store.ErrCorrupt) {
			t.Errorf("Verify found %+v, %v, want ErrCorrupt", f, err)
		}
		got[f.Digest] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for _, b := range blobs {
		pushBlob(t, s, b)
	}
	for f, err := range s.Verify(t.Context()) {
		t.Errorf("Verify after Push found %+v, %v", f, err)
	}
	age(t, s.Dir(), 48*time.Hour)
	if p := prune(t, s, store.PruneOptions{}); p.Damaged != len(want) {
		t.Errorf("Prune = %+v, want %d damaged", p, len(want))
	}
}

func TestVerifyFindsMissing(t *testing.T) {
	s := openStore(t, t.TempDir())
	desc := storetest.PushManifest(t, s, "layer")
	other := storetest.PushManifest(t, s, "layer", "another")
	if err := errors.Join(s.Tag(t.Context(), desc, "v1"), s.Tag(t.Context(), desc, "v2"), s.Tag(t.Context(), other, "v3")); err != nil {
		t.Fatal(err)
	}
	want := []digest.Digest{}
	for _, gone := range []digest.Digest{digest.FromString("layer"), desc.Digest} {
		if err := s.Delete(t.Context(), ocispec.Descriptor{Digest: gone}); err != nil {
			t.Fatal(err)
		}
		var got []digest.Digest
		for f, err := range s.Verify(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, f.Digest)
		}
		want = append(want, gone)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
	}
}

func TestVerifyCanBeLeft(t *testing.T) {
	s := openStore(t, t.TempDir())
	for i := range uint64(20) {
		desc := pushBlob(t, s, blobOf(i, 100))
		flipBit(t, blobPath(s, desc.Digest), 9)
	}
	for range s.Verify(t.Context()) {
		break // goleak tells whether its goroutines ended
	}
	var last error
	for _, err := range s.Verify(cancelledContext(t)) {
		last = err
	}
	if last == nil {
		t.Error("Verify without time error = nil, want one")
	}
}

func TestTagsOfDamagedIndexStay(t *testing.T) {
	for name, text := range map[string]string{
		"cut off":   `{"schemaVersion":2,"manifests":[`,
		"empty":     "",
		"duplicate": `{"schemaVersion":2,"manifests":[],"manifests":[]}`,
		"version 1": `{"schemaVersion":1,"manifests":[]}`,
		"no digest": `{"schemaVersion":2,"manifests":[{"digest":"sha256:..","size":1}]}`,
		"bad size":  `{"schemaVersion":2,"manifests":[{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":-1}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			desc := pushBlob(t, s, []byte("x"))
			index := filepath.Join(s.Dir(), "index.json")
			if err := os.WriteFile(index, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Tag(t.Context(), desc, "v1"); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("Tag error = %v, want ErrCorrupt", err)
			}
			if _, err := s.Prune(t.Context(), store.PruneOptions{}); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("Prune error = %v, want ErrCorrupt", err)
			}
			if got, err := os.ReadFile(index); err != nil || string(got) != text {
				t.Errorf("index.json is %q, %v, want it left alone", got, err)
			}
		})
	}
}
