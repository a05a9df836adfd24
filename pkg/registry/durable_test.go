package registry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/registry"
)

const emptyBlob = "/docker/registry/v2/blobs/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/data"

// A syncLog notes which directories were synced, relative to the root.
type syncLog struct {
	root string
	dirs []string
	err  error
}

func (l *syncLog) sync(dir string) error {
	rel, err := filepath.Rel(l.root, dir)
	l.dirs = append(l.dirs, filepath.ToSlash(rel))
	return errors.Join(err, l.err)
}

func (l *syncLog) take() []string {
	dirs := l.dirs
	l.dirs = nil
	return dirs
}

func TestWritesAreDurable(t *testing.T) {
	l := &syncLog{root: t.TempDir()}
	d := registry.NewDurableDriver(l.root, l.sync)
	ctx := registry.WithLogger(t.Context())

	put := func(name string) {
		t.Helper()
		if err := d.PutContent(ctx, name, []byte("x")); err != nil {
			t.Fatalf("PutContent(%s): %v", name, err)
		}
	}
	// Each new name is synced in the directory that holds it, from the top.
	put("/a/b/c")
	if diff := cmp.Diff([]string{".", "a"}, l.take()); diff != "" {
		t.Errorf("first write (-want +got):\n%s", diff)
	}
	put("/a/b/d")
	if got := l.take(); got != nil {
		t.Errorf("second write in the same directory synced %v again", got)
	}
	put("/a/_uploads/1/data")
	if got := l.take(); got != nil {
		t.Errorf("an upload, which promises nothing, synced %v", got)
	}
	if err := d.Move(ctx, "/a/_uploads/1/data", "/a/e/f"); err != nil {
		t.Fatalf("Move: %v", err)
	}
	if diff := cmp.Diff([]string{"a", "a/e"}, l.take()); diff != "" {
		t.Errorf("move (-want +got):\n%s", diff)
	}
	// What was deleted is new again.
	if err := d.Delete(ctx, "/a/b"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	put("/a/b/c")
	if diff := cmp.Diff([]string{"a"}, l.take()); diff != "" {
		t.Errorf("write after delete (-want +got):\n%s", diff)
	}
	l.err = errors.New("disk on fire")
	if err := d.PutContent(ctx, "/g/h", nil); !errors.Is(err, l.err) {
		t.Errorf("PutContent = %v, want the error of the sync", err)
	}
	if err := d.Move(ctx, "/a/b/c", "/a/e/g"); !errors.Is(err, l.err) {
		t.Errorf("Move = %v, want the error of the sync", err)
	}
}

func TestEmptiedBlobCountsAsMissing(t *testing.T) {
	root := t.TempDir()
	d := registry.NewDurableDriver(root, func(string) error { return nil })
	other := strings.ReplaceAll(emptyBlob, "e3b0c442", "e3b0c443")
	tests := map[string]struct {
		path string
		want bool // it is there
	}{
		"emptied":                 {other, false},
		"empty blob":              {emptyBlob, true},
		"link":                    {"/docker/registry/v2/repositories/m/_layers/sha256/x/link", true},
		"upload":                  {"/docker/registry/v2/repositories/sha256/_uploads/1/data", true},
		"repository called blobs": {"/docker/registry/v2/repositories" + other, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := d.PutContent(t.Context(), tc.path, nil); err != nil {
				t.Fatal(err)
			}
			_, err := d.Stat(t.Context(), tc.path)
			_, missing := errors.AsType[storagedriver.PathNotFoundError](err)
			if missing == tc.want || (err != nil && !missing) {
				t.Errorf("Stat = %v, want it there: %v", err, tc.want)
			}
		})
	}
}

func TestEmptiedContentIsRepairedByPushingAgain(t *testing.T) {
	data := t.TempDir()
	s := serve(t, registry.Options{Data: data})
	repo := s.repository("m")
	blob := pushBlob(t, repo, "application/octet-stream", []byte("weights"))
	manifest := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	raw, err := content.FetchAll(t.Context(), repo, manifest)
	if err != nil {
		t.Fatal(err)
	}
	nothing := func([]byte) []byte { return nil }
	rewriteBlob(t, data, blob.Digest, nothing)
	rewriteBlob(t, data, manifest.Digest, nothing)

	s.do("HEAD", "/v2/m/blobs/"+blob.Digest.String(), nil, nil).want(t, 404)
	pushBlob(t, repo, blob.MediaType, []byte("weights"))
	if got, err := content.FetchAll(t.Context(), repo, blob); err != nil || string(got) != "weights" {
		t.Errorf("blob after it was pushed again = %q, %v", got, err)
	}
	pushBlob(t, repo, manifest.MediaType, raw)
	if got, err := content.FetchAll(t.Context(), repo, manifest); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("manifest after it was pushed again = %q, %v", got, err)
	}
}

// A channelLog hands the messages of a logger to a test.
type channelLog struct {
	slog.Handler
	to chan slog.Record
}

func newChannelLog() channelLog {
	h := slog.NewTextHandler(&bytes.Buffer{}, &slog.HandlerOptions{Level: slog.LevelDebug})
	return channelLog{Handler: h, to: make(chan slog.Record, 1000)}
}

func (l channelLog) Handle(_ context.Context, r slog.Record) error {
	l.to <- r
	return nil
}

func (l channelLog) wait(t *testing.T, message string) slog.Record {
	t.Helper()
	for {
		select {
		case r := <-l.to:
			if r.Message == message {
				return r
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q was never logged", message)
		}
	}
}

func TestAbandonedUploadsAreRemoved(t *testing.T) {
	data := t.TempDir()
	s := serve(t, registry.Options{Data: data})
	old := s.startUpload(t, "org/m", "abandoned")
	slow := s.startUpload(t, "org/m", "slow")
	past := time.Now().Add(-25 * time.Hour)
	for _, dir := range uploadDirs(t, data) {
		if err := os.Chtimes(dir, past, past); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "data")
		if b, _ := os.ReadFile(name); string(b) == "slow" {
			continue // begun as long ago, but bytes have come since
		}
		if err := os.Chtimes(name, past, past); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	logger := newChannelLog()
	s = serve(t, registry.Options{Data: data, Logger: slog.New(logger)})
	logger.wait(t, "uploads purged")

	s.do("GET", old, nil, nil).want(t, http.StatusNotFound)
	s.do("GET", slow, nil, nil).want(t, http.StatusNoContent)
	s.do("PUT", slow+"&digest="+sha256Of([]byte("slow!")).String(), nil, []byte("!")).want(t, 201)
}

func uploadDirs(t *testing.T, data string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(data, "docker/registry/v2/repositories/org/m/_uploads/*"))
	if err != nil || len(dirs) != 2 {
		t.Fatalf("uploads = %v, %v; want two", dirs, err)
	}
	return dirs
}

// A countHook counts what goes to Distribution's global logger.
type countHook struct{ lines []string }

func (h *countHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h *countHook) Fire(e *logrus.Entry) error {
	h.lines = append(h.lines, e.Message)
	return nil
}

func TestNothingIsLoggedGlobally(t *testing.T) {
	global := logrus.StandardLogger()
	hook := &countHook{}
	level := global.Level
	global.SetLevel(logrus.TraceLevel)
	old := global.ReplaceHooks(logrus.LevelHooks{})
	global.AddHook(hook)
	defer func() {
		global.ReplaceHooks(old)
		global.SetLevel(level)
	}()

	logger := newChannelLog()
	s := serve(t, registry.Options{Data: t.TempDir(), Logger: slog.New(logger)})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	signature := sign(t, repo, subject, 1)
	s.do("GET", "/v2/_catalog", nil, nil).want(t, 200)
	s.do("GET", "/v2/m/manifests/absent", nil, nil).want(t, 404)
	s.do("PUT", "/v2/m/manifests/x", nil, []byte("{}"))
	if err := repo.Delete(t.Context(), signature); err != nil {
		t.Fatal(err)
	}
	if len(hook.lines) != 0 {
		t.Errorf("the global logger was told %q", hook.lines)
	}
	if r := logger.wait(t, "response completed with error"); r.Level != slog.LevelDebug {
		t.Errorf("logged at %v, want Debug", r.Level)
	}
}
