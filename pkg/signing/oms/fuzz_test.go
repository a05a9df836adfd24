package oms_test

import (
	"crypto/elliptic"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// What parses is encoded and parsed to the same, lists files that are below the
// model's directory, each once, and has a root that is over all of them.
func FuzzParse(f *testing.F) {
	f.Add([]byte(statement()))
	f.Add([]byte(strings.Replace(statement(), `"method":"files"`, `"method":"shards","shard_size":10`, 1)))
	f.Add([]byte(strings.ReplaceAll(statement(), "sha256", "blake2b")))
	f.Add([]byte(strings.Replace(statement(), `"name":"z"`, `"name":"../z"`, 1)))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{}],"predicateType":"https://model_signing/signature/v1.0","predicate":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		st, err := oms.Parse(raw)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, r := range st.Resources {
			if seen[r.Name] || strings.HasPrefix(r.Name, "/") || strings.Contains("/"+r.Name+"/", "/../") {
				t.Fatalf("file %q", r.Name)
			}
			seen[r.Name] = true
		}
		again, err := st.Encode()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := oms.Parse(again)
		if err != nil {
			t.Fatalf("%v: %s", err, again)
		}
		if diff := cmp.Diff(st, parsed, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if st.Root() != parsed.Root() {
			t.Fatal("another root")
		}
	})
}

// No file is accepted that was not signed, whatever it is made of.
func FuzzVerify(f *testing.F) {
	key, other := newForger(f, elliptic.P256()), newForger(f, elliptic.P256())
	good := key.bundle(f, statement())
	trust := key.trust(f)
	f.Add(good)
	f.Add(other.bundle(f, statement()))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"x509CertificateChain":{"certificates":[{}]}},"dsseEnvelope":{"signatures":[{}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := oms.Verify(t.Context(), raw, trust)
		if err != nil {
			return
		}
		want, err := oms.Verify(t.Context(), good, trust)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("accepted something else: %s", diff)
		}
	})
}
