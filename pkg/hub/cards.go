package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	// MaxCardRevisions bounds the revisions of one version's card that are
	// looked at; of more, those come first that something refers to, as a
	// signature does, and then those with the highest numbers that can be right.
	MaxCardRevisions = 256

	// maxAskedRevisions bounds the revisions of which it is asked whether they
	// are signed, before it is decided which are looked at.
	maxAskedRevisions = 2048

	cardWorkers = 8 // revisions that are read at once
	cardFile    = "README.md"
)

// What is known of the trust in a [CardRevision].
const (
	CardReleased = "released" // it is part of the version, signed with it
	CardVerified = "verified" // somebody whom the reader trusts has signed it

	// CardPublisher is signed by a publisher whom the repository's record names,
	// where the reader names nobody. Whoever may push can write the record: it
	// counts as the card, and vouches for nothing.
	CardPublisher  = "publisher"
	CardUnverified = "unverified" // nobody of these has signed it
)

// A CardRevision is one state of a version's card: the one that it was released
// with, or one that was attached later, which leaves the version's digest as it is.
// But for Status and Signers it is what the revision says of itself.
type CardRevision struct {
	// Digest is that of the revision's manifest; of the version's own for the
	// card that it was released with.
	Digest string `json:"digest"`

	Seq     int       `json:"seq"` // from 1; 0 for the card as released
	Prev    string    `json:"prev,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Author  string    `json:"author,omitempty"`
	Message string    `json:"message,omitempty"`

	// Readme is the digest of the README itself, Size its bytes.
	Readme string `json:"readme"`
	Size   int64  `json:"size"`

	Status  string   `json:"status"`
	Signers []Signer `json:"signers"` // those by whom Status is what it is

	// Reason is why a revision is unverified, if somebody was to be trusted.
	Reason string `json:"reason,omitempty"`

	// Newer is the revision that would be the card if it were signed by
	// somebody who is trusted; nil if there is none.
	Newer *CardRevision `json:"newer,omitempty"`

	counted     bool // somebody can have counted to Seq
	desc, layer ocispec.Descriptor
	raw         []byte // the README, once it was read
	problems    []string
}

// Card parses the README. It must have been read.
func (c *CardRevision) Card() (*card.Card, error) { return card.Parse(c.raw) }

// Bytes returns the README as it is.
func (c *CardRevision) Bytes() []byte { return slices.Clone(c.raw) }

// Problems tells what is wrong with the revisions as a whole, such as one that
// was removed.
func (c *CardRevision) Problems() []string { return c.problems }

// counts tells whether somebody who counts has signed the revision.
func (c *CardRevision) counts() bool { return c.Status == CardVerified || c.Status == CardPublisher }

// link is what the revision says of its place among others.
func (c *CardRevision) link() card.Link {
	return card.Link{Digest: c.Digest, Seq: c.Seq, Prev: c.Prev, Created: c.Created}
}

// A cardTrust are those whose revisions count, and what one of theirs is. Without
// anybody it is nobody's.
type cardTrust struct {
	*signing.Trust
	status string
}

// cardTrust are those whom the reader names, or else the publishers of the
// repository.
func (h *Hub) cardTrust(ctx context.Context, t *target, given *signing.Trust) (cardTrust, error) {
	if given != nil {
		return cardTrust{given, CardVerified}, nil
	}
	publishers, err := h.publishers(ctx, t)
	return cardTrust{publishers, CardPublisher}, err
}

// effectiveCard returns the card that counts for t: the newest revision that
// trust has signed, or the publishers of the repository where trust is nil; else
// the one that it was released with, and if that has none the newest revision of
// all. What is newer and not signed so is in Newer. The error wraps ErrNotFound
// where there is no card at all.
func (h *Hub) effectiveCard(ctx context.Context, t *target, trust *signing.Trust) (*CardRevision, error) {
	revisions, problems, err := h.cardRevisions(ctx, t)
	if err != nil {
		return nil, err
	}
	var who cardTrust
	if len(revisions) > 0 {
		if who, err = h.cardTrust(ctx, t, trust); err != nil {
			return nil, err
		}
	}
	chosen, newer, err := newestSigned(ctx, t, revisions, who)
	if err != nil {
		return nil, err
	}
	if chosen == nil {
		chosen, err = h.releasedCard(ctx, t)
		if errors.Is(err, errdef.ErrNotFound) && newer != nil && who.Trust == nil {
			chosen, newer, err = newer, nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	chosen.Newer, chosen.problems = newer, problems
	return chosen, fetchReadme(ctx, t, chosen)
}

// newestSigned finds the newest revision that trust has signed, and the newest
// of all if that is another one. Mostly the first is it; below that several are
// asked about at once.
func newestSigned(ctx context.Context, t *target, revisions []*CardRevision, trust cardTrust) (chosen, newer *CardRevision, err error) {
	if len(revisions) == 0 {
		return nil, nil, nil
	}
	if trust.Trust == nil {
		return nil, revisions[0], verifyCard(ctx, t, revisions[0], trust)
	}
	rest := byNumber(revisions)
	for n := 1; len(rest) > 0 && chosen == nil; n = cardWorkers {
		some := rest[:min(n, len(rest))]
		rest = rest[len(some):]
		if err := verifyCards(ctx, t, some, trust); err != nil {
			return nil, nil, err
		}
		chosen = newestCounting(some)
	}
	if first := revisions[0]; first != chosen && (chosen == nil || chosen.counted) {
		newer = first
	}
	return chosen, newer, nil
}

// byNumber are revisions by the numbers that they have, absurd ones as well. Those
// whom somebody trusts are believed what they have signed, and only what they have
// signed cannot be changed by what others attach.
func byNumber(revisions []*CardRevision) []*CardRevision {
	return slices.SortedFunc(slices.Values(revisions), func(a, b *CardRevision) int { return card.Newer(a.link(), b.link()) })
}

// newestCounting is the first of some revisions that somebody who counts has signed.
func newestCounting(some []*CardRevision) *CardRevision {
	if i := slices.IndexFunc(some, (*CardRevision).counts); i >= 0 {
		return some[i]
	}
	return nil
}

// verifyCards looks who has signed each of several revisions.
func verifyCards(ctx context.Context, t *target, revisions []*CardRevision, trust cardTrust) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cardWorkers)
	for _, rev := range revisions {
		g.Go(func() error { return verifyCard(gctx, t, rev, trust) })
	}
	return g.Wait()
}

// verifyCard looks who has signed a revision.
func verifyCard(ctx context.Context, t *target, rev *CardRevision, trust cardTrust) error {
	rev.Status, rev.Signers = CardUnverified, []Signer{}
	if trust.Trust == nil {
		return nil
	}
	report, err := signing.Verify(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: rev.desc}, *trust.Trust)
	switch {
	case errors.Is(err, signing.ErrNoSignature), errors.Is(err, signing.ErrUntrusted), errors.Is(err, signing.ErrTooMany):
		rev.Reason = err.Error()
		return nil
	case err != nil:
		return fmt.Errorf("verify card revision %s: %w", rev.Digest, err)
	}
	rev.Status, rev.Signers = trust.status, signers(report)
	return nil
}

// cardRevisions lists the revisions of t's card, the newest first, and what is
// wrong with them.
func (h *Hub) cardRevisions(ctx context.Context, t *target) ([]*CardRevision, []string, error) {
	refs, err := t.repo.Referrers(ctx, t.signed, mediatypes.ArtifactCard)
	if err != nil {
		return nil, nil, fmt.Errorf("list card revisions of %s: %w", t.ref, err)
	}
	refs = slices.DeleteFunc(refs, func(d ocispec.Descriptor) bool {
		return d.ArtifactType != mediatypes.ArtifactCard || d.Size > mediatypes.MaxManifestBytes
	})
	listed := len(refs)
	if listed > MaxCardRevisions {
		if refs, err = likelyRevisions(ctx, t, refs); err != nil {
			return nil, nil, fmt.Errorf("list card revisions of %s: %w", t.ref, err)
		}
	}
	found, err := readRevisions(ctx, t, refs)
	if err != nil {
		return nil, nil, err
	}
	byDigest := make(map[string]*CardRevision, len(found))
	links := make([]card.Link, 0, len(found))
	for _, rev := range found {
		byDigest[rev.Digest] = rev
		links = append(links, rev.link())
	}
	order, problems := card.Chain(links, listed)
	if listed > MaxCardRevisions { // what was not looked at was not removed
		problems = []string{fmt.Sprintf("%d card revisions are attached; %d were looked at, those that are signed first", listed, MaxCardRevisions)}
	}
	out := make([]*CardRevision, len(order))
	for i, l := range order {
		out[i] = byDigest[l.Digest]
		out[i].counted = card.Counted(l.Seq, listed)
	}
	return out, problems, nil
}

// likelyRevisions are the [MaxCardRevisions] of refs that are looked at. Numbers
// are the word of whoever may push, so that those come first that something refers
// to, as a signature does.
func likelyRevisions(ctx context.Context, t *target, refs []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	number := func(d ocispec.Descriptor) int {
		if seq := seqOf(d.Annotations); card.Counted(seq, len(refs)) {
			return seq
		}
		return 0
	}
	slices.SortStableFunc(refs, func(a, b ocispec.Descriptor) int { return cmp.Compare(number(b), number(a)) })
	api, err := t.repo.HasReferrers(ctx, t.signed)
	if err != nil {
		return nil, err
	}
	var referred map[digest.Digest]bool
	if api {
		referred, err = askReferred(ctx, t, refs[:min(len(refs), maxAskedRevisions)])
	} else {
		referred, err = listReferred(ctx, t, refs)
	}
	if err != nil {
		return nil, err
	}
	var first, rest []ocispec.Descriptor
	for _, d := range refs {
		if referred[d.Digest] {
			first = append(first, d)
		} else {
			rest = append(rest, d)
		}
	}
	return append(first, rest...)[:MaxCardRevisions], nil
}

// askReferred asks of each of refs whether something refers to it.
func askReferred(ctx context.Context, t *target, refs []ocispec.Descriptor) (map[digest.Digest]bool, error) {
	has := make([]bool, len(refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * cardWorkers)
	for i, d := range refs {
		g.Go(func() error {
			list, err := t.repo.Referrers(gctx, d, "")
			has[i] = len(list) > 0 || errors.Is(err, errdef.ErrSizeExceedsLimit)
			if has[i] || errors.Is(err, errdef.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	err := g.Wait()
	out := map[digest.Digest]bool{}
	for i, d := range refs {
		out[d.Digest] = has[i]
	}
	return out, err
}

// listReferred finds those of refs that something refers to in a registry that
// cannot be asked: what does is listed behind a tag, and one list has all tags.
func listReferred(ctx context.Context, t *target, refs []ocispec.Descriptor) (map[digest.Digest]bool, error) {
	byTag := make(map[string]digest.Digest, len(refs))
	for _, d := range refs {
		byTag[strings.Replace(d.Digest.String(), ":", "-", 1)] = d.Digest
	}
	out := map[digest.Digest]bool{}
	for tag, err := range t.repo.Tags(ctx) {
		if err != nil {
			return nil, err
		}
		if d, ok := byTag[strings.TrimSuffix(tag, ".sig")]; ok {
			out[d] = true
		}
	}
	return out, nil
}

// readRevisions reads the manifests of revisions. One that is gone, or none of a
// card of t, is left out.
func readRevisions(ctx context.Context, t *target, refs []ocispec.Descriptor) ([]*CardRevision, error) {
	found := make([]*CardRevision, len(refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cardWorkers)
	for i, d := range refs {
		g.Go(func() error {
			desc, raw, err := t.repo.Manifest(gctx, d.Digest.String())
			if errors.Is(err, errdef.ErrNotFound) {
				return nil // the list of a registry outlives what is in it
			}
			if err != nil {
				return fmt.Errorf("read card revision %s: %w", d.Digest, err)
			}
			found[i] = parseRevision(desc, raw, t.signed.Digest)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(r *CardRevision) bool { return r == nil }), nil
}

// parseRevision reads the manifest of a revision, and returns nil if it is none of
// a card of subject.
func parseRevision(desc ocispec.Descriptor, raw []byte, subject digest.Digest) *CardRevision {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil || m.ArtifactType != mediatypes.ArtifactCard || m.Subject == nil || m.Subject.Digest != subject || len(m.Layers) != 1 {
		return nil
	}
	layer, seq := m.Layers[0], seqOf(m.Annotations)
	if seq == 0 || layer.MediaType != mediatypes.LayerMarkdown || layer.Size > card.MaxBytes {
		return nil
	}
	return &CardRevision{
		Digest: desc.Digest.String(), Seq: seq, Prev: m.Annotations[mediatypes.AnnotationPrev], Created: created(raw),
		Author: m.Annotations[mediatypes.AnnotationAuthor], Message: m.Annotations[mediatypes.AnnotationMessage],
		Readme: layer.Digest.String(), Size: layer.Size, Status: CardUnverified, Signers: []Signer{}, desc: desc, layer: layer,
	}
}

// seqOf is the number of a revision, or 0 if it has none that is believed.
func seqOf(annotations map[string]string) int {
	n, err := strconv.Atoi(annotations[mediatypes.AnnotationSeq])
	if err != nil || n < 1 || n > card.MaxSeq {
		return 0
	}
	return n
}

// fetchReadme fetches the README of a revision, unless that was done.
func fetchReadme(ctx context.Context, t *target, rev *CardRevision) error {
	if rev.raw != nil {
		return nil
	}
	raw, err := content.FetchAll(ctx, t.repo, rev.layer)
	if err != nil {
		return fmt.Errorf("read card revision %s: %w", rev.Digest, err)
	}
	rev.raw = raw
	return nil
}

// maxCardVariants bounds the variants of an index that are searched for a card.
const maxCardVariants = 16

// releasedCard reads the card that is part of t; of an index, that of the first
// variant with one.
func (h *Hub) releasedCard(ctx context.Context, t *target) (*CardRevision, error) {
	if !isIndex(t.signed) || !isIndex(t.desc) {
		return releasedWith(ctx, t, t.desc)
	}
	index, err := mediatypes.ParseIndex(t.raw)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", t.ref, err)
	}
	models := slices.DeleteFunc(index.Manifests, func(m ocispec.Descriptor) bool { return !isModel(m) })
	for _, m := range models[:min(len(models), maxCardVariants)] {
		rev, err := releasedWith(ctx, t, m)
		if !errors.Is(err, errdef.ErrNotFound) {
			return rev, err
		}
	}
	return nil, noCard(t)
}

func noCard(t *target) error { return fmt.Errorf("card of %s: %w", t.ref, errdef.ErrNotFound) }

// releasedWith reads the card that is part of a manifest.
func releasedWith(ctx context.Context, t *target, desc ocispec.Descriptor) (*CardRevision, error) {
	a, err := artifact.Open(ctx, manifestAtHand{t.repo, t}, desc)
	if err != nil {
		return nil, fmt.Errorf("read card of %s: %w", t.ref, err)
	}
	i := slices.IndexFunc(a.Files, func(f artifact.File) bool { return f.Path == cardFile && !f.Archive })
	if i < 0 {
		return nil, noCard(t)
	}
	f, file, err := a.OpenFile(ctx, t.repo, cardFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noCard(t)
	}
	if err != nil {
		return nil, fmt.Errorf("read card of %s: %w", t.ref, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, card.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read card of %s: %w", t.ref, err)
	}
	if len(raw) > card.MaxBytes {
		return nil, fmt.Errorf("read card of %s: %w", t.ref, card.ErrTooLarge)
	}
	return &CardRevision{
		Digest: desc.Digest.String(), Created: t.made, Readme: file.Digest.String(), Size: int64(len(raw)),
		Status: CardReleased, Signers: []Signer{}, desc: desc, raw: raw,
	}, nil
}
