package signing_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	who    = "alice@example.com"
	issuer = "https://oidc.example.com"
)

// trustWho trusts alice's certificates of a deployment.
func trustWho(t testing.TB, d *testsigstore.Deployment) signing.Trust {
	t.Helper()
	return signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: issuer}}, Roots: rootsOf(t, d)}
}

func rootsOf(t testing.TB, d *testsigstore.Deployment) *signing.Roots {
	t.Helper()
	roots, err := signing.ParseTrustedRoot(d.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

// signedModel attaches alice's keyless signature to a model.
func signedModel(t testing.TB, d *testsigstore.Deployment, opts testsigstore.BundleOptions) (*fakeRepo, signing.Target) {
	t.Helper()
	r := newFake()
	model := r.model(t, "model")
	r.attach(t, model, d.Bundle(who, issuer, []byte(statement(signType, model.Descriptor.Digest)), opts), nil)
	return r, model
}

// A certificate's signature counts when a trusted deployment vouches for who
// made it and when.
func TestVerifyCertificate(t *testing.T) {
	v1, v2 := testsigstore.BundleOptions{Log: testsigstore.RekorV1}, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true}
	tests := map[string]struct {
		deployment testsigstore.Options
		bundle     testsigstore.BundleOptions
		trust      func(*signing.Trust)
		logged     bool
	}{
		"log of the first version":           {bundle: v1, logged: true},
		"first version, as in-toto":          {bundle: testsigstore.BundleOptions{Log: testsigstore.RekorV1, Kind: "intoto"}, logged: true},
		"first version, and stamped":         {bundle: testsigstore.BundleOptions{Log: testsigstore.RekorV1, Stamp: true}, logged: true},
		"log of the second version, stamped": {bundle: v2, logged: true},
		"no log in the deployment":           {deployment: testsigstore.Options{NoLog: true}, bundle: testsigstore.BundleOptions{Stamp: true}},
		"no timestamps in the deployment":    {deployment: testsigstore.Options{NoTimestamps: true}, bundle: v1, logged: true},
		"log of certificates":                {deployment: testsigstore.Options{CertificateLog: true}, bundle: v2, logged: true},
		"no promise, and none asked for": {
			deployment: testsigstore.Options{CertificateLog: true, NoPromise: true}, bundle: v1, trust: func(t *signing.Trust) { t.IgnoreSCT = true }, logged: true,
		},
		"log ignored":                         {bundle: testsigstore.BundleOptions{Stamp: true}, trust: func(t *signing.Trust) { t.IgnoreLog = true }},
		"log ignored, and there all the same": {bundle: v2, trust: func(t *signing.Trust) { t.IgnoreLog = true }, logged: true},
		"log required":                        {bundle: v2, trust: func(t *signing.Trust) { t.RequireLog = true }, logged: true},
		"timestamp required":                  {bundle: v2, trust: func(t *signing.Trust) { t.RequireTimestamp = true }, logged: true},
		"second identity": {bundle: v2, trust: func(t *signing.Trust) {
			t.Identities = append([]signing.Identity{{Subject: "bob@example.com", Issuer: issuer}}, t.Identities...)
		}, logged: true},
		"expressions": {bundle: v2, trust: func(t *signing.Trust) {
			t.Identities = []signing.Identity{{SubjectRegexp: `^[a-z]+@example\.com$`, IssuerRegexp: `^https://oidc\..*$`}}
		}, logged: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := testsigstore.New(t, tt.deployment)
			r, model := signedModel(t, d, tt.bundle)
			trust := trustWho(t, d)
			if tt.trust != nil {
				tt.trust(&trust)
			}
			report, err := signing.Verify(t.Context(), r, model, trust)
			if err != nil || len(report.Signers) != 1 {
				t.Fatalf("Verify = %+v, %v", report, err)
			}
			s := report.Signers[0]
			if s.Kind != "certificate" || s.Identity != who || s.Issuer != issuer || s.KeyFingerprint != "" {
				t.Errorf("signer = %+v", s)
			}
			if s.Logged != tt.logged {
				t.Errorf("logged = %v, want %v", s.Logged, tt.logged)
			}
			if age := time.Since(s.Time); age < -time.Minute || age > time.Minute {
				t.Errorf("signed at %v", s.Time)
			}
		})
	}
}

func TestVerifyCertificateRejects(t *testing.T) {
	v1, v2 := testsigstore.BundleOptions{Log: testsigstore.RekorV1}, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true}
	identity := func(id signing.Identity) func(*testing.T, *signing.Trust) {
		return func(_ *testing.T, t *signing.Trust) { t.Identities = []signing.Identity{id} }
	}
	edited := func(opts testsigstore.BundleOptions, edit func(*protobundle.Bundle)) testsigstore.BundleOptions {
		opts.Edit = edit
		return opts
	}
	tests := map[string]struct {
		deployment testsigstore.Options
		bundle     testsigstore.BundleOptions
		trust      func(*testing.T, *signing.Trust)
		want       string
	}{
		"somebody else":  {bundle: v2, trust: identity(signing.Identity{Subject: "bob@example.com", Issuer: issuer}), want: "who is not trusted"},
		"another issuer": {bundle: v2, trust: identity(signing.Identity{Subject: who, Issuer: "https://evil.example.com"}), want: "who is not trusted"},
		"a branch of an expression alone is anchored": {
			bundle: v2, trust: identity(signing.Identity{SubjectRegexp: `^bob@example\.com|alice@example\.co$`, Issuer: issuer}), want: "who is not trusted",
		},
		"only keys are trusted": {bundle: v2, trust: func(_ *testing.T, t *signing.Trust) {
			t.Identities, t.Keys = nil, []*signing.PublicKey{alice().key}
		}, want: "only keys are trusted"},
		"another deployment": {bundle: v2, trust: func(t *testing.T, trust *signing.Trust) {
			trust.Roots = rootsOf(t, testsigstore.New(t, testsigstore.Options{}))
		}, want: "not enough verified log entries"},
		"another deployment, without a log": {
			deployment: testsigstore.Options{NoLog: true}, bundle: testsigstore.BundleOptions{Stamp: true},
			trust: func(t *testing.T, trust *signing.Trust) {
				trust.Roots = rootsOf(t, testsigstore.New(t, testsigstore.Options{NoLog: true}))
			}, want: "timestamp",
		},
		"first version, as a digest": {
			bundle: testsigstore.BundleOptions{Log: testsigstore.RekorV1, Kind: "hashedrekord"}, want: "not a dsse_v001 or intoto_v002 entry",
		},
		"not in the log":                         {bundle: testsigstore.BundleOptions{Stamp: true}, want: "not enough verified log entries"},
		"second version without a timestamp":     {bundle: testsigstore.BundleOptions{Log: testsigstore.RekorV2}, want: "timestamp"},
		"no time at all":                         {bundle: testsigstore.BundleOptions{}, trust: func(_ *testing.T, t *signing.Trust) { t.IgnoreLog = true }, want: "timestamp"},
		"timestamp required":                     {bundle: v1, trust: func(_ *testing.T, t *signing.Trust) { t.RequireTimestamp = true }, want: "signed timestamps"},
		"no promise of the log of certificates":  {bundle: v2, deployment: testsigstore.Options{CertificateLog: true, NoPromise: true}, want: "SCT"},
		"promise that somebody else signed":      {bundle: v1, deployment: testsigstore.Options{CertificateLog: true, ForgedPromise: true}, want: "SCT"},
		"promise of another log of certificates": {bundle: v2, deployment: testsigstore.Options{CertificateLog: true, OtherPromise: true}, want: "SCT"},
		"no promise, and the other log ignored": {bundle: v2, deployment: testsigstore.Options{CertificateLog: true, NoPromise: true}, trust: func(_ *testing.T, t *signing.Trust) {
			t.IgnoreLog = true
		}, want: "SCT"},
		"payload changed": {bundle: edited(v2, func(b *protobundle.Bundle) {
			e := b.GetDsseEnvelope()
			e.Payload = []byte(strings.Replace(string(e.Payload), `"predicate":{}`, `"predicate":{"x":1}`, 1))
		}), want: "certificate or its signature"},
		"signature changed": {bundle: edited(v1, func(b *protobundle.Bundle) {
			b.GetDsseEnvelope().Signatures[0].Sig[8] ^= 1
		}), want: "certificate or its signature"},
		"log's promise changed": {bundle: edited(v1, func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries[0].IntegratedTime += 60
		}), want: "certificate or its signature"},
		"timestamp changed": {bundle: edited(v2, func(b *protobundle.Bundle) {
			stamp := b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp
			stamp[len(stamp)-8] ^= 1
		}), want: "certificate or its signature"},
		"33 entries": {bundle: edited(v2, func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries = slices.Repeat(b.VerificationMaterial.TlogEntries[:1], 33)
		}), want: "too many tlog entries"},
		"entry twice": {bundle: edited(v2, func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries = slices.Repeat(b.VerificationMaterial.TlogEntries[:1], 2)
		}), want: "duplicate"},
		"entry without anything": {bundle: edited(v2, func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries[0].CanonicalizedBody = nil
		}), want: "not a sigstore bundle"},
		"no certificate": {bundle: edited(v2, func(b *protobundle.Bundle) {
			b.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{}}
		}), want: "certificate"},
		"a chain in place of a certificate": {bundle: edited(v2, func(b *protobundle.Bundle) {
			b.VerificationMaterial.Content = &protobundle.VerificationMaterial_X509CertificateChain{
				X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{b.VerificationMaterial.GetCertificate()}},
			}
		}), want: "a private authority"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := testsigstore.New(t, tt.deployment)
			r, model := signedModel(t, d, tt.bundle)
			trust := trustWho(t, d)
			if tt.trust != nil {
				tt.trust(t, &trust)
			}
			report, err := signing.Verify(t.Context(), r, model, trust)
			if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify = %+v, %v; want %q", report, err, tt.want)
			}
		})
	}
}

// What a log of the first version says is believed whole: its promise, which alone
// vouches for the time, and its proof, for each kind of entry.
func TestVerifyFirstLogRejects(t *testing.T) {
	entry := func(change func(*protorekor.TransparencyLogEntry)) func(*protobundle.Bundle) {
		return func(b *protobundle.Bundle) { change(b.VerificationMaterial.TlogEntries[0]) }
	}
	d := testsigstore.New(t, testsigstore.Options{})
	for name, edit := range map[string]func(*protobundle.Bundle){
		"promise":      entry(func(e *protorekor.TransparencyLogEntry) { e.InclusionPromise.SignedEntryTimestamp[8] ^= 1 }),
		"no promise":   entry(func(e *protorekor.TransparencyLogEntry) { e.InclusionPromise = nil }),
		"time":         entry(func(e *protorekor.TransparencyLogEntry) { e.IntegratedTime-- }),
		"number":       entry(func(e *protorekor.TransparencyLogEntry) { e.LogIndex = 1 }),
		"log":          entry(func(e *protorekor.TransparencyLogEntry) { e.LogId.KeyId[0] ^= 1 }),
		"no proof":     entry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof = nil }),
		"root":         entry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.RootHash[0] ^= 1 }),
		"size of tree": entry(func(e *protorekor.TransparencyLogEntry) { e.InclusionProof.TreeSize = 2 }),
		"checkpoint": entry(func(e *protorekor.TransparencyLogEntry) {
			e.InclusionProof.Checkpoint.Envelope = strings.Replace(e.InclusionProof.Checkpoint.Envelope, "\n1\n", "\n2\n", 1)
		}),
		"body": entry(func(e *protorekor.TransparencyLogEntry) {
			e.CanonicalizedBody = bytes.Replace(e.CanonicalizedBody, []byte("sha256"), []byte("sha512"), 1)
		}),
	} {
		for _, kind := range []string{"dsse", "intoto"} {
			r, model := signedModel(t, d, testsigstore.BundleOptions{Log: testsigstore.RekorV1, Kind: kind, Edit: func(b *protobundle.Bundle) {
				before := b.VerificationMaterial.TlogEntries[0].String()
				edit(b)
				if before == b.VerificationMaterial.TlogEntries[0].String() {
					t.Errorf("%s of %s: nothing was changed", name, kind)
				}
			}})
			if report, err := signing.Verify(t.Context(), r, model, trustWho(t, d)); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("%s of %s: Verify = %+v, %v", name, kind, report, err)
			}
		}
	}
}

// The entry of one signature in a log, and its timestamp, say nothing of another.
func TestVerifyBorrowedEvidence(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	for _, log := range []testsigstore.Log{testsigstore.RekorV1, testsigstore.RekorV2} {
		var lender protobundle.Bundle
		lend := testsigstore.BundleOptions{Log: log, Stamp: true, Edit: func(b *protobundle.Bundle) { proto.Merge(&lender, b) }}
		signedModel(t, d, lend)
		for name, borrow := range map[string]func(*protobundle.Bundle){
			"entry": func(b *protobundle.Bundle) {
				b.VerificationMaterial.TlogEntries = lender.VerificationMaterial.TlogEntries
			},
			"timestamp": func(b *protobundle.Bundle) {
				b.VerificationMaterial.TimestampVerificationData = lender.VerificationMaterial.TimestampVerificationData
			},
		} {
			r, model := signedModel(t, d, testsigstore.BundleOptions{Log: log, Stamp: true, Edit: borrow})
			trust := trustWho(t, d)
			trust.RequireTimestamp = true
			if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("%s of version %d: Verify = %+v, %v", name, log, report, err)
			}
		}
	}
}

// A certificate's signature of another statement, or of another model, is as
// little a signature of this one as a key's.
func TestVerifyCertificateOfOther(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	opts := testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true}
	r := newFake()
	model, other := r.model(t, "model"), r.model(t, "other")
	r.attach(t, model, d.Bundle(who, issuer, []byte(statement("https://example.com/scan", model.Descriptor.Digest)), opts), nil)
	r.attach(t, model, d.Bundle(who, issuer, []byte(statement(signType, other.Descriptor.Digest)), opts), nil)
	report, err := signing.Verify(t.Context(), r, model, trustWho(t, d))
	if !errors.Is(err, signing.ErrUntrusted) || len(report.Rejected) != 2 {
		t.Errorf("Verify = %+v, %v", report, err)
	}
}

// The same party is one signer, however many certificates it had, and its
// newest signature is shown; another party is another.
func TestVerifyDistinctSigners(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	r := newFake()
	model := r.model(t, "model")
	text := []byte(statement(signType, model.Descriptor.Digest))
	for _, name := range []string{who, who, "bob@example.com", who} {
		r.attach(t, model, d.Bundle(name, issuer, text, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true}), nil)
	}
	r.attach(t, model, alice().bundle(t, inToto, string(text)), nil)
	trust := trustWho(t, d)
	trust.Identities = append(trust.Identities, signing.Identity{SubjectRegexp: `^.*@example\.com$`, Issuer: issuer})
	trust.Keys = []*signing.PublicKey{alice().key}
	report, err := signing.Verify(t.Context(), r, model, trust)
	if err != nil || len(report.Signers) != 3 {
		t.Fatalf("Verify = %+v, %v; want three signers", report, err)
	}
}

// What time it is where a signature is verified makes no difference: not a clock
// that is years ahead, nor one that is years behind.
func TestVerifyCertificateAtAnyTime(t *testing.T) {
	type signed struct {
		repo  *fakeRepo
		model signing.Target
		trust signing.Trust
	}
	sign := func(t *testing.T) signed {
		d := testsigstore.New(t, testsigstore.Options{})
		r, model := signedModel(t, d, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true})
		return signed{r, model, trustWho(t, d)}
	}
	check := func(t *testing.T, s signed) {
		if _, err := signing.Verify(t.Context(), s.repo, s.model, s.trust); err != nil {
			t.Errorf("at %v: %v", time.Now(), err)
		}
	}
	var then signed
	synctest.Test(t, func(t *testing.T) { then = sign(t) }) // in the year 2000
	check(t, then)
	now := sign(t)
	synctest.Test(t, func(t *testing.T) { check(t, now) })
}

// A certificate that could be read as several people's is nobody's, and so is one
// that does not say who vouched.
func TestVerifyAmbiguousCertificate(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	opts := testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true}
	for name, made := range map[string][2]string{
		"two addresses":        {who + " bob@example.com", issuer},
		"an address and a URI": {who + " https://example.com/alice", issuer},
		"no issuer":            {who, ""},
	} {
		r := newFake()
		model := r.model(t, "model")
		r.attach(t, model, d.Bundle(made[0], made[1], []byte(statement(signType, model.Descriptor.Digest)), opts), nil)
		trust := trustWho(t, d)
		trust.Identities = append(trust.Identities, signing.Identity{SubjectRegexp: "^.*$", IssuerRegexp: "^.*$"})
		if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("%s: Verify = %+v, %v", name, report, err)
		}
	}
}

// A log's key that went out of use before the signature was made is not
// believed: whoever finds it later could write any history with it.
func TestVerifyRetiredLog(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{LogUntil: time.Now().Add(-30 * time.Minute)})
	for _, log := range []testsigstore.Log{testsigstore.RekorV1, testsigstore.RekorV2} {
		r, model := signedModel(t, d, testsigstore.BundleOptions{Log: log, Stamp: true})
		if report, err := signing.Verify(t.Context(), r, model, trustWho(t, d)); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("version %d: Verify = %+v, %v", log, report, err)
		}
	}
}

// What cannot be verified is not asked for in vain.
func TestTrustCheck(t *testing.T) {
	whole := rootsOf(t, testsigstore.New(t, testsigstore.Options{}))
	bare := rootsOf(t, testsigstore.New(t, testsigstore.Options{NoLog: true, NoTimestamps: true}))
	empty, err := signing.ParseTrustedRoot([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	if err != nil {
		t.Fatal(err)
	}
	keys := []*signing.PublicKey{alice().key}
	id := signing.Identity{Subject: who, Issuer: issuer}
	tests := map[string]signing.Trust{
		"nobody":                        {Roots: whole},
		"identity without roots":        {Identities: []signing.Identity{id}},
		"roots without an authority":    {Identities: []signing.Identity{id}, Roots: empty},
		"identity without issuer":       {Identities: []signing.Identity{{Subject: who}}, Roots: whole},
		"identity without subject":      {Identities: []signing.Identity{{Issuer: issuer}}, Roots: whole},
		"subject twice":                 {Identities: []signing.Identity{{Subject: who, SubjectRegexp: "^a$", Issuer: issuer}}, Roots: whole},
		"subject not anchored":          {Identities: []signing.Identity{{SubjectRegexp: `alice@example\.com`, Issuer: issuer}}, Roots: whole},
		"subject anchored at the start": {Identities: []signing.Identity{{SubjectRegexp: `^alice@example\.com`, Issuer: issuer}}, Roots: whole},
		"subject with an escaped end":   {Identities: []signing.Identity{{SubjectRegexp: `^alice\$`, Issuer: issuer}}, Roots: whole},
		"issuer not anchored":           {Identities: []signing.Identity{{Subject: who, IssuerRegexp: `oidc`}}, Roots: whole},
		"no expression":                 {Identities: []signing.Identity{{SubjectRegexp: `^($`, Issuer: issuer}}, Roots: whole},
		"groups that close too early":   {Identities: []signing.Identity{{SubjectRegexp: `^a)|(?:b$`, Issuer: issuer}}, Roots: whole},
		"expression too long":           {Identities: []signing.Identity{{SubjectRegexp: "^" + strings.Repeat("a", 5000) + "$", Issuer: issuer}}, Roots: whole},
		"log required without roots":    {Keys: keys, RequireLog: true},
		"log required, not in roots":    {Keys: keys, RequireLog: true, Roots: bare},
		"log required and ignored":      {Keys: keys, RequireLog: true, IgnoreLog: true, Roots: whole},
		"timestamp, not in roots":       {Keys: keys, RequireTimestamp: true, Roots: bare},
	}
	for name, trust := range tests {
		t.Run(name, func(t *testing.T) {
			if err := trust.Check(); err == nil {
				t.Error("Check = nil")
			}
			r := newFake()
			report, err := signing.Verify(t.Context(), r, r.model(t, "model"), trust)
			if report != nil || err == nil || errors.Is(err, signing.ErrNoSignature) {
				t.Errorf("Verify = %+v, %v; want an error about the trust", report, err)
			}
		})
	}
}

// An address that only contains a trusted one is another's.
func TestIdentityIsWhole(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	for _, stranger := range []string{"x-alice@example.com.evil.net", "malice@example.com", "alice@example.community"} {
		r := newFake()
		model := r.model(t, "model")
		text := []byte(statement(signType, model.Descriptor.Digest))
		r.attach(t, model, d.Bundle(stranger, issuer, text, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true}), nil)
		for _, id := range []signing.Identity{
			{Subject: who, Issuer: issuer},
			{SubjectRegexp: `^alice@example\.com$`, Issuer: issuer},
			{SubjectRegexp: `^bob@example\.com|alice@example\.com$`, Issuer: issuer},
			{SubjectRegexp: `^(?m:^alice@example\.com$)$`, Issuer: issuer},
		} {
			trust := signing.Trust{Identities: []signing.Identity{id}, Roots: rootsOf(t, d)}
			if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("%s as %v: Verify = %+v, %v", stranger, id, report, err)
			}
		}
	}
}

func TestParseTrustedRootRejects(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          "",
		"not JSON":       "{",
		"another type":   `{"mediaType":"application/json"}`,
		"log without ID": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{"hashAlgorithm":"SHA2_256"}]}`,
		"key twice":      `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"tlogs":[]}`,
		"too large":      `{"mediaType":"` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		if roots, err := signing.ParseTrustedRoot([]byte(text)); err == nil {
			t.Errorf("%s: ParseTrustedRoot = %+v", name, roots)
		}
	}
}
