package hub_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// pair are two registries, and one user of both.
type pair struct {
	*world
	other *testreg.Server
}

func newPair(t *testing.T, src, dst testreg.Options) pair {
	return pair{newWorldWith(t, src), testreg.New(t, dst)}
}

// to reads a reference in the other registry.
func (p pair) to(s string) ref.Reference { return reference(p.t, p.other.Host+"/"+s) }

func reference(t *testing.T, s string) ref.Reference {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pushed reads what a PUT of the other registry has got: how many bytes of blobs,
// and which tags.
func (p pair) pushed() (bytes int64, tags []string) {
	for _, r := range p.other.Requests() {
		if r.Method == http.MethodPut || r.Method == http.MethodPatch {
			if strings.Contains(r.Path, "/blobs/uploads/") {
				bytes += r.BytesIn
			} else if _, name, ok := strings.Cut(r.Path, "/manifests/"); ok && !strings.Contains(name, ":") {
				tags = append(tags, name)
			}
		}
	}
	return bytes, tags
}

// affix attaches a manifest of one layer to a subject.
func (w *world) affix(name, artifactType, text string, subject ocispec.Descriptor) ocispec.Descriptor {
	w.t.Helper()
	repo := w.repo(name)
	layer := content.NewDescriptorFromBytes("text/plain", []byte(text))
	for _, blob := range []string{text, "{}"} {
		if err := repo.Push(w.t.Context(), content.NewDescriptorFromBytes("text/plain", []byte(blob)), strings.NewReader(blob)); err != nil {
			w.t.Fatal(err)
		}
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := repo.PushReferrer(w.t.Context(), raw, subject); err != nil {
		w.t.Fatal(err)
	}
	return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
}

// A furnished version has all that can be attached to one: signatures in both
// layouts, a card, and something attached to the card.
type furnished struct {
	desc       ocispec.Descriptor
	card, note ocispec.Descriptor
}

func (w *world) furnish(name, tag string) furnished {
	w.t.Helper()
	model := dir(w.t, files{"config.json": `{"model_type":"bert"}`, "notes.txt": "the " + name, "empty": ""})
	if _, err := w.Push(w.t.Context(), model, w.ref(name+":"+tag), hub.PushOptions{}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Sign(w.t.Context(), w.ref(name+":"+tag), alice().signer, signing.SignOptions{Format: signing.Both}); err != nil {
		w.t.Fatal(err)
	}
	f := furnished{}
	f.desc, _ = w.manifest(name, tag)
	f.card = w.affix(name, "application/vnd.modelreg.card.v1", "the card", f.desc)
	f.note = w.affix(name, "application/vnd.example.note.v1", "a note on the card", f.card)
	return f
}

// arrived looks for all that is furnished at a place, in both ways.
func arrived(t *testing.T, p pair, name, tag string, f furnished) {
	t.Helper()
	repo, err := p.client.Repository(p.other.Host + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if desc, err := repo.Resolve(t.Context(), tag); err != nil || desc.Digest != f.desc.Digest {
		t.Errorf("tag %s = %s, %v; want %s", tag, desc.Digest, err, f.desc.Digest)
	}
	for _, digests := range []struct {
		of   ocispec.Descriptor
		want []digest.Digest
	}{{f.desc, []digest.Digest{f.card.Digest}}, {f.card, []digest.Digest{f.note.Digest}}} {
		list, err := repo.Referrers(t.Context(), digests.of, "")
		if err != nil {
			t.Fatal(err)
		}
		_, raw, err := repo.Manifest(t.Context(), "sha256-"+digests.of.Digest.Encoded())
		if err != nil {
			t.Fatalf("fallback tag: %v", err)
		}
		index, err := mediatypes.ParseIndex(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range digests.want {
			for how, list := range map[string][]ocispec.Descriptor{"Referrers": list, "fallback tag": index.Manifests} {
				if !slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == want }) {
					t.Errorf("%s: %s is not attached to %s", how, want, digests.of.Digest)
				}
			}
		}
	}
	if _, err := repo.Resolve(t.Context(), "sha256-"+f.desc.Digest.Encoded()+".sig"); err != nil {
		t.Errorf("the classic signature: %v", err)
	}
	if got, err := repo.Resolve(t.Context(), keepTag(f.desc.Digest.String())); err != nil || got.Digest != f.desc.Digest {
		t.Errorf("keep-tag = %s, %v", got.Digest, err)
	}
	if _, err := p.Verify(t.Context(), p.to(name+":"+tag), *alice().trust, hub.VerifyOptions{}); err != nil {
		t.Errorf("signature at the destination: %v", err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := p.Pull(t.Context(), p.to(name+":"+tag), out, hub.PullOptions{}); err != nil {
		t.Errorf("pull from the destination: %v", err)
	}
}

func TestCopy(t *testing.T) {
	tests := map[string]struct{ src, dst testreg.Options }{
		"both with the API":    {},
		"none with the API":    {testreg.Options{NoReferrers: true}, testreg.Options{NoReferrers: true}},
		"from one with it":     {testreg.Options{}, testreg.Options{NoReferrers: true}},
		"from one without it":  {testreg.Options{NoReferrers: true}, testreg.Options{}},
		"with a mirror's mood": {testreg.Options{Rules: []testreg.Rule{testreg.Fault("503x3")}}, testreg.Options{Rules: []testreg.Rule{testreg.Fault("patch-cut")}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := tt.src
			src.Rules = nil
			p := newPair(t, src, tt.dst)
			f := p.furnish("org/m", "v1")
			p.srv.Reset()
			p.srv.Add(tt.src.Rules...)
			res, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to("mirror/m:prod"), hub.CopyOptions{Trust: alice().trust})
			if err != nil {
				t.Fatal(err)
			}
			arrived(t, p, "mirror/m", "prod", f)
			if res.Versions != 1 || res.Manifests != 5 || res.Attached != 4 || res.CopiedBytes != res.Size || res.SkippedBytes != 0 ||
				res.Checked != res.Manifests+res.Blobs || res.Verified == nil || len(res.Notes) > 0 {
				t.Errorf("%+v", res)
			}
			if want := p.other.Host + "/mirror/m:prod@" + f.desc.Digest.String(); res.Reference != want || !slices.Equal(res.Tags, []string{"prod"}) {
				t.Errorf("reference %s, tags %v; want %s", res.Reference, res.Tags, want)
			}
		})
	}
}

func TestCopyAgain(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.furnish("org/m", "v1")
	copyIt := func() *hub.CopyResult {
		t.Helper()
		res, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	copyIt()
	p.other.Reset()
	p.srv.Reset()
	res := copyIt()
	if res.CopiedBytes != 0 || res.SkippedBytes != res.Size {
		t.Errorf("%+v", res)
	}
	if n, tags := p.pushed(); n != 0 || len(tags) > 0 {
		t.Errorf("the second time %d bytes moved, and the tags %v", n, tags)
	}
	for _, r := range p.srv.Requests() {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/blobs/") {
			t.Errorf("the second time it read %s", r.Path)
		}
	}
}

func TestCopyMounts(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	f := p.furnish("org/m", "v1")
	p.other = p.srv
	p.srv.Reset()
	res, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.ref("team/m"), hub.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	arrived(t, p, "team/m", "v1", f)
	if res.MountedBytes == 0 || res.MountedBytes+res.CopiedBytes+res.SkippedBytes != res.Size {
		t.Errorf("%+v", res)
	}
	if n, _ := p.pushed(); n != 0 {
		t.Errorf("%d bytes of blobs moved", n)
	}
}

// TestCopyResolvesOnce moves the tag of the source while it is copied.
func TestCopyResolvesOnce(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	first := p.push("org/m:main", "first")
	second := p.push("org/m:next", "second")
	asked := 0
	p.srv.Reset()
	p.srv.Add(testreg.Rule{Path: "/manifests/main$", Do: func(x testreg.Exchange) {
		if asked++; asked > 1 {
			x.R.URL.Path = strings.Replace(x.R.URL.Path, "/main", "/"+second.Digest, 1)
		}
		x.Pass(x.W)
	}})
	res, err := p.Copy(t.Context(), p.ref("org/m:main"), p.to("m"), hub.CopyOptions{})
	if err != nil || res.Digest != first.Digest || asked != 1 {
		t.Errorf("copied %s after %d looks, %v; want %s after one", res.Digest, asked, err, first.Digest)
	}
}

func TestCopyIndex(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	a, b := p.push("org/m:a", "one"), p.push("org/m:b", "two")
	index := p.pushIndex("org/m", "all", a.Digest, b.Digest)
	outer := p.pushIndex("org/m", "outer", index.Digest.String(), a.Digest)
	signed, _ := p.manifest("org/m", b.Digest)
	p.affix("org/m", "application/vnd.example.note.v1", "on a child", signed)

	res, err := p.Copy(t.Context(), p.ref("org/m:outer"), p.to("m"), hub.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Digest != outer.Digest.String() || res.Manifests != 5 || res.Attached != 1 {
		t.Errorf("%+v", res)
	}
	repo, err := p.client.Repository(p.other.Host + "/m")
	if err != nil {
		t.Fatal(err)
	}
	for _, dgst := range []string{a.Digest, b.Digest, index.Digest.String(), outer.Digest.String()} {
		if _, err := repo.Resolve(t.Context(), dgst); err != nil {
			t.Error(err)
		}
	}
	if list, err := repo.Referrers(t.Context(), signed, ""); err != nil || len(list) != 1 {
		t.Errorf("attached to a child: %v, %v", list, err)
	}
}

func TestCopyWith(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.furnish("org/m", "v1")
	tests := []struct {
		with     []string
		attached int
	}{
		{nil, 4},
		{[]string{hub.WithAll}, 4},
		{[]string{hub.WithReferrers}, 4},
		{[]string{hub.WithNone}, 0},
		{[]string{hub.WithSignatures}, 2},
		{[]string{hub.WithCards}, 1},
		{[]string{hub.WithEvals}, 0},
		{[]string{hub.WithSignatures, hub.WithCards}, 3},
	}
	for _, tt := range tests {
		name := "with" + strings.Join(tt.with, "")
		t.Run(name, func(t *testing.T) {
			res, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to(name), hub.CopyOptions{With: tt.with})
			if err != nil || res.Attached != tt.attached {
				t.Errorf("%+v, %v; want %d attached", res, err, tt.attached)
			}
		})
	}
}

func TestCopyRefuses(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.push("org/m:v1", "one")
	hex := strings.Repeat("ab", 32)
	tests := map[string]struct {
		src, dst string
		opts     hub.CopyOptions
		want     error
	}{
		"no such tag":          {src: "org/m:v9", dst: "m", want: errdef.ErrNotFound},
		"to a digest":          {src: "org/m:v1", dst: "m@sha256:" + hex, want: hub.ErrUsage},
		"to a keep-tag":        {src: "org/m:v1", dst: "m:_k." + hex[:40], want: hub.ErrUsage},
		"unknown kind":         {src: "org/m:v1", dst: "m", opts: hub.CopyOptions{With: []string{"ponies"}}, want: hub.ErrUsage},
		"none and more":        {src: "org/m:v1", dst: "m", opts: hub.CopyOptions{With: []string{"none", "cards"}}, want: hub.ErrUsage},
		"unknown rule":         {src: "org/m:v1", dst: "m", opts: hub.CopyOptions{OnConflict: "pray"}, want: hub.ErrUsage},
		"trust, no signatures": {src: "org/m:v1", dst: "m", opts: hub.CopyOptions{Trust: alice().trust, With: []string{"none"}}, want: hub.ErrUsage},
		"not signed":           {src: "org/m:v1", dst: "m", opts: hub.CopyOptions{Trust: alice().trust}, want: signing.ErrNoSignature},
		"tags and a tag":       {src: "org/m:v1", dst: "m", opts: hub.CopyOptions{Tags: []string{"v1"}}, want: hub.ErrUsage},
		"no tags":              {src: "org/empty", dst: "m", opts: hub.CopyOptions{AllTags: true}, want: errdef.ErrNotFound},
		"variant":              {src: "org/m:v1#q4", dst: "m", want: hub.ErrUsage},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := p.Copy(t.Context(), p.ref(tt.src), p.to(tt.dst), tt.opts)
			wantErr(t, err, tt.want)
		})
	}
	if n, tags := p.pushed(); n > 0 || len(tags) > 0 {
		t.Errorf("refused copies moved %d bytes, and the tags %v", n, tags)
	}
}
