package remote_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// newClient returns a client with no credentials but those of its options.
func newClient(t testing.TB, opts remote.Options) *remote.Client {
	t.Helper()
	if opts.AuthFile == "" {
		opts.AuthFile = filepath.Join(t.TempDir(), "config.json")
	}
	c, err := remote.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// newRepo returns a repository of the server.
func newRepo(t testing.TB, s *testreg.Server) *remote.Repository {
	t.Helper()
	return repoOf(t, newClient(t, remote.Options{}), s.Host+"/org/model")
}

func repoOf(t testing.TB, c *remote.Client, name string) *remote.Repository {
	t.Helper()
	r, err := c.Repository(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content returns bytes that are the same in every run, and their descriptor.
func content(seed uint64, size int) (ocispec.Descriptor, []byte) {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	return describe("application/octet-stream", data), data
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// opener opens data as PushFrom wants it.
func opener(data []byte) func(context.Context, int64) (io.ReadCloser, error) {
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[offset:])), nil
	}
}

// put stores a blob while the server behaves.
func put(t testing.TB, r *remote.Repository, data []byte) ocispec.Descriptor {
	t.Helper()
	desc := describe("application/octet-stream", data)
	if err := r.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return desc
}

// readAll reads and closes.
func readAll(rc io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// manifestOf returns a manifest with the blob as its layer.
func manifestOf(t testing.TB, r *remote.Repository, subject *ocispec.Descriptor, note string) (ocispec.Descriptor, []byte) {
	t.Helper()
	put(t, r, []byte("{}"))
	raw := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"artifactType":"application/vnd.example.note","config":{"mediaType":"application/vnd.oci.empty.v1+json",` +
		`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
		`"layers":[{"mediaType":"application/vnd.oci.empty.v1+json",` +
		`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}],`)
	if subject != nil {
		raw = append(raw, `"subject":{"mediaType":"`+subject.MediaType+`","digest":"`+subject.Digest.String()+`","size":`...)
		raw = append(raw, digits(subject.Size)+`},`...)
	}
	raw = append(raw, `"annotations":{"note":"`+note+`"}}`...)
	return describe(ocispec.MediaTypeImageManifest, raw), raw
}

func digits(n int64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return digits(n/10) + digits(n%10)
}
