package hub_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// weights makes a model of one large file.
func weights(t *testing.T, tensors []testmodel.Tensor, metadata map[string]string) string {
	t.Helper()
	model := t.TempDir()
	name := filepath.Join(model, "model.safetensors")
	if err := os.WriteFile(name, testmodel.SafetensorsFile(tensors, metadata), 0o600); err != nil {
		t.Fatal(err)
	}
	return model
}

func TestPushKeepsIndexesByAReferrer(t *testing.T) {
	for name, opts := range map[string]testreg.Options{"referrers API": {Data: t.TempDir()}, "fallback tag": {Data: t.TempDir(), NoReferrers: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, opts)
			model := weights(t, testmodel.Transformer(1, 0), nil)
			res, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{})
			if err != nil {
				t.Fatal(err)
			}
			desc, raw := w.manifest("org/m", "v1")
			refs, err := w.repo("org/m").Referrers(t.Context(), desc, mediatypes.ArtifactTransfer)
			if err != nil || len(refs) != 1 {
				t.Fatalf("%d referrers, %v", len(refs), err)
			}
			var version, holder ocispec.Manifest
			_, held := w.manifest("org/m", refs[0].Digest.String())
			for raw, m := range map[string]*ocispec.Manifest{string(raw): &version, string(held): &holder} {
				if err := json.Unmarshal([]byte(raw), m); err != nil {
					t.Fatal(err)
				}
			}
			bound := version.Layers[0].Annotations[mediatypes.AnnotationChunkIndex]
			if want := holder.Layers[0].Digest.String() + ";"; !strings.HasPrefix(bound, want) {
				t.Errorf("the layer is bound to %q, the referrer holds %s", bound, want)
			}
			if ok, err := w.repo("org/m").Exists(t.Context(), holder.Layers[0]); !ok || err != nil {
				t.Errorf("the index is in the registry: %v, %v", ok, err)
			}
			if res.UploadedBytes < res.Size || res.UploadedBytes > res.Size+4096 {
				t.Errorf("%d bytes counted as uploaded of a model of %d", res.UploadedBytes, res.Size)
			}
		})
	}
}

// Indexes cost a push without changes no request and no reading.
func TestPushAgainKnowsTheIndexes(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	model := weights(t, testmodel.Transformer(1, 0), nil)
	time.Sleep(2100 * time.Millisecond) // until the file's times prove something: see store.StatCache
	push := func(name string) *hub.PushResult {
		res, err := w.Push(t.Context(), model, w.ref(name), hub.PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := push("org/m:v1")
	w.srv.Reset()
	if again := push("org/m:v1"); again.Digest != first.Digest || again.Created {
		t.Errorf("second push: %+v", again)
	}
	for _, r := range w.srv.Requests() {
		if strings.HasSuffix(r.Path, "/manifests/v1") {
			continue // what the tag points to
		}
		if r.Method != "HEAD" && r.Path != "/v2/" || strings.Contains(r.Path, "sha256-") {
			t.Errorf("request %s %s", r.Method, r.Path)
		}
	}
	// Elsewhere the same digest comes out, from memory, and the indexes go along.
	if other := push("other/m:v1"); other.Digest != first.Digest {
		t.Errorf("another digest in another repository: %s", other.Digest)
	}
	desc, _ := w.manifest("other/m", "v1")
	if refs, err := w.repo("other/m").Referrers(t.Context(), desc, mediatypes.ArtifactTransfer); err != nil || len(refs) != 1 {
		t.Errorf("%d referrers, %v", len(refs), err)
	}
}

// A registry that takes no indexes still takes the model.
func TestPushWithoutIndexes(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	// The first manifest that is put by its digest is the version's.
	w.srv.Add(testreg.Rule{Method: "PUT", Path: `/manifests/sha256:`, From: 2, To: 2, Do: testreg.Status(400, nil, "no")})
	res, err := w.Push(t.Context(), weights(t, testmodel.Transformer(1, 0), nil), w.ref("org/m:v1"), hub.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.digestOf("org/m", "v1"); got != res.Digest {
		t.Errorf("the tag points to %q", got)
	}
	if !strings.Contains(w.warned(), "differences") {
		t.Error("nobody was told")
	}
}
