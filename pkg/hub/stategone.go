package hub

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A Burial is why a version is removed.
type Burial struct {
	Reason      string
	Replacement string // a reference
	Author      string // a claim

	// Now is when. Zero means time.Now.
	Now time.Time
}

// Bury leaves a tombstone in the place of a version of the repository of r: under
// its keep-tag, so that whoever asks for the digest is told what became of it once
// the version is gone. The version itself is for the caller to delete, afterwards.
func (h *Hub) Bury(ctx context.Context, r ref.Reference, version string, b Burial) error {
	d, err := digest.Parse(version)
	if err != nil {
		return fmt.Errorf("%w: leave a tombstone of %.100q: %w", ErrUsage, version, err)
	}
	repo, err := h.repository(r)
	if err != nil {
		return err
	}
	stone := record.Tombstone{
		Digest: d, Reason: b.Reason, Replacement: b.Replacement, Author: b.Author, Time: cmp.Or(b.Now, time.Now()).UTC().Truncate(time.Second),
	}
	raw, err := stone.Manifest()
	if err != nil {
		return err
	}
	desc, err := pushSmall(ctx, repo, raw, ocispec.Descriptor{}, nil)
	if err == nil {
		err = repo.PushManifest(ctx, desc, raw, keepTag(d))
	}
	if err != nil {
		return fmt.Errorf("leave a tombstone of %s: %w", d, err)
	}
	return nil
}

// goneError tells of a manifest that is a tombstone; nil for others.
func goneError(r ref.Reference, raw []byte) error {
	if !bytes.Contains(raw, []byte(record.TombstoneType)) {
		return nil
	}
	stone, ok := record.ParseTombstone(raw)
	if !ok {
		return nil
	}
	return &StateError{
		Reference: r.WithDigest(stone.Digest).String(), Reason: stone.Reason, Replacement: stone.Replacement, Since: stone.Time, Err: ErrGone,
	}
}

// lost is the error for a version that was not found: whether it was removed is
// told by what is left of it.
func lost(ctx context.Context, repo *remote.Repository, r ref.Reference, err error) error {
	if r.Digest == "" || !errors.Is(err, errdef.ErrNotFound) {
		return err
	}
	_, raw, stoneErr := repo.Manifest(ctx, keepTag(r.Digest))
	if stoneErr != nil {
		return err
	}
	if stone, ok := record.ParseTombstone(raw); !ok || stone.Digest != r.Digest {
		return err
	}
	return goneError(r, raw)
}

// follow looks for what was not found where the repository says that it has moved
// to, once. Another registry is only asked for bytes that the reference names by
// their digest: who else could say what a tag means there?
func (h *Hub) follow(ctx context.Context, repo *remote.Repository, r ref.Reference, notFound error) (*target, error) {
	to, err := h.movedTo(ctx, repo, r)
	if err != nil || to.Repository == "" {
		return nil, cmp.Or(err, h.retired(ctx, repo, r, notFound))
	}
	if to.Host != r.Host && r.Digest == "" {
		return nil, fmt.Errorf("%w: %s says that it has moved to %s, in another registry: what is not named by a digest is not looked for there",
			notFound, r.Name(), to.Name())
	}
	if !mayAsk(r.Host, to.Host) {
		return nil, fmt.Errorf("%w: %s says that it has moved to %s: addresses and this machine are not asked because somebody elsewhere says so: name that repository yourself",
			notFound, r.Name(), to.Name())
	}
	next, err := h.repository(to)
	if err != nil {
		return nil, err
	}
	h.warn("%s has moved to %s: use that name", r.Name(), to.Name())
	t, err := h.lookUp(strangers(ctx, to.Host != r.Host && !inner(r.Host)), next, next.WithMirrorTags(), to)
	if err != nil {
		return nil, fmt.Errorf("%s has moved to %s: %w", r.Name(), to.Name(), err)
	}
	t.asked = r.Name()
	return t, nil
}

// movedTo is r in the repository that repo has moved to; the zero reference if it
// has not.
func (h *Hub) movedTo(ctx context.Context, repo *remote.Repository, r ref.Reference) (ref.Reference, error) {
	said, err := h.record(ctx, repo)
	if ctx.Err() != nil {
		return ref.Reference{}, err
	}
	if err != nil || said.Redirect == "" || said.Redirect == r.Name() {
		return ref.Reference{}, nil // there is a better error than that
	}
	to, err := ref.Parse(said.Redirect)
	if err != nil {
		return ref.Reference{}, nil
	}
	r.Host, r.Repository = to.Host, to.Repository
	return r, nil
}

// names are the repositories that a version was asked for and found in. What is
// decided by the name of a repository is decided for all of them: a redirect is no
// way around a policy, nor around what was seen before.
func (t *target) names() []string {
	if t.asked == "" {
		return []string{t.ref.Name()}
	}
	return []string{t.asked, t.ref.Name()}
}
