package hub_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// again gives a manifest of org/m one more tag.
func (w *world) again(reference, tag string) {
	w.t.Helper()
	desc, raw := w.manifest("org/m", reference)
	if err := w.repo("org/m").PushManifest(w.t.Context(), desc, raw, tag); err != nil {
		w.t.Fatal(err)
	}
}

func keepTagOf(d string) string { return "_k." + hub.Revision(digest.Digest(d)) }

// note forges the note of garbage collection.
func (w *world) note(since time.Time, digests ...string) {
	w.t.Helper()
	const kind = "application/vnd.modelreg.gc.v1+json"
	entries := make([]string, len(digests))
	for i, d := range digests {
		entries[i] = fmt.Sprintf("%q:%q", d, since.Format(time.RFC3339))
	}
	text := `{"version":1,"unneeded":{` + strings.Join(entries, ",") + `}}`
	layer := content.NewDescriptorFromBytes(kind, []byte(text))
	for _, blob := range []string{text, "{}"} {
		if err := w.repo("org/m").Push(w.t.Context(), content.NewDescriptorFromBytes(kind, []byte(blob)), strings.NewReader(blob)); err != nil {
			w.t.Fatal(err)
		}
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: kind,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.repo("org/m").PushManifest(w.t.Context(), content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw), raw, "_gc"); err != nil {
		w.t.Fatal(err)
	}
}

func atOnce(r *hub.GCRules) { r.Last, r.Grace = 1, 0 }

// Who may push and not delete sets keep-tags and notes, so that the administrator's
// run deletes what is no version.
func TestGCTakesVersionsAlone(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.says(func(r *record.Record) { r.Protected = []string{"prod"} })
	if _, err := w.Tag(t.Context(), w.ref("org/m:v1"), "prod"); err != nil {
		t.Fatal(err)
	}
	w.state("org/m:v1", alice(), record.Yanked, "leaked data")
	v1 := w.digestOf("org/m", "v1")
	list := "sha256-" + digest.Digest(v1).Encoded()
	var index ocispec.Index
	_, raw := w.manifest("org/m", list)
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("list of referrers: %s, %v", raw, err)
	}
	statement := index.Manifests[0].Digest.String()
	targets := map[string]string{"statement": statement}
	for _, tag := range []string{list, record.Tag, record.TipTag("prod")} {
		targets[tag] = w.digestOf("org/m", tag)
	}
	bury := func(d string) {
		if err := w.Bury(t.Context(), w.ref("org/m"), d, hub.Burial{Reason: "forged"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, prepare := range map[string]func(d string){
		"keep-tag":           func(d string) { w.again(d, keepTagOf(d)) },
		"other keep-tag":     func(d string) { w.again(d, "_k."+strings.Repeat("0", 40)) },
		"note":               func(d string) { w.note(time.Unix(0, 0), d) },
		"note and tombstone": func(d string) { bury(d); w.note(time.Unix(0, 0), d) },
	} {
		for what, d := range targets {
			prepare(d)
			if res := w.gc("org/m", hub.GCOptions{Run: true, Rules: gcRules(atOnce)}); res.Deleted != 0 {
				t.Errorf("%s of %s: deleted %v", name, what, unneeded(res))
			}
			if w.digestOf("org/m", d) == "" {
				t.Errorf("%s of %s: it is gone", name, what)
			}
		}
	}
	_, err := w.Resolve(t.Context(), w.ref("org/m:v1"))
	wantErr(t, err, policy.ErrYanked)
}

// A version is taken by its own keep-tag, whatever other tags of the kind say.
func TestGCByTheWrongKeepTag(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("org/m:main", "one", "two")
	w.again(v[0], "_k."+strings.Repeat("0", 40))
	if err := w.repo("org/m").Untag(t.Context(), keepTagOf(v[0])); err != nil {
		t.Fatal(err)
	}
	if res := w.gc("org/m", hub.GCOptions{Rules: gcRules(atOnce)}); len(res.Unneeded) > 0 {
		t.Errorf("unneeded: %v", unneeded(res))
	}
	w.again(v[0], keepTagOf(v[0]))
	if diff := cmp.Diff(map[string]string{v[0]: "due"}, unneeded(w.gc("org/m", hub.GCOptions{Rules: gcRules(atOnce)}))); diff != "" {
		t.Error(diff)
	}
}

// What tags name that other clients attach by can belong to others too.
func TestGCLeavesWhatOthersHave(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("org/m:main", "one", "two")
	of := func(i int, suffix string) string { return "sha256-" + digest.Digest(v[i]).Encoded() + suffix }
	bom := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON},
	}
	put := func(tags ...string) digest.Digest {
		bom.Annotations = map[string]string{"n": strings.Join(tags, " ")}
		raw, err := json.Marshal(bom)
		if err != nil {
			t.Fatal(err)
		}
		desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
		if err := w.repo("org/m").PushManifest(t.Context(), desc, raw, tags...); err != nil {
			t.Fatal(err)
		}
		return desc.Digest
	}
	w.says(func(r *record.Record) { r.Notice = "hello" })
	shared, own := put(of(0, ".sbom"), of(1, ".sbom")), put(of(0, ".att"))
	card := w.affix("org/m", "application/vnd.modelreg.card.v1", "the card", mustDesc(w, v[1]))
	w.again(of(1, ""), of(0, ""))
	w.again(record.Tag, of(0, ".sig"))
	if res := w.gc("org/m", hub.GCOptions{Run: true, Rules: gcRules(atOnce)}); res.Deleted != 1 || res.Attached != 1 {
		t.Errorf("deleted %d versions and %d attached, want 1 and 1", res.Deleted, res.Attached)
	}
	for what, d := range map[string]string{"bill of materials": of(1, ".sbom"), "list": of(1, ""), "record": record.Tag, "card": card.Digest.String(), "the same bill": shared.String()} {
		if w.digestOf("org/m", d) == "" {
			t.Errorf("the %s is gone", what)
		}
	}
	for _, d := range []string{own.String(), of(0, ""), of(0, ".sig"), of(0, ".sbom")} {
		if w.digestOf("org/m", d) != "" {
			t.Errorf("%s is left", d)
		}
	}
}

func mustDesc(w *world, d string) ocispec.Descriptor {
	desc, _ := w.manifest("org/m", d)
	return desc
}

// A run that stops has put up the tombstone of a version that is then kept.
func TestGCHoldsAgain(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("org/m:main", "one", "two")
	w.srv.Add(testreg.Rule{Method: http.MethodDelete, Path: v[0], To: 1, Do: testreg.Status(http.StatusForbidden, nil, "")})
	opts := hub.GCOptions{Run: true, Rules: gcRules(atOnce)}
	if _, err := w.GC(t.Context(), w.ref("org/m"), opts); err == nil {
		t.Fatal("it was not stopped")
	}
	opts.Rules = gcRules(func(r *hub.GCRules) { atOnce(r); r.Holds = []digest.Digest{digest.Digest(v[0])} })
	if res := w.gc("org/m", opts); len(res.Unneeded) > 0 {
		t.Fatalf("on hold: %v", unneeded(res))
	}
	if got := w.digestOf("org/m", keepTagOf(v[0])); got != v[0] {
		t.Errorf("its keep-tag leads to %s", got)
	}
}

// Somebody makes an index of what is about to be deleted.
func TestGCWhileAnIndexIsMade(t *testing.T) {
	for _, tag := range []string{"all", "_k.index"} {
		w := newWorld(t)
		v := w.pushed("org/m:main", "one", "two")
		var once atomic.Bool
		w.srv.Add(testreg.Rule{Method: http.MethodDelete, Do: func(x testreg.Exchange) {
			if once.CompareAndSwap(false, true) {
				w.pushIndex("org/m", tag, v[0])
			}
			x.Pass(x.W)
		}})
		_, err := w.GC(t.Context(), w.ref("org/m"), hub.GCOptions{Run: true, Rules: gcRules(atOnce)})
		wantErr(t, err, hub.ErrConflict)
		if w.digestOf("org/m", v[0]) == "" {
			t.Error("what the index lists is gone")
		}
	}
}

// A statement that is listed and was removed may have been what counted.
func TestStatementThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.state("org/m:v1", alice(), record.Yanked, "leaked data")
	list := "sha256-" + digest.Digest(w.digestOf("org/m", "v1")).Encoded()
	var index ocispec.Index
	_, raw := w.manifest("org/m", list)
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Path: index.Manifests[0].Digest.String(), Do: testreg.Status(http.StatusNotFound, nil, "")})
	if _, err := w.Resolve(t.Context(), w.ref("org/m:v1")); err != nil {
		t.Fatal(err)
	}
	if got := w.warned(); !strings.Contains(got, "is listed and is not there") {
		t.Errorf("warnings = %q", got)
	}
}
