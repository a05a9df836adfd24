package scan_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

func TestTemplates(t *testing.T) {
	tests := map[string]struct {
		template string
		rule     string // "" for none
	}{
		"no tags":                {"Hello { there } }}", ""},
		"comment":                {"{# ''.__class__ #}", ""},
		"raw":                    {"{% raw %}{{ ''.__class__ }}{%- endraw -%}", ""},
		"text outside":           {"__class__ {{ x }} __globals__", ""},
		"private key of a dict":  {"{{ m['_type'] }}", ""},
		"index":                  {"{{ messages[loop.index0 + 1]['role'] }}", ""},
		"slice":                  {"{% set rest = messages[1:] %}", ""},
		"list after in":          {"{% if x in ['__', 'b'] %}{% endif %}", ""},
		"concatenation":          {"{{ '<s>' + message['role'] + '\n' ~ content | trim }}", ""},
		"selectattr":             {"{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", ""},
		"brace in a dict":        {"{{ {'a': {'b': {}}} }}", ""},
		"percent in a statement": {"{% set x = {'a': 7 %3} %}", ""},
		"namespace":              {"{% set ns = namespace(found=false) %}{% set ns.found = true %}", ""},
		"join":                   {"{{ ', '.join(names) ~ '\n'.join(x) }}", ""},
		"strftime":               {"{{ strftime_now('%d %b %Y') }}", ""},
		"percent format":         {"{{ '%s: %s' | format(a, b) }}", ""},
		"literal format":         {"{{ '{0} {name}'.format(a, name=b) }}", ""},
		"snake case":             {"{{ name | replace('_', ' ') ~ '_' ~ id }}", ""},

		"attribute":              {"{{ ''.__class__ }}", "chat-template"},
		"attribute with space":   {"{{ '' . \n __class__ }}", "chat-template"},
		"private attribute":      {"{{ x._y }}", "chat-template"},
		"attribute in statement": {"{%- set x = y.__init__ -%}", "chat-template"},
		"attribute in condition": {"{% if a %}{% elif b.__globals__ %}{% endif %}", "chat-template"},
		"internal":               {"{{ f.gi_frame.f_builtins }}", "chat-template"},
		"subscript":              {"{{ ''['__class__'] }}", "chat-template"},
		"subscript, internal":    {"{{ x['gi_frame'] }}", "chat-template"},
		"hexadecimal":            {`{{ ''["\x5f\x5fclass\x5f\x5f"] }}`, "chat-template"},
		"octal":                  {`{{ ''['\137\137class\137\137'] }}`, "chat-template"},
		"unicode":                {`{{ ''['\u005f\U0000005fclass__'] }}`, "chat-template"},
		"named rune":             {`{{ ''['\N{LOW LINE}\N{low line}class__'] }}`, "chat-template"},
		"adjacent literals":      {"{{ ''['__cla' 'ss__'] }}", "chat-template"},
		"sum of literals":        {"{{ ''['__cla' + 'ss__'] }}", "chat-template"},
		"joined literals":        {"{% set k = '_' ~ '_class_' ~ '_' %}", "chat-template"},
		"reversed":               {"{% set k = '__ssalc__' | reverse %}", "chat-template"},
		"name":                   {"{{ dict(__class__=1) }}", "chat-template"},
		"attr":                   {"{{ x | attr('__class__') }}", "chat-template"},
		"attr of a variable":     {"{{ x|attr(y) }}", "chat-template"},
		"attr by name":           {"{{ [x] | map('attr', y) | list }}", "chat-template"},
		"attribute argument":     {"{{ [x] | map(attribute='a.__class__') }}", "chat-template"},
		"groupby":                {"{{ [x] | groupby('gi_code') }}", "chat-template"},
		"format method":          {"{{ '{0._x}'.format(y) }}", "chat-template"},
		"include":                {"{% include '/etc/passwd' %}", "chat-template"},
		"import":                 {"{%- import 'os' as os -%}", "chat-template"},
		"from":                   {"{%+ from 'x' import y %}", "chat-template"},
		"extends":                {"{% extends 'base' %}", "chat-template"},
		"after a brace":          {"{{ {'a': {}}.__class__ }}", "chat-template"},
		"after raw":              {"{% raw %}{% x %}{% endraw %}{{ x.__y }}", "chat-template"},
		"after raw, separators":  {"{% raw %}{%\x1cendraw\x1f%}{{ x.__y }}{% raw %}{% endraw %}", "chat-template"},
		"separators":             {"{{\x1dx\x1e.\x1f__y }}", "chat-template"},
		"after a comment":        {"{# {{ #}{{ x.__y }}", "chat-template"},
		"delimiter in a string":  {"{{ '}}' }}{{ \"%}\" ~ x.__y }}", "chat-template"},

		"attr, harmless":       {"{{ x | attr('role') }}", "chat-template-doubt"},
		"computed subscript":   {"{{ x[a ~ b] }}", "chat-template-doubt"},
		"parts":                {"{% set u = '__' %}{{ x[u ~ 'class' ~ u] }}", "chat-template-doubt"},
		"joined in subscript":  {"{{ x[['a', b] | join] }}", "chat-template-doubt"},
		"unknown format":       {"{{ f.format(x) }}", "chat-template-doubt"},
		"format_map":           {"{{ '{a}'.format_map(x) }}", "chat-template-doubt"},
		"format of attributes": {"{{ '{0.x}'.format(y) }}", "chat-template-doubt"},
		"literal replaced":     {"{% set k = '--class--' | replace('-', '_') %}{{ x[k] }}", "chat-template-doubt"},
		"part replaced":        {"{% set k = '__xclassx__' | replace('x', '') %}{{ x[k] }}", "chat-template-doubt"},
		"literal by a method":  {"{% set k = '--class--'.replace('-', '_') %}", "chat-template-doubt"},
		"literal turned round": {"{% set k = 'ssalc'[::-1] %}", "chat-template-doubt"},
		"underscore for later": {"{% set u = '_' %}", "chat-template-doubt"},
		"gadget":               {"{{ lipsum() }}", "chat-template-doubt"},
		"filter by variable":   {"{{ x | map(f) }}", "chat-template-doubt"},
		"attribute, variable":  {"{{ x | map(attribute=y) }}", "chat-template-doubt"},
		"pieces to replace":    {"{{ x[k | replace('-', '_')] }}", "chat-template-doubt"},

		"long range":    {"{% for i in range(1_000_000) %}{% endfor %}", "chat-template-cost"},
		"nested ranges": {"{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "chat-template-cost"},
		"long text":     {"{{ 'a' * 10000000 }}", "chat-template-cost"},
		"power":         {"{{ 9 ** 99999999 }}", "chat-template-cost"},
		"wide":          {"{{ x | center(99999999) }}", "chat-template-cost"},
		"hex range":     {"{{ range(0xffffff) }}", "chat-template-cost"},
		"endless":       {"{{ 7 * 99999999999999999999999999999 }}", "chat-template-cost"},

		"open tag":     {"{{ x", "chat-template-unread"},
		"open string":  {"{{ 'x }}", "chat-template-unread"},
		"open comment": {"{# x", "chat-template-unread"},
		"open raw":     {"{% raw %}{{ x }}", "chat-template-unread"},
		"open bracket": {"{{ x[1 }}", "chat-template-unread"},
		"wrong sign":   {"{{ x $ y }}", "chat-template-unread"},
		"too large":    {strings.Repeat("a", 1<<20+1), "chat-template-unread"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "chat_template.jinja", []byte(tt.template))
			want := scan.Safe
			for _, r := range scan.Rules() {
				if r.ID == tt.rule {
					want = r.Verdict
				}
			}
			if found := rules(got); got.Verdict != want || tt.rule == "" && len(found) > 0 || tt.rule != "" && !slices.Contains(found, tt.rule) {
				t.Errorf("verdict %s, want %s by %q: %+v", got.Verdict, want, tt.rule, got.Findings)
			}
		})
	}
}

// Templates as models have them are safe.
func TestTemplatesInUse(t *testing.T) {
	names, err := filepath.Glob("testdata/templates/*.jinja")
	if err != nil || len(names) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, filepath.Base(name), b); got.Verdict != scan.Safe || len(got.Findings) > 0 {
			t.Errorf("%s: %s %+v", name, got.Verdict, got.Findings)
		}
	}
}

// A template takes no longer than its length allows, whatever is in it.
func TestTemplateTime(t *testing.T) {
	const size = 256 << 10
	for _, unit := range []string{"{", "[", "{{[", "{{a[", "range(", "'\\N{", "{% raw", "{%  ", "a.b|c", "\"\"", "{#", "-", "{{x[y[z[", "_"} {
		for _, prefix := range []string{"", "{{ ", "{% set x = "} {
			text := prefix + strings.Repeat(unit, size/len(unit)-20)
			start := time.Now()
			run(t, "t.jinja", []byte(text))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%d bytes of %q after %q took %v", size, unit, prefix, took)
			}
		}
	}
}

// FuzzTemplate checks that no template stops the scan, and that what is said of
// it is at a place in it.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		"{{ x.__class__ }}", "{% for i in range(9) %}{{ '\\x5f' ~ \"a\" }}{% endfor %}", "{% raw %}{{{% endraw %}", "{# #}{{ {'a':{}}['a'] }}",
		"{{ '{0.x}'.format(y) | attr('a') }}", "{%- set a = 0x1f ** 1_000 -%}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := run(t, "chat_template.jinja", []byte(text))
		for _, finding := range got.Findings {
			if finding.Offset < 0 || finding.Offset > int64(len(text)) || finding.Message == "" || got.Verdict == scan.Safe {
				t.Errorf("%s: %+v", got.Verdict, finding)
			}
		}
	})
}
