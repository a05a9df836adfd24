package signing_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

// shown is what a list says in a line each.
func shown(list []signing.Attached) []string {
	var lines []string
	for _, a := range list {
		who := "nobody"
		switch a.Claim.Kind {
		case "key":
			who = nameOf(a.Claim.KeyFingerprint)
		case "certificate":
			who = a.Claim.Identity + " " + a.Claim.Issuer
		}
		line := fmt.Sprintf("%v %s claims %s", a.Format, signing.PredicateName(a.PredicateType), who)
		if a.Signer != nil {
			line += ", verified " + nameOf(a.Signer.KeyFingerprint) + a.Signer.Identity
		}
		if a.Reason != "" {
			line += ": " + a.Reason
		}
		lines = append(lines, line)
	}
	return lines
}

func nameOf(fingerprint string) string {
	switch fingerprint {
	case alice().key.Fingerprint():
		return "alice"
	case mallory().key.Fingerprint():
		return "mallory"
	}
	return fingerprint
}

// attachAll attaches what alice, mallory and a certificate signed.
func attachAll(t *testing.T, d *testsigstore.Deployment) (*fakeRepo, signing.Target) {
	t.Helper()
	r := newFake()
	model := r.model(t, "model")
	for _, k := range []*testKey{alice(), mallory()} {
		if _, err := signing.Sign(t.Context(), r, model, k.signer, signing.SignOptions{Format: signing.Both}); err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
		if _, err := signing.Attest(t.Context(), r, model, alice().signer, scanPredicate, signing.AttestOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
	}
	r.attach(t, model, d.Bundle(who, issuer, []byte(scan(model.Descriptor.Digest)), testsigstore.BundleOptions{Log: testsigstore.RekorV1}), nil)
	// One that pretends to be by alice.
	forged := strings.Replace(string(mallory().bundle(t, inToto, statement(signType, model.Descriptor.Digest))),
		mallory().hint(), alice().hint(), 1)
	r.attach(t, model, []byte(forged), nil)
	r.attach(t, model, []byte("rubbish"), nil)
	r.attach(t, model, []byte("other"), func(m *ocispec.Manifest) { m.ArtifactType = "application/vnd.modelreg.eval.v1+json" })
	return r, model
}

func TestListAttached(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	r, model := attachAll(t, d)
	refs := r.referrers[model.Descriptor.Digest]

	// Without a trust nothing is checked, and nobody is believed.
	list, err := signing.ListAttached(t.Context(), r, model, refs, nil)
	if err != nil {
		t.Fatal(err)
	}
	unread := ": not JSON: "
	want := []string{
		"bundle signature claims alice", "bundle signature claims mallory", "bundle " + scanType + " claims alice",
		"bundle " + scanType + " claims " + who + " " + issuer, "bundle signature claims alice", "bundle signature claims nobody" + unread,
		"classic signature claims nobody", "classic signature claims nobody", "classic " + scanType + " claims nobody",
	}
	got := shown(list)
	for i, line := range got {
		if at := strings.Index(line, unread); at >= 0 {
			got[i] = line[:at+len(unread)] // the parser's words
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("without a trust (-want +got):\n%s", diff)
	}
	if list[3].Claim.Time.IsZero() {
		t.Error("the log's time is not shown")
	}

	trust := trustWho(t, d)
	trust.Keys = []*signing.PublicKey{alice().key}
	list, err = signing.ListAttached(t.Context(), r, model, refs, &trust)
	if err != nil {
		t.Fatal(err)
	}
	var verified []string
	for _, line := range shown(list) {
		if strings.Contains(line, "verified") {
			verified = append(verified, line)
		}
	}
	want = []string{
		"bundle signature claims alice, verified alice",
		"bundle " + scanType + " claims alice, verified alice",
		"bundle " + scanType + " claims " + who + " " + issuer + ", verified " + who,
		"classic signature claims nobody, verified alice",
		"classic " + scanType + " claims nobody, verified alice",
	}
	if diff := cmp.Diff(want, verified); diff != "" {
		t.Errorf("verified (-want +got):\n%s\nof %q", diff, shown(list))
	}
	if i := slices.IndexFunc(list, func(a signing.Attached) bool { return strings.Contains(a.Reason, "forged or damaged") }); i != 4 {
		t.Errorf("what pretends to be alice's is told apart at %d: %q", i, shown(list))
	}
}

// What nobody is asked to believe is not fetched when it is large.
func TestListAttachedFetchesLittle(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	big := signing.Predicate{Type: scanType, Raw: []byte(`{"text":"` + strings.Repeat("x", 2<<20) + `"}`)}
	if _, err := signing.Attest(t.Context(), r, model, alice().signer, big, signing.AttestOptions{}); err != nil {
		t.Fatal(err)
	}
	r.fetched = nil
	list, err := signing.ListAttached(t.Context(), r, model, r.referrers[model.Descriptor.Digest], nil)
	if err != nil || len(r.fetched) != 1 || !slices.Equal(shown(list), []string{"bundle " + scanType + " claims nobody"}) {
		t.Errorf("ListAttached = %q, %v, %d fetches; want the type from the list and the manifest alone", shown(list), err, len(r.fetched))
	}
	trust := trustAlice()
	list, err = signing.ListAttached(t.Context(), r, model, r.referrers[model.Descriptor.Digest], &trust)
	if err != nil || len(list) != 1 || list[0].Signer == nil {
		t.Errorf("with a trust: %q, %v", shown(list), err)
	}
}

func TestListAttachedFails(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	desc := r.attach(t, model, goodBundle(t, model), nil)
	if _, err := signing.ListAttached(t.Context(), r, model, repeat(desc, 65), nil); !errors.Is(err, signing.ErrTooMany) {
		t.Errorf("65 bundles: %v, want ErrTooMany", err)
	}
	if _, err := signing.ListAttached(t.Context(), r, model, nil, &signing.Trust{}); err == nil {
		t.Error("a trust in nobody is taken")
	}
	r.fetch = failing(desc.Digest)
	if _, err := signing.ListAttached(t.Context(), r, model, []ocispec.Descriptor{desc}, nil); err == nil || errors.Is(err, signing.ErrTooMany) {
		t.Errorf("a broken connection: %v, want it as the error", err)
	}
}
