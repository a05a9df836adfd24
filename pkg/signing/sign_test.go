package signing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/signing"
)

func mustSign(t testing.TB, r *fakeRepo, m signing.Target, k *testKey, opts signing.SignOptions) []ocispec.Descriptor {
	t.Helper()
	made, err := signing.Sign(t.Context(), r, m, k.signer, opts)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func mustVerify(t testing.TB, r *fakeRepo, m signing.Target, keys ...*testKey) *signing.Report {
	t.Helper()
	var trust signing.Trust
	for _, k := range keys {
		trust.Keys = append(trust.Keys, k.key)
	}
	report, err := signing.Verify(t.Context(), r, m, trust)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestSign(t *testing.T) {
	tests := map[string]struct {
		format  signing.Format
		formats []signing.Format // in which a verifier finds it
	}{
		"bundle":  {signing.Bundle, []signing.Format{signing.Bundle}},
		"classic": {signing.Classic, []signing.Format{signing.Classic}},
		"both":    {signing.Both, []signing.Format{signing.Bundle, signing.Classic}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			opts := signing.SignOptions{Format: tt.format, Annotations: map[string]string{"b": "2", "a": "<1>"}}
			made := mustSign(t, r, model, alice(), opts)
			if len(made) != len(tt.formats) {
				t.Errorf("Sign made %v, want %d manifests", made, len(tt.formats))
			}
			for _, desc := range made {
				if raw := r.blobs[desc.Digest]; digest.FromBytes(raw) != desc.Digest || int64(len(raw)) != desc.Size {
					t.Errorf("manifest %v was not written", desc)
				}
			}
			if got := mustVerify(t, r, model, alice()).Signers[0].Format; got != tt.formats[0] {
				t.Errorf("found in %v, want %v", got, tt.formats[0])
			}
			written := r.written
			if again := mustSign(t, r, model, alice(), opts); len(again) > 0 || r.written != written {
				t.Errorf("signing again made %v and wrote %d things, want nothing", again, r.written-written)
			}
			opts.Again = true
			if again := mustSign(t, r, model, alice(), opts); len(again) != len(tt.formats) {
				t.Errorf("signing once more as asked made %v, want %d manifests", again, len(tt.formats))
			}
			if n := len(mustVerify(t, r, model, alice()).Signers); n != 1 {
				t.Errorf("two signatures by one key are %d signers", n)
			}
			opts.Again = false
			if other := mustSign(t, r, model, alice(), signing.SignOptions{Format: tt.format}); len(other) != len(tt.formats) {
				t.Errorf("signing with other annotations made %v, want a signature of its own", other)
			}
			mustSign(t, r, model, mallory(), opts)
			if report := mustVerify(t, r, model, alice(), mallory()); len(report.Signers) != 2 {
				t.Errorf("signers = %v, want both", report.Signers)
			}
		})
	}
}

// The manifest is the one that cosign writes.
func TestSignReferrer(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	made := mustSign(t, r, model, alice(), signing.SignOptions{})
	var got ocispec.Manifest
	if err := json.Unmarshal(r.blobs[made[0].Digest], &got); err != nil {
		t.Fatal(err)
	}
	want := ocispec.Manifest{
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: bundleType,
		Config: ocispec.Descriptor{
			MediaType: emptyType, ArtifactType: bundleType, Size: 2,
			Digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
		},
		Layers:  []ocispec.Descriptor{{MediaType: bundleType, Digest: got.Layers[0].Digest, Size: got.Layers[0].Size}},
		Subject: &model.Descriptor,
		Annotations: map[string]string{
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": signType,
			"org.opencontainers.image.created":  got.Annotations["org.opencontainers.image.created"],
		},
	}
	want.SchemaVersion = 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if _, ok := r.blobs[want.Config.Digest]; !ok {
		t.Error("the config blob was not written")
	}
}

func TestSignStatement(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	made := mustSign(t, r, model, alice(), signing.SignOptions{Annotations: map[string]string{"stage": "prod"}})
	var m ocispec.Manifest
	var bundle struct {
		DSSEEnvelope struct {
			Payload     []byte
			PayloadType string
		}
	}
	if err := json.Unmarshal(r.blobs[made[0].Digest], &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.blobs[m.Layers[0].Digest], &bundle); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":%q,"digest":{"sha256":%q},"annotations":{"stage":"prod"}}],"predicateType":%q,"predicate":{}}`,
		host, model.Descriptor.Digest.Encoded(), signType)
	if got := string(bundle.DSSEEnvelope.Payload); got != want {
		t.Errorf("statement =\n%s, want\n%s", got, want)
	}
	if bundle.DSSEEnvelope.PayloadType != inToto {
		t.Errorf("payload type = %q", bundle.DSSEEnvelope.PayloadType)
	}
}

// A signature image that somebody else made keeps all it had.
func TestSignClassicAppends(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	p := payload(model.Descriptor.Digest)
	theirs := r.layer(t, p, mallory().sign(t, p))
	theirs.Annotations["dev.sigstore.cosign/certificate"] = "PEM"
	r.classic(t, model, theirs)

	mustSign(t, r, model, alice(), signing.SignOptions{Format: signing.Classic})
	_, raw, err := r.Manifest(t.Context(), classicTag(model))
	if err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != 2 {
		t.Fatalf("layers = %v, want theirs and ours", m.Layers)
	}
	if diff := cmp.Diff(theirs, m.Layers[0]); diff != "" {
		t.Errorf("their layer (-want +got):\n%s", diff)
	}
	var config ocispec.Image
	if err := json.Unmarshal(r.blobs[m.Config.Digest], &config); err != nil || m.Config.MediaType != ocispec.MediaTypeImageConfig {
		t.Errorf("config %v: %v", m.Config, err)
	}
	if got := config.RootFS.DiffIDs; len(got) == 0 || got[len(got)-1] != m.Layers[1].Digest {
		t.Errorf("diff ids = %v, want our layer last", got)
	}
}

// Somebody moves the tag just after we did: our signature is put back.
func TestSignClassicRace(t *testing.T) {
	t.Run("once", func(t *testing.T) {
		r := newFake()
		model := r.model(t, "model")
		r.tagged = func(string) {
			r.tagged = nil
			p := payload(model.Descriptor.Digest)
			r.classic(t, model, r.layer(t, p, mallory().sign(t, p)))
		}
		made := mustSign(t, r, model, alice(), signing.SignOptions{Format: signing.Classic})
		if report := mustVerify(t, r, model, alice(), mallory()); len(report.Signers) != 2 || len(made) != 1 {
			t.Errorf("signers = %v, made %v; want both signatures to stay", report.Signers, made)
		}
	})
	t.Run("for ever", func(t *testing.T) {
		r := newFake()
		model := r.model(t, "model")
		r.tagged = func(tag string) { delete(r.tags, tag) }
		_, err := signing.Sign(t.Context(), r, model, alice().signer, signing.SignOptions{Format: signing.Classic})
		if err == nil || r.written > 40 {
			t.Errorf("Sign error = %v after %d writes, want one that says it did not stay", err, r.written)
		}
	})
}

func TestSignRefuses(t *testing.T) {
	big := map[string]string{"a": string(make([]byte, signing.MaxBundleBytes))}
	full := func(t *testing.T, r *fakeRepo, m signing.Target) {
		r.attach(t, m, []byte("x"), nil)
		r.referrers[m.Descriptor.Digest] = repeat(r.referrers[m.Descriptor.Digest][0], signing.MaxReferrers)
		p := payload(m.Descriptor.Digest)
		r.classic(t, m, repeat(r.layer(t, p, mallory().sign(t, p)), signing.MaxClassic)...)
	}
	tests := map[string]struct {
		opts  signing.SignOptions
		setup func(*testing.T, *fakeRepo, signing.Target)
		err   error
	}{
		"unknown format":         {opts: signing.SignOptions{Format: 9}},
		"endless bundle":         {opts: signing.SignOptions{Annotations: big}},
		"endless payload":        {opts: signing.SignOptions{Format: signing.Classic, Annotations: big}},
		"too many referrers":     {setup: full, err: signing.ErrTooMany},
		"too many layers":        {opts: signing.SignOptions{Format: signing.Classic}, setup: full, err: signing.ErrTooMany},
		"list fails":             {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) { r.list = listFails }, err: errList},
		"signature tag no image": {opts: signing.SignOptions{Format: signing.Classic}, setup: tagOfRubbish},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			if tt.setup != nil {
				tt.setup(t, r, model)
			}
			r.written = 0
			made, err := signing.Sign(t.Context(), r, model, alice().signer, tt.opts)
			if err == nil || tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("Sign error = %v, want %v", err, tt.err)
			}
			if len(made) > 0 || r.written > 0 {
				t.Errorf("Sign made %v and wrote %d things in spite of the error", made, r.written)
			}
		})
	}
}

var errList = errors.New("503")

func listFails() ([]ocispec.Descriptor, error) { return nil, errList }

func tagOfRubbish(_ *testing.T, r *fakeRepo, m signing.Target) {
	r.manifest = func(reference string) (ocispec.Descriptor, []byte, error, bool) {
		return ocispec.Descriptor{}, []byte("rubbish"), nil, reference == classicTag(m)
	}
}

// Only bundles can be over a sha512: the classic tag would be too long.
func TestSignSHA512(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	model.Descriptor.Digest = digest.SHA512.FromBytes(r.blobs[model.Descriptor.Digest])
	mustSign(t, r, model, alice(), signing.SignOptions{})
	mustVerify(t, r, model, alice())

	other := model
	other.Descriptor.Digest = digest.SHA512.FromString("other")
	r.referrers[other.Descriptor.Digest] = r.referrers[model.Descriptor.Digest]
	if _, err := signing.Verify(t.Context(), r, other, trustAlice()); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("another sha512: Verify error = %v, want ErrUntrusted", err)
	}
	if _, err := signing.Sign(t.Context(), r, model, alice().signer, signing.SignOptions{Format: signing.Classic}); err == nil {
		t.Error("Sign made a classic signature of a sha512")
	}
}

func TestCount(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	otherReferrers(t, r, model)
	r.attach(t, model, []byte("scan"), func(m *ocispec.Manifest) {
		m.Annotations["dev.sigstore.bundle.predicateType"] = "https://example.com/scan"
	})
	count := func() int {
		t.Helper()
		n, err := signing.Count(t.Context(), r, model.Descriptor, r.referrers[model.Descriptor.Digest])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	got := []int{count()}
	for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
		mustSign(t, r, model, alice(), signing.SignOptions{Format: format})
		got = append(got, count())
	}
	if diff := cmp.Diff([]int{0, 1, 2}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	tagOfRubbish(t, r, model)
	if got := count(); got != 1 {
		t.Errorf("with rubbish behind the signature tag: %d, want 1", got)
	}
}

func TestResolve(t *testing.T) {
	index := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	manifest := modelManifest(t, "model")
	both := append(manifest[:len(manifest)-1:len(manifest)-1], `,"manifests":[]}`...)
	none := digest.FromString("")
	tests := map[string]struct {
		mediaType, reference string
		raw                  []byte
		digest               digest.Digest // "" for that of raw
		ok                   bool
	}{
		"manifest":                  {ocispec.MediaTypeImageManifest, "v1", manifest, "", true},
		"index":                     {ocispec.MediaTypeImageIndex, "v1", index, "", true},
		"by digest":                 {ocispec.MediaTypeImageManifest, digest.FromBytes(manifest).String(), manifest, "", true},
		"other bytes":               {ocispec.MediaTypeImageManifest, "v1", manifest, none, false},
		"another digest":            {ocispec.MediaTypeImageManifest, none.String(), manifest, "", false},
		"layers and manifests":      {ocispec.MediaTypeImageManifest, "v1", both, "", false},
		"index served as manifest":  {ocispec.MediaTypeImageManifest, "v1", index, "", false},
		"manifest served as index":  {ocispec.MediaTypeImageIndex, "v1", manifest, "", false},
		"served as Docker's":        {"application/vnd.docker.distribution.manifest.v2+json", "v1", manifest, "", false},
		"no digest":                 {ocispec.MediaTypeImageManifest, "v1", manifest, "md5:x", false},
		"no JSON":                   {ocispec.MediaTypeImageManifest, "v1", []byte("x"), "", false},
		"manifest of another world": {"text/html", "v1", manifest, "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			asked := 0
			r.manifest = func(string) (ocispec.Descriptor, []byte, error, bool) {
				asked++
				desc := ocispec.Descriptor{MediaType: tt.mediaType, Digest: tt.digest, Size: int64(len(tt.raw))}
				if desc.Digest == "" {
					desc.Digest = digest.FromBytes(tt.raw)
				}
				return desc, tt.raw, nil, true
			}
			target, raw, err := signing.Resolve(t.Context(), r, host, tt.reference)
			if asked != 1 {
				t.Errorf("asked %d times, want once", asked)
			}
			if !tt.ok {
				if err == nil {
					t.Errorf("Resolve = %v, want an error", target)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := signing.Target{Repository: host, Descriptor: ocispec.Descriptor{
				MediaType: tt.mediaType, Digest: digest.FromBytes(tt.raw), Size: int64(len(tt.raw)),
			}}
			if diff := cmp.Diff(want, target, cmpopts.EquateEmpty()); diff != "" || string(raw) != string(tt.raw) {
				t.Errorf("Resolve (-want +got):\n%s", diff)
			}
		})
	}
}

// The tag moves between resolving and verifying: what was resolved is what is
// verified, and the new one is never looked at.
func TestTagMoves(t *testing.T) {
	r := newFake()
	r.model(t, "v1")
	target, _, err := signing.Resolve(t.Context(), r, host, "v1")
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, r, target, alice(), signing.SignOptions{Format: signing.Both})
	moved := r.model(t, "v2")
	r.tags["v1"] = moved.Descriptor
	if report := mustVerify(t, r, target, alice()); len(report.Rejected) > 0 {
		t.Errorf("rejected: %v", report.Rejected)
	}
	moved, _, err = signing.Resolve(t.Context(), r, host, "v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.Verify(t.Context(), r, moved, trustAlice()); !errors.Is(err, signing.ErrNoSignature) {
		t.Errorf("Verify of what the tag is now: %v, want ErrNoSignature", err)
	}
}
