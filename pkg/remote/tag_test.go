package remote_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A tag for what was just pushed needs no reading; one for anything else does.
func TestTagAfterPush(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	repo := repoOf(t, newClient(t, remote.Options{}), s.Host+"/org/model")
	var descs []ocispec.Descriptor
	for _, name := range []string{"first", "second"} {
		raw := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[],"annotations":{"name":"` + name + `"}}`)
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		if err := repo.PushManifest(t.Context(), desc, raw); err != nil {
			t.Fatal(err)
		}
		descs = append(descs, desc)
	}
	for _, tt := range []struct{ index, want int }{{1, 0}, {0, 1}} {
		before := len(s.Requests())
		if err := repo.Tag(t.Context(), descs[tt.index], "v1"); err != nil {
			t.Fatal(err)
		}
		reads := 0
		for _, r := range s.Requests()[before:] {
			if r.Method == "GET" {
				reads++
			}
		}
		if reads != tt.want {
			t.Errorf("tag of manifest %d: %d reads, want %d", tt.index, reads, tt.want)
		}
		if got, err := repo.Resolve(t.Context(), "v1"); err != nil || got.Digest != descs[tt.index].Digest {
			t.Errorf("v1 is %s, %v", got.Digest, err)
		}
	}
}
