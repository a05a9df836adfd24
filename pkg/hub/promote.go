package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// PredicateVSA is the predicate type of a verification summary, as SLSA has it.
const PredicateVSA = "https://slsa.dev/verification_summary/v1"

// DefaultVerifier is who a verification summary says has verified.
const DefaultVerifier = "https://modelreg.dev/modelreg"

// PromoteOptions adjusts [Hub.Promote].
type PromoteOptions struct {
	// Signer signs a verification summary and the entry of the alias's log. Nil
	// makes no summary.
	Signer *signing.Signer

	// Trust, if not nil, must have signed the version, besides what policies ask.
	Trust *signing.Trust

	// Message and Author go into the alias's log.
	Message, Author string

	// Create makes the alias where the record of its repository protects others,
	// and this one is neither among them nor there.
	Create bool

	// Verifier is the URI of who verified, for the summary. Empty means
	// [DefaultVerifier].
	Verifier string

	// AllowDowngrade accepts a tag of the source that went back.
	AllowDowngrade bool

	// Now is the time of the summary and the log. Zero means time.Now.
	Now time.Time
}

// A PromoteResult says what [Hub.Promote] did.
type PromoteResult struct {
	Source    string `json:"source"`    // as resolved
	Reference string `json:"reference"` // the alias, with the digest
	Digest    string `json:"digest"`
	Move      Move   `json:"move"`

	// Copied is what moved to another repository; nil within one.
	Copied *CopyResult `json:"copied,omitempty"`

	Verified *Verified `json:"verified"` // null when nobody asked for anything
	Summary  string    `json:"summary"`  // the manifest of the verification summary; empty when none was made
}

// Promote makes an alias lead to the version that src resolves to, if what
// policies say of it, by the name of the alias, allows that. Where dst is in
// another repository the version is copied there first, with all that is attached
// to it, and verified there. With a signer a verification summary says what was
// decided, before the alias moves.
func (h *Hub) Promote(ctx context.Context, src, dst ref.Reference, opts PromoteOptions) (*PromoteResult, error) {
	if dst.Tag == "" || dst.Digest != "" || dst.Prefix != "" || dst.Range != "" {
		return nil, fmt.Errorf("%w: promote to %s: name the alias, as a tag", ErrUsage, dst)
	}
	if err := checkTag(dst.Tag); err != nil {
		return nil, err
	}
	t, err := h.find(ctx, src)
	if err != nil {
		return nil, err
	}
	if t.isLayout() {
		return nil, fmt.Errorf("%w: promote %s: copy it to a registry first", ErrUsage, src)
	}
	if !opts.Create {
		if err := h.meant(ctx, dst); err != nil {
			return nil, err
		}
	}
	if err := h.heed(ctx, src, t, opts.Trust); err != nil {
		return nil, err
	}
	res := &PromoteResult{Source: t.ref.String(), Digest: t.desc.Digest.String()}
	if dst.Name() != t.ref.Name() {
		if t, err = h.promoteCopy(ctx, t, dst, opts, res); err != nil {
			return nil, err
		}
	}
	t.ref = dst.WithDigest(t.desc.Digest)
	// What is asked is whether this version may be behind that alias.
	admit := admitOptions{trust: opts.Trust, downgrade: true, checkOnly: true}
	if res.Verified, err = h.admit(ctx, dst, t, admit); err != nil {
		return nil, err
	}
	res.Reference = t.ref.String()
	opts.Now = cmp.Or(opts.Now, time.Now()).UTC().Truncate(time.Second)
	if opts.Signer != nil {
		if res.Summary, err = h.summarize(ctx, t, res.Verified, opts); err != nil {
			return nil, err
		}
	}
	move, err := h.moveVersion(ctx, t, dst.Tag, moving{message: opts.Message, author: opts.Author, signer: opts.Signer, now: opts.Now})
	if move != nil {
		res.Move = *move
	}
	return res, err
}

// meant is an error for a tag that may be a slip: where the record of the repository
// names aliases or releases, one that it does not name and that is not there.
func (h *Hub) meant(ctx context.Context, dst ref.Reference) error {
	repo, err := h.repository(dst)
	if err != nil {
		return err
	}
	rules, err := h.record(ctx, repo)
	if err != nil || len(rules.Protected) == 0 || rules.IsProtected(dst.Tag) || rules.IsImmutable(dst.Tag) {
		return err
	}
	_, err = repo.Resolve(ctx, dst.Tag)
	if !errors.Is(err, errdef.ErrNotFound) {
		return err
	}
	known := rules.Protected[:min(len(rules.Protected), maxOffered)]
	return &MissingError{
		What: MissingAlias, Repository: dst.Name(), Reference: asTyped(dst), Tag: ref.DecodeBranch(dst.Tag), Tags: known,
		Err: fmt.Errorf("promote to %s: there is no such tag, and it is none of those that the record protects (%s): %w",
			asTyped(dst), strings.Join(quoted(known), ", "), errdef.ErrNotFound),
	}
}

// quoted is for names that anybody may have written.
func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = fmt.Sprintf("%.80q", name)
	}
	return out
}

// promoteCopy brings a version to the repository of dst, without a tag there.
func (h *Hub) promoteCopy(ctx context.Context, t *target, dst ref.Reference, opts PromoteOptions, res *PromoteResult) (*target, error) {
	from, to := t.ref, dst
	from.Tag, to.Tag = "", ""
	var err error
	if res.Copied, err = h.Copy(ctx, from, to, CopyOptions{Trust: opts.Trust}); err != nil {
		return nil, err
	}
	return h.resolve(ctx, to.WithDigest(t.desc.Digest))
}

// A summary is the predicate of a verification summary. Fields are named as in
// SLSA v1.
type summary struct {
	Verifier struct {
		ID string `json:"id"`
	} `json:"verifier"`
	TimeVerified string `json:"timeVerified"`
	ResourceURI  string `json:"resourceUri"`
	Policy       struct {
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest,omitempty"`
	} `json:"policy"`
	InputAttestations  []summaryInput `json:"inputAttestations,omitempty"`
	VerificationResult string         `json:"verificationResult"`
	VerifiedLevels     []string       `json:"verifiedLevels"`
	SLSAVersion        string         `json:"slsaVersion"`
}

type summaryInput struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// summarize states that t was verified, by whom and against what. It returns the
// manifest that the statement is in.
func (h *Hub) summarize(ctx context.Context, t *target, v *Verified, opts PromoteOptions) (string, error) {
	rules, err := h.rules(ctx)
	if err != nil {
		return "", err
	}
	if v == nil {
		return "", nil // nothing was verified, and there is nothing to state
	}
	s := summary{
		TimeVerified: opts.Now.Format(time.RFC3339), ResourceURI: "oci://" + t.ref.Name() + ":" + t.ref.Tag,
		VerificationResult: "PASSED", VerifiedLevels: []string{}, SLSAVersion: "1.0",
	}
	s.Verifier.ID = cmp.Or(opts.Verifier, DefaultVerifier)
	s.Policy.URI = v.Policy
	if d := rules.Digest(); d != "" {
		s.Policy.Digest = digestSet(d)
	}
	for _, d := range t.vouched {
		in := summaryInput{URI: "oci://" + t.ref.Name() + "@" + d.Digest.String(), Digest: digestSet(d.Digest)}
		if !slices.ContainsFunc(s.InputAttestations, func(i summaryInput) bool { return i.URI == in.URI }) {
			s.InputAttestations = append(s.InputAttestations, in)
		}
	}
	raw, err := json.Marshal(s, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	made, err := signing.Attest(ctx, t.repo, t.signing(), opts.Signer, signing.Predicate{Type: PredicateVSA, Raw: raw}, signing.AttestOptions{})
	if err != nil {
		return "", fmt.Errorf("state that %s was verified: %w", t.ref, err)
	}
	return made.Digest.String(), nil
}

func digestSet(d digest.Digest) map[string]string {
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// RollbackOptions adjusts [Hub.Rollback].
type RollbackOptions struct {
	// Signer signs the entry of the alias's log, if not nil.
	Signer *signing.Signer

	// Message and Author go into the alias's log.
	Message, Author string

	// Force goes back to a version that was yanked, too.
	Force bool

	// Now is the time of the log. Zero means time.Now.
	Now time.Time
}

// A RollbackResult says what [Hub.Rollback] did.
type RollbackResult struct {
	Reference string   `json:"reference"` // the alias, with the digest
	Digest    string   `json:"digest"`
	Move      Move     `json:"move"`
	Skipped   []string `json:"skipped"` // digests that the alias led to since, and that were yanked or are gone
}

// Rollback makes an alias lead where it led before, by its log: to the version of
// the move before the newest that is another one than now, and neither yanked nor
// gone.
func (h *Hub) Rollback(ctx context.Context, r ref.Reference, opts RollbackOptions) (*RollbackResult, error) {
	if r.Tag == "" || r.Digest != "" || r.Prefix != "" || r.Range != "" {
		return nil, fmt.Errorf("%w: roll back %s: name the alias, as a tag", ErrUsage, r)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	log, err := readLog(ctx, repo, r.Tag, time.Time{}, maxRollback)
	if err != nil {
		return nil, err
	}
	if len(log.Entries) == 0 {
		return nil, missing(MissingLog, r, fmt.Errorf("roll back %s: nobody logged where it was: %w: %w", asTyped(r), errNoLog, errdef.ErrNotFound))
	}
	now, err := repo.Resolve(ctx, r.Tag)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, fmt.Errorf("look at tag %s: %w", r.Tag, err)
	}
	res := &RollbackResult{Skipped: []string{}}
	t, err := h.earlier(ctx, r, before(log, now.Digest), opts, res)
	if err != nil {
		return nil, fmt.Errorf("roll back %s: %w", r, err)
	}
	t.ref = r.WithDigest(t.desc.Digest)
	res.Reference, res.Digest = t.ref.String(), t.desc.Digest.String()
	move, err := h.moveVersion(ctx, t, r.Tag, moving{message: cmp.Or(opts.Message, "rollback"), author: opts.Author, signer: opts.Signer, now: opts.Now, back: true})
	if move != nil {
		res.Move = *move
	}
	return res, err
}

// maxRollback bounds the moves that are looked at.
const maxRollback = 256

// errNoLog says that an alias has no log.
var errNoLog = errors.New("no log is kept of this tag")

// before lists where an alias was before it came to be where it is now, the last
// first. A move that takes others back counts as if they had not been: after a
// rollback from C to B, what is before B is A, and not C.
func before(log record.Log, now digest.Digest) []digest.Digest {
	var been []digest.Digest
	on := func(d digest.Digest) {
		if n := len(been); d != "" && (n == 0 || been[n-1] != d) {
			been = append(been, d)
		}
	}
	for i, e := range slices.Backward(log.Entries) {
		if !log.Stands(i) {
			continue
		}
		on(e.From)
		last := len(been) - 1
		for last >= 0 && been[last] != e.To {
			last--
		}
		if e.Back && last >= 0 {
			been = been[:last+1]
		} else {
			on(e.To)
		}
	}
	slices.Reverse(been)
	var places []digest.Digest
	for _, d := range been {
		if d != now && !slices.Contains(places, d) {
			places = append(places, d)
		}
	}
	return places
}

// earlier finds the first of some versions that may be gone back to.
func (h *Hub) earlier(ctx context.Context, r ref.Reference, places []digest.Digest, opts RollbackOptions, res *RollbackResult) (*target, error) {
	if len(places) == 0 {
		return nil, missing(MissingPast, r, fmt.Errorf("it was never anywhere else: %w", errdef.ErrNotFound))
	}
	var refused error
	for _, d := range places {
		pinned := r.WithTag("").WithDigest(d)
		t, err := h.resolve(ctx, pinned)
		if err == nil && !opts.Force {
			err = h.yanked(ctx, t)
		}
		switch {
		case err == nil:
			return t, nil
		case errors.Is(err, policy.ErrYanked), errors.Is(err, ErrGone), errors.Is(err, errdef.ErrNotFound):
			refused = cmp.Or(refused, err)
			res.Skipped = append(res.Skipped, d.String())
			h.warn("not gone back to: %v", err)
		default:
			return nil, err
		}
	}
	return nil, refused
}

// yanked is an error if a version was.
func (h *Hub) yanked(ctx context.Context, t *target) error {
	s, err := h.lookForStatus(ctx, t, nil, false)
	if err != nil || s.State != record.Yanked {
		return err
	}
	return s.problem(t.ref)
}
