package oms_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// Files are signed with an identity as with a key, and verify as that.
func TestKeyless(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	roots, err := signing.ParseTrustedRoot(d.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}
	const who = "alice@example.com"
	signer, err := signing.NewKeyless(func(context.Context) (string, error) { return d.Token(who), nil }, signing.Services{
		Fulcio: d.Fulcio, Logs: []signing.LogService{{URL: d.Rekor, Version: 2}}, Timestamps: []string{d.TSA}, Roots: roots,
	})
	if err != nil {
		t.Fatal(err)
	}
	st, err := oms.New("m", files, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := oms.Sign(t.Context(), st, signer)
	if err != nil {
		t.Fatal(err)
	}
	trust := signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: d.Issuer}}, Roots: roots}
	got, err := oms.Verify(t.Context(), raw, trust)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(st, got.Statement); diff != "" {
		t.Error(diff)
	}
	if s := got.Signer; s.Kind != "certificate" || s.Identity != who || s.Issuer != d.Issuer || !s.Logged || s.Time.IsZero() {
		t.Errorf("signer = %+v", s)
	}

	other := trust
	other.Identities = []signing.Identity{{Subject: "mallory@example.com", Issuer: d.Issuer}}
	elsewhere := trust
	if elsewhere.Roots, err = signing.ParseTrustedRoot(testsigstore.New(t, testsigstore.Options{}).TrustedRoot()); err != nil {
		t.Fatal(err)
	}
	f := newForger(t, elliptic.P256())
	for name, trust := range map[string]signing.Trust{"another identity": other, "another deployment": elsewhere, "a key alone": f.trust(t)} {
		if _, err := oms.Verify(t.Context(), raw, trust); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("%s: Verify error = %v, want ErrUntrusted", name, err)
		}
	}
	// A key that nobody has logged, where only what is logged counts.
	logged := f.trust(t)
	logged.Roots, logged.RequireLog = roots, true
	if _, err := oms.Verify(t.Context(), f.bundle(t, statement()), logged); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("a key that is not logged: Verify error = %v, want ErrUntrusted", err)
	}
	logged.RequireLog = false
	if _, err := oms.Verify(t.Context(), f.bundle(t, statement()), logged); err != nil {
		t.Error(err)
	}
}
