package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// evalWitness reads statements about one version.
type evalWitness struct {
	target *target
	trusts []evalTrust
}

// evalFound is what one repository says of the version.
type evalFound struct {
	evaluations []Evaluation
	disputes    []Dispute
	problems    []string
	err         error // the repository could not be asked
}

// look reads the statements in one repository.
func (w *evalWitness) look(ctx context.Context, repo *remote.Repository) evalFound {
	var out evalFound
	listed, err := repo.Referrers(ctx, w.target.desc, "")
	if err != nil {
		if !errors.Is(err, errdef.ErrNotFound) {
			out.err = err
		}
		return out
	}
	listed = slices.DeleteFunc(listed, func(d ocispec.Descriptor) bool { return !mayEvaluate(d) })
	if n := len(listed); n > MaxEvaluations {
		out.problems = append(out.problems, fmt.Sprintf("%s: %d statements; %d were looked at", repo.Name(), n, MaxEvaluations))
		listed = listed[:MaxEvaluations]
	}
	out.err = w.statements(ctx, repo, listed, &out)
	if out.err == nil {
		f := w.classic(ctx, repo)
		if errors.Is(f.err, signing.ErrTooMany) { // a flood behind one tag hides nothing that others have attached
			f.problems, f.err = append(f.problems, repo.Name()+": "+f.err.Error()), nil
		}
		out.add(f)
		out.err = f.err
	}
	return out
}

// lookElsewhere is look in a repository that is not the model's own, which must not
// make others wait for long.
func (w *evalWitness) lookElsewhere(ctx context.Context, repo *remote.Repository) evalFound {
	ctx, cancel := context.WithTimeoutCause(ctx, evalPatience, errImpatient)
	defer cancel()
	f := w.look(ctx, repo)
	if f.err != nil && errors.Is(context.Cause(ctx), errImpatient) {
		f.err = errImpatient
	}
	return f
}

var errImpatient = fmt.Errorf("no answer for %v", evalPatience)

// statements reads referrers, a few at once and in their order, until there are
// enough results.
func (w *evalWitness) statements(ctx context.Context, repo *remote.Repository, listed []ocispec.Descriptor, out *evalFound) error {
	for some := range slices.Chunk(listed, evalWorkers) {
		if len(out.evaluations) > maxEvaluated {
			out.evaluations = out.evaluations[:maxEvaluated]
			out.problems = append(out.problems, fmt.Sprintf("%s: more than %d results; the rest of %d statements was not looked at", repo.Name(), maxEvaluated, len(listed)))
			return nil
		}
		each := make([]evalFound, len(some))
		g, gctx := errgroup.WithContext(ctx)
		for i, desc := range some {
			g.Go(func() error {
				each[i] = w.statement(gctx, repo, desc)
				return each[i].err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, f := range each {
			out.add(f)
		}
	}
	return nil
}

// add adds what was found besides.
func (f *evalFound) add(more evalFound) {
	f.evaluations = append(f.evaluations, more.evaluations...)
	f.disputes = append(f.disputes, more.disputes...)
	f.problems = append(f.problems, more.problems...)
}

// mayEvaluate tells whether a referrer says in the list that it is about results.
// That is not signed; who lies there hides what he could as well have removed.
func mayEvaluate(d ocispec.Descriptor) bool {
	if d.ArtifactType == mediatypes.ArtifactEvaluation {
		return true
	}
	t := d.Annotations[predicateAnnotation]
	return t == eval.PredicateType || t == disputeType
}

// statement reads one referrer.
func (w *evalWitness) statement(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor) evalFound {
	var out evalFound
	var err error
	if desc.ArtifactType == mediatypes.ArtifactEvaluation {
		err = w.unsigned(ctx, repo, desc, &out)
	} else {
		err = w.signed(ctx, repo, desc, &out)
	}
	if err == nil {
		return out
	}
	if errors.Is(err, eval.ErrMalformed) || errors.Is(err, errdef.ErrNotFound) || errors.Is(err, mediatypes.ErrMalformed) || errors.Is(err, content.ErrMismatchedDigest) {
		out.problems = append(out.problems, fmt.Sprintf("%s@%s: %v", repo.Name(), desc.Digest, err))
		return out
	}
	out.err = err
	return out
}

// unsigned reads results that nobody vouches for.
func (w *evalWitness) unsigned(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor, out *evalFound) error {
	_, raw, err := repo.Manifest(ctx, desc.Digest.String())
	if err != nil {
		return err
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return err
	}
	if m.Subject == nil || m.Subject.Digest != w.target.desc.Digest || m.ArtifactType != mediatypes.ArtifactEvaluation || len(m.Layers) != 1 {
		return fmt.Errorf("%w: a referrer that is listed here and is none of this version", eval.ErrMalformed)
	}
	if m.Layers[0].Size > eval.MaxPredicateBytes {
		return fmt.Errorf("%w: results of %d bytes", eval.ErrMalformed, m.Layers[0].Size)
	}
	predicate, err := content.FetchAll(ctx, repo, m.Layers[0])
	if err != nil {
		return err
	}
	return w.results(predicate, Evaluation{Class: ClassUnsigned, Repository: repo.Name(), Statement: desc.Digest.String()}, out)
}

// signed reads a statement in a bundle, and finds out who has signed it.
func (w *evalWitness) signed(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor, out *evalFound) error {
	one := newOneReader(repo, desc)
	about := signing.Target{Repository: w.target.ref.Name(), Descriptor: w.target.desc}
	of := Evaluation{Class: ClassCommunity, Repository: repo.Name(), Statement: desc.Digest.String()}
	for _, trust := range w.trusts {
		report, err := signing.Attestations(ctx, one, about, trust.Trust)
		if err != nil {
			return err
		}
		if len(report.Attestations) == 0 {
			continue
		}
		at := report.Attestations[0]
		of.Class, of.Signer = trust.class, signerOf(at.Signer)
		return w.said(at.Type, at.Raw, of, out)
	}
	list, err := signing.ListAttached(ctx, one, about, []ocispec.Descriptor{desc}, nil)
	if err != nil {
		return err
	}
	if len(list) == 1 && list[0].Claim.Kind != "" {
		of.Claims = signerOf(list[0].Claim)
	}
	for _, predicateType := range []string{eval.PredicateType, disputeType} {
		for raw, err := range signing.DetachedOf(ctx, one, about, predicateType) {
			if err != nil {
				return err
			}
			said, predicate, err := unverified(raw, w.target.desc.Digest)
			if err != nil {
				return err
			}
			return w.said(said, predicate, of, out)
		}
	}
	return fmt.Errorf("%w: a referrer that holds no statement about this version", eval.ErrMalformed)
}

// said takes what a statement says.
func (w *evalWitness) said(predicateType string, predicate jsontext.Value, of Evaluation, out *evalFound) error {
	switch predicateType {
	case eval.PredicateType:
		return w.results(predicate, of, out)
	case disputeType:
		return w.doubt(predicate, of, out)
	}
	return fmt.Errorf("%w: listed as results, and signed as %q", eval.ErrMalformed, predicateType)
}

func (w *evalWitness) results(predicate []byte, of Evaluation, out *evalFound) error {
	report, err := eval.ParsePredicate(predicate)
	if err != nil {
		return err
	}
	of.Format, of.File = report.Format, report.Source
	for _, r := range report.Results {
		of.Result = r
		out.evaluations = append(out.evaluations, of)
	}
	return nil
}

// doubt takes a dispute, if it is by somebody whose word counts.
func (w *evalWitness) doubt(predicate []byte, of Evaluation, out *evalFound) error {
	var d Dispute
	if err := json.Unmarshal(predicate, &d); err != nil {
		return fmt.Errorf("%w: %w", eval.ErrMalformed, err)
	}
	if of.Class != ClassTrusted && of.Class != ClassPublisher || len(d.Reason) > maxReason {
		return nil
	}
	out.disputes = append(out.disputes, Dispute{Statement: d.Statement, Reason: d.Reason, Class: of.Class, Signer: of.Signer})
	return nil
}

// unverified is what a bundle states that nobody has checked, if it is about a
// version.
func unverified(bundle []byte, about digest.Digest) (string, jsontext.Value, error) {
	raw, err := signing.UnverifiedStatement(bundle)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", eval.ErrMalformed, err)
	}
	var st struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		PredicateType string         `json:"predicateType"`
		Predicate     jsontext.Value `json:"predicate"`
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return "", nil, fmt.Errorf("%w: %w", eval.ErrMalformed, err)
	}
	for _, s := range st.Subject {
		if s.Digest[about.Algorithm().String()] == about.Encoded() {
			return st.PredicateType, st.Predicate, nil
		}
	}
	return "", nil, fmt.Errorf("%w: a statement about another artifact", eval.ErrMalformed)
}

// pickStatement finds the one statement whose digest begins with text.
func pickStatement(list []Evaluation, text string) (string, error) {
	found := map[string]bool{}
	for _, e := range list {
		if e.Class != ClassClaimed && (strings.HasPrefix(e.Statement, text) || strings.HasPrefix(strings.TrimPrefix(e.Statement, "sha256:"), text)) {
			found[e.Statement] = true
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no statement %s: %w", text, errdef.ErrNotFound)
	case 1:
		for d := range found {
			return d, nil
		}
	}
	return "", fmt.Errorf("%w: %d statements begin with %s: give more digits", ErrUsage, len(found), text)
}
