package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/coding"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

const (
	// minCoded is the size of the smallest layer that is coded.
	minCoded = 1 << 20

	// worthIt is the most that a coding may take of its layer's size.
	worthIt = 0.95

	// maxCodings bounds the layers of a variant that are looked at.
	maxCodings = mediatypes.MaxLayers
)

// A Variant is a way to code weights in fewer bytes.
type Variant struct {
	// Base is the version to which differences are coded, whose blobs are in
	// Source; nil codes exponents.
	Base   *Artifact
	Source content.Fetcher
}

// A CodedLayer is a coding of a layer, as package coding makes it.
type CodedLayer struct {
	Layer digest.Digest      // that it decodes to
	Desc  ocispec.Descriptor // of the coding

	// Version is the digest of the version that differences are to, and Base
	// and BaseSize the file in it; empty if they are none.
	Version  digest.Digest
	Base     digest.Digest
	BaseSize int64
}

// PushVariants returns the manifests that keep codings in dst, for the caller
// to push as referrers of subject: one for exponents, and one for each version
// that differences are to. They are the same for the same codings.
func PushVariants(ctx context.Context, dst transfer.Target, subject ocispec.Descriptor, coded []CodedLayer) ([][]byte, error) {
	config := content.NewDescriptorFromBytes(ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data)
	_, err := transfer.Push(ctx, dst, transfer.Blob{Desc: config, Open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(ocispec.DescriptorEmptyJSON.Data[offset:]))), nil
	}}, transfer.PushOptions{})
	if err != nil {
		return nil, fmt.Errorf("push variant: %w", err)
	}
	coded = slices.Clone(coded)
	slices.SortStableFunc(coded, func(a, b CodedLayer) int {
		return cmp.Or(strings.Compare(string(a.Version), string(b.Version)), strings.Compare(string(a.Layer), string(b.Layer)))
	})
	var raws [][]byte
	for len(coded) > 0 {
		m := ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactVariant,
			Config:  config,
			Subject: &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		}
		version := coded[0].Version
		if version != "" {
			m.Annotations = map[string]string{mediatypes.AnnotationVariantBase: version.String()}
		}
		for len(coded) > 0 && coded[0].Version == version {
			m.Layers = append(m.Layers, coded[0].descriptor())
			coded = coded[1:]
		}
		raw, err := encodeJSON(m)
		if err != nil {
			return nil, fmt.Errorf("encode variant: %w", err)
		}
		raws = append(raws, raw)
	}
	return raws, nil
}

// descriptor is that of the coding in its manifest.
func (c CodedLayer) descriptor() ocispec.Descriptor {
	d := c.Desc
	d.Annotations = map[string]string{mediatypes.AnnotationIndexedLayer: c.Layer.String()}
	if c.Base != "" {
		d.Annotations[mediatypes.AnnotationVariantBase] = c.Base.String() + ";" + strconv.FormatInt(c.BaseSize, 10)
	}
	return d
}

// ParseVariant reads a manifest that [PushVariants] made. It says which layers
// of subject, a version, can be had from which codings; what it says of others,
// or says wrongly, is left out. Nothing of it need be trusted: what a coding
// decodes to is compared with the layer's digest.
func ParseVariant(raw []byte, subject digest.Digest) ([]CodedLayer, error) {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != mediatypes.ArtifactVariant || m.Subject == nil || m.Subject.Digest != subject {
		return nil, fmt.Errorf("%w: no variant of %s", mediatypes.ErrMalformed, shortDigest(subject))
	}
	version := digest.Digest(m.Annotations[mediatypes.AnnotationVariantBase])
	var coded []CodedLayer
	for _, d := range m.Layers[:min(len(m.Layers), maxCodings)] {
		c := CodedLayer{
			Layer: digest.Digest(d.Annotations[mediatypes.AnnotationIndexedLayer]),
			Desc:  ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
		}
		if checkDigest(c.Layer) != nil || checkDigest(c.Desc.Digest) != nil {
			continue
		}
		switch d.MediaType {
		case mediatypes.LayerExponents:
		case mediatypes.LayerDifference:
			text, size, _ := strings.Cut(d.Annotations[mediatypes.AnnotationVariantBase], ";")
			c.Version, c.Base = version, digest.Digest(text)
			if c.BaseSize, err = strconv.ParseInt(size, 10, 64); err != nil || c.BaseSize < 0 || checkDigest(c.Base) != nil {
				continue
			}
		default:
			continue
		}
		coded = append(coded, c)
	}
	return coded, nil
}

// code makes the variants that are asked for, and pushes their blobs.
func (p *packer) code(ctx context.Context) error {
	if p.opts.Variants == nil {
		return nil
	}
	variants, err := p.opts.Variants(ctx, p.out.Descriptor)
	if err != nil {
		return err
	}
	for _, v := range variants {
		e := &encoder{p: p, variant: v}
		if err := e.run(ctx); err != nil {
			return fmt.Errorf("code weights: %w", err)
		}
	}
	return nil
}

// An encoder makes one variant.
type encoder struct {
	p       *packer
	variant Variant
	bases   []*baseFile
}

func (e *encoder) run(ctx context.Context) error {
	if err := e.readBase(ctx); err != nil {
		return err
	}
	defer func() {
		for _, b := range e.bases {
			_ = b.reader.Close() // only read
		}
	}()
	var plain, coded int64
	for _, l := range e.p.layers {
		if l.kind != mediatypes.KindWeight || l.encoding != mediatypes.Raw || l.body == nil || l.body.size < minCoded || l.files[0].input != nil {
			continue
		}
		c, err := e.layer(ctx, l)
		if err != nil {
			return err
		}
		if c != nil {
			plain, coded = plain+l.body.size, coded+c.Desc.Size
			e.p.out.Variants = append(e.p.out.Variants, *c)
		}
	}
	note := "no coding of the weights is worth its bytes"
	if plain > 0 {
		note = fmt.Sprintf("%.1f MB of weights are coded in %.1f MB, %.0f %%", float64(plain)/1e6, float64(coded)/1e6, 100*float64(coded)/float64(plain))
	}
	if e.variant.Base != nil {
		note += " (differences to " + shortDigest(e.variant.Base.Descriptor.Digest) + ")"
	}
	e.p.out.Notes = append(e.p.out.Notes, note)
	return nil
}

// layer codes one layer; nil if that gains nothing. The coding is made twice,
// for its digest and for the wire: it is the same both times, and needs no room
// on the disk.
func (e *encoder) layer(ctx context.Context, l *layer) (*CodedLayer, error) {
	tensors, err := weightsOf(ctx, format.File{
		Path: l.path, Size: l.body.size, Format: l.files[0].class.Format,
		Open: func(ctx context.Context) (format.ReaderAtCloser, error) { return l.files[0].open(ctx, e.p.root) },
	})
	if err != nil || len(tensors) == 0 {
		return nil, err
	}
	c := &CodedLayer{Layer: l.desc.Digest, Desc: ocispec.Descriptor{MediaType: mediatypes.LayerExponents}}
	x := &encoding{body: l.body, opts: coding.EncodeOptions{Workers: e.p.opts.Workers}}
	if e.variant.Base == nil {
		x.regions = regionsOf(tensors, nil)
	} else if base := e.baseFor(tensors); base != nil {
		c.Desc.MediaType = mediatypes.LayerDifference
		c.Version, c.Base, c.BaseSize = e.variant.Base.Descriptor.Digest, base.file.Digest, base.file.Size
		x.regions, x.opts.Base = regionsOf(tensors, base.tensors), base.reader
	}
	if gain := codable(x.regions, e.variant.Base != nil); gain < l.body.size/2 {
		return nil, nil
	}
	if c.Desc.Digest, c.Desc.Size, err = x.measure(ctx); err != nil {
		return nil, err
	}
	if float64(c.Desc.Size) > worthIt*float64(l.body.size) {
		return nil, nil
	}
	return c, e.p.push(ctx, c.Desc, l.path+" (coded)", x.open)
}

// codable counts the bytes that can be told in fewer.
func codable(regions []coding.Region, difference bool) int64 {
	n := int64(0)
	for _, r := range regions {
		if difference && r.HasBase || !difference && r.Type != coding.Bytes {
			n += r.Length
		}
	}
	return n
}

// weightsOf lists the tensors of a file in the order of their bytes, none if
// their places in it are not known.
func weightsOf(ctx context.Context, f format.File) ([]format.Tensor, error) {
	tensors, err := format.Tensors(ctx, f)
	if errors.Is(err, format.ErrUnknownFormat) || errors.Is(err, format.ErrMalformed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tensors = slices.DeleteFunc(tensors, func(t format.Tensor) bool {
		return t.Offset < 0 || t.Bytes <= 0 || t.File != f.Path
	})
	slices.SortStableFunc(tensors, func(a, b format.Tensor) int { return cmp.Compare(a.Offset, b.Offset) })
	end := int64(0)
	for _, t := range tensors {
		if t.Offset < end || t.Bytes > f.Size-t.Offset {
			return nil, nil // bytes of two tensors, or of none
		}
		end = t.Offset + t.Bytes
	}
	return tensors, nil
}

// regionsOf says what is where in a file, and where the like is in the base.
// Neighbours that continue each other are one region.
func regionsOf(tensors []format.Tensor, base map[string]format.Tensor) []coding.Region {
	var regions []coding.Region
	for _, t := range tensors {
		r := coding.Region{Offset: t.Offset, Length: t.Bytes, Type: coding.TypeOf(t.DType)}
		if b, ok := base[t.Name]; ok && like(t, b) {
			r.HasBase, r.Base = true, b.Offset
		}
		if n := len(regions); n > 0 {
			last := &regions[n-1]
			if last.Offset+last.Length == r.Offset && last.Type == r.Type && last.HasBase == r.HasBase &&
				(!r.HasBase || last.Base+last.Length == r.Base) {
				last.Length += r.Length
				continue
			}
		}
		regions = append(regions, r)
	}
	return regions
}

func like(a, b format.Tensor) bool {
	return a.DType == b.DType && a.DType != "" && a.Bytes == b.Bytes && slices.Equal(a.Shape, b.Shape)
}
