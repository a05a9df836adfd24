package oms_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// A forger signs anything, in a bundle written by hand.
type forger struct {
	key  *ecdsa.PrivateKey
	pem  []byte
	hint string
}

func newForger(t testing.TB, curve elliptic.Curve) *forger {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	sum := sha256.Sum256(text)
	return &forger{key: key, pem: text, hint: hex.EncodeToString(sum[:])}
}

func (f *forger) trust(t testing.TB) signing.Trust {
	t.Helper()
	key, err := signing.LoadPublicKey(f.pem)
	if err != nil {
		t.Fatal(err)
	}
	return signing.Trust{Keys: []*signing.PublicKey{key}}
}

// bundle returns the signature of a payload.
func (f *forger) bundle(t testing.TB, payload string) []byte {
	t.Helper()
	const kind = "application/vnd.in-toto+json"
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)
	var sum []byte
	switch f.key.Curve {
	case elliptic.P256():
		s := sha256.Sum256(pae)
		sum = s[:]
	case elliptic.P384():
		s := sha512.Sum384(pae)
		sum = s[:]
	default:
		s := sha512.Sum512(pae)
		sum = s[:]
	}
	sig, err := ecdsa.SignASN1(rand.Reader, f.key, sum)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": f.hint}, "tlogEntries": []string{}},
		"dsseEnvelope": map[string]any{
			"payload": base64.StdEncoding.EncodeToString([]byte(payload)), "payloadType": kind,
			"signatures": []map[string]string{{"sig": base64.StdEncoding.EncodeToString(sig), "keyid": ""}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func sum(s string) digest.Digest { return digest.FromString(s) }

// files are those of the model in these tests. By code points "a-b" comes before
// "a/c"; by components it does not.
var files = []oms.Resource{{Name: "a/c", Digest: sum("c")}, {Name: "a-b", Digest: sum("b")}, {Name: "z", Digest: sum("z")}}

func root(names ...string) string {
	h := sha256.New()
	for _, n := range names {
		raw, _ := hex.DecodeString(sum(n).Encoded())
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func resource(name, of string) string {
	return fmt.Sprintf(`{"name":%q,"digest":%q,"algorithm":"sha256"}`, name, sum(of).Encoded())
}

// statement is one that is right, in the order in which the reference
// implementation lists files.
func statement() string {
	return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"` + root("c", "b", "z") + `"}}],` +
		`"predicateType":"https://model_signing/signature/v1.0","predicate":{"resources":[` +
		resource("a/c", "c") + `,` + resource("a-b", "b") + `,` + resource("z", "z") +
		`],"serialization":{"method":"files","hash_type":"sha256","allow_symlinks":false,"ignore_paths":[".git","model.sig"]}}}`
}

func TestNew(t *testing.T) {
	st, err := oms.New("m", files, []string{".modelreg"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := st.Encode()
	if err != nil {
		t.Fatal(err)
	}
	turned := slices.Clone(files)
	slices.Reverse(turned)
	again, err := oms.New("m", turned, []string{".modelreg"})
	if err != nil {
		t.Fatal(err)
	}
	if other, _ := again.Encode(); string(other) != string(raw) {
		t.Errorf("the order of the files makes a difference:\n%s\n%s", raw, other)
	}
	if got, want := st.Root().Encoded(), root("b", "c", "z"); got != want {
		t.Errorf("root = %s, want %s: in the order of code points", got, want)
	}
	parsed, err := oms.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(st, parsed); diff != "" {
		t.Error(diff)
	}
	want := []string{".git", ".gitattributes", ".github", ".gitignore", ".modelreg", "model.sig"}
	if diff := cmp.Diff(want, st.IgnorePaths); diff != "" {
		t.Error(diff)
	}
}

func TestNewRefuses(t *testing.T) {
	tests := map[string][]oms.Resource{
		"none":     nil,
		"twice":    {files[0], files[0]},
		"outside":  {{Name: "../x", Digest: sum("x")}},
		"absolute": {{Name: "/x", Digest: sum("x")}},
		"not text": {{Name: "x\xff", Digest: sum("x")}},
		"sha512":   {{Name: "x", Digest: digest.SHA512.FromString("x")}},
	}
	for name, list := range tests {
		if _, err := oms.New("m", list, nil); err == nil {
			t.Errorf("%s: New succeeds", name)
		}
	}
}

func TestSignAndVerify(t *testing.T) {
	private, public, err := signing.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signing.LoadSigner(private, nil)
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
	got, err := oms.Verify(t.Context(), raw, signing.Trust{Keys: []*signing.PublicKey{signer.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(st, got.Statement); diff != "" {
		t.Error(diff)
	}
	if got.Signer.KeyFingerprint != signer.Public().Fingerprint() || got.Signer.Kind != "key" {
		t.Errorf("signer = %+v", got.Signer)
	}
	// The one name for a key that the reference implementation takes.
	pemSum := sha256.Sum256(public)
	if hint := hex.EncodeToString(pemSum[:]); !strings.Contains(string(raw), hint) {
		t.Errorf("no hint %s in %s", hint, raw)
	}
}

func TestVerifyTakesEachCurve(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		f := newForger(t, curve)
		got, err := oms.Verify(t.Context(), f.bundle(t, statement()), f.trust(t))
		if err != nil {
			t.Errorf("%s: %v", curve.Params().Name, err)
			continue
		}
		if diff := cmp.Diff(files, got.Statement.Resources); diff != "" {
			t.Error(diff)
		}
		f.hint = "" // as before 1.0.1
		if _, err := oms.Verify(t.Context(), f.bundle(t, statement()), f.trust(t)); err != nil {
			t.Errorf("%s without a hint: %v", curve.Params().Name, err)
		}
	}
}

func TestVerifyRefusesSignatures(t *testing.T) {
	f, other := newForger(t, elliptic.P256()), newForger(t, elliptic.P256())
	good := f.bundle(t, statement())
	if _, err := oms.Verify(t.Context(), good, f.trust(t)); err != nil {
		t.Fatal(err)
	}
	der := sha256.Sum256(must(x509.MarshalPKIXPublicKey(&f.key.PublicKey)))
	cosigns := *f
	cosigns.hint = base64.StdEncoding.EncodeToString(der[:])
	change := func(from, to string) []byte {
		out := strings.Replace(string(good), from, to, 1)
		if out == string(good) {
			t.Fatalf("no %q in %s", from, good)
		}
		return []byte(out)
	}
	tests := map[string]struct {
		raw  []byte
		want string
	}{
		"wrong key":            {other.bundle(t, statement()), "another key"},
		"another's hint":       {change(f.hint, other.hint), "key is called"},
		"cosign's hint":        {cosigns.bundle(t, statement()), "key is called"},
		"changed payload":      {change(base64.StdEncoding.EncodeToString([]byte(statement())), base64.StdEncoding.EncodeToString([]byte(statement()+" "))), "changed since"},
		"payload type":         {change("application/vnd.in-toto+json", "application/json"), "not an in-toto statement"},
		"media type":           {change("bundle.v0.3+json", "bundle+json;version=0.2"), "media type"},
		"two signatures":       {change(`"signatures":[`, `"signatures":[{"sig":"AAAA","keyid":""},`), "2 signatures"},
		"no signature":         {[]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}}`), "0 signatures"},
		"member twice":         {change(`{"dsseEnvelope"`, `{"mediaType":"x","dsseEnvelope"`), "not a sigstore bundle"},
		"no bundle":            {[]byte("{}"), "not a sigstore bundle"},
		"empty":                {nil, "not a sigstore bundle"},
		"too long":             {make([]byte, oms.MaxBytes+1), "more than"},
		"message signature":    {[]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AAAA"},"signature":"AAAA"}}`), "not a DSSE bundle"},
		"private authority":    {change(`"publicKey":{"hint":"`+f.hint+`"}`, `"x509CertificateChain":{"certificates":[{"rawBytes":"AAAA"}]}`), "malformed certificate"},
		"certificate, no root": {change(`"publicKey":{"hint":"`+f.hint+`"}`, `"certificate":{"rawBytes":"AAAA"}`), "certificate"},
	}
	for name, tt := range tests {
		_, err := oms.Verify(t.Context(), tt.raw, f.trust(t))
		if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: Verify error = %v, want ErrUntrusted with %q", name, err, tt.want)
		}
	}
	if _, err := oms.Verify(t.Context(), good, signing.Trust{}); err == nil {
		t.Error("Verify trusts without a key")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What a trusted key signed is refused all the same when it is not a statement
// of this form.
func TestVerifyRefusesStatements(t *testing.T) {
	f := newForger(t, elliptic.P256())
	change := func(from, to string) string {
		out := strings.Replace(statement(), from, to, 1)
		if out == statement() {
			t.Fatalf("no %q in %s", from, statement())
		}
		return out
	}
	z := "," + resource("z", "z")
	tests := map[string]struct{ text, want string }{
		"wrong predicate":     {change("https://model_signing/signature/v1.0", "https://slsa.dev/provenance/v1"), "slsa.dev"},
		"before 1.0":          {change("https://model_signing/signature/v1.0", "https://model_signing/Digests/v0.1"), "before version 1.0"},
		"statement type":      {change("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"), "statement of type"},
		"two subjects":        {change(`"subject":[`, `"subject":[{"name":"x","digest":{"sha256":"00"}},`), "2 subjects"},
		"no subject":          {change(`{"name":"m","digest":{"sha256":"`+root("c", "b", "z")+`"}}`, ""), "0 subjects"},
		"root digest":         {change(root("c", "b", "z"), root("b", "c", "z")), "subject is"},
		"second root digest":  {change(`"digest":{`, `"digest":{"sha512":"00",`), "alone"},
		"shards":              {change(`"method":"files"`, `"method":"shards","shard_size":1000.0`), "no shard of a file"},
		"shard size":          {change(`"method":"files"`, `"method":"files","shard_size":1000`), "size of shards"},
		"unknown method":      {change(`"method":"files"`, `"method":"trees"`), "trees"},
		"blake2b":             {change(`"hash_type":"sha256"`, `"hash_type":"blake2b"`), "blake2b"},
		"one file by blake3":  {change(`"algorithm":"sha256"`, `"algorithm":"blake3"`), "blake3"},
		"links not said":      {change(`"allow_symlinks":false,`, ``), "links"},
		"unknown member":      {change(`"predicate":{`, `"predicate":{"ociManifestDigest":"x",`), "ociManifestDigest"},
		"member twice":        {change(`"predicate":{`, `"predicate":{},"predicate":{`), "duplicate"},
		"file twice":          {change(z, z+z), "listed twice"},
		"no files":            {change(resource("a/c", "c")+","+resource("a-b", "b")+z, ""), "no files"},
		"file outside":        {change(`"name":"z"`, `"name":"../z"`), "relative path"},
		"absolute file":       {change(`"name":"z"`, `"name":"/z"`), "relative path"},
		"file not plain":      {change(`"name":"z"`, `"name":"a//z"`), "relative path"},
		"directory":           {change(`"name":"z"`, `"name":"z/"`), "relative path"},
		"single file":         {change(`"name":"z"`, `"name":"."`), "single file"},
		"NUL":                 {change(`"name":"z"`, `"name":"z\u0000"`), "not text"},
		"digest in capitals":  {change(sum("z").Encoded(), strings.ToUpper(sum("z").Encoded())), "no SHA-256"},
		"digest too short":    {change(sum("z").Encoded(), "00"), "no SHA-256"},
		"no JSON":             {"x", "in-toto"},
		"text after the JSON": {statement() + "{}", "in-toto"},
	}
	for name, tt := range tests {
		_, err := oms.Verify(t.Context(), f.bundle(t, tt.text), f.trust(t))
		if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: Verify error = %v, want ErrUntrusted with %q", name, err, tt.want)
		}
	}
}

// The specification knows no other keys, whatever they sign.
func TestVerifyRefusesOtherKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(public))})
	key, err := signing.LoadPublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	const kind = "application/vnd.in-toto+json"
	sig := ed25519.Sign(private, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(statement()), statement()))
	pemSum := sha256.Sum256(text)
	raw := fmt.Sprintf(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"%x"}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		pemSum, base64.StdEncoding.EncodeToString([]byte(statement())), kind, base64.StdEncoding.EncodeToString(sig))
	if _, err := oms.Verify(t.Context(), []byte(raw), signing.Trust{Keys: []*signing.PublicKey{key}}); !errors.Is(err, oms.ErrKey) {
		t.Errorf("Verify error = %v, want ErrKey", err)
	}
}

func TestCompare(t *testing.T) {
	st, err := oms.New("m", files, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := st.Compare(map[string]digest.Digest{"a/c": sum("c"), "a-b": sum("other"), "evil.py": "", "b": sum("z")})
	want := oms.Difference{Changed: []string{"a-b"}, Missing: []string{"z"}, Extra: []string{"b", "evil.py"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.None() {
		t.Error("None() of a difference")
	}
}

func TestIgnores(t *testing.T) {
	ignores := oms.Ignores([]string{"cache/", "./x", ".", "", "/", "..", "../y", "/abs", "sub/../z"})
	for name, want := range map[string]bool{
		".git": true, ".git/config": true, "sub/.git": false, ".gitmodules": false,
		"cache": true, "cache/a": true, "cached": false, "x": true, "y": false, "abs": false, "z": true, "model.bin": false,
	} {
		if got := ignores(name); got != want {
			t.Errorf("ignores(%q) = %t, want %t", name, got, want)
		}
	}
}
