package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	signaturePred = "https://sigstore.dev/cosign/sign/v1"
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
)

// A forger has a key that is trusted, and a registry in its hands.
type forger struct {
	*victim
	reg    *testreg.Server
	repo   *remote.Repository
	key    *ecdsa.PrivateKey
	trust  string // file of the public key
	signed ocispec.Descriptor
}

func newForger(t *testing.T, opts testreg.Options) *forger {
	t.Helper()
	f := &forger{victim: newVictim(t), reg: testreg.New(t, opts)}
	var err error
	if f.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(f.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	f.trust = filepath.Join(t.TempDir(), "trusted.pub")
	if err := os.WriteFile(f.trust, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	f.repo = f.repository("acme/model")
	f.signed = f.model(f.repo, "v1", "0123456789")
	return f
}

func (f *forger) repository(name string) *remote.Repository {
	f.t.Helper()
	client, err := remote.New(remote.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	repo, err := client.Repository(f.reg.Host + "/" + name)
	if err != nil {
		f.t.Fatal(err)
	}
	return repo
}

func (f *forger) blob(repo *remote.Repository, mediaType string, data []byte) ocispec.Descriptor {
	f.t.Helper()
	desc := content.NewDescriptorFromBytes(mediaType, data)
	if err := repo.Push(f.t.Context(), desc, bytes.NewReader(data)); err != nil {
		f.t.Fatal(err)
	}
	return desc
}

// model pushes a model of one file.
func (f *forger) model(repo *remote.Repository, tag, text string) ocispec.Descriptor {
	f.t.Helper()
	layer := f.blob(repo, mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw), []byte(text))
	layer.Annotations = map[string]string{mediatypes.AnnotationFilepath: "model.bin"}
	return f.manifest(repo, tag, document{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": mediatypes.ArtifactModel,
		"config": f.blob(repo, mediatypes.ConfigModel, []byte("{}")), "layers": []ocispec.Descriptor{layer},
	})
}

func (f *forger) manifest(repo *remote.Repository, tag string, m document) ocispec.Descriptor {
	f.t.Helper()
	raw := encoded(f.t, m)
	desc := content.NewDescriptorFromBytes(m["mediaType"].(string), raw)
	if err := repo.PushManifest(f.t.Context(), desc, raw, tag); err != nil {
		f.t.Fatal(err)
	}
	return desc
}

func (f *forger) sign(message string) string {
	f.t.Helper()
	sum := sha256.Sum256([]byte(message))
	sig, err := ecdsa.SignASN1(rand.Reader, f.key, sum[:])
	if err != nil {
		f.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

// bundle signs a statement about a digest, as a sigstore bundle with a DSSE
// envelope.
func (f *forger) bundle(predicate string, dgst digest.Digest) []byte {
	const payloadType = "application/vnd.in-toto+json"
	payload := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		dgst.Encoded(), predicate)
	sig := f.sign(fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload))
	return encoded(f.t, document{
		"mediaType":            bundleType,
		"verificationMaterial": document{"publicKey": document{"hint": "x"}},
		"dsseEnvelope": document{
			"payload": []byte(payload), "payloadType": payloadType, "signatures": []document{{"sig": sig}},
		},
	})
}

// referrer is a manifest that attaches a bundle to subject.
func (f *forger) referrer(repo *remote.Repository, subject ocispec.Descriptor, bundle ocispec.Descriptor) document {
	empty := f.blob(repo, ocispec.MediaTypeEmptyJSON, []byte("{}"))
	return document{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": bundleType,
		"config": empty, "layers": []ocispec.Descriptor{bundle}, "subject": subject,
	}
}

// attach attaches a bundle to subject.
func (f *forger) attach(repo *remote.Repository, subject ocispec.Descriptor, bundle []byte) {
	f.t.Helper()
	m := f.referrer(repo, subject, f.blob(repo, bundleType, bundle))
	if err := repo.PushReferrer(f.t.Context(), encoded(f.t, m), subject); err != nil {
		f.t.Fatal(err)
	}
}

// classic puts a signature of of behind the signature tag of target.
func (f *forger) classic(target, of ocispec.Descriptor) {
	payload := fmt.Sprintf(`{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, of.Digest)
	layer := f.blob(f.repo, simpleSigning, []byte(payload))
	layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": f.sign(payload)}
	f.signatureTag(target, layer)
}

func (f *forger) signatureTag(target ocispec.Descriptor, layers ...ocispec.Descriptor) {
	f.t.Helper()
	f.manifest(f.repo, fallbackTag(target)+".sig", document{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": f.blob(f.repo, ocispec.MediaTypeImageConfig, []byte("{}")), "layers": layers,
	})
}

// fallbackTag is where the referrers of a digest are listed for registries
// without an API (OCI distribution specification, section "Referrers Tag Schema").
func fallbackTag(desc ocispec.Descriptor) string {
	return strings.ReplaceAll(desc.Digest.String(), ":", "-")
}

// verdict checks that both pull --verify and verify say the same, and that the
// version is on the disk only if it is good.
func (f *forger) verdict(code int, text, ref string) {
	f.t.Helper()
	f.ends(code, text, "verify", ref, "--key", f.trust)
	f.ends(code, text, "pull", ref, f.out, "--verify", "--key", f.trust)
	if code != exitOK {
		f.untouched()
	}
}

func (f *forger) ref(tag string) string { return f.reg.Host + "/acme/model:" + tag }

// TestForgedSignatures has a registry, and once a trusted key, try all that
// should not count as a signature of a version.
func TestForgedSignatures(t *testing.T) {
	api, noAPI := testreg.Options{}, testreg.Options{NoReferrers: true}
	good := func(f *forger) { f.attach(f.repo, f.signed, f.bundle(signaturePred, f.signed.Digest)) }
	tests := map[string]struct {
		opts testreg.Options
		do   func(f *forger)
		code int
		text string
		pull bool // verify does not look at it, or takes as long again
	}{
		"good bundle":                 {api, good, exitOK, "", false},
		"good bundle, without an API": {noAPI, good, exitOK, "", false},
		"good classic signature":      {api, func(f *forger) { f.classic(f.signed, f.signed) }, exitOK, "", false},

		"unsigned": {api, func(*forger) {}, exitUnverified, "no signature", false},
		"another key": {api, func(f *forger) {
			trusted := f.key
			f.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // fails for no curve of ours
			good(f)
			f.key = trusted
		}, exitUnverified, "another key", false},
		"one byte of the signature": {api, func(f *forger) {
			raw := f.bundle(signaturePred, f.signed.Digest)
			at := bytes.Index(raw, []byte(`"sig":"`)) + 20
			raw[at] = map[bool]byte{true: 'B', false: 'A'}[raw[at] == 'A']
			f.attach(f.repo, f.signed, raw)
		}, exitUnverified, "", false},
		"one byte of the model": {api, func(f *forger) {
			good(f)
			f.reg.Add(testreg.Rule{Method: "GET", Path: string(digest.FromString("0123456789")), Do: testreg.FlipBit(3)})
		}, exitIntegrity, "model.bin", true},

		"only an attestation": {api, func(f *forger) {
			f.attach(f.repo, f.signed, f.bundle("https://example.com/scan-FAILED", f.signed.Digest))
		}, exitUnverified, "scan-FAILED", false},
		"classic signature of another version": {api, func(f *forger) {
			f.classic(f.signed, f.model(f.repo, "v2", "other"))
		}, exitUnverified, "another artifact", false},
		"bundle of another version": {api, func(f *forger) {
			other := f.model(f.repo, "v2", "other")
			f.attach(f.repo, f.signed, f.bundle(signaturePred, other.Digest))
		}, exitUnverified, "another artifact", false},
		"referrer of another version in the fallback tag": {noAPI, func(f *forger) {
			other := f.model(f.repo, "v2", "other")
			f.attach(f.repo, other, f.bundle(signaturePred, f.signed.Digest))
			_, raw, err := f.repo.Manifest(f.t.Context(), fallbackTag(other))
			if err != nil {
				f.t.Fatal(err)
			}
			desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, raw)
			if err := f.repo.PushManifest(f.t.Context(), desc, raw, fallbackTag(f.signed)); err != nil {
				f.t.Fatal(err)
			}
		}, exitUnverified, "another artifact", false},
		"fallback tag emptied": {noAPI, func(f *forger) {
			good(f)
			f.manifest(f.repo, fallbackTag(f.signed), document{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []document{}})
		}, exitUnverified, "no signature", false},
		"fallback tag on an image": {noAPI, func(f *forger) {
			good(f)
			f.model(f.repo, fallbackTag(f.signed), "x")
		}, exitUnverified, "no signature", false},

		"65 signatures": {api, func(f *forger) {
			layers := make([]ocispec.Descriptor, 65)
			for i := range layers {
				layers[i] = f.blob(f.repo, simpleSigning, fmt.Appendf(nil, "%d", i))
			}
			f.signatureTag(f.signed, layers...)
		}, exitUnverified, "too many", false},
		"10,001 referrers": {api, func(f *forger) {
			good(f)
			f.list(10_001)
		}, exitUnverified, "too many", false},
		"pages without end": {api, func(f *forger) {
			good(f)
			page := 0
			f.reg.Add(testreg.Rule{Path: "/referrers/", Do: func(x testreg.Exchange) {
				page++
				testreg.Status(http.StatusOK, map[string]string{
					"Content-Type": ocispec.MediaTypeImageIndex, "Link": fmt.Sprintf("<%s?n=%d>; rel=\"next\"", x.R.URL.Path, page),
				}, `{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageIndex+`","manifests":[]}`)(x)
			}})
		}, exitProtocol, "does not end", false},
		"signature of 100 MiB": {api, func(f *forger) {
			f.reg.Add(f.bigBundle())
		}, exitUnverified, "more than 1048576", false},

		"referrers hidden": {api, func(f *forger) {
			good(f)
			f.reg.Add(testreg.Rule{Path: "/referrers/|/manifests/sha256-", Do: testreg.Status(http.StatusNotFound, nil, "")})
		}, exitUnverified, "no signature", false},
		"referrers emptied": {api, func(f *forger) {
			good(f)
			f.reg.Add(testreg.Rule{Path: "/manifests/sha256-", Do: testreg.Status(http.StatusNotFound, nil, "")})
			f.list(0)
		}, exitUnverified, "no signature", false},
		"referrers fail": {api, func(f *forger) {
			good(f)
			f.reg.Add(testreg.Rule{Path: "/referrers/", Do: testreg.Status(http.StatusInternalServerError, nil, "")})
		}, exitNetwork, "500", true},
		"fallback tag fails": {noAPI, func(f *forger) {
			good(f)
			f.reg.Add(testreg.Rule{Path: "/manifests/sha256-", Do: testreg.Status(http.StatusInternalServerError, nil, "")})
		}, exitNetwork, "500", true},
		"referrers forbidden": {api, func(f *forger) {
			good(f)
			f.reg.Add(testreg.Rule{Path: "/referrers/", Do: testreg.Status(http.StatusForbidden, nil, "")})
		}, exitForbidden, "403", false},
		"tag absent": {api, func(f *forger) {
			f.reg.Add(testreg.Rule{Path: "/manifests/v1", Do: testreg.Status(http.StatusNotFound, nil, "")})
		}, exitNotFound, "", false},
		"other bytes for the manifest": {api, func(f *forger) {
			good(f)
			f.reg.Add(testreg.Rule{Method: "GET", Path: "/manifests/(v1|sha256:)", Do: testreg.FlipBit(testreg.Middle)})
		}, exitIntegrity, "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newForger(t, tt.opts)
			tt.do(f)
			if tt.pull {
				f.ends(tt.code, tt.text, "pull", f.ref("v1"), f.out, "--verify", "--key", f.trust)
				f.untouched()
				return
			}
			f.verdict(tt.code, tt.text, f.ref("v1"))
		})
	}
}

// list has the registry's API list n referrers.
func (f *forger) list(n int) {
	entry := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"` + bundleType + `","size":500,"digest":"sha256:%064x"}`
	entries := make([]string, n)
	for i := range entries {
		entries[i] = fmt.Sprintf(entry, i)
	}
	f.reg.Add(testreg.Rule{Path: "/referrers/", Do: testreg.Status(http.StatusOK, map[string]string{"Content-Type": ocispec.MediaTypeImageIndex},
		`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageIndex+`","manifests":[`+strings.Join(entries, ",")+"]}")})
}

// bigBundle shows a referrer whose bundle is said to have 100 MiB, and which
// must not be asked for.
func (f *forger) bigBundle() testreg.Rule {
	bundle := ocispec.Descriptor{MediaType: bundleType, Digest: digest.FromString("big"), Size: 100 << 20}
	raw := encoded(f.t, f.referrer(f.repo, f.signed, bundle))
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	desc.ArtifactType = bundleType
	index := encoded(f.t, document{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []ocispec.Descriptor{desc}})
	return testreg.Rule{Method: "GET", Path: "/referrers/|" + string(desc.Digest) + "|" + string(bundle.Digest), Do: func(x testreg.Exchange) {
		switch {
		case strings.Contains(x.R.URL.Path, "/referrers/"):
			testreg.Status(http.StatusOK, map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}, string(index))(x)
		case strings.Contains(x.R.URL.Path, "/blobs/"):
			f.t.Error("asked for the bundle")
		default:
			testreg.Status(http.StatusOK, map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, string(raw))(x)
		}
	}}
}

// The version that was verified is the one that is pulled, wherever the tag has
// gone meanwhile.
func TestTagMovesAfterVerify(t *testing.T) {
	f := newForger(t, testreg.Options{})
	f.attach(f.repo, f.signed, f.bundle(signaturePred, f.signed.Digest))
	other := f.model(f.repo, "evil", "EVIL567890")
	var once sync.Once
	f.reg.Add(testreg.Rule{Method: "GET", Path: "/manifests/v1$", Do: func(x testreg.Exchange) {
		x.Pass(x.W)
		once.Do(func() {
			if err := f.repo.Tag(t.Context(), other, "v1"); err != nil {
				t.Error(err)
			}
		})
	}})
	f.ends(exitOK, "verified", "pull", f.ref("v1"), f.out, "--verify", "--key", f.trust)
	if got := filesIn(t, f.out)["model.bin"]; got != "0123456789" {
		t.Errorf("pulled %q", got)
	}
	for _, path := range fetchedBlobs(f.reg) {
		if strings.Contains(path, string(digest.FromString("EVIL567890"))) && !strings.Contains(path, "uploads") {
			t.Errorf("asked for %s", path)
		}
	}
	// The tag itself is refused from now on.
	f.out = filepath.Join(t.TempDir(), "second")
	f.ends(exitUnverified, "no signature", "pull", f.ref("v1"), f.out, "--verify", "--key", f.trust)
}

// A signature is good wherever the version has been copied to.
func TestSignatureOfMirror(t *testing.T) {
	f := newForger(t, testreg.Options{})
	mirror := f.repository("mirror/model")
	copied := f.model(mirror, "v1", "0123456789")
	f.attach(mirror, copied, f.bundle(signaturePred, f.signed.Digest))
	f.verdict(exitOK, "", f.reg.Host+"/mirror/model:v1")
}
