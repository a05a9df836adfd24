package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// A pulledVersion is the version that a directory was pulled from, after its
// signature was verified. Nil is none.
type pulledVersion struct {
	files  map[string]artifact.File
	wanted func(path string) bool // what the pull selected
}

// readPulled reads what a pull has kept in the directory, and checks it as it
// would be checked in the registry.
func (v *dirVerification) readPulled(ctx context.Context) error {
	o, err := artifact.ReadOrigin(v.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	rec := DirRecord{Kind: recordManifest, File: filepath.Join(v.dir, filepath.FromSlash(artifact.ManifestFile)), Signers: []Signer{}}
	if err == nil {
		rec.Digest = o.Descriptor.Digest.String()
		v.res.Reference, v.res.Digest = o.Reference, rec.Digest
		rec.Signers, err = v.checkPulled(ctx, o)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		v.reject(rec.File, err)
	}
	rec.Verified = err == nil && v.named() // else policies say
	v.res.Records = append(v.res.Records, rec)
	return nil
}

// checkPulled verifies the signature of the manifest, and lists the files that it
// has.
func (v *dirVerification) checkPulled(ctx context.Context, o *artifact.Origin) ([]Signer, error) {
	none := []Signer{}
	if o.Evidence == nil {
		return none, fmt.Errorf("%w: pulled without --verify, which would have kept it", signing.ErrNoSignature)
	}
	p, err := parseProof(o.Evidence)
	if err != nil {
		return none, fmt.Errorf("%w: read %s: %w", signing.ErrUntrusted, artifact.EvidenceFile, err)
	}
	if err := p.bound(ctx, o.Descriptor.Digest); err != nil {
		return none, fmt.Errorf("%w: %w", signing.ErrUntrusted, err)
	}
	report := &signing.Report{}
	if v.named() {
		report, err = signing.Verify(ctx, p, signing.Target{Repository: p.Repository, Descriptor: p.Signed}, v.trust)
	}
	if err != nil {
		if !errors.Is(err, signing.ErrNoSignature) {
			err = fmt.Errorf("%w: %w", signing.ErrUntrusted, err)
		}
		return none, err
	}
	// From here on every byte is what a trusted party signed, or what policies
	// are going to be asked about.
	a, err := openKept(ctx, o, p)
	if err != nil {
		return none, fmt.Errorf("%w: %w", signing.ErrUntrusted, err)
	}
	if v.version, err = listPulled(a, o.Selection); err != nil {
		return none, err
	}
	v.kept = &keptVersion{origin: o, proof: p, artifact: a}
	return v.signed(report.Signers...), nil
}

// listPulled lists the files that a directory must have.
func listPulled(a *artifact.Artifact, selection artifact.Selection) (*pulledVersion, error) {
	wanted, err := selection.Matcher()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", signing.ErrUntrusted, err)
	}
	p := &pulledVersion{files: make(map[string]artifact.File, len(a.Files)), wanted: wanted}
	for _, f := range a.Files {
		switch {
		case f.Archive:
			return nil, fmt.Errorf("%w: the version has an archive, %s, and no list of what is in it: its files can only be pulled again", signing.ErrUntrusted, f.Layer.Digest)
		case f.Digest.Algorithm() != digest.Canonical:
			return nil, fmt.Errorf("%w: file %+q has a digest by %s, and files are compared by %s", signing.ErrUntrusted, f.Path, f.Digest.Algorithm(), digest.Canonical)
		}
		p.files[f.Path] = f
	}
	return p, nil
}

// has tells whether the version has a file of this name, or one below it.
func (p *pulledVersion) has(name string) bool {
	if p == nil {
		return false
	}
	_, ok := p.files[name]
	return ok
}

// wants tells whether the digest of a file is needed: one of another size is
// another file.
func (p *pulledVersion) wants(name string, size int64) bool {
	if p == nil {
		return false
	}
	f, ok := p.files[name]
	return ok && f.Size == size
}

// compare tells how the files that were found differ from those of the version,
// and how many the pull left out.
func (p *pulledVersion) compare(found []artifact.DirFile) (d oms.Difference, leftOut int) {
	there := make(map[string]bool, len(found))
	for _, f := range found {
		there[f.Path] = true
		switch want, ok := p.files[f.Path]; {
		case !ok:
			d.Extra = append(d.Extra, f.Path)
		case f.Digest != want.Digest:
			d.Changed = append(d.Changed, f.Path)
		}
	}
	for name := range p.files {
		switch {
		case there[name]:
		case p.wanted(name):
			d.Missing = append(d.Missing, name)
		default:
			leftOut++
		}
	}
	return d, leftOut
}

var _ signing.Reader = (*proof)(nil)
