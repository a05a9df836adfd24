package glob_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/glob"
)

// What the patterns of Python's fnmatch match: the rows were checked with it.
func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"*.safetensors", []string{"a.safetensors", "sub/dir/b.safetensors", ".safetensors"}, []string{"a.safetensors.index.json", "a.SAFETENSORS"}},
		{"config.json", []string{"config.json"}, []string{"sub/config.json", "config_json"}},
		{"onnx/", []string{"onnx/model.onnx", "onnx/deep/er"}, []string{"onnx", "a/onnx/model.onnx"}},
		{"onnx/*", []string{"onnx/model.onnx", "onnx/a/b"}, []string{"onnx"}},
		{"*", []string{"a", "a/b"}, nil},
		{"**/x", []string{"a/x", "a/b/x"}, []string{"x"}},
		{"model-0000?-of-*", []string{"model-00001-of-00002.bin"}, []string{"model-00012-of-00012.bin"}},
		{"?", []string{"a", "/", "ü"}, []string{"", "ab"}},
		{"[ab].bin", []string{"a.bin", "b.bin"}, []string{"c.bin", "[ab].bin"}},
		{"[!ab].bin", []string{"c.bin", "!.bin"}, []string{"a.bin"}},
		{"[a-c]x", []string{"ax", "cx"}, []string{"dx", "-x"}},
		{"[c-a]x", nil, []string{"ax", "bx", "cx", "-x"}},
		{"[!c-a]x", []string{"ax", "zx"}, []string{"x"}},
		{"[a-]x", []string{"ax", "-x"}, []string{"bx"}},
		{"[]]x", []string{"]x"}, []string{"[]]x", "x"}},
		{"[!]]x", []string{"ax"}, []string{"]x"}},
		{"[ab", []string{"[ab"}, []string{"a", "b"}},
		{"[]", []string{"[]"}, []string{"", "]"}},
		{"[!]", []string{"[!]"}, []string{"!", "a"}},
		{"[^a]", []string{"^", "a"}, []string{"b"}},
		{`a\*b`, []string{`a\b`, `a\xyb`}, []string{"a*b"}},
		{"*a*b*c*", []string{"abc", "xxaxxbxxcxx"}, []string{"acb", "ab"}},
		{"größe*", []string{"größe.txt"}, []string{"grosse.txt"}},
	}
	for _, tt := range tests {
		match, err := glob.Matcher([]string{tt.pattern}, nil)
		if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
			continue
		}
		for _, name := range tt.yes {
			if !match(name) {
				t.Errorf("%q does not match %q", tt.pattern, name)
			}
		}
		for _, name := range tt.no {
			if match(name) {
				t.Errorf("%q matches %q", tt.pattern, name)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	for _, s := range []struct{ include, exclude []string }{
		{include: []string{""}},
		{exclude: []string{"a", ""}},
		{include: []string{"\xff"}},
		{include: []string{strings.Repeat("x", 5000)}},
		{exclude: make([]string, 2000)},
	} {
		if _, err := glob.Matcher(s.include, s.exclude); !errors.Is(err, glob.ErrPattern) {
			t.Errorf("error %v, want ErrPattern", err)
		}
	}
}

// A long pattern on a long name is done soon.
func TestSlowPattern(t *testing.T) {
	match, err := glob.Matcher([]string{strings.Repeat("*a", 2000) + "b"}, nil)
	if err != nil || match(strings.Repeat("a", 1024)) {
		t.Errorf("error %v, or a match", err)
	}
}

// Any text that is a pattern matches itself when it has no special letters, and
// a star takes anything; nothing panics.
func FuzzMatcher(f *testing.F) {
	for _, p := range []string{"*.bin", "[!a-z]*", "a/", "[", "[]", "[!", "?ü*", "***"} {
		f.Add(p, "sub/model.bin")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		match, err := glob.Matcher([]string{pattern}, nil)
		if err != nil {
			return
		}
		got := match(name)
		if !strings.ContainsAny(pattern, "*?[") && !strings.HasSuffix(pattern, "/") && got != (pattern == name) {
			t.Errorf("%q matches %q: %v", pattern, name, got)
		}
		all, err := glob.Matcher([]string{pattern, "*"}, []string{pattern})
		if err != nil || all(name) == got {
			t.Errorf("%q both selects and leaves out %q: %v", pattern, name, err)
		}
	})
}
