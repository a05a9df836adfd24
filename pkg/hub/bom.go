package hub

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/bom"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// MaxBOMBytes bounds a bill of materials that is read or attached.
const MaxBOMBytes = 16 << 20

// BOMOptions adjusts [Hub.BOM].
type BOMOptions struct {
	Format bom.Format // empty means CycloneDX 1.6

	// Card says which card the bill quotes.
	Card CardOptions

	// Created goes into the bill, unless it is zero: then it is when the
	// version says that it was made.
	Created time.Time

	// Tool is the version of the program.
	Tool string
}

// BOM writes a bill of materials of the version that r resolves to: its files, what
// they and its card say, and what it was made of. Headers of weights are read by
// range.
func (h *Hub) BOM(ctx context.Context, r ref.Reference, opts BOMOptions) ([]byte, error) {
	t, err := h.model(ctx, r)
	if err != nil {
		return nil, err
	}
	if _, err := h.admit(ctx, r, t, admitOptions{checkOnly: true}); err != nil {
		return nil, err
	}
	return h.bill(ctx, t, opts)
}

func (h *Hub) bill(ctx context.Context, t *target, opts BOMOptions) ([]byte, error) {
	a, err := artifact.Open(ctx, t.repo, t.desc)
	if err != nil {
		return nil, fmt.Errorf("list materials of %s: %w", t.ref, err)
	}
	model, doc, err := a.Describe(ctx, t.repo.Origin())
	if err != nil {
		return nil, fmt.Errorf("list materials of %s: %w", t.ref, err)
	}
	rev, err := h.cardOf(ctx, t, opts.Card)
	switch {
	case errors.Is(err, errdef.ErrNotFound) && opts.Card.Revision == "":
	case err != nil:
		return nil, err
	default:
		if doc, err = rev.Card(); err != nil {
			return nil, err
		}
	}
	s := subject(model, doc, a.Manifest.Annotations)
	s.Name, s.Version, s.Digest, s.Reference = t.ref.Name(), t.ref.Tag, t.desc.Digest.String(), t.ref.String()
	s.Files, s.Created, s.Tool = billFiles(a.Files), created(t.raw), opts.Tool
	if s.Results, err = h.billResults(ctx, t, s.Results, opts.Card.Trust); err != nil {
		return nil, err
	}
	return generate(s, opts)
}

// billResults are the results that a bill quotes: those that a known party has
// signed, and what the card claims and none of these has measured.
func (h *Hub) billResults(ctx context.Context, t *target, claimed []bom.Measured, trust *signing.Trust) ([]bom.Measured, error) {
	refs, err := t.repo.Referrers(ctx, t.desc, "")
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, fmt.Errorf("list results of %s: %w", t.ref, err)
	}
	all, err := h.besideOf(ctx, t, refs, trust)
	if err != nil {
		return nil, err
	}
	if all == nil {
		return claimed, nil
	}
	list := all.vouched()
	for _, c := range claimed {
		list = append(list, Evaluation{Result: c.Result, Class: ClassClaimed})
	}
	var out []bom.Measured
	for _, e := range mostBelievable(list) {
		m := bom.Measured{Result: e.Result, Class: string(e.Class)}
		if e.Signer != nil {
			m.Signer, m.Statement = "key "+e.Signer.KeyFingerprint, e.Statement
			if e.Signer.Identity != "" {
				m.Signer = e.Signer.Identity + " (issuer " + e.Signer.Issuer + ")"
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// BOMOfDir writes a bill of materials of a directory, as a version made of it would
// have it. Every file is read.
func BOMOfDir(ctx context.Context, dir string, opts BOMOptions) ([]byte, error) {
	packed, err := artifact.Pack(ctx, dir, artifact.Discard, artifact.PackOptions{})
	if err != nil {
		return nil, fmt.Errorf("list materials of %s: %w", dir, err)
	}
	m, err := mediatypes.ParseManifest(packed.Manifest)
	if err != nil {
		return nil, fmt.Errorf("list materials of %s: %w", dir, err)
	}
	doc, err := readDirCard(dir)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := subject(packed.Model, doc, m.Annotations)
	s.Name, s.Files, s.Tool = filepath.Base(name), billFiles(packed.Files), opts.Tool
	return generate(s, opts)
}

func generate(s bom.Subject, opts BOMOptions) ([]byte, error) {
	if !opts.Created.IsZero() {
		s.Created = opts.Created
	}
	if opts.Format == "" {
		opts.Format = bom.CycloneDX16
	}
	return bom.Generate(s, opts.Format)
}

// subject joins what the files, the card and the manifest say.
func subject(model *format.Model, doc *card.Card, annotations map[string]string) bom.Subject {
	info := modelInfo(model, doc)
	s := bom.Subject{Card: doc, Facts: bom.Facts{
		Architecture: info.Architecture, Quantization: info.Quantization, Library: info.Library, Task: info.Task,
		Parameters: info.Parameters, ContextLength: info.ContextLength, Formats: info.Formats, CustomCode: info.CustomCode,
	}}
	var meta card.Metadata
	if doc != nil {
		meta = doc.Meta
	}
	s.Edges = lineage.Edges(annotations, meta)
	for _, r := range eval.FromCard(meta.Results) {
		s.Results = append(s.Results, bom.Measured{Result: r, Class: string(ClassClaimed)})
	}
	return s
}

func billFiles(files []artifact.File) []bom.File {
	out := make([]bom.File, len(files))
	for i, f := range files {
		out[i] = bom.File{Path: f.Path, Kind: string(f.Kind), Digest: f.Digest.String(), Size: f.Size}
	}
	return out
}

// A BOMAttached says what [Hub.AttachBOM] did.
type BOMAttached struct {
	Reference   string `json:"reference"`
	Digest      string `json:"digest"`      // of the version
	BOM         string `json:"bom"`         // digest of the manifest that holds the bill
	MediaType   string `json:"mediaType"`   // of the bill
	Size        int64  `json:"size"`        // of the bill
	Created     bool   `json:"created"`     // false when it was attached before
	Signatures  int    `json:"signatures"`  // of the bill, made now
	Attestation string `json:"attestation"` // digest of what holds the attestation; empty when none was made
}

// AttachBOM attaches a bill of materials to the version that r resolves to, as a
// referrer whose type is that of the bill. With a signer the referrer is signed, and
// the bill is attested too, for those who look for it there.
func (h *Hub) AttachBOM(ctx context.Context, r ref.Reference, raw []byte, s *signing.Signer) (*BOMAttached, error) {
	f, err := billFormat(raw)
	if err != nil {
		return nil, err
	}
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	title := "bom.cdx.json"
	if f == bom.SPDX3 {
		title = "bom.spdx.json"
	}
	desc, made, err := attach(ctx, t, document{artifactType: f.MediaType(), layerType: f.MediaType(), title: title, raw: raw})
	if err != nil {
		return nil, fmt.Errorf("attach bill of materials to %s: %w", t.ref, err)
	}
	res := &BOMAttached{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(), BOM: desc.Digest.String(),
		MediaType: f.MediaType(), Size: int64(len(raw)), Created: made,
	}
	if s == nil {
		return res, nil
	}
	signed, err := signing.Sign(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: desc}, s, signing.SignOptions{})
	if err != nil {
		return nil, fmt.Errorf("sign bill of materials %s: %w", desc.Digest, err)
	}
	res.Signatures = len(signed)
	attested, err := signing.Attest(ctx, t.repo, t.signing(), s, signing.Predicate{Type: f.PredicateType(), Raw: raw}, signing.AttestOptions{})
	if err != nil {
		return nil, fmt.Errorf("attest bill of materials of %s: %w", t.ref, err)
	}
	if attested.Digest != "" {
		res.Attestation = attested.Digest.String()
	}
	return res, nil
}

// billFormat tells what a bill of materials is.
func billFormat(raw []byte) (bom.Format, error) {
	if len(raw) > MaxBOMBytes {
		return "", fmt.Errorf("%w: bill of materials of %d bytes, limit %d", ErrUsage, len(raw), MaxBOMBytes)
	}
	var doc struct {
		Format  string `json:"bomFormat"`
		SPDX    string `json:"spdxVersion"`
		Context any    `json:"@context"`
		Graph   []any  `json:"@graph"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", fmt.Errorf("%w: bill of materials: %w", ErrUsage, err)
	}
	switch {
	case doc.Format == "CycloneDX":
		return bom.CycloneDX16, nil
	case doc.SPDX != "", doc.Context != nil && doc.Graph != nil:
		return bom.SPDX3, nil
	}
	return "", fmt.Errorf("%w: bill of materials: neither CycloneDX nor SPDX in JSON", ErrUsage)
}

// A Bill is a bill of materials that is attached to a version.
type Bill struct {
	BOM       string   `json:"bom"` // digest of the manifest that holds it
	MediaType string   `json:"mediaType"`
	Size      int64    `json:"size"`
	Verified  bool     `json:"verified"`
	Signers   []Signer `json:"signers"`          // those that are trusted
	Reason    string   `json:"reason,omitempty"` // why it is not verified, if somebody is trusted

	desc, layer ocispec.Descriptor
}

// Bills are the bills of materials of a version.
type Bills struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	Bills     []Bill `json:"bills"`

	target *target
}

// Fetch reads a bill.
func (b *Bills) Fetch(ctx context.Context, bill Bill) ([]byte, error) {
	raw, err := content.FetchAll(ctx, b.target.repo, bill.layer)
	if err != nil {
		return nil, fmt.Errorf("read bill of materials %s: %w", bill.BOM, err)
	}
	return raw, nil
}

// maxBills bounds the bills of one version that are looked at.
const maxBills = 64

// BOMs lists the bills of materials that are attached to the version that r
// resolves to, by digest. With a trust, those that it has signed are marked.
func (h *Hub) BOMs(ctx context.Context, r ref.Reference, trust *signing.Trust) (*Bills, error) {
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, err
	}
	res := &Bills{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Bills: []Bill{}, target: t}
	refs, err := t.repo.Referrers(ctx, t.signed, "")
	if err != nil {
		return nil, fmt.Errorf("list bills of materials of %s: %w", t.ref, err)
	}
	types := []string{bom.CycloneDX16.MediaType(), bom.SPDX3.MediaType()}
	refs = slices.DeleteFunc(refs, func(d ocispec.Descriptor) bool { return !slices.Contains(types, d.ArtifactType) })
	if len(refs) > maxBills {
		h.warn("%d bills of materials are attached to %s; %d were looked at", len(refs), t.ref, maxBills)
		refs = refs[:maxBills]
	}
	slices.SortFunc(refs, func(a, b ocispec.Descriptor) int { return compareDigests(a.Digest, b.Digest) })
	for _, d := range refs {
		bill, err := readBill(ctx, t, d, trust)
		if err != nil {
			return nil, err
		}
		if bill != nil {
			res.Bills = append(res.Bills, *bill)
		}
	}
	return res, nil
}

// readBill reads the manifest of a bill, and who has signed it; nil if it is none
// of t.
func readBill(ctx context.Context, t *target, d ocispec.Descriptor, trust *signing.Trust) (*Bill, error) {
	desc, raw, err := t.repo.Manifest(ctx, d.Digest.String())
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read bill of materials %s: %w", d.Digest, err)
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil || m.Subject == nil || m.Subject.Digest != t.signed.Digest || len(m.Layers) != 1 || m.Layers[0].Size > MaxBOMBytes {
		return nil, nil
	}
	b := &Bill{BOM: desc.Digest.String(), MediaType: m.ArtifactType, Size: m.Layers[0].Size, Signers: []Signer{}, desc: desc, layer: m.Layers[0]}
	if trust == nil {
		return b, nil
	}
	report, err := signing.Verify(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: desc}, *trust)
	switch {
	case errors.Is(err, signing.ErrNoSignature), errors.Is(err, signing.ErrUntrusted), errors.Is(err, signing.ErrTooMany):
		b.Reason = err.Error()
	case err != nil:
		return nil, fmt.Errorf("verify bill of materials %s: %w", d.Digest, err)
	default:
		b.Verified, b.Signers = true, signers(report)
	}
	return b, nil
}

// NoBOM is the error of a version without a bill of materials.
func NoBOM(reference string) error {
	return &MissingError{What: MissingBOM, Reference: reference, Err: fmt.Errorf("bill of materials of %s: none is attached: %w", reference, errdef.ErrNotFound)}
}
