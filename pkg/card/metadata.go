package card

import "strings"

// maxValues bounds each list of a [Metadata].
const maxValues = 1000

// Metadata is what front matter says, each thing in one shape: a lone string
// where the card format expects a list is a list of one, and numbers and dates
// are the text that stands in the card. Nothing is corrected: an identifier
// of a licence or a language is as written. Lists have no empty and no
// repeated members, and at most 1000 of them. Texts may hold any character;
// whoever shows them escapes them.
type Metadata struct {
	Name         string   // model_name
	Languages    []string // language
	Licenses     []string // license
	LicenseName  string   // license_name
	LicenseLink  string   // license_link
	Library      string   // library_name
	Task         string   // pipeline_tag
	Tags         []string // tags
	Datasets     []string // datasets
	Metrics      []string // metrics
	BaseModels   []string // base_model, or the older finetuned_from
	BaseRelation string   // base_model_relation
	NewVersion   string   // new_version
	Thumbnail    string   // thumbnail

	// Results are the evaluation results of model-index, without those that
	// lack one of the fields it requires.
	Results []Result
}

func metadata(v value) Metadata {
	m := Metadata{
		Name:         v.get("model_name").string(),
		Languages:    v.get("language").strings(),
		Licenses:     v.get("license").strings(),
		LicenseName:  v.get("license_name").string(),
		LicenseLink:  v.get("license_link").string(),
		Library:      v.get("library_name").string(),
		Task:         v.get("pipeline_tag").string(),
		Tags:         v.get("tags").strings(),
		Datasets:     v.get("datasets").strings(),
		Metrics:      v.get("metrics").strings(),
		BaseModels:   v.get("base_model").strings(),
		BaseRelation: v.get("base_model_relation").string(),
		NewVersion:   v.get("new_version").string(),
		Thumbnail:    v.get("thumbnail").string(),
		Results:      modelIndex(v.get("model-index")),
	}
	if m.BaseModels == nil {
		m.BaseModels = v.get("finetuned_from").strings()
	}
	return m
}

// string returns the text of a scalar, or of the first one in a list.
func (v value) string() string {
	if s := v.strings(); len(s) > 0 {
		return s[0]
	}
	return ""
}

// strings returns the text of a scalar, or of all scalars of a list.
func (v value) strings() []string {
	items := v.items
	switch v.kind {
	case mappingKind:
		return nil
	case nullKind, textKind, numberKind, booleanKind:
		items = []value{v}
	case sequenceKind:
	}
	var out []string
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		s := strings.TrimSpace(item.text)
		if s == "" || seen[s] || len(out) == maxValues {
			continue
		}
		seen[s] = true
		out = append(out, s)
	}
	return out
}
