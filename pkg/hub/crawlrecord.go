package hub

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/variant"
)

// versionFacts is what was read of a version, for its record.
type versionFacts struct {
	desc        ocispec.Descriptor // the manifest that the facts are from
	made        time.Time
	annotations map[string]string
	layers      []ocispec.Descriptor
	variants    []variant.Variant // of a version that has several
	model       *format.Model     // where the annotations say nothing
	card        *card.Card
	status      State
	measured    *Evaluations // nil if nobody has stated a measurement
	signed      bool
	signers     []Signer // that are trusted

	elsewhere []*remote.Repository // that have evaluations of the version
}

// takeIndex takes what an index says, and returns the models in it.
func (f *versionFacts) takeIndex(i ocispec.Index) []ocispec.Descriptor {
	var models []ocispec.Descriptor
	f.annotations = map[string]string{}
	maps.Copy(f.annotations, i.Annotations)
	for _, d := range i.Manifests {
		v := variant.Read(d)
		if isModel(d) || v.IsKnown() {
			models = append(models, d)
			f.variants = append(f.variants, v)
		}
	}
	return models
}

// takeManifest takes what a manifest says, in addition to the index it is in.
func (f *versionFacts) takeManifest(m ocispec.Manifest) {
	if f.annotations == nil {
		f.annotations = map[string]string{}
	}
	for k, v := range m.Annotations {
		if _, ok := f.annotations[k]; !ok {
			f.annotations[k] = v
		}
	}
	f.layers = m.Layers
}

// takeCard takes a card, if there is one.
func (f *versionFacts) takeCard(rev *CardRevision, err error) error {
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if f.card, err = rev.Card(); err != nil {
		return err
	}
	if rev.Created.After(f.made) {
		f.made = rev.Created
	}
	return nil
}

// record makes the record of a version out of what was read. It depends on
// nothing else.
func (f *versionFacts) record() index.Record {
	an := f.annotations
	r := index.Record{
		Updated: f.made, Author: an[mediatypes.AnnotationAuthor], Title: an[ocispec.AnnotationTitle],
		Summary: an[ocispec.AnnotationDescription],
		Task:    an[mediatypes.AnnotationTask], Library: an[mediatypes.AnnotationLibrary],
		Licenses: split(an[ocispec.AnnotationLicenses]), Languages: split(an[mediatypes.AnnotationLanguages]),
		Keywords: split(an[mediatypes.AnnotationTags]), Datasets: split(an[mediatypes.AnnotationDatasets]),
		Architecture: an[mediatypes.AnnotationArchitecture], Formats: split(an[mediatypes.AnnotationFormats]),
		Quantizations: split(strings.ToLower(an[mediatypes.AnnotationQuantization])),
		Parameters:    count(an[mediatypes.AnnotationParameters]), Context: count(an[mediatypes.AnnotationContextLength]),
		Code:   an[mediatypes.AnnotationCode] == "true",
		Signed: f.signed || len(f.signers) > 0, Verified: len(f.signers) > 0,
	}
	for _, s := range f.signers {
		r.Signers = append(r.Signers, recordSigner(s))
	}
	f.addModel(&r)
	f.addSizes(&r)
	f.addCard(&r)
	if f.status.State != record.Active && f.status.State != "" {
		r.Status, r.Reason, r.Replacement = string(f.status.State), f.status.Reason, f.status.Replacement
	}
	r.Bound()
	return r
}

func recordSigner(s Signer) string {
	if s.Identity != "" {
		return s.Identity
	}
	return s.KeyFingerprint
}

// count reads a number of an annotation; zero if it is none.
func count(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// addModel adds what the files say.
func (f *versionFacts) addModel(r *index.Record) {
	m := f.model
	if m == nil {
		return
	}
	r.Architecture, r.Parameters, r.Context = m.Architecture, m.Parameters, m.ContextLength
	r.Formats, r.Code = m.Formats, m.CustomCode
	r.Library, r.Task = m.Library, m.Task
	r.Quantizations = split(strings.ToLower(m.Quantization))
}

// weightShare is what running a model takes besides its weights, where nothing
// better is known: a tenth.
const weightShare = 10

// addSizes adds sizes and memory, and what the variants are.
func (f *versionFacts) addSizes(r *index.Record) {
	var weights int64
	for _, l := range f.layers {
		r.Size = sum(r.Size, max(l.Size, 0))
		if isWeights(l.MediaType) {
			weights = sum(weights, max(l.Size, 0))
		}
	}
	r.Memory = sum(weights, weights/weightShare)
	if len(f.variants) == 0 {
		return
	}
	r.Size, r.Memory = 0, 0
	formats, quants := map[string]bool{}, map[string]bool{}
	for _, v := range f.variants {
		r.Size = sum(r.Size, max(v.Size, 0))
		need := v.MinMem
		if need == 0 {
			need = v.Size
		}
		if need > 0 && (r.Memory == 0 || need < r.Memory) {
			r.Memory = need
		}
		formats[v.Format] = true
		if v.Quant != variant.NoQuant {
			quants[strings.ToLower(v.Quant)] = true
		}
	}
	r.Formats, r.Quantizations = sortedNames(formats), sortedNames(quants)
}

func sortedNames(set map[string]bool) []string {
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}

// addCard adds what the card says. Of what is said of people's work it has the
// last word, since it can be put right; of files the files have.
func (f *versionFacts) addCard(r *index.Record) {
	meta := card.Metadata{}
	if c := f.card; c != nil {
		meta = c.Meta
		r.Summary = c.Summary()
		r.Card = cardText(c)
		for _, s := range []struct {
			into *string
			said string
		}{{&r.Title, meta.Name}, {&r.Task, meta.Task}, {&r.Library, meta.Library}} {
			if s.said != "" {
				*s.into = s.said
			}
		}
		for _, l := range []struct {
			into *[]string
			said []string
		}{{&r.Licenses, meta.Licenses}, {&r.Languages, meta.Languages}, {&r.Keywords, meta.Tags}, {&r.Datasets, meta.Datasets}} {
			if len(l.said) > 0 {
				*l.into = l.said
			}
		}
	}
	for _, e := range lineage.Edges(f.annotations, meta) {
		b := index.Base{Name: e.Reference, Relation: string(e.Relation), Digest: e.Digest.String()}
		_, inRegistry := e.Registry()
		switch {
		case e.Relation.OfModels():
			r.Bases = append(r.Bases, b)
		case inRegistry:
			r.Inputs = append(r.Inputs, b)
		}
	}
	f.addMetrics(r, meta)
}

// addMetrics adds what was measured: the statements, which have the card's claims
// among them, or these alone.
func (f *versionFacts) addMetrics(r *index.Record, meta card.Metadata) {
	if f.measured != nil {
		r.Metrics = recordMetrics(f.measured.Evaluations)
		return
	}
	for _, m := range eval.FromCard(meta.Results) {
		r.Metrics = append(r.Metrics, index.Metric{Name: m.Metric.Name, Dataset: m.Dataset.ID, Value: indexedValue(m), Class: string(ClassClaimed)})
	}
}

// cardText returns the card's words without markup, rules and placeholders.
func cardText(c *card.Card) string {
	var b strings.Builder
	if err := c.Text(&b, card.TextOptions{Width: 400}); err != nil {
		return string(c.Body)
	}
	var words strings.Builder
	for line := range strings.Lines(b.String()) {
		if strings.Trim(line, "─│|-=+: \t\n") != "" && !strings.Contains(line, card.Needed) {
			words.WriteString(strings.TrimLeft(line, "# "))
		}
	}
	return words.String()
}
