package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// deleteManifest answers DELETE /v2/<name>/manifests/<reference>.
func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, rt route) {
	byDigest := isDigest(rt.ref)
	if !byDigest && !isReferrersTag(rt.ref) {
		r.app.ServeHTTP(w, req)
		return
	}
	defer r.locks.lock(rt.name)()
	var tag string
	var err error
	if byDigest {
		tag, err = r.beforeDelete(req.Context(), rt)
	} else {
		err = r.checkUnused(req.Context(), rt.name, rt.ref)
	}
	if err != nil {
		r.fail(w, err)
		return
	}
	answer := newRecorder()
	r.app.ServeHTTP(answer, req)
	if answer.status == http.StatusAccepted && tag != "" {
		err = r.removeReferrer(req.Context(), rt, tag)
	}
	if err != nil {
		r.fail(w, err)
		return
	}
	answer.writeTo(w)
}

// removeReferrer takes a manifest that was deleted off the list under tag.
func (r *Registry) removeReferrer(ctx context.Context, rt route, tag string) error {
	l, err := r.openList(ctx, rt.name, tag)
	if err != nil {
		return err
	}
	rest := l.without(digest.Digest(rt.ref))
	switch {
	case len(rest) == len(l.entries):
		return nil
	case len(rest) > 0:
		return l.store(rest)
	}
	if err := l.repo.Tags(ctx).Untag(ctx, tag); err != nil {
		return fmt.Errorf("remove referrers tag: %w", err)
	}
	return nil
}

// beforeDelete returns the referrers tag that lists the manifest rt names, or
// "", and refuses if the manifest is itself a list in use.
func (r *Registry) beforeDelete(ctx context.Context, rt route) (tag string, err error) {
	c, err := r.open(ctx, rt.name)
	if err != nil {
		return "", err
	}
	m, err := c.get(digest.Digest(rt.ref))
	if errors.Is(err, errNoManifest) {
		return "", nil // Distribution has the answer
	}
	if err != nil {
		return "", err
	}
	if err := c.checkNoList(digest.Digest(rt.ref), m.doc.Manifests); err != nil {
		return "", err
	}
	if subject := m.doc.subject(); subject != "" {
		return referrersTag(subject), nil
	}
	return "", nil
}

// checkNoList refuses to delete the index that a referrers tag points to. The
// first of its entries that is there tells which tag that would be.
func (c contents) checkNoList(index digest.Digest, entries []ocispec.Descriptor) error {
	for _, dgst := range digests(entries) {
		m, err := c.get(dgst)
		if errors.Is(err, errNoManifest) {
			continue
		}
		if err != nil {
			return err
		}
		subject := m.doc.subject()
		if subject == "" {
			return nil
		}
		current, err := c.list(referrersTag(subject))
		if err == nil && current.target == index {
			return errListInUse()
		}
		return err
	}
	return nil
}

// checkUnused refuses to delete a referrers tag that lists something.
func (r *Registry) checkUnused(ctx context.Context, name, tag string) error {
	l, err := r.openList(ctx, name, tag)
	if err != nil {
		return err
	}
	live, err := l.live(l.entries)
	if err != nil || len(live) == 0 {
		return err
	}
	return errListInUse()
}

func errListInUse() error {
	return &refusal{
		http.StatusMethodNotAllowed, codeUnsupported,
		"the registry keeps this list of referrers; delete the referrers instead",
	}
}
