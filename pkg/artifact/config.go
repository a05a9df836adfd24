package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/format"
)

// cardPath is the name of the card in a model.
const cardPath = "README.md"

// modelConfig is the config of a model, docs/config.md of the ModelPack
// specification v0.0.7. Its schema allows no other members.
type modelConfig struct {
	Descriptor modelDescriptor `json:"descriptor"`
	Config     modelParameters `json:"config"`
	ModelFS    modelFS         `json:"modelfs"`
}

type modelDescriptor struct {
	CreatedAt string   `json:"createdAt,omitempty"`
	Family    string   `json:"family,omitempty"`
	Name      string   `json:"name,omitempty"`
	Licenses  []string `json:"licenses,omitempty"`
}

type modelParameters struct {
	Architecture string             `json:"architecture,omitempty"`
	Format       string             `json:"format,omitempty"`
	ParamSize    string             `json:"paramSize,omitempty"`
	Precision    string             `json:"precision,omitempty"`
	Quantization string             `json:"quantization,omitempty"`
	Capabilities *modelCapabilities `json:"capabilities,omitempty"`
}

type modelCapabilities struct {
	InputTypes  []string `json:"inputTypes,omitempty"`
	OutputTypes []string `json:"outputTypes,omitempty"`
	Languages   []string `json:"languages,omitempty"`
}

type modelFS struct {
	Type    string          `json:"type"`
	DiffIDs []digest.Digest `json:"diffIds"`
}

// config writes down what the files and the card say, and nothing else.
func (p *packer) config(created time.Time) ([]byte, error) {
	m, meta := p.model, p.meta()
	c := modelConfig{
		Descriptor: modelDescriptor{
			CreatedAt: timestamp(created), Family: m.Family, Name: meta.Name, Licenses: licenses(meta),
		},
		Config: modelParameters{
			Architecture: m.Architecture, Format: strings.Join(m.Formats, ","), ParamSize: paramSize(m.Parameters),
			Precision: precision(m.DTypes), Quantization: m.Quantization,
			Capabilities: capabilities(cmp.Or(meta.Task, m.Task), languages(meta, m)),
		},
		ModelFS: modelFS{Type: "layers"},
	}
	for _, l := range p.layers {
		// No layer made here is compressed: each is its own uncompressed content.
		c.ModelFS.DiffIDs = append(c.ModelFS.DiffIDs, cmp.Or(l.diffID, l.desc.Digest))
	}
	raw, err := encodeJSON(c)
	if err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	return raw, nil
}

func (p *packer) meta() card.Metadata {
	if p.card == nil {
		return card.Metadata{}
	}
	return p.card.Meta
}

// timestamp is RFC 3339 in UTC, "" for the zero time.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// licenses are the identifiers of the card. The Hub writes "other" where the
// licence has a name of its own (model card specification, license_name).
func licenses(meta card.Metadata) []string {
	out := slices.Clone(meta.Licenses)
	for i, l := range out {
		if l == "other" && meta.LicenseName != "" {
			out[i] = "LicenseRef-" + meta.LicenseName
		}
	}
	return out
}

func languages(meta card.Metadata, m *format.Model) []string {
	if len(meta.Languages) > 0 {
		return meta.Languages
	}
	return m.Languages
}

// paramSize writes a count as the specification wants it: at most one digit
// after the point, and a unit.
func paramSize(n int64) string {
	if n <= 0 {
		return ""
	}
	v, units := float64(n)/1000, "KMBTQ"
	// What would be rounded up to 1000 is 1 of the next unit.
	for v >= 999.95 && len(units) > 1 {
		v, units = v/1000, units[1:]
	}
	text := strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	if text == "0" {
		text = "0.1" // fewer than 50
	}
	return text + units[:1]
}

// precision names the data types that the parameters are in, the most used
// first. Types of a handful of values, such as position numbers, are left out.
func precision(dtypes map[string]int64) string {
	counts := make(map[string]int64)
	total := int64(0)
	for d, n := range dtypes {
		total += n
		if name := format.Precision(d); name != "" {
			counts[name] += n
		}
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	names = slices.DeleteFunc(names, func(name string) bool { return counts[name] < total/100 })
	return strings.Join(names, ",")
}

// modalities are those that a task name leaves no doubt about.
var modalities = map[string][2][]string{
	"text-generation":              {{"text"}, {"text"}},
	"text2text-generation":         {{"text"}, {"text"}},
	"translation":                  {{"text"}, {"text"}},
	"summarization":                {{"text"}, {"text"}},
	"fill-mask":                    {{"text"}, {"text"}},
	"question-answering":           {{"text"}, {"text"}},
	"sentence-similarity":          {{"text"}, {"embedding"}},
	"text-to-image":                {{"text"}, {"image"}},
	"text-to-video":                {{"text"}, {"video"}},
	"text-to-speech":               {{"text"}, {"audio"}},
	"text-to-audio":                {{"text"}, {"audio"}},
	"automatic-speech-recognition": {{"audio"}, {"text"}},
	"audio-to-audio":               {{"audio"}, {"audio"}},
	"image-to-text":                {{"image"}, {"text"}},
	"image-to-image":               {{"image"}, {"image"}},
	"image-text-to-text":           {{"image", "text"}, {"text"}},
	"video-text-to-text":           {{"text", "video"}, {"text"}},
}

func capabilities(task string, languages []string) *modelCapabilities {
	c := modelCapabilities{InputTypes: modalities[task][0], OutputTypes: modalities[task][1]}
	for _, l := range languages {
		// The schema takes ISO 639-1 codes and no others.
		if len(l) == 2 && strings.Trim(l, "abcdefghijklmnopqrstuvwxyz") == "" {
			c.Languages = append(c.Languages, l)
		}
	}
	if c.InputTypes == nil && c.OutputTypes == nil && c.Languages == nil {
		return nil
	}
	return &c
}

// encodeJSON writes v on one line, members in the order of the type and keys
// of maps sorted, and every character as itself.
func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
