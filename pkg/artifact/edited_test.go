package artifact_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// What a user made of the files of a version is not lost to the next, nor to the
// same again.
func TestUnpackSparesEdits(t *testing.T) {
	v1 := map[string]string{"card.md": "one", "same.txt": "same", "gone.txt": "gone"}
	v2 := map[string]string{"card.md": "two", "same.txt": "same", "longer.txt": "a new one"}
	tests := map[string]struct {
		edits map[string]string // "" removes
		next  map[string]string
		lost  []string
	}{
		"none":                       {nil, v2, nil},
		"replaced by others":         {map[string]string{"card.md": "mine"}, v2, []string{"card.md"}},
		"of the same length":         {map[string]string{"card.md": "uno"}, v2, []string{"card.md"}},
		"removed by the next":        {map[string]string{"gone.txt": "GONE"}, v2, []string{"gone.txt"}},
		"same in both versions":      {map[string]string{"same.txt": "SAME", "gone.txt": "more than that"}, v2, []string{"gone.txt", "same.txt"}},
		"what the next has":          {map[string]string{"card.md": "two"}, v2, nil},
		"removed by the user":        {map[string]string{"card.md": "", "gone.txt": ""}, v2, nil},
		"the same version":           {map[string]string{"card.md": "uno"}, v1, []string{"card.md"}},
		"the same version, in parts": {map[string]string{"card.md": ""}, v1, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			a1 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), v1), b, artifact.PackOptions{}).Descriptor)
			a2 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), tt.next), b, artifact.PackOptions{}).Descriptor)
			out := filepath.Join(t.TempDir(), "m")
			mustUnpack(t, a1, b, out, artifact.UnpackOptions{})
			edit(t, out, tt.edits)
			before, fetches := readTree(t, out), b.fetches()

			_, planned := artifact.PlanUnpack(t.Context(), a2, b, out, artifact.UnpackOptions{})
			_, err := artifact.Unpack(t.Context(), a2, b, out, artifact.UnpackOptions{})
			if len(tt.lost) == 0 {
				if diff := cmp.Diff(tt.next, readTree(t, out)); err != nil || planned != nil || diff != "" {
					t.Errorf("Unpack = %v, planned %v; -want +got:\n%s", err, planned, diff)
				}
				return
			}
			for what, err := range map[string]error{"plan": planned, "unpack": err} {
				edited, ok := errors.AsType[*artifact.EditedError](err)
				if !ok || !errors.Is(err, artifact.ErrEdited) || !slices.Equal(edited.Files, tt.lost) {
					t.Errorf("%s: %v, want %q", what, err, tt.lost)
				}
			}
			if diff := cmp.Diff(before, readTree(t, out)); diff != "" || b.fetches() != fetches {
				t.Errorf("%d blobs were fetched, and the target changed:\n%s", b.fetches()-fetches, diff)
			}
			mustUnpack(t, a2, b, out, artifact.UnpackOptions{Force: true})
			if diff := cmp.Diff(tt.next, readTree(t, out)); diff != "" {
				t.Errorf("forced (-want +got):\n%s", diff)
			}
		})
	}
}

func edit(t *testing.T, dir string, edits map[string]string) {
	t.Helper()
	for name, text := range edits {
		file := filepath.Join(dir, name)
		err := os.Remove(file)
		if text != "" {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Hours may pass between the first look and the swap. What was fetched is there
// for whoever goes on by force.
func TestUnpackSparesLateEdits(t *testing.T) {
	b := newBlobs()
	a1 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "one"}), b, artifact.PackOptions{}).Descriptor)
	a2 := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a": "two"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "m")
	mustUnpack(t, a1, b, out, artifact.UnpackOptions{})
	_, err := artifact.Unpack(t.Context(), a2, b, out, artifact.UnpackOptions{Observe: func(transfer.Event) {
		writeTree(t, out, map[string]string{"a": "mine, of now"})
	}})
	if !errors.Is(err, artifact.ErrEdited) {
		t.Fatalf("Unpack = %v, want ErrEdited", err)
	}
	if diff := cmp.Diff(map[string]string{"a": "mine, of now"}, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if u := mustUnpack(t, a2, b, out, artifact.UnpackOptions{Force: true}); u.Fetched != 0 {
		t.Errorf("%d bytes were fetched again", u.Fetched)
	}
}

func TestEditedErrorIsShort(t *testing.T) {
	e := &artifact.EditedError{Dir: "/m"}
	for i := range 12 {
		e.Files = append(e.Files, fmt.Sprintf("%02d\n", i))
	}
	if s := e.Error(); !strings.Contains(s, `"09\n" and 2 more`) || strings.Contains(s, "\n") || strings.Contains(s, "10") {
		t.Errorf("error %q", s)
	}
}
