package hub_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// saved copies a signed version into a layout, and has the registry answer
// nothing from then on.
func (g *guarded) saved(name string) ref.Reference {
	g.t.Helper()
	g.push(name, "hello")
	g.sign(name, g.signer)
	at := ref.Reference{Scheme: ref.SchemeLayout, Repository: filepath.ToSlash(filepath.Join(g.t.TempDir(), "saved")), Tag: "v1"}
	if _, err := g.Copy(g.t.Context(), g.ref(name), at, hub.CopyOptions{}); err != nil {
		g.t.Fatal(err)
	}
	g.srv.Add(testreg.Rule{Path: `/`, Do: testreg.Status(599, nil, "")})
	return at
}

// A version in a layout is used as one in a registry is, with nobody to ask.
func TestLayoutAsSource(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/match-repository: \"true\"\n    policy.modelreg.dev/model: |\n      customCode: forbid\n")
	at := g.saved("org/m:v1")
	ctx := t.Context()
	h := hub.New(hub.Options{Rules: rules(hub.Rules{Policies: []*policy.Policy{g.policy}}), As: g.ref("org/m")})
	untagged := at
	untagged.Tag = ""
	res, err := h.Resolve(ctx, untagged)
	if err != nil || res.Repository != g.srv.Host+"/org/m" || res.Tag != "v1" {
		t.Fatalf("Resolve = %+v, %v", res, err)
	}
	pinned := at.WithDigest(digest.Digest(res.Digest))
	for _, from := range []ref.Reference{at, untagged, pinned} {
		out := filepath.Join(t.TempDir(), "out")
		pulled, err := h.Pull(ctx, from, out, hub.PullOptions{})
		if err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		if pulled.Verified == nil || pulled.Verified.Policy != g.policy.String() || pulled.FetchedBytes == 0 {
			t.Errorf("%s: %+v", from, pulled)
		}
		if raw, err := os.ReadFile(filepath.Join(out, "notes.txt")); err != nil || string(raw) != "hello" {
			t.Errorf("%s: %q, %v", from, raw, err)
		}
		if raw, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(artifact.RecordFile))); err != nil || !bytes.Contains(raw, []byte("layout://")) {
			t.Errorf("%s: noted %s, %v", from, raw, err)
		}
		if _, err := h.VerifyDir(ctx, out, signing.Trust{}, hub.VerifyDirOptions{}); err != nil {
			t.Errorf("%s: %v", from, err)
		}
	}
	var text bytes.Buffer
	if err := h.Cat(ctx, at, "notes.txt", &text); err != nil || text.String() != "hello" {
		t.Errorf("Cat = %q, %v", text.String(), err)
	}
	if _, err := h.Inspect(ctx, at); err != nil {
		t.Error(err)
	}
	trust := signing.Trust{Keys: []*signing.PublicKey{g.signer.Public()}}
	if v, err := h.Verify(ctx, at, trust, hub.VerifyOptions{}); err != nil || !v.Verified {
		t.Errorf("Verify = %+v, %v", v, err)
	}
	if _, err := h.Promote(ctx, at, g.ref("org/m:prod"), hub.PromoteOptions{}); err == nil {
		t.Error("an alias was moved to what is no version of a registry")
	}
	_, err = h.Sign(ctx, at, g.signer, signing.SignOptions{})
	wantErr(t, err, hub.ErrUsage)
}

func TestLayoutAsSourceRefuses(t *testing.T) {
	g := guard(t, newWorld(t), "")
	at := g.saved("org/m:v1")
	ctx := t.Context()
	pull := func(h *hub.Hub, r ref.Reference) error {
		_, err := h.Pull(ctx, r, filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
		return err
	}
	lone, err := policy.Parse([]byte(lax))
	if err != nil {
		t.Fatal(err)
	}
	if got := refusedFor(t, pull(ashore(lone), at)); got != policy.RuleMatch {
		t.Errorf("a policy for other repositories: refused for %q", got)
	}
	// What was signed is of another repository, and the layout does not say of which.
	bound := guard(t, g.world, "    policy.modelreg.dev/match-repository: \"true\"\n").policy
	if got := refusedFor(t, pull(ashore(bound), at)); got != policy.RuleSignature {
		t.Errorf("by the name of the directory: refused for %q", got)
	}
	_, err = aground.Verify(ctx, at, *stranger().trust, hub.VerifyOptions{})
	wantErr(t, err, signing.ErrUntrusted)
	other := at
	other.Tag = "v2"
	wantErr(t, pull(aground, other), errdef.ErrNotFound)
	other = at
	other.Revision = "~1"
	wantErr(t, pull(aground, other), hub.ErrUsage)
	other.Revision, other.Repository = "", filepath.ToSlash(t.TempDir())
	wantErr(t, pull(aground, other), layout.ErrMalformed)

	// A byte that is another's is found, as in a registry.
	blobs := filepath.Join(filepath.FromSlash(at.Repository), "blobs", "sha256")
	file := filepath.Join(blobs, digest.FromString("hello").Encoded())
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, file, "hallo")
	wantErr(t, pull(aground, at), content.ErrMismatchedDigest)
}
