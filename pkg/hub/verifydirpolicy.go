package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// named tells whether somebody in person is to have signed.
func (v *dirVerification) named() bool {
	return !v.trust.IsNobody()
}

// decides tells whether policies are asked. They are where nobody else is.
func (v *dirVerification) decides() bool { return v.opts.Policies || !v.named() }

// judge asks the policies about the version that was pulled, with what the pull
// has kept and the files that are there, and nobody else.
func (v *dirVerification) judge(ctx context.Context) error {
	if !v.decides() {
		return nil
	}
	rules, err := v.hub.rules(ctx)
	switch {
	case err != nil:
		return err
	case len(rules.Policies) == 0:
		return fmt.Errorf("%w: verify %s: neither a key nor a policy is given", ErrUsage, v.dir)
	case v.kept == nil:
		return fmt.Errorf("verify %s: %w: a policy is asked about what \"pull\" keeps, and that is not here", v.dir, signing.ErrNoSignature)
	}
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only read
	t, err := v.kept.target(root, v.opts.As)
	if err != nil {
		return err
	}
	v.res.Repository = t.ref.Name()
	// What lies here was resolved long ago, to a digest.
	decisions, err := v.hub.decide(ctx, t.ref, t, rules, admitOptions{raw: v.kept.proof.Raw})
	if err != nil {
		return err
	}
	var refusal error
	said := &Verified{Policy: "key", Signers: v.res.Signers, Attestations: v.res.Attestations}
	for i := range decisions {
		d := &decisions[i]
		said.add(d)
		for _, f := range d.Failures() {
			v.res.Failures = append(v.res.Failures, VerifyFailure{f.Rule, fmt.Sprintf("policy %s: found %s, wanted %s", d.Policy, f.Found, f.Wanted)})
		}
		for _, w := range d.Warnings() {
			v.hub.warn("%s: policy %s: %s of %s: found %s, wanted %s", v.dir, d.Policy, w.Rule, w.Document, w.Found, w.Wanted)
		}
		if err := d.Err(); err != nil && refusal == nil {
			refusal = fmt.Errorf("verify %s: %w", v.dir, err)
		}
	}
	v.res.Policy, v.res.Signers, v.res.Attestations = said.Policy, said.Signers, said.Attestations
	v.vouched(refusal == nil, decisions)
	return refusal
}

// vouched notes in the record of the version who vouches for it, where only
// policies were asked.
func (v *dirVerification) vouched(allowed bool, decisions []policy.Decision) {
	if v.named() {
		return
	}
	for i := range v.res.Records {
		rec := &v.res.Records[i]
		if rec.Kind != recordManifest {
			continue
		}
		rec.Verified = allowed
		for j := range decisions {
			rec.Signers = append(rec.Signers, signers(&signing.Report{Signers: decisions[j].Signers})...)
		}
	}
}

// isAboutFiles tells whether it is a file of the directory that kept policies from
// being asked.
func isAboutFiles(err error) bool {
	return errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrInvalidDescriptorSize) || errors.Is(err, fs.ErrNotExist)
}

// A keptVersion is the version of a directory, with what a pull has kept of it.
// None of it is believed before it is verified.
type keptVersion struct {
	origin   *artifact.Origin
	proof    *proof
	artifact *artifact.Artifact
}

// target is the version where it lies, as one of the repository as; the zero
// value is what the pull has noted.
func (k *keptVersion) target(root *os.Root, as ref.Reference) (*target, error) {
	if as == (ref.Reference{}) {
		var err error
		if as, err = ref.Parse(k.proof.Repository); err != nil {
			return nil, fmt.Errorf("%w: the pull notes as the repository: %w", signing.ErrUntrusted, err)
		}
	}
	as = ref.Reference{Host: as.Host, Repository: as.Repository}
	place := &keptPlace{proof: k.proof, origin: k.origin, root: root, files: make(map[filePart]string, len(k.artifact.Files))}
	for _, f := range k.artifact.Files {
		if !f.Archive {
			place.files[filePart{f.Layer.Digest, f.Offset, f.Size}] = f.Path
		}
	}
	return &target{
		local: place, kept: true, ref: as.WithDigest(k.origin.Descriptor.Digest),
		desc: k.origin.Descriptor, raw: k.origin.Manifest, signed: k.proof.Signed,
	}, nil
}

// A filePart is where a file lies in a layer.
type filePart struct {
	layer        digest.Digest
	offset, size int64
}

// A keptPlace is what is left of a repository where a version was pulled to: what
// the pull has kept, and the files, which stand for the parts of layers that they
// came in. Who reads compares all with digests.
type keptPlace struct {
	*proof
	origin *artifact.Origin
	root   *os.Root
	files  map[filePart]string
}

var _ copySource = (*keptPlace)(nil)

// Manifest implements [signing.Reader].
func (p *keptPlace) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	if reference == p.origin.Descriptor.Digest.String() {
		return p.origin.Descriptor, p.origin.Manifest, nil
	}
	return p.proof.Manifest(ctx, reference)
}

// Resolve implements content.Resolver.
func (p *keptPlace) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	desc, _, err := p.Manifest(ctx, reference)
	return desc, err
}

// Fetch implements content.Fetcher.
func (p *keptPlace) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == p.origin.Descriptor.Digest {
		return io.NopCloser(bytes.NewReader(p.origin.Manifest)), nil
	}
	rc, err := p.proof.Fetch(ctx, desc)
	if errors.Is(err, errdef.ErrNotFound) {
		return p.open(desc, 0, desc.Size)
	}
	return rc, err
}

// FetchRange returns a part of a layer that is a file.
func (p *keptPlace) FetchRange(_ context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	return p.open(desc, offset, length)
}

func (p *keptPlace) open(desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	name, ok := p.files[filePart{desc.Digest, offset, length}]
	if !ok {
		return nil, fmt.Errorf("blob %.80q is not kept: %w", desc.Digest, errdef.ErrNotFound)
	}
	f, err := p.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %+q is no regular file", content.ErrMismatchedDigest, name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Exists tells whether a blob can be had.
func (p *keptPlace) Exists(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	_, kept := p.Blobs[desc.Digest]
	_, file := p.files[filePart{desc.Digest, 0, desc.Size}]
	return kept || file || desc.Digest == p.origin.Descriptor.Digest, nil
}

// Tags lists nothing: where a tag leads is not for a directory to say.
func (p *keptPlace) Tags(context.Context) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}
