package hub_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// kit pushes a ModelKit whose only layer is an archive with a pickle in it.
func kit(t *testing.T, w *world, name string, packed bool) ref.Reference {
	t.Helper()
	layer := testLayer{"application/vnd.kitops.modelkit.model.v1.tar", tarball(t, "weights/", "", "weights/w.pkl", evil)}
	if packed {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(layer.data); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		layer = testLayer{layer.mediaType + "+gzip", b.Bytes()}
	}
	pushForeign(t, w.client, w.srv.Host+"/"+name, foreign{
		mediaType: ocispec.MediaTypeImageManifest, config: mediatypes.ConfigModelKit,
		configData: `{"manifestVersion":"1.0.0","package":{},"model":{"path":"weights"}}`, layers: []testLayer{layer},
	})
	return w.ref(name + ":latest")
}

// Archives of other tools are looked into, and those that are compressed are not
// safe only because they are closed.
func TestScanForeign(t *testing.T) {
	w := newWorld(t)
	plain, packed := kit(t, w, "theirs/plain", false), kit(t, w, "theirs/packed", true)
	tests := map[string]struct {
		r        ref.Reference
		opts     hub.ScanOptions
		verdict  scan.Verdict
		rule     string
		verified bool
	}{
		"plain":         {plain, hub.ScanOptions{}, scan.Dangerous, "weights/w.pkl: pickle-dangerous-import", false},
		"plain, whole":  {plain, hub.ScanOptions{Whole: true}, scan.Dangerous, "weights/w.pkl: pickle-dangerous-import", true},
		"packed":        {packed, hub.ScanOptions{}, scan.Unscannable, "weights: archive-closed", false},
		"packed, whole": {packed, hub.ScanOptions{Whole: true}, scan.Dangerous, "weights/w.pkl: pickle-dangerous-import", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := w.Scan(t.Context(), tt.r, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if res.Verdict != tt.verdict || res.Verified != tt.verified || !slices.Equal(rulesOf(res.Findings), []string{tt.rule}) {
				t.Errorf("verdict %s, verified %t, %v", res.Verdict, res.Verified, rulesOf(res.Findings))
			}
		})
	}
}

// Import looks into archives that it takes over.
func TestImportScansArchives(t *testing.T) {
	w := newWorld(t)
	plain, packed := kit(t, w, "theirs/plain", false), kit(t, w, "theirs/packed", true)
	_, err := w.Import(t.Context(), "oci://"+plain.String(), w.ref("ours/plain:v1"), hub.ImportOptions{})
	if se, ok := errors.AsType[*hub.ScanError](err); !ok || se.Op != "import" {
		t.Errorf("Import = %v, want a refusal", err)
	}
	res, err := w.Import(t.Context(), "oci://"+packed.String(), w.ref("ours/packed:v1"), hub.ImportOptions{})
	if err != nil || !strings.Contains(strings.Join(res.Notes, "\n"), "not looked at") {
		t.Errorf("Import = %+v, %v, want a note", res, err)
	}
}

// Nothing is signed that has not been verified, and what is signed is what was
// found, of the version that was asked about.
func TestScanAttaches(t *testing.T) {
	w := newWorld(t)
	r := kit(t, w, "theirs/plain", false)
	key, pub, err := signing.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signing.LoadSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.Scan(t.Context(), r, hub.ScanOptions{Signer: signer, Version: "v1.2.3"})
	if err != nil || !res.Verified || res.Verdict != scan.Dangerous || res.Attestation == "" {
		t.Fatalf("Scan = %+v, %v", res, err)
	}
	public, err := signing.LoadPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	v, err := w.Verify(t.Context(), r, signing.Trust{Keys: []*signing.PublicKey{public}},
		hub.VerifyOptions{Attestations: []string{"https://cosign.sigstore.dev/attestation/vuln/v1"}, AttestationsOnly: true})
	if err != nil || len(v.Attestations) != 1 {
		t.Fatalf("Verify = %+v, %v", v, err)
	}
	var p struct {
		Scanner struct {
			URI, Version string
			Result       scan.Report
		}
		Metadata struct {
			Started  string `json:"scanStartedOn"`
			Finished string `json:"scanFinishedOn"`
		}
	}
	if err := json.Unmarshal(v.Attestations[0].Predicate, &p, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(res.Report, p.Scanner.Result); diff != "" || p.Scanner.Version != "v1.2.3" || p.Metadata.Started == "" || p.Metadata.Finished < p.Metadata.Started {
		t.Errorf("attested %+v (-found +attested):\n%s", p, diff)
	}
}

// Other bytes than the version's are an error, and not a finding or a pass.
func TestScanRefusesWrongBytes(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Push(t.Context(), modelOf(t, map[string]string{"a.pkl": "\x80\x04N."}), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Method: "GET", Path: "/blobs/", Do: testreg.FlipBit(1)})
	for _, opts := range []hub.ScanOptions{{}, {Whole: true}} {
		if res, err := w.Scan(t.Context(), w.ref("org/m:v1"), opts); err == nil {
			t.Errorf("Scan of flipped bytes = %+v", res)
		}
	}
}

// A version that no policy admits yet can be scanned: the report may be what the
// policy waits for.
func TestScanAsksNoPolicy(t *testing.T) {
	g := guard(t, newWorld(t), "")
	g.push("org/m:v1", "hello")
	if err := g.uses("org/m:v1")["cat"](); err == nil {
		t.Fatal("the policy admits a version that nobody signed")
	}
	if res, err := g.admits.Scan(t.Context(), g.ref("org/m:v1"), hub.ScanOptions{}); err != nil || res.Verdict != scan.Safe {
		t.Errorf("Scan = %+v, %v", res, err)
	}
}

// A policy that wants a report takes the one that a scan attaches, if it is
// clean.
func TestScanSatisfiesPolicy(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/model: |\n      scan: {maxAge: 1d}\n")
	for name, tt := range map[string]struct {
		text  string
		clean bool
	}{"clean": {"hello", true}, "dirty": {"{{ x.__class__ }}", false}} {
		t.Run(name, func(t *testing.T) {
			ref := "org/" + name + ":v1"
			dir := modelOf(t, map[string]string{"notes.txt": "x", "chat_template.jinja": tt.text})
			if _, err := g.Push(t.Context(), dir, g.ref(ref), hub.PushOptions{AllowUnsafe: true}); err != nil {
				t.Fatal(err)
			}
			g.sign(ref, g.signer)
			if err := g.uses(ref)["cat"](); err == nil {
				t.Error("admitted without a report")
			}
			if _, err := g.admits.Scan(t.Context(), g.ref(ref), hub.ScanOptions{Signer: g.signer}); err != nil {
				t.Fatal(err)
			}
			if err := g.uses(ref)["cat"](); (err == nil) != tt.clean {
				t.Errorf("with the report: %v, want admission: %t", err, tt.clean)
			}
		})
	}
}
