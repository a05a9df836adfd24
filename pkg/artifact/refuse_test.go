package artifact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

func TestOpenRefuses(t *testing.T) {
	raw := mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw)
	layer := func(b *blobs, a map[string]string) ocispec.Descriptor {
		desc := b.put(raw, []byte("x"))
		desc.Annotations = a
		return desc
	}
	manifest := func(b *blobs, layers ...ocispec.Descriptor) ocispec.Manifest {
		return ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			ArtifactType: mediatypes.ArtifactModel, Config: b.put(mediatypes.ConfigModel, []byte("{}")), Layers: layers,
		}
	}
	edit := func(change func(text string) string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor {
			text, _ := json.Marshal(manifest(b, layer(b, named("a.bin"))))
			return b.put(ocispec.MediaTypeImageManifest, []byte(change(string(text))))
		}
	}
	config := func(text string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor {
			m := manifest(b, layer(b, named("a.bin")))
			m.Config = b.put(mediatypes.ConfigModel, []byte(text))
			return putManifest(b, m)
		}
	}
	path := func(p string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor { return putManifest(b, manifest(b, layer(b, named(p)))) }
	}
	pathsOf := func(ps ...string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor {
			var layers []ocispec.Descriptor
			for _, p := range ps {
				layers = append(layers, layer(b, named(p)))
			}
			return putManifest(b, manifest(b, layers...))
		}
	}
	digestOf := func(d string) func(b *blobs) ocispec.Descriptor {
		return edit(func(s string) string { return strings.Replace(s, string(digest.FromString("x")), d, 1) })
	}
	size := func(n string) func(b *blobs) ocispec.Descriptor {
		return edit(func(s string) string { return strings.Replace(s, `"size":1,`, `"size":`+n+`,`, 1) })
	}
	tests := map[string]struct {
		make func(b *blobs) ocispec.Descriptor
		want error
	}{
		// A. Names.
		"dot dot":              {path("../../escape.txt"), artifact.ErrUnsafe},
		"absolute":             {path("/etc/x"), artifact.ErrUnsafe},
		"backslash":            {path(`..\x`), artifact.ErrUnsafe},
		"drive":                {path("C:/x"), artifact.ErrUnsafe},
		"same path twice":      {pathsOf("m.bin", "m.bin"), artifact.ErrUnsafe},
		"file and directory":   {pathsOf("a", "a/b"), artifact.ErrUnsafe},
		"case":                 {pathsOf("Model.bin", "model.bin"), artifact.ErrUnsafe},
		"decomposed":           {pathsOf("é", "e\u0301"), artifact.ErrUnsafe},
		"NUL":                  {path("a\x00b"), artifact.ErrUnsafe},
		"escape sequence":      {path("\x1b[2J"), artifact.ErrUnsafe},
		"bidi":                 {path("a\u202eb"), artifact.ErrUnsafe},
		"git":                  {path("sub/.git/hooks/post-checkout"), artifact.ErrUnsafe},
		"control":              {path(".modelreg/pull.json"), artifact.ErrUnsafe},
		"long component":       {path(strings.Repeat("a", 256)), artifact.ErrUnsafe},
		"long path":            {path(strings.Repeat("a/", 2000) + "x"), artifact.ErrUnsafe},
		"device":               {path("NUL"), artifact.ErrUnsafe},
		"no path":              {func(b *blobs) ocispec.Descriptor { return putManifest(b, manifest(b, layer(b, nil))) }, artifact.ErrUnsafe},
		"link in the metadata": {metadataTypeflag(layer, manifest, "2"), artifact.ErrUnsafe},
		"link in ASCII":        {metadataTypeflag(layer, manifest, "50"), artifact.ErrUnsafe},
		"bad path in the metadata": {func(b *blobs) ocispec.Descriptor {
			return putManifest(b, manifest(b, layer(b, map[string]string{mediatypes.AnnotationFileMetadata: `{"name":"../x"}`})))
		}, artifact.ErrUnsafe},

		// C. Documents.
		"trailing document": {edit(func(s string) string { return s + s }), artifact.ErrUnsafe},
		"byte order mark":   {edit(func(s string) string { return "\ufeff" + s }), artifact.ErrUnsafe},
		"bad UTF-8":         {edit(func(s string) string { return strings.Replace(s, "a.bin", "a\xff", 1) }), artifact.ErrUnsafe},
		"duplicate key":     {edit(func(s string) string { return strings.Replace(s, `"layers"`, `"layers":[],"layers"`, 1) }), artifact.ErrUnsafe},
		"deep": {edit(func(s string) string {
			return strings.Replace(s, `"layers"`, `"x":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`,"layers"`, 1)
		}), artifact.ErrUnsafe},
		"large":              {edit(func(s string) string { return s + strings.Repeat(" ", 4<<20) }), artifact.ErrUnsafe},
		"many layers":        {manyLayers(layer, manifest), artifact.ErrUnsafe},
		"layers and indexes": {edit(func(s string) string { return strings.Replace(s, `"layers"`, `"manifests":[],"layers"`, 1) }), artifact.ErrUnsafe},
		"schema 1":           {edit(func(string) string { return `{"schemaVersion":1,"fsLayers":[]}` }), artifact.ErrUnsafe},
		"index as manifest": {edit(func(string) string {
			return `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`
		}), artifact.ErrUnsafe},
		"upper-case digest": {digestOf("sha256:" + strings.ToUpper(digest.FromString("x").Encoded())), artifact.ErrUnsafe},
		"md5":               {digestOf("md5:d41d8cd98f00b204e9800998ecf8427e"), artifact.ErrUnsafe},
		"short digest":      {digestOf("sha256:abcd"), artifact.ErrUnsafe},
		"path as digest":    {digestOf("sha256:../../../../../../tmp/x"), artifact.ErrUnsafe},
		"empty digest":      {digestOf(""), artifact.ErrUnsafe},
		"digest and CRLF":   {digestOf(string(digest.FromString("x")) + `\r\nX: y`), artifact.ErrUnsafe},
		"digest and query":  {digestOf(string(digest.FromString("x"))[:69] + "?a"), artifact.ErrUnsafe},
		"negative size":     {size("-1"), artifact.ErrUnsafe},
		"size 2^63":         {size("9223372036854775808"), artifact.ErrUnsafe},
		"size 1e3":          {size("1e3"), artifact.ErrUnsafe},
		"foreign urls": {edit(func(s string) string {
			return strings.Replace(s, `"size":1,`, `"size":1,"urls":["http://169.254.169.254/"],`, 1)
		}), artifact.ErrUnsafe},
		"deep config":       {config(strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)), artifact.ErrUnsafe},
		"very deep config":  {config(strings.Repeat(`[`, 200_000)), artifact.ErrUnsafe},
		"large config":      {config(`"` + strings.Repeat("x", 5<<20) + `"`), artifact.ErrUnsafe},
		"config is no JSON": {config("hello"), artifact.ErrUnsafe},
		"config is two":     {config("{}{}"), artifact.ErrUnsafe},
		"diff id differs":   {config(`{"modelfs":{"type":"layers","diffIds":["` + string(digest.FromString("y")) + `"]}}`), content.ErrMismatchedDigest},
		"diff ids too many": {config(`{"modelfs":{"diffIds":["` + string(digest.FromString("x")) + `","` + string(digest.FromString("x")) + `"]}}`), content.ErrMismatchedDigest},
		"bad diff id":       {config(`{"modelfs":{"diffIds":["sha256:../x"]}}`), artifact.ErrUnsafe},
		"diff ids no list":  {config(`{"modelfs":{"diffIds":{"a":1}}}`), artifact.ErrUnsafe},

		// What is no model.
		"index": {func(b *blobs) ocispec.Descriptor {
			return b.put(ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
		}, artifact.ErrNotModel},
		"signature": {func(b *blobs) ocispec.Descriptor {
			m := manifest(b, layer(b, nil))
			m.ArtifactType, m.Config.MediaType, m.Layers[0].MediaType = "", ocispec.MediaTypeImageConfig, "application/vnd.dev.cosign.simplesigning.v1+json"
			return putManifest(b, m)
		}, artifact.ErrNotModel},
		"no layers": {func(b *blobs) ocispec.Descriptor { return putManifest(b, manifest(b)) }, artifact.ErrNotModel},
		"manifest is missing": {func(*blobs) ocispec.Descriptor {
			return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, []byte("x"))
		}, nil},
		"wrong manifest": {func(b *blobs) ocispec.Descriptor {
			desc := path("a.bin")(b)
			b.content[desc.Digest] = bytes.Replace(b.content[desc.Digest], []byte("a.bin"), []byte("b.bin"), 1)
			return desc
		}, content.ErrMismatchedDigest},
		"served as another type": {func(b *blobs) ocispec.Descriptor {
			desc := path("a.bin")(b)
			desc.MediaType = mediatypes.ManifestDocker
			return desc
		}, artifact.ErrUnsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			desc := tt.make(b)
			_, err := artifact.Open(t.Context(), b, desc)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Open = %v, want %v", err, tt.want)
			}
			if err != nil && (len(err.Error()) > 4096 || strings.ContainsAny(err.Error(), "\x1b\x00\r")) {
				t.Errorf("message %.100q", err)
			}
			if b.fetched[digest.FromString("x")] != 0 {
				t.Error("a layer was fetched")
			}
		})
	}
}

func metadataTypeflag(layer func(*blobs, map[string]string) ocispec.Descriptor, manifest func(*blobs, ...ocispec.Descriptor) ocispec.Manifest, flag string) func(*blobs) ocispec.Descriptor {
	return func(b *blobs) ocispec.Descriptor {
		return putManifest(b, manifest(b, layer(b, map[string]string{
			mediatypes.AnnotationFilepath: "a", mediatypes.AnnotationFileMetadata: `{"name":"a","typeflag":` + flag + `}`,
		})))
	}
}

func manyLayers(layer func(*blobs, map[string]string) ocispec.Descriptor, manifest func(*blobs, ...ocispec.Descriptor) ocispec.Manifest) func(*blobs) ocispec.Descriptor {
	return func(b *blobs) ocispec.Descriptor {
		layers := make([]ocispec.Descriptor, 10_001)
		for i := range layers {
			layers[i] = layer(b, named(strings.Repeat("x", i%200+1)))
		}
		return putManifest(b, manifest(b, layers...))
	}
}
