package hub_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// zeros is a file of a size, of zeros but for how it begins.
type zeros struct {
	head []byte
	size int64
}

func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(z.head)) {
		copy(p, z.head[off:])
	}
	return len(p), nil
}

// hugeSafetensors is a file of n layers, as large as its tensors say.
func hugeSafetensors(n int, bytes int64) zeros {
	var header strings.Builder
	for i := range int64(n) {
		if i > 0 {
			header.WriteByte(',')
		}
		fmt.Fprintf(&header, `"model.layers.%d.mlp.weight":{"dtype":"BF16","shape":[%d,1024],"data_offsets":[%d,%d]}`, i, bytes/2048, i*bytes, (i+1)*bytes)
	}
	text := "{" + header.String() + "}"
	head := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	return zeros{head, int64(len(head)) + int64(n)*bytes}
}

// serveHuge is a registry with one version of one file, whatever is asked for.
func serveHuge(t *testing.T, name string, file zeros) http.Handler {
	t.Helper()
	weights := ocispec.Descriptor{
		MediaType: "application/vnd.cncf.model.weight.v1.raw", Digest: digest.FromString(name), Size: file.size,
		Annotations: map[string]string{ocispec.AnnotationTitle: name, mediatypes.AnnotationFilepath: name},
	}
	config := []byte("{}")
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactModel,
		Config: content.NewDescriptorFromBytes(mediatypes.ConfigModel, config), Layers: []ocispec.Descriptor{weights},
	})
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		switch {
		case strings.Contains(r.URL.Path, "/manifests/") && !strings.Contains(r.URL.Path, "/manifests/sha256-"):
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			_, _ = w.Write(manifest)
		case strings.HasSuffix(r.URL.Path, weights.Digest.String()):
			http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(file, 0, file.size))
		case strings.Contains(r.URL.Path, "/blobs/"):
			_, _ = w.Write(config)
		case strings.HasSuffix(r.URL.Path, "/v2/"):
		default:
			http.NotFound(w, r)
		}
	})
}

// What a model of 100 GB is can be told for its header, also by a registry
// that gives whole blobs only: the answer is then given up.
func TestHugeModelMovesLittle(t *testing.T) {
	const layers, each = 10_000, 10_000_000 / 2048 * 2048
	file := hugeSafetensors(layers, each)
	tests := map[string]struct {
		rule testreg.Rule
		most int64
	}{
		"ranges": {testreg.Rule{}, int64(len(file.head)) + 64<<10 + 16<<10}, // the last is for manifest and config
		// What is on its way when the connection is closed counts too.
		"whole blobs only": {testreg.Rule{Do: testreg.IgnoreRange()}, 64 << 20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, testreg.Options{Handler: serveHuge(t, "model.safetensors", file), Rules: []testreg.Rule{tt.rule}})
			inspect := func() (int64, error) {
				res, err := w.Inspect(t.Context(), w.ref("org/huge:v1"))
				if err != nil {
					return 0, err
				}
				return res.Model.Parameters, nil
			}
			tensors := func() (int64, error) {
				res, err := w.Tensors(t.Context(), w.ref("org/huge:v1"), "")
				if err != nil {
					return 0, err
				}
				return res.Elements, nil
			}
			for what, read := range map[string]func() (int64, error){"inspect": inspect, "tensors": tensors} {
				before := len(w.srv.Requests())
				got, err := read()
				if diff := cmp.Diff(int64(layers*each/2), got); err != nil || diff != "" {
					t.Errorf("%s: %v %s", what, err, diff)
				}
				var moved int64
				for _, r := range w.srv.Requests()[before:] {
					moved += r.BytesOut
				}
				if moved > tt.most {
					t.Errorf("%s moved %d bytes, want at most %d", what, moved, tt.most)
				}
				t.Logf("%s moved %d bytes for a header of %d", what, moved, len(file.head))
			}
		})
	}
}

// The directory of a PyTorch archive is at its end. Where only the whole file is
// to be had, that is told of the file, and 100 GB are not read for it.
func TestHugeModelWithoutRanges(t *testing.T) {
	file := zeros{[]byte("PK\x03\x04"), 100_000_000_000}
	w := newWorldWith(t, testreg.Options{
		Handler: serveHuge(t, "pytorch_model.bin", file), Rules: []testreg.Rule{{Do: testreg.IgnoreRange()}},
	})
	inspected, err := w.Inspect(t.Context(), w.ref("org/huge:v1"))
	if err != nil || len(inspected.Problems) != 1 || len(inspected.Model.Formats) != 1 {
		t.Errorf("Inspect = %+v, %v; want a problem", inspected, err)
	}
	listed, err := w.Tensors(t.Context(), w.ref("org/huge:v1"), "")
	if err != nil || len(listed.Problems) != 1 {
		t.Errorf("Tensors = %+v, %v; want a problem", listed, err)
	}
	var moved int64
	for _, r := range w.srv.Requests() {
		moved += r.BytesOut
	}
	if moved > 128<<20 {
		t.Errorf("%d bytes moved", moved)
	}
	t.Logf("%d bytes moved", moved)
}
