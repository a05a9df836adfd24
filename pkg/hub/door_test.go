package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

func (w *world) named(name, reference string) digest.Digest {
	desc, _ := w.manifest(name, reference)
	return desc.Digest
}

func TestDoor(t *testing.T) {
	w := newWorld(t)
	g := guard(t, w, "")
	for _, name := range []string{"org/signed", "org/unsigned"} {
		w.push(name+":v1", name)
	}
	g.sign("org/signed:v1", g.signer)
	w.push("org/index:one", "one")
	w.pushIndex("org/index", "v1", "one")
	g.sign("org/index:v1", g.signer)
	door := hub.NewDoor(g.admits, w.srv.Host)
	admit := func(name string, d digest.Digest, want error) int {
		t.Helper()
		before := len(w.srv.Requests())
		if err := door.Admit(t.Context(), name, d); !errors.Is(err, want) {
			t.Errorf("%s@%s: %v, want %v", name, d, err, want)
		}
		return len(w.srv.Requests()) - before
	}
	signed, unsigned := w.named("org/signed", "v1"), w.named("org/unsigned", "v1")
	// All at once are one decision, and so are those that follow.
	before := len(w.srv.Requests())
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { admit("org/signed", signed, nil) })
	}
	all.Wait()
	if n := len(w.srv.Requests()) - before; n > 8 {
		t.Errorf("20 at once made %d requests", n)
	}
	if n := admit("org/signed", signed, nil); n != 0 {
		t.Errorf("the second answer took %d requests", n)
	}
	admit("org/unsigned", unsigned, policy.ErrRefused)
	if n := admit("org/unsigned", unsigned, policy.ErrRefused); n != 0 {
		t.Errorf("the second refusal took %d requests", n)
	}
	// A model is signed by the index that lists it, where that was allowed.
	child := w.named("org/index", "one")
	admit("org/index", w.named("org/index", "v1"), nil)
	admit("org/index", child, nil)
	fresh := hub.NewDoor(g.admits, w.srv.Host)
	if err := fresh.Admit(t.Context(), "org/index", child); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("the model alone: %v", err)
	}
	// Signatures and their list are for everybody, and what is not there is nobody's.
	list := w.named("org/signed", strings.Replace(signed.String(), ":", "-", 1))
	admit("org/signed", list, nil)
	referrers, err := w.repo("org/signed").Referrers(t.Context(), first(w.manifest("org/signed", "v1")), "")
	if err != nil || len(referrers) == 0 {
		t.Fatal(err)
	}
	admit("org/signed", referrers[0].Digest, nil)
	admit("org/none", unsigned, hub.ErrNothingThere)
	admit("org/later", unsigned, hub.ErrNothingThere)
	w.push("org/later:v1", "org/unsigned")
	admit("org/later", unsigned, policy.ErrRefused)
}

// What looks like something that is attached, and is a model to other loaders, is
// decided on.
func TestDoorKnowsDisguises(t *testing.T) {
	w := newWorld(t)
	g := guard(t, w, "")
	w.push("org/m:v1", "text")
	_, raw := w.manifest("org/m", "v1")
	subject := first(w.manifest("org/m", "v1"))
	door := hub.NewDoor(g.admits, w.srv.Host)
	for name, change := range map[string]func(*ocispec.Manifest){
		"a tombstone": func(m *ocispec.Manifest) {
			m.ArtifactType = record.TombstoneType
			m.Annotations = map[string]string{record.AnnotationBuried: subject.Digest.String()}
		},
		"a signature": func(m *ocispec.Manifest) {
			m.ArtifactType, m.Subject = "application/vnd.dev.sigstore.bundle.v0.3+json", &subject
		},
		"an unknown layer first": func(m *ocispec.Manifest) {
			m.ArtifactType, m.Config.MediaType = "", mediatypes.ConfigImageDocker
			m.Layers = []ocispec.Descriptor{m.Layers[0], m.Layers[0]}
			m.Layers[0].MediaType, m.Layers[1].MediaType = "application/octet-stream", mediatypes.OllamaModel
		},
		"files with a subject": func(m *ocispec.Manifest) {
			m.ArtifactType, m.Config.MediaType, m.Subject = "", ocispec.MediaTypeEmptyJSON, &subject
			m.Layers = []ocispec.Descriptor{m.Layers[0]}
			m.Layers[0].MediaType = "application/octet-stream"
			m.Layers[0].Annotations = map[string]string{mediatypes.AnnotationTitle: "model.bin"}
		},
		"weights called a document": func(m *ocispec.Manifest) {
			m.ArtifactType, m.Config.MediaType = record.ArtifactType, ocispec.MediaTypeEmptyJSON
			m.Layers = []ocispec.Descriptor{m.Layers[0]}
			m.Layers[0].MediaType = mediatypes.LayerMarkdown
			m.Layers[0].Annotations = map[string]string{mediatypes.AnnotationTitle: "model.gguf"}
		},
	} {
		var m ocispec.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		disguised, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, disguised)
		if err := w.repo("org/m").PushManifest(t.Context(), desc, disguised, "odd"); err != nil {
			t.Fatal(name, err)
		}
		if err := door.Admit(t.Context(), "org/m", desc.Digest); err == nil {
			t.Errorf("%s is given out", name)
		}
	}
}

func first[A, B any](a A, _ B) A { return a }

// A registry that does not answer is no reason to give something out.
func TestDoorFailsClosed(t *testing.T) {
	w := newWorld(t)
	g := guard(t, w, "")
	w.push("org/m:v1", "text")
	g.sign("org/m:v1", g.signer)
	d := w.named("org/m", "v1")
	w.srv.Add(testreg.Rule{Path: `/referrers/`, Do: testreg.Status(500, nil, "")})
	if err := hub.NewDoor(g.admits, w.srv.Host).Admit(t.Context(), "org/m", d); err == nil {
		t.Error("given out")
	}
}

// What was decided is forgotten when the policies have changed.
func TestDoorForgets(t *testing.T) {
	w := newWorld(t)
	g := guard(t, w, "")
	w.push("org/m:v1", "text")
	g.sign("org/m:v1", g.signer)
	d := w.named("org/m", "v1")
	none := guard(t, w, "    policy.modelreg.dev/min-signers: \"2\"\n").policy
	var mu sync.Mutex
	now := g.policy
	h := hub.New(hub.Options{Remote: w.client, Rules: func(context.Context) (hub.Rules, error) {
		mu.Lock()
		defer mu.Unlock()
		return hub.Rules{Policies: []*policy.Policy{now}}, nil
	}})
	door := hub.NewDoor(h, w.srv.Host)
	admit := func(want error) {
		t.Helper()
		if err := door.Admit(t.Context(), "org/m", d); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	admit(nil)
	mu.Lock()
	now = none
	mu.Unlock()
	admit(nil)
	door.Forget()
	admit(policy.ErrRefused)
}

// A base in another registry is looked at where the policy asks about it; one that
// cannot be is refused with what was made of it.
func TestDoorAsksElsewhere(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	base := other.ref(other.push("org/base:v1", "base").Reference[len(other.srv.Host)+1:])
	w.made("org/m:v1", files{"notes.txt": "made of it"}, hub.Input{Reference: base})
	g := guard(t, w, asksLineage("lineage: {signed: true}"))
	g.sign("org/m:v1", g.signer)
	d := w.named("org/m", "v1")
	doorOf := func(p *policy.Policy) *hub.Door {
		return hub.NewDoor(hub.New(hub.Options{
			Remote: other.client, Inside: map[string]*remote.Client{w.srv.Host: w.client}, Rules: rules(hub.Rules{Policies: []*policy.Policy{p}}),
		}), w.srv.Host)
	}
	other.srv.Reset()
	if err := doorOf(guard(t, w, "").policy).Admit(t.Context(), "org/m", d); err != nil {
		t.Error(err)
	}
	if n := len(other.srv.Requests()); n != 0 {
		t.Errorf("a policy that does not ask about bases made %d requests elsewhere", n)
	}
	door := doorOf(g.policy)
	admit := func(what string, want error) int {
		t.Helper()
		door.Forget()
		before := len(other.srv.Requests())
		if err := door.Admit(t.Context(), "org/m", d); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		return len(other.srv.Requests()) - before
	}
	admit("nobody has signed the base", policy.ErrRefused)
	if _, err := other.Sign(t.Context(), base, g.signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := admit("the base is signed", nil); n == 0 || n > 16 {
		t.Errorf("asking about one base made %d requests", n)
	}
	before := len(other.srv.Requests())
	if err := door.Admit(t.Context(), "org/m", d); err != nil || len(other.srv.Requests()) != before {
		t.Errorf("asked once more: %v", err)
	}
	other.srv.Add(testreg.Rule{Path: "/manifests/", Do: testreg.Status(500, nil, "")})
	admit("the registry of the base does not answer", policy.ErrRefused)
}
