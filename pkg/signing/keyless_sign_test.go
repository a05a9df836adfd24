package signing_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

// tokenOf is what gives alice's token, and counts how often it is asked.
func tokenOf(d *testsigstore.Deployment, asked *atomic.Int32) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		asked.Add(1)
		return d.Token(who), nil
	}
}

func services(t testing.TB, d *testsigstore.Deployment, version int) signing.Services {
	t.Helper()
	return signing.Services{
		Fulcio: d.Fulcio, Logs: []signing.LogService{{URL: d.Rekor, Version: version}}, Timestamps: []string{d.TSA}, Roots: rootsOf(t, d),
	}
}

// Without a key, a signature is made with an identity, and verifies as that.
func TestSignKeyless(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{CertificateLog: true}).Serve()
	fulcio, rekor, tsa := "/fulcio/api/v2/signingCert", "/rekor/api/v%d/log/entries", "/tsa/api/v1/timestamp"
	tests := map[string]struct {
		change func(*signing.Services)
		trust  func(*signing.Trust)
		want   []string // that is asked
		logged bool
	}{
		"log of the second version": {want: []string{fulcio, tsa, fmt.Sprintf(rekor, 2)}, logged: true},
		"log of the first version, no timestamp": {
			change: func(s *signing.Services) { s.Logs[0].Version, s.Timestamps = 1, nil },
			want:   []string{fulcio, fmt.Sprintf(rekor, 1)}, logged: true,
		},
		"no log": {
			change: func(s *signing.Services) { s.Logs = nil },
			trust:  func(t *signing.Trust) { t.IgnoreLog = true },
			want:   []string{fulcio, tsa},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := len(d.Asked())
			s := services(t, d, 2)
			if tt.change != nil {
				tt.change(&s)
			}
			var asked atomic.Int32
			signer, err := signing.NewKeyless(tokenOf(d, &asked), s)
			if err != nil {
				t.Fatal(err)
			}
			if asked.Load() != 0 || signer.Public() != nil {
				t.Errorf("token asked %d times before there is something to sign; key %v", asked.Load(), signer.Public())
			}
			r := newFake()
			model := r.model(t, "model")
			made, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{Annotations: map[string]string{"stage": "prod"}})
			if err != nil || len(made) != 1 {
				t.Fatalf("Sign = %v, %v", made, err)
			}
			if diff := cmp.Diff(tt.want, d.Asked()[before:]); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			trust := signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: d.Issuer}}, Roots: rootsOf(t, d), MatchRepository: true}
			if tt.trust != nil {
				tt.trust(&trust)
			}
			report, err := signing.Verify(t.Context(), r, model, trust)
			if err != nil || len(report.Signers) != 1 || report.Signers[0].Logged != tt.logged || report.Signers[0].Time.IsZero() {
				t.Errorf("Verify = %+v, %v", report, err)
			}
		})
	}
}

// Attestations and detached statements are signed by identities like signatures.
func TestAttestKeyless(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	var asked atomic.Int32
	signer, err := signing.NewKeyless(tokenOf(d, &asked), services(t, d, 2))
	if err != nil {
		t.Fatal(err)
	}
	trust := signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: d.Issuer}}, Roots: rootsOf(t, d)}
	r := newFake()
	model := r.model(t, "model")
	p := signing.Predicate{Type: "https://example.com/scan", Raw: []byte(`{"verdict":"safe"}`)}
	if _, err := signing.Attest(t.Context(), r, model, signer, p, signing.AttestOptions{}); err != nil {
		t.Fatal(err)
	}
	report, err := signing.Attestations(t.Context(), r, model, trust)
	if err != nil || len(report.Attestations) != 1 {
		t.Fatalf("Attestations = %+v, %v", report, err)
	}
	if got := report.Attestations[0]; got.Type != p.Type || got.Signer.Identity != who || !got.Signer.Logged {
		t.Errorf("attestation = %+v", got)
	}
	raw, err := signing.SignDetached(t.Context(), signer, []byte(statement(p.Type, model.Descriptor.Digest)), "")
	if err != nil {
		t.Fatal(err)
	}
	detached, err := signing.VerifyDetached(t.Context(), raw, trust)
	if err != nil || detached.Signer.Identity != who || !strings.Contains(string(detached.Statement), p.Type) {
		t.Errorf("VerifyDetached = %+v, %v", detached, err)
	}
	trust.Identities[0].Subject = "bob@example.com"
	if detached, err := signing.VerifyDetached(t.Context(), raw, trust); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("VerifyDetached for somebody else = %+v, %v", detached, err)
	}
}

// A key's signatures are logged and stamped on request, and whether they are can
// be asked for.
func TestSignWithKeyLogged(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	for _, version := range []int{1, 2} {
		s := services(t, d, version)
		s.Fulcio = ""
		signer, err := alice().signer.With(s)
		if err != nil {
			t.Fatal(err)
		}
		r := newFake()
		model, plain := r.model(t, "model"), r.model(t, "plain")
		mustSignWith(t, r, model, signer)
		mustSignWith(t, r, plain, alice().signer)
		if made, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{}); err != nil || len(made) > 0 {
			t.Errorf("version %d: signing again made %v, %v", version, made, err)
		}
		report := mustVerify(t, r, model, alice())
		if report.Signers[0].Logged || !report.Signers[0].Time.IsZero() {
			t.Errorf("version %d: without roots: %+v", version, report.Signers[0])
		}
		trust := trustAlice()
		trust.Roots, trust.RequireLog, trust.RequireTimestamp = rootsOf(t, d), true, true
		report, err = signing.Verify(t.Context(), r, model, trust)
		if err != nil || !report.Signers[0].Logged || report.Signers[0].Time.IsZero() {
			t.Errorf("version %d: Verify = %+v, %v", version, report, err)
		}
		if report, err := signing.Verify(t.Context(), r, plain, trust); !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), "trusted key") {
			t.Errorf("version %d: not logged: Verify = %+v, %v", version, report, err)
		}
		trust.Roots = rootsOf(t, testsigstore.New(t, testsigstore.Options{}))
		if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("version %d: in another log: Verify = %+v, %v", version, report, err)
		}
		trust.RequireLog, trust.RequireTimestamp = false, false
		report, err = signing.Verify(t.Context(), r, model, trust)
		if err != nil || report.Signers[0].Logged || !report.Signers[0].Time.IsZero() {
			t.Errorf("version %d: another log, not required: Verify = %+v, %v", version, report, err)
		}
	}
}

// A signature that was made without services is made again with them, once: what
// they say cannot be added to it.
func TestSignWithMoreServices(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	with := func(change func(*signing.Services)) *signing.Signer {
		s := services(t, d, 2)
		s.Fulcio = ""
		change(&s)
		signer, err := alice().signer.With(s)
		if err != nil {
			t.Fatal(err)
		}
		return signer
	}
	stamped := with(func(s *signing.Services) { s.Logs, s.Roots = nil, nil })
	unproved := with(func(s *signing.Services) { s.Roots = nil })
	proved := with(func(*signing.Services) {})
	r := newFake()
	model := r.model(t, "model")
	p := signing.Predicate{Type: "https://example.com/scan", Raw: []byte(`{"verdict":"safe"}`)}
	for i, step := range []struct {
		signer *signing.Signer
		made   int
	}{{alice().signer, 1}, {stamped, 1}, {stamped, 0}, {unproved, 1}, {unproved, 0}, {proved, 0}, {stamped, 0}, {alice().signer, 0}} {
		made, err := signing.Sign(t.Context(), r, model, step.signer, signing.SignOptions{})
		if err != nil || len(made) != step.made {
			t.Errorf("step %d: Sign made %d, %v; want %d", i, len(made), err, step.made)
		}
		attested, err := signing.Attest(t.Context(), r, model, step.signer, p, signing.AttestOptions{})
		if err != nil || (attested.Digest != "") != (step.made > 0) {
			t.Errorf("step %d: Attest made %q, %v; want %d", i, attested.Digest, err, step.made)
		}
	}
	for i, want := range []bool{true, false} {
		attested, err := signing.Attest(t.Context(), r, model, proved, p, signing.AttestOptions{Format: signing.Classic})
		if err != nil || (attested.Digest != "") != want {
			t.Errorf("classic %d: Attest made %q, %v; want %t", i, attested.Digest, err, want)
		}
	}
}

func mustSignWith(t *testing.T, r *fakeRepo, model signing.Target, s *signing.Signer) {
	t.Helper()
	if _, err := signing.Sign(t.Context(), r, model, s, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A timestamp is no log and a log no timestamp, and a key's signature in the older
// layout, with neither, is none that one of them was demanded for.
func TestRequireEach(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	whole := services(t, d, 1)
	stamped, err := alice().signer.With(signing.Services{Timestamps: whole.Timestamps})
	if err != nil {
		t.Fatal(err)
	}
	logged, err := alice().signer.With(signing.Services{Logs: whole.Logs})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		signer         *signing.Signer
		format         signing.Format
		log, timestamp bool // is demanded
		ok             bool
	}{
		"log of a stamped one":       {stamped, signing.Bundle, true, false, false},
		"timestamp of a stamped one": {stamped, signing.Bundle, false, true, true},
		"log of a logged one":        {logged, signing.Bundle, true, false, true},
		"timestamp of a logged one":  {logged, signing.Bundle, false, true, false},
		"log of a classic one":       {alice().signer, signing.Classic, true, false, false},
		"timestamp of a classic one": {alice().signer, signing.Classic, false, true, false},
		"nothing of a classic one":   {alice().signer, signing.Classic, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			if _, err := signing.Sign(t.Context(), r, model, tt.signer, signing.SignOptions{Format: tt.format}); err != nil {
				t.Fatal(err)
			}
			trust := trustAlice()
			trust.Roots, trust.RequireLog, trust.RequireTimestamp = whole.Roots, tt.log, tt.timestamp
			report, err := signing.Verify(t.Context(), r, model, trust)
			if tt.ok != (err == nil) || err != nil && !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("Verify = %+v, %v", report, err)
			}
		})
	}
}

// What cannot come to a good end does not begin.
func TestNewKeylessRejects(t *testing.T) {
	token := func(context.Context) (string, error) { return "", nil }
	whole := signing.Services{Fulcio: "https://f", Timestamps: []string{"https://t"}, Logs: []signing.LogService{{"https://r", 2}}}
	for name, tt := range map[string]struct {
		change func(*signing.Services)
		want   string
	}{
		"no authority":             {func(s *signing.Services) { s.Fulcio = "" }, "certificate authority"},
		"nobody tells the time":    {func(s *signing.Services) { s.Timestamps = nil }, "when it was made"},
		"log of the third version": {func(s *signing.Services) { s.Logs = []signing.LogService{{"https://r", 3}} }, "1 and 2 are known"},
		"no URL":                   {func(s *signing.Services) { s.Timestamps = []string{"t"} }, "no URL"},
		"a file":                   {func(s *signing.Services) { s.Fulcio = "file:///etc/passwd" }, "no URL"},
		"token in the clear":       {func(s *signing.Services) { s.Fulcio = "http://fulcio.example.com" }, "in the clear"},
		"password of a log":        {func(s *signing.Services) { s.Logs = []signing.LogService{{"https://u:secret@r?k=secret", 3}} }, "1 and 2 are known"},
		"password in the clear":    {func(s *signing.Services) { s.Fulcio = "http://u:secret@fulcio.example.com" }, "in the clear"},
		"password of no URL":       {func(s *signing.Services) { s.Timestamps = []string{"u:secret@t"} }, "no URL"},
		"password of another":      {func(s *signing.Services) { s.Timestamps = []string{"ftp://u:secret@t/?k=secret"} }, "no URL"},
		"too many":                 {func(s *signing.Services) { s.Timestamps = slices.Repeat(s.Timestamps, 9) }, "more than 8"},
	} {
		s := whole
		tt.change(&s)
		_, err := signing.NewKeyless(token, s)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: NewKeyless error = %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows a password: %v", name, err)
		}
	}
	if _, err := signing.NewKeyless(nil, whole); err == nil {
		t.Error("NewKeyless without a token succeeded")
	}
	signer, err := signing.NewKeyless(token, whole)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.With(whole); err == nil {
		t.Error("With of a keyless signer succeeded")
	}
	r := newFake()
	model := r.model(t, "model")
	if _, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{Format: signing.Classic}); err == nil || !strings.Contains(err.Error(), "classic layout is for keys") {
		t.Errorf("Sign in the classic layout: %v", err)
	}
}

// Verifying as an identity asks the repository it is given and nobody else.
func TestVerifyCertificateIsOffline(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{CertificateLog: true})
	r, model := signedModel(t, d, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true})
	trust := trustWho(t, d)
	was := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = was })
	http.DefaultTransport = refuse{t}
	if report, err := signing.Verify(t.Context(), r, model, trust); err != nil {
		t.Errorf("Verify = %+v, %v", report, err)
	}
}

// A service that fails, or refuses, or answers rubbish, leaves nothing attached.
func TestSignKeylessFails(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	large := strings.Repeat("x", 5<<20)
	places := map[string]func(*signing.Services, string){
		"authority":        func(s *signing.Services, u string) { s.Fulcio = u },
		"timestamps":       func(s *signing.Services, u string) { s.Timestamps[0] = u },
		"log, version one": func(s *signing.Services, u string) { s.Logs[0] = signing.LogService{URL: u, Version: 1} },
		"log, version two": func(s *signing.Services, u string) { s.Logs[0].URL = u },
	}
	answers := map[string]struct {
		serve http.HandlerFunc
		want  error // nil: any
	}{
		"refuses":        {answer(http.StatusForbidden, "not you"), signing.ErrRefused},
		"redirects":      {answer(http.StatusTemporaryRedirect, ""), signing.ErrRefused},
		"rubbish":        {answer(http.StatusCreated, "{"), nil},
		"empty object":   {answer(http.StatusCreated, "{}"), nil},
		"nulls":          {answer(http.StatusCreated, `{"a":{"body":null,"integratedTime":null,"logIndex":0,"logID":null,"verification":{}}}`), nil},
		"a large answer": {answer(http.StatusCreated, large), nil},
		"conflict":       {answer(http.StatusConflict, ""), nil},
	}
	for place, put := range places {
		for name, tt := range answers {
			t.Run(place+" "+name, func(t *testing.T) {
				srv := httptest.NewServer(tt.serve)
				defer srv.Close()
				s := services(t, d, 2)
				put(&s, srv.URL)
				var asked atomic.Int32
				signer, err := signing.NewKeyless(tokenOf(d, &asked), s)
				if err != nil {
					t.Fatal(err)
				}
				r := newFake()
				model := r.model(t, "model")
				made, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{})
				if err == nil || len(made) > 0 || len(r.referrers) > 0 {
					t.Fatalf("Sign = %v, %v", made, err)
				}
				if tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("Sign error = %v, want %v", err, tt.want)
				}
				if strings.Contains(err.Error(), d.Token(who)[:40]) {
					t.Errorf("the token is in the error: %v", err)
				}
			})
		}
	}
}

// A service that is down for a moment is asked again; one that stays down is an
// error of its class; and a signature that the roots do not believe is refused
// by who makes it.
func TestSignKeylessAgain(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	var tries atomic.Int32
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, d.Fulcio+r.URL.Path, http.StatusOK)
	}))
	defer flaky.Close()
	sign := func(ctx context.Context, s signing.Services) error {
		var asked atomic.Int32
		signer, err := signing.NewKeyless(tokenOf(d, &asked), s)
		if err != nil {
			t.Fatal(err)
		}
		r := newFake()
		_, err = signing.Sign(ctx, r, r.model(t, "model"), signer, signing.SignOptions{})
		return err
	}
	s := services(t, d, 2)
	s.Fulcio = flaky.URL
	if err := sign(t.Context(), s); tries.Load() != 2 {
		t.Errorf("asked %d times: %v", tries.Load(), err)
	}
	s = services(t, d, 2)
	s.Roots = rootsOf(t, testsigstore.New(t, testsigstore.Options{}))
	if err := sign(t.Context(), s); err == nil || !strings.Contains(err.Error(), "verif") {
		t.Errorf("sign for roots of another deployment: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sign(ctx, services(t, d, 2)); !errors.Is(err, context.Canceled) {
		t.Errorf("sign after the end of the context: %v", err)
	}
}

// The same is signed once by an identity whose signatures can be told, and again
// by another or by one that nobody vouches for.
func TestSignKeylessOnce(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	r := newFake()
	model := r.model(t, "model")
	sign := func(email string, roots *signing.Roots) int {
		t.Helper()
		s := services(t, d, 2)
		s.Roots = roots
		signer, err := signing.NewKeyless(func(context.Context) (string, error) { return d.Token(email), nil }, s)
		if err != nil {
			t.Fatal(err)
		}
		made, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{})
		if err != nil {
			t.Fatal(err)
		}
		desc, err := signing.Attest(t.Context(), r, model, signer, scanPredicate, signing.AttestOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if desc.Digest != "" {
			return len(made) + 1
		}
		return len(made)
	}
	roots := rootsOf(t, d)
	for i, test := range []struct {
		email string
		roots *signing.Roots
		want  int
	}{
		{who, roots, 2}, {who, roots, 0}, {"other@example.com", roots, 2}, {who, nil, 2}, {"other@example.com", roots, 0},
	} {
		if got := sign(test.email, test.roots); got != test.want {
			t.Errorf("%d. %s attached %d, want %d", i, test.email, got, test.want)
		}
	}
}

func TestParseSigningConfig(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	for _, log := range []testsigstore.Log{testsigstore.RekorV1, testsigstore.RekorV2} {
		got, err := signing.ParseSigningConfig(d.SigningConfig(log))
		if err != nil {
			t.Fatal(err)
		}
		want := signing.Services{Fulcio: d.Fulcio, Logs: []signing.LogService{{d.Rekor, int(log)}}, Timestamps: []string{d.TSA}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ParseSigningConfig (-want +got):\n%s", diff)
		}
	}
	for name, text := range map[string]string{
		"empty":       "",
		"another":     `{"mediaType":"application/json"}`,
		"no selector": `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","tsaUrls":[{"url":"https://t","majorApiVersion":1}]}`,
		"version 9":   `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":[{"url":"https://t","majorApiVersion":9}]}`,
		"expired":     `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":[{"url":"https://t","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z","end":"2021-01-01T00:00:00Z"}}]}`,
		"too large":   `{"mediaType":"` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		if got, err := signing.ParseSigningConfig([]byte(text)); err == nil {
			t.Errorf("%s: ParseSigningConfig = %+v", name, got)
		}
	}
}
