package artifact_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// converts makes an artifact of ours of one of any family, and compares what
// comes out of it. Blobs do not change: what the target has is not sent.
func converts(t *testing.T, a *artifact.Artifact, b *blobs, want map[string]string) {
	t.Helper()
	inputs, err := a.Inputs(ranged{b})
	if errors.Is(err, errdef.ErrUnsupported) {
		if !strings.HasSuffix(t.Name(), "modelcar") && !strings.HasSuffix(t.Name(), "olot's_ModelPack") {
			t.Error(err)
		}
		return // it is an image
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := artifact.PackFiles(t.Context(), inputs, b, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	blobs := make(map[string]bool)
	for _, l := range a.Manifest.Layers {
		blobs[l.Digest.String()] = true
	}
	for _, f := range p.Files {
		if !blobs[f.Layer.Digest.String()] {
			t.Errorf("%s is in a new blob", f.Path)
		}
	}
	ours := mustOpen(t, b, p.Descriptor)
	if ours.Family != mediatypes.ModelPack {
		t.Errorf("converted to %q", ours.Family)
	}
	out := filepath.Join(t.TempDir(), "converted")
	mustUnpack(t, ours, b, out, artifact.UnpackOptions{})
	if diff := cmp.Diff(want, readTree(t, out)); diff != "" {
		t.Errorf("files of the converted artifact (-want +got):\n%s", diff)
	}
}

// What modctl and docker model wrote becomes what Pack makes of the same files.
func TestConvertGolden(t *testing.T) {
	for _, name := range []string{"mod", "dmrc", "dmr"} {
		t.Run(name, func(t *testing.T) {
			b, desc := golden(t, name)
			inputs, err := mustOpen(t, b, desc).Inputs(ranged{b})
			if err != nil {
				t.Fatal(err)
			}
			got, err := artifact.PackFiles(t.Context(), inputs, b, artifact.PackOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := mustPack(t, filepath.Join("testdata", "golden", "model"), newBlobs(), artifact.PackOptions{})
			if diff := cmp.Diff(string(want.Manifest), string(got.Manifest)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
