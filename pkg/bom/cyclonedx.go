package bom

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
)

// The parts of CycloneDX that are written here, in the order of its schema.
type (
	cdxBOM struct {
		Schema       string          `json:"$schema"`
		Format       string          `json:"bomFormat"`
		SpecVersion  string          `json:"specVersion"`
		SerialNumber string          `json:"serialNumber"`
		Version      int             `json:"version"`
		Metadata     cdxMetadata     `json:"metadata"`
		Components   []cdxComponent  `json:"components"`
		Dependencies []cdxDependency `json:"dependencies"`
	}
	cdxMetadata struct {
		Timestamp string       `json:"timestamp,omitempty"`
		Tools     cdxTools     `json:"tools"`
		Component cdxComponent `json:"component"`
	}
	cdxTools struct {
		Components []cdxComponent `json:"components"`
	}
	cdxComponent struct {
		Type        string        `json:"type"`
		Ref         string        `json:"bom-ref,omitempty"`
		Group       string        `json:"group,omitempty"`
		Name        string        `json:"name"`
		Version     string        `json:"version,omitempty"`
		Description string        `json:"description,omitempty"`
		Hashes      []cdxHash     `json:"hashes,omitempty"`
		Licenses    []cdxLicense  `json:"licenses,omitempty"`
		PURL        string        `json:"purl,omitempty"`
		Pedigree    *cdxPedigree  `json:"pedigree,omitempty"`
		External    []cdxExternal `json:"externalReferences,omitempty"`
		ModelCard   *cdxModelCard `json:"modelCard,omitempty"`
		Data        []cdxData     `json:"data,omitempty"`
		Properties  []cdxProperty `json:"properties,omitempty"`
		Tags        []string      `json:"tags,omitempty"`
	}
	cdxHash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	cdxLicense struct {
		License    *cdxLicenseID `json:"license,omitempty"`
		Expression string        `json:"expression,omitempty"`
	}
	cdxLicenseID struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
		URL  string `json:"url,omitempty"`
	}
	cdxPedigree struct {
		Ancestors []cdxComponent `json:"ancestors"`
	}
	cdxExternal struct {
		URL  string `json:"url"`
		Type string `json:"type"`
	}
	cdxData struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	cdxDependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
	cdxModelCard struct {
		Parameters     *cdxParameters     `json:"modelParameters,omitempty"`
		Analysis       *cdxAnalysis       `json:"quantitativeAnalysis,omitempty"`
		Considerations *cdxConsiderations `json:"considerations,omitempty"`
		Properties     []cdxProperty      `json:"properties,omitempty"`
	}
	cdxParameters struct {
		Task         string   `json:"task,omitempty"`
		Family       string   `json:"architectureFamily,omitempty"`
		Architecture string   `json:"modelArchitecture,omitempty"`
		Datasets     []cdxRef `json:"datasets,omitempty"`
	}
	cdxRef struct {
		Ref string `json:"ref"`
	}
	cdxAnalysis struct {
		Metrics []cdxMetric `json:"performanceMetrics"`
	}
	cdxMetric struct {
		Type     string       `json:"type"`
		Value    string       `json:"value"`
		Slice    string       `json:"slice,omitempty"`
		Interval *cdxInterval `json:"confidenceInterval,omitempty"`
	}
	cdxInterval struct {
		Lower string `json:"lowerBound"`
		Upper string `json:"upperBound"`
	}
	cdxConsiderations struct {
		UseCases    []string        `json:"useCases,omitempty"`
		Limitations []string        `json:"technicalLimitations,omitempty"`
		Ethical     []cdxRisk       `json:"ethicalConsiderations,omitempty"`
		Environment *cdxEnvironment `json:"environmentalConsiderations,omitempty"`
	}
	cdxRisk struct {
		Name string `json:"name"`
	}
	cdxEnvironment struct {
		Properties []cdxProperty `json:"properties"`
	}
)

// modelRef is what the model is called in its own bill.
const modelRef = "model"

func cycloneDX(s Subject, version string) ([]byte, error) {
	b := cdxBOM{
		Schema: "http://cyclonedx.org/schema/bom-" + version + ".schema.json", Format: "CycloneDX", SpecVersion: version,
		SerialNumber: serial(s.id()), Version: 1, Components: []cdxComponent{},
		Metadata: cdxMetadata{
			Tools:     cdxTools{[]cdxComponent{{Type: "application", Name: "modelreg", Version: s.Tool}}},
			Component: s.cdxModel(),
		},
	}
	if !s.Created.IsZero() {
		b.Metadata.Timestamp = s.Created.UTC().Format(time.RFC3339)
	}
	on := cdxDependency{Ref: modelRef}
	for i, e := range s.data() {
		c := cdxComponent{
			Type: "data", Ref: dataRef(i), Name: e.Reference, Version: edgeVersion(e),
			Data: []cdxData{{Type: "dataset", Name: e.Reference}},
		}
		b.Components = append(b.Components, c)
		on.DependsOn = append(on.DependsOn, c.Ref)
	}
	for _, f := range s.Files[:min(len(s.Files), MaxFiles)] {
		b.Components = append(b.Components, cdxFile(f))
	}
	b.Dependencies = []cdxDependency{on}
	return encode(b)
}

// serial makes a name-based UUID (RFC 9562, version 8) of a digest.
func serial(id string) string {
	return fmt.Sprintf("urn:uuid:%s-%s-8%s-9%s-%s", id[:8], id[8:12], id[13:16], id[17:20], id[20:32])
}

func dataRef(i int) string { return "dataset-" + strconv.Itoa(i+1) }

func edgeVersion(e lineage.Edge) string {
	if e.Digest != "" {
		return e.Digest.String()
	}
	return ""
}

func cdxFile(f File) cdxComponent {
	c := cdxComponent{
		Type: "file", Ref: "file-" + f.Path, Name: f.Path,
		Properties: []cdxProperty{{"modelreg:kind", f.Kind}, {"modelreg:size", strconv.FormatInt(f.Size, 10)}},
	}
	if hex, ok := strings.CutPrefix(f.Digest, "sha256:"); ok {
		c.Hashes = []cdxHash{{"SHA-256", hex}}
	}
	return c
}

func (s *Subject) cdxModel() cdxComponent {
	c := cdxComponent{
		Type: "machine-learning-model", Ref: modelRef, Group: s.group(), Name: s.short(), Version: s.version(),
		PURL: s.purl(), Licenses: cdxLicenses(s.meta()), ModelCard: s.cdxModelCard(), Properties: s.cdxProperties(), Tags: s.meta().Tags,
	}
	if s.Card != nil {
		c.Description = s.Card.Summary()
	}
	if s.Reference != "" {
		c.External = append(c.External, cdxExternal{"oci://" + s.Reference, "distribution"})
	}
	if link := s.meta().LicenseLink; strings.HasPrefix(link, "https://") && isURL(link) {
		c.External = append(c.External, cdxExternal{link, "license"})
	}
	for i, e := range s.bases() {
		if c.Pedigree == nil {
			c.Pedigree = &cdxPedigree{}
		}
		c.Pedigree.Ancestors = append(c.Pedigree.Ancestors, cdxComponent{
			Type: "machine-learning-model", Ref: "base-" + strconv.Itoa(i+1), Name: e.Reference, Version: edgeVersion(e),
			Properties: []cdxProperty{{"modelreg:relation", string(e.Relation)}},
		})
	}
	return c
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != ""
}

// purl is the package URL of an artifact in a registry.
func (s *Subject) purl() string {
	if s.Digest == "" || s.Reference == "" {
		return ""
	}
	q := url.Values{"repository_url": {s.Name}}
	if s.Version != "" {
		q.Set("tag", s.Version)
	}
	return "pkg:oci/" + url.PathEscape(strings.ToLower(s.short())) + "@" + strings.Replace(s.Digest, ":", "%3A", 1) + "?" + q.Encode()
}

// cdxLicenses names one licence of the list by its identifier, and what else is an
// SPDX expression as that; other words by name.
func cdxLicenses(m card.Metadata) []cdxLicense {
	expr := m.SPDX()
	switch {
	case expr == "":
		var out []cdxLicense
		for _, l := range m.Licenses {
			out = append(out, cdxLicense{License: &cdxLicenseID{Name: l}})
		}
		return out
	case strings.ContainsAny(expr, " +") || strings.HasPrefix(expr, "LicenseRef-"):
		return []cdxLicense{{Expression: expr}}
	}
	return []cdxLicense{{License: &cdxLicenseID{ID: expr}}}
}

func (s *Subject) cdxProperties() []cdxProperty {
	f := s.Facts
	var out []cdxProperty
	add := func(name, value string) {
		if value != "" && value != "0" {
			out = append(out, cdxProperty{"modelreg:" + name, value})
		}
	}
	add("parameters", strconv.FormatInt(f.Parameters, 10))
	add("contextLength", strconv.FormatInt(f.ContextLength, 10))
	add("formats", strings.Join(f.Formats, ","))
	add("quantization", f.Quantization)
	add("library", f.Library)
	add("languages", strings.Join(s.meta().Languages, ","))
	for _, e := range s.edges(func(r lineage.Relation) bool { return r == lineage.Origin }) {
		add("origin", e.Reference)
	}
	if f.CustomCode {
		add("customCode", "true")
	}
	if n := len(s.Files); n > MaxFiles {
		add("files", strconv.Itoa(n))
	}
	return out
}

func (s *Subject) cdxModelCard() *cdxModelCard {
	m := &cdxModelCard{}
	p := cdxParameters{Task: s.Facts.Task, Architecture: s.Facts.Architecture}
	for i := range s.data() {
		p.Datasets = append(p.Datasets, cdxRef{dataRef(i)})
	}
	if p.Task != "" || p.Architecture != "" || len(p.Datasets) > 0 {
		m.Parameters = &p
	}
	s.cdxResults(m)
	c := cdxConsiderations{UseCases: some(s.topic("intended-use")), Limitations: some(s.topic("limitations"))}
	if text := s.topic("bias"); text != "" {
		c.Ethical = []cdxRisk{{text}}
	}
	if text := s.environment(); text != "" {
		c.Environment = &cdxEnvironment{[]cdxProperty{{"modelreg:environment", text}}}
	}
	if len(c.UseCases)+len(c.Limitations)+len(c.Ethical) > 0 || c.Environment != nil {
		m.Considerations = &c
	}
	return m
}

// cdxResults adds the results. A metric of CycloneDX has no place for whose word it
// is: that stands in the properties, under the metric's number in the list.
func (s *Subject) cdxResults(m *cdxModelCard) {
	for i, r := range s.Results {
		if m.Analysis == nil {
			m.Analysis = &cdxAnalysis{}
		}
		metric := cdxMetric{Type: r.metric(), Value: number(r.Value), Slice: r.slice()}
		if r.Stderr != nil {
			metric.Interval = &cdxInterval{number(r.Value - z95**r.Stderr), number(r.Value + z95**r.Stderr)}
		}
		m.Analysis.Metrics = append(m.Analysis.Metrics, metric)
		for _, p := range [][2]string{{"class", r.Class}, {"signer", r.Signer}, {"statement", r.Statement}} {
			if p[1] != "" {
				m.Properties = append(m.Properties, cdxProperty{fmt.Sprintf("modelreg:metric:%d:%s", i+1, p[0]), p[1]})
			}
		}
	}
}

// z95 is how many standard errors a confidence interval of 95 % has on each side.
const z95 = 1.96

// environment is what the card says of emissions.
func (s *Subject) environment() string {
	parts := []string{s.topic("environment")}
	if s.Card != nil {
		if text := s.Card.Field("co2_eq_emissions"); text != "" {
			parts = append(parts, "co2_eq_emissions: "+text)
		}
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "\n")
}

func some(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 12, 64) }
