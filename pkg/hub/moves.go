package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

var (
	// ErrImmutable says that a tag is set already and, by the record of its
	// repository, is never moved or deleted. It wraps [ErrConflict].
	ErrImmutable = fmt.Errorf("immutable: %w", ErrConflict)

	// ErrProtected says that a tag is, by the record of its repository, an alias
	// that is not deleted like others. It wraps [ErrConflict].
	ErrProtected = fmt.Errorf("protected: %w", ErrConflict)
)

// A RuleError is a tag that stays where it is, by the record of its repository. It
// wraps [ErrImmutable] or [ErrProtected].
type RuleError struct {
	Repository string // host/name
	Tag        string // as people write it
	Digest     string // where it is
	Err        error
}

// Error implements error.
func (e *RuleError) Error() string {
	return fmt.Sprintf("tag %s of %s is %v: it stays at %s", e.Tag, e.Repository, e.Err, e.Digest)
}

// Unwrap returns which rule it is.
func (e *RuleError) Unwrap() error { return e.Err }

// A moving says how a tag is to be set. The zero value sets it as far as the
// record of the repository allows.
type moving struct {
	// before, if not nil, is asked with what the tag stands for now, the zero
	// descriptor if there is none, and can refuse the move.
	before func(ctx context.Context, now ocispec.Descriptor) error

	// message and author go into the log of a protected alias, which signer
	// signs unless it is nil.
	message, author string
	signer          *signing.Signer

	// now is the time that the log gets. Zero means time.Now.
	now time.Time

	// logged says that the log has the move already.
	logged bool

	// back says that it is taken back what was done since the tag was there.
	back bool

	// heed refuses to set a protected alias to a version that was yanked.
	heed bool
}

// A Move is one tag that was set.
type Move struct {
	Tag     string `json:"tag"`
	From    string `json:"from"` // where it was; empty if it is new
	To      string `json:"to"`
	Changed bool   `json:"changed"` // false when it was there already
	Logged  string `json:"logged"`  // the entry of the alias's log; empty when no log is kept
	Signed  int    `json:"signed"`  // signatures made of that entry

	// Notes are what was found wrong with the log.
	Notes []string `json:"notes,omitempty"`
}

// move points a tag at t. It is the one way in which names for people are set:
// what the record of the repository makes immutable stays, and moves of what it
// protects are logged. The tag is looked at before and after, since registries
// have no compare-and-swap: another writer of the same moment is an error that
// wraps [ErrConflict]. It reports whether the tag was moved.
func (h *Hub) move(ctx context.Context, t *target, tag string, m moving) (bool, error) {
	done, err := h.moveTo(ctx, t, tag, m)
	if done != nil {
		for _, note := range done.Notes {
			h.warn("%s:%s: %s", t.ref.Name(), tag, note)
		}
	}
	return done != nil && done.Changed, err
}

// moveTo is move with all that is to be told of it.
func (h *Hub) moveTo(ctx context.Context, t *target, tag string, m moving) (*Move, error) {
	now, err := t.repo.Resolve(ctx, tag)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, fmt.Errorf("look at tag %s: %w", tag, err)
	}
	done := &Move{Tag: tag, From: now.Digest.String(), To: t.desc.Digest.String()}
	if now.Digest == t.desc.Digest {
		return done, nil
	}
	rules, err := h.record(ctx, t.repo)
	if err != nil {
		return nil, err
	}
	if rules.Status.State == record.Retired {
		return nil, fmt.Errorf("set tag %s: %w", ref.DecodeBranch(tag), wholeIn(rules, t.ref.Name()).problem())
	}
	if now.Digest != "" && rules.IsImmutable(tag) {
		return nil, ruled(ErrImmutable, t, tag, now.Digest)
	}
	if m.before != nil {
		if err := m.before(ctx, now); err != nil {
			return nil, err
		}
	}
	if m.heed && rules.IsProtected(tag) {
		if err := h.yanked(ctx, t); err != nil {
			return nil, fmt.Errorf("set tag %s: %w", ref.DecodeBranch(tag), err)
		}
	}
	if rules.IsProtected(tag) && !m.logged {
		if err := h.moveAlias(ctx, t, m, done); err != nil {
			return nil, err
		}
		return done, nil
	}
	done.Changed, err = replaceTag(ctx, t.repo, tag, now.Digest, t.desc)
	return done, err
}

// replaceTag is moveTag for who has decided by what the tag stood for, "" for
// nothing: if another writer has set it since, that decision is void.
func replaceTag(ctx context.Context, repo tagger, tag string, was digest.Digest, desc ocispec.Descriptor) (bool, error) {
	now, err := repo.Resolve(ctx, tag)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return false, fmt.Errorf("look at tag %s: %w", tag, err)
	}
	if now.Digest != was && now.Digest != desc.Digest {
		return false, fmt.Errorf("tag %s: another writer moved it to %s meanwhile: %w", tag, orNone(now.Digest.String()), ErrConflict)
	}
	return writeTag(ctx, repo, now.Digest, desc, tag)
}

func ruled(by error, t *target, tag string, now digest.Digest) error {
	return &RuleError{Repository: t.ref.Name(), Tag: ref.DecodeBranch(tag), Digest: now.String(), Err: by}
}
