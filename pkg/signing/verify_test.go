package signing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/signing"
)

// errUnknown stands for any error that leaves the question open: none of the
// three that answer it.
var errUnknown = errors.New("unknown")

func trustAlice() signing.Trust {
	return signing.Trust{Keys: []*signing.PublicKey{alice().key}}
}

// runAll runs each case against a repository of its own.
func runAll(t *testing.T, tests map[string]verifyTest) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, tt.run)
	}
}

// A verifyTest is one repository and what Verify makes of it.
type verifyTest struct {
	setup  setup
	err    error  // nil: alice signed it
	reason string // part of the error's text
}

func (tt verifyTest) run(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	tt.setup(t, r, model)
	r.fetched = nil
	report, err := signing.Verify(t.Context(), r, model, trustAlice())
	tt.check(t, report, err)
}

func (tt verifyTest) check(t *testing.T, report *signing.Report, err error) {
	t.Helper()
	answers := []error{signing.ErrNoSignature, signing.ErrUntrusted, signing.ErrTooMany}
	switch tt.err {
	case nil:
		if err != nil || len(report.Signers) != 1 || report.Signers[0].KeyFingerprint != alice().key.Fingerprint() {
			t.Fatalf("Verify = %+v, %v; want alice as the signer", report, err)
		}
		return
	case errUnknown:
		for _, answer := range answers {
			if err == nil || errors.Is(err, answer) {
				t.Fatalf("Verify error = %v, want one that is no answer", err)
			}
		}
	default:
		if !errors.Is(err, tt.err) {
			t.Fatalf("Verify error = %v, want %v", err, tt.err)
		}
	}
	if !strings.Contains(err.Error(), tt.reason) {
		t.Errorf("Verify error = %q, want it to say %q", err, tt.reason)
	}
	if report != nil && len(report.Signers) > 0 {
		t.Errorf("signers = %v in spite of an error", report.Signers)
	}
}

func repeat(d ocispec.Descriptor, n int) []ocispec.Descriptor {
	out := make([]ocispec.Descriptor, n)
	for i := range out {
		out[i] = d
	}
	return out
}

// What is refused by its descriptor must not be fetched at all.
func TestVerifyFetchesNothing(t *testing.T) {
	tests := map[string]verifyTest{
		"5000 referrers": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("x"), nil)
			r.referrers[m.Descriptor.Digest] = repeat(r.referrers[m.Descriptor.Digest][0], 5000)
		}, err: signing.ErrTooMany, reason: "5000"},
		"65 referrers without a type": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			d := r.attach(t, m, []byte("x"), nil)
			d.ArtifactType = ""
			r.referrers[m.Descriptor.Digest] = repeat(d, 65)
		}, err: signing.ErrTooMany},
		"referrer of 4 MiB": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("x"), nil)
			r.referrers[m.Descriptor.Digest][0].Size = 4 << 20
		}, err: signing.ErrUntrusted, reason: "4194304 bytes"},
		"referrer of negative size": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("x"), nil)
			r.referrers[m.Descriptor.Digest][0].Size = -1
		}, err: signing.ErrUntrusted},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			tt.setup(t, r, model)
			report, err := signing.Verify(t.Context(), r, model, trustAlice())
			tt.check(t, report, err)
			if len(r.fetched) > 0 {
				t.Errorf("fetched %d times, want not at all", len(r.fetched))
			}
		})
	}
}

// A bundle that is a gzip of very much is neither inflated nor believed.
func TestVerifyDoesNotInflate(t *testing.T) {
	var member bytes.Buffer
	zw := gzip.NewWriter(&member)
	if _, err := zw.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Repeat(member.Bytes(), 256) // members of a gzip file follow each other
	r := newFake()
	model := r.model(t, "model")
	r.attach(t, model, bomb, nil)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := signing.Verify(t.Context(), r, model, trustAlice())
	runtime.ReadMemStats(&after)
	if !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("Verify error = %v, want ErrUntrusted", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 5<<20 {
		t.Errorf("Verify allocated %d bytes for a bundle of %d", got, len(bomb))
	}
}

func TestVerifyMatchRepository(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	if _, err := signing.Sign(t.Context(), r, model, alice().signer, signing.SignOptions{Format: signing.Both}); err != nil {
		t.Fatal(err)
	}
	strict := trustAlice()
	strict.MatchRepository = true
	mirror := model
	mirror.Repository = "mirror.example.com/org/model"

	if _, err := signing.Verify(t.Context(), r, model, strict); err != nil {
		t.Errorf("in its own repository: %v", err)
	}
	if _, err := signing.Verify(t.Context(), r, mirror, trustAlice()); err != nil {
		t.Errorf("in a mirror: %v", err)
	}
	report, err := signing.Verify(t.Context(), r, mirror, strict)
	if !errors.Is(err, signing.ErrUntrusted) || len(report.Rejected) != 2 {
		t.Errorf("in a mirror, strictly: %+v, %v; want both signatures rejected", report, err)
	}
}

// A party counts once, however often it has signed.
func TestVerifyReport(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	for _, opts := range []signing.SignOptions{
		{Format: signing.Both},
		{Format: signing.Both, Annotations: map[string]string{"stage": "prod"}},
	} {
		if _, err := signing.Sign(t.Context(), r, model, alice().signer, opts); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []*testKey{mallory(), alice()} {
		r.attach(t, model, k.bundle(t, inToto, statement("https://example.com/scan", model.Descriptor.Digest)), nil)
	}
	both := signing.Trust{Keys: []*signing.PublicKey{mallory().key, alice().key}}
	report, err := signing.Verify(t.Context(), r, model, both)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Signers) != 1 || len(report.Rejected) != 2 {
		t.Fatalf("report = %+v, want one signer and two rejections", report)
	}
	want := signing.Signatory{
		Kind: "key", KeyFingerprint: alice().key.Fingerprint(),
		Format: signing.Bundle, Descriptor: r.referrers[model.Descriptor.Digest][0],
	}
	if diff := cmp.Diff(want, report.Signers[0]); diff != "" {
		t.Errorf("signer (-want +got):\n%s", diff)
	}
	if !report.Rejected[0].Attestation {
		t.Error("the attestation is not told from what is wrong")
	}
	if got := report.Rejected[0].String(); !strings.Contains(got, "bundle sha256:") || !strings.Contains(got, "scan") {
		t.Errorf("rejection = %q", got)
	}
}

func TestVerifyRefusesToGuess(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	r.attach(t, model, goodBundle(t, model), nil)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()

	noRepository, noDigest := model, model
	noRepository.Repository = ""
	noDigest.Descriptor.Digest = "sha256:x"
	tests := map[string]struct {
		target signing.Target
		trust  signing.Trust
		fetch  error
		reason string
	}{
		"no key":        {model, signing.Trust{}, nil, "no trusted key"},
		"no repository": {noRepository, trustAlice(), nil, "repository"},
		"no digest":     {noDigest, trustAlice(), nil, "digest"},
		"cancelled":     {model, trustAlice(), cancelled.Err(), "canceled"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r.fetch = func(ocispec.Descriptor) error { return tt.fetch }
			report, err := signing.Verify(t.Context(), r, tt.target, tt.trust)
			verifyTest{err: errUnknown, reason: tt.reason}.check(t, report, err)
		})
	}
}

// Code that is not ours may panic on what it reads: that is the fault of what
// it reads, and of nothing else.
func TestGuard(t *testing.T) {
	err := signing.Guard(func() error { panic("interface conversion") })
	if err == nil || !signing.IsOwnFault(err) || !strings.Contains(err.Error(), "interface conversion") {
		t.Errorf("Guard = %v, want the panic as an error", err)
	}
	if err := signing.Guard(func() error { return errUnknown }); err != errUnknown {
		t.Errorf("Guard = %v, want the error itself", err)
	}
}
