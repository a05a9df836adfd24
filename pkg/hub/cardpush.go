package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// CardOptions says which card is wanted, and whom to trust with it. The zero value
// is the card that counts by the word of the repository's publishers.
type CardOptions struct {
	// Trust are those whose revisions count. Nil takes the publishers that the
	// repository names, and where it names none the card as released.
	Trust *signing.Trust

	// Released takes the card that is part of the version, whatever was
	// attached since.
	Released bool

	// Revision, if not empty, is the one that is wanted: its number, the
	// beginning of its digest, "released" or "newest".
	Revision string
}

// A CardResult is a card and what it is of.
type CardResult struct {
	Reference string       `json:"reference"`
	Digest    string       `json:"digest"` // of the version
	Revision  CardRevision `json:"revision"`
	Problems  []string     `json:"problems"`

	// Annotations are those of the version's manifest: what it says of itself.
	Annotations map[string]string `json:"annotations"`
}

// Pinned tells whether the version itself says which bytes a base model of its card
// is.
func (r *CardResult) Pinned(base string) bool {
	for _, e := range lineage.Edges(r.Annotations, card.Metadata{}) {
		name, _, _ := strings.Cut(strings.TrimPrefix(e.Reference, "hf:"), "@")
		from, _, _ := strings.Cut(strings.TrimPrefix(e.ImportedFrom, "hf:"), "@")
		repository, _, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
		same := name == base || from == base || strings.HasSuffix(base, "/"+repository) || base == repository
		if e.Pinned() && e.Relation != lineage.Dataset && same {
			return true
		}
	}
	return false
}

// Card returns the card of the version that r resolves to.
func (h *Hub) Card(ctx context.Context, r ref.Reference, opts CardOptions) (*CardResult, error) {
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, err
	}
	if _, err := h.admit(ctx, r, t, admitOptions{checkOnly: true}); err != nil {
		return nil, err
	}
	rev, err := h.cardOf(ctx, t, opts)
	if err != nil {
		return nil, err
	}
	res := &CardResult{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(), Revision: *rev, Problems: append([]string{}, rev.problems...),
		Annotations: map[string]string{},
	}
	var m struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(t.raw, &m); err == nil && m.Annotations != nil {
		res.Annotations = m.Annotations
	}
	return res, nil
}

func (h *Hub) cardOf(ctx context.Context, t *target, opts CardOptions) (*CardRevision, error) {
	switch {
	case opts.Released, opts.Revision == CardReleased:
		return h.releasedCard(ctx, t)
	case opts.Revision == "":
		return h.effectiveCard(ctx, t, opts.Trust)
	}
	revisions, problems, err := h.cardRevisions(ctx, t)
	if err != nil {
		return nil, err
	}
	rev, err := pickRevision(revisions, opts.Revision)
	if err != nil {
		return nil, fmt.Errorf("card of %s: %w", t.ref, err)
	}
	trust, err := h.cardTrust(ctx, t, opts.Trust)
	if err != nil {
		return nil, err
	}
	if err := verifyCard(ctx, t, rev, trust); err != nil {
		return nil, err
	}
	rev.problems = problems
	return rev, fetchReadme(ctx, t, rev)
}

// pickRevision finds the revision that a user means.
func pickRevision(revisions []*CardRevision, name string) (*CardRevision, error) {
	if name == "newest" && len(revisions) > 0 {
		return revisions[0], nil
	}
	n, _ := strconv.Atoi(name)
	var found []*CardRevision
	for _, rev := range revisions {
		if rev.Seq == n || len(name) >= 8 && hasPrefix(digest.Digest(rev.Digest), name) {
			found = append(found, rev)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("revision %q: %w", name, errdef.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%w: revision %q: %d revisions answer to it: give the digest", ErrUsage, name, len(found))
}

// A CardHistory is all that a version's card was, the newest revision first, and
// the card that it was released with last.
type CardHistory struct {
	Reference string         `json:"reference"`
	Digest    string         `json:"digest"`
	Effective string         `json:"effective"` // the digest of the revision that counts; "" if there is none
	Revisions []CardRevision `json:"revisions"`
	Problems  []string       `json:"problems"` // such as a revision that was removed
}

// CardHistory lists the revisions of the card of the version that r resolves to,
// and who that is trusted has signed them.
func (h *Hub) CardHistory(ctx context.Context, r ref.Reference, given *signing.Trust) (*CardHistory, error) {
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, err
	}
	if _, err := h.admit(ctx, r, t, admitOptions{checkOnly: true}); err != nil {
		return nil, err
	}
	revisions, problems, err := h.cardRevisions(ctx, t)
	if err != nil {
		return nil, err
	}
	trust, err := h.cardTrust(ctx, t, given)
	if err != nil {
		return nil, err
	}
	if err := verifyCards(ctx, t, revisions, trust); err != nil {
		return nil, err
	}
	res := &CardHistory{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(),
		Revisions: []CardRevision{}, Problems: append([]string{}, problems...),
	}
	for _, rev := range revisions {
		res.Revisions = append(res.Revisions, *rev)
	}
	if rev := newestCounting(byNumber(revisions)); rev != nil {
		res.Effective = rev.Digest
	}
	released, err := h.releasedCard(ctx, t)
	if errors.Is(err, errdef.ErrNotFound) {
		if res.Effective == "" && len(revisions) > 0 && trust.Trust == nil {
			res.Effective = revisions[0].Digest
		}
		return res, nil
	}
	if err != nil {
		return nil, err
	}
	if res.Effective == "" {
		res.Effective = released.Digest
	}
	res.Revisions = append(res.Revisions, *released)
	return res, nil
}

// A CardPush says how [Hub.PushCard] writes a revision.
type CardPush struct {
	// Message and Author go into the revision as they are, if they are not
	// empty, and so does Created unless it is zero.
	Message, Author string
	Created         time.Time

	// Signer signs the revision. Nil leaves it unsigned, which makes it count
	// for nobody who knows whom to trust.
	Signer *signing.Signer
}

// A CardPushResult says what [Hub.PushCard] did.
type CardPushResult struct {
	Reference  string       `json:"reference"`
	Digest     string       `json:"digest"` // of the version, which stays what it was
	Revision   CardRevision `json:"revision"`
	Created    bool         `json:"created"`    // false when the card said this before
	Signatures int          `json:"signatures"` // made now
}

// PushCard attaches readme to the version that r resolves to, as the newest
// revision of its card. The version's digest and signatures stay what they are.
// What is the newest revision already, or was released and never revised, is
// attached no second time. Two that are pushed at the same moment are both kept,
// and the error wraps ErrConflict.
func (h *Hub) PushCard(ctx context.Context, r ref.Reference, readme []byte, opts CardPush) (*CardPushResult, error) {
	c, err := card.Parse(readme)
	if err != nil {
		return nil, err
	}
	if c.Problem != nil {
		return nil, fmt.Errorf("%w: push card: %w", ErrUsage, c.Problem)
	}
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	revisions, _, err := h.cardRevisions(ctx, t)
	if err != nil {
		return nil, err
	}
	res := &CardPushResult{Reference: t.ref.String(), Digest: t.desc.Digest.String()}
	same, err := h.sameCard(ctx, t, revisions, digest.FromBytes(readme))
	if err != nil {
		return nil, err
	}
	if same == nil {
		if same, err = h.attachCard(ctx, t, revisions, readme, opts); err != nil {
			return nil, err
		}
		res.Created = true
	}
	res.Revision = *same
	if opts.Signer == nil || same.Status == CardReleased {
		return res, nil
	}
	made, err := signing.Sign(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: same.desc}, opts.Signer, signing.SignOptions{})
	if err != nil {
		return nil, fmt.Errorf("sign card revision %s: %w", same.Digest, err)
	}
	res.Signatures = len(made)
	return res, nil
}

// sameCard returns the card that is there if a README says the same.
func (h *Hub) sameCard(ctx context.Context, t *target, revisions []*CardRevision, readme digest.Digest) (*CardRevision, error) {
	switch {
	case len(revisions) > 0 && revisions[0].counted && revisions[0].Readme == readme.String():
		return revisions[0], nil
	case len(revisions) > 0: // one with an absurd number is not to be signed
		return nil, nil
	}
	released, err := h.releasedCard(ctx, t)
	if errors.Is(err, errdef.ErrNotFound) || err == nil && released.Readme != readme.String() {
		return nil, nil
	}
	return released, err
}

// attachCard writes a revision that follows the others, and looks whether
// another was written meanwhile.
func (h *Hub) attachCard(ctx context.Context, t *target, revisions []*CardRevision, readme []byte, opts CardPush) (*CardRevision, error) {
	seq, prev, err := h.nextCard(ctx, t, revisions, opts.Signer)
	if err != nil {
		return nil, err
	}
	doc := document{
		artifactType: mediatypes.ArtifactCard, layerType: mediatypes.LayerMarkdown, title: cardFile, raw: readme,
		annotations: cardAnnotations(seq, prev, opts),
	}
	desc, _, err := attach(ctx, t, doc)
	if err != nil {
		return nil, fmt.Errorf("push card of %s: %w", t.ref, err)
	}
	now, _, err := h.cardRevisions(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, other := range now {
		if other.Digest != desc.Digest.String() && other.Prev == prev && other.Seq == seq {
			return nil, fmt.Errorf("%w: push card of %s: another writer attached revision %s while %s was; both are kept", ErrConflict, t.ref, other.Digest, desc.Digest)
		}
	}
	for _, mine := range now {
		if mine.Digest == desc.Digest.String() {
			return mine, nil
		}
	}
	return nil, fmt.Errorf("push card of %s: revision %s is not listed: %w", t.ref, desc.Digest, errdef.ErrNotFound)
}

// nextCard is the number of a revision that comes after others, and the one that it
// follows: the newest. A number that nobody can have counted to is that of a revision
// which is passed over, unless it was signed by those whose revisions count, or by the
// signer.
func (h *Hub) nextCard(ctx context.Context, t *target, revisions []*CardRevision, s *signing.Signer) (seq int, prev string, err error) {
	if len(revisions) == 0 {
		return 1, "", nil
	}
	newest := revisions[0]
	if newest.counted {
		seq = newest.Seq
	}
	absurd := slices.DeleteFunc(byNumber(revisions), func(rev *CardRevision) bool { return rev.counted })
	if len(absurd) > 0 {
		who, err := h.publishers(ctx, t)
		if err != nil {
			return 0, "", err
		}
		for _, trust := range []*signing.Trust{who, ownTrust(s)} {
			if err := verifyCards(ctx, t, absurd, cardTrust{trust, CardPublisher}); err != nil {
				return 0, "", err
			}
			if rev := newestCounting(absurd); rev != nil && rev.Seq > seq {
				newest, seq = rev, rev.Seq
			}
		}
	}
	if seq >= card.MaxSeq {
		return 0, "", fmt.Errorf("%w: push card of %s: revision %s is signed, and has the highest number there is: delete it", ErrConflict, t.ref, newest.Digest)
	}
	return seq + 1, newest.Digest, nil
}

// ownTrust trusts the key of a signer; nil if there is none, or it is not known before
// it signs.
func ownTrust(s *signing.Signer) *signing.Trust {
	if s == nil || s.Public() == nil {
		return nil
	}
	return &signing.Trust{Keys: []*signing.PublicKey{s.Public()}}
}

func cardAnnotations(seq int, prev string, opts CardPush) map[string]string {
	out := map[string]string{mediatypes.AnnotationSeq: strconv.Itoa(seq)}
	add := func(key, value string) {
		if value != "" {
			out[key] = value
		}
	}
	add(mediatypes.AnnotationPrev, prev)
	add(mediatypes.AnnotationMessage, opts.Message)
	add(mediatypes.AnnotationAuthor, opts.Author)
	if !opts.Created.IsZero() {
		add(ocispec.AnnotationCreated, opts.Created.UTC().Format(time.RFC3339))
	}
	return out
}
