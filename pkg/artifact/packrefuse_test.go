package artifact_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
)

func TestPackRefusesSecrets(t *testing.T) {
	token := "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
	secrets := map[string]string{
		"config.yaml": "token: " + token + "\n",
		"key.txt":     "-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
		"a/sa.json":   `{"private_key":"-----BEGIN PRIVATE ` + `KEY-----\nMIIEvQ"}`,
		"aws.ini":     "aws_access_key_id = AKIA" + "QWERTYUIOPASDFGH\n",
		"server.pem":  "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\n",
		"der.key":     "\x30\x82\x04\xa4\x02\x01\x00\x02\x82\x01\x01\x00",
	}
	fine := map[string]string{
		"README.md": "use hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx or AKIAIOSFODNN7EXAMPLE", "model.bin": "weights",
		"ca.pem": "-----BEGIN CERTIFICATE-----\nMIIB\n", "code.py": `HEADER = "-----BEGIN PRIVATE ` + `KEY-----"`,
	}
	dir := writeTree(t, writeTree(t, t.TempDir(), fine), secrets)
	b := newBlobs()
	_, err := artifact.Pack(t.Context(), dir, b, artifact.PackOptions{})
	se, ok := errors.AsType[*artifact.SecretsError](err)
	if !ok || !errors.Is(err, artifact.ErrUnsafe) {
		t.Fatalf("Pack = %v, want a *SecretsError that wraps ErrUnsafe", err)
	}
	var named []string
	for _, f := range se.Files {
		named = append(named, f.Path)
		if !strings.Contains(err.Error(), f.Path) {
			t.Errorf("%q does not name %s", err, f.Path)
		}
	}
	if diff := cmp.Diff([]string{"a/sa.json", "aws.ini", "config.yaml", "der.key", "key.txt", "server.pem"}, named); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	if len(b.content) != 0 {
		t.Errorf("%d blobs were sent", len(b.content))
	}
	if strings.Contains(err.Error(), token) {
		t.Error("the message has the secret in it")
	}
	p := mustPack(t, dir, b, artifact.PackOptions{IncludeSecrets: named})
	if len(p.Files) != len(secrets)+len(fine) {
		t.Errorf("files: %v", paths(p.Files))
	}
}

func symlink(t testing.TB, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func TestPackRefuses(t *testing.T) {
	outside := writeTree(t, t.TempDir(), map[string]string{"secret": "s"})
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		want error
		text string
	}{
		"link outside": {func(t *testing.T, dir string) {
			symlink(t, filepath.Join(outside, "secret"), filepath.Join(dir, "x"))
		}, artifact.ErrUnsafe, "out of the directory"},
		"link up": {func(t *testing.T, dir string) {
			symlink(t, "../../../../../../etc/hostname", filepath.Join(dir, "x"))
		}, artifact.ErrUnsafe, `"x"`},
		"link to a directory outside": {func(t *testing.T, dir string) { symlink(t, outside, filepath.Join(dir, "x")) }, artifact.ErrUnsafe, `"x"`},
		"dangling link":               {func(t *testing.T, dir string) { symlink(t, "nothing", filepath.Join(dir, "x")) }, artifact.ErrUnsafe, "link to nothing"},
		"link to itself":              {func(t *testing.T, dir string) { symlink(t, "x", filepath.Join(dir, "x")) }, artifact.ErrUnsafe, `"x"`},
		"link to its directory":       {func(t *testing.T, dir string) { symlink(t, ".", filepath.Join(dir, "x")) }, artifact.ErrUnsafe, "directory that it is in"},
		"two directories of links": {func(t *testing.T, dir string) {
			writeTree(t, dir, map[string]string{"a/f": "", "b/f": ""})
			symlink(t, "../b", filepath.Join(dir, "a", "to"))
			symlink(t, "../a", filepath.Join(dir, "b", "to"))
		}, artifact.ErrUnsafe, "directory that it is in"},
		"pipe": {func(t *testing.T, dir string) {
			err := mkfifo(filepath.Join(dir, "x"))
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, artifact.ErrUnsafe, "named pipe"},
		"socket": {func(t *testing.T, dir string) {
			t.Chdir(dir) // the names of sockets are short
			l, err := net.Listen("unix", "x")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, artifact.ErrUnsafe, "socket"},
		"bad name":   {func(t *testing.T, dir string) { writeTree(t, dir, map[string]string{"a:b": ""}) }, artifact.ErrUnsafe, "colon"},
		"case twins": {func(t *testing.T, dir string) { writeTree(t, dir, map[string]string{"A": "", "a": ""}) }, artifact.ErrUnsafe, "collision"},
		"unreadable": {func(t *testing.T, dir string) {
			if os.Geteuid() == 0 {
				t.Skip("root reads everything")
			}
			writeTree(t, dir, map[string]string{"x": ""})
			if err := os.Chmod(filepath.Join(dir, "x"), 0); err != nil {
				t.Fatal(err)
			}
		}, fs.ErrPermission, "x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := writeTree(t, t.TempDir(), map[string]string{"model.bin": "weights"})
			tt.make(t, dir)
			b := newBlobs()
			_, err := artifact.Pack(t.Context(), dir, b, artifact.PackOptions{})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Pack = %v, want %v with %q", err, tt.want, tt.text)
			}
			if len(b.content) != 0 {
				t.Errorf("%d blobs were sent", len(b.content))
			}
		})
	}
}

func TestPackEmpty(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{".git/HEAD": "x", ".modelregignore": ""})
	if _, err := artifact.Pack(t.Context(), dir, newBlobs(), artifact.PackOptions{}); !errors.Is(err, artifact.ErrEmpty) {
		t.Errorf("Pack = %v, want ErrEmpty", err)
	}
	if _, err := artifact.Pack(t.Context(), filepath.Join(dir, "none"), newBlobs(), artifact.PackOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Pack = %v, want fs.ErrNotExist", err)
	}
}

// A meddler changes a file when it is asked whether the target has it, that is
// between the hashing and the sending.
type meddler struct {
	*blobs
	once sync.Once
	do   func()
}

func (m *meddler) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	m.once.Do(m.do)
	return m.blobs.Exists(ctx, desc)
}

func TestPackNoticesChanges(t *testing.T) {
	for name, change := range map[string]string{"grows": "weights and more", "shrinks": "w", "same size": "WEIGHTS"} {
		t.Run(name, func(t *testing.T) {
			dir := writeTree(t, t.TempDir(), map[string]string{"model.bin": "weights"})
			m := &meddler{blobs: newBlobs(), do: func() { writeTree(t, dir, map[string]string{"model.bin": change}) }}
			_, err := artifact.Pack(t.Context(), dir, m, artifact.PackOptions{})
			if !errors.Is(err, artifact.ErrChanged) || !strings.Contains(err.Error(), "model.bin") {
				t.Errorf("Pack = %v, want ErrChanged with the name", err)
			}
			for _, mt := range m.pushed {
				if mt == ocispec.MediaTypeImageManifest {
					t.Error("the manifest was sent")
				}
			}
		})
	}
}

// Too many layers for a manifest are noticed before anything is sent.
func TestPackTooManyLayers(t *testing.T) {
	files := make(map[string]string)
	for i := range 10_000 {
		files[fmt.Sprintf("%d/%d", i/100, i)] = ""
	}
	dir, b := writeTree(t, t.TempDir(), files), newBlobs()
	_, err := artifact.Pack(t.Context(), dir, b, artifact.PackOptions{Layout: artifact.LayoutRaw})
	if !errors.Is(err, artifact.ErrUnsafe) || !strings.Contains(err.Error(), "layers") {
		t.Errorf("Pack = %v, want ErrUnsafe", err)
	}
	if len(b.content) != 0 {
		t.Errorf("%d blobs were sent", len(b.content))
	}
	if p := mustPack(t, dir, b, artifact.PackOptions{}); len(p.Files) != 10_000 {
		t.Errorf("%d files", len(p.Files))
	}
}
