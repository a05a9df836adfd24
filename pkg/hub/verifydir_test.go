package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// aground is a hub that no registry can be reached with.
var aground = hub.New(hub.Options{})

// pullSigned pushes, signs and pulls a model, and returns the directory.
func (w *world) pullSigned(f files) string {
	w.t.Helper()
	name := w.ref("org/m:v1")
	if _, err := w.Push(w.t.Context(), dir(w.t, f), name, hub.PushOptions{}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Sign(w.t.Context(), name, alice().signer, signing.SignOptions{}); err != nil {
		w.t.Fatal(err)
	}
	out := filepath.Join(w.t.TempDir(), "out")
	if _, err := w.Pull(w.t.Context(), name, out, hub.PullOptions{Trust: alice().trust}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Small files share archives then, and what is in these is signed by the index
// that the manifest names.
func TestVerifyDirOfArchives(t *testing.T) {
	many := files{}
	for i := range 520 {
		many[fmt.Sprintf("parts/%03d.txt", i)] = fmt.Sprint(i)
	}
	out := newWorld(t).pullSigned(many)
	res, err := aground.VerifyDir(t.Context(), out, *alice().trust, hub.VerifyDirOptions{})
	if err != nil || !res.Verified || res.Files != 520 || res.ReadFiles != 520 {
		t.Fatalf("VerifyDir = %+v, %v", res, err)
	}
	write(t, filepath.Join(out, "parts", "007.txt"), "x")
	res, err = aground.VerifyDir(t.Context(), out, *alice().trust, hub.VerifyDirOptions{})
	wantErr(t, err, content.ErrMismatchedDigest)
	if diff := cmp.Diff([]string{"parts/007.txt"}, res.Changed); diff != "" || res.Verified {
		t.Errorf("verified = %t: %s", res.Verified, diff)
	}
}

// A signature of an index is one of what the index lists.
func TestVerifyDirOfIndex(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:one", "one")
	w.pushIndex("org/m", "index", "one")
	if _, err := w.Sign(t.Context(), w.ref("org/m:index"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := w.Pull(t.Context(), w.ref("org/m:index"), out, hub.PullOptions{Trust: alice().trust}); err != nil {
		t.Fatal(err)
	}
	if _, err := aground.VerifyDir(t.Context(), out, *alice().trust, hub.VerifyDirOptions{}); err != nil {
		t.Fatal(err)
	}
	// Another version under the signature of that index.
	w.push("org/m:two", "two")
	two := filepath.Join(t.TempDir(), "two")
	if _, err := w.Pull(t.Context(), w.ref("org/m:two"), two, hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(two, filepath.FromSlash(artifact.EvidenceFile)), w.forged(out, "two"))
	_, err := aground.VerifyDir(t.Context(), two, *alice().trust, hub.VerifyDirOptions{})
	wantErr(t, err, signing.ErrUntrusted)
}

// forged is what was kept in dir, with all that it takes to open another version
// of the repository.
func (w *world) forged(dir, tag string) string {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(artifact.EvidenceFile)))
	if err != nil {
		w.t.Fatal(err)
	}
	var kept map[string]any
	if err := json.Unmarshal(raw, &kept); err != nil {
		w.t.Fatal(err)
	}
	_, manifest := w.manifest("org/m", tag)
	m, err := mediatypes.ParseManifest(manifest)
	if err != nil {
		w.t.Fatal(err)
	}
	config, err := content.FetchAll(w.t.Context(), w.repo("org/m"), m.Config)
	if err != nil {
		w.t.Fatal(err)
	}
	kept["blobs"].(map[string]any)[m.Config.Digest.String()] = config
	text, err := json.Marshal(kept)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// What a policy asked for is kept as what a key did.
func TestVerifyDirAfterPolicy(t *testing.T) {
	w := newWorld(t)
	g := guard(t, w, "")
	w.push("org/m:v1", "text")
	g.sign("org/m:v1", g.signer)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := g.admits.Pull(t.Context(), w.ref("org/m:v1"), out, hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	trust := signing.Trust{Keys: []*signing.PublicKey{g.signer.Public()}}
	if _, err := aground.VerifyDir(t.Context(), out, trust, hub.VerifyDirOptions{}); err != nil {
		t.Error(err)
	}
}

// Others may attach what they like: a pull keeps what counted.
func TestPullKeepsWhatCounted(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	for _, p := range []party{stranger(), alice()} {
		if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), p.signer, signing.SignOptions{Format: signing.Both}); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := w.Pull(t.Context(), w.ref("org/m:v1"), out, hub.PullOptions{Trust: alice().trust}); err != nil {
		t.Fatal(err)
	}
	_, err := aground.VerifyDir(t.Context(), out, *stranger().trust, hub.VerifyDirOptions{})
	wantErr(t, err, signing.ErrUntrusted)
	res, err := aground.VerifyDir(t.Context(), out, *alice().trust, hub.VerifyDirOptions{})
	if err != nil || len(res.Signers) != 1 {
		t.Errorf("VerifyDir = %+v, %v", res, err)
	}
}

func TestPullOfPlanKeepsNothing(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	if _, err := w.PlanPull(t.Context(), w.ref("org/m:v1"), filepath.Join(parent, "out"), hub.PullOptions{Trust: alice().trust}); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, parent)
}

// An artifact that was taken for what it is made of is compared as that.
func TestVerifyDirOfRaw(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := w.Pull(t.Context(), w.ref("org/m:v1"), out, hub.PullOptions{Trust: alice().trust, Raw: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := aground.VerifyDir(t.Context(), out, *alice().trust, hub.VerifyDirOptions{}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(out, artifact.RawConfig), "{}")
	_, err := aground.VerifyDir(t.Context(), out, *alice().trust, hub.VerifyDirOptions{})
	wantErr(t, err, content.ErrMismatchedDigest)
}

// Whatever lies beside the files, the digests of a repository made of it are
// those of its bytes, and nothing is signed that alice has not signed.
func FuzzProof(f *testing.F) {
	key := alice().trust
	good := []byte(`{"version":1,"repository":"example.com/m","signed":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"referrers":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}],"tags":{},"blobs":{"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a":"e30="}}`)
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("e30="), []byte("e31="), 1))
	f.Add(bytes.Replace(good, []byte(`"tags":{}`), []byte(`"tags":{"sha256-44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a.sig":{"digest":"md5:x","size":-1}}`), 1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		repo, target, err := hub.ParseProof(raw)
		if err != nil {
			return
		}
		desc, bytes, err := repo.Manifest(context.Background(), target.Descriptor.Digest.String())
		if err == nil && (desc.Digest != target.Descriptor.Digest || desc.Digest.Algorithm().FromBytes(bytes) != desc.Digest) {
			t.Fatalf("%s is %q", desc.Digest, bytes)
		}
		if report, err := signing.Verify(t.Context(), repo, target, *key); err == nil {
			text, _ := json.Marshal(report)
			t.Fatalf("verified: %s", text)
		}
	})
}

// A signature of other files is not brought, whoever made it, nor one that is
// not by a trusted party.
func TestPullRefusesModelSignature(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.push("org/m:v2", "two")
	ctx := t.Context()
	if _, err := w.SignFiles(ctx, w.ref("org/m:v1"), alice().signer); err != nil {
		t.Fatal(err)
	}
	one, two := w.repo("org/m"), signing.Target{Repository: w.srv.Host + "/org/m"}
	two.Descriptor, _ = w.manifest("org/m", "v2")
	first := signing.Target{Repository: two.Repository}
	first.Descriptor, _ = w.manifest("org/m", "v1")
	for raw, err := range signing.DetachedOf(ctx, one, first, oms.PredicateType) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signing.AttachDetached(ctx, one, two, raw, oms.PredicateType); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		ref   string
		trust *signing.Trust
		want  error
	}{
		"of another version":             {"org/m:v2", nil, signing.ErrUntrusted},
		"of another version and trusted": {"org/m:v2", alice().trust, signing.ErrUntrusted},
		"by somebody else":               {"org/m:v1", stranger().trust, signing.ErrUntrusted},
	} {
		parent := t.TempDir()
		if tt.trust != nil { // the version itself is trusted
			p := alice()
			if name == "by somebody else" {
				p = stranger()
			}
			if _, err := w.Sign(ctx, w.ref(tt.ref), p.signer, signing.SignOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.Pull(ctx, w.ref(tt.ref), filepath.Join(parent, "out"), hub.PullOptions{OMS: true, Trust: tt.trust})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error = %v, want %v", name, err, tt.want)
		}
		wantEmpty(t, parent)
	}
}

// What is signed without reading is what signing the directory gives.
func TestSignFilesReadsNone(t *testing.T) {
	w := newWorld(t)
	many := files{".gitattributes": "x"}
	for i := range 520 {
		many[fmt.Sprintf("parts/%03d.txt", i)] = fmt.Sprint(i)
	}
	from := dir(t, many)
	if _, err := w.Push(t.Context(), from, w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	signed, err := w.SignFiles(t.Context(), w.ref("org/m:v1"), alice().signer)
	if err != nil {
		t.Fatal(err)
	}
	here, err := aground.SignDir(t.Context(), from, alice().signer, hub.SignDirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if signed.ModelSignature != here.Digest || here.Files != 520 {
		t.Errorf("the version's files are %s, the directory's %s of %d", signed.ModelSignature, here.Digest, here.Files)
	}
}
