package hub

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// disputeType is the type of statements that doubt another statement.
const disputeType = "https://modelreg.dev/eval-dispute/v1"

// EvaluateOptions says how results are kept.
type EvaluateOptions struct {
	// To is the repository that keeps the statement: one's own, where one may
	// not write to the model's. Its zero value is the model's.
	To ref.Reference

	// Signer signs the statement. Nil attaches what nobody vouches for.
	Signer *signing.Signer

	// Attest adjusts how a statement is attached.
	Attest signing.AttestOptions
}

// An EvaluateResult says what [Hub.Evaluate] did.
type EvaluateResult struct {
	Reference  string `json:"reference"`  // of the version that was measured
	Digest     string `json:"digest"`     // of that version
	Repository string `json:"repository"` // where the statement is
	Format     string `json:"format"`     // of the file; empty for what was typed
	Results    int    `json:"results"`
	Made       int    `json:"made"`      // statements: 0 when the same was said before
	Statement  string `json:"statement"` // digest of the manifest that holds it; empty when none was made
	Signed     bool   `json:"signed"`
}

// Evaluate states what a run has measured of the version that r resolves to. One
// report makes one statement, and the same report by the same signer none. The
// statement is about the digest, wherever it is kept.
func (h *Hub) Evaluate(ctx context.Context, r ref.Reference, report *eval.Report, opts EvaluateOptions) (*EvaluateResult, error) {
	raw, err := report.Predicate()
	if err != nil {
		return nil, err
	}
	t, err := h.measured(ctx, r)
	if err != nil {
		return nil, err
	}
	repo := t.repo
	if opts.To.Name() != "" {
		if repo, err = h.repository(opts.To); err != nil {
			return nil, err
		}
	}
	res := &EvaluateResult{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(), Repository: repo.Name(),
		Format: string(report.Format), Results: len(report.Results), Signed: opts.Signer != nil,
	}
	made, err := attachEvaluation(ctx, repo, t, raw, opts)
	if err != nil {
		return nil, fmt.Errorf("state results of %s: %w", t.ref, err)
	}
	if made.Digest != "" {
		res.Made, res.Statement = 1, made.Digest.String()
	}
	return res, nil
}

// attachEvaluation attaches a predicate in repo, signed or not, unless it is there.
func attachEvaluation(ctx context.Context, repo *remote.Repository, t *target, raw []byte, opts EvaluateOptions) (ocispec.Descriptor, error) {
	if opts.Signer != nil {
		about := signing.Target{Repository: t.ref.Name(), Descriptor: t.desc}
		return signing.Attest(ctx, repo, about, opts.Signer, signing.Predicate{Type: eval.PredicateType, Raw: raw}, opts.Attest)
	}
	doc := document{artifactType: mediatypes.ArtifactEvaluation, layerType: mediatypes.ArtifactEvaluation, raw: raw}
	desc, made, err := attachTo(ctx, repo, t.desc, doc)
	if !made {
		desc = ocispec.Descriptor{}
	}
	return desc, err
}

// A Dispute is the doubt of a party about another's statement. It removes nothing.
type Dispute struct {
	Statement string `json:"statement"` // digest of the manifest that holds it
	Reason    string `json:"reason"`

	// Class and Signer are who doubts: a publisher of the repository, or somebody
	// who is trusted.
	Class  Class   `json:"class"`
	Signer *Signer `json:"signer"`
}

// maxReason bounds the reason of a dispute, in bytes.
const maxReason = 4 << 10

// A DisputeResult says what [Hub.Dispute] did.
type DisputeResult struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	Statement string `json:"statement"` // the one that is doubted
	Made      int    `json:"made"`      // 0 when the same party has said the same before
}

// Dispute states that the signer doubts a statement about the version that r
// resolves to. The statement, given by its digest or the beginning of that, stays
// as it is, and is shown with the doubt beside it if that is by a publisher of the
// repository or by somebody whom the reader trusts.
func (h *Hub) Dispute(ctx context.Context, r ref.Reference, statement, reason string, opts EvaluationsOptions) (*DisputeResult, error) {
	if opts.Signer == nil {
		return nil, fmt.Errorf("%w: dispute %s: a doubt that nobody signs says nothing", ErrUsage, r)
	}
	if reason == "" || len(reason) > maxReason {
		return nil, fmt.Errorf("%w: dispute %s: a reason has 1 to %d bytes", ErrUsage, r, maxReason)
	}
	t, err := h.measured(ctx, r)
	if err != nil {
		return nil, err
	}
	all, err := h.evaluations(ctx, t, opts)
	if err != nil {
		return nil, err
	}
	of, err := pickStatement(all.Evaluations, statement)
	if err != nil {
		return nil, missing(MissingStatement, t.ref, fmt.Errorf("dispute a result of %s: %w", t.ref, err))
	}
	raw, err := json.Marshal(struct {
		Statement digest.Digest `json:"statement"`
		Reason    string        `json:"reason"`
	}{digest.Digest(of), reason}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode dispute: %w", err)
	}
	about := signing.Target{Repository: t.ref.Name(), Descriptor: t.desc}
	made, err := signing.Attest(ctx, t.repo, about, opts.Signer, signing.Predicate{Type: disputeType, Raw: raw}, signing.AttestOptions{})
	if err != nil {
		return nil, missing(MissingStatement, t.ref, fmt.Errorf("dispute a result of %s: %w", t.ref, err))
	}
	res := &DisputeResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Statement: of}
	if made.Digest != "" {
		res.Made = 1
	}
	return res, nil
}
