package scan_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/scan"
)

// Samples whose number begins with 9 are controls.
func TestHostileStructure(t *testing.T) {
	names, err := filepath.Glob("../*/testdata/hostile/[gos][0-9][0-9]_*")
	if err != nil || len(names) < 20 {
		t.Fatalf("%d samples: %v", len(names), err)
	}
	want := map[string]string{".safetensors": "safetensors-malformed", ".gguf": "gguf-malformed", ".onnx": "onnx-malformed"}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		t.Run(base, func(t *testing.T) {
			got := run(t, base, b)
			rule := want[filepath.Ext(base)]
			if base == "o01_extdata.onnx" || base == "o02_extdata.onnx" {
				rule = "onnx-external-data"
			}
			if base[1] == '9' {
				if got.Verdict != scan.Safe || len(got.Findings) > 0 {
					t.Errorf("verdict %s, %+v, want safe", got.Verdict, got.Findings)
				}
				return
			}
			if got.Verdict == scan.Safe || got.Verdict == scan.Unknown || !slices.Contains(rules(got), rule) {
				t.Errorf("verdict %s, %+v, want %s", got.Verdict, got.Findings, rule)
			}
		})
	}
}

// A header is judged by what the file is, not by what it is called.
func TestStructureByContent(t *testing.T) {
	st := testmodel.SafetensorsFile([]testmodel.Tensor{{Name: "a", DType: "F32", Shape: []int64{4}, Data: make([]byte, 16)}}, nil)
	gguf := testmodel.GGUFFile(testmodel.TinyGGUF())
	tests := map[string]struct {
		name string
		b    []byte
		rule string
	}{
		"safetensors":               {"a.safetensors", st, ""},
		"safetensors, tail":         {"a.safetensors", append(slices.Clone(st), "PK"...), "safetensors-malformed"},
		"safetensors, name hidden":  {"a.dat", append(slices.Clone(st), "PK"...), "safetensors-malformed"},
		"GGUF":                      {"a.gguf", gguf, ""},
		"GGUF, tail":                {"a.gguf", append(slices.Clone(gguf), bytes.Repeat([]byte("x"), 100)...), "gguf-malformed"},
		"GGUF, name hidden, tail":   {"a.dat", append(slices.Clone(gguf), bytes.Repeat([]byte("x"), 100)...), "gguf-malformed"},
		"safetensors by name alone": {"a.safetensors", []byte("not one at all, really"), "safetensors-malformed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, tt.name, tt.b)
			if found := rules(got); tt.rule == "" && len(found) > 0 || tt.rule != "" && !slices.Contains(found, tt.rule) {
				t.Errorf("rules %v, want %q", found, tt.rule)
			}
		})
	}
}

func TestGGUFTemplates(t *testing.T) {
	m := testmodel.TinyGGUF()
	m.KV = append(m.KV,
		testmodel.KV{Key: "tokenizer.chat_template.tool_use", Value: "{{ ''.__class__ }}"},
		testmodel.KV{Key: "tokenizer.chat_template.large", Value: strings.Repeat("x", 5<<20)},
		testmodel.KV{Key: "tokenizer.chat_template.number", Value: uint8(1)})
	got := run(t, "a.gguf", testmodel.GGUFFile(m))
	var found []string
	for _, f := range got.Findings {
		found = append(found, f.Rule+" "+strings.SplitN(f.Message, " ", 2)[0])
		if f.Offset <= 0 {
			t.Errorf("%+v has no offset", f)
		}
	}
	want := []string{
		"chat-template tokenizer.chat_template.tool_use,",
		"chat-template-unread tokenizer.chat_template.large",
		"chat-template-unread tokenizer.chat_template.number",
	}
	if diff := cmp.Diff(want, found); diff != "" || got.Verdict != scan.Dangerous {
		t.Errorf("verdict %s, findings (-want +got):\n%s", got.Verdict, diff)
	}
}

func TestConfigs(t *testing.T) {
	const bad = `{{ ''.__class__ }}`
	tests := map[string]struct {
		name, text string
		want       []string // rules
	}{
		"plain":                    {"config.json", `{"architectures":["LlamaForCausalLM"],"torch_dtype":"float16"}`, nil},
		"auto_map":                 {"config.json", `{"auto_map":{"AutoModel":"modeling_x.X"}}`, []string{"auto-map"}},
		"auto_map, deeper":         {"config.json", `{"text_config":{"auto_map":{"AutoConfig":"c.C"}}}`, []string{"auto-map"}},
		"auto_map, elsewhere":      {"sub/tokenizer_config.json", `{"auto_map":{"AutoTokenizer":["evil/repo--tok.T",null]}}`, []string{"auto-map-remote"}},
		"custom pipeline":          {"config.json", `{"custom_pipelines":{"x":{"impl":"p.P","pt":["AutoModel"]}}}`, []string{"custom-pipeline"}},
		"diffusers pipeline":       {"model_index.json", `{"_class_name":["pipeline","P"]}`, []string{"custom-pipeline"}},
		"diffusers":                {"model_index.json", `{"_class_name":"StableDiffusionPipeline","vae":["diffusers","AutoencoderKL"]}`, nil},
		"sentence-transformers":    {"modules.json", `[{"idx":0,"type":"sentence_transformers.models.Pooling"}]`, nil},
		"module of its own":        {"modules.json", `[{"idx":0,"type":"custom_st.Transformer"}]`, []string{"custom-pipeline"}},
		"trust":                    {"generation_config.json", `{"a":{"trust_remote_code":true}}`, []string{"trust-remote-code"}},
		"no trust":                 {"generation_config.json", `{"trust_remote_code":false}`, nil},
		"template":                 {"tokenizer_config.json", `{"chat_template":"` + bad + `"}`, []string{"chat-template"}},
		"escaped template":         {"tokenizer_config.json", `{"chat_template":"{{ ''.\u005f\u005fclass__ }}"}`, []string{"chat-template"}},
		"escaped key":              {"tokenizer_config.json", `{"chat\u005ftemplate":"` + bad + `"}`, []string{"chat-template"}},
		"list of templates":        {"tokenizer_config.json", `{"chat_template":[{"name":"default","template":"{{ x }}"},{"name":"rag","template":"` + bad + `"}]}`, []string{"chat-template"}},
		"object of templates":      {"processor_config.json", `{"chat_template":{"tool":"` + bad + `"}}`, []string{"chat-template"}},
		"template alone":           {"chat_template.json", `{"chat_template":"` + bad + `"}`, []string{"chat-template"}},
		"more templates":           {"additional_chat_templates/rag.jinja", bad, []string{"chat-template"}},
		"twice":                    {"tokenizer_config.json", `{"chat_template":"` + bad + `","chat_template":"{{ x }}"}`, []string{"chat-template", "json-malformed"}},
		"twice, the other first":   {"tokenizer_config.json", `{"a":1,"a":2,"chat_template":"{{ x }}","chat_template":"` + bad + `"}`, []string{"chat-template", "json-malformed"}},
		"half a character first":   {"tokenizer_config.json", `{"a":"\ud800","chat_template":"` + bad + `"}`, []string{"chat-template", "json-malformed"}},
		"half a character inside":  {"tokenizer_config.json", `{"chat_template":{"a":"\ud800","a":"` + bad + `"}}`, []string{"chat-template", "json-malformed"}},
		"number too large":         {"tokenizer_config.json", `{"chat_template":{"a":1e999,"b":"` + bad + `"}}`, []string{"limit-size"}},
		"no JSON":                  {"config.json", `{"auto_map":`, []string{"json-malformed"}},
		"no JSON, decides nothing": {"results.json", `{"a":`, nil},
		"two values":               {"config.json", `{} {"auto_map":{"A":"b.B"}}`, []string{"auto-map"}},
		"numbers of Python":        {"config.json", `{"limit":[0.0,Infinity,-Infinity,NaN],"x":"NaN \" Infinity"}`, nil},
		"code beside them":         {"config.json", `{"limit":NaN,"auto_map":{"A":"Infinity.B"}}`, []string{"auto-map"}},
		"template without name":    {"chat_template", bad, []string{"chat-template"}},
		"deep":                     {"config.json", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), []string{"limit-depth"}},
		"huge value":               {"config.json", `{"auto_map":"` + strings.Repeat("x", 3<<20) + `"}`, []string{"limit-size"}},
		"python tag":               {"a/conf.yaml", "x: !!python/object/apply:os.getcwd []\n", []string{"yaml-python"}},
		"python tag, spelled out":  {"conf.yml", "x: !<tag:yaml.org,2002:python/name:os.getcwd> y\n", []string{"yaml-python"}},
		"python tag, by a prefix":  {"conf.yml", "%TAG !p! tag:yaml.org,2002:python/\n---\nx: !p!name:os.getcwd ''\n", []string{"yaml-python"}},
		"python tag, %":            {"conf.yml", "x: !!%70ython/object/apply:os.getcwd []\n", []string{"yaml-python"}},
		"python tag, %, long":      {"conf.yml", "x: !<tag:yaml.org,2002:pytho%6E/name:os.getcwd> y\n", []string{"yaml-python"}},
		"python tag, half prefix":  {"conf.yml", "# x\r%TAG !p! tag:yaml.org,2002:\n---\nx: !p!python/name:os.getcwd ''\n", []string{"yaml-python"}},
		"python tag, odd prefix":   {"conf.yml", "%TAG !p! tag:y%61ml\n---\nx: !p!.org,2002:python/name:os.getcwd ''\n", []string{"yaml-python"}},
		"python tag, in two":       {"conf.yml", "%TAG !! tag:yaml.org,2002:py\n---\nx: !!thon/name:os.getcwd ''\n", []string{"yaml-python"}},
		"python tag, odd break":    {"conf.yml", "%YAML 1.1\u2028%TAG !p! tag:yaml.org,2002:\u2028---\nx: !p!python/name:os.getcwd ''\n", []string{"yaml-python"}},
		"tags of its own":          {"conf.yml", "%TAG !! tag:yaml.org,2002:\n%TAG !e! tag:example.com,2000:\n%TAG !l! !l-\n---\nx: !e!a%20b 100%\n", nil},
		"YAML trust":               {"serve.yaml", "args:\n  - trust_remote_code: True\n", []string{"trust-remote-code"}},
		"YAML":                     {"serve.yaml", "a: !!str 1\ntrust_remote_code: false\n", nil},
		"YAML, huge":               {"serve.yaml", strings.Repeat("a: 1\n", 1<<20), []string{"limit-size"}},
		"Python":                   {"modeling_x.py", "import torch\n", []string{"custom-code"}},
		"WebAssembly":              {"a.wasm", "\x00asm\x01\x00\x00\x00", []string{"webassembly"}},
		"secret":                   {"notes.txt", "token = hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789\n", []string{"secret"}},
		"no secret":                {"notes.txt", "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, tt.name, []byte(tt.text))
			if diff := cmp.Diff(tt.want, rules(got)); diff != "" {
				t.Errorf("rules (-want +got):\n%s%+v", diff, got.Findings)
			}
			for _, f := range got.Findings {
				if strings.Contains(f.Message, "AbCdEfGh") {
					t.Errorf("the message has the secret in it: %s", f.Message)
				}
			}
		})
	}
}

func TestLicences(t *testing.T) {
	const (
		apache = "                                 Apache License\n                           Version 2.0, January 2004\n"
		mit    = "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\n"
		bsd    = "Redistribution and use in source and binary forms, with or without\nmodification, are permitted provided that\n"
		cc     = "# Attribution-NonCommercial 4.0 International\n\nCreative Commons\n"
		llama  = "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nLlama 3.1 Version Release Date: July 23, 2024\n"
	)
	tests := map[string]struct {
		declared string // front matter
		texts    []string
		want     string // in the message; "" for no finding
	}{
		"equal":               {"license: apache-2.0", []string{"LICENSE", apache}, ""},
		"another":             {"license: apache-2.0", []string{"LICENSE", cc}, "cc-by-nc-4.0"},
		"another, Markdown":   {"license: MIT", []string{"LICENSE.md", llama}, "llama3.1"},
		"one of two texts":    {"license: mit", []string{"LICENSE-MIT", mit, "LICENSE-APACHE", apache}, ""},
		"one of two declared": {"license:\n- mit\n- apache-2.0", []string{"LICENCE.txt", apache}, ""},
		"BSD":                 {"license: bsd-2-clause", []string{"COPYING", bsd}, ""},
		"BSD with three":      {"license: bsd-2-clause", []string{"COPYING", bsd + "Neither the name of"}, "bsd-3-clause"},
		"other":               {"license: other\nlicense_name: x", []string{"LICENSE", llama}, ""},
		"unknown text":        {"license: mit", []string{"LICENSE", "All rights reserved.\n"}, ""},
		"not declared":        {"language: en", []string{"LICENSE", mit}, ""},
		"not at the top":      {"license: mit", []string{"sub/LICENSE", apache}, ""},
		"no card":             {"", []string{"LICENSE", apache}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var files []scan.File
			for i := 0; i < len(tt.texts); i += 2 {
				files = append(files, file(tt.texts[i], []byte(tt.texts[i+1])))
			}
			if tt.declared != "" {
				files = append(files, file("README.md", fmt.Appendf(nil, "---\n%s\n---\n# A model\n", tt.declared)))
			}
			got, err := scan.Scan(t.Context(), scan.Files(files...), scan.Options{})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.want == "" && len(got.Findings) > 0:
				t.Errorf("findings %+v, want none", got.Findings)
			case tt.want != "" && (len(got.Findings) != 1 || got.Findings[0].Rule != "licence-mismatch" || !strings.Contains(got.Findings[0].Message, tt.want)):
				t.Errorf("findings %+v, want one that says %s", got.Findings, tt.want)
			}
			if got.Verdict != scan.Safe {
				t.Errorf("verdict %s, want safe: a licence does nothing", got.Verdict)
			}
		})
	}
}

// A countingAt counts the bytes that are read.
type countingAt struct {
	size, read int64
	head       []byte
}

func (c *countingAt) ReadAt(p []byte, off int64) (int, error) {
	c.read += int64(len(p))
	clear(p)
	if off < int64(len(c.head)) {
		copy(p, c.head[off:])
	}
	return len(p), nil
}

// Of weights only headers are read.
func TestReadsLittle(t *testing.T) {
	const data = 64 << 30
	header := fmt.Sprintf(`{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, int64(data/4), int64(data))
	b := testmodel.SafetensorsRaw([]byte(header), nil)
	r := &countingAt{size: int64(len(b)) + data, head: b}
	got, err := scan.Scan(t.Context(), scan.Files(scan.File{Path: "model.safetensors", Size: r.size, At: r}), scan.Options{Sparse: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != scan.Safe || r.read > 1<<20 {
		t.Errorf("verdict %s %+v after %d bytes, want safe after less than 1 MiB", got.Verdict, got.Findings, r.read)
	}
}

// FuzzContent checks that nothing in a file of any of these names stops a scan.
func FuzzContent(f *testing.F) {
	names := []string{"config.json", "tokenizer_config.json", "a.safetensors", "a.gguf", "a.onnx", "a.yaml", "modules.json", "README.md", "LICENSE"}
	f.Add(uint8(0), []byte(`{"auto_map":{"A":"b--c.D"},"chat_template":[{"name":"x","template":"{{ x.__y }}"}]}`))
	f.Add(uint8(2), testmodel.SafetensorsRaw([]byte(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`), make([]byte, 4)))
	f.Add(uint8(3), testmodel.GGUFFile(testmodel.TinyGGUF()))
	f.Add(uint8(4), testmodel.ONNXFile(testmodel.ONNXInitializer("a", []int64{1}, make([]byte, 4))))
	f.Add(uint8(5), []byte("x: !!python/name:a"))
	f.Add(uint8(7), []byte("---\nlicense: mit\n---\n"))
	f.Fuzz(func(t *testing.T, name uint8, b []byte) {
		got := run(t, names[int(name)%len(names)], b)
		for _, finding := range got.Findings {
			if finding.Offset < 0 || finding.Offset > math.MaxInt64/2 || finding.Severity == "" || finding.Message == "" {
				t.Errorf("%+v", finding)
			}
		}
	})
}
