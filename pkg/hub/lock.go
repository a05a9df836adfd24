package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/variant"
)

// lockWorkers bounds the models of a lock file, or the blobs of one model, that
// a registry is asked for at once.
const lockWorkers = 8

// LockOptions adjusts [Hub.Lock], [Hub.Relock] and [Hub.VerifyLocked]. The zero
// value verifies nothing but digests.
type LockOptions struct {
	// Trust, if not nil, must have signed the version.
	Trust *signing.Trust

	// AllowDowngrade accepts a version that is older than the one that is
	// locked, or that this user has seen behind the tag.
	AllowDowngrade bool

	// Now is noted as the time of a new entry. Zero means time.Now.
	Now time.Time
}

// verifies tells whether a signature is asked for.
func (o LockOptions) verifies() bool { return o.Trust != nil }

// A Locked is an entry of a lock file with its name.
type Locked struct {
	Name string
	lock.Entry
}

// Lock resolves r once, verifies what opts ask for, and describes the version
// for a lock file.
func (h *Hub) Lock(ctx context.Context, r ref.Reference, opts LockOptions) (lock.Entry, error) {
	return h.lock(ctx, r, lock.Entry{}, opts)
}

// Relock is Lock for the reference of an entry, whose successor it returns. An
// entry that would say the same but for the time is returned as it is. An older
// version wraps [lock.ErrDowngrade], and an entry with a signer or policy is
// never replaced by one without: that wraps ErrUsage.
func (h *Hub) Relock(ctx context.Context, old Locked, opts LockOptions) (lock.Entry, error) {
	rules, err := h.rules(ctx)
	if err != nil {
		return old.Entry, err
	}
	if (old.Signer != "" || old.Policy != "") && !opts.verifies() && len(rules.Policies) == 0 {
		return old.Entry, fmt.Errorf("%w: update %s: its signature was verified when it was locked: give the key or policy again", ErrUsage, old.Name)
	}
	next, err := h.lock(ctx, old.Reference, old.Entry, opts)
	if err == nil {
		next, err = old.Follow(next, opts.AllowDowngrade)
	}
	if err != nil {
		return old.Entry, fmt.Errorf("update %s: %w", old.Name, err)
	}
	if old.Signer != "" && next.Signer == "" || old.Policy != "" && next.Policy == "" {
		return old.Entry, fmt.Errorf("%w: update %s: it was locked with a signer or policy, and this says nothing of one", ErrUsage, old.Name)
	}
	same := next
	same.Resolved, same.Earlier = old.Resolved, old.Earlier
	if reflect.DeepEqual(same, old.Entry) {
		return old.Entry, nil
	}
	return next, nil
}

func (h *Hub) lock(ctx context.Context, r ref.Reference, old lock.Entry, opts LockOptions) (lock.Entry, error) {
	t, err := h.chosenBefore(ctx, r, old)
	if err != nil {
		return lock.Entry{}, err
	}
	e := lock.Entry{
		Reference: r, Digest: t.signed.Digest, Tag: t.ref.Tag, Created: t.made.Truncate(time.Second),
		Resolved: cmp.Or(opts.Now, time.Now()).UTC().Truncate(time.Second),
	}
	if r.Prefix != "" || r.Revision != "" {
		e.Reference = r.WithDigest(t.signed.Digest)
	} else if r.Tag == "" && r.Range == "" && r.Digest == "" {
		e.Reference = r.WithTag(t.ref.Tag)
	}
	if err := h.heed(ctx, r, t, opts.Trust); err != nil {
		return lock.Entry{}, err
	}
	v, err := h.admit(ctx, r, t, admitOptions{trust: opts.Trust, downgrade: opts.AllowDowngrade})
	if err != nil {
		return lock.Entry{}, err
	}
	rules, err := h.rules(ctx)
	if err != nil {
		return lock.Entry{}, err
	}
	if v != nil {
		e.Policy = rules.Digest()
		e.Signer, e.Issuer = chooseSigner(v.Signers, old)
	}
	a, err := artifact.OpenWith(ctx, manifestAtHand{t.repo, t}, t.desc, artifact.OpenOptions{AllowCollisions: true})
	if err != nil {
		return lock.Entry{}, fmt.Errorf("lock %s: %w", t.ref, err)
	}
	e.Files = filesDigest(a)
	if t.desc.Digest != t.signed.Digest {
		e.Variant, e.Chosen = t.desc.Digest, describeVariant(t, a)
	}
	return e, nil
}

// chosenBefore resolves r to the variant that an entry has, whatever machine this is,
// or to one like the whole version that it has. Without an entry it chooses.
func (h *Hub) chosenBefore(ctx context.Context, r ref.Reference, old lock.Entry) (*target, error) {
	want, err := h.wanted(r)
	if err != nil {
		return nil, err
	}
	whole := r
	whole.Variant = ""
	t, err := h.find(ctx, whole)
	if err != nil {
		return nil, err
	}
	chosen := old.Chosen
	if chosen == "" && old.Digest != "" && old.Digest != t.desc.Digest && isIndex(t.desc) && !want.Selects() {
		chosen = h.formOf(ctx, t, old.Digest)
	}
	if chosen == "" {
		return h.take(ctx, t, want, isModel)
	}
	before, err := variant.ParseWant(chosen)
	if err != nil {
		return nil, fmt.Errorf("%w: the lock file has chosen %.100q: %w", ErrUsage, chosen, err)
	}
	// Who has changed the reference since has said something else.
	if both, err := want.And(before); err == nil {
		want = both
	}
	return h.take(ctx, t, want, isModel)
}

// formOf is what a version without variants was, in the words for a variant; "" if
// that is not known.
func (h *Hub) formOf(ctx context.Context, t *target, d digest.Digest) string {
	desc, raw, err := t.place().Manifest(ctx, d.String())
	if err != nil || isIndex(desc) {
		return ""
	}
	if v := ofManifest(desc, raw); v.Name != "" {
		return "name=" + v.Name
	}
	return ""
}

// signerName is how a lock file names a signer: by identity and issuer, or by
// the fingerprint of a key.
func signerName(s Signer) (signer, issuer string) {
	if s.Identity == "" {
		return "key:" + s.KeyFingerprint, ""
	}
	return s.Identity, s.Issuer
}

// chooseSigner takes the signer of the old entry if that has signed again, else
// the first by name, so that it does not depend on the order of a registry.
func chooseSigner(signers []Signer, old lock.Entry) (signer, issuer string) {
	for _, s := range signers {
		name, by := signerName(s)
		if name == old.Signer && by == old.Issuer {
			return name, by
		}
		if signer == "" || name < signer || name == signer && by < issuer {
			signer, issuer = name, by
		}
	}
	return signer, issuer
}

func filesDigest(a *artifact.Artifact) digest.Digest {
	files := make([]lock.ModelFile, 0, len(a.Files))
	for _, f := range a.Files {
		files = append(files, lock.ModelFile{Path: f.Path, Size: f.Size, Digest: f.Digest})
	}
	return lock.FilesDigest(files)
}

// A used version is one that is about to be used. A nil verified means that nobody
// asked for signatures.
type used struct {
	*target
	verified *Verified
	artifact *artifact.Artifact
}

// asLocked refuses what is not as it was locked, and tells when it is no longer the
// same policy that decides.
func (h *Hub) asLocked(ctx context.Context, l Locked, v used) error {
	if err := l.check(v.target, v.verified, v.artifact); err != nil || l.Policy == "" {
		return err
	}
	rules, err := h.rules(ctx)
	if err != nil {
		return err
	}
	switch now := rules.Digest(); {
	case now == "":
		h.warn("%s was locked under the policy %s, and no policy decides now: give --policy", l.Name, l.Policy)
	case now != l.Policy:
		h.warn("%s was locked under the policy %s; %s decides now: \"modelreg lock update %s\" notes that", l.Name, l.Policy, now, l.Name)
	}
	return nil
}

// check holds what is about to be used against the entry.
func (l Locked) check(t *target, verified *Verified, a *artifact.Artifact) error {
	drift := func(what, locked, found string) error {
		return &lock.DriftError{Model: l.Name, What: what, Locked: locked, Found: found}
	}
	if t.signed.Digest != l.Digest {
		return drift("digest", l.Digest.String(), t.signed.Digest.String())
	}
	if t.desc.Digest != l.Target() {
		return drift("variant", l.Target().String(), t.desc.Digest.String())
	}
	if found := filesDigest(a); found != l.Files {
		return drift("files", l.Files.String(), found.String())
	}
	if verified == nil || l.Signer == "" {
		return nil
	}
	found := make([]string, 0, len(verified.Signers))
	for _, s := range verified.Signers {
		name, issuer := signerName(s)
		if name == l.Signer && issuer == l.Issuer {
			return nil
		}
		found = append(found, describeSigner(name, issuer))
	}
	return drift("signer", describeSigner(l.Signer, l.Issuer), cmp.Or(strings.Join(found, " and "), "none"))
}

func describeSigner(signer, issuer string) string {
	if issuer == "" {
		return signer
	}
	return signer + " (" + issuer + ")"
}

// A LockStatus says what became of one locked model. The keys that do not apply
// are empty.
type LockStatus struct {
	Name      string `json:"name"`
	Reference string `json:"reference"` // as in the lock file
	Digest    string `json:"digest"`    // that is locked
	Tag       string `json:"tag"`       // that the reference led to
	Status    string `json:"status"`    // "ok", "drift", "gone", "unverified", "refused" or "failed"
	Found     string `json:"found"`     // the digest that the tag leads to now
	Newer     string `json:"newer"`     // a higher version in the range
	Signer    string `json:"signer"`    // found now, if asked for
	Issuer    string `json:"issuer"`
	Reason    string `json:"reason"` // why the status is not "ok"
}

func status(l Locked) LockStatus {
	return LockStatus{Name: l.Name, Reference: l.Reference.String(), Digest: l.Digest.String(), Tag: l.Tag, Status: "ok"}
}

// CheckLocked asks where the references of models lead now. A tag that leads
// elsewhere than to the locked digest, or nowhere, is a [lock.DriftError]; a
// higher version in a range is told and is none. The result has all models also
// when there is an error, which joins those of all.
func (h *Hub) CheckLocked(ctx context.Context, models []Locked) ([]LockStatus, error) {
	return eachLocked(ctx, models, h.checkLocked)
}

func (h *Hub) checkLocked(ctx context.Context, l Locked, s *LockStatus) error {
	r := l.Reference
	switch {
	case r.Digest != "":
		r = l.Pinned()
	case r.Range != "" && l.Tag != "":
		r = r.WithTag(l.Tag)
	}
	r.Variant = "" // the version holds all of them
	t, err := h.find(ctx, r)
	if errors.Is(err, errdef.ErrNotFound) {
		s.Status = "gone"
		return &lock.DriftError{Model: l.Name, What: r.String(), Locked: l.Digest.String(), Found: "nothing"}
	}
	if err != nil {
		return err
	}
	s.Found = t.desc.Digest.String()
	if t.desc.Digest != l.Digest {
		return &lock.DriftError{Model: l.Name, What: "tag " + t.ref.Tag, Locked: l.Digest.String(), Found: s.Found}
	}
	if l.Reference.Range == "" {
		return nil
	}
	r.Tag, r.Range = "", l.Reference.Range
	newest, err := h.find(ctx, r)
	if err == nil && newest.desc.Digest != l.Digest {
		s.Newer = newest.ref.Tag
	}
	return err
}

// VerifyLocked checks models as they are locked: that the registry still has all
// of each, that it has the files that are locked, and, with opts.Trust, that the
// locked signer has signed. The result has all models also when there is an
// error, which joins those of all.
func (h *Hub) VerifyLocked(ctx context.Context, models []Locked, opts LockOptions) ([]LockStatus, error) {
	return eachLocked(ctx, models, func(ctx context.Context, l Locked, s *LockStatus) error {
		return h.verifyLocked(ctx, l, s, opts)
	})
}

func (h *Hub) verifyLocked(ctx context.Context, l Locked, s *LockStatus, opts LockOptions) error {
	p, err := h.pulled(ctx, l.Pinned(), PullOptions{Trust: opts.Trust, AllowCollisions: true, NoStore: true, Locked: &l})
	if err != nil {
		return err
	}
	if p.verified != nil {
		s.Signer, s.Issuer = chooseSigner(p.verified.Signers, l.Entry)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lockWorkers)
	for _, desc := range append([]ocispec.Descriptor{p.artifact.Manifest.Config}, p.artifact.Manifest.Layers...) {
		g.Go(func() error {
			ok, err := p.target.repo.Exists(ctx, desc)
			if err == nil && !ok {
				err = fmt.Errorf("look for blob %s: %w", desc.Digest, errdef.ErrNotFound)
			}
			return err
		})
	}
	return g.Wait()
}

// eachLocked does the same for several models at once, and notes what it led to.
func eachLocked(ctx context.Context, models []Locked, do func(context.Context, Locked, *LockStatus) error) ([]LockStatus, error) {
	out, errs := make([]LockStatus, len(models)), make([]error, len(models))
	var g errgroup.Group
	g.SetLimit(lockWorkers)
	for i, l := range models {
		g.Go(func() error {
			out[i] = status(l)
			err := do(ctx, l, &out[i])
			if err == nil {
				return nil
			}
			out[i].Reason = err.Error()
			if out[i].Status == "ok" {
				out[i].Status = lockStatus(err)
			}
			if _, named := errors.AsType[*lock.DriftError](err); !named {
				err = fmt.Errorf("%s: %w", l.Name, err)
			}
			errs[i] = err
			return nil
		})
	}
	_ = g.Wait() // all errors are in errs
	return out, errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}

func lockStatus(err error) string {
	for word, causes := range map[string][]error{
		"drift":      {lock.ErrDrift},
		"gone":       {errdef.ErrNotFound},
		"unverified": {signing.ErrNoSignature, signing.ErrUntrusted, signing.ErrTooMany},
		"refused":    {signing.ErrRollback},
	} {
		if slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(err, cause) }) {
			return word
		}
	}
	return "failed"
}
