package hub_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

const provenanceByCI = `{"buildDefinition":{"buildType":"x"},"runDetails":{"builder":{"id":"https://ci.example.com/run"}}}`

// vouched pushes a model that carries all that policies can ask for.
func (g *guarded) vouched(name string, f files) {
	g.t.Helper()
	if _, err := g.Push(g.t.Context(), dir(g.t, f), g.ref(name), hub.PushOptions{}); err != nil {
		g.t.Fatal(err)
	}
	g.sign(name, g.signer)
	p := signing.Predicate{Type: "https://slsa.dev/provenance/v1", Raw: []byte(provenanceByCI)}
	if _, err := g.Attest(g.t.Context(), g.ref(name), g.signer, p, signing.AttestOptions{}); err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.SignFiles(g.t.Context(), g.ref(name), g.signer); err != nil {
		g.t.Fatal(err)
	}
}

// pulledOnce pulls a version that the policy admits, and has the registry answer
// nothing from then on.
func (g *guarded) pulledOnce(name string, opts hub.PullOptions) string {
	g.t.Helper()
	out := filepath.Join(g.t.TempDir(), "out")
	if _, err := g.admits.Pull(g.t.Context(), g.ref(name), out, opts); err != nil {
		g.t.Fatal(err)
	}
	g.srv.Add(testreg.Rule{Path: `/`, Do: testreg.Status(599, nil, "")})
	return out
}

// ashore is a hub with one policy and without any registry.
func ashore(p *policy.Policy) *hub.Hub {
	return hub.New(hub.Options{Rules: rules(hub.Rules{Policies: []*policy.Policy{p}})})
}

const asksAll = `    policy.modelreg.dev/require-digest: "true"
    policy.modelreg.dev/require-oms: "true"
    policy.modelreg.dev/match-repository: "true"
    policy.modelreg.dev/model: |
      licenses: [apache-2.0]
      formats: [safetensors]
      customCode: forbid
      provenance: {builders: ["https://ci.example.com/*"]}
`

// What a policy admitted is allowed by it where it lies, with nobody to ask; what
// it asks for is kept by the pull, and nothing that lies there is believed.
func TestVerifyDirPolicy(t *testing.T) {
	g := guard(t, newWorld(t), asksAll)
	g.vouched("org/m:v1", files{"README.md": "---\nlicense: apache-2.0\n---\nA model.\n", "config.json": "{}", "notes.txt": "x"})
	byDigest := g.ref("org/m:v1")
	r, err := g.Resolve(t.Context(), byDigest)
	if err != nil {
		t.Fatal(err)
	}
	out := g.pulledOnce("org/m@"+r.Digest, hub.PullOptions{})
	nobody := signing.Trust{}
	res, err := ashore(g.policy).VerifyDir(t.Context(), out, nobody, hub.VerifyDirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Verified || res.Policy != g.policy.String() || res.Repository != g.srv.Host+"/org/m" || len(res.Signers) != 1 || len(res.Records) != 1 || !res.Records[0].Verified {
		t.Errorf("VerifyDir = %+v", res)
	}
	if _, err := ashore(g.policy).VerifyDir(t.Context(), out, signing.Trust{Keys: []*signing.PublicKey{g.signer.Public()}}, hub.VerifyDirOptions{Policies: true}); err != nil {
		t.Errorf("a key and the policy: %v", err)
	}

	refuses := func(name, annotations, want string) {
		t.Helper()
		p := guard(t, g.world, annotations).policy
		res, err := ashore(p).VerifyDir(t.Context(), out, nobody, hub.VerifyDirOptions{})
		if got := refusedFor(t, err); got != want || res.Verified || res.Records[0].Verified || len(res.Failures) == 0 {
			t.Errorf("%s: refused for %q, want %q: %+v", name, got, want, res)
		}
	}
	model := func(conditions string) string {
		return "    policy.modelreg.dev/model: |\n      " + conditions + "\n"
	}
	refuses("another licence", model("licenses: [mit]"), policy.RuleLicenses)
	refuses("no scan", model("scan: {maxAge: 7d}"), policy.RuleScan)
	refuses("another builder", model(`provenance: {builders: ["https://other/*"]}`), policy.RuleProvenance)
	refuses("two signers", "    policy.modelreg.dev/min-signers: \"2\"\n", policy.RuleMinSigners)
	refuses("ancestors", model("lineage: {signed: true}"), policy.RuleLineage)
	_, err = ashore(g.policy).VerifyDir(t.Context(), out, nobody, hub.VerifyDirOptions{As: ref.Reference{Host: "example.com", Repository: "other"}})
	if got := refusedFor(t, err); got != policy.RuleSignature+" "+policy.RuleProvenance {
		t.Errorf("as another repository, which was not signed: refused for %q", got)
	}

	_, err = aground.VerifyDir(t.Context(), out, nobody, hub.VerifyDirOptions{})
	wantErr(t, err, hub.ErrUsage)
	write(t, filepath.Join(out, "config.json"), `{"auto_map":{}}`)
	_, err = ashore(g.policy).VerifyDir(t.Context(), out, nobody, hub.VerifyDirOptions{})
	wantErr(t, err, content.ErrMismatchedDigest)
	if f, ok := errors.AsType[*hub.FilesError](err); !ok || len(f.Changed) != 1 {
		t.Errorf("a file that changed: %v", err)
	}
}

// Another key's signature does not count, and one that was not asked for then is
// not there.
func TestVerifyDirPolicyOfOthers(t *testing.T) {
	w := newWorld(t)
	g := guard(t, w, "")
	w.push("org/m:v1", "text")
	g.sign("org/m:v1", g.signer)
	out := g.pulledOnce("org/m:v1", hub.PullOptions{})
	text := strings.ReplaceAll(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: models}
spec:
  images: [{glob: "**"}]
  authorities: [{name: other, key: {data: KEY}}]
`, "KEY", `"`+strings.ReplaceAll(string(otherSigner().Public().PEM()), "\n", `\n`)+`"`)
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ashore(p).VerifyDir(t.Context(), out, signing.Trust{}, hub.VerifyDirOptions{})
	if got := refusedFor(t, err); got != policy.RuleSignature {
		t.Errorf("refused for %q", got)
	}
	if err := os.Remove(filepath.Join(out, filepath.FromSlash(artifact.EvidenceFile))); err != nil {
		t.Fatal(err)
	}
	_, err = ashore(g.policy).VerifyDir(t.Context(), out, signing.Trust{}, hub.VerifyDirOptions{})
	wantErr(t, err, signing.ErrNoSignature)
}

// Files in archives are read where they were put; a file that the policy goes by
// and that was left out is no reason to pass.
func TestVerifyDirPolicyFiles(t *testing.T) {
	many := files{"README.md": "---\nlicense: apache-2.0\n---\nA model.\n"}
	for i := range 520 {
		many[filepath.Join("parts", string(rune('a'+i%26)), string(rune('a'+i/26))+".txt")] = "x"
	}
	w := newWorld(t)
	g := guard(t, w, "    policy.modelreg.dev/model: |\n      licenses: [apache-2.0]\n")
	g.vouched("org/m:v1", many)
	part := filepath.Join(t.TempDir(), "part")
	if _, err := g.admits.Pull(t.Context(), g.ref("org/m:v1"), part, hub.PullOptions{Select: artifact.Selection{Include: []string{"parts/**"}}}); err != nil {
		t.Fatal(err)
	}
	out := g.pulledOnce("org/m:v1", hub.PullOptions{})
	if _, err := ashore(g.policy).VerifyDir(t.Context(), out, signing.Trust{}, hub.VerifyDirOptions{}); err != nil {
		t.Error(err)
	}
	_, err := ashore(g.policy).VerifyDir(t.Context(), part, signing.Trust{}, hub.VerifyDirOptions{})
	if !errors.Is(err, signing.ErrUntrusted) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a card that was left out: %v", err)
	}
}

// What is said of the model that was taken from an index is kept as what is said
// of the index.
func TestVerifyDirPolicyOfIndex(t *testing.T) {
	w := newWorld(t)
	g := guard(t, w, "    policy.modelreg.dev/model: |\n      yanked: warn\n")
	w.push("org/m:one", "one")
	w.pushIndex("org/m", "index", "one")
	g.sign("org/m:index", g.signer)
	p := signing.Predicate{Type: policy.TypeStatus, Raw: []byte(`{"state":"yanked","reason":"it leaks"}`)}
	if _, err := g.Attest(t.Context(), g.ref("org/m:one"), g.signer, p, signing.AttestOptions{}); err != nil {
		t.Fatal(err)
	}
	out := g.pulledOnce("org/m:index", hub.PullOptions{})
	if _, err := ashore(g.policy).VerifyDir(t.Context(), out, signing.Trust{}, hub.VerifyDirOptions{}); err != nil {
		t.Error(err)
	}
	strict := guard(t, w, "    policy.modelreg.dev/model: |\n      yanked: refuse\n").policy
	_, err := ashore(strict).VerifyDir(t.Context(), out, signing.Trust{}, hub.VerifyDirOptions{})
	if !errors.Is(err, policy.ErrYanked) {
		t.Errorf("error = %v, want that it was yanked", err)
	}
}
