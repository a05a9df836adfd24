package hub_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/remote"
)

var errUnsafe = artifact.ErrUnsafe

// A foreign artifact is one that another tool made.
type foreign struct {
	mediaType, config, configData string
	layers                        []testLayer
}

type testLayer struct {
	mediaType string
	data      []byte
}

// pushForeign pushes it as "latest".
func pushForeign(t *testing.T, c *remote.Client, name string, f foreign) {
	t.Helper()
	repo, err := c.Repository(name)
	if err != nil {
		t.Fatal(err)
	}
	put := func(mediaType string, data []byte) ocispec.Descriptor {
		desc := content.NewDescriptorFromBytes(mediaType, data)
		if err := repo.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		return desc
	}
	if f.configData == "" {
		f.configData = "{}"
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: f.mediaType, Config: put(f.config, []byte(f.configData))}
	for _, l := range f.layers {
		m.Layers = append(m.Layers, put(l.mediaType, l.data))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	desc := put(f.mediaType, raw)
	if err := repo.Tag(t.Context(), desc, "latest"); err != nil {
		t.Fatal(err)
	}
}

// tarball makes an archive of names and texts; names that end in a slash are
// directories.
func tarball(t *testing.T, members ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(members); i += 2 {
		name, text := members[i], members[i+1]
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}
		if name[len(name)-1] == '/' {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
