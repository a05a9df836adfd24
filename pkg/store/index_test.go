package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

func cancelledContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func references(t *testing.T, s *store.Store) []string {
	t.Helper()
	var list []string
	for e, err := range s.References(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e.Reference+" "+e.Descriptor.Digest.Encoded()[:4])
	}
	return list
}

func TestTags(t *testing.T) {
	s := openStore(t, t.TempDir())
	a, b := pushBlob(t, s, []byte("a")), pushBlob(t, s, []byte("b"))
	a4, b4 := a.Digest.Encoded()[:4], b.Digest.Encoded()[:4]
	a.Annotations = map[string]string{"kept": "yes", ocispec.AnnotationRefName: "dropped"}
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"no tags", func() error { return nil }, nil},
		{"a digest", func() error { return s.Tag(t.Context(), a, a.Digest.String()) }, []string{" " + a4}},
		{"its name", func() error { return s.Tag(t.Context(), a, "v1") }, []string{"v1 " + a4}},
		{"another name", func() error { return s.Tag(t.Context(), a, "main") }, []string{"v1 " + a4, "main " + a4}},
		{"a name moves", func() error { return s.Tag(t.Context(), b, "v1") }, []string{"main " + a4, "v1 " + b4}},
		{"the same again", func() error { return s.Tag(t.Context(), b, "v1") }, []string{"main " + a4, "v1 " + b4}},
		{"a name goes", func() error { return s.Untag(t.Context(), "main") }, []string{"v1 " + b4}},
		{"the other by digest", func() error { return s.Tag(t.Context(), a, a.Digest.String()) }, []string{"v1 " + b4, " " + a4}},
		{"goes by digest", func() error { return s.Untag(t.Context(), a.Digest.String()) }, []string{"v1 " + b4}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, references(t, s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	if err := s.Tag(t.Context(), a, "v1"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), "v1")
	want := a
	want.Annotations = map[string]string{"kept": "yes", ocispec.AnnotationRefName: "v1"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Resolve error = %v (-want +got):\n%s", err, diff)
	}
	got, err = s.Resolve(t.Context(), a.Digest.String())
	delete(want.Annotations, ocispec.AnnotationRefName)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Resolve of a digest error = %v (-want +got):\n%s", err, diff)
	}
	if a.Annotations[ocispec.AnnotationRefName] != "dropped" {
		t.Error("Tag changed the annotations it was given")
	}
}

func TestTagRefuses(t *testing.T) {
	s := openStore(t, t.TempDir())
	desc := pushBlob(t, s, []byte("a"))
	if err := s.Tag(t.Context(), desc, ""); !errors.Is(err, errdef.ErrMissingReference) {
		t.Errorf("Tag of no name error = %v", err)
	}
	if err := s.Tag(t.Context(), desc, strings.Repeat("x", 1<<20)); !errors.Is(err, errdef.ErrInvalidReference) {
		t.Errorf("Tag of a long name error = %v", err)
	}
	if err := s.Tag(t.Context(), storetest.Blob([]byte("b")), "v1"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Tag of nothing error = %v", err)
	}
	if err := s.Untag(t.Context(), "v1"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Untag of nothing error = %v", err)
	}
	if err := s.Tag(cancelledContext(t), desc, "v1"); !errors.Is(err, context.Canceled) {
		t.Errorf("Tag without time error = %v", err)
	}
	if got := references(t, s); len(got) > 0 {
		t.Errorf("references = %v, want none", got)
	}
}
