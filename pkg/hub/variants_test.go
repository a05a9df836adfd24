package hub_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/coding"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// trained is 4 MB of weights in BF16, and the same after an update of so many
// of their deviations.
func trained(update float64) version {
	r, after := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
	var tensors []testmodel.Tensor
	for _, name := range []string{"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"} {
		data := make([]byte, 0, 2<<20)
		for range 1 << 20 {
			v := r.NormFloat64() * 0.02
			if update != 0 {
				v = float64(math.Float32frombits(math.Float32bits(float32(v))>>16<<16)) + after.NormFloat64()*0.02*update
			}
			data = binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(float32(v))>>16))
		}
		tensors = append(tensors, testmodel.Tensor{Name: name, DType: "BF16", Shape: []int64{1024, 1024}, Data: data})
	}
	return single(tensors)
}

func (v version) size() (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// variantOf returns the manifest of a version's only variant.
func (w *world) variantOf(name, tag string) (ocispec.Descriptor, ocispec.Manifest) {
	w.t.Helper()
	desc, _ := w.manifest(name, tag)
	refs, err := w.repo(name).Referrers(w.t.Context(), desc, mediatypes.ArtifactVariant)
	refs = slices.DeleteFunc(refs, func(d ocispec.Descriptor) bool { return d.ArtifactType != mediatypes.ArtifactVariant })
	if err != nil || len(refs) != 1 {
		w.t.Fatalf("%d variants, %v; want one", len(refs), err)
	}
	_, raw := w.manifest(name, refs[0].Digest.String())
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return desc, m
}

func TestVariantExponents(t *testing.T) {
	w, v := newWorld(t), trained(0)
	plain := w.pushDir(v.write(t), "org/m:plain", hub.PushOptions{})
	coded := w.pushDir(v.write(t), "org/m:v1", hub.PushOptions{Variants: []hub.Variant{{}}})
	if plain.Digest != coded.Digest {
		t.Errorf("with a variant the version is %s, without %s", coded.Digest, plain.Digest)
	}
	if !slices.ContainsFunc(coded.Notes, func(n string) bool { return strings.Contains(n, "66 %") }) {
		t.Errorf("notes %q", coded.Notes)
	}
	_, m := w.variantOf("org/m", "v1")
	if len(m.Layers) != 1 || m.Layers[0].MediaType != mediatypes.LayerExponents {
		t.Errorf("layers %v", m.Layers)
	}
	again := w.pushDir(v.write(t), "org/m:v1", hub.PushOptions{Variants: []hub.Variant{{}, {}}})
	if again.UploadedBytes != 0 || len(again.Notes) != 0 {
		t.Errorf("pushed again: %d bytes, notes %q", again.UploadedBytes, again.Notes)
	}
	for variants, most := range map[bool]float64{true: 0.7, false: 1.01} {
		out := filepath.Join(t.TempDir(), "out")
		plan := w.plan("org/m:v1", out, hub.PullOptions{Variants: variants, NoStore: true})
		res, served := w.fetch("org/m:v1", out, hub.PullOptions{Variants: variants, NoStore: true})
		same(t, out, v)
		if plan.FetchBytes != res.FetchedBytes || plan.ReuseBytes != res.ReusedBytes {
			t.Errorf("variants %v: planned %+v, pulled %+v", variants, plan, res)
		}
		if float64(served) > most*float64(v.size()) || served < v.size()/2 || res.FetchedBytes < v.size()/2 {
			t.Errorf("variants %v: %d bytes of %d were sent, %d told", variants, served, v.size(), res.FetchedBytes)
		}
	}
}

func TestVariantDifference(t *testing.T) {
	w, base, tuned := newWorldWith(t, testreg.Options{Data: t.TempDir()}), trained(0), trained(0.001)
	w.pushDir(base.write(t), "org/base:v1", hub.PushOptions{})
	r := w.ref("org/base:v1")
	w.pushDir(tuned.write(t), "org/m:v1", hub.PushOptions{Variants: []hub.Variant{{Base: &r}}})
	_, m := w.variantOf("org/m", "v1")
	if len(m.Layers) != 1 || m.Layers[0].MediaType != mediatypes.LayerDifference || m.Annotations[mediatypes.AnnotationVariantBase] != w.digestOf("org/base", "v1") {
		t.Errorf("variant %v", m)
	}
	out := filepath.Join(t.TempDir(), "out")
	w.fetch("org/base:v1", out, hub.PullOptions{NoStore: true})
	plan := w.plan("org/m:v1", out, hub.PullOptions{Variants: true, NoStore: true})
	res, served := w.fetch("org/m:v1", out, hub.PullOptions{Variants: true, NoStore: true})
	same(t, out, tuned)
	if plan.FetchBytes != res.FetchedBytes || plan.ReuseBytes != res.ReusedBytes {
		t.Errorf("planned %+v, pulled %+v", plan, res)
	}
	if float64(served) > 0.2*float64(tuned.size()) {
		t.Errorf("%d bytes of %d were sent", served, tuned.size())
	}
	// Without the base the difference is of no use.
	out = filepath.Join(t.TempDir(), "out")
	_, served = w.fetch("org/m:v1", out, hub.PullOptions{Variants: true, NoStore: true})
	same(t, out, tuned)
	if served < tuned.size() {
		t.Errorf("%d bytes of %d were sent", served, tuned.size())
	}
}

// plan tells what a pull would do.
func (w *world) plan(name, out string, opts hub.PullOptions) *hub.PullPlan {
	w.t.Helper()
	plan, err := w.PlanPull(w.t.Context(), w.ref(name), out, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan
}

// Whatever a variant is, the files are those of the version.
func TestVariantLies(t *testing.T) {
	v, other := trained(0), trained(3)
	encode := func(t *testing.T, data []byte) []byte {
		var b bytes.Buffer
		r := []coding.Region{{Length: int64(len(data)), Type: coding.BFloat16}}
		if err := coding.Encode(t.Context(), &b, bytes.NewReader(data), int64(len(data)), r, coding.EncodeOptions{}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := encode(t, v["model.safetensors"])
	tests := map[string]struct {
		coding []byte
		fault  testreg.Action
	}{
		"other weights": {coding: encode(t, other["model.safetensors"])},
		"other size":    {coding: encode(t, v["model.safetensors"][8:])},
		"no coding":     {coding: v["model.safetensors"][:1<<20]},
		"cut":           {coding: good[:2<<20]},
		"not there":     {good, testreg.Status(404, nil, "")},
		"damaged":       {good, testreg.FlipBit(testreg.Middle)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
			w.pushDir(v.write(t), "org/m:v1", hub.PushOptions{})
			desc, raw := w.manifest("org/m", "v1")
			m, err := mediatypes.ParseManifest(raw)
			if err != nil {
				t.Fatal(err)
			}
			lie := content.NewDescriptorFromBytes(mediatypes.LayerExponents, test.coding)
			if err := w.repo("org/m").Push(t.Context(), lie, bytes.NewReader(test.coding)); err != nil {
				t.Fatal(err)
			}
			raws, err := artifact.PushVariants(t.Context(), w.repo("org/m"), desc, []artifact.CodedLayer{{Layer: m.Layers[0].Digest, Desc: lie}})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.repo("org/m").PushReferrer(t.Context(), raws[0], desc); err != nil {
				t.Fatal(err)
			}
			if test.fault != nil {
				w.srv.Add(testreg.Rule{Method: "GET", Path: "/blobs/" + lie.Digest.String(), Do: test.fault})
			}
			out := filepath.Join(t.TempDir(), "out")
			res, err := w.Pull(t.Context(), w.ref("org/m:v1"), out, hub.PullOptions{Variants: true, NoStore: true})
			if err != nil {
				t.Fatal(err)
			}
			same(t, out, v)
			if res.FetchedBytes < v.size() {
				t.Errorf("%d bytes fetched", res.FetchedBytes)
			}
		})
	}
}
