package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	godigest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
)

const releasedReadme = "---\nlicense: mit\n---\n# As released\n"

// carded is a world with a version that has a card.
func carded(t *testing.T, readme string) *world {
	t.Helper()
	return cardedOn(newWorld(t), readme)
}

func cardedOn(w *world, readme string) *world {
	w.t.Helper()
	content := files{"config.json": "{}"}
	if readme != "" {
		content["README.md"] = readme
	}
	if _, err := w.Push(w.t.Context(), dir(w.t, content), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// revise pushes a revision of the card of org/m:v1 and returns its digest.
func (w *world) revise(text string, opts hub.CardPush) string {
	w.t.Helper()
	res, err := w.PushCard(w.t.Context(), w.ref("org/m:v1"), []byte(text), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	if !res.Created {
		w.t.Fatalf("no revision was made of %q", text)
	}
	return res.Revision.Digest
}

// cardText is what the card of org/m:v1 says.
func (w *world) cardText(opts hub.CardOptions) (string, *hub.CardResult) {
	w.t.Helper()
	res, err := w.Card(w.t.Context(), w.ref("org/m:v1"), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(res.Revision.Bytes()), res
}

func trustOf(s *signing.Signer) *signing.Trust {
	return &signing.Trust{Keys: []*signing.PublicKey{s.Public()}}
}

// Who is trusted decides which revision is the card; without anybody it is the
// one that the version was released with.
func TestEffectiveCard(t *testing.T) {
	w := carded(t, releasedReadme)
	team, other := alice(), stranger()
	before := w.digestOf("org/m", "v1")
	first := w.revise("# First\n", hub.CardPush{Signer: team.signer, Message: "say more", Author: "Ada", Created: time.Unix(1e9, 0)})
	second := w.revise("# Second\n", hub.CardPush{Signer: other.signer})
	third := w.revise("# Third\n", hub.CardPush{})
	if now := w.digestOf("org/m", "v1"); now != before {
		t.Errorf("the version is %s after its card was revised, and was %s", now, before)
	}
	tests := map[string]struct {
		opts          hub.CardOptions
		text, status  string
		digest, newer string
	}{
		"nobody is trusted":   {hub.CardOptions{}, releasedReadme, hub.CardReleased, before, third},
		"the team":            {hub.CardOptions{Trust: team.trust}, "# First\n", hub.CardVerified, first, third},
		"the stranger":        {hub.CardOptions{Trust: other.trust}, "# Second\n", hub.CardVerified, second, third},
		"somebody else":       {hub.CardOptions{Trust: party{teamSigner(), trustOf(teamSigner())}.trust}, releasedReadme, hub.CardReleased, before, third},
		"as released":         {hub.CardOptions{Trust: team.trust, Released: true}, releasedReadme, hub.CardReleased, before, ""},
		"by number":           {hub.CardOptions{Revision: "2"}, "# Second\n", hub.CardUnverified, second, ""},
		"by digest, verified": {hub.CardOptions{Revision: first[:20], Trust: team.trust}, "# First\n", hub.CardVerified, first, ""},
		"newest":              {hub.CardOptions{Revision: "newest"}, "# Third\n", hub.CardUnverified, third, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text, res := w.cardText(tt.opts)
			if text != tt.text || res.Revision.Status != tt.status || res.Revision.Digest != tt.digest {
				t.Errorf("card %q, %s, %s; want %q, %s, %s", text, res.Revision.Status, res.Revision.Digest, tt.text, tt.status, tt.digest)
			}
			newer := ""
			if res.Revision.Newer != nil {
				newer = res.Revision.Newer.Digest
			}
			if newer != tt.newer {
				t.Errorf("newer is %q, want %q", newer, tt.newer)
			}
		})
	}
	_, err := w.Card(t.Context(), w.ref("org/m:v1"), hub.CardOptions{Revision: "7"})
	wantErr(t, err, errdef.ErrNotFound)
}

// Without anybody being named, the publishers of the repository decide, and what
// they have signed is the card that inspection shows.
func TestCardOfPublishers(t *testing.T) {
	w := carded(t, releasedReadme)
	w.revise("---\nlicense: isc\n---\n# Second\n", hub.CardPush{Signer: alice().signer})
	w.revise("---\nlicense: wtfpl\n---\n# Third\n", hub.CardPush{Signer: stranger().signer})
	licence := func() string {
		t.Helper()
		res, err := w.Inspect(t.Context(), w.ref("org/m:v1"))
		if err != nil {
			t.Fatal(err)
		}
		return string(res.Card)
	}
	if got := licence(); !strings.Contains(got, "mit") {
		t.Errorf("nobody publishes, and the card says %s", got)
	}
	_, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		r.Publishers = []record.Party{{Key: string(alice().signer.Public().PEM())}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, res := w.cardText(hub.CardOptions{})
	if !strings.Contains(text, "# Second") || res.Revision.Status != hub.CardPublisher || res.Revision.Newer == nil {
		t.Errorf("card %q, %s", text, res.Revision.Status)
	}
	// Whoever may push could have named himself: it is the word of the record alone.
	h, err := w.CardHistory(t.Context(), w.ref("org/m:v1"), nil)
	if err != nil || h.Revisions[1].Status != hub.CardPublisher || h.Effective != h.Revisions[1].Digest {
		t.Errorf("history %+v, %v", h, err)
	}
	if _, res := w.cardText(hub.CardOptions{Trust: alice().trust}); res.Revision.Status != hub.CardVerified {
		t.Errorf("by name it is %s", res.Revision.Status)
	}
	if got := licence(); !strings.Contains(got, "isc") {
		t.Errorf("the publisher has revised the card, and it says %s", got)
	}
}

// A version without a card gets one, unsigned as it may be.
func TestCardOfVersionWithout(t *testing.T) {
	w := carded(t, "")
	_, err := w.Card(t.Context(), w.ref("org/m:v1"), hub.CardOptions{})
	wantErr(t, err, errdef.ErrNotFound)
	w.revise("# Added\n", hub.CardPush{})
	if text, _ := w.cardText(hub.CardOptions{}); text != "# Added\n" {
		t.Errorf("card %q", text)
	}
	_, err = w.Card(t.Context(), w.ref("org/m:v1"), hub.CardOptions{Trust: stranger().trust})
	wantErr(t, err, errdef.ErrNotFound)
}

// What the card says already makes no revision, but may be signed.
func TestPushCardAgain(t *testing.T) {
	w := carded(t, releasedReadme)
	res, err := w.PushCard(t.Context(), w.ref("org/m:v1"), []byte(releasedReadme), hub.CardPush{Signer: alice().signer})
	if err != nil || res.Created || res.Signatures != 0 {
		t.Errorf("the card as released: %+v, %v", res, err)
	}
	first := w.revise("# First\n", hub.CardPush{})
	s := alice().signer
	for i, want := range []int{1, 0} {
		res, err := w.PushCard(t.Context(), w.ref("org/m:v1"), []byte("# First\n"), hub.CardPush{Signer: s})
		if err != nil || res.Created || res.Signatures != want || res.Revision.Digest != first {
			t.Errorf("push %d again: %+v, %v", i, res, err)
		}
	}
	// Going back to what was released is a revision too.
	w.revise(releasedReadme, hub.CardPush{})
	_, err = w.PushCard(t.Context(), w.ref("org/m:v1"), []byte("---\na: [\n---\n"), hub.CardPush{})
	wantErr(t, err, hub.ErrUsage)
}

// A revision that was removed leaves a gap in what the others say.
func TestCardRevisionRemoved(t *testing.T) {
	w := carded(t, releasedReadme)
	team := alice()
	w.revise("# First\n", hub.CardPush{Signer: team.signer})
	second := w.revise("# Second\n", hub.CardPush{Signer: team.signer})
	w.revise("# Third\n", hub.CardPush{Signer: team.signer})
	desc, _ := w.manifest("org/m", second)
	if err := w.repo("org/m").Delete(t.Context(), desc); err != nil {
		t.Fatal(err)
	}
	h, err := w.CardHistory(t.Context(), w.ref("org/m:v1"), team.trust)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Problems) != 1 || h.Problems[0] != "a card revision was removed: "+second+", number 2" {
		t.Errorf("problems %q", h.Problems)
	}
	var seqs []int
	for _, rev := range h.Revisions {
		seqs = append(seqs, rev.Seq)
	}
	if len(seqs) != 3 || seqs[0] != 3 || seqs[1] != 1 || seqs[2] != 0 || h.Effective != h.Revisions[0].Digest {
		t.Errorf("revisions %v, effective %s", seqs, h.Effective)
	}
	if _, res := w.cardText(hub.CardOptions{Trust: team.trust}); len(res.Problems) != 1 {
		t.Errorf("show tells %q", res.Problems)
	}
}

// A signed revision of one version's card is none of another's, even if the list
// of a registry says so.
func TestCardOfAnotherVersion(t *testing.T) {
	w := carded(t, releasedReadme)
	team := alice()
	digest := w.revise("# First\n", hub.CardPush{Signer: team.signer})
	w.push("org/m:v2", "{}")
	desc, _ := w.manifest("org/m", digest)
	desc.ArtifactType = mediatypes.ArtifactCard
	index := listOf(t, []ocispec.Descriptor{desc})
	list := listTag(w.digestOf("org/m", "v2"))
	if err := w.repo("org/m").PushManifest(t.Context(), content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, index), index, list); err != nil {
		t.Fatal(err)
	}
	_, err := w.Card(t.Context(), w.ref("org/m:v2"), hub.CardOptions{Trust: team.trust})
	wantErr(t, err, errdef.ErrNotFound)
}

// Whoever may push cannot hide a signed revision behind many of his own with
// higher numbers, and what was not looked at is not called removed.
func TestCardCrowdedOut(t *testing.T) {
	for name, opts := range map[string]testreg.Options{"referrers API": {}, "tags alone": {NoReferrers: true}} {
		t.Run(name, func(t *testing.T) { crowdOut(t, cardedOn(newWorldWith(t, opts), releasedReadme)) })
	}
}

func crowdOut(t *testing.T, w *world) {
	t.Helper()
	team := alice()
	digest := w.revise("# First\n", hub.CardPush{Signer: team.signer})
	desc, _ := w.manifest("org/m", digest)
	desc.ArtifactType, desc.Annotations = mediatypes.ArtifactCard, map[string]string{mediatypes.AnnotationSeq: "1"}
	listed := []ocispec.Descriptor{desc}
	for i := range hub.MaxCardRevisions + 44 {
		other := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, fmt.Appendf(nil, "%d", i))
		other.ArtifactType, other.Annotations = mediatypes.ArtifactCard, map[string]string{mediatypes.AnnotationSeq: "1000000"}
		listed = append(listed, other)
	}
	index := listOf(t, listed)
	w.srv.Add(testreg.Rule{Path: "/manifests/" + listTag(w.digestOf("org/m", "v1")) + "$", Do: testreg.Status(200, map[string]string{
		"Content-Type": ocispec.MediaTypeImageIndex, "Docker-Content-Digest": godigest.FromBytes(index).String(),
	}, string(index))})
	text, res := w.cardText(hub.CardOptions{Trust: team.trust})
	if text != "# First\n" || res.Revision.Status != hub.CardVerified {
		t.Errorf("card %q, %s", text, res.Revision.Status)
	}
	if len(res.Problems) != 1 || !strings.HasPrefix(res.Problems[0], "301 card revisions are attached; 256 were looked at") {
		t.Errorf("problems %q", res.Problems)
	}
}

// listOf is a list of referrers, and listTag its tag.
func listOf(t *testing.T, manifests []ocispec.Descriptor) []byte {
	t.Helper()
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func listTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// Two who revise a card at the same time are told, and nothing is lost.
func TestPushCardConflict(t *testing.T) {
	w := carded(t, releasedReadme)
	other := newWorldOn(t, w)
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/manifests/sha256:", To: 1, Do: func(x testreg.Exchange) {
		if _, err := other.PushCard(context.WithoutCancel(t.Context()), w.ref("org/m:v1"), []byte("# Theirs\n"), hub.CardPush{}); err != nil {
			t.Error(err)
		}
		x.Pass(x.W)
	}})
	_, err := w.PushCard(t.Context(), w.ref("org/m:v1"), []byte("# Mine\n"), hub.CardPush{})
	wantErr(t, err, hub.ErrConflict)
	h, err := w.CardHistory(t.Context(), w.ref("org/m:v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Revisions) != 3 || len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "written at the same time") {
		t.Errorf("%d revisions, problems %q", len(h.Revisions), h.Problems)
	}
	w.revise("# Mine, with theirs\n", hub.CardPush{})
}

// What a card costs does not grow with the revisions below the one that counts,
// but for one manifest each.
func TestCardRequests(t *testing.T) {
	w := carded(t, releasedReadme)
	const revisions = 5
	for i := range revisions {
		w.revise(fmt.Sprintf("# %d\n", i), hub.CardPush{})
	}
	if _, err := w.PushCard(t.Context(), w.ref("org/m:v1"), fmt.Appendf(nil, "# %d\n", revisions-1), hub.CardPush{Signer: alice().signer}); err != nil {
		t.Fatal(err)
	}
	before := len(w.srv.Requests())
	if _, res := w.cardText(hub.CardOptions{Trust: alice().trust}); res.Revision.Seq != revisions {
		t.Fatalf("revision %d", res.Revision.Seq)
	}
	// The tag, two lists, the manifests; two lists, manifest and bundle of the
	// signature, its older tag; the README.
	if n := len(w.srv.Requests()) - before; n > 9+revisions {
		t.Errorf("%d requests, want at most %d", n, 9+revisions)
	}
}

// numbered attaches a revision of the card of org/m:v1 with a number that its writer
// made up.
func (w *world) numbered(seq int, text string) string {
	w.t.Helper()
	subject, _ := w.manifest("org/m", "v1")
	layer := content.NewDescriptorFromBytes(mediatypes.LayerMarkdown, []byte(text))
	if err := w.repo("org/m").Push(w.t.Context(), layer, strings.NewReader(text)); err != nil {
		w.t.Fatal(err)
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactCard,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
		Annotations: map[string]string{mediatypes.AnnotationSeq: fmt.Sprint(seq)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.repo("org/m").PushReferrer(w.t.Context(), raw, subject); err != nil {
		w.t.Fatal(err)
	}
	return godigest.FromBytes(raw).String()
}

// Whoever may push can give a revision any number. It stops nobody from editing the
// card, is not taken for the newest, and can be read.
func TestAbsurdCardNumbers(t *testing.T) {
	for _, first := range []int{1_000_000, 999_999, 900} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel()
			w := carded(t, releasedReadme)
			team := alice()
			w.revise("# First\n", hub.CardPush{Signer: team.signer})
			theirs := w.numbered(first, "# Theirs\n")
			for i := range 2 {
				second := w.revise(fmt.Sprintf("# Mine %d\n", i), hub.CardPush{Signer: team.signer})
				if text, res := w.cardText(hub.CardOptions{Trust: team.trust}); res.Revision.Digest != second {
					t.Errorf("the card is %q", text)
				}
				if text, res := w.cardText(hub.CardOptions{Revision: "newest"}); res.Revision.Digest != second {
					t.Errorf("the newest is %q, number %d", text, res.Revision.Seq)
				}
				if text, _ := w.cardText(hub.CardOptions{Revision: theirs[:20]}); text != "# Theirs\n" {
					t.Errorf("theirs reads %q", text)
				}
				h, err := w.CardHistory(t.Context(), w.ref("org/m:v1"), team.trust)
				if err != nil || h.Effective != second {
					t.Errorf("effective is %s, %v; want %s", h.Effective, err, second)
				}
				w.numbered(1_000_000, "# Theirs again\n")
			}
		})
	}
}

// Only such numbers, and the words of one of them: they are not signed.
func TestAbsurdCardNumbersAlone(t *testing.T) {
	w := carded(t, "")
	w.numbered(1_000_000, "# Theirs\n")
	mine := w.revise("# Theirs\n", hub.CardPush{Signer: alice().signer})
	if _, res := w.cardText(hub.CardOptions{Trust: alice().trust}); res.Revision.Digest != mine || res.Revision.Seq != 1 {
		t.Errorf("the card is number %d", res.Revision.Seq)
	}
	if next := w.revise("# Next\n", hub.CardPush{}); next == mine {
		t.Error("nothing follows")
	}
	if text, _ := w.cardText(hub.CardOptions{}); text != "# Next\n" {
		t.Errorf("the card is %q", text)
	}
}

// What somebody who counts has signed is believed, whatever its number: those who
// come after him count on from there.
func TestAbsurdCardNumberSigned(t *testing.T) {
	w := carded(t, releasedReadme)
	w.publish(alice())
	w.revise("# First\n", hub.CardPush{Signer: alice().signer})
	desc, _ := w.manifest("org/m", w.numbered(400_000, "# Signed\n"))
	about := signing.Target{Repository: w.srv.Host + "/org/m", Descriptor: desc}
	if _, err := signing.Sign(t.Context(), w.repo("org/m"), about, alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	if text, _ := w.cardText(hub.CardOptions{}); text != "# Signed\n" {
		t.Errorf("the card is %q", text)
	}
	w.revise("# Later\n", hub.CardPush{Signer: alice().signer})
	if text, res := w.cardText(hub.CardOptions{}); text != "# Later\n" || res.Revision.Seq != 400_001 {
		t.Errorf("the card is %q, number %d", text, res.Revision.Seq)
	}
}
