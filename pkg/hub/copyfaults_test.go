package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	"github.com/modelreg/modelreg/pkg/signing/policy"
	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestCopyConflict(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	ours := p.push("org/m:v1", "ours")
	p.push("org/m:theirs", "theirs")
	theirs, err := p.Copy(t.Context(), p.ref("org/m:theirs"), p.to("m:v1"), hub.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := func() string {
		res, err := p.Resolve(t.Context(), p.to("m:v1"))
		if err != nil {
			t.Fatal(err)
		}
		return res.Digest
	}
	for _, rule := range []hub.Conflict{"", hub.ConflictFail} {
		p.other.Reset()
		_, err = p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{OnConflict: rule})
		wantErr(t, err, hub.ErrConflict)
		if n, _ := p.pushed(); n > 0 || at() != theirs.Digest {
			t.Errorf("%q: %d bytes moved, and the tag is %s", rule, n, at())
		}
	}
	res, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{OnConflict: hub.ConflictSkip})
	if err != nil || at() != theirs.Digest || res.Versions != 0 || len(res.Notes) != 1 {
		t.Errorf("skip: %+v, %v", res, err)
	}
	if _, err = p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{OnConflict: hub.ConflictOverwrite}); err != nil || at() != ours.Digest {
		t.Errorf("overwrite: %s, %v", at(), err)
	}
}

// TestCopyConflictMeanwhile has another writer take the tag while blobs move.
func TestCopyConflictMeanwhile(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.push("org/m:v1", "ours")
	p.push("org/m:theirs", "theirs")
	if _, err := p.Copy(t.Context(), p.ref("org/m:theirs"), p.to("m:theirs"), hub.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	repo, err := p.client.Repository(p.other.Host + "/m")
	if err != nil {
		t.Fatal(err)
	}
	theirs, raw, err := repo.Manifest(t.Context(), "theirs")
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	p.observe = func(transfer.Event) {
		once.Do(func() {
			if err := repo.PushManifest(t.Context(), theirs, raw, "v1"); err != nil {
				t.Error(err)
			}
		})
	}
	_, err = p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{})
	wantErr(t, err, hub.ErrConflict)
	if now, err := repo.Resolve(t.Context(), "v1"); err != nil || now.Digest != theirs.Digest {
		t.Errorf("the tag is %s, %v; want theirs", now.Digest, err)
	}
}

// TestCopyLosesNoSignatures copies where cosign's tag holds other signatures.
func TestCopyLosesNoSignatures(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.push("org/m:v1", "one")
	if _, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	classic := signing.SignOptions{Format: signing.Classic}
	if _, err := p.Sign(t.Context(), p.to("m:v1"), stranger().signer, classic); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Sign(t.Context(), p.ref("org/m:v1"), alice().signer, classic); err != nil {
		t.Fatal(err)
	}
	_, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{})
	wantErr(t, err, hub.ErrConflict)
	res, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{OnConflict: hub.ConflictSkip})
	if err != nil || len(res.Notes) != 1 {
		t.Errorf("skip: %+v, %v", res, err)
	}
	if _, err := p.Verify(t.Context(), p.to("m:v1"), *stranger().trust, hub.VerifyOptions{}); err != nil {
		t.Errorf("the signature that was there: %v", err)
	}
}

func TestCopyWrongBytes(t *testing.T) {
	for _, fault := range []string{"corrupt@0", "corrupt@last", "swap", "truncate", "long"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, testreg.Options{}, testreg.Options{})
			p.push("org/m:v1", strings.Repeat("model ", 1000))
			p.push("org/m:v2", strings.Repeat("other ", 1000))
			rule := testreg.Fault(fault)
			blob := p.layer("org/m", "v1").Digest.String()
			rule.Path = "/blobs/" + blob
			p.srv.Add(rule)
			for _, dst := range []ref.Reference{
				p.to("m"), reference(t, "layout://"+filepath.Join(t.TempDir(), "l")), reference(t, "file://"+filepath.Join(t.TempDir(), "x.tar")),
			} {
				_, err := p.Copy(t.Context(), p.ref("org/m:v1"), dst, hub.CopyOptions{})
				if !errors.Is(err, content.ErrMismatchedDigest) {
					t.Errorf("to %s: %v, want wrong bytes", dst, err)
				}
			}
			if _, tags := p.pushed(); len(tags) > 0 {
				t.Errorf("tags were set: %v", tags)
			}
			repo, err := p.client.Repository(p.other.Host + "/m")
			if err != nil {
				t.Fatal(err)
			}
			if there, err := repo.Exists(t.Context(), p.layer("org/m", "v1")); there || err != nil {
				t.Errorf("the blob is there: %v, %v", there, err)
			}
		})
	}
}

// layer is the first layer of a version.
func (w *world) layer(name, tag string) ocispec.Descriptor {
	w.t.Helper()
	_, raw := w.manifest(name, tag)
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Layers[0]
}

// TestCopyBelievesNoDestination has a registry that says that it took what it
// did not.
func TestCopyBelievesNoDestination(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	f := p.furnish("org/m", "v1")
	blob := p.layer("org/m", "v1").Digest.String()
	tests := map[string]testreg.Rule{
		"loses a blob":     {Method: "HEAD", Path: "/blobs/" + blob, Do: testreg.Status(http.StatusNotFound, nil, "")},
		"loses a manifest": {Method: "GET", Path: "/manifests/" + f.card.Digest.String(), Do: testreg.Status(http.StatusNotFound, nil, "")},
		"another manifest": {Method: "GET", Path: "/manifests/" + f.desc.Digest.String(), Do: testreg.Swap()},
	}
	for name, rule := range tests {
		t.Run(name, func(t *testing.T) {
			p.other.Reset()
			p.other.Add(rule)
			to := strings.ReplaceAll(name, " ", "-")
			if _, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to(to), hub.CopyOptions{}); err == nil {
				t.Error("the copy succeeded")
			}
			if _, tags := p.pushed(); slices.Contains(tags, "v1") {
				t.Error("the tag was set")
			}
		})
	}
}

// TestCopyLiesAboutReferrers lists what is not attached.
func TestCopyLiesAboutReferrers(t *testing.T) {
	p := newPair(t, testreg.Options{NoReferrers: true}, testreg.Options{})
	p.push("org/m:v1", "one")
	other := p.push("org/m:other", "other")
	desc, _ := p.manifest("org/m", "v1")
	foreign, _ := p.manifest("org/m", other.Digest)
	gone := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("gone"), Size: 4}
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{foreign},
	})
	if err != nil {
		t.Fatal(err)
	}
	raw = bytes.Replace(raw, []byte(`"manifests":[`), []byte(`"manifests":[{"mediaType":"`+gone.MediaType+`","digest":"`+gone.Digest.String()+`","size":4},`), 1)
	p.srv.Add(testreg.Rule{Method: "GET", Path: "/manifests/sha256-" + desc.Digest.Encoded() + "$", Do: func(x testreg.Exchange) {
		x.W.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		_, _ = x.W.Write(raw)
	}})
	res, err := p.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Manifests != 1 || len(res.Notes) != 2 {
		t.Errorf("%+v", res)
	}
}

func TestCopyTags(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	want := map[string]string{}
	for _, tag := range []string{"v1", "v2", "feature/x"} {
		want[tag] = p.push("org/m:"+tag, tag).Digest
	}
	res, err := p.Copy(t.Context(), p.ref("org/m"), p.to("some"), hub.CopyOptions{Tags: []string{"v1", "feature/x"}})
	if err != nil || res.Versions != 2 {
		t.Errorf("%+v, %v", res, err)
	}
	if diff := cmp.Diff([]string{"_b.feature__x", "v1"}, res.Tags); diff != "" {
		t.Error(diff)
	}
	if res, err = p.Copy(t.Context(), p.ref("org/m"), p.to("all"), hub.CopyOptions{AllTags: true}); err != nil || res.Versions != 3 || len(res.Notes) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
	// What is about the repository stays behind, and that is said.
	if _, err := p.SetTags(t.Context(), p.ref("org/m:v1"), []string{"prod"}, hub.TagOptions{Protect: true}); err != nil {
		t.Fatal(err)
	}
	res, err = p.Copy(t.Context(), p.ref("org/m"), p.to("all"), hub.CopyOptions{AllTags: true})
	if err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "its record, the log of prod") {
		t.Errorf("%+v, %v", res, err)
	}
	for tag, dgst := range want {
		if got, err := p.Resolve(t.Context(), p.to("all:"+tag)); err != nil || got.Digest != dgst {
			t.Errorf("%s = %+v, %v; want %s", tag, got, err, dgst)
		}
	}
}

func TestCopyByDigest(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	pushed := p.push("org/m:v1", "one")
	res, err := p.Copy(t.Context(), p.ref("org/m@"+pushed.Digest), p.to("m"), hub.CopyOptions{})
	if err != nil || len(res.Tags) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if got, err := p.Resolve(t.Context(), p.to("m:"+keepTag(pushed.Digest))); err != nil || got.Digest != pushed.Digest {
		t.Errorf("keep-tag: %+v, %v", got, err)
	}
}

func TestCopyHistoryAndBases(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	base := p.push("base/b:v1", "base")
	var parent string
	for _, text := range []string{"first", "second", "third"} {
		res, err := p.Push(t.Context(), dir(t, files{"a.txt": text}), p.ref("org/m:main"), hub.PushOptions{Annotations: map[string]string{
			mediatypes.AnnotationParents:      parent,
			ocispec.AnnotationBaseImageName:   p.srv.Host + "/base/b:v1",
			ocispec.AnnotationBaseImageDigest: base.Digest,
			mediatypes.AnnotationBaseModel:    "org/named-only",
		}})
		if err != nil {
			t.Fatal(err)
		}
		parent = res.Digest
	}
	res, err := p.Copy(t.Context(), p.ref("org/m:main"), p.to("mirror/org/m"), hub.CopyOptions{Depth: 1, WithBases: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.Versions != 3 || res.Digest != parent || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "org/named-only") {
		t.Errorf("%+v", res)
	}
	if want := p.other.Host + "/mirror/org/m:main@" + parent; res.Reference != want {
		t.Errorf("reference %s, want %s", res.Reference, want)
	}
	if got, err := p.Resolve(t.Context(), p.to("mirror/base/b@"+base.Digest)); err != nil {
		t.Errorf("the base: %+v, %v", got, err)
	}
	var refs []string
	for _, to := range []string{"mirror/org/m", "mirror/base/b"} {
		repo, err := p.client.Repository(p.other.Host + "/" + to)
		if err != nil {
			t.Fatal(err)
		}
		for tag, err := range repo.Tags(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(tag, "_k.") {
				refs = append(refs, to)
			}
		}
	}
	if diff := cmp.Diff([]string{"mirror/org/m", "mirror/org/m", "mirror/base/b"}, refs); diff != "" {
		t.Errorf("keep-tags: %s", diff)
	}
}

// TestCopyAtOnce has several copies of one version to one place.
func TestCopyAtOnce(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	f := p.furnish("org/m", "v1")
	layoutDir := filepath.Join(t.TempDir(), "layout")
	var all sync.WaitGroup
	for range 4 {
		for _, dst := range []ref.Reference{p.to("m:v1"), reference(t, "layout://"+layoutDir+":v1")} {
			all.Go(func() {
				if _, err := p.Copy(t.Context(), p.ref("org/m:v1"), dst, hub.CopyOptions{Trust: alice().trust}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	arrived(t, p, "m", "v1", f)
	if _, err := p.Copy(t.Context(), reference(t, "layout://"+layoutDir), p.to("again"), hub.CopyOptions{Trust: alice().trust}); err != nil {
		t.Fatal(err)
	}
	arrived(t, p, "again", "v1", f)
	leftovers(t, layoutDir)
}

// leftovers looks for files that a finished copy leaves in a directory.
func leftovers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		for _, end := range []string{".partial", ".journal", ".tmp"} {
			if strings.HasSuffix(path, end) {
				t.Errorf("left behind: %s", path)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCopyGoesOn stops a copy between registries inside a blob. The next one, of
// another process, sends what is missing.
func TestCopyGoesOn(t *testing.T) {
	p := pair{newDiskWorld(t), testreg.New(t, testreg.Options{Data: t.TempDir()})}
	const size = 16 << 20
	p.push("org/m:v1", strings.Repeat("0123456789abcdef", size/16))
	ctx, cancel := context.WithCancel(t.Context())
	var sent atomic.Int64
	p.observe = func(e transfer.Event) {
		if e.Action == transfer.Progress && e.Desc.Size == size && sent.Add(e.Bytes) > size*3/4 {
			cancel()
		}
	}
	if _, err := p.Copy(ctx, p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("it was not stopped: %v", err)
	}
	if _, err := p.Resolve(t.Context(), p.to("m:v1")); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("there is a tag: %v", err)
	}
	p.other.Reset()
	p.srv.Reset()
	p.observe = nil
	next := newWorldOn(t, p.world)
	if _, err := next.Copy(t.Context(), p.ref("org/m:v1"), p.to("m"), hub.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if n, _ := p.pushed(); n > size/2 {
		t.Errorf("%d of %d bytes were sent again", n, size)
	}
	if n := p.served(); n > size/2 {
		t.Errorf("%d of %d bytes were read again", n, size)
	}
	if _, err := p.Pull(t.Context(), p.to("m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{}); err != nil {
		t.Error(err)
	}
}

// keyed is a policy about a pair's source: an authority, as YAML.
func (p pair) keyed(authority string) hub.Rules {
	p.t.Helper()
	rule, err := policy.Parse(fmt.Appendf(nil,
		"apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: models\nspec:\n  images: [{glob: %q}]\n  authorities:\n  - name: team\n    %s\n",
		p.srv.Host+"/**", authority))
	if err != nil {
		p.t.Fatal(err)
	}
	return hub.Rules{Policies: []*policy.Policy{rule}}
}

func keyOf(p party) string { return fmt.Sprintf("key: {data: %q}", p.signer.Public().PEM()) }

// TestCopyRefusedKeepsArchive changes the policy while blobs go into an archive
// that is to take the place of another.
func TestCopyRefusedKeepsArchive(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.furnish("org/m", "v1")
	good, bad := p.keyed(keyOf(alice())), p.keyed(keyOf(stranger()))
	var moving atomic.Bool
	h := hub.New(hub.Options{
		Remote: p.client, Observe: func(transfer.Event) { moving.Store(true) },
		Rules: func(context.Context) (hub.Rules, error) {
			if moving.Load() {
				return bad, nil
			}
			return good, nil
		},
	})
	file := filepath.Join(t.TempDir(), "out.tar")
	if err := os.WriteFile(file, []byte("the one before"), 0o644); err != nil {
		t.Fatal(err)
	}
	dst := ref.Reference{Scheme: ref.SchemeFile, Repository: file}
	_, err := h.Copy(t.Context(), p.ref("org/m:v1"), dst, hub.CopyOptions{OnConflict: hub.ConflictOverwrite})
	wantErr(t, err, policy.ErrRefused)
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "the one before" {
		t.Errorf("the archive that was there is gone: %d bytes, %v", len(raw), err)
	}
	leftovers(t, filepath.Dir(file))
}

// TestCopyEnough leaves out what is attached, where a policy asks for it or not.
func TestCopyEnough(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.furnish("org/m", "v1")
	signed, anyhow := p.keyed(keyOf(alice())), p.keyed("static: {action: pass}")
	tests := map[string]struct {
		rules hub.Rules
		with  string
		want  error
	}{
		"nothing":            {signed, hub.WithNone, hub.ErrUsage},
		"cards alone":        {signed, hub.WithCards, hub.ErrUsage},
		"signatures":         {signed, hub.WithSignatures, nil},
		"all":                {signed, hub.WithAll, nil},
		"nobody asks":        {anyhow, hub.WithNone, nil},
		"not applied":        {hub.Rules{Policies: signed.Policies, Skip: true}, hub.WithNone, nil},
		"there is no policy": {hub.Rules{}, hub.WithNone, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var moved atomic.Int64
			h := hub.New(hub.Options{Remote: p.client, Rules: rules(tt.rules), Warn: p.warn, Observe: func(transfer.Event) { moved.Add(1) }})
			file := filepath.Join(t.TempDir(), "out.tar")
			_, err := h.Copy(t.Context(), p.ref("org/m:v1"), ref.Reference{Scheme: ref.SchemeFile, Repository: file}, hub.CopyOptions{With: []string{tt.with}})
			wantErr(t, err, tt.want)
			if tt.want != nil && moved.Load() > 0 {
				t.Error("blobs moved before it was refused")
			}
		})
	}
}
