package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// An island is a hub that no request leaves.
func island(t *testing.T) *hub.Hub {
	t.Helper()
	client, err := remote.New(remote.Options{
		AuthFile:  filepath.Join(t.TempDir(), "config.json"),
		Transport: refuses{func(r *http.Request) { t.Errorf("offline, and asked for %s %s", r.Method, r.URL) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return hub.New(hub.Options{Remote: client})
}

// refuses is a network that is not there.
type refuses struct{ tell func(*http.Request) }

func (r refuses) RoundTrip(req *http.Request) (*http.Response, error) {
	r.tell(req)
	return nil, net.ErrClosed
}

func trustKey(p party) hub.TrustFile {
	return hub.TrustFile{Kind: hub.TrustKey, Name: "key.pub", Raw: p.signer.Public().PEM()}
}

// saved makes a bundle of two repositories, signed by alice, that carries files.
func (p pair) saved(files ...hub.TrustFile) (file string, f furnished, res *hub.BundleResult) {
	p.t.Helper()
	f = p.furnish("org/m", "v1")
	p.push("org/other:v2", "other")
	if _, err := p.Sign(p.t.Context(), p.ref("org/other:v2"), alice().signer, signing.SignOptions{}); err != nil {
		p.t.Fatal(err)
	}
	file = filepath.Join(p.t.TempDir(), "b.tar")
	res, err := p.SaveBundle(p.t.Context(), []ref.Reference{p.ref("org/m:v1"), p.ref("org/other:v2")}, file, hub.BundleOptions{
		CopyOptions: hub.CopyOptions{Trust: alice().trust}, TrustFiles: files,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return file, f, res
}

func TestBundle(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{NoReferrers: true})
	file, f, saved := p.saved(trustKey(alice()))
	if len(saved.Versions) != 2 || saved.Trust == nil || saved.Checked == 0 {
		t.Errorf("%+v", saved)
	}
	verified, err := island(t).VerifyBundle(t.Context(), file, hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: alice().trust}})
	if err != nil {
		t.Fatal(err)
	}
	if verified.TrustFrom != "flags" || verified.Manifests != saved.Manifests || verified.Trust.Digest != saved.Trust.Digest {
		t.Errorf("%+v", verified)
	}
	loaded, err := p.LoadBundle(t.Context(), file, ref.Reference{Host: p.other.Host, Repository: "mirror"}, hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: alice().trust}})
	if err != nil {
		t.Fatal(err)
	}
	arrived(t, p, "mirror/org/m", "v1", f)
	if _, err := p.Verify(t.Context(), p.to("mirror/org/other:v2"), *alice().trust, hub.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	if len(loaded.Versions) != 2 || loaded.Verified == nil {
		t.Errorf("%+v", loaded)
	}
}

func TestBundleTrust(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	file, _, saved := p.saved(trustKey(alice()))
	lying, _, _ := p.saved(trustKey(stranger()))
	silent, _, _ := p.saved()
	digestOf := digest.Digest(saved.Trust.Digest)
	trusting := func(p party) hub.BundleOptions {
		return hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: p.trust}}
	}
	tests := map[string]struct {
		file string
		opts hub.BundleOptions
		from string
		want error
	}{
		"its own key":          {file, hub.BundleOptions{}, "bundle", nil},
		"pinned":               {file, hub.BundleOptions{TrustDigest: digestOf}, "pinned", nil},
		"the caller's key":     {file, trusting(alice()), "flags", nil},
		"another key":          {file, trusting(stranger()), "flags", signing.ErrUntrusted},
		"pinned to others":     {lying, hub.BundleOptions{TrustDigest: digestOf}, "", hub.ErrBundleTrust},
		"pinned and none":      {silent, hub.BundleOptions{TrustDigest: digestOf}, "", hub.ErrBundleTrust},
		"a key that is not it": {lying, hub.BundleOptions{}, "bundle", signing.ErrUntrusted},
		"the caller knows":     {lying, trusting(alice()), "flags", nil},
		"nobody is trusted":    {silent, hub.BundleOptions{}, "none", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := island(t).VerifyBundle(t.Context(), tt.file, tt.opts)
			if !errors.Is(err, tt.want) {
				t.Errorf("VerifyBundle = %v, want %v", err, tt.want)
			}
			if tt.from != "" && res.TrustFrom != tt.from {
				t.Errorf("trust is from %s, want %s", res.TrustFrom, tt.from)
			}
			if err == nil && (res.Verified != nil) != (tt.from != "none") {
				t.Errorf("verified = %+v", res.Verified)
			}
			p.other.Reset()
			_, err = p.LoadBundle(t.Context(), tt.file, ref.Reference{Host: p.other.Host}, tt.opts)
			if !errors.Is(err, tt.want) {
				t.Errorf("LoadBundle = %v, want %v", err, tt.want)
			}
			if n, tags := p.pushed(); tt.want != nil && (n > 0 || len(tags) > 0) {
				t.Errorf("refused, and %d bytes and the tags %v were written", n, tags)
			}
		})
	}
}

// TestBundlePolicy carries a policy that names the sender's repositories.
func TestBundlePolicy(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	rules := func(glob string, who party) hub.TrustFile {
		return hub.TrustFile{Kind: hub.TrustPolicy, Name: "policy.yaml", Raw: fmt.Appendf(nil,
			"apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: models\nspec:\n  images: [{glob: %q}]\n  authorities:\n  - name: team\n    key: {data: %q}\n",
			glob, who.signer.Public().PEM())}
	}
	good, _, _ := p.saved(rules(p.srv.Host+"/**", alice()))
	bad, _, _ := p.saved(rules(p.srv.Host+"/**", stranger()))
	elsewhere, _, _ := p.saved(rules("elsewhere.example/**", alice()))
	for file, want := range map[string]error{good: nil, bad: policy.ErrRefused, elsewhere: policy.ErrRefused} {
		res, err := island(t).VerifyBundle(t.Context(), file, hub.BundleOptions{})
		if !errors.Is(err, want) || err == nil && !strings.HasPrefix(res.Verified.Policy, "models@sha256:") {
			t.Errorf("VerifyBundle = %+v, %v; want %v", res, err, want)
		}
		if _, err := p.LoadBundle(t.Context(), file, ref.Reference{Host: p.other.Host, Repository: "x"}, hub.BundleOptions{}); !errors.Is(err, want) {
			t.Errorf("LoadBundle = %v, want %v", err, want)
		}
	}
	// A policy of the one who loads speaks of where it is loaded to.
	mine, err := policy.Parse(rules(p.other.Host+"/y/**", alice()).Raw)
	if err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]error{"y": nil, "z": policy.ErrRefused} {
		opts := hub.BundleOptions{Policies: []*policy.Policy{mine}}
		if _, err := p.LoadBundle(t.Context(), bad, ref.Reference{Host: p.other.Host, Repository: prefix}, opts); !errors.Is(err, want) {
			t.Errorf("load below %s: %v, want %v", prefix, err, want)
		}
	}
}

// TestBundleDamaged flips a byte of each member in turn: no bundle may pass.
func TestBundleDamaged(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	file, _, _ := p.saved(trustKey(alice()))
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	l, err := layout.OpenTar(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opts := hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: alice().trust}}
	seen := 0
	err = l.Blobs(func(dgst digest.Digest, size int64) error {
		raw, err := content.FetchAll(t.Context(), l, ocispec.Descriptor{Digest: dgst, Size: size})
		if err != nil || size == 0 {
			return err
		}
		at := strings.Index(string(good), string(raw))
		if at < 0 || size < 100 { // short ones can be found elsewhere
			return nil
		}
		seen++
		bad := slices.Clone(good)
		bad[at+int(size)/2] ^= 1
		damaged := filepath.Join(t.TempDir(), "damaged.tar")
		if err := os.WriteFile(damaged, bad, 0o644); err != nil {
			return err
		}
		if _, err := island(t).VerifyBundle(t.Context(), damaged, opts); err == nil {
			t.Errorf("%s of %d bytes is damaged, and nobody noticed", dgst, size)
		}
		return nil
	})
	if err != nil || seen < 8 {
		t.Errorf("%d blobs, %v", seen, err)
	}
}

// TestBundleUnsigned has a bundle with a version more that nobody signed, without
// a tag.
func TestBundleUnsigned(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.furnish("org/m", "v1")
	stray := p.push("org/m:stray", "stray")
	file := filepath.Join(t.TempDir(), "b.tar")
	refs := []ref.Reference{p.ref("org/m:v1"), p.ref("org/m@" + stray.Digest)}
	if _, err := p.SaveBundle(t.Context(), refs, file, hub.BundleOptions{}); err != nil {
		t.Fatal(err)
	}
	opts := hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: alice().trust}}
	_, err := island(t).VerifyBundle(t.Context(), file, opts)
	wantErr(t, err, signing.ErrNoSignature)
	_, err = p.LoadBundle(t.Context(), file, p.to("m"), opts)
	wantErr(t, err, signing.ErrNoSignature)
	if n, _ := p.pushed(); n > 0 {
		t.Errorf("%d bytes were written", n)
	}
}

// TestBundleBases carries what a signed version says that it was made of.
func TestBundleBases(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	base := p.push("base/b:v1", "base")
	_, err := p.Push(t.Context(), dir(t, files{"a.txt": "tuned"}), p.ref("org/m:v1"), hub.PushOptions{Signer: alice().signer, Annotations: map[string]string{
		ocispec.AnnotationBaseImageName: p.srv.Host + "/base/b", ocispec.AnnotationBaseImageDigest: base.Digest,
		mediatypes.AnnotationAuthor: "alice",
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.tar")
	opts := hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: alice().trust, WithBases: true}}
	if _, err := p.SaveBundle(t.Context(), []ref.Reference{p.ref("org/m:v1")}, file, opts); err != nil {
		t.Fatal(err)
	}
	if _, err := p.LoadBundle(t.Context(), file, ref.Reference{Host: p.other.Host}, opts); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Resolve(t.Context(), p.to("base/b@"+base.Digest)); err != nil {
		t.Error(err)
	}
	if _, err := p.Resolve(t.Context(), p.to("org/m:v1")); err != nil {
		t.Error(err)
	}
}

// tuned pushes a version that says that it was made of another.
func (p pair) tuned(name, base string, signer *signing.Signer) *hub.PushResult {
	p.t.Helper()
	repository, dgst, _ := strings.Cut(base, "@")
	res, err := p.Push(p.t.Context(), dir(p.t, files{"a.txt": "tuned " + name}), p.ref(name), hub.PushOptions{Signer: signer, Annotations: map[string]string{
		ocispec.AnnotationBaseImageName: p.srv.Host + "/" + repository, ocispec.AnnotationBaseImageDigest: dgst,
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	return res
}

// TestBundleSkips has versions that nobody signed come along with those whose tags
// are taken.
func TestBundleSkips(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	base := p.push("org/m:base", "base").Digest
	p.tuned("org/m:unsigned", "org/m@"+base, nil)
	p.tuned("org/m:signed", "org/m@"+base, alice().signer)
	p.tuned("org/m:more", "org/m@"+base, alice().signer)
	p.push("org/m:theirs", "theirs")
	tests := map[string]struct {
		tags, taken []string
		rule        hub.Conflict
		based       bool // the base arrives
		want        error
	}{
		"unsigned":                 {tags: []string{"unsigned"}, want: signing.ErrNoSignature},
		"unsigned, taken over":     {tags: []string{"unsigned"}, taken: []string{"unsigned"}, rule: hub.ConflictOverwrite, want: signing.ErrNoSignature},
		"unsigned, skipped":        {tags: []string{"unsigned"}, taken: []string{"unsigned"}, rule: hub.ConflictSkip},
		"signed, skipped":          {tags: []string{"signed"}, taken: []string{"signed"}, rule: hub.ConflictSkip},
		"unsigned, another signed": {tags: []string{"unsigned", "more"}, taken: []string{"unsigned"}, rule: hub.ConflictSkip, based: true},
		"both skipped":             {tags: []string{"unsigned", "more"}, taken: []string{"unsigned", "more"}, rule: hub.ConflictSkip},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			refs := []ref.Reference{p.ref("org/m@" + base)}
			for _, tag := range tt.tags {
				refs = append(refs, p.ref("org/m:"+tag))
			}
			file := filepath.Join(t.TempDir(), "b.tar")
			if _, err := p.SaveBundle(t.Context(), refs, file, hub.BundleOptions{}); err != nil {
				t.Fatal(err)
			}
			to := strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "-")
			for _, tag := range tt.taken {
				if _, err := p.Copy(t.Context(), p.ref("org/m:theirs"), p.to(to+":"+tag), hub.CopyOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			res, err := p.LoadBundle(t.Context(), file, p.to(to), hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: alice().trust, OnConflict: tt.rule}})
			wantErr(t, err, tt.want)
			if _, err := p.Resolve(t.Context(), p.to(to+"@"+base)); (err == nil) != tt.based {
				t.Errorf("the base has arrived: %v; want %t", err, tt.based)
			}
			if err != nil {
				return
			}
			if len(res.Versions) != len(tt.tags)-len(tt.taken) {
				t.Errorf("loaded: %+v", res.Versions)
			}
			if said := strings.Contains(strings.Join(res.Notes, "\n"), "skipped "+base); said == tt.based {
				t.Errorf("notes: %q", res.Notes)
			}
		})
	}
}

// TestBundleListedTwice has a version with a tag, which nobody signed, and which a
// signed one names, listed without its tag first.
func TestBundleListedTwice(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	base := p.push("org/m:base", "base").Digest
	p.tuned("org/m:signed", "org/m@"+base, alice().signer)
	file := filepath.Join(t.TempDir(), "b.tar")
	if _, err := p.SaveBundle(t.Context(), []ref.Reference{p.ref("org/m:base"), p.ref("org/m:signed")}, file, hub.BundleOptions{}); err != nil {
		t.Fatal(err)
	}
	twice := relist(t, file, func(list []ocispec.Descriptor) []ocispec.Descriptor {
		at := slices.IndexFunc(list, func(d ocispec.Descriptor) bool { return d.Digest.String() == base })
		bare := list[at]
		bare.Annotations = maps.Clone(bare.Annotations)
		delete(bare.Annotations, ocispec.AnnotationRefName)
		return slices.Insert(list, 0, bare)
	})
	_, err := p.LoadBundle(t.Context(), twice, p.to("m"), hub.BundleOptions{CopyOptions: hub.CopyOptions{Trust: alice().trust}})
	wantErr(t, err, signing.ErrNoSignature)
	if n, tags := p.pushed(); n > 0 || len(tags) > 0 {
		t.Errorf("%d bytes and the tags %v were written", n, tags)
	}
}

// relist writes an archive again, with another index.json.
func relist(t *testing.T, file string, change func([]ocispec.Descriptor) []ocispec.Descriptor) string {
	t.Helper()
	l, err := layout.OpenTar(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	entries, err := l.Entries()
	if err != nil {
		t.Fatal(err)
	}
	var c layout.Contents
	for _, e := range entries {
		c.Index = append(c.Index, e.Descriptor)
	}
	c.Index = change(c.Index)
	err = l.Blobs(func(dgst digest.Digest, size int64) error {
		c.Blobs = append(c.Blobs, ocispec.Descriptor{Digest: dgst, Size: size})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "relisted.tar")
	w, err := layout.CreateTar(out, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range c.Blobs {
		raw, err := content.FetchAll(t.Context(), l, b)
		if err == nil {
			err = w.Push(t.Context(), b, bytes.NewReader(raw))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Commit(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLoadBundleRefuses(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	file, _, _ := p.saved()
	for name, dst := range map[string]ref.Reference{
		"a tag":    p.to("m:v1"),
		"a layout": {Scheme: ref.SchemeLayout, Repository: t.TempDir()},
	} {
		if _, err := p.LoadBundle(t.Context(), file, dst, hub.BundleOptions{}); !errors.Is(err, hub.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := p.SaveBundle(t.Context(), []ref.Reference{p.ref("org/m:v1")}, file, hub.BundleOptions{})
	wantErr(t, err, hub.ErrTaken)
}

// TestArchiveGoesOn stops a copy into an archive, and goes on with what there is.
func TestArchiveGoesOn(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	large := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	p.push("org/m:v1", large)
	layer := p.layer("org/m", "v1")
	ctx, cancel := context.WithCancel(t.Context())
	p.srv.Add(testreg.Rule{Method: "GET", Path: "/blobs/" + layer.Digest.String(), To: 1, Do: testreg.Cut(12 << 20)})
	p.srv.Add(testreg.Rule{Method: "GET", Path: "/blobs/" + layer.Digest.String(), To: 100, Do: func(x testreg.Exchange) {
		cancel()
		testreg.Reset()(x)
	}})
	file := filepath.Join(t.TempDir(), "x.tar")
	dst := ref.Reference{Scheme: ref.SchemeFile, Repository: file}
	if _, err := p.Copy(ctx, p.ref("org/m:v1"), dst, hub.CopyOptions{}); err == nil {
		t.Fatal("it was not stopped")
	}
	if _, err := os.Lstat(file); err == nil {
		t.Fatal("half an archive has its name")
	}
	p.srv.Reset()
	if _, err := p.Copy(t.Context(), p.ref("org/m:v1"), dst, hub.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := p.served(); n > 9<<20 {
		t.Errorf("%d bytes were fetched again", n)
	}
	if _, err := island(t).VerifyBundle(t.Context(), file, hub.BundleOptions{}); err != nil {
		t.Error(err)
	}
	leftovers(t, filepath.Dir(file))
}

// TestIdentitiesSurvive writes and reads identities, and refuses what is not known.
func TestIdentitiesSurvive(t *testing.T) {
	want := []signing.Identity{{Issuer: "https://accounts.example", Subject: "a@example.com"}, {Issuer: "https://x", SubjectRegexp: "^a.*$"}}
	raw, err := hub.FormatIdentities(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := hub.ParseIdentities(raw)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range []string{`{}`, `[{"issuer":"https://x"}]`, `[{"issuer":"https://x","subject":"y","onlyOnTuesdays":true}]`, `[{"issuer":"https://x","subject":"y","subject":"z"}]`} {
		if ids, err := hub.ParseIdentities(json.RawMessage(bad)); err == nil {
			t.Errorf("%s: %+v", bad, ids)
		}
	}
}
