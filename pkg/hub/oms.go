package hub

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// SignFiles signs the files of the version that r resolves to as OpenSSF Model
// Signing does, and attaches the signature to the version. No file is read: the
// digests are in the manifest. The result counts no signature, since none is of
// the version itself; see [Hub.Sign]. What the same party has signed before is
// not signed again.
func (h *Hub) SignFiles(ctx context.Context, r ref.Reference, s *signing.Signer) (*SignResult, error) {
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	if isIndex(t.desc) {
		return nil, fmt.Errorf("%w: sign the files of %s: it is an index: name one of its versions by digest", ErrUsage, t.ref)
	}
	root, err := signFiles(ctx, t, s)
	if err != nil {
		return nil, fmt.Errorf("sign the files of %s: %w", t.ref, err)
	}
	return &SignResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), ModelSignature: root.String()}, nil
}

func signFiles(ctx context.Context, t *target, s *signing.Signer) (digest.Digest, error) {
	a, err := artifact.Open(ctx, t.repo, t.desc)
	if err != nil {
		return "", err
	}
	files, err := resourcesOf(a)
	if err != nil {
		return "", err
	}
	st, err := oms.New(path.Base(t.ref.Repository), files, []string{controlDir})
	if err != nil {
		return "", err
	}
	there, err := attachedBy(ctx, t, s, st)
	if err != nil || there {
		return st.Root(), err
	}
	raw, err := oms.Sign(ctx, st, s)
	if err != nil {
		return "", err
	}
	_, err = signing.AttachDetached(ctx, t.repo, t.version(), raw, oms.PredicateType)
	return st.Root(), err
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
		if err == nil && v.Statement.Root() == st.Root() && v.Statement.Compare(digests(st)).None() {
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

// modelSignature finds the attached signature that is about the files of a, and
// by a trusted party if there is one to trust.
func modelSignature(ctx context.Context, t *target, a *artifact.Artifact, trust *signing.Trust) (map[string][]byte, error) {
	for _, f := range a.Files {
		if f.Path == oms.FileName {
			return nil, fmt.Errorf("%w: the version has a file %s of its own", ErrUsage, oms.FileName)
		}
	}
	var reasons []error
	for raw, err := range signing.DetachedOf(ctx, t.repo, t.version(), oms.PredicateType) {
		if err != nil {
			return nil, err
		}
		err = aboutFiles(ctx, raw, a, trust)
		if err == nil {
			return map[string][]byte{oms.FileName: raw}, nil
		}
		reasons = append(reasons, err)
	}
	if len(reasons) > 0 {
		return nil, fmt.Errorf("%w: %w", signing.ErrUntrusted, errors.Join(reasons...))
	}
	return nil, fmt.Errorf("%w of OpenSSF Model Signing is attached: \"modelreg sign REF --oms\" makes one", signing.ErrNoSignature)
}

// aboutFiles checks that a signature says of the files what the manifest says.
func aboutFiles(ctx context.Context, raw []byte, a *artifact.Artifact, trust *signing.Trust) error {
	var st *oms.Statement
	if trust == nil {
		var err error
		if st, err = oms.Unverified(raw); err != nil {
			return err
		}
	} else {
		v, err := oms.Verify(ctx, raw, *trust)
		if err != nil {
			return err
		}
		st = v.Statement
	}
	listed, ignores := st.Names(), st.Ignores()
	files := make(map[string]digest.Digest, len(a.Files))
	for _, f := range a.Files {
		if listed[f.Path] || !ignores(f.Path) {
			files[f.Path] = f.Digest
		}
	}
	if d := st.Compare(files); !d.None() {
		return fmt.Errorf("it is about other files: %d differ, %d are not in the version, %d are not signed", len(d.Changed), len(d.Missing), len(d.Extra))
	}
	return nil
}
