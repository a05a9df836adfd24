package artifact_test

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/modelreg/modelreg/pkg/artifact"
)

func TestCheckPath(t *testing.T) {
	deep := strings.TrimSuffix(strings.Repeat("d/", 32), "/")
	tests := map[string]struct {
		path string
		want string // reason; "" for a good path
	}{
		"plain":                    {"model.safetensors", ""},
		"below":                    {"a/b/c.json", ""},
		"spaces":                   {"my model/file one.bin", ""},
		"non-ASCII":                {"modèle/größe-模型.bin", ""},
		"dot file":                 {".gitattributes", ""},
		"dot directory":            {".config/x", ""},
		"names like devices":       {"console.txt", ""},
		"com without number":       {"com.txt", ""},
		"com ten":                  {"com10", ""},
		"255 byte component":       {strings.Repeat("x", 255), ""},
		"32 levels":                {deep, ""},
		"ends in modelreg":         {"a/.modelreg", ""},
		"git in a name":            {".gitignore", ""},
		"empty":                    {"", "empty name"},
		"dot":                      {".", "empty name"},
		"dot dot":                  {"..", "component .."},
		"up":                       {"../x", "component .."},
		"up in the middle":         {"a/../../x", "component .."},
		"dot component":            {"a/./b", "component ."},
		"absolute":                 {"/etc/passwd", "absolute path"},
		"double slash":             {"a//b", "empty component"},
		"trailing slash":           {"a/", "empty component"},
		"backslash":                {`..\x`, "backslash"},
		"UNC":                      {`\\host\share`, "backslash"},
		"drive":                    {"C:/x", "colon"},
		"stream":                   {"x:stream", "colon"},
		"star":                     {"a*", "Windows reserves"},
		"question mark":            {"a?", "Windows reserves"},
		"quote":                    {`a"b`, "Windows reserves"},
		"pipe":                     {"a|b", "Windows reserves"},
		"NUL byte":                 {"a\x00b", "control character"},
		"newline":                  {"a\nb", "control character"},
		"escape":                   {"\x1b[31mred", "control character"},
		"DEL":                      {"a\x7f", "control character"},
		"C1":                       {"a\u0085b", "control character"},
		"bidi override":            {"a\u202egpj.exe", "invisible character"},
		"bidi isolate":             {"a\u2066b", "invisible character"},
		"zero width space":         {"a\u200bb", "invisible character"},
		"byte order mark":          {"\ufeffa", "invisible character"},
		"line separator":           {"a\u2028b", "line separator"},
		"bad UTF-8":                {"a\xff", "not UTF-8"},
		"decomposed":               {"e\u0301.bin", "normal form C"},
		"trailing dot":             {"a./b", "ends in a dot"},
		"trailing space":           {"a /b", "ends in a dot or space"},
		"CON":                      {"CON", "device name"},
		"con with extension":       {"a/con.tar.gz", "device name"},
		"con with blank":           {"con .txt", "device name"},
		"nul lower":                {"nul", "device name"},
		"COM1":                     {"COM1.json", "device name"},
		"LPT superscript":          {"lpt\u00b2", "device name"},
		"COM superscript with ext": {"COM\u00b9.txt", "device name"},
		"CONIN$":                   {"conin$", "device name"},
		"git":                      {".git/config", "control name .git"},
		"git below":                {"a/.Git", "control name .git"},
		"git folded":               {".g\u0131t", ""}, // dotless i is another letter
		"git kelvin-like":          {".gıt/x", ""},
		"control":                  {".modelreg/pull.json", "control name .modelreg"},
		"control prefix":           {".modelreg-x.partial", "control name .modelreg"},
		"control upper":            {".MODELREG", "control name .modelreg"},
		"control long s":           {".modelreg\u017f", "control name .modelreg"},
		"256 byte component":       {strings.Repeat("x", 256), "component too long"},
		"too long":                 {strings.Repeat("abcdefgh/", 114), "path too long"},
		"33 levels":                {deep + "/d", "32 levels"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := artifact.CheckPath(tt.path)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("CheckPath(%+q) = %v, want nil", tt.path, err)
				}
				return
			}
			if !errors.Is(err, artifact.ErrUnsafe) {
				t.Fatalf("CheckPath(%+q) = %v, want an error that wraps ErrUnsafe", tt.path, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CheckPath(%+q) = %q, want a reason with %q", tt.path, err, tt.want)
			}
			for _, r := range err.Error() {
				if r < ' ' || r > '~' {
					t.Fatalf("message %q has %q in it", err, r)
				}
			}
			if len(err.Error()) > 2000 {
				t.Errorf("message has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestCheckPaths(t *testing.T) {
	tests := map[string]struct {
		paths []string
		want  string
	}{
		"none":                     {nil, ""},
		"a tree":                   {[]string{"a/b", "a/c", "d", "a/e/f"}, ""},
		"same twice":               {[]string{"m.bin", "x", "m.bin"}, "duplicate path"},
		"case":                     {[]string{"README.md", "readme.md"}, "collision"},
		"case of a directory":      {[]string{"Data/a", "data/b"}, "collision"},
		"file and directory":       {[]string{"a", "a/b"}, "both a file and a directory"},
		"directory and file":       {[]string{"a/b", "a"}, "both a file and a directory"},
		"file and directory, case": {[]string{"A", "a/b"}, "collision"},
		"full folding":             {[]string{"straße", "STRASSE"}, "collision"},
		"kelvin sign is not NFC":   {[]string{"\u212a", "k"}, "normal form"},
		"long s":                   {[]string{"\u017f", "s"}, "collision"},
		"greek sigmas":             {[]string{"\u03c2", "\u03c3"}, "collision"},
		"one bad":                  {[]string{"a", "../b"}, "component .."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := artifact.CheckPaths(tt.paths)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, artifact.ErrUnsafe) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CheckPaths(%q) = %v, want ErrUnsafe with %q", tt.paths, err, tt.want)
			}
		})
	}
}

// What is accepted is a plain local path, in every reading of it, and cannot
// hurt a terminal; what is refused says so in plain ASCII.
func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{
		"a/b", "../x", "/x", `a\b`, "C:x", "con", "a\u202eb", "é", "e\u0301", ".git/x", ".modelreg/x", "a//b", "a/", "\xff", "COM\u00b9",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		err := artifact.CheckPath(p)
		if err != nil {
			for _, r := range err.Error() {
				if r < ' ' || r > '~' {
					t.Fatalf("message %q", err)
				}
			}
			if artifact.CheckPaths([]string{p}) == nil {
				t.Fatalf("%q is refused alone and taken in a set", p)
			}
			return
		}
		if !fs.ValidPath(p) || path.Clean(p) != p || !utf8.ValidString(p) || !norm.NFC.IsNormalString(p) {
			t.Fatalf("%q was accepted", p)
		}
		if strings.ContainsAny(p, "\\:*?\"<>|\x00\n\r\x1b\x7f") || len(p) > artifact.MaxPathBytes {
			t.Fatalf("%q was accepted", p)
		}
		if artifact.CheckPaths([]string{p, p}) == nil {
			t.Fatalf("%q twice was accepted", p)
		}
		if up := strings.ToUpper(p); up != p && artifact.CheckPath(up) == nil && strings.ToLower(up) == p && artifact.CheckPaths([]string{p, up}) == nil {
			t.Fatalf("%q and %q were accepted together", p, up)
		}
	})
}
