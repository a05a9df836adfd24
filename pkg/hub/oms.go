package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// SignFiles signs the files of the version that r resolves to as OpenSSF Model
// Signing does, and attaches the signature to the version. No file is read: the
// digests are in the manifest. The result counts no signature, since none is of
// the version itself; see [Hub.Sign]. What the same party has signed before, with
// the same certificates if it has any, is not signed again.
func (h *Hub) SignFiles(ctx context.Context, r ref.Reference, s *signing.Signer) (*SignResult, error) {
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	if isIndex(t.desc) {
		return nil, fmt.Errorf("%w: sign the files of %s: it is an index: name one of its versions by digest", ErrUsage, t.ref)
	}
	res := &SignResult{Reference: t.ref.String(), Digest: t.desc.Digest.String()}
	if err := signFiles(ctx, t, s, res); err != nil {
		return nil, fmt.Errorf("sign the files of %s: %w", t.ref, err)
	}
	return res, nil
}

func signFiles(ctx context.Context, t *target, s *signing.Signer, res *SignResult) error {
	a, err := artifact.Open(ctx, manifestAtHand{t.repo, t}, t.desc)
	if err != nil {
		return err
	}
	files, err := resourcesOf(a)
	if err != nil {
		return err
	}
	st, err := oms.New(path.Base(t.ref.Repository), files, []string{controlDir})
	if err != nil {
		return err
	}
	res.ModelSignature = st.Root().String()
	there, err := attachedBy(ctx, t, s, st)
	if err != nil || there {
		return err
	}
	raw, err := oms.Sign(ctx, st, s)
	if err != nil {
		return err
	}
	res.ModelSignatureMade = true
	_, err = signing.AttachDetached(ctx, t.repo, t.version(), raw, oms.PredicateType)
	return err
}

// attachedBy tells whether the same party has said the same before.
func attachedBy(ctx context.Context, t *target, s *signing.Signer, st *oms.Statement) (bool, error) {
	trust, err := s.Trust(ctx, nil)
	if err != nil {
		return false, err
	}
	if trust.Check() != nil {
		return false, nil // nobody can tell
	}
	for raw, err := range signing.DetachedOf(ctx, t.repo, t.version(), oms.PredicateType) {
		if err != nil {
			return false, err
		}
		v, err := oms.Verify(ctx, raw, trust)
		if err == nil && v.Statement.Root() == st.Root() && v.Statement.Compare(digests(st)).None() && s.Certified(raw) {
			return true, nil
		}
	}
	return false, ctx.Err()
}

// digests are the files of a statement, by name.
func digests(st *oms.Statement) map[string]digest.Digest {
	m := make(map[string]digest.Digest, len(st.Resources))
	for _, r := range st.Resources {
		m[r.Name] = r.Digest
	}
	return m
}

// version is the manifest of t, whatever it was chosen from.
func (t *target) version() signing.Target {
	return signing.Target{Repository: t.ref.Name(), Descriptor: t.desc}
}

// resourcesOf are the files of a version that a signature is about: what
// [Hub.SignDir] would find in a directory of them.
func resourcesOf(a *artifact.Artifact) ([]oms.Resource, error) {
	ignores := oms.Ignores([]string{oms.FileName})
	var files []oms.Resource
	for _, f := range a.Files {
		switch {
		case f.Archive:
			return nil, fmt.Errorf("%w: layer %s is an archive without a list of what is in it", ErrUsage, f.Layer.Digest)
		case ignores(f.Path):
		case f.Digest.Algorithm() != digest.SHA256:
			return nil, fmt.Errorf("%w: file %+q has a digest by %s, and signatures are about those by %s", ErrUsage, f.Path, f.Digest.Algorithm(), digest.SHA256)
		default:
			files = append(files, oms.Resource{Name: f.Path, Digest: f.Digest})
		}
	}
	return files, nil
}

// A modelSigned is a signature of the files of a version.
type modelSigned struct {
	files map[string][]byte  // the signature, as what lies beside them; nil for none
	by    *signing.Signatory // nil unless it was verified
}

// modelSignature finds the attached signature that is about the files of a, and
// by a trusted party if there is one to trust.
func modelSignature(ctx context.Context, t *target, a *artifact.Artifact, trust *signing.Trust) (m modelSigned, err error) {
	for _, f := range a.Files {
		if f.Path == oms.FileName {
			return m, fmt.Errorf("%w: the version has a file %s of its own", ErrUsage, oms.FileName)
		}
	}
	var reasons []error
	for raw, err := range signing.DetachedOf(ctx, t.repo, t.version(), oms.PredicateType) {
		if err != nil {
			return m, err
		}
		by, err := aboutFiles(ctx, raw, a, trust)
		if err == nil {
			return modelSigned{files: map[string][]byte{oms.FileName: raw}, by: by}, nil
		}
		reasons = append(reasons, err)
	}
	if len(reasons) > 0 {
		return m, fmt.Errorf("%w: %w", signing.ErrUntrusted, errors.Join(reasons...))
	}
	return m, fmt.Errorf("%w of OpenSSF Model Signing is attached: \"modelreg sign REF --oms\" makes one", signing.ErrNoSignature)
}

// aboutFiles checks that a signature says of the files what the manifest says,
// and returns who made it if there is somebody to trust.
func aboutFiles(ctx context.Context, raw []byte, a *artifact.Artifact, trust *signing.Trust) (by *signing.Signatory, err error) {
	var st *oms.Statement
	if trust == nil {
		if st, err = oms.Unverified(raw); err != nil {
			return nil, err
		}
	} else {
		v, err := oms.Verify(ctx, raw, *trust)
		if err != nil {
			return nil, err
		}
		st, by = v.Statement, &v.Signer
	}
	if st.BLAKE2b {
		return nil, errors.New("its digests are by BLAKE2b, which says nothing of layers: \"modelreg verify DIR\" compares files with it")
	}
	listed, ignores := st.Names(), st.Ignores()
	if filesOnly(trust) {
		ignores = noteToGit // nobody has signed the version, where what is left out is
	}
	files := make(map[string]digest.Digest, len(a.Files))
	for _, f := range a.Files {
		if f.Archive { // its name is for people only: its files land where they say
			return nil, fmt.Errorf("layer %s is an archive without a list of what is in it, and a signature of files is about those that can be listed", f.Layer.Digest)
		}
		if listed[f.Path] || !ignores(f.Path) {
			files[f.Path] = f.Digest
		}
	}
	if d := st.Compare(files); !d.None() {
		return nil, fmt.Errorf("it is about other files: %d differ, %d are not in the version, %d are not signed", len(d.Changed), len(d.Missing), len(d.Extra))
	}
	return by, nil
}

// noteToGit tells whether a file is one that every signature of files leaves out,
// that published models carry, and that no program obeys which loads one.
func noteToGit(name string) bool { return name == ".gitattributes" || name == ".gitignore" }

// listsAll tells whether a statement names every file of a version, whatever else
// its signer had it leave out.
func listsAll(st *oms.Statement, a *artifact.Artifact) bool {
	listed := st.Names()
	return !slices.ContainsFunc(a.Files, func(f artifact.File) bool { return !listed[f.Path] && !noteToGit(f.Path) })
}

// filesOnly tells whether only those are trusted, of who signs files, whom a private
// authority has certified: then nobody need have signed the version besides.
func filesOnly(trust *signing.Trust) bool {
	return trust != nil && trust.Authorities != nil && len(trust.Keys)+len(trust.Identities) == 0
}

// trustOf is who must have signed the version itself, nil for nobody: then it is
// the signature of its files that counts.
func (h *Hub) trustOf(ctx context.Context, r ref.Reference, opts PullOptions) (*signing.Trust, error) {
	if !opts.OMS || !filesOnly(opts.Trust) {
		return opts.Trust, nil
	}
	rules, err := h.rules(ctx)
	switch {
	case err != nil:
		return nil, err
	case rules.Skip:
		return nil, fmt.Errorf("%w: verify %s: a signature is asked for, and that none is looked at", ErrUsage, r)
	}
	return nil, nil
}

// vouchFiles notes who has signed the files of a version of which nobody need
// have signed the manifest, and refuses a tag that went back.
func (h *Hub) vouchFiles(ctx context.Context, r ref.Reference, p *pulled, opts PullOptions) error {
	if !opts.OMS || !filesOnly(opts.Trust) {
		return nil
	}
	if err := h.accept(ctx, r, p.target, acceptOptions{downgrade: opts.AllowDowngrade, checkOnly: opts.plan}); err != nil {
		return fmt.Errorf("verify %s: %w", p.target.ref, err)
	}
	if p.verified == nil {
		p.verified = &Verified{Policy: "key", Attestations: []string{}}
	}
	p.verified.Signers = append(p.verified.Signers, signers(&signing.Report{Signers: []signing.Signatory{*p.model.by}})...)
	return nil
}
