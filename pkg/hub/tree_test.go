package hub_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

// attach pushes a manifest of a type that refers to subject.
func (w *world) attach(name, artifactType string, subject ocispec.Descriptor) ocispec.Descriptor {
	w.t.Helper()
	empty := ocispec.DescriptorEmptyJSON
	_ = w.repo(name).Push(w.t.Context(), empty, bytes.NewReader(empty.Data)) // it may be there
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: empty, Layers: []ocispec.Descriptor{empty},
		Subject: &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.repo(name).PushReferrer(w.t.Context(), raw, subject); err != nil {
		w.t.Fatal(err)
	}
	return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
}

// outline is a tree in a line for each node.
func outline(nodes []hub.TreeNode, indent string) (lines []string) {
	for _, n := range nodes {
		line := indent + n.Kind
		if n.PredicateType != "" {
			line += " " + signing.PredicateName(n.PredicateType)
		}
		if n.Verified != nil {
			line += " verified"
		}
		if n.Problem != "" {
			line += " problem"
		}
		lines = append(lines, line)
		lines = append(lines, outline(n.Attached, indent+"  ")...)
	}
	return lines
}

func TestTree(t *testing.T) {
	for name, opts := range map[string]testreg.Options{"referrers API": {}, "referrers tag": {NoReferrers: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, opts)
			w.push("acme/m:v1", "one")
			w.push("acme/m:v2", "two")
			index := w.pushIndex("acme/m", "all", "v1", "v2")
			if _, err := w.Sign(t.Context(), w.ref("acme/m:all"), alice().signer, signing.SignOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Sign(t.Context(), w.ref("acme/m:v1"), stranger().signer, signing.SignOptions{Format: signing.Classic}); err != nil {
				t.Fatal(err)
			}
			p := signing.Predicate{Type: signing.PredicateVuln, Raw: []byte(`{}`)}
			made, err := w.Attest(t.Context(), w.ref("acme/m:v1"), alice().signer, p, signing.AttestOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Sign(t.Context(), w.ref("acme/m@"+made.Attestation), alice().signer, signing.SignOptions{}); err != nil {
				t.Fatal(err)
			}
			card := w.attach("acme/m", "application/vnd.modelreg.card.v1", index)
			w.attach("acme/m", "application/vnd.example.note", card)

			tree, err := w.Tree(t.Context(), w.ref("acme/m:all"), alice().trust)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{
				"model", "  signature problem", "  attestation vuln verified", "    signature verified",
				"model", "signature verified", "card", "  other",
			}
			if diff := cmp.Diff(want, outline(tree.Root.Attached, "")); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			if tree.Root.Kind != "index" || tree.Truncated || tree.Digest != index.Digest.String() {
				t.Errorf("root = %+v", tree.Root)
			}
			plain, err := w.Tree(t.Context(), w.ref("acme/m:v1"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"signature", "attestation vuln", "  signature"}, outline(plain.Root.Attached, "")); diff != "" {
				t.Errorf("without a trust (-want +got):\n%s", diff)
			}
		})
	}
}

// Whoever can write a referrers tag can list there what he likes: what refers to
// something else is said to, and leads no further.
func TestTreeHostile(t *testing.T) {
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	w.push("acme/m:v1", "one")
	w.push("acme/m:v2", "two")
	mine, _ := w.manifest("acme/m", "v1")
	theirs, _ := w.manifest("acme/m", "v2")
	elsewhere := w.attach("acme/m", "application/vnd.example.note", theirs)
	w.attach("acme/m", "application/vnd.example.more", elsewhere)
	absent := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, []byte("absent"))
	list := func(manifests ...ocispec.Descriptor) {
		raw, err := json.Marshal(ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests,
		})
		if err != nil {
			t.Fatal(err)
		}
		w.srv.Reset()
		w.srv.Add(testreg.Rule{
			Method: "GET,HEAD", Path: "/manifests/" + strings.Replace(mine.Digest.String(), ":", "-", 1) + "$",
			Do: testreg.Status(200, map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}, string(raw)),
		})
	}
	list(elsewhere, mine, absent)
	tree, err := w.Tree(t.Context(), w.ref("acme/m:v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"other problem", "other problem"}, outline(tree.Root.Attached, "")); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}

	var many []ocispec.Descriptor
	for i := range hub.MaxTreeNodes + 5 {
		d := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, fmt.Append(nil, i))
		d.ArtifactType = "application/vnd.example.note"
		many = append(many, d)
	}
	list(many...)
	tree, err = w.Tree(t.Context(), w.ref("acme/m:v1"), nil)
	if err != nil || !tree.Truncated || len(tree.Root.Attached) > hub.MaxTreeNodes {
		t.Errorf("%d nodes, %v; want no more than %d, and it said", len(tree.Root.Attached), err, hub.MaxTreeNodes)
	}
}

// A chain of referrers ends.
func TestTreeDepth(t *testing.T) {
	w := newWorld(t)
	w.push("acme/m:v1", "one")
	at, _ := w.manifest("acme/m", "v1")
	for i := range hub.MaxTreeDepth + 3 {
		at = w.attach("acme/m", fmt.Sprintf("application/vnd.example.v%d", i), at)
	}
	tree, err := w.Tree(t.Context(), w.ref("acme/m:v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := outline(tree.Root.Attached, ""); len(got) != hub.MaxTreeDepth || !tree.Truncated {
		t.Errorf("%d nodes below each other, truncated %v; want %d", len(got), tree.Truncated, hub.MaxTreeDepth)
	}
}

// A registry that fails gives no tree, rather than half of one.
func TestTreeFails(t *testing.T) {
	w := newWorld(t)
	w.push("acme/m:v1", "one")
	w.srv.Add(testreg.Rule{Path: "/referrers/", Do: testreg.Status(403, nil, "")})
	if tree, err := w.Tree(t.Context(), w.ref("acme/m:v1"), nil); err == nil {
		t.Errorf("Tree = %+v, want an error", tree)
	}
}
