package hub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
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

// An archive that does not say what is in it has no signature of its files,
// whatever it is called.
func TestPolicyModelSignatureOfArchive(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/require-oms: \"true\"\n")
	g.push("org/m:v1", "one")
	if _, err := g.SignFiles(t.Context(), g.ref("org/m:v1"), g.signer); err != nil {
		t.Fatal(err)
	}
	g.addsLayer(mediatypes.LayerType(mediatypes.KindCode, mediatypes.Tar), ".github", tarball(t, "modeling_x.py", "import os")) // signatures leave .github out
	for tag, want := range map[string]string{"v1": "", "v2": policy.RuleOMS} {
		g.sign("org/m:"+tag, g.signer)
		_, err := g.admits.Verify(t.Context(), g.ref("org/m:"+tag), signing.Trust{}, hub.VerifyOptions{})
		if got := refusedFor(t, err); got != want {
			t.Errorf("%s: refused for %q, want %q", tag, got, want)
		}
	}
}

// addsLayer tags v2 what is v1 of org/m with a layer more, and the signature of v1's
// files attached to it.
func (g *guarded) addsLayer(kind, path string, blob []byte) {
	g.t.Helper()
	desc, raw := g.manifest("org/m", "v1")
	var bundle []byte
	for b, err := range signing.DetachedOf(g.t.Context(), g.repo("org/m"), signing.Target{Repository: g.srv.Host + "/org/m", Descriptor: desc}, oms.PredicateType) {
		if err != nil {
			g.t.Fatal(err)
		}
		bundle = b
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		g.t.Fatal(err)
	}
	put := func(mediaType string, blob []byte) ocispec.Descriptor {
		desc := content.NewDescriptorFromBytes(mediaType, blob)
		if err := g.repo("org/m").Push(g.t.Context(), desc, bytes.NewReader(blob)); err != nil {
			g.t.Fatal(err)
		}
		return desc
	}
	m.Config = put(m.Config.MediaType, []byte("{}"))
	layer := put(kind, blob)
	layer.Annotations = map[string]string{mediatypes.AnnotationFilepath: path}
	m.Layers = append(m.Layers, layer)
	raw, err := json.Marshal(m)
	if err != nil {
		g.t.Fatal(err)
	}
	desc = content.NewDescriptorFromBytes(m.MediaType, raw)
	if err := g.repo("org/m").PushManifest(g.t.Context(), desc, raw, "v2"); err != nil {
		g.t.Fatal(err)
	}
	if _, err := signing.AttachDetached(g.t.Context(), g.repo("org/m"), signing.Target{Repository: g.srv.Host + "/org/m", Descriptor: desc}, bundle, oms.PredicateType); err != nil {
		g.t.Fatal(err)
	}
}

// Where nobody need have signed the manifest, the signature of the files is about
// all of them, also those that its signer had it leave out.
func TestPolicyModelSignatureAlone(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/require-oms: \"true\"\n")
	text := "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: files\n  annotations: {policy.modelreg.dev/require-oms: \"true\"}\n" +
		"spec:\n  images: [{glob: \"**\"}]\n  authorities:\n  - static: {action: pass}\n  - key: {data: " + fmt.Sprintf("%q", g.signer.Public().PEM()) + "}\n"
	files, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	g.push("org/m:v1", "one")
	if _, err := g.SignFiles(t.Context(), g.ref("org/m:v1"), g.signer); err != nil {
		t.Fatal(err)
	}
	g.addsLayer(mediatypes.LayerType(mediatypes.KindCode, mediatypes.Raw), ".github/modeling_x.py", []byte("import os"))
	anyhow := hub.New(hub.Options{Remote: g.client, Warn: g.warn, Rules: rules(hub.Rules{Policies: []*policy.Policy{files}})})
	verify := func(tag string) string {
		_, err := anyhow.Verify(t.Context(), g.ref("org/m:"+tag), signing.Trust{}, hub.VerifyOptions{})
		return refusedFor(t, err)
	}
	for tag, want := range map[string]string{"v1": "", "v2": policy.RuleOMS} {
		if got := verify(tag); got != want {
			t.Errorf("%s: refused for %q, want %q", tag, got, want)
		}
	}
	// The signer of both has said what the manifest has.
	g.sign("org/m:v2", g.signer)
	if got := verify("v2"); got != "" {
		t.Errorf("signed v2: refused for %q", got)
	}
	// A policy can ask for all files nevertheless.
	whole := guard(t, g.world, "    policy.modelreg.dev/require-oms: all\n")
	g.sign("org/m:v1", g.signer)
	for tag, want := range map[string]string{"v1": "", "v2": policy.RuleOMS} {
		_, err := whole.admits.Verify(t.Context(), g.ref("org/m:"+tag), signing.Trust{}, hub.VerifyOptions{})
		if got := refusedFor(t, err); got != want {
			t.Errorf("all files of %s: refused for %q, want %q", tag, got, want)
		}
	}
}
