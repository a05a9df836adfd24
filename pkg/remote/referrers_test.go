package remote_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

const noteType = "application/vnd.example.note"

// pushSubject writes a manifest to refer to.
func pushSubject(t *testing.T, r *remote.Repository) ocispec.Descriptor {
	t.Helper()
	desc, raw := manifestOf(t, r, nil, "subject")
	if err := r.PushManifest(t.Context(), desc, raw, "v1"); err != nil {
		t.Fatal(err)
	}
	return desc
}

func digests(descs []ocispec.Descriptor) map[digest.Digest]bool {
	all := make(map[digest.Digest]bool)
	for _, d := range descs {
		all[d.Digest] = true
	}
	return all
}

func TestReferrers(t *testing.T) {
	for name, opts := range map[string]testreg.Options{
		"with the API":    {},
		"without the API": {NoReferrers: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, opts)
			r := newRepo(t, s)
			subject := pushSubject(t, r)
			if got, err := r.Referrers(t.Context(), subject, ""); err != nil || len(got) != 0 {
				t.Fatalf("Referrers before = %v, %v; want none", got, err)
			}
			want := make(map[digest.Digest]bool)
			for i := range 3 {
				desc, raw := manifestOf(t, r, &subject, fmt.Sprint(i))
				for range 2 { // again changes nothing
					if err := r.PushReferrer(t.Context(), raw, subject); err != nil {
						t.Fatal(err)
					}
				}
				want[desc.Digest] = true
			}
			for artifactType, n := range map[string]int{"": 3, noteType: 3, "application/vnd.other": 0} {
				got, err := r.Referrers(t.Context(), subject, artifactType)
				if err != nil || len(got) != n {
					t.Errorf("Referrers of type %q = %d, %v; want %d", artifactType, len(got), err, n)
				}
			}
			got, err := r.Referrers(t.Context(), subject, noteType)
			if err != nil || len(digests(got)) != 3 {
				t.Fatalf("Referrers = %v, %v; want 3", got, err)
			}
			for _, d := range got {
				if !want[d.Digest] || d.ArtifactType != noteType || d.Annotations["note"] == "" {
					t.Errorf("Referrers has %+v", d)
				}
			}
			// Readers that know no API find them in the tag.
			_, raw, err := r.Manifest(t.Context(), remote.FallbackTag(subject.Digest))
			var index ocispec.Index
			if err == nil {
				err = json.Unmarshal(raw, &index)
			}
			if err != nil || len(digests(index.Manifests)) != 3 || len(index.Manifests) != 3 {
				t.Errorf("fallback tag = %s, %v; want the three", raw, err)
			}
		})
	}
}

// Twelve writers, each with a client of its own as twelve processes would have,
// and a registry that helps none of them.
func TestPushReferrerConcurrently(t *testing.T) {
	s := testreg.New(t, testreg.Options{NoReferrers: true, Rules: []testreg.Rule{testreg.Fault("no-etag")}})
	subject := pushSubject(t, newRepo(t, s))
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 12 {
		r := newRepo(t, s)
		_, raw := manifestOf(t, r, &subject, fmt.Sprint(i))
		g.Go(func() error { return r.PushReferrer(ctx, raw, subject) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := newRepo(t, s).Referrers(t.Context(), subject, "")
	if err != nil || len(got) != 12 {
		t.Errorf("%d of 12 are listed, %v", len(got), err)
	}
}

func TestPushReferrerRefuses(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	subject := pushSubject(t, r)
	other, _ := content(1, 10)
	_, none := manifestOf(t, r, nil, "x")
	_, wrong := manifestOf(t, r, &other, "x")
	for name, raw := range map[string][]byte{"no subject": none, "another subject": wrong, "not JSON": []byte("{")} {
		if err := r.PushReferrer(t.Context(), raw, subject); err == nil {
			t.Errorf("PushReferrer with %s: no error", name)
		}
	}
	if got, err := r.Referrers(t.Context(), subject, ""); err != nil || len(got) != 0 {
		t.Errorf("Referrers = %v, %v; want none", got, err)
	}
}

// What stands under the fallback tag is anybody's.
func TestReferrersOfStrangeTags(t *testing.T) {
	image := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + emptyEntry + `,"layers":[]}`
	index := func(entries string) string {
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + entries + `]}`
	}
	entry := func(dgst, artifactType string) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":2,"artifactType":%q}`, dgst, artifactType)
	}
	good := digest.FromString("good").String()
	tests := map[string]struct {
		mediaType, raw string
		want           int
	}{
		"an image":        {ocispec.MediaTypeImageManifest, image, 0},
		"an empty index":  {ocispec.MediaTypeImageIndex, index(""), 0},
		"our type":        {ocispec.MediaTypeImageIndex, index(entry(good, noteType)), 1},
		"the empty type":  {ocispec.MediaTypeImageIndex, index(entry(good, "application/vnd.oci.empty.v1+json")), 1},
		"another type":    {ocispec.MediaTypeImageIndex, index(entry(good, "application/vnd.other")), 0},
		"the same twice":  {ocispec.MediaTypeImageIndex, index(entry(good, noteType) + "," + entry(good, noteType)), 1},
		"a digest of air": {ocispec.MediaTypeImageIndex, index(entry("sha256:../../x", noteType)), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{NoReferrers: true})
			r := newRepo(t, s)
			subject := pushSubject(t, r)
			h := strings.Contains(tt.raw, "../")
			if h || strings.Contains(tt.raw, good) {
				// No registry would take it; one that serves it is made.
				s = strange(t, tt.mediaType, tt.raw)
				r = newRepo(t, s)
			} else if err := r.PushManifest(t.Context(), describe(tt.mediaType, []byte(tt.raw)), []byte(tt.raw), remote.FallbackTag(subject.Digest)); err != nil {
				t.Fatal(err)
			}
			got, err := r.Referrers(t.Context(), subject, noteType)
			if err != nil || len(got) != tt.want {
				t.Errorf("Referrers = %v, %v; want %d", got, err, tt.want)
			}
		})
	}
}

const emptyEntry = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`

// strange serves one document under every tag, and no API.
func strange(t *testing.T, mediaType, raw string) *testreg.Server {
	t.Helper()
	return testreg.New(t, testreg.Options{NoReferrers: true, Rules: []testreg.Rule{{
		Method: "GET", Path: "/manifests/sha256-",
		Do: testreg.Status(200, map[string]string{"Content-Type": mediaType}, raw),
	}}})
}

func TestReferrersFaults(t *testing.T) {
	tests := map[string]error{
		"endless-referrers":   remote.ErrProtocol,
		"no-referrers":        nil,
		"fallback-is-subject": nil,
		"503x3":               nil,
		"500-forever":         remote.ErrUnreachable,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{})
			r := newRepo(t, s)
			subject := pushSubject(t, r)
			_, raw := manifestOf(t, r, &subject, "x")
			if err := r.PushReferrer(t.Context(), raw, subject); err != nil {
				t.Fatal(err)
			}
			s.Add(testreg.Fault(name))
			got, err := r.Referrers(t.Context(), subject, "")
			if want == nil && (err != nil || len(got) != 1) || want != nil && !errors.Is(err, want) {
				t.Errorf("Referrers = %v, %v; want %v", got, err, want)
			}
			if name == "endless-referrers" && !errors.Is(err, errdef.ErrTooManyPages) {
				t.Errorf("Referrers = %v, want ErrTooManyPages", err)
			}
		})
	}
}

func TestFallbackTag(t *testing.T) {
	sum := digest.SHA512.FromString("x")
	want := "sha512-" + sum.Encoded()[:64]
	if got := remote.FallbackTag(sum); got != want {
		t.Errorf("FallbackTag = %s, want %s", got, want)
	}
}
