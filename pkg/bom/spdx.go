package bom

import (
	"strconv"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/lineage"
)

const (
	spdxVersion  = "3.0.1"
	spdxContext  = "https://spdx.org/rdf/" + spdxVersion + "/spdx-context.jsonld"
	spdxInfo     = "_:creationInfo" // the blank node that all elements share
	noAssertion  = "expandedlicensing_NoAssertionLicense"
	spdxIDPrefix = "https://modelreg.dev/spdx/"
)

// The parts of SPDX 3 that are written here. All elements begin with an element.
type (
	spdxDocument struct {
		Context string `json:"@context"`
		Graph   []any  `json:"@graph"`
	}
	spdxCreation struct {
		Type        string   `json:"type"`
		ID          string   `json:"@id"`
		SpecVersion string   `json:"specVersion"`
		Created     string   `json:"created"`
		By          []string `json:"createdBy"`
		Using       []string `json:"createdUsing"`
	}
	spdxElement struct {
		Type    string `json:"type"`
		ID      string `json:"spdxId"`
		Info    string `json:"creationInfo"`
		Name    string `json:"name,omitempty"`
		Summary string `json:"summary,omitempty"`
		Comment string `json:"comment,omitempty"`
	}
	spdxCollection struct {
		spdxElement
		Profiles []string `json:"profileConformance,omitempty"`
		Kind     []string `json:"software_sbomType,omitempty"`
		Root     []string `json:"rootElement"`
		Elements []string `json:"element"`
	}
	spdxPackage struct {
		spdxElement
		SuppliedBy  string      `json:"suppliedBy,omitempty"`
		ReleaseTime string      `json:"releaseTime,omitempty"`
		Hashes      []spdxHash  `json:"verifiedUsing,omitempty"`
		Purpose     string      `json:"software_primaryPurpose,omitempty"`
		Version     string      `json:"software_packageVersion,omitempty"`
		Location    string      `json:"software_downloadLocation,omitempty"`
		PURL        string      `json:"software_packageUrl,omitempty"`
		ModelTypes  []string    `json:"ai_typeOfModel,omitempty"`
		Domains     []string    `json:"ai_domain,omitempty"`
		Limitation  string      `json:"ai_limitation,omitempty"`
		Application string      `json:"ai_informationAboutApplication,omitempty"`
		Training    string      `json:"ai_informationAboutTraining,omitempty"`
		Metrics     []spdxEntry `json:"ai_metric,omitempty"`
		Hyper       []spdxEntry `json:"ai_hyperparameter,omitempty"`
		DatasetType []string    `json:"dataset_datasetType,omitempty"`
	}
	spdxHash struct {
		Type      string `json:"type"`
		Algorithm string `json:"algorithm"`
		Value     string `json:"hashValue"`
	}
	spdxEntry struct {
		Type  string `json:"type"`
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	spdxRelation struct {
		spdxElement
		From string   `json:"from"`
		Kind string   `json:"relationshipType"`
		To   []string `json:"to"`
	}
	spdxAnnotation struct {
		spdxElement
		Kind      string `json:"annotationType"`
		Statement string `json:"statement"`
		Subject   string `json:"subject"`
	}
	spdxLicense struct {
		spdxElement
		Expression string `json:"simplelicensing_licenseExpression"`
	}
)

// An spdxGraph is a document being made.
type spdxGraph struct {
	base  string // of all identifiers
	graph []any
	ids   []string
}

func (g *spdxGraph) element(kind, id, name string) spdxElement {
	return spdxElement{Type: kind, ID: g.base + id, Info: spdxInfo, Name: name}
}

// add puts an element into the graph, and into the collections.
func (g *spdxGraph) add(id string, element any) {
	g.graph = append(g.graph, element)
	g.ids = append(g.ids, g.base+id)
}

func (g *spdxGraph) relate(from, kind string, to ...string) {
	if len(to) == 0 {
		return
	}
	id := "relation-" + strconv.Itoa(len(g.ids)+1)
	g.add(id, spdxRelation{spdxElement: g.element("Relationship", id, ""), From: g.base + from, Kind: kind, To: to})
}

func spdx3(s Subject) ([]byte, error) {
	g := &spdxGraph{base: spdxIDPrefix + s.id() + "#"}
	creation := spdxCreation{
		Type: "CreationInfo", ID: spdxInfo, SpecVersion: spdxVersion, Created: s.Created.UTC().Format(time.RFC3339),
		By: []string{g.base + "agent"}, Using: []string{g.base + "tool"},
	}
	if s.Created.IsZero() {
		creation.Created = time.Unix(0, 0).UTC().Format(time.RFC3339)
	}
	g.add("agent", g.element("SoftwareAgent", "agent", "modelreg"))
	g.add("tool", g.element("Tool", "tool", strings.TrimSpace("modelreg "+s.Tool)))
	if group := s.group(); group != "" {
		g.add("supplier", g.element("Organization", "supplier", group))
	}
	g.add(modelRef, g.model(s))
	g.licenses(s)
	g.files(s)
	g.origins(s)
	g.words(s)
	root := g.element("SpdxDocument", "document", s.Name)
	bill := g.element("software_Sbom", "bom", s.Name)
	all := append([]any{
		creation,
		spdxCollection{
			spdxElement: root, Root: []string{g.base + "bom"}, Elements: append([]string{g.base + "bom"}, g.ids...),
			Profiles: []string{"core", "software", "simpleLicensing", "ai", "dataset"},
		},
		spdxCollection{spdxElement: bill, Kind: []string{"analyzed"}, Root: []string{g.base + modelRef}, Elements: g.ids},
	}, g.graph...)
	return encode(spdxDocument{spdxContext, all})
}

func (g *spdxGraph) model(s Subject) spdxPackage {
	p := spdxPackage{
		spdxElement: g.element("ai_AIPackage", modelRef, s.short()), Purpose: "model", Version: s.version(), PURL: s.purl(),
		Limitation:  strings.TrimSpace(s.topic("limitations") + "\n\n" + s.topic("bias")),
		Application: s.topic("intended-use"),
		Training:    strings.TrimSpace(s.topic("training-data") + "\n\n" + s.topic("training-procedure")),
	}
	if s.Card != nil {
		p.Summary = s.Card.Summary()
	}
	p.Comment = s.environment()
	if s.group() != "" {
		p.SuppliedBy = g.base + "supplier"
	}
	if s.Reference != "" {
		p.Location = "oci://" + s.Reference
	}
	if !s.Created.IsZero() {
		p.ReleaseTime = s.Created.UTC().Format(time.RFC3339)
	}
	for _, t := range []string{s.Facts.Architecture, s.Facts.Quantization} {
		p.ModelTypes = append(p.ModelTypes, some(t)...)
	}
	p.Domains = some(s.Facts.Task)
	for _, r := range s.Results {
		p.Metrics = append(p.Metrics, spdxEntry{"DictionaryEntry", r.key(), number(r.Value)})
	}
	for _, e := range s.cdxProperties() {
		p.Hyper = append(p.Hyper, spdxEntry{"DictionaryEntry", strings.TrimPrefix(e.Name, "modelreg:"), e.Value})
	}
	return p
}

// licenses says what the card declares. Nobody has concluded anything.
func (g *spdxGraph) licenses(s Subject) {
	declared := noAssertion
	if expr := s.meta().SPDX(); expr != "" {
		g.add("license", spdxLicense{spdxElement: g.element("simplelicensing_LicenseExpression", "license", ""), Expression: expr})
		declared = g.base + "license"
	}
	g.relate(modelRef, "hasDeclaredLicense", declared)
	g.relate(modelRef, "hasConcludedLicense", noAssertion)
}

// words says of each result whose word it is: an entry of ai_metric has no place
// for that.
func (g *spdxGraph) words(s Subject) {
	for i, r := range s.Results {
		if r.Class == "" {
			continue
		}
		text := r.key() + ", " + number(r.Value) + ": " + r.Class
		if r.Signer != "" {
			text += ", signed by " + r.Signer
		}
		if r.Statement != "" {
			text += ", statement " + r.Statement
		}
		id := "result-" + strconv.Itoa(i+1)
		g.add(id, spdxAnnotation{spdxElement: g.element("Annotation", id, ""), Kind: "other", Statement: text, Subject: g.base + modelRef})
	}
}

func (g *spdxGraph) files(s Subject) {
	var ids []string
	for i, f := range s.Files[:min(len(s.Files), MaxFiles)] {
		id := "file-" + strconv.Itoa(i+1)
		p := spdxPackage{spdxElement: g.element("software_File", id, f.Path), Purpose: purpose(f.Kind)}
		if hex, ok := strings.CutPrefix(f.Digest, "sha256:"); ok {
			p.Hashes = []spdxHash{{"Hash", "sha256", hex}}
		}
		g.add(id, p)
		ids = append(ids, g.base+id)
	}
	g.relate(modelRef, "contains", ids...)
}

// purpose is what SPDX calls a kind of file.
func purpose(kind string) string {
	switch kind {
	case "weight":
		return "model"
	case "weight.config":
		return "configuration"
	case "doc":
		return "documentation"
	case "code":
		return "source"
	case "dataset":
		return "data"
	}
	return "file"
}

// origins are the base models and the datasets.
func (g *spdxGraph) origins(s Subject) {
	var bases, data []string
	for i, e := range s.bases() {
		id := "base-" + strconv.Itoa(i+1)
		p := g.origin("ai_AIPackage", id, e)
		p.Purpose, p.Comment = "model", "relation: "+string(e.Relation)
		g.add(id, p)
		bases = append(bases, g.base+id)
	}
	for i, e := range s.data() {
		id := dataRef(i)
		p := g.origin("dataset_DatasetPackage", id, e)
		p.Purpose, p.DatasetType = "data", []string{"noAssertion"}
		g.add(id, p)
		data = append(data, g.base+id)
	}
	g.relate(modelRef, "descendantOf", bases...)
	g.relate(modelRef, "trainedOn", data...)
	for _, id := range bases {
		from := strings.TrimPrefix(id, g.base)
		g.relate(from, "hasDeclaredLicense", noAssertion)
		g.relate(from, "hasConcludedLicense", noAssertion)
	}
}

func (g *spdxGraph) origin(kind, id string, e lineage.Edge) spdxPackage {
	p := spdxPackage{spdxElement: g.element(kind, id, e.Reference), Version: edgeVersion(e)}
	if _, ok := e.Registry(); ok {
		name, _, _ := strings.Cut(e.Reference, "@")
		p.Location = "oci://" + name
		if e.Digest != "" {
			p.Location += "@" + e.Digest.String()
		}
	}
	return p
}
