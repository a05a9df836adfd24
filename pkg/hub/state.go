package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A State is what became of a version, by the newest statement that counts.
type State struct {
	State       record.State `json:"state"` // "active", "deprecated" or "yanked"
	Reason      string       `json:"reason"`
	Since       time.Time    `json:"since,omitzero"`
	Replacement string       `json:"replacement"` // a reference

	// Signer is who stated it; nil where that is not verified: the repository names
	// no publishers and no key is given, or certificates cannot be checked here.
	Signer *Signer `json:"signer"`

	// Ignored is how many statements are by others than those who count.
	Ignored int `json:"ignored"`

	// Problems are what is wrong with the statements: some that were removed, and
	// some that cannot be read.
	Problems []string `json:"problems,omitempty"`

	seq    int           // of the newest statement
	newest digest.Digest // its manifest
}

// predicateAnnotation is where a bundle's referrer repeats what it states.
const predicateAnnotation = "dev.sigstore.bundle.predicateType"

// statusOf tells what became of a version. With a trust, its statements count and
// those of the repository's publishers, and the worse decides; without, those of
// the publishers; and where there are none, anybody's who may push there. Where
// some of the publishers cannot be told from others here, what says that it is by
// them counts as if it were, unless others of them have said something since.
//
// Where no trust is given this costs one request for a version without attachments:
// the fallback list of referrers, which modelreg always writes, is looked at alone.
func (h *Hub) statusOf(ctx context.Context, t *target, trust *signing.Trust) (State, error) {
	s, err := h.lookForStatus(ctx, t, trust, trust == nil)
	if err != nil {
		return s, fmt.Errorf("look for the status of %s: %w", t.ref, err)
	}
	return s, nil
}

// lookForStatus is statusOf that looks quickly, or everywhere.
func (h *Hub) lookForStatus(ctx context.Context, t *target, trust *signing.Trust, quick bool) (State, error) {
	active := State{State: record.Active}
	if t.repo == nil {
		return active, nil
	}
	about := []ocispec.Descriptor{t.signed}
	if t.desc.Digest != t.signed.Digest {
		about = append(about, t.desc)
	}
	worst := active
	for _, desc := range about {
		list, err := statements(ctx, t.repo, desc, quick)
		if err != nil || len(list) == 0 {
			if err != nil {
				return active, err
			}
			continue
		}
		s, err := h.judge(ctx, t, desc, list, trust)
		if err != nil {
			return active, err
		}
		if desc.Digest == t.signed.Digest || s.State.Worse(worst.State) {
			worst = s
		}
	}
	return worst, nil
}

// statements lists the referrers that state the status of a version.
func statements(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor, quick bool) ([]ocispec.Descriptor, error) {
	var all []ocispec.Descriptor
	if quick {
		_, raw, err := repo.Manifest(ctx, desc.Digest.Algorithm().String()+"-"+desc.Digest.Encoded()[:64])
		if errors.Is(err, errdef.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		index, err := mediatypes.ParseIndex(raw)
		if err != nil {
			return nil, nil // a stranger's tag, which lists nothing
		}
		all = index.Manifests
	} else {
		var err error
		if all, err = repo.Referrers(ctx, desc, ""); errors.Is(err, errdef.ErrSizeExceedsLimit) {
			return nil, fmt.Errorf("%w: %v", signing.ErrTooMany, err) // what counts may be among them
		} else if err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(all, func(d ocispec.Descriptor) bool { return !statesStatus(d) }), nil
}

// statesStatus tells whether a referrer is listed as one that states a status.
func statesStatus(d ocispec.Descriptor) bool {
	return d.Annotations[predicateAnnotation] == record.StatusType
}

// judge decides between the statements that are listed for one manifest. One that
// is listed and not there may have been what counted.
func (h *Hub) judge(ctx context.Context, t *target, desc ocispec.Descriptor, list []ocispec.Descriptor, trust *signing.Trust) (State, error) {
	repo := statusReader{Reader: t.repo, listed: list, missing: map[string]bool{}}
	s, err := h.judgeThose(ctx, t, repo, desc, trust)
	for _, d := range slices.Sorted(maps.Keys(repo.missing)) {
		s.Problems = append(s.Problems, fmt.Sprintf("the statement %s is listed and is not there", d))
	}
	return s, err
}

func (h *Hub) judgeThose(ctx context.Context, t *target, repo statusReader, desc ocispec.Descriptor, trust *signing.Trust) (State, error) {
	publishers, unchecked, err := h.publishersOf(ctx, t)
	if err != nil {
		return State{}, err
	}
	about := signing.Target{Repository: t.ref.Name(), Descriptor: desc}
	if trust == nil && publishers == nil && len(unchecked) == 0 {
		s, _, err := claimed(ctx, repo, about, nil)
		return s, err
	}
	worst, last := State{State: record.Active}, time.Time{} // last is of what the publishers have signed
	counted := map[digest.Digest]bool{}
	for _, who := range []*signing.Trust{trust, publishers} {
		if who == nil {
			continue
		}
		s, by, err := vouched(ctx, repo, about, *who)
		if err != nil {
			return State{}, err
		}
		for _, d := range by {
			counted[d] = true
		}
		if worst.newest == "" || s.State.Worse(worst.State) {
			worst = s
		}
		last = s.Since
	}
	if len(unchecked) > 0 {
		s, by, err := claimed(ctx, repo, about, unchecked)
		if err != nil {
			return State{}, err
		}
		for _, d := range by {
			counted[d] = true
		}
		if worst.newest == "" || s.State.Worse(worst.State) && (publishers == nil || !s.Since.Before(last)) {
			worst = s
		}
	}
	worst.Ignored = len(repo.listed) - len(counted)
	return worst, nil
}

// publishers are those whose cards and statements count in a repository without
// anybody being named; nil if it names none, or if they cannot be told from others
// here.
func (h *Hub) publishers(ctx context.Context, t *target) (*signing.Trust, error) {
	trust, _, err := h.publishersOf(ctx, t)
	return trust, err
}

// publishersOf are the publishers that can be told from others here, nil if there
// are none, and those that cannot.
func (h *Hub) publishersOf(ctx context.Context, t *target) (trust *signing.Trust, unchecked []signing.Identity, err error) {
	if t.repo == nil {
		return nil, nil, nil
	}
	r, err := h.record(ctx, t.repo)
	if err != nil || len(r.Publishers) == 0 {
		return nil, nil, err
	}
	if trust, err = h.parties(ctx, r.Publishers); err != nil {
		return nil, nil, fmt.Errorf("publishers of %s: %w", t.ref.Name(), err)
	}
	if trust != nil && len(trust.Identities) > 0 {
		return trust, nil, nil
	}
	for _, p := range r.Publishers {
		if p.Key == "" {
			unchecked = append(unchecked, signing.Identity{Subject: p.Identity, Issuer: p.Issuer})
		}
	}
	if len(unchecked) > 0 {
		h.warnOnce("%s: %d of its %d publishers sign with certificates, and no trusted root is known here: whether something is theirs cannot be checked; a status counts if it says so",
			t.ref.Name(), len(unchecked), len(r.Publishers))
	}
	return trust, unchecked, nil
}

// parties are those of a record as somebody to trust. Without a trusted root
// identities are left out; nil means that nobody is left.
func (h *Hub) parties(ctx context.Context, list []record.Party) (*signing.Trust, error) {
	trust := &signing.Trust{}
	for _, p := range list {
		if p.Key == "" {
			trust.Identities = append(trust.Identities, signing.Identity{Subject: p.Identity, Issuer: p.Issuer})
			continue
		}
		key, err := signing.LoadPublicKey([]byte(p.Key))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", record.ErrMalformed, err)
		}
		trust.Keys = append(trust.Keys, key)
	}
	if len(trust.Identities) > 0 {
		rules, err := h.rules(ctx)
		if err != nil {
			return nil, err
		}
		if rules.Roots != nil {
			trust.Roots, err = rules.Roots("")
		}
		if rules.Roots == nil || err != nil {
			trust.Identities, trust.Roots = nil, nil
		}
	}
	if len(trust.Keys)+len(trust.Identities) == 0 {
		return nil, nil
	}
	return trust, trust.Check()
}

// A statusReader shows of a repository the statements of a status alone.
type statusReader struct {
	signing.Reader
	listed  []ocispec.Descriptor
	missing map[string]bool // gets the digests of what is not there
}

// Manifest implements [signing.Reader]. What is kept behind tags is not looked at.
func (r statusReader) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	if !strings.Contains(reference, ":") {
		return ocispec.Descriptor{}, nil, errdef.ErrNotFound
	}
	return r.Reader.Manifest(ctx, reference)
}

// Fetch implements [signing.Reader]. It notes statements that are not there.
func (r statusReader) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if !slices.ContainsFunc(r.listed, func(d ocispec.Descriptor) bool { return d.Digest == desc.Digest }) {
		return r.Reader.Fetch(ctx, desc)
	}
	_, raw, err := r.Reader.Manifest(ctx, desc.Digest.String())
	if errors.Is(err, errdef.ErrNotFound) {
		r.missing[desc.Digest.String()] = true
	}
	return io.NopCloser(bytes.NewReader(raw)), err
}

// Referrers implements [signing.Reader].
func (r statusReader) Referrers(context.Context, ocispec.Descriptor, string) ([]ocispec.Descriptor, error) {
	return r.listed, nil
}

// vouched is the state by those that who trusts, and the statements that counted.
func vouched(ctx context.Context, repo signing.Reader, about signing.Target, who signing.Trust) (State, []digest.Digest, error) {
	report, err := signing.Attestations(ctx, repo, about, who)
	if err != nil {
		return State{}, nil, err
	}
	var all []record.Stated
	var by []digest.Digest
	signer := map[digest.Digest]Signer{}
	for _, a := range report.Attestations {
		if a.Type != record.StatusType {
			continue
		}
		s := stated(a.Raw, a.Descriptor.Digest)
		if a.Signer.Kind != "key" {
			s.Signed = a.Signer.Time
		}
		all, by = append(all, s), append(by, a.Descriptor.Digest)
		signer[s.Digest] = signers(&signing.Report{Signers: []signing.Signatory{a.Signer}})[0]
	}
	state := stateOf(all)
	if s, ok := signer[state.newest]; ok {
		state.Signer = &s
	}
	return state, by, nil
}

// claimed is the state by what is attached, and the statements that counted: those
// that say they are by one of some, or all where by is empty.
func claimed(ctx context.Context, repo statusReader, about signing.Target, by []signing.Identity) (State, []digest.Digest, error) {
	var all []record.Stated
	var counted []digest.Digest
	for _, desc := range repo.listed[:min(len(repo.listed), signing.MaxReferrers)] {
		one := statusReader{Reader: repo.Reader, listed: []ocispec.Descriptor{desc}, missing: repo.missing}
		for raw, err := range signing.DetachedOf(ctx, one, about, record.StatusType) {
			if err != nil {
				return State{}, nil, err
			}
			if len(by) > 0 && !saysBy(raw, by) {
				continue
			}
			if predicate, ok := statusIn(raw, about.Descriptor.Digest); ok {
				all, counted = append(all, stated(predicate, desc.Digest)), append(counted, desc.Digest)
			}
		}
	}
	return stateOf(all), counted, nil
}

// saysBy tells whether a bundle says that one of some has signed it.
func saysBy(bundle []byte, some []signing.Identity) bool {
	s, err := signing.UnverifiedSigner(bundle)
	return err == nil && slices.ContainsFunc(some, func(id signing.Identity) bool { return id.Subject == s.Identity && id.Issuer == s.Issuer })
}

// statusIn is the status in a bundle, if it is one of that version.
func statusIn(bundle []byte, about digest.Digest) (jsontext.Value, bool) {
	raw, err := signing.UnverifiedStatement(bundle)
	if err != nil {
		return nil, false
	}
	var st struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		PredicateType string         `json:"predicateType"`
		Predicate     jsontext.Value `json:"predicate"`
	}
	if json.Unmarshal(raw, &st) != nil || st.PredicateType != record.StatusType {
		return nil, false
	}
	for _, s := range st.Subject {
		if s.Digest[about.Algorithm().String()] == about.Encoded() {
			return st.Predicate, true
		}
	}
	return nil, false
}

// stated reads a statement. One that cannot be read says that something is wrong,
// and not what.
func stated(raw jsontext.Value, in digest.Digest) record.Stated {
	s, err := record.ParseStatus(raw)
	if err != nil {
		s = record.Status{State: record.Yanked, Reason: "a status that cannot be read", Since: time.Now().UTC()}
	}
	return record.Stated{Status: s, Digest: in}
}

func stateOf(all []record.Stated) State {
	newest, ok := record.Newest(all)
	if !ok {
		return State{State: record.Active}
	}
	s := State{
		State: newest.State, Reason: newest.Reason, Since: newest.Since, Replacement: newest.Replacement,
		seq: newest.Seq, newest: newest.Digest,
	}
	if farAhead(s.Since) {
		s.Problems = append(s.Problems, fmt.Sprintf("the statement %s is dated %s, which is in the future", s.newest, s.Since.Format(time.RFC3339)))
	}
	for _, d := range record.Gaps(all) {
		s.Problems = append(s.Problems, fmt.Sprintf("the statement %s was removed", d))
	}
	return s
}
