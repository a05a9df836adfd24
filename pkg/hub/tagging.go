package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// TagOptions adjusts [Hub.SetTags] and [Hub.Untag]. The zero value makes tags
// that are new.
type TagOptions struct {
	// Move lets tags that stand for another version be moved.
	Move bool

	// Protect makes the tags aliases whose moves are logged, from this one on.
	Protect bool

	// Force lets [Hub.Untag] delete a protected alias, which its log says, and
	// [Hub.SetTags] set one to a version that was yanked.
	Force bool

	// Message and Author go into the logs of aliases, and Signer signs these
	// entries unless it is nil.
	Message, Author string
	Signer          *signing.Signer
}

func (o TagOptions) moving() moving {
	return moving{message: o.Message, author: o.Author, signer: o.Signer, heed: !o.Force}
}

// SetTags points tags at the version that r resolves to, in the same repository.
// Without opts.Force a protected alias is not set to one that was yanked.
// One that points there already is not written; without opts.Move one that points
// elsewhere is an error that wraps [ErrTaken], before any is set.
func (h *Hub) SetTags(ctx context.Context, r ref.Reference, tags []string, opts TagOptions) (*TagResult, error) {
	encoded, err := encodeTags(tags)
	if err != nil {
		return nil, err
	}
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	if !opts.Move {
		if err := free(ctx, t, encoded); err != nil {
			return nil, err
		}
	}
	if opts.Protect {
		if err := h.protect(ctx, t.ref, encoded, opts.Signer); err != nil {
			return nil, err
		}
	}
	res := &TagResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Tags: encoded, Moves: []Move{}}
	for _, tag := range encoded {
		done, err := h.moveVersion(ctx, t, tag, opts.moving())
		if err != nil {
			return nil, err
		}
		res.Moves = append(res.Moves, *done)
	}
	return res, nil
}

// free is an error if one of the tags stands for another version than t.
func free(ctx context.Context, t *target, tags []string) error {
	for _, tag := range tags {
		now, err := t.repo.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at tag %s: %w", tag, err)
		}
		if now.Digest != t.desc.Digest {
			return fmt.Errorf("tag %s points to %s: %w", tag, now.Digest, errSet)
		}
	}
	return nil
}

// errSet says that a tag is to be made that is there.
var errSet = fmt.Errorf("it is set already: %w", ErrConflict)

// protect adds tags to those whose moves are logged.
func (h *Hub) protect(ctx context.Context, r ref.Reference, tags []string, s *signing.Signer) error {
	_, err := h.SetRecord(ctx, r, s, func(rec *record.Record) error {
		for _, tag := range tags {
			if !rec.IsProtected(tag) {
				rec.Protected = append(rec.Protected, tag)
			}
		}
		return nil
	})
	return err
}

// An UntagResult says what [Hub.Untag] did.
type UntagResult struct {
	Reference string `json:"reference"` // with the digest that the tag stood for
	Digest    string `json:"digest"`
	Move      Move   `json:"move"`
}

// Untag removes the tag of r. The version stays: a tag of its own holds it. A tag
// that the record does not let go is a [*RuleError].
func (h *Hub) Untag(ctx context.Context, r ref.Reference, opts TagOptions) (*UntagResult, error) {
	if r.Tag == "" || r.Digest != "" || r.Prefix != "" || r.Range != "" || r.Revision != "" {
		return nil, fmt.Errorf("%w: delete tag of %s: name the tag alone", ErrUsage, r)
	}
	if err := checkTag(r.Tag); err != nil {
		return nil, err
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	desc, err := repo.Resolve(ctx, r.Tag)
	if err != nil {
		return nil, missing(MissingVersion, r, fmt.Errorf("delete tag of %s: %w", asTyped(r), err))
	}
	t := &target{repo: repo, ref: r.WithDigest(desc.Digest), desc: desc, signed: desc}
	rules, err := h.record(ctx, repo)
	if err != nil {
		return nil, err
	}
	logged := rules.IsProtected(r.Tag)
	switch {
	case rules.IsImmutable(r.Tag):
		return nil, ruled(ErrImmutable, t, r.Tag, desc.Digest)
	case logged && !opts.Force:
		return nil, ruled(ErrProtected, t, r.Tag, desc.Digest)
	}
	if err := h.hold(ctx, t); err != nil {
		return nil, err
	}
	res := &UntagResult{Reference: t.ref.String(), Digest: desc.Digest.String(), Move: Move{Tag: r.Tag, From: desc.Digest.String()}}
	log := aliasLog{h: h, repo: repo, alias: r.Tag}
	if logged {
		if err := log.write(ctx, opts.moving(), &res.Move); err != nil {
			return nil, err
		}
	}
	if err := repo.Untag(ctx, r.Tag); err != nil {
		return nil, fmt.Errorf("delete tag %s: %w", asTyped(r), err)
	}
	res.Move.Changed = true
	if logged {
		return res, log.alone(ctx, &res.Move)
	}
	return res, nil
}

// A TagInfo is a tag that people gave, and what the repository says about it.
type TagInfo struct {
	Tag       string `json:"tag"`
	Digest    string `json:"digest"`
	Immutable bool   `json:"immutable"` // it is never moved
	Protected bool   `json:"protected"` // its moves are logged
	Default   bool   `json:"default"`   // a reference without a tag means it

	// Status is what became of a version that was deprecated or yanked, as those
	// find it who use the version; nil for others.
	Status *State `json:"status,omitempty"`
}

// ListTags lists the tags of the repository of r, by name. It resolves each tag, and
// reads for each version that something is attached to the list of that.
func (h *Hub) ListTags(ctx context.Context, r ref.Reference) ([]TagInfo, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	all, err := tagsAttached(ctx, repo, false)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	names := all.list
	rules, err := h.record(ctx, repo)
	if err != nil {
		return nil, err
	}
	h.noteWhole(ctx, repo, true)
	found, err := resolveAll(ctx, repo, names)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	digests := make([]digest.Digest, len(found))
	for i, desc := range found {
		digests[i] = desc.Digest
	}
	marks, err := h.marks(ctx, repo, h.markable(ctx, repo, digests, all.attached), nil)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	list := make([]TagInfo, len(names))
	for i, tag := range names {
		list[i] = TagInfo{
			Tag: ref.DecodeBranch(tag), Digest: digests[i].String(), Immutable: rules.IsImmutable(tag), Protected: rules.IsProtected(tag),
			Default: tag == cmp.Or(rules.DefaultBranch, DefaultTag), Status: marks[digests[i]],
		}
	}
	return slices.DeleteFunc(list, func(t TagInfo) bool { return t.Digest == "" }), nil
}

// ErrBrokenLog says that the log of an alias does not tell all.
var ErrBrokenLog = errors.New("something is wrong with the log")

// A LogEntry is one move of an alias.
type LogEntry struct {
	Seq     int       `json:"seq"`
	Stands  bool      `json:"stands"` // false for a move that lost against one of the same moment
	Time    time.Time `json:"time"`
	From    string    `json:"from"` // empty if it was new
	To      string    `json:"to"`   // empty if it was deleted
	Message string    `json:"message"`
	Author  string    `json:"author"`  // a claim
	Digest  string    `json:"digest"`  // of the entry
	Signers []Signer  `json:"signers"` // trusted parties that have signed it; empty without somebody to trust

	// Signed tells who has: [SignedTrusted], [SignedOther], [SignedNot] or
	// [SignedUnknown]; empty without somebody to trust.
	Signed string `json:"signed"`
}

// Who has signed an entry of a log.
const (
	SignedTrusted = "trusted" // somebody who is trusted
	SignedOther   = "other"   // somebody else, or something that cannot be read
	SignedNot     = "unsigned"
	SignedUnknown = "unknown" // more is attached than is looked at
)

// An AliasLog is where an alias was, the newest first.
type AliasLog struct {
	Reference string     `json:"reference"`
	Entries   []LogEntry `json:"entries"`
	Whole     bool       `json:"whole"` // the entries go back to the first move
	Problems  []string   `json:"problems"`
}

// AliasLog reads the log of the alias that r names, no more than limit entries if
// that is not zero. With a trust it tells which entries trusted parties have signed.
func (h *Hub) AliasLog(ctx context.Context, r ref.Reference, trust *signing.Trust, limit int) (*AliasLog, error) {
	if r.Tag == "" || r.Digest != "" || r.Prefix != "" || r.Range != "" || r.Revision != "" {
		return nil, fmt.Errorf("%w: log of %s: name the alias, as a tag", ErrUsage, r)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	log, err := readLog(ctx, repo, r.Tag, time.Time{}, limit)
	if err != nil {
		return nil, err
	}
	if len(log.Entries) == 0 && len(log.Problems) == 0 {
		return nil, missing(MissingLog, r, fmt.Errorf("log of %s: %w: %w", asTyped(r), errNoLog, errdef.ErrNotFound))
	}
	res := &AliasLog{Reference: r.String(), Entries: make([]LogEntry, len(log.Entries)), Whole: log.Whole, Problems: append([]string{}, log.Problems...)}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(listWorkers)
	for i, e := range log.Entries {
		res.Entries[i] = LogEntry{
			Seq: e.Seq, Stands: log.Stands(i), Time: e.Time, From: e.From.String(), To: e.To.String(), Message: e.Message, Author: e.Author,
			Digest: e.Digest.String(), Signers: []Signer{},
		}
		if trust == nil {
			continue
		}
		g.Go(func() error {
			if err := res.Entries[i].verify(gctx, repo, *trust); err != nil {
				return fmt.Errorf("verify entry %d of the log of %s: %w", e.Seq, r, err)
			}
			return nil
		})
	}
	return res, g.Wait()
}

// verify finds out who has signed an entry. An error means that this is not known.
func (e *LogEntry) verify(ctx context.Context, repo *remote.Repository, trust signing.Trust) error {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(e.Digest)}
	report, err := signing.Verify(ctx, repo, signing.Target{Repository: repo.Name(), Descriptor: desc}, trust)
	switch {
	case errors.Is(err, signing.ErrNoSignature):
		e.Signed = SignedNot
	case errors.Is(err, signing.ErrUntrusted):
		e.Signed = SignedOther
	case errors.Is(err, signing.ErrTooMany):
		e.Signed = SignedUnknown
	case err != nil:
		return err
	default:
		e.Signed, e.Signers = SignedTrusted, signers(report)
	}
	return nil
}
