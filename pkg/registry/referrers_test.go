package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/registry"
)

const (
	indexType    = ocispec.MediaTypeImageIndex
	manifestType = ocispec.MediaTypeImageManifest
)

func fallbackTag(d digest.Digest) string { return strings.Replace(d.String(), ":", "-", 1) }

// listed returns what the index at path lists.
func (s server) listed(path string) []ocispec.Descriptor {
	s.t.Helper()
	a := s.do("GET", path, map[string]string{"Accept": indexType}, nil).want(s.t, 200)
	var index ocispec.Index
	if err := json.Unmarshal(a.body, &index); err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	if got := a.Header.Get("Content-Type"); got != indexType {
		s.t.Errorf("GET %s: Content-Type = %q, want %q", path, got, indexType)
	}
	return index.Manifests
}

func (s server) referrers(name string, subject digest.Digest) []ocispec.Descriptor {
	s.t.Helper()
	return s.listed("/v2/" + name + "/referrers/" + subject.String())
}

func (s server) fallback(name string, subject digest.Digest) []ocispec.Descriptor {
	s.t.Helper()
	return s.listed("/v2/" + name + "/manifests/" + fallbackTag(subject))
}

func (s server) putIndex(name, ref string, entries ...ocispec.Descriptor) answer {
	s.t.Helper()
	return s.do("PUT", "/v2/"+name+"/manifests/"+ref, map[string]string{"Content-Type": indexType}, indexOf(s.t, entries...))
}

func indexOf(t *testing.T, entries ...ocispec.Descriptor) []byte {
	t.Helper()
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: indexType,
		Manifests: append([]ocispec.Descriptor{}, entries...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func digestsOf(list []ocispec.Descriptor) []digest.Digest {
	var all []digest.Digest
	for _, d := range list {
		all = append(all, d.Digest)
	}
	slices.Sort(all)
	return all
}

func sorted(all ...digest.Digest) []digest.Digest {
	slices.Sort(all)
	return all
}

// wantSame checks that API and tag both list want.
func (s server) wantSame(name string, subject digest.Digest, want ...digest.Digest) {
	s.t.Helper()
	api := s.referrers(name, subject)
	if diff := cmp.Diff(sorted(want...), digestsOf(api)); diff != "" {
		s.t.Errorf("referrers API (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(api, s.fallback(name, subject)); diff != "" {
		s.t.Errorf("API and tag differ (-api +tag):\n%s", diff)
	}
}

// sign pushes a referrer that differs from others by its annotation n.
func sign(t *testing.T, repo oras.Target, subject ocispec.Descriptor, n int) ocispec.Descriptor {
	t.Helper()
	return pack(t, repo, "application/x-signature", oras.PackManifestOptions{
		Subject:             &subject,
		ManifestAnnotations: map[string]string{"n": fmt.Sprint(n)},
	})
}

func TestParallelReferrersAreAllListed(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	subject := pack(t, s.repository("org/model"), "application/x-model", oras.PackManifestOptions{})

	want := make([]digest.Digest, 12)
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() { want[i] = sign(t, s.repository("org/model"), subject, i).Digest })
	}
	wg.Wait()
	s.wantSame("org/model", subject.Digest, want...)
}

// Half of the clients know only the tag: they read it, add their own and write
// it back, without a lock, as cosign and others do.
func TestParallelWritersOfTheTagLoseNothing(t *testing.T) {
	s := serve(t, registry.Options{})
	subject := pack(t, s.repository("m"), "application/x-model", oras.PackManifestOptions{})
	first := sign(t, s.repository("m"), subject, 0) // so that there is a tag to read

	want := make([]digest.Digest, 24)
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() {
			desc := sign(t, s.repository("m"), subject, i+1)
			want[i] = desc.Digest
			if i%2 == 0 {
				return
			}
			s.putIndex("m", fallbackTag(subject.Digest), append(s.fallback("m", subject.Digest), desc)...).want(t, 201)
		})
	}
	wg.Wait()
	s.wantSame("m", subject.Digest, append(want, first.Digest)...)
}

func TestReferrersAreDescribed(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	repo := s.repository("org/model")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})

	t.Run("by artifactType and annotations", func(t *testing.T) {
		desc := sign(t, repo, subject, 1)
		desc.ArtifactType = "application/x-signature"
		desc.Annotations = map[string]string{"n": "1", ocispec.AnnotationCreated: "2026-01-02T03:04:05Z"}
		wantDescriptor(t, s, subject, desc)
	})
	t.Run("by the config where there is no artifactType", func(t *testing.T) {
		config := pushBlob(t, repo, "application/x-config", []byte("{}"))
		layer := pushBlob(t, repo, "application/x-layer", []byte("x"))
		raw, err := json.Marshal(ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType,
			Config: config, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
		})
		if err != nil {
			t.Fatal(err)
		}
		desc := content.NewDescriptorFromBytes(manifestType, raw)
		s.do("PUT", "/v2/org/model/manifests/v1", map[string]string{"Content-Type": manifestType + "; charset=utf-8"}, raw).want(t, 201)
		desc.ArtifactType = "application/x-config"
		wantDescriptor(t, s, subject, desc)
	})
	t.Run("index as referrer and as subject", func(t *testing.T) {
		variants := content.NewDescriptorFromBytes(indexType, indexOf(t, subject))
		s.putIndex("org/model", "variants", subject).want(t, 201)
		raw, err := json.Marshal(ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: indexType, ArtifactType: "application/x-bundle",
			Manifests: []ocispec.Descriptor{subject}, Subject: &variants,
			Annotations: map[string]string{"a": "b"},
		})
		if err != nil {
			t.Fatal(err)
		}
		desc := content.NewDescriptorFromBytes(indexType, raw)
		a := s.do("PUT", "/v2/org/model/manifests/"+desc.Digest.String(), map[string]string{"Content-Type": indexType}, raw).want(t, 201)
		if got := a.Header.Get("OCI-Subject"); got != variants.Digest.String() {
			t.Errorf("OCI-Subject = %q, want %q", got, variants.Digest)
		}
		desc.ArtifactType, desc.Annotations = "application/x-bundle", map[string]string{"a": "b"}
		wantDescriptor(t, s, variants, desc)
	})
}

func wantDescriptor(t *testing.T, s server, subject, want ocispec.Descriptor) {
	t.Helper()
	for where, list := range map[string][]ocispec.Descriptor{
		"API": s.referrers("org/model", subject.Digest),
		"tag": s.fallback("org/model", subject.Digest),
	} {
		i := slices.IndexFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == want.Digest })
		if i < 0 {
			t.Errorf("%s does not list %s", where, want.Digest)
			continue
		}
		if diff := cmp.Diff(want, list[i]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
}

func TestOrasListsReferrers(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	repo := s.repository("org/model")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	signature := sign(t, repo, subject, 1)
	pack(t, repo, "application/x-card", oras.PackManifestOptions{Subject: &subject})

	for filter, n := range map[string]int{"": 2, "application/x-signature": 1, "application/x-other": 0} {
		var got []ocispec.Descriptor
		err := repo.Referrers(t.Context(), subject, filter, func(page []ocispec.Descriptor) error {
			got = append(got, page...)
			return nil
		})
		if err != nil || len(got) != n {
			t.Errorf("Referrers(%q) = %d entries, %v; want %d", filter, len(got), err, n)
		}
		if n == 1 && got[0].Digest != signature.Digest {
			t.Errorf("Referrers(%q) = %s, want %s", filter, got[0].Digest, signature.Digest)
		}
	}
}

func TestReferrersAnswer(t *testing.T) {
	s := serve(t, registry.Options{})
	pushBlob(t, s.repository("m"), "application/octet-stream", []byte("x"))
	absent := "/v2/m/referrers/" + someDigest

	t.Run("nothing refers", func(t *testing.T) {
		a := s.do("GET", absent, nil, nil).want(t, 200)
		if want := `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`; string(a.body) != want {
			t.Errorf("body = %s, want %s", a.body, want)
		}
		if a.Header.Get("OCI-Filters-Applied") != "" {
			t.Error("a filter was applied that nobody asked for")
		}
	})
	t.Run("filter is told even if nothing is left", func(t *testing.T) {
		a := s.do("GET", absent+"?artifactType=a/b", nil, nil).want(t, 200)
		if got := a.Header.Get("OCI-Filters-Applied"); got != "artifactType" {
			t.Errorf("OCI-Filters-Applied = %q, want artifactType", got)
		}
	})
	t.Run("unknown repository", func(t *testing.T) {
		s.do("GET", "/v2/nobody/referrers/"+someDigest, nil, nil).want(t, 200)
	})
	t.Run("head", func(t *testing.T) {
		if a := s.do("HEAD", absent, nil, nil).want(t, 200); len(a.body) != 0 || a.ContentLength <= 0 {
			t.Errorf("HEAD = %d bytes of body, length %d", len(a.body), a.ContentLength)
		}
	})
	t.Run("no digest", func(t *testing.T) {
		for _, ref := range []string{"latest", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
			a := s.do("GET", "/v2/m/referrers/"+ref, nil, nil).want(t, 400)
			if !bytes.Contains(a.body, []byte("DIGEST_INVALID")) {
				t.Errorf("body = %s, want DIGEST_INVALID", a.body)
			}
		}
	})
	t.Run("other methods", func(t *testing.T) {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			if a := s.do(method, absent, nil, nil).want(t, 405); a.Header.Get("Allow") == "" {
				t.Errorf("%s: no Allow", method)
			}
		}
	})
}

func TestDeleteTakesAReferrerOffTheList(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	a, b := sign(t, repo, subject, 1), sign(t, repo, subject, 2)

	if err := repo.Delete(t.Context(), a); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	s.wantSame("m", subject.Digest, b.Digest)
	if err := repo.Delete(t.Context(), b); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if got := s.referrers("m", subject.Digest); len(got) != 0 {
		t.Errorf("referrers after the last was deleted = %v", got)
	}
	s.do("GET", "/v2/m/manifests/"+fallbackTag(subject.Digest), map[string]string{"Accept": indexType}, nil).want(t, 404)
	s.do("DELETE", "/v2/m/manifests/"+b.Digest.String(), nil, nil).want(t, 404)
}

func TestAListInUseIsNotDeleted(t *testing.T) {
	s := serve(t, registry.Options{})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	signature := sign(t, repo, subject, 1)
	tag := fallbackTag(subject.Digest)
	index := s.do("GET", "/v2/m/manifests/"+tag, map[string]string{"Accept": indexType}, nil).want(t, 200)

	for _, ref := range []string{tag, index.Header.Get("Docker-Content-Digest")} {
		if a := s.do("DELETE", "/v2/m/manifests/"+ref, nil, nil).want(t, 405); !bytes.Contains(a.body, []byte("UNSUPPORTED")) {
			t.Errorf("body = %s, want UNSUPPORTED", a.body)
		}
	}
	s.wantSame("m", subject.Digest, signature.Digest)

	// An index that lists the same and is no list of referrers goes as always.
	s.putIndex("m", "variants", subject).want(t, 201)
	variants := sha256Of(indexOf(t, subject))
	s.do("DELETE", "/v2/m/manifests/"+variants.String(), nil, nil).want(t, 202)
}

func TestTagOfAClientIsMerged(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	other := pack(t, repo, "application/x-other", oras.PackManifestOptions{})
	a, b := sign(t, repo, subject, 1), sign(t, repo, subject, 2)
	stranger := sign(t, repo, other, 3)
	tag := fallbackTag(subject.Digest)

	tests := map[string][]ocispec.Descriptor{
		"empty":                   {},
		"one missing":             {a},
		"wrong type, as cosign's": {{MediaType: manifestType, Digest: a.Digest, Size: a.Size, ArtifactType: "application/vnd.oci.empty.v1+json"}},
		"refers to another":       {a, b, stranger},
		"no referrer at all":      {other},
		"twice":                   {a, a, b},
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			answer := s.putIndex("m", tag, entries...).want(t, 201)
			want := sha256Of(indexOf(t, entries...))
			if got := answer.Header.Get("Docker-Content-Digest"); got != want.String() {
				t.Errorf("Docker-Content-Digest = %s, want that of what was pushed, %s", got, want)
			}
			if got := s.do("GET", "/v2/m/manifests/"+want.String(), map[string]string{"Accept": indexType}, nil).want(t, 200); !bytes.Equal(got.body, indexOf(t, entries...)) {
				t.Errorf("what was pushed cannot be read back: %s", got.body)
			}
			s.wantSame("m", subject.Digest, a.Digest, b.Digest)
		})
	}
}

// A client that leaves nothing out finds its own bytes under the tag.
func TestCompleteTagOfAClientIsKept(t *testing.T) {
	s := serve(t, registry.Options{})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	sign(t, repo, subject, 1)
	sign(t, repo, subject, 2)
	entries := s.fallback("m", subject.Digest)
	slices.Reverse(entries)
	s.putIndex("m", fallbackTag(subject.Digest), entries...).want(t, 201)

	a := s.do("GET", "/v2/m/manifests/"+fallbackTag(subject.Digest), map[string]string{"Accept": indexType}, nil).want(t, 200)
	if want := indexOf(t, entries...); !bytes.Equal(a.body, want) {
		t.Errorf("tag = %s, want the client's %s", a.body, want)
	}
}

func TestTagTakesOnlyAnIndex(t *testing.T) {
	s := serve(t, registry.Options{})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	signature := sign(t, repo, subject, 1)
	raw, err := content.FetchAll(t.Context(), repo, subject)
	if err != nil {
		t.Fatal(err)
	}
	s.do("PUT", "/v2/m/manifests/"+fallbackTag(subject.Digest), map[string]string{"Content-Type": manifestType}, raw).want(t, 400)
	s.wantSame("m", subject.Digest, signature.Digest)
}

// What another tool left in the directory, with the tag as its only list, is
// served by the API, with what the manifests say and not what the tag does.
func TestContentOfOtherToolsIsServed(t *testing.T) {
	data := t.TempDir()
	old := serveAs(t, registry.Options{Data: data}, (*registry.Registry).Distribution)
	repo := old.repository("org/model")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	if a := old.do("GET", "/v2/org/model/referrers/"+subject.Digest.String(), nil, nil); a.StatusCode != 404 {
		t.Fatalf("plain Distribution answers %s to the referrers API", a.Status)
	}
	first := sign(t, repo, subject, 1) // oras-go writes the tag here
	wrong := first
	wrong.ArtifactType = "application/vnd.oci.empty.v1+json"
	old.putIndex("org/model", fallbackTag(subject.Digest), wrong).want(t, 201)

	old.stop()
	s := serve(t, registry.Options{Data: data})
	got := s.referrers("org/model", subject.Digest)
	if len(got) != 1 || got[0].Digest != first.Digest || got[0].ArtifactType != "application/x-signature" {
		t.Fatalf("referrers = %v, want %s as a signature", got, first.Digest)
	}
	second := sign(t, s.repository("org/model"), subject, 2)
	if diff := cmp.Diff(sorted(first.Digest, second.Digest), digestsOf(s.fallback("org/model", subject.Digest))); diff != "" {
		t.Errorf("tag (-want +got):\n%s", diff)
	}
}

func TestReferrersComeInPages(t *testing.T) {
	s := serve(t, registry.Options{})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	want := make(map[digest.Digest]bool)
	for i := range registry.MaxPage + 3 {
		want[sign(t, repo, subject, i).Digest] = true
	}
	got := make(map[digest.Digest]bool)
	pages := 0
	next := "/v2/m/referrers/" + subject.Digest.String() + "?artifactType=application/x-signature"
	for next != "" {
		pages++
		for _, desc := range s.listed(next) {
			if got[desc.Digest] {
				t.Errorf("%s is listed twice", desc.Digest)
			}
			got[desc.Digest] = true
		}
		next = nextOf(s.do("GET", next, nil, nil))
	}
	if pages != 2 || !maps.Equal(want, got) {
		t.Errorf("%d pages with %d referrers, want 2 with %d", pages, len(got), len(want))
	}
}

func nextOf(a answer) string {
	next, ok := strings.CutSuffix(a.Header.Get("Link"), `>; rel="next"`)
	if !ok {
		return ""
	}
	return strings.TrimPrefix(next, "<")
}

// One damaged manifest must not hide the others, nor appear under a digest that
// is not its own.
func TestDamagedReferrerIsLeftOut(t *testing.T) {
	data := t.TempDir()
	s := serve(t, registry.Options{Data: data})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	for name, damage := range map[string]func([]byte) []byte{
		"other JSON": func(b []byte) []byte { return bytes.Replace(b, []byte(`"n":"`), []byte(`"m":"`), 1) },
		"no JSON":    func(b []byte) []byte { return b[:len(b)/2] },
		"empty":      func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			good, bad := sign(t, repo, subject, 1), sign(t, repo, subject, 2)
			rewriteBlob(t, data, bad.Digest, damage)
			if diff := cmp.Diff([]digest.Digest{good.Digest}, digestsOf(s.referrers("m", subject.Digest))); diff != "" {
				t.Errorf("referrers (-want +got):\n%s", diff)
			}
			removeBlob(t, data, bad.Digest)
		})
	}
}

// A manifest whose annotations would fill the list is listed without them.
func TestHugeAnnotationsAreNotRepeated(t *testing.T) {
	s := serve(t, registry.Options{})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	huge := pack(t, repo, "application/x-huge", oras.PackManifestOptions{
		Subject:             &subject,
		ManifestAnnotations: map[string]string{"a": strings.Repeat("a", 1<<20)},
	})
	got := s.referrers("m", subject.Digest)
	if len(got) != 1 || got[0].Digest != huge.Digest || got[0].ArtifactType != "application/x-huge" || got[0].Annotations != nil {
		t.Errorf("referrers = %.200v, want %s without annotations", got, huge.Digest)
	}
	s.wantSame("m", subject.Digest, huge.Digest)
}
