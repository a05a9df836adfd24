package scan

import (
	"bytes"
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxConfig bounds the configurations that are read. The largest that
	// means something here, tokenizer_config.json, has a few MiB.
	maxConfig = 16 << 20

	// maxConfigValue bounds what is held of one at a time, as values.
	maxConfigValue = 2 << 20

	// maxConfigDepth bounds how deep they are nested.
	maxConfigDepth = 100
)

// deciding are the names of configurations that decide what is loaded, so that
// one which cannot be read is a finding.
var deciding = []string{
	"config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json", "feature_extractor_config.json",
	"generation_config.json", "adapter_config.json", "model_index.json", "modules.json", "chat_template.json", "video_preprocessor_config.json",
}

// isConfig tells JSON files that loaders take for a configuration, by any name.
func isConfig(in *input) bool {
	name := in.base()
	return strings.HasSuffix(name, ".json") &&
		!slices.Contains([]string{"tokenizer.json", "vocab.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"}, name)
}

// checkConfig reads a JSON configuration for what it has loaders do.
func checkConfig(s *session, in *input) error {
	if in.raw || !isConfig(in) {
		return nil
	}
	decides := slices.Contains(deciding, in.base())
	if in.size > maxConfig && decides {
		s.add(in, "limit-size", 0, "%d bytes are too many for a configuration", in.size)
	}
	data, err := in.bytes(maxConfig)
	if err != nil || data == nil {
		return err
	}
	data = finite(data)
	c := &configReader{s: s, in: in, dec: jsontext.NewDecoder(bytes.NewReader(data))}
	err = c.read()
	if err != nil {
		loose := &configReader{s: s, in: in, loose: true, dec: jsontext.NewDecoder(bytes.NewReader(data), looseJSON)}
		_ = loose.read() // the first error is told
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok && decides {
		s.add(in, ruleConfig, syntax.ByteOffset, "no JSON: %v", syntax.Err)
	} else if errors.Is(err, errTooDeep) && decides {
		s.add(in, "limit-depth", c.dec.InputOffset(), "%v", err)
	} else if err != nil && !ok && decides {
		s.add(in, ruleConfig, c.dec.InputOffset(), "%v", err)
	}
	return nil
}

// nonFinite are the numbers that Python writes and JSON does not have, with
// others of the same length.
var nonFinite = []struct{ word, number string }{{"NaN", "0  "}, {"Infinity", "0       "}}

// finite returns a document with other numbers in their place.
func finite(data []byte) []byte {
	if !bytes.Contains(data, []byte("NaN")) && !bytes.Contains(data, []byte("Infinity")) {
		return data
	}
	out := bytes.Clone(data)
	inText := false
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case !inText && (c == 'N' || c == 'I'):
			for _, f := range nonFinite {
				if bytes.HasPrefix(out[i:], []byte(f.word)) {
					i += copy(out[i:], f.number) - 1
					break
				}
			}
		}
	}
	return out
}

var errTooDeep = errors.New("nested too deep")

// looseJSON takes what Python does: names that come twice, of which the last one
// counts, and halves of characters.
var looseJSON = jsontext.Options(json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)))

// A configReader goes through a configuration token by token.
type configReader struct {
	s   *session
	in  *input
	dec *jsontext.Decoder

	loose bool // see looseJSON
}

func (c *configReader) read() error {
	for {
		if c.dec.StackDepth() > maxConfigDepth {
			return errTooDeep
		}
		tok, err := c.dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !c.isName() || tok.Kind() != '"' {
			continue
		}
		if err := c.member(tok.String(), c.dec.InputOffset()); err != nil {
			return err
		}
	}
}

// isName tells whether the last token was the name of an object's member.
func (c *configReader) isName() bool {
	kind, n := c.dec.StackIndex(c.dec.StackDepth())
	return kind == '{' && n%2 == 1
}

// member looks at a member whose name has just been read.
func (c *configReader) member(name string, at int64) error {
	top := c.dec.StackDepth() == 1
	switch {
	case name == "auto_map":
		return c.value(func(v any) { c.autoMap(v, at) })
	case name == "trust_remote_code":
		return c.value(func(v any) {
			if v == true {
				c.s.add(c.in, "trust-remote-code", at, "trust_remote_code is true")
			}
		})
	case top && name == "custom_pipelines":
		return c.value(func(v any) { c.pipelines(v, at) })
	case name == "chat_template" && (top || c.dec.StackDepth() == 2):
		return c.value(func(v any) { c.templates(v, at) })
	case top && name == "_class_name" && c.in.base() == "model_index.json":
		return c.value(func(v any) {
			if _, plain := v.(string); !plain {
				c.s.add(c.in, ruleCustomPipeline, at, "_class_name is a pipeline of the model's own")
			}
		})
	case name == "type" && c.in.base() == "modules.json":
		return c.value(func(v any) {
			if class, ok := v.(string); ok && !strings.HasPrefix(class, "sentence_transformers.") {
				c.s.add(c.in, ruleCustomPipeline, at, "the module %.80q", class)
			}
		})
	}
	return nil
}

// value reads the value that comes next, and shows it to use.
func (c *configReader) value(use func(any)) error {
	raw, err := c.dec.ReadValue()
	if err != nil {
		return err
	}
	if len(raw) > maxConfigValue {
		c.s.add(c.in, "limit-size", c.dec.InputOffset(), "a value of %d bytes, more than the %d that are looked at", len(raw), maxConfigValue)
		return nil
	}
	var v any
	opts := json.JoinOptions()
	if c.loose {
		opts = looseJSON
	}
	if err := json.Unmarshal(raw, &v, opts); errors.Is(err, strconv.ErrRange) {
		c.s.add(c.in, "limit-size", c.dec.InputOffset(), "a value with a number that is too large")
		return nil
	} else if err != nil {
		return err
	}
	use(v)
	return nil
}

// autoMap looks at what classes a configuration brings along. The names are
// "file.Class", or "owner/repository--file.Class".
func (c *configReader) autoMap(v any, at int64) {
	names := textsIn(v)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if repo, class, ok := strings.Cut(name, "--"); ok {
			c.s.add(c.in, ruleAutoMapRemote, at, "auto_map names %.80q in the repository %.80q", class, repo)
		} else {
			c.s.add(c.in, ruleAutoMap, at, "auto_map names %.80q", name)
		}
	}
}

func (c *configReader) pipelines(v any, at int64) {
	tasks, _ := v.(map[string]any)
	for _, task := range slices.Sorted(keys(tasks)) {
		impl := ""
		if m, ok := tasks[task].(map[string]any); ok {
			impl, _ = m["impl"].(string)
		}
		c.s.add(c.in, ruleCustomPipeline, at, "custom_pipelines names %.80q for %.80q", impl, task)
	}
}

// templates looks at chat templates: one, a list of named ones, or an object of
// them.
func (c *configReader) templates(v any, at int64) {
	switch v := v.(type) {
	case string:
		c.s.template(c.in, "chat_template", at, v)
	case []any:
		for _, item := range v {
			m, _ := item.(map[string]any)
			name, _ := m["name"].(string)
			text, _ := m["template"].(string)
			c.s.template(c.in, "chat_template "+name, at, text)
		}
	case map[string]any:
		for _, name := range slices.Sorted(keys(v)) {
			text, _ := v[name].(string)
			c.s.template(c.in, "chat_template "+name, at, text)
		}
	}
}

func keys(m map[string]any) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// textsIn returns all texts in a value, which the decoder has bounded in depth.
func textsIn(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, item := range v {
			all = append(all, textsIn(item)...)
		}
		return all
	case map[string]any:
		var all []string
		for _, item := range v {
			all = append(all, textsIn(item)...)
		}
		return all
	}
	return nil
}

// template inspects one template. Its findings have the offset of where the
// template is kept, and tell the place in it.
func (s *session) template(in *input, name string, at int64, text string) {
	for _, issue := range inspectTemplate(text) {
		s.add(in, issue.rule, at, "%.80s, byte %d: %s", name, issue.at, issue.message)
	}
}

// checkTemplateFile looks at templates in files of their own.
func checkTemplateFile(s *session, in *input) error {
	named := strings.HasPrefix(in.base(), "chat_template") && in.ext() != ".json"
	if ext := in.ext(); !named && ext != ".jinja" && ext != ".jinja2" && ext != ".j2" {
		return nil
	}
	if in.size > maxTemplate {
		s.add(in, ruleTemplateUnread, 0, "the template has %d bytes, more than the %d that are looked at", in.size, maxTemplate)
	}
	data, err := in.bytes(maxTemplate)
	if err != nil || data == nil {
		return err
	}
	for _, issue := range inspectTemplate(string(data)) {
		s.add(in, issue.rule, int64(issue.at), "%s", issue.message)
	}
	return nil
}

// maxYAML bounds the YAML files that are read.
const maxYAML = 4 << 20

// trusting finds trust_remote_code in YAML.
var trusting = regexp.MustCompile(`(?mi)^[\s-]*["']?trust_remote_code["']?\s*:\s*(?:true|yes|on)\b`)

// pythonTag finds the tags by which PyYAML makes objects: short, and spelled
// out.
var pythonTag = regexp.MustCompile(`!!python/|tag:yaml\.org,2002:python`)

// pythonPrefix is what the tags that make objects begin with, spelled out.
const pythonPrefix = "tag:yaml.org,2002:python/"

var (
	// escapedTag finds tags that have bytes written as %XX.
	escapedTag = regexp.MustCompile(`![^\s]*%[^\s]*`)

	// tagLine finds what gives tags another beginning, after any of the breaks
	// that end a line in YAML.
	tagLine = regexp.MustCompile(`(?:^|[\n\r\x{85}\x{2028}\x{2029}\x{feff}])%TAG +([^ \n\r\x{85}\x{2028}\x{2029}]+) +([^ \n\r\x{85}\x{2028}\x{2029}]+)`)

	percent = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
)

// unescaped returns a tag with the bytes that it has as %XX.
func unescaped(tag []byte) []byte {
	return percent.ReplaceAllFunc(tag, func(m []byte) []byte {
		c, _ := strconv.ParseUint(string(m[1:]), 16, 8)
		return []byte{byte(c)}
	})
}

// pythonTags finds the first tag that makes Python objects, or what could
// spell one in two parts.
func pythonTags(data []byte) (off int, what string) {
	if m := pythonTag.FindIndex(data); m != nil {
		return m[0], "a tag that makes Python objects"
	}
	for _, m := range escapedTag.FindAllIndex(data, -1) {
		if pythonTag.Match(unescaped(data[m[0]:m[1]])) {
			return m[0], "a tag that makes Python objects, in escapes"
		}
	}
	for _, m := range tagLine.FindAllSubmatchIndex(data, -1) {
		handle, prefix := string(data[m[2]:m[3]]), string(unescaped(data[m[4]:m[5]]))
		usual := handle == "!!" && prefix == "tag:yaml.org,2002:"
		if !usual && (strings.HasPrefix(pythonPrefix, prefix) || strings.HasPrefix(prefix, pythonPrefix)) {
			return m[0], "a name for tags that may make Python objects"
		}
	}
	return -1, ""
}

// checkYAML looks at YAML without reading it as such: its tags and one name are
// all that matters here.
func checkYAML(s *session, in *input) error {
	if ext := path.Ext(in.base()); in.raw || ext != ".yaml" && ext != ".yml" {
		return nil
	}
	if in.size > maxYAML {
		s.add(in, "limit-size", 0, "%d bytes of YAML, more than the %d that are looked at", in.size, maxYAML)
	}
	data, err := in.bytes(maxYAML)
	if err != nil || data == nil {
		return err
	}
	if off, what := pythonTags(data); off >= 0 {
		s.add(in, "yaml-python", int64(off), "%s", what)
	}
	if m := trusting.FindIndex(data); m != nil {
		s.add(in, "trust-remote-code", int64(m[0]), "trust_remote_code is true")
	}
	return nil
}
