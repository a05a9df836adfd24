package card_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

func TestMetadata(t *testing.T) {
	tests := map[string]struct {
		yaml string
		want card.Metadata
	}{
		"nothing": {},
		"all": {
			yaml: `
model_name: Tiny
language: [en, de]
license: [mit, apache-2.0]
license_name: mine
license_link: LICENSE
library_name: transformers
pipeline_tag: text-generation
tags: [a, b]
datasets: [acme/d]
metrics: [f1]
base_model: [acme/base]
base_model_relation: quantized
new_version: acme/tiny-2
thumbnail: a.png
`,
			want: card.Metadata{
				Name: "Tiny", Languages: []string{"en", "de"}, Licenses: []string{"mit", "apache-2.0"},
				LicenseName: "mine", LicenseLink: "LICENSE", Library: "transformers", Task: "text-generation",
				Tags: []string{"a", "b"}, Datasets: []string{"acme/d"}, Metrics: []string{"f1"},
				BaseModels: []string{"acme/base"}, BaseRelation: "quantized",
				NewVersion: "acme/tiny-2", Thumbnail: "a.png",
			},
		},
		"text for a list": {
			yaml: "language: en\ntags: one tag\nbase_model: a/b\n",
			want: card.Metadata{Languages: []string{"en"}, Tags: []string{"one tag"}, BaseModels: []string{"a/b"}},
		},
		"list for text": {
			yaml: "pipeline_tag: [fill-mask, x]\nlibrary_name: []\n",
			want: card.Metadata{Task: "fill-mask"},
		},
		"Norwegian is not false": {
			yaml: "language: no\ntags: [yes, on, off, y, n]\n",
			want: card.Metadata{Languages: []string{"no"}, Tags: []string{"yes", "on", "off", "y", "n"}},
		},
		"values keep their text": {
			yaml: "tags: [1.10, 2024-01-02, 0x1F, 1e-05, true, 007, 1_000, ~]\n",
			want: card.Metadata{Tags: []string{"1.10", "2024-01-02", "0x1F", "1e-05", "true", "007", "1_000"}},
		},
		"licences as written": {
			yaml: "license: Apache 2.0 \n",
			want: card.Metadata{Licenses: []string{"Apache 2.0"}},
		},
		"blanks, repeats and maps go": {
			yaml: "tags: [a, '', ' a ', b, a, {c: d}, [e], null]\ndatasets: {a: b}\n",
			want: card.Metadata{Tags: []string{"a", "b"}},
		},
		"older key for the base": {
			yaml: "finetuned_from: a/b\n",
			want: card.Metadata{BaseModels: []string{"a/b"}},
		},
		"newer key wins": {
			yaml: "finetuned_from: a/b\nbase_model: c/d\n",
			want: card.Metadata{BaseModels: []string{"c/d"}},
		},
		"alias and merge": {
			yaml: "x: &x [a, b]\ntags: *x\ny: &y {license: mit, library_name: l}\n<<: *y\nlibrary_name: m\n",
			want: card.Metadata{Tags: []string{"a", "b"}, Licenses: []string{"mit"}, Library: "m"},
		},
		"known types may be named": {
			yaml: "license: !!str mit\ntags: !!seq [!!int 1]\n",
			want: card.Metadata{Licenses: []string{"mit"}, Tags: []string{"1"}},
		},
		"block text": {
			yaml: "license_name: >\n  a\n  b\n",
			want: card.Metadata{LicenseName: "a b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := parse(t, "---\n"+tt.yaml+"---\n")
			if c.Problem != nil {
				t.Fatalf("Problem = %v", c.Problem)
			}
			if diff := cmp.Diff(tt.want, c.Meta); diff != "" {
				t.Errorf("Meta (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMetadataKeepsAThousandTags(t *testing.T) {
	var b strings.Builder
	for i := range 1001 {
		fmt.Fprintf(&b, "t%d, ", i)
	}
	c := parse(t, "---\ntags: ["+b.String()+"]\n---\n")
	if got := len(c.Meta.Tags); got != 1000 {
		t.Errorf("got %d tags, want 1000", got)
	}
}

func TestJSON(t *testing.T) {
	tests := map[string]struct{ yaml, want string }{
		"order of keys":     {"b: x\na: y\nc: z\n", `{"b":"x","a":"y","c":"z"}`},
		"comments only":     {"# nothing\n", `{}`},
		"text":              {"a: no\nb: 'true'\nc: \"1\"\nd: a\"b\\c\n", `{"a":"no","b":"true","c":"1","d":"a\"b\\c"}`},
		"booleans and null": {"a: true\nb: False\nc: TRUE\nd: null\ne:\nf: ~\n", `{"a":true,"b":false,"c":true,"d":null,"e":null,"f":null}`},
		"digits as written": {"a: 1.10\nb: 1e-05\nc: -0\nd: 12345678901234567890\n", `{"a":1.10,"b":1e-05,"c":-0,"d":12345678901234567890}`},
		"numbers of YAML":   {"a: 0x1F\nb: 0o17\nc: 1_000\nd: .5\ne: +1\nf: 5.\n", `{"a":31,"b":15,"c":1000,"d":0.5,"e":1,"f":5}`},
		"not numbers":       {"a: .nan\nb: .inf\nc: -.Inf\nd: 1e999\n", `{"a":".nan","b":".inf","c":"-.Inf","d":"1e999"}`},
		"dates":             {"a: 2024-01-02\nb: 2024-01-02T03:04:05Z\nc: 2024-13-99\n", `{"a":"2024-01-02","b":"2024-01-02T03:04:05Z","c":"2024-13-99"}`},
		"versions":          {"a: 1.2.3\nb: v1\n", `{"a":"1.2.3","b":"v1"}`},
		"keys":              {"1: a\ntrue: b\nnull: c\n2024-01-02: d\n", `{"1":"a","true":"b","null":"c","2024-01-02":"d"}`},
		"inside":            {"a: {b: [1, {c: d}], e: {}}\nf: []\n", `{"a":{"b":[1,{"c":"d"}],"e":{}},"f":[]}`},
		"aliases":           {"a: &x {b: 1}\nc: *x\n", `{"a":{"b":1},"c":{"b":1}}`},
		"merge":             {"a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n", `{"a":{"b":1,"c":2},"d":{"c":3,"b":1}}`},
		"merge of several":  {"a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}\n", `{"a":{"b":1},"c":{"b":2,"d":3},"e":{"b":1,"d":3}}`},
		"wrong tags":        {"a: !!bool yes\nb: !!int x\nc: !!float y\n", `{"a":"yes","b":"x","c":"y"}`},
		"script":            {"a: <script>&\n", `{"a":"<script>&"}`},
		"other scripts":     {"模型: é\n", `{"模型":"é"}`},
		"unknown keys":      {"x-y: 1\nmodelreg: {a: b}\n", `{"x-y":1,"modelreg":{"a":"b"}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := parse(t, "---\n"+tt.yaml+"---\n")
			if c.Problem != nil {
				t.Fatalf("Problem = %v", c.Problem)
			}
			if diff := cmp.Diff(tt.want, string(c.JSON())); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
		})
	}
	if got := string(parse(t, "# A\n").JSON()); got != "{}" {
		t.Errorf("JSON without front matter = %s, want {}", got)
	}
}
