package artifact_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// Anybody can list a coding beside a version. One that says that it is another
// layer of the version takes nothing of that layer away.
func TestCodingNamesAnotherLayer(t *testing.T) {
	b, s := newBlobs(), openStore(t)
	weight := mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw)
	long, short := strings.Repeat("long", 100), "short"
	a := mustOpen(t, b, modelPack(b, layerSpec{weight, []byte(long), named("a.bin")}, layerSpec{weight, []byte(short), named("b.bin")}))
	desc := ocispec.Descriptor{MediaType: weight, Digest: a.Manifest.Layers[1].Digest, Size: int64(len(short))}
	if err := s.Push(t.Context(), desc, bytes.NewReader([]byte(short))); err != nil {
		t.Fatal(err)
	}
	lie := artifact.CodedLayer{Layer: a.Manifest.Layers[0].Digest, Desc: desc}
	lie.Desc.MediaType = mediatypes.LayerExponents
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, a, b, out, artifact.UnpackOptions{Store: s, Link: artifact.LinkCopy, Variants: []artifact.CodedLayer{lie}})
	if diff := cmp.Diff(map[string]string{"a.bin": long, "b.bin": short}, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
