package hub_test

import (
	"net/http"
	"testing"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A policy that was taken along is verified as in its registry, which is gone.
func TestCarriedPolicy(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	name := w.ref("org/policy:prod")
	pushed, err := w.PushPolicy(ctx, []byte(lax), name, alice().signer)
	if err != nil {
		t.Fatal(err)
	}
	trust := hub.PolicyOptions{Trust: alice().trust}
	_, err = w.CarryPolicy(ctx, name, hub.PolicyOptions{Trust: stranger().trust})
	wantErr(t, err, signing.ErrUntrusted)
	_, err = w.CarryPolicy(ctx, name, hub.PolicyOptions{})
	wantErr(t, err, hub.ErrUsage)
	c, err := w.CarryPolicy(ctx, name, trust)
	if err != nil || string(c.File) != lax {
		t.Fatalf("%+v, %v", c, err)
	}
	unsigned, err := w.CarryPolicy(ctx, w.ref("org/policy@"+pushed.Digest), hub.PolicyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Path: `.`, Do: testreg.Status(http.StatusForbidden, nil, "")})

	for _, tt := range []struct {
		name   string
		signed []byte
		ref    string
		opts   hub.PolicyOptions
		want   error
	}{
		{"by its tag", c.Signed, "org/policy:prod", trust, nil},
		{"by its digest", unsigned.Signed, "org/policy@" + pushed.Digest, hub.PolicyOptions{}, nil},
		{"another key", c.Signed, "org/policy:prod", hub.PolicyOptions{Trust: stranger().trust}, signing.ErrUntrusted},
		{"without its signature", unsigned.Signed, "org/policy:prod", trust, signing.ErrNoSignature},
		{"a tag, and no key", c.Signed, "org/policy:prod", hub.PolicyOptions{}, hub.ErrUsage},
		{"another tag", c.Signed, "org/policy:staging", trust, errdef.ErrNotFound},
		{"another repository", c.Signed, "org/other:prod", trust, errdef.ErrNotFound},
		{"no JSON", []byte("x"), "org/policy:prod", trust, mediatypes.ErrMalformed},
	} {
		p, err := aground.CarriedPolicy(ctx, w.ref(tt.ref), tt.signed, tt.opts)
		if tt.want != nil {
			wantErr(t, err, tt.want)
		} else if err != nil || p.Documents[0].Name != "lax" {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
