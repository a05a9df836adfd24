package hub_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

const lax = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: lax}\n" +
	"spec: {images: [{glob: \"a.example/**\"}], authorities: [{static: {action: pass}}]}\n"

// A policy that is named by its digest is read once; by a tag it is asked for
// every time, and must be signed.
func TestFetchPolicy(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	pushed, err := w.PushPolicy(ctx, []byte(lax), w.ref("org/policy:v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.PushPolicy(ctx, []byte(lax), w.ref("org/policy:v1"), nil); err != nil || again.Digest != pushed.Digest || again.Created {
		t.Errorf("pushed again: %+v, %v", again, err)
	}
	trust := alice().trust
	if _, err := w.FetchPolicy(ctx, w.ref("org/policy:v1"), hub.PolicyOptions{}); !errors.Is(err, hub.ErrUsage) {
		t.Errorf("error = %v, want ErrUsage for a tag without a key", err)
	}
	if _, err := w.FetchPolicy(ctx, w.ref("org/policy:v1"), hub.PolicyOptions{Trust: trust}); !errors.Is(err, signing.ErrNoSignature) {
		t.Errorf("error = %v, want ErrNoSignature", err)
	}
	if _, err := w.PushPolicy(ctx, []byte(lax), w.ref("org/policy:v1"), alice().signer); err != nil {
		t.Fatal(err)
	}
	if _, err := w.FetchPolicy(ctx, w.ref("org/policy:v1"), hub.PolicyOptions{Trust: trust}); err != nil {
		t.Error(err)
	}
	pinned := w.ref("org/policy@" + pushed.Digest)
	for _, state := range []string{"first", "without a registry"} {
		p, err := w.FetchPolicy(ctx, pinned, hub.PolicyOptions{})
		if err != nil || p.Documents[0].Name != "lax" {
			t.Fatalf("%s: %v", state, err)
		}
		w.srv.Add(testreg.Rule{Path: `.`, Do: testreg.Status(http.StatusForbidden, nil, "")})
	}
	if _, err := w.FetchPolicy(ctx, w.ref("org/policy:v1"), hub.PolicyOptions{Trust: trust}); err == nil {
		t.Error("a tag was read without a registry")
	}
}

// A policy is for the tag that it was pushed to: whoever can move tags cannot put
// another one there, though the same key has signed it.
func TestFetchPolicyByAnotherName(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	trusting := hub.PolicyOptions{Trust: alice().trust}
	staging, err := w.PushPolicy(ctx, []byte(lax), w.ref("org/policy:staging"), alice().signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tag(ctx, w.ref("org/policy@"+staging.Digest), "prod"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.FetchPolicy(ctx, w.ref("org/policy:prod"), trusting); !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), "was published for") {
		t.Errorf("behind another tag: error = %v, want ErrUntrusted", err)
	}
	if _, err := w.Copy(ctx, w.ref("org/policy:staging"), w.ref("other/policy:staging"), hub.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.FetchPolicy(ctx, w.ref("other/policy:staging"), trusting); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("in another repository: error = %v, want ErrUntrusted", err)
	}
	// A digest says which policy it is, wherever it lies.
	for _, name := range []string{"org/policy:staging", "org/policy:prod@" + staging.Digest, "other/policy@" + staging.Digest} {
		if _, err := w.FetchPolicy(ctx, w.ref(name), trusting); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	prefix := strings.TrimPrefix(staging.Digest, "sha256:")[:12]
	if _, err := w.FetchPolicy(ctx, w.ref("org/policy@"+prefix), trusting); !errors.Is(err, hub.ErrUsage) {
		t.Errorf("the beginning of a digest: error = %v, want ErrUsage", err)
	}
}

// The tag of a policy cannot be taken back to an older one that this machine has
// never seen; that the same rules are published again is no way back.
func TestFetchPolicyOlder(t *testing.T) {
	w := newWorld(t)
	ctx, name := t.Context(), w.ref("org/policy:prod")
	push := func(raw string) *hub.PolicyPush {
		t.Helper()
		p, err := w.PushPolicy(ctx, []byte(raw), name, alice().signer)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	old := push(lax)
	push(lax + "# stricter\n")
	here := hub.New(hub.Options{Remote: w.client, Warn: w.warn, Seen: signing.NewSeen(t.TempDir())})
	fetch := func() error {
		_, err := here.FetchPolicy(ctx, name, hub.PolicyOptions{Trust: alice().trust})
		return err
	}
	if err := fetch(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tag(ctx, w.ref("org/policy@"+old.Digest), "prod"); err != nil {
		t.Fatal(err)
	}
	if err := fetch(); !errors.Is(err, signing.ErrRollback) {
		t.Errorf("error = %v, want ErrRollback", err)
	}
	push(lax + "# stricter\n")
	if again := push(lax); again.Digest == old.Digest {
		t.Error("what is published later is not told from what was published first")
	}
	if err := fetch(); err != nil {
		t.Error(err)
	}
}

func TestPushPolicyRefuses(t *testing.T) {
	w := newWorld(t)
	if _, err := w.PushPolicy(t.Context(), []byte("kind: x"), w.ref("org/policy:v1"), nil); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("error = %v, want ErrInvalid", err)
	}
	w.push("org/m:v1", "hello")
	r, err := w.Resolve(t.Context(), w.ref("org/m:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.FetchPolicy(t.Context(), w.ref("org/m@"+r.Digest), hub.PolicyOptions{}); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("error = %v, want ErrInvalid for a model", err)
	}
}
