package admission_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/modelreg/modelreg/pkg/signing/policy"
	"github.com/modelreg/modelreg/pkg/signing/policy/admission"
)

var update = flag.Bool("update", false, "rewrite the expected files")

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func example(t *testing.T) *policy.Policy {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(raw))
}

// What is written is applied to clusters: a change of it is to be seen in review.
// The slow suite holds the same against the engines' schemas and evaluates it.
func TestGenerate(t *testing.T) {
	p := example(t)
	for _, engine := range admission.Engines() {
		got, err := admission.Generate(p, engine, admission.Options{Roots: map[string][]byte{"corp": []byte("{}\n")}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", string(engine)+".yaml")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: %s", engine, diff)
		}
	}
}

const (
	head = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: "
	team = `  authorities: [{name: a, key: {data: "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEX35+X93NF24+QZjd1Q5LDVTvh0g6\nDoKmn8UxVq3w4ysz0qJn1ixEEa9Yw75gNGQVG0fSJeHWaGPOGdTA/ski2w==\n-----END PUBLIC KEY-----\n"}}]
`
)

func document(name, annotations, globs, rest string) string {
	return fmt.Sprintf("---\n%s%s\n  annotations: {%s}\nspec:\n  images: [%s]\n%s", head, name, annotations, globs, rest)
}

// A cluster asks the documents that modelreg asks.
func TestDecidingAgrees(t *testing.T) {
	p := parse(t, document("all", "", `{glob: "**"}`, team)+
		document("org", "", `{glob: "reg.io/org/**"}, {glob: "Reg.IO/other/*"}`, team)+
		document("one", "", `{glob: "reg.io/org/*"}, {glob: "reg.io/org/team/**"}`, team)+
		document("exact", "", `{glob: "reg.io/org/m"}`, team)+
		document("hub", "", `{glob: "docker.io/acme/*"}`, team)+
		document("port", "", `{glob: "localhost:5000/**"}`, team)+
		document("always", `policy.modelreg.dev/always: "true"`, `{glob: "reg.io/**"}`, team))
	for _, repository := range []string{
		"reg.io/org/m", "reg.io/org/n", "reg.io/org/team/m", "reg.io/org/a/b", "reg.io/other/a", "reg.io/other/a/b",
		"regxio/org/m", "docker.io/acme/m", "index.docker.io/acme/m", "docker.io/acme/m/n", "localhost:5000/m", "localhost:5001/m", "example.com/x",
		"reg.io:443/org/m", "reg.io:8443/org/m", "docker.io:443/acme/m",
	} {
		var want []string
		for _, d := range p.Deciding(repository) {
			want = append(want, d.Name)
		}
		digest := "@sha256:" + strings.Repeat("0", 64)
		for _, suffix := range []string{"", ":v1", digest, ":v1" + digest} {
			if diff := cmp.Diff(want, admission.Deciding(p, repository+suffix)); diff != "" {
				t.Errorf("%s: %s", repository+suffix, diff)
			}
		}
		for _, no := range []string{"@sha256:00", digest + digest, ":v1:v2@", " ", digest + "x", "@md5:00"} {
			if got := admission.Deciding(p, repository+no); len(got) > 0 {
				t.Errorf("%s: decided by %v", repository+no, got)
			}
		}
	}
}

// rootCertificate is that of an authority, as a policy's text has it.
func rootCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "own"}, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Quote(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func TestGenerateRefuses(t *testing.T) {
	keyless := func(root string) string {
		return "  authorities: [{name: ci, keyless: {" + root + "identities: [{issuer: \"https://i\", subject: \"https://s\"}]}}]\n"
	}
	private := parse(t, document("x", "", `{glob: "reg.io/**"}`, keyless("trustRootRef: corp, ")))
	own := parse(t, document("x", "", `{glob: "reg.io/**"}`, keyless("ca-cert: {data: "+rootCertificate(t)+"}, ")))
	if _, err := admission.Generate(own, admission.VAP, admission.Options{}); err != nil {
		t.Errorf("own authority, without signatures: %v", err)
	}
	tests := map[string]struct {
		policy *policy.Policy
		engine admission.Engine
		opts   admission.Options
		want   string
	}{
		"own authority":  {own, admission.Kyverno, admission.Options{}, "ca-cert"},
		"own authority ": {own, admission.PolicyController, admission.Options{}, "ca-cert"},
		"unknown engine": {private, "opa", admission.Options{}, `no "opa"`},
		"root not given": {private, admission.Kyverno, admission.Options{}, `"corp"`},
		"another root":   {private, admission.Kyverno, admission.Options{Roots: map[string][]byte{"": nil}}, `"corp"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := admission.Generate(tt.policy, tt.engine, tt.opts)
			if !errors.Is(err, admission.ErrUnsupported) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want ErrUnsupported with %s", err, tt.want)
			}
		})
	}
	if _, err := admission.Generate(parse(t, document("x", "", `{glob: "reg.io/**"}`, keyless(""))), admission.Kyverno, admission.Options{}); err != nil {
		t.Errorf("the root that Kyverno has: %v", err)
	}
}

// A policy that refuses everything leaves nothing to be admitted.
func TestGenerateNothingAllowed(t *testing.T) {
	p := parse(t, document("no", "", `{glob: "**"}`, "  authorities: [{name: a, static: {action: fail}}]\n"))
	got, err := admission.Generate(p, admission.VAP, admission.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "variables.models.all(m,\n      (false) &&") {
		t.Error(got)
	}
}

// A document that decides always admits nothing that no other one is for.
func TestGenerateFloor(t *testing.T) {
	p := parse(t, document("floor", `policy.modelreg.dev/always: "true"`, `{glob: "floor.io/**"}`, team)+
		document("org", "", `{glob: "reg.io/org/**"}`, team))
	for _, engine := range []admission.Engine{admission.VAP, admission.Kyverno} {
		got, err := admission.Generate(p, engine, admission.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, "from these repositories only: reg.io/org/**") {
			t.Errorf("%s: %s", engine, got)
		}
	}
}

// All that is written is YAML, and every regular expression in it is one.
func FuzzGenerate(f *testing.F) {
	raw, err := os.ReadFile(filepath.Join("testdata", "policy.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(document("x", `policy.modelreg.dev/always: "true"`, `{glob: "a*b**c/*"}, {glob: "**"}`, team)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := policy.Parse(raw)
		if err != nil {
			return
		}
		for _, engine := range admission.Engines() {
			text, err := admission.Generate(p, engine, admission.Options{})
			if errors.Is(err, admission.ErrUnsupported) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			l, err := yaml.NewLoader(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			for {
				var object struct{ Kind string }
				err := l.Load(&object)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil || object.Kind == "" {
					t.Fatalf("%v in %s", err, text)
				}
			}
			for _, x := range admission.Expressions(text) {
				if _, err := regexp.Compile(x); err != nil {
					t.Fatalf("%v in %s", err, text)
				}
			}
		}
	})
}
