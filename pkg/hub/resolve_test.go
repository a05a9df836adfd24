package hub_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
)

func TestResolve(t *testing.T) {
	w := newWorld(t)
	latest, v1 := w.push("org/m", "one"), w.push("org/m:v1", "two")
	hex := digest.Digest(v1.Digest).Encoded()
	tests := map[string]struct{ ref, want, tag string }{
		"no tag":            {"org/m", latest.Digest, "latest"},
		"tag":               {"org/m:v1", v1.Digest, "v1"},
		"digest":            {"org/m@" + v1.Digest, v1.Digest, ""},
		"tag and digest":    {"org/m:v1@" + v1.Digest, v1.Digest, "v1"},
		"eight digits":      {"org/m@" + hex[:8], v1.Digest, ""},
		"many digits":       {"org/m@" + hex[:50], v1.Digest, ""},
		"scheme":            {"org/m:v1", v1.Digest, "v1"},
		"tag beside prefix": {"org/m:v1@" + hex[:12], v1.Digest, "v1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := w.Resolve(t.Context(), w.ref(tt.ref))
			if err != nil {
				t.Fatal(err)
			}
			if res.Digest != tt.want || res.Tag != tt.tag {
				t.Errorf("Resolve = %s, tag %q; want %s, tag %q", res.Digest, res.Tag, tt.want, tt.tag)
			}
		})
	}
	if got := w.warned(); got != "" {
		t.Errorf("warnings: %s", got)
	}
}

func TestResolveRefuses(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	tests := map[string]struct {
		ref  string
		want error
	}{
		"no such tag":        {"org/m:v9", errdef.ErrNotFound},
		"no such repository": {"org/other:v1", errdef.ErrNotFound},
		"no such prefix":     {"org/m@00000000ff", errdef.ErrNotFound},
		"nothing in range":   {`org/m:"^7"`, errdef.ErrNotFound},
		"variant":            {"org/m:v1#q4_k_m", hub.ErrNoVariant},
		"path":               {"org/m:v1//notes.txt", hub.ErrUsage},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := w.Resolve(t.Context(), w.ref(tt.ref))
			wantErr(t, err, tt.want)
		})
	}
	elsewhere, garbage := w.ref("org/m:v1"), w.ref("org/m")
	elsewhere.Scheme, garbage.Range = "hf", "about one"
	for _, r := range []ref.Reference{elsewhere, garbage} {
		_, err := w.Resolve(t.Context(), r)
		wantErr(t, err, hub.ErrUsage)
	}
}

func TestResolveMismatchWarns(t *testing.T) {
	w := newWorld(t)
	one, two := w.push("org/m:v1", "one"), w.push("org/m:v2", "two")
	tests := map[string]struct{ tag, warning string }{
		"another version": {"v2", "tag v2 points to " + two.Digest},
		"no such tag":     {"v3", "tag v3 was not compared"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := w.Resolve(t.Context(), w.ref("org/m:"+tt.tag+"@"+one.Digest))
			if err != nil {
				t.Fatal(err)
			}
			if res.Digest != one.Digest {
				t.Errorf("digest = %s; that in the reference must win", res.Digest)
			}
			if got := w.warned(); !strings.Contains(got, tt.warning) {
				t.Errorf("warnings = %q, want %q", got, tt.warning)
			}
		})
	}
}

// Versions whose digests begin alike cannot be found by trying, so the
// registry shows chosen digests in place of real ones.
func TestResolveAmbiguousPrefix(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	alike := func(end string) testreg.Action {
		return testreg.SetHeader(map[string]string{"Docker-Content-Digest": "sha256:" + strings.Repeat("a", 62) + end})
	}
	w.push("org/m:v2", "two")
	w.srv.Add(
		testreg.Rule{Method: "HEAD", Path: "/manifests/v1$", Do: alike("01")},
		testreg.Rule{Method: "HEAD", Path: "/manifests/v2$", Do: alike("02")},
	)
	_, err := w.Resolve(t.Context(), w.ref("org/m@aaaaaaaaaa"))
	wantErr(t, err, hub.ErrUsage)
	if err == nil || !strings.Contains(err.Error(), "2 versions") {
		t.Errorf("error = %v, want one that tells how many", err)
	}
}

func TestResolvePrefixOverlooksTagsThatGo(t *testing.T) {
	w := newWorld(t)
	v1 := w.push("org/m:v1", "one")
	w.push("org/m:going", "two")
	w.srv.Add(testreg.Rule{Path: "/manifests/going$", Do: testreg.Status(404, nil, "")})
	res, err := w.Resolve(t.Context(), w.ref("org/m@"+digest.Digest(v1.Digest).Encoded()[:12]))
	if err != nil || res.Digest != v1.Digest {
		t.Errorf("Resolve = %+v, %v; want %s", res, err, v1.Digest)
	}
}

func TestResolveRange(t *testing.T) {
	w := newWorld(t)
	for _, tag := range []string{"v1.2.0", "1.10.3", "v1.9.9", "v2.0.0", "v2.1.0-rc.1", "v1", "1.99", "20240101", "latest"} {
		w.push("org/m:"+tag, tag)
	}
	tests := map[string]string{
		"^1.2":          "1.10.3", // by number, not by letter
		"~1.9":          "v1.9.9",
		">=1.0":         "v2.0.0", // neither a date nor a pre-release
		">=2.1.0-rc":    "v2.1.0-rc.1",
		"1.2.0":         "v1.2.0",
		"<1.5 || >=2.0": "v2.0.0",
	}
	for within, want := range tests {
		t.Run(within, func(t *testing.T) {
			res, err := w.Resolve(t.Context(), w.ref(`org/m:"`+within+`"`))
			if err != nil {
				t.Fatal(err)
			}
			if res.Tag != want {
				t.Errorf("%s is %s, want %s", within, res.Tag, want)
			}
		})
	}
}

func TestIndex(t *testing.T) {
	w := newWorld(t)
	one := w.push("org/m:one", "one")
	w.push("org/m:two", "two")
	single := w.pushIndex("org/m", "single", "one")
	w.pushIndex("org/m", "both", "one", "two")

	res, err := w.Resolve(t.Context(), w.ref("org/m:single"))
	if err != nil || res.Digest != single.Digest.String() || res.MediaType != ocispec.MediaTypeImageIndex {
		t.Errorf("Resolve = %+v, %v; want the index itself", res, err)
	}
	got, err := w.Pull(t.Context(), w.ref("org/m:single"), t.TempDir(), hub.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != one.Digest {
		t.Errorf("pulled %s, want the one child %s", got.Digest, one.Digest)
	}
	_, err = w.Pull(t.Context(), w.ref("org/m:both"), t.TempDir(), hub.PullOptions{})
	wantErr(t, err, hub.ErrNoVariant)
	if _, err := w.Pull(t.Context(), w.ref("org/m@"+one.Digest), t.TempDir(), hub.PullOptions{}); err != nil {
		t.Errorf("a child by digest: %v", err)
	}

	// What pull printed can be used again, and is no contradiction.
	w.warned()
	again := w.ref(strings.TrimPrefix(got.Reference, w.srv.Host+"/"))
	if _, err := w.Pull(t.Context(), again, t.TempDir(), hub.PullOptions{}); err != nil {
		t.Error(err)
	}
	if got := w.warned(); got != "" {
		t.Errorf("warnings: %s", got)
	}
}

func TestIndexOfOtherThings(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:one", "one")
	raw := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":"none"}`)
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, raw)
	put := testreg.Rule{Method: "GET,HEAD", Path: "/manifests/bad$", Do: testreg.Status(200, map[string]string{
		"Content-Type": desc.MediaType, "Docker-Content-Digest": desc.Digest.String(),
	}, string(bytes.TrimSpace(raw)))}
	w.srv.Add(put)
	if _, err := w.Pull(t.Context(), w.ref("org/m:bad"), t.TempDir(), hub.PullOptions{}); err == nil {
		t.Error("an index that is none was pulled")
	}
}
