package hub_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// What a policy asks of files is asked of the models that an index lists,
// whoever asks.
func TestPolicyOfIndex(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/model: |\n      customCode: forbid\n")
	g.push("org/m:good", "one")
	if _, err := g.Push(t.Context(), dir(t, files{"modeling_x.py": "import os"}), g.ref("org/m:bad"), hub.PushOptions{NoScan: true}); err != nil {
		t.Fatal(err)
	}
	g.pushIndex("org/m", "one", "good")
	g.pushIndex("org/m", "both", "good", "bad")
	g.pushIndex("org/m", "twice", "good", "good")
	g.quietly("org/m", "hidden", "both")
	for tag, want := range map[string]string{"one": "", "both": policy.RuleCustomCode, "twice": "", "hidden": policy.RuleCustomCode} {
		name := "org/m:" + tag
		g.sign(name, g.signer)
		for way, use := range g.indexUses(name) {
			if got := refusedFor(t, use()); got != want {
				t.Errorf("%s %s: refused for %q, want %q", way, tag, got, want)
			}
		}
	}
}

// The files' signature is on the model, and the index lists that.
func TestPolicyModelSignatureOfIndex(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/require-oms: \"true\"\n")
	g.push("org/m:one", "one")
	g.pushIndex("org/m", "index", "one")
	g.sign("org/m:index", g.signer)
	for way, use := range g.indexUses("org/m:index") {
		if got := refusedFor(t, use()); got != policy.RuleOMS {
			t.Errorf("%s without one: refused for %q", way, got)
		}
	}
	if _, err := g.SignFiles(t.Context(), g.ref("org/m:one"), g.signer); err != nil {
		t.Fatal(err)
	}
	for way, use := range g.indexUses("org/m:index") {
		if err := use(); err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
}

// What was withdrawn is not used because an index lists it too.
func TestPolicyStatusOfListed(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/model: |\n      yanked: refuse\n")
	g.push("org/m:one", "one")
	g.pushIndex("org/m", "index", "one")
	g.sign("org/m:index", g.signer)
	uses := g.indexUses("org/m:index")
	uses["pull"] = func() error { return g.plan("org/m:index", hub.PullOptions{}) }
	for way, use := range uses {
		if err := use(); err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
	yanked := signing.Predicate{Type: policy.TypeStatus, Raw: []byte(`{"state":"yanked","since":"2026-11-01T00:00:00Z"}`)}
	if _, err := g.Attest(t.Context(), g.ref("org/m:one"), g.signer, yanked, signing.AttestOptions{}); err != nil {
		t.Fatal(err)
	}
	for way, use := range uses {
		err := use()
		if got := refusedFor(t, err); got != policy.RuleYanked || !errors.Is(err, policy.ErrYanked) {
			t.Errorf("%s: refused for %q: %v", way, got, err)
		}
	}
}

// indexUses are what is done with an index as a whole.
func (g *guarded) indexUses(name string) map[string]func() error {
	return map[string]func() error{
		"verify": func() error {
			_, err := g.admits.Verify(g.t.Context(), g.ref(name), signing.Trust{}, hub.VerifyOptions{})
			return err
		},
		"copy to a layout": func() error {
			to := ref.Reference{Scheme: ref.SchemeLayout, Repository: filepath.Join(g.t.TempDir(), "out"), Tag: "v1"}
			_, err := g.admits.Copy(g.t.Context(), g.ref(name), to, hub.CopyOptions{})
			return err
		},
		"copy": func() error {
			to := g.ref("mirror/" + strings.ReplaceAll(name, ":", "-") + ":v1")
			_, err := g.admits.Copy(g.t.Context(), g.ref(name), to, hub.CopyOptions{OnConflict: hub.ConflictOverwrite})
			return err
		},
	}
}

// quietly tags an index like another, which does not say that the last that it
// lists is a model.
func (w *world) quietly(name, tag, like string) {
	w.t.Helper()
	_, raw := w.manifest(name, like)
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		w.t.Fatal(err)
	}
	index.Manifests[len(index.Manifests)-1].ArtifactType = ""
	raw, err := json.Marshal(index)
	if err != nil {
		w.t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(index.MediaType, raw)
	if err := w.repo(name).PushManifest(w.t.Context(), desc, raw, tag); err != nil {
		w.t.Fatal(err)
	}
}
