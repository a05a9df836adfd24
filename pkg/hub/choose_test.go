package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/variant"
)

const gib = 1 << 30

// putVariants makes tags of a repository variants of one version.
func (w *world) putVariants(name, tag string, variants map[string]variant.Variant) ocispec.Descriptor {
	w.t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: mediatypes.ArtifactIndex}
	for child, v := range variants {
		desc, _ := w.manifest(name, child)
		desc.ArtifactType, desc.Annotations = mediatypes.ArtifactModel, v.Annotations()
		index.Manifests = append(index.Manifests, desc)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		w.t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, raw)
	if err := w.repo(name).PushManifest(w.t.Context(), desc, raw, tag); err != nil {
		w.t.Fatal(err)
	}
	return desc
}

// quants are variants that differ by what they need.
func (w *world) quants(name, tag, text string) (index ocispec.Descriptor, small, large string) {
	w.t.Helper()
	small = w.push(name+":"+tag+"-q4", text+"small").Digest
	large = w.push(name+":"+tag+"-q8", text+"large").Digest
	return w.putVariants(name, tag, map[string]variant.Variant{
		tag + "-q4": {Name: "q4", Format: "gguf", Quant: "Q4_0", Bits: 4.5, MinMem: 4 * gib},
		tag + "-q8": {Name: "q8", Format: "gguf", Quant: "Q8_0", Bits: 8.5, MinMem: 8 * gib},
	}), small, large
}

// with is the world's hub with other options.
func (w *world) with(opts hub.Options) *hub.Hub {
	opts.Remote, opts.Store, opts.Warn = w.client, w.store, w.warn
	return hub.New(opts)
}

func TestChooseVariant(t *testing.T) {
	w := newWorld(t)
	index, small, large := w.quants("org/m", "v1", "")
	machine := func(memory int64) func(context.Context) variant.Machine {
		return func(context.Context) variant.Machine { return variant.Machine{Memory: memory} }
	}
	tests := map[string]struct {
		ref  string
		opts hub.Options
		want string // empty: none fits
	}{
		"the best":               {"org/m:v1", hub.Options{}, large},
		"what the machine has":   {"org/m:v1", hub.Options{Machine: machine(6 * gib)}, small},
		"too small a machine":    {"org/m:v1", hub.Options{Machine: machine(2 * gib)}, ""},
		"named":                  {"org/m:v1#q8", hub.Options{Machine: machine(2 * gib)}, large},
		"by quantisation":        {"org/m:v1#format=gguf,quant=q4_0", hub.Options{}, small},
		"named for all":          {"org/m:v1", hub.Options{Want: variant.Want{Word: "q4"}}, small},
		"memory that is said":    {"org/m:v1", hub.Options{Want: variant.Want{Memory: 7 * gib}, Machine: machine(gib)}, small},
		"for who cannot load it": {"org/m:v1", hub.Options{Want: variant.Want{Runtime: "vllm"}}, ""},
		"no such variant":        {"org/m:v1#q5", hub.Options{}, ""},
		"by digest":              {"org/m@" + small, hub.Options{Machine: machine(1)}, small},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := w.with(test.opts).PlanPull(t.Context(), w.ref(test.ref), t.TempDir(), hub.PullOptions{})
			if test.want == "" {
				wantErr(t, err, hub.ErrNoVariant)
				if _, ok := errors.AsType[*variant.NoneError](err); !ok {
					t.Errorf("%v says nothing of the variants", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Digest != test.want {
				t.Errorf("chose %s, want %s", res.Digest, test.want)
			}
			if test.ref != "org/m@"+small && (res.Variant == nil || res.Variant.Index != index.Digest.String() || len(res.Variant.Considered) != 2) {
				t.Errorf("variant is told as %+v", res.Variant)
			}
		})
	}
	for _, bad := range []string{"org/m:v1#colour=red", "org/m:v1#q4,q8"} {
		_, err := w.Resolve(t.Context(), w.ref(bad))
		wantErr(t, err, hub.ErrUsage)
	}
}

// A report, or a base, is of a variant that somebody has named: the machine does
// not choose it.
func TestNamedVariant(t *testing.T) {
	w := newWorld(t)
	_, small, _ := w.quants("org/m", "v1", "")
	_, err := w.Scan(t.Context(), w.ref("org/m:v1"), hub.ScanOptions{})
	wantErr(t, err, hub.ErrNoVariant)
	res, err := w.Scan(t.Context(), w.ref("org/m:v1#q4"), hub.ScanOptions{})
	if err != nil || res.Digest != small {
		t.Errorf("scanned %+v, %v; want %s", res, err, small)
	}
	_, err = w.Import(t.Context(), "oci://"+w.srv.Host+"/org/m:v1", w.ref("org/n:v1"), hub.ImportOptions{})
	wantErr(t, err, hub.ErrNoVariant)
}

// What is asked of a version that has no variants must be true of it.
func TestChooseWithoutVariants(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	for _, want := range []variant.Want{{Word: "q4"}, {Runtime: "vllm"}} {
		_, err := w.with(hub.Options{Want: want}).PlanPull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{})
		wantErr(t, err, hub.ErrNoVariant)
	}
	machine := func(context.Context) variant.Machine { t.Error("the machine was asked for"); return variant.Machine{} }
	chose := func(ref.Reference, variant.Choice) { t.Error("there was nothing to choose") }
	if _, err := w.with(hub.Options{Machine: machine, Chose: chose}).PlanPull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{}); err != nil {
		t.Error(err)
	}
}

func TestResolveVariant(t *testing.T) {
	w := newWorld(t)
	index, small, _ := w.quants("org/m", "v1", "")
	for name, want := range map[string]string{"org/m:v1": index.Digest.String(), "org/m:v1#q4": small} {
		res, err := w.Resolve(t.Context(), w.ref(name))
		if err != nil || res.Digest != want {
			t.Errorf("%s is %+v, %v; want %s", name, res, err, want)
		}
	}
}

// An inspection of a version with variants reads its index and what refers to
// it, and nothing else.
func TestInspectVariants(t *testing.T) {
	w := newWorld(t)
	w.quants("org/m", "v1", "")
	h := w.with(hub.Options{Machine: func(context.Context) variant.Machine { return variant.Machine{Memory: 6 * gib} }})
	w.srv.Reset()
	res, err := h.Inspect(t.Context(), w.ref("org/m:v1"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, v := range res.Variants {
		got[v.Name] = v.Chosen
	}
	if diff := cmp.Diff(map[string]bool{"q8": false, "q4": true}, got); diff != "" {
		t.Error(diff)
	}
	if n := len(w.srv.Requests()); n > 5 { // the index, what is attached in three ways, and the record
		t.Errorf("%d requests: %v", n, w.srv.Requests())
	}
	one, err := h.Inspect(t.Context(), w.ref("org/m:v1#q8"))
	if err != nil || len(one.Files) != 1 || one.Variants != nil {
		t.Errorf("of one: %+v, %v", one, err)
	}
}

func TestListVariants(t *testing.T) {
	w := newWorld(t)
	w.quants("org/m", "v1", "")
	list, err := w.Versions(t.Context(), w.ref("org/m"), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		if n := len(v.Variants); v.Tag == "v1" && n != 2 || v.Tag != "v1" && n != 0 {
			t.Errorf("%s has %d variants", v.Tag, n)
		}
	}
}

// A locked variant is pulled without being chosen again, and an update stays
// with it whatever the machine.
func TestLockVariant(t *testing.T) {
	w := newWorld(t)
	index, small, _ := w.quants("org/m", "v1", "")
	h := w.with(hub.Options{Machine: func(context.Context) variant.Machine { return variant.Machine{Memory: 6 * gib} }})
	e, err := h.Lock(t.Context(), w.ref("org/m:v1"), hub.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if e.Digest != index.Digest || e.Variant.String() != small || e.Chosen != "name=q4,format=gguf,quant=Q4_0" {
		t.Errorf("locked %+v", e)
	}
	asked := hub.Options{Machine: func(context.Context) variant.Machine { t.Error("the machine was asked for"); return variant.Machine{} }}
	l := hub.Locked{Name: "m", Entry: e}
	res, err := w.with(asked).Pull(t.Context(), e.Reference, t.TempDir(), hub.PullOptions{Locked: &l})
	if err != nil || res.Digest != small {
		t.Errorf("pulled %+v, %v", res, err)
	}

	_, newSmall, _ := w.quants("org/m", "v1", "new ")
	_, err = w.CheckLocked(t.Context(), []hub.Locked{l})
	wantErr(t, err, lock.ErrDrift)
	next, err := w.with(asked).Relock(t.Context(), l, hub.LockOptions{})
	if err != nil || next.Variant.String() != newSmall || next.Chosen != e.Chosen {
		t.Errorf("updated to %+v, %v; want %s", next, err, newSmall)
	}
	w.putVariants("org/m", "v1", map[string]variant.Variant{"v1-q8": {Name: "q8", Format: "gguf", Quant: "Q8_0"}})
	_, err = w.Relock(t.Context(), l, hub.LockOptions{})
	wantErr(t, err, hub.ErrNoVariant)
}

// An update stays with the variant also where the reference leaves several, and with
// the form that a version had which was the only one.
func TestLockVariantStays(t *testing.T) {
	w := newWorld(t)
	w.quants("org/m", "v1", "")
	on := func(memory int64) *hub.Hub {
		return w.with(hub.Options{Machine: func(context.Context) variant.Machine { return variant.Machine{Memory: memory} }})
	}
	e, err := on(6*gib).Lock(t.Context(), w.ref("org/m:v1#gguf"), hub.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, newSmall, _ := w.quants("org/m", "v1", "new ")
	next, err := on(64*gib).Relock(t.Context(), hub.Locked{Name: "m", Entry: e}, hub.LockOptions{})
	if err != nil || next.Variant.String() != newSmall {
		t.Errorf("on another machine it is %+v, %v; want %s", next, err, newSmall)
	}
	edited := next
	edited.Reference = w.ref("org/m:v1#name=q8")
	if other, err := w.Relock(t.Context(), hub.Locked{Name: "m", Entry: edited}, hub.LockOptions{}); err != nil || other.Chosen != "name=q8,format=gguf,quant=Q8_0" {
		t.Errorf("another is asked for: %+v, %v", other, err)
	}

	_, quants := family(t, "one")
	q4, q8 := filepath.Join(quants, "m-Q4_K_M.gguf"), filepath.Join(quants, "m-Q8_0.gguf")
	if _, err := w.PushVariants(t.Context(), formsOf(t, q4), w.ref("org/one:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	alone, err := w.Lock(t.Context(), w.ref("org/one:v1"), hub.LockOptions{})
	if err != nil || alone.Chosen != "" {
		t.Fatalf("locked %+v, %v", alone, err)
	}
	if _, err := w.PushVariants(t.Context(), formsOf(t, q4, q8), w.ref("org/one:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	next, err = w.Relock(t.Context(), hub.Locked{Name: "m", Entry: alone}, hub.LockOptions{})
	if err != nil || next.Variant != alone.Digest || !strings.HasPrefix(next.Chosen, "name=q4_k_m,") {
		t.Errorf("of what was one it is %+v, %v; want %s", next, err, alone.Digest)
	}
}
