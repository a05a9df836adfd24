package artifact_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

func TestOpenFileVerifies(t *testing.T) {
	good := randomText(10_000)
	for name, data := range map[string]string{"changed": good[:9999] + "\x00", "short": good[:100], "long": good + "x", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			if data == good {
				t.Skip("the same by chance")
			}
			b := newBlobs()
			a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"m.bin": good}), b, artifact.PackOptions{}).Descriptor)
			b.content[digest.FromString(good)] = []byte(data)
			rc, _, err := a.OpenFile(t.Context(), b, "m.bin")
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			if _, err := io.ReadAll(rc); !errors.Is(err, content.ErrMismatchedDigest) {
				t.Errorf("ReadAll = %v, want ErrMismatchedDigest", err)
			}
			if _, err := rc.Read(make([]byte, 1)); !errors.Is(err, content.ErrMismatchedDigest) {
				t.Errorf("Read after that = %v", err)
			}
		})
	}
}

// A member of an archive is right only if the whole archive is.
func TestOpenFileVerifiesArchives(t *testing.T) {
	b := newBlobs()
	data := gzipOf(tarOf(file("a", "first"), file("b", "second")))
	a := mustOpen(t, b, modelPack(b, layerSpec{mediatypes.LayerType(mediatypes.KindDoc, mediatypes.TarGzip), data, named("x")}))
	other := gzipOf(tarOf(file("a", "first"), file("b", "SECOND")))
	b.content[digest.FromBytes(data)] = other
	rc, _, err := a.OpenFile(t.Context(), b, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if got, err := io.ReadAll(rc); !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("ReadAll = %q, %v, want ErrMismatchedDigest", got, err)
	}
}

func TestOpenFileNotThere(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, modelPack(b, layerSpec{mediatypes.LayerType(mediatypes.KindDoc, mediatypes.Tar), tarOf(file("a", "first")), named("x")}))
	for _, p := range []string{"b", "x", "", "../a", "\x1b"} {
		_, _, err := a.OpenFile(t.Context(), b, p)
		if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("OpenFile(%q) = %v, want fs.ErrNotExist", p, err)
		}
	}
	if _, err := a.ReaderAt(t.Context(), b, "a", artifact.ReaderOptions{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("ReaderAt = %v, want errors.ErrUnsupported", err)
	}
}

// unranged says that it has ranges, and has none.
type unranged struct{ *blobs }

func (unranged) FetchRange(context.Context, ocispec.Descriptor, int64, int64) (io.ReadCloser, error) {
	return nil, errors.New("the registry ignored the range")
}

func TestReaderAt(t *testing.T) {
	text := randomText(100_000)
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"m.bin": text, "e": ""}), b, artifact.PackOptions{}).Descriptor)
	dir := layout(saveLayout(t, b))
	for name, src := range map[string]content.Fetcher{"ranges": ranged{b}, "no ranges": b, "broken ranges": unranged{b}, "disk": dir} {
		t.Run(name, func(t *testing.T) {
			r, err := a.ReaderAt(t.Context(), src, "m.bin", artifact.ReaderOptions{Whole: -1})
			if err != nil || r.Size() != int64(len(text)) || r.Verified() {
				t.Fatalf("opened %v, %v", r, err)
			}
			for _, at := range []struct{ off, n int }{{0, 8}, {50_000, 100}, {10, 10}, {99_990, 10}, {0, 100_000}, {5, 0}} {
				p := make([]byte, at.n)
				n, err := r.ReadAt(p, int64(at.off))
				if n != at.n || err != nil && !errors.Is(err, io.EOF) || string(p) != text[at.off:at.off+at.n] {
					t.Errorf("ReadAt(%d, %d) = %d, %v", at.off, at.n, n, err)
				}
			}
			p := make([]byte, 100)
			if n, err := r.ReadAt(p, 99_950); n != 50 || !errors.Is(err, io.EOF) || string(p[:n]) != text[99_950:] {
				t.Errorf("ReadAt over the end = %d, %v", n, err)
			}
			if n, err := r.ReadAt(p, 100_000); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("ReadAt at the end = %d, %v", n, err)
			}
			if _, err := r.ReadAt(p, -1); err == nil {
				t.Error("ReadAt before the beginning gives no error")
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Describing a model over a network costs headers, also where files are in tar
// layers.
func TestDescribeReadsHeaders(t *testing.T) {
	weights := t.TempDir()
	testmodel.Safetensors(t, weights)
	var name, header string
	for n, text := range readTree(t, weights) {
		if strings.HasSuffix(n, ".safetensors") {
			name, header = n, text
		}
	}
	kit := [][]byte{tarOf(file(name, header)), tarOf(file("README.md", readme)), tarOf(file("config.json", `{"model_type":"llama"}`))}
	b := newBlobs()
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	m.Config = b.put(mediatypes.ConfigModelKit, []byte(`{"package":{}}`))
	for _, data := range kit {
		m.Layers = append(m.Layers, b.put("application/vnd.kitops.modelkit.model.v1.tar", data))
	}
	big := tarOf(file("big/big.bin", strings.Repeat("x", 5<<20)), file("big/small.txt", "x"))
	m.Layers = append(m.Layers, b.put("application/vnd.kitops.modelkit.dataset.v1.tar", big))
	src := &counted{ranged: ranged{b}}
	a := mustOpen(t, src, putManifest(b, m))
	model, c, err := a.Describe(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	if model.Family != "llama" || model.Parameters == 0 || c == nil || c.Meta.Name != "Tiny" {
		t.Errorf("Describe = %+v, %+v", model, c)
	}
	if src.bytes > 200_000 {
		t.Errorf("%d bytes were read", src.bytes)
	}
}

type counted struct {
	ranged

	bytes int64
}

func (c *counted) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	c.bytes += n
	return c.ranged.FetchRange(ctx, desc, off, n)
}

// What cannot fit is not begun.
// What cannot be unpacked is not described.
func TestDescribeRefusesClashes(t *testing.T) {
	for name, members := range map[string][]member{
		"duplicate": {file("x", "1"), file("x", "2")}, "case": {file("x", "1"), file("X", "2")}, "below a file": {file("x", "1"), file("x/y", "2")},
	} {
		b := newBlobs()
		desc := modelPack(b, layerSpec{mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Tar), tarOf(members...), named("model")})
		a, err := artifact.Open(t.Context(), b, desc)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.Describe(t.Context(), b); !errors.Is(err, artifact.ErrUnsafe) {
			t.Errorf("%s: Describe = %v, want ErrUnsafe", name, err)
		}
	}
}

func TestUnpackChecksSpace(t *testing.T) {
	b := newBlobs()
	desc := b.put(mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw), []byte("x"))
	desc.Size, desc.Annotations = 1<<52, named("m.bin")
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactModel,
		Config: b.put(mediatypes.ConfigEmpty, []byte("{}")), Layers: []ocispec.Descriptor{desc},
	}
	a := mustOpen(t, b, putManifest(b, m))
	parent := t.TempDir()
	_, err := artifact.Unpack(t.Context(), a, b, filepath.Join(parent, "new", "m"), artifact.UnpackOptions{})
	if !errors.Is(err, syscall.ENOSPC) || b.fetched[desc.Digest] != 0 {
		t.Errorf("Unpack = %v, want ENOSPC", err)
	}
	if diff := cmp.Diff([]string(nil), leftovers(t, parent)); diff != "" {
		t.Errorf("left: %s", diff)
	}
}
