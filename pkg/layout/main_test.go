package layout_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/layout"
)

// A doc is a manifest of one layer, with what is in it.
type doc struct {
	desc  ocispec.Descriptor
	raw   []byte
	blobs map[digest.Digest][]byte
}

func newDoc(t *testing.T, text string, subject *ocispec.Descriptor) doc {
	t.Helper()
	config, layer := []byte("{}"), []byte(text)
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.example.thing.v1", Subject: subject,
		Config: content.NewDescriptorFromBytes(ocispec.MediaTypeEmptyJSON, config),
		Layers: []ocispec.Descriptor{content.NewDescriptorFromBytes("text/plain", layer)},
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return doc{
		desc: content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw), raw: raw,
		blobs: map[digest.Digest][]byte{m.Config.Digest: config, m.Layers[0].Digest: layer},
	}
}

// contents are those of an archive with these documents, the first of which is
// tagged v1.
func contents(docs ...doc) (layout.Contents, map[digest.Digest][]byte) {
	c := layout.Contents{Index: []ocispec.Descriptor{layout.Name(docs[0].desc, "", "v1", false)}}
	all := make(map[digest.Digest][]byte)
	for _, d := range docs {
		all[d.desc.Digest] = d.raw
		c.Blobs = append(c.Blobs, d.desc)
		for dgst, raw := range d.blobs {
			all[dgst] = raw
			c.Blobs = append(c.Blobs, ocispec.Descriptor{MediaType: "text/plain", Digest: dgst, Size: int64(len(raw))})
		}
	}
	return c, all
}

// archive writes an archive of documents.
func archive(t *testing.T, docs ...doc) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.tar")
	c, all := contents(docs...)
	w, err := layout.CreateTar(file, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range c.Blobs {
		if err := w.Push(t.Context(), b, bytes.NewReader(all[b.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Commit(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

// A file is a member of an archive made by hand.
type file struct {
	tar.Header
	body string
}

func regular(name, body string) file {
	return file{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o644}, body}
}

// handmade makes an archive of whatever members.
func handmade(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	goodMarker = `{"imageLayoutVersion":"1.0.0"}`
	emptyIndex = `{"schemaVersion":2,"manifests":[]}`
)

// whole are the files that each layout has, and then more.
func whole(more ...file) []file {
	return slices.Concat([]file{regular("oci-layout", goodMarker), regular("index.json", emptyIndex)}, more)
}

func tagsOf(t *testing.T, r *layout.Repository) []string {
	t.Helper()
	var tags []string
	for tag, err := range r.Tags(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
	}
	return tags
}
