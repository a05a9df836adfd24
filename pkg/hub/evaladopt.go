package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// An AdoptResult says what [Hub.AdoptEvaluation] did.
type AdoptResult struct {
	Reference  string `json:"reference"`
	Digest     string `json:"digest"`
	Statement  string `json:"statement"`
	Repository string `json:"repository"` // where the statement is from
	Signer     Signer `json:"signer"`
	Made       int    `json:"made"` // 0 when it was there
}

// AdoptEvaluation copies a statement about the version that r resolves to from
// another repository into the version's own, as it is: its signature stays its
// signer's. Only what somebody known has signed is taken: of opts.Trust, or whom the
// repository's record names.
func (h *Hub) AdoptEvaluation(ctx context.Context, r ref.Reference, statement string, opts EvaluationsOptions) (*AdoptResult, error) {
	t, err := h.measured(ctx, r)
	if err != nil {
		return nil, err
	}
	all, err := h.stated(ctx, t, opts)
	if err != nil {
		return nil, err
	}
	of, err := pickStatement(all.Evaluations, statement)
	if err != nil {
		return nil, missing(MissingStatement, t.ref, fmt.Errorf("adopt a result of %s: %w", t.ref, err))
	}
	list := slices.DeleteFunc(all.Evaluations, func(e Evaluation) bool { return e.Statement != of })
	res := &AdoptResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Statement: of, Repository: list[0].Repository}
	known := slices.IndexFunc(list, func(e Evaluation) bool { return e.Signer != nil && e.Class.rank() < ClassCommunity.rank() })
	if known < 0 {
		return nil, fmt.Errorf("adopt %s: %w: nobody who is known has signed it", of, signing.ErrUntrusted)
	}
	res.Signer = *list[known].Signer
	if slices.ContainsFunc(list, func(e Evaluation) bool { return e.Repository == t.repo.Name() }) {
		return res, nil
	}
	name, err := ref.Parse(res.Repository)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", of, err)
	}
	from, err := h.repository(name)
	if err != nil {
		return nil, err
	}
	if err := adopt(ctx, from, t, of); err != nil {
		return nil, fmt.Errorf("adopt %s from %s: %w", of, res.Repository, err)
	}
	res.Made = 1
	return res, nil
}

// adopt copies a referrer and what it holds.
func adopt(ctx context.Context, from *remote.Repository, t *target, statement string) error {
	_, raw, err := from.Manifest(ctx, statement)
	if err != nil {
		return err
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return err
	}
	if m.Subject == nil || m.Subject.Digest != t.desc.Digest || len(m.Layers) != 1 {
		return fmt.Errorf("%w: no statement about this version", eval.ErrMalformed)
	}
	for _, desc := range []ocispec.Descriptor{m.Layers[0], m.Config} {
		if desc.Size > signing.MaxAttestationBytes {
			return fmt.Errorf("%w: a statement of %d bytes", eval.ErrMalformed, desc.Size)
		}
		data, err := content.FetchAll(ctx, from, desc)
		if err != nil {
			return err
		}
		desc.Data = nil
		if err := t.repo.Push(ctx, desc, bytes.NewReader(data)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			return err
		}
	}
	return t.repo.PushReferrer(ctx, raw, t.desc)
}
