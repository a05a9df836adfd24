package policy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// newKey makes a public key in PEM.
func newKey() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// newRoot makes the certificate of an authority in PEM.
func newRoot() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "own"}, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// keys are the same for all tests of a run.
var keys = sync.OnceValue(func() map[string]string {
	return map[string]string{"KEY1": newKey(), "KEY2": newKey(), "ROOT1": newRoot()}
})

// fill puts keys in the place of KEY1 and KEY2, as YAML has text of lines.
func fill(text string) string {
	for name, key := range keys() {
		text = strings.ReplaceAll(text, name, `"`+strings.ReplaceAll(key, "\n", `\n`)+`"`)
	}
	return text
}

// doc is a policy of one document with these annotations, globs and
// authorities, each in the flow style of YAML.
func doc(name, annotations, images, authorities string) string {
	return fill("---\napiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: " + name +
		"\n  annotations: {" + annotations + "}\nspec:\n  images: [" + images + "]\n  authorities: [" + authorities + "]\n")
}

const (
	byKey1  = `{name: one, key: {data: KEY1}}`
	byKey2  = `{name: two, key: {data: KEY2}}`
	all     = `{glob: "**"}`
	byCI    = `{name: ci, keyless: {trustRootRef: corp, identities: [{issuer: "https://token.example", subjectRegExp: "^https://git\\.example/acme/.*$"}]}}`
	byCA    = `{name: own, keyless: {ca-cert: {data: ROOT1}, identities: [{subject: release@acme.example}]}}`
	byAudit = `{name: audit, key: {data: KEY2}, attestations: [{name: scan, predicateType: "https://cosign.sigstore.dev/attestation/vuln/v1"}]}`
)

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func TestParse(t *testing.T) {
	text := doc("models",
		`policy.modelreg.dev/min-signers: "2", policy.modelreg.dev/require-digest: "true", `+
			`policy.modelreg.dev/match-repository: "true", policy.modelreg.dev/require-oms: "true", other.example/note: "is left alone"`,
		`{glob: "reg.example/models/**"}`, byKey1+","+byCI) +
		"---\n# nothing\n" +
		doc("young", "policy.modelreg.dev/max-signature-age: 30d", all, byCI) +
		strings.Replace(doc("extra", "", all, `{static: {action: fail, message: "not here"}}`), "spec:\n", "spec:\n  mode: warn\n", 1)
	p := parse(t, text)
	if len(p.Documents) != 3 {
		t.Fatalf("%d documents", len(p.Documents))
	}
	want := policy.Conditions{MinSigners: 2, RequireDigest: true, MatchRepository: true, RequireOMS: true}
	opt := cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.String(), "globs") }, cmp.Ignore())
	if diff := cmp.Diff(want, p.Documents[0].Conditions, opt); diff != "" {
		t.Error(diff)
	}
	one, ci := p.Documents[0].Authorities[0], p.Documents[0].Authorities[1]
	if len(one.Keys) != 1 || one.Name != "one" {
		t.Errorf("authority one: %+v", one)
	}
	wantID := []signing.Identity{{Issuer: "https://token.example", SubjectRegexp: `^https://git\.example/acme/.*$`}}
	if diff := cmp.Diff(wantID, ci.Identities); diff != "" || ci.TrustRoot != "corp" {
		t.Errorf("authority ci: %s, %+v", diff, ci)
	}
	if young := p.Documents[1]; young.MaxSignatureAge != 30*24*time.Hour {
		t.Errorf("maximal age %s", young.MaxSignatureAge)
	}
	extra := p.Documents[2]
	if a := extra.Authorities[0]; !extra.Warn || a.Static != "fail" || a.Message != "not here" || a.Name != "authority-0" {
		t.Errorf("document extra: %+v", extra)
	}
	if got := p.String(); !strings.HasPrefix(got, "models+2@sha256:") || !strings.HasSuffix(got, p.Digest().Encoded()) {
		t.Errorf("policy is called %s", got)
	}
}

func TestParseModel(t *testing.T) {
	text := `licenses: [Apache-2.0, mit]
formats: [safetensors]
customCode: forbid
maxSize: 40GB
baseModels: ["meta-llama/**"]
minVersion: 1.4.0
yanked: refuse
deprecated: allow
scan: {maxAge: 7d}
evaluations: [{metric: accuracy, dataset: mmlu, min: 0.7}]
tests: passed
provenance: {builders: ["https://ci.example/*"]}
`
	p := parse(t, withModel(text))
	least := 0.7
	want := policy.Model{
		Licenses: []string{"apache-2.0", "mit"}, Formats: []string{"safetensors"}, CustomCode: true, MaxSize: 40e9,
		BaseModels: []string{"meta-llama/**"}, MinVersion: "1.4.0", Yanked: policy.Refuse, Deprecated: policy.Allow,
		Scan: &policy.Scan{MaxAge: 7 * 24 * time.Hour}, Evaluation: []policy.Evaluation{{Metric: "accuracy", Dataset: "mmlu", Min: &least}},
		Tests: true, Builders: []string{"https://ci.example/*"},
	}
	opt := cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.String(), "globs") }, cmp.Ignore())
	if diff := cmp.Diff(want, p.Documents[0].Model, opt); diff != "" {
		t.Error(diff)
	}
}

// withModel is a policy with the annotation model.
func withModel(text string) string {
	d := doc("m", "", all, byKey1)
	lines := strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n      ")
	return strings.Replace(d, "annotations: {}", "annotations:\n    policy.modelreg.dev/model: |\n      "+lines, 1)
}

func TestParseRefuses(t *testing.T) {
	auth := func(a string) string { return doc("x", "", all, a) }
	note := func(a string) string { return doc("x", a, all, byKey1) }
	glob := func(g string) string { return doc("x", "", `{glob: "`+g+`"}`, byKey1) }
	id := func(i string) string { return auth(`{keyless: {identities: [` + i + `]}}`) }
	subject := func(re string) string { return id(`{issuer: "https://i", subjectRegExp: '` + re + `'}`) }
	tests := map[string]struct{ text, want string }{
		"empty":                   {"", "no document"},
		"comments":                {"# nothing\n---\n# more\n", "no document"},
		"not YAML":                {"a: [", "did not find"},
		"not UTF-8":               {"a: \xff", "UTF-8"},
		"too large":               {strings.Repeat("#", policy.MaxBytes+1), "more than"},
		"too deep":                {strings.Repeat("[", 40) + strings.Repeat("]", 40), "levels"},
		"alias":                   {strings.Replace(auth(byKey1), "name: x", "name: &a x", 1), "anchors"},
		"tag":                     {strings.Replace(auth(byKey1), "name: x", "name: !!str x", 1), "tag"},
		"null":                    {strings.Replace(auth(byKey1), "spec:", "status:\nspec:", 1), "without a value"},
		"duplicate key":           {strings.Replace(auth(byKey1), "spec:", "kind: ClusterImagePolicy\nspec:", 1), "kind"},
		"unknown field":           {strings.Replace(auth(byKey1), "spec:", "spec:\n  policy: {type: cue}", 1), "policy"},
		"match":                   {strings.Replace(auth(byKey1), "spec:", "spec:\n  match: [{group: apps}]", 1), "match"},
		"source":                  {auth(`{key: {data: KEY1}, source: [{oci: "x"}]}`), "source"},
		"secretRef":               {auth(`{key: {secretRef: {name: x}}}`), "secretRef"},
		"kms":                     {auth(`{key: {kms: "awskms://x"}}`), "kms"},
		"ctlog.url":               {auth(`{key: {data: KEY1}, ctlog: {url: "https://rekor"}}`), "url"},
		"attestation policy":      {auth(`{key: {data: KEY1}, attestations: [{name: a, predicateType: "https://x", policy: {type: cue}}]}`), "policy"},
		"other version":           {strings.Replace(auth(byKey1), "v1beta1", "v1alpha1", 1), "apiVersion"},
		"other kind":              {strings.Replace(auth(byKey1), "ClusterImagePolicy", "Pod", 1), "kind"},
		"no name":                 {strings.Replace(auth(byKey1), "name: x", "name: ''", 1), "metadata.name"},
		"two of a name":           {auth(byKey1) + auth(byKey2), "another document"},
		"mode":                    {strings.Replace(auth(byKey1), "spec:", "spec:\n  mode: off", 1), "spec.mode"},
		"no globs":                {doc("x", "", "", byKey1), "spec.images"},
		"no authorities":          {doc("x", "", all, ""), "spec.authorities"},
		"glob with a tag":         {glob("reg.example/a:v1"), "no tag"},
		"glob with a digest":      {glob("reg.example/a@sha256:00"), "only letters"},
		"glob of Docker Hub":      {glob("*"), "Docker Hub"},
		"glob with port 443":      {glob("*.example:443/**"), "goes without saying"},
		"glob ***":                {glob("reg.example/***"), "***"},
		"no glob":                 {glob(""), "only letters"},
		"key and keyless":         {auth(`{key: {data: KEY1}, keyless: {identities: [{issuer: a, subject: b}]}}`), "one of key"},
		"neither":                 {auth(`{name: x}`), "one of key"},
		"key by URL (T25)":        {auth(`{key: {data: "https://evil.example/key.pem"}}`), "fetches no keys"},
		"key by name (T25)":       {auth(`{key: {data: "k8s://cosign/key"}}`), "fetches no keys"},
		"no key at all":           {auth(`{key: {data: ""}}`), "fetches no keys"},
		"damaged key":             {auth(`{key: {data: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}}`), "key.data"},
		"private key":             {auth(`{key: {data: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}}`), "key.data"},
		"hash":                    {auth(`{key: {data: KEY1, hashAlgorithm: md5}}`), "hashAlgorithm"},
		"format":                  {auth(`{key: {data: KEY1}, signatureFormat: pgp}`), "signatureFormat"},
		"short predicate type":    {auth(`{key: {data: KEY1}, attestations: [{name: a, predicateType: slsaprovenance}]}`), "no URI"},
		"nameless attestation":    {auth(`{key: {data: KEY1}, attestations: [{predicateType: "https://x"}]}`), "name"},
		"static action":           {auth(`{static: {action: maybe}}`), "static.action"},
		"static with more":        {auth(`{static: {action: fail}, attestations: [{name: a, predicateType: "https://x"}]}`), "nothing but a name"},
		"no identity (T27)":       {id(""), "identities"},
		"no issuer":               {id(`{subject: a}`), "issuer"},
		"no subject":              {id(`{issuer: a}`), "subject"},
		"issuer twice":            {id(`{issuer: a, issuerRegExp: "^a$", subject: b}`), "issuer"},
		"unanchored (T13)":        {subject(`alice@example\.com`), "begin with ^"},
		"half anchored":           {subject(`^alice@example\.com`), "begin with ^"},
		"anchored lines":          {subject(`(?m)^alice$`), "begin with ^"},
		"anchored in one branch":  {subject(`^alice$|bob`), "begin with ^"},
		"anchored by halves":      {subject(`^alice|bob$`), "begin with ^"},
		"escaped dollar":          {subject(`^alice\$`), "begin with ^"},
		"everybody":               {subject(`^.*$`), "everything"},
		"everybody, twice":        {subject(`^.*.*$`), "everything"},
		"everybody, counted":      {subject(`^.{0,}.+$`), "everything"},
		"everybody, long":         {subject(`^.?.{5,}$`), "everything"},
		"broken expression":       {subject(`^(a$`), "missing"},
		"no issuer, by CA's name": {auth(`{keyless: {trustRootRef: ca, identities: [{subject: b}]}}`), "issuer"},
		"CA, no identity":         {auth(`{keyless: {ca-cert: {data: ROOT1}}}`), "identities"},
		"CA, no subject":          {auth(`{keyless: {ca-cert: {data: ROOT1}, identities: [{issuer: a}]}}`), "subject"},
		"CA, unanchored":          {auth(`{keyless: {ca-cert: {data: ROOT1}, identities: [{subjectRegExp: a}]}}`), "begin with ^"},
		"CA, two issuers":         {auth(`{keyless: {ca-cert: {data: ROOT1}, identities: [{issuer: a, issuerRegExp: "^a$", subject: b}]}}`), "issuer"},
		"CA by URL":               {auth(`{keyless: {ca-cert: {data: "https://evil.example/ca.pem"}, identities: [{subject: b}]}}`), "fetches none"},
		"CA by secret":            {auth(`{keyless: {ca-cert: {secretRef: {name: x}}, identities: [{subject: b}]}}`), "secretRef"},
		"CA that is a key":        {auth(`{keyless: {ca-cert: {data: KEY1}, identities: [{subject: b}]}}`), "ca-cert.data"},
		"CA and a root":           {auth(`{keyless: {ca-cert: {data: ROOT1}, trustRootRef: corp, identities: [{subject: b}]}}`), "trustRootRef"},
		"CA with a hash":          {auth(`{keyless: {ca-cert: {data: ROOT1, hashAlgorithm: sha256}, identities: [{subject: b}]}}`), "hashAlgorithm"},
		"age of a CA's":           {doc("x", `policy.modelreg.dev/max-signature-age: 30d`, all, byCA), "certificates"},
		"other root for a log":    {auth(`{keyless: {trustRootRef: a, identities: [{issuer: a, subject: b}]}, ctlog: {trustRootRef: b}}`), "another trusted root"},
		"root by path":            {auth(`{keyless: {trustRootRef: "../x", identities: [{issuer: a, subject: b}]}}`), "trustRootRef"},
		"key twice":               {doc("x", "", all, byKey1+`, {name: again, key: {data: KEY1}}`), "same key"},
		"identity twice":          {doc("x", "", all, byCI+","+strings.Replace(byCI, "name: ci", "name: again", 1)), "same identity"},
		"name twice":              {doc("x", "", all, byKey1+`, {name: one, key: {data: KEY2}}`), "two are called"},
		"everything":              {auth(`{static: {action: pass}}`), "no policy"},
		"everything, spelt":       {doc("x", "", `{glob: "**/**"}`, `{static: {action: pass}}`), "no policy"},
		"signers of nobody":       {doc("x", `policy.modelreg.dev/min-signers: "1"`, `{glob: "a/b"}`, `{static: {action: pass}}`), "static"},
		"age of a key's":          {note(`policy.modelreg.dev/max-signature-age: 30d`), "certificates"},
		"age, also of a key's":    {doc("x", `policy.modelreg.dev/max-signature-age: 30d`, all, byCI+","+byKey1), "certificates"},
		"unknown annotation":      {note(`policy.modelreg.dev/min-signer: "2"`), "no such key"},
		"mistyped domain":         {note(`policy.modelreg.io/min-signers: "2"`), "no such key"},
		"bare number":             {note(`policy.modelreg.dev/min-signers: 2`), "quotes"},
		"bare truth":              {note(`policy.modelreg.dev/require-digest: true`), "quotes"},
		"no truth":                {note(`policy.modelreg.dev/require-digest: "yes"`), "neither true"},
		"no signers":              {note(`policy.modelreg.dev/min-signers: "0"`), "min-signers"},
		"no age":                  {note(`policy.modelreg.dev/max-signature-age: "-1h"`), "time span"},
		"endless age":             {note(`policy.modelreg.dev/max-signature-age: "9999999d"`), "days"},
		"model: unknown field":    {withModel("license: [mit]"), "license"},
		"model: not a map":        {withModel("- a"), "model"},
		"model: two documents":    {withModel("tests: passed\n---\ntests: passed"), "one document"},
		"model: empty list":       {withModel("formats: []"), "empty list"},
		"model: size":             {withModel("maxSize: much"), "no size"},
		"model: size overflow":    {withModel("maxSize: 99999999TiB"), "no size"},
		"model: version":          {withModel("minVersion: 1.4"), "semantic version"},
		"model: reaction":         {withModel("yanked: no"), "none of allow"},
		"model: code":             {withModel("customCode: allow"), "customCode"},
		"model: scan":             {withModel("scan: {}"), "maxAge"},
		"model: evaluation":       {withModel("evaluations: [{metric: a}]"), "min and max"},
		"model: infinite":         {withModel("evaluations: [{metric: a, min: .inf}]"), "no number"},
		"model: builders":         {withModel("provenance: {builders: []}"), "builders: an empty list"},
		"model: provenance":       {withModel("provenance: {}"), "give builders or inputs"},
		"model: inputs":           {withModel("provenance: {inputs: differ}"), `inputs: "differ" is not "agree"`},
		"model: tests":            {withModel("tests: maybe"), "tests"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Parse([]byte(tt.text))
			if !errors.Is(err, policy.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want ErrInvalid with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %q", err)
			}
		})
	}
}

// What is refused above is refused for the reason that is given, and not for
// another: these differ in that alone.
func TestParseTakes(t *testing.T) {
	tests := map[string]string{
		"anchored":       doc("x", "", all, `{keyless: {identities: [{issuerRegExp: '^https://(a|b)\.example$', subject: b}]}}`),
		"a log for keys": doc("x", "", all, `{key: {data: KEY1, hashAlgorithm: sha256}, ctlog: {trustRootRef: corp}, rfc3161timestamp: {trustRootRef: corp}}`),
		"CA":             doc("x", "", all, byCA),
		"CA, stamped":    doc("x", "", all, `{keyless: {ca-cert: {data: ROOT1}, identities: [{issuer: a, subject: b}]}, rfc3161timestamp: {trustRootRef: corp}}`),
		"no log":         doc("x", "", all, `{key: {data: KEY1}, ctlog: {}}`),
		"port":           doc("x", "", `{glob: "reg.example:5000/a/*"}`, byKey1),
		"pass, formats":  strings.Replace(withModel("formats: [gguf]"), fill(byKey1), "{static: {action: pass}}", 1),
		"same key, two documents": doc("x", "", all, byKey1) +
			doc("y", "", all, byKey1),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := policy.Parse([]byte(text)); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

func TestDeciding(t *testing.T) {
	text := doc("all", "", all, byKey1) +
		doc("floor", `policy.modelreg.dev/always: "true"`, `{glob: "reg.example/**"}`, byKey1) +
		doc("org", "", `{glob: "reg.example/acme/**"}`, byKey1) +
		doc("org2", "", `{glob: "other.example/x"}, {glob: "reg.example/acme/**"}`, byKey1) +
		doc("flat", "", `{glob: "reg.example/acme/*"}`, byKey1) +
		doc("one", "", `{glob: "reg.example/acme/llama"}`, byKey1) +
		doc("port", "", `{glob: "port.example:443/*"}`, byKey1) +
		doc("hub", "", `{glob: "docker.io/acme/*"}`, byKey1)
	p := parse(t, text)
	tests := map[string]string{
		"elsewhere.example/x":        "all",
		"reg.example/other/x":        "floor all",
		"reg.example/acme/deep/x":    "floor org org2",
		"reg.example/acme/x":         "floor flat",
		"REG.example/acme/llama":     "floor one",
		"reg.example:443/acme/llama": "floor one",
		"reg.example:8443/acme/x":    "all",
		"docker.io:443/acme/x":       "hub",
		"port.example/x":             "port",
		"port.example:443/x":         "port",
		"reg.example/acme/LLAMA":     "floor flat",
		"reg.example/acme/llama2":    "floor flat",
		"other.example/x":            "org2",
		"docker.io/acme/x":           "hub",
		"index.docker.io/acme/x":     "hub",
		"reg.example.evil.net/acme/": "all",
	}
	for repository, want := range tests {
		var got []string
		for _, d := range p.Deciding(repository) {
			got = append(got, d.Name)
		}
		wanted := strings.Fields(want)
		if diff := cmp.Diff(sorted(wanted), sorted(got)); diff != "" {
			t.Errorf("%s: %s", repository, diff)
		}
	}
	only := parse(t, doc("one", "", `{glob: "reg.example/acme/*"}`, byKey1))
	if got := only.Deciding("reg.example/acme/deep/x"); len(got) != 0 {
		t.Errorf("* matches a slash: %v", got)
	}
}
