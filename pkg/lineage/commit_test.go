package lineage_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// manifest is one with these annotations, and two layers.
func manifest(t testing.TB, annotations map[string]string) (ocispec.Descriptor, []byte) {
	t.Helper()
	layer := func(size int64) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: "application/x", Digest: digest.FromString("x"), Size: size}
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactModel,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer(3), layer(4)}, Annotations: annotations,
	})
	if err != nil {
		t.Fatal(err)
	}
	return describe(raw), raw
}

func describe(raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

func TestParseCommit(t *testing.T) {
	a, b := named("a"), named("b")
	many := make([]string, lineage.MaxParents+1)
	for i := range many {
		many[i] = named(strings.Repeat("x", i)).String()
	}
	tests := map[string]struct {
		annotations map[string]string
		want        lineage.Commit
	}{
		"nothing": {},
		"all": {
			map[string]string{
				mediatypes.AnnotationParents: a.String() + "," + b.String(), mediatypes.AnnotationMessage: "one\n\ntwo\n",
				mediatypes.AnnotationAuthor: "A <a@b>", mediatypes.AnnotationChangeID: "c", mediatypes.AnnotationSquashed: b.String(),
				ocispec.AnnotationCreated: "2026-05-03T12:00:00+02:00",
			},
			lineage.Commit{
				Parents: []digest.Digest{a, b}, Message: "one\n\ntwo", Author: "A <a@b>", ChangeID: "c", Squashed: b,
				Created: time.Date(2026, 5, 3, 10, 0, 0, 0, time.UTC),
			},
		},
		"a parent twice": {map[string]string{mediatypes.AnnotationParents: a.String() + "," + a.String()}, lineage.Commit{Parents: []digest.Digest{a}}},
		"a parent that is no digest": {
			map[string]string{mediatypes.AnnotationParents: "sha256:12," + a.String()},
			lineage.Commit{Parents: []digest.Digest{a}, Problem: "a parent is no digest"},
		},
		"a date that is none": {map[string]string{ocispec.AnnotationCreated: "yesterday"}, lineage.Commit{}},
		"a long author": {
			map[string]string{mediatypes.AnnotationAuthor: strings.Repeat("ä", 200)},
			lineage.Commit{Author: strings.Repeat("ä", 128), Problem: "author of 400 bytes, more than 256"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			desc, raw := manifest(t, tt.annotations)
			tt.want.Digest, tt.want.Size = desc.Digest, 7
			if tt.want.ChangeID == "" {
				tt.want.ChangeID = lineage.Revision(desc.Digest)
			}
			got, err := lineage.ParseCommit(desc, raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	desc, raw := manifest(t, map[string]string{mediatypes.AnnotationParents: strings.Join(many, ",")})
	if c, err := lineage.ParseCommit(desc, raw); err != nil || len(c.Parents) != lineage.MaxParents || c.Problem == "" {
		t.Errorf("%d parents of too many, problem %q, %v", len(c.Parents), c.Problem, err)
	}
	if _, err := lineage.ParseCommit(desc, []byte("{")); !errors.Is(err, mediatypes.ErrMalformed) {
		t.Errorf("half a manifest: %v", err)
	}
}

func TestCommitAnnotations(t *testing.T) {
	for name, c := range map[string]lineage.Commit{
		"escape in message": {Message: "a\x1b[31m"},
		"not UTF-8":         {Message: "\xff"},
		"author of lines":   {Author: "a\nb"},
		"long message":      {Message: strings.Repeat("x", lineage.MaxMessageBytes+1)},
		"parent twice":      {Parents: []digest.Digest{named("a"), named("a")}},
		"many parents":      {Parents: make([]digest.Digest, lineage.MaxParents+1)},
	} {
		if _, err := c.Annotations(); !errors.Is(err, lineage.ErrCommit) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	// What is written is read, and a first version says nothing.
	c := lineage.Commit{Parents: []digest.Digest{named("a")}, Message: "m\r\n\tn", Author: "me", ChangeID: "1", Squashed: named("b")}
	annotations, err := c.Annotations()
	if err != nil {
		t.Fatal(err)
	}
	desc, raw := manifest(t, annotations)
	got, err := lineage.ParseCommit(desc, raw)
	if err != nil {
		t.Fatal(err)
	}
	c.Digest, c.Size, c.Message = desc.Digest, 7, "m\n\tn"
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if empty, err := (lineage.Commit{}).Annotations(); err != nil || len(empty) != 0 {
		t.Errorf("annotations of a first version: %v, %v", empty, err)
	}
}

func TestSameContent(t *testing.T) {
	read := func(annotations map[string]string) ocispec.Manifest {
		_, raw := manifest(t, annotations)
		m, err := mediatypes.ParseManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := read(map[string]string{"x": "1"})
	same := read(map[string]string{"x": "1", mediatypes.AnnotationMessage: "m", mediatypes.AnnotationParents: named("a").String()})
	if !lineage.SameContent(m, same) {
		t.Error("history makes other content")
	}
	others := map[string]func(*ocispec.Manifest){
		"annotation": func(m *ocispec.Manifest) { m.Annotations = map[string]string{"x": "2"} },
		"config":     func(m *ocispec.Manifest) { m.Config.Digest = named("c") },
		"layer":      func(m *ocispec.Manifest) { m.Layers[1].Digest = named("c") },
		"path": func(m *ocispec.Manifest) {
			m.Layers[1].Annotations = maps.Clone(m.Layers[1].Annotations)
			if m.Layers[1].Annotations == nil {
				m.Layers[1].Annotations = map[string]string{}
			}
			m.Layers[1].Annotations[mediatypes.AnnotationFilepath] = "other"
		},
		"fewer": func(m *ocispec.Manifest) { m.Layers = m.Layers[:1] },
	}
	for name, change := range others {
		other := read(map[string]string{"x": "1"})
		change(&other)
		if lineage.SameContent(m, other) {
			t.Errorf("another %s is the same content", name)
		}
	}
}

// An index says how large its variants are, and what it says may be anything.
func TestParseCommitOfIndex(t *testing.T) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, annotations := range []map[string]string{
		{mediatypes.AnnotationVariantName: "a", mediatypes.AnnotationVariantSize: "40"},
		{mediatypes.AnnotationVariantName: "b", mediatypes.AnnotationVariantSize: "9223372036854775807"},
		{mediatypes.AnnotationVariantName: "c", mediatypes.AnnotationVariantSize: "-3"},
		{mediatypes.AnnotationVariantSize: "2"},
		{"vnd.docker.reference.type": "attestation-manifest"},
	} {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: named("child"), Size: 1, Annotations: annotations,
		})
	}
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	desc := describe(raw)
	desc.MediaType = ocispec.MediaTypeImageIndex
	c, err := lineage.ParseCommit(desc, raw)
	if err != nil || !c.Index || c.Size != 42 || c.Variants != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzParseCommit states that whatever a manifest says, what is read of it is
// bounded and can be written again, but for characters that only escaped text
// may have.
func FuzzParseCommit(f *testing.F) {
	_, raw := manifest(f, map[string]string{
		mediatypes.AnnotationParents: named("a").String() + ",x", mediatypes.AnnotationMessage: "m\x1b", mediatypes.AnnotationAuthor: "\xff",
		ocispec.AnnotationCreated: "2026-01-01T00:00:00Z",
	})
	f.Add(raw, false)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), true)
	f.Fuzz(func(t *testing.T, raw []byte, index bool) {
		desc := describe(raw)
		if index {
			desc.MediaType = ocispec.MediaTypeImageIndex
		}
		c, err := lineage.ParseCommit(desc, raw)
		if err != nil {
			return
		}
		if len(c.Parents) > lineage.MaxParents || len(c.Message) > 3*lineage.MaxMessageBytes || len(c.Author) > 3*lineage.MaxAuthorBytes {
			t.Errorf("%d parents, a message of %d bytes, an author of %d", len(c.Parents), len(c.Message), len(c.Author))
		}
		if !utf8.ValidString(c.Message) || !utf8.ValidString(c.Author) || !utf8.ValidString(c.ChangeID) {
			t.Errorf("not UTF-8: %q %q %q", c.Message, c.Author, c.ChangeID)
		}
		c.Message, c.Author = "", ""
		if _, err := c.Annotations(); err != nil {
			t.Errorf("parents cannot be written again: %v", err)
		}
	})
}
