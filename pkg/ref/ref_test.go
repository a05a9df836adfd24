package ref_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/ref"
)

var (
	hex64  = strings.Repeat("0123456789abcdef", 4)
	sha256 = digest.Digest("sha256:" + hex64)
	sha512 = digest.Digest("sha512:" + hex64 + hex64)
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, in string
		want     ref.Reference
		out      string // what it prints; empty: as typed
	}{
		{name: "host and name", in: "ghcr.io/org/bert", want: ref.Reference{Host: "ghcr.io", Repository: "org/bert"}},
		{name: "tag", in: "ghcr.io/bert:v1.2.0", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Tag: "v1.2.0"}},
		{name: "digest", in: "ghcr.io/bert@" + sha256.String(), want: ref.Reference{Host: "ghcr.io", Repository: "bert", Digest: sha256}},
		{name: "sha512", in: "ghcr.io/bert@" + sha512.String(), want: ref.Reference{Host: "ghcr.io", Repository: "bert", Digest: sha512}},
		{name: "tag and digest", in: "ghcr.io/bert:v1@" + sha256.String(), want: ref.Reference{Host: "ghcr.io", Repository: "bert", Tag: "v1", Digest: sha256}},
		{name: "bare digest", in: "ghcr.io/bert@" + hex64, want: ref.Reference{Host: "ghcr.io", Repository: "bert", Digest: sha256}, out: "ghcr.io/bert@" + sha256.String()},
		{name: "abbreviated digest", in: "ghcr.io/bert@01234567", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Prefix: "01234567"}},
		{name: "port", in: "localhost:5000/org/bert:v1", want: ref.Reference{Host: "localhost:5000", Repository: "org/bert", Tag: "v1"}},
		{name: "localhost without port", in: "localhost/bert", want: ref.Reference{Host: "localhost", Repository: "bert"}},
		{name: "host without dot but port", in: "registry:443/bert", want: ref.Reference{Host: "registry:443", Repository: "bert"}},
		{name: "tag that looks like a port", in: "ghcr.io/bert:5000", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Tag: "5000"}},
		{name: "IPv4", in: "10.0.0.1/bert", want: ref.Reference{Host: "10.0.0.1", Repository: "bert"}},
		{name: "IPv6", in: "[2001:db8::1]:5000/bert:v1", want: ref.Reference{Host: "[2001:db8::1]:5000", Repository: "bert", Tag: "v1"}},
		{name: "IPv6 without port", in: "[::1]/bert", want: ref.Reference{Host: "[::1]", Repository: "bert"}},
		{name: "host in upper case", in: "GHCR.io/bert", want: ref.Reference{Host: "ghcr.io", Repository: "bert"}, out: "ghcr.io/bert"},
		{name: "dots and dashes in elements", in: "b.gcr.io/test.example.com/my--app__x:a.b", want: ref.Reference{Host: "b.gcr.io", Repository: "test.example.com/my--app__x", Tag: "a.b"}},
		{name: "docker hub, official", in: "docker.io/bert", want: ref.Reference{Host: "docker.io", Repository: "library/bert"}, out: "docker.io/library/bert"},
		{name: "docker hub, other name", in: "index.docker.io/ai/bert", want: ref.Reference{Host: "docker.io", Repository: "ai/bert"}, out: "docker.io/ai/bert"},
		{name: "branch", in: "ghcr.io/bert:feature/x", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Tag: "_b.feature__x"}, out: "ghcr.io/bert:_b.feature__x"},
		{name: "branch as stored", in: "ghcr.io/bert:_b.feature__x", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Tag: "_b.feature__x"}},
		{name: "range", in: `ghcr.io/bert:"^1.2"`, want: ref.Reference{Host: "ghcr.io", Repository: "bert", Range: "^1.2"}},
		{name: "range, single quotes", in: `ghcr.io/bert:'1.x'`, want: ref.Reference{Host: "ghcr.io", Repository: "bert", Range: "1.x"}, out: `ghcr.io/bert:"1.x"`},
		{name: "range, quotes eaten by a shell", in: `ghcr.io/bert:>=1.0 <2`, want: ref.Reference{Host: "ghcr.io", Repository: "bert", Range: ">=1.0 <2"}, out: `ghcr.io/bert:">=1.0 <2"`},
		{name: "version that is no range", in: `ghcr.io/bert:1.x`, want: ref.Reference{Host: "ghcr.io", Repository: "bert", Tag: "1.x"}},
		{name: "variant", in: "ghcr.io/bert:v1#q4_k_m", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Tag: "v1", Variant: "q4_k_m"}},
		{name: "variant with keys", in: "ghcr.io/bert#format=gguf,quant=q4_k_m", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Variant: "format=gguf,quant=q4_k_m"}},
		{name: "path", in: "ghcr.io/bert//sub/config.json", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Path: "sub/config.json"}},
		{name: "path with other marks in it", in: "ghcr.io/bert//a b#c@d:e", want: ref.Reference{Host: "ghcr.io", Repository: "bert", Path: "a b#c@d:e"}},
		{
			name: "everything", in: "oci://ghcr.io/org/bert:v1@" + sha256.String() + "#q8_0//model.gguf",
			want: ref.Reference{Host: "ghcr.io", Repository: "org/bert", Tag: "v1", Digest: sha256, Variant: "q8_0", Path: "model.gguf"},
			out:  "ghcr.io/org/bert:v1@" + sha256.String() + "#q8_0//model.gguf",
		},
		{name: "hugging face", in: "hf://BAAI/bge-small-en-v1.5:main", want: ref.Reference{Scheme: "hf", Repository: "BAAI/bge-small-en-v1.5", Tag: "main"}},
		{name: "hugging face commit", in: "hf://gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e", want: ref.Reference{Scheme: "hf", Repository: "gpt2", Prefix: "607a30d783dfa663caf39e06633721c8d4cfcd7e"}},
		{name: "hugging face pull request", in: "hf://gpt2:refs/pr/1", want: ref.Reference{Scheme: "hf", Repository: "gpt2", Tag: "_b.refs__pr__1"}, out: "hf://gpt2:_b.refs__pr__1"},
		{name: "model scope", in: "ms://Qwen/Qwen3-8B//config.json", want: ref.Reference{Scheme: "ms", Repository: "Qwen/Qwen3-8B", Path: "config.json"}},
		{name: "ollama", in: "ollama://llama3.2:1b", want: ref.Reference{Scheme: "ollama", Repository: "llama3.2", Tag: "1b"}},
		{name: "ollama with host", in: "ollama://hf.co/TheBloke/x-GGUF:Q4_K_M", want: ref.Reference{Scheme: "ollama", Host: "hf.co", Repository: "TheBloke/x-GGUF", Tag: "Q4_K_M"}},
		{name: "file", in: "file:///home/me/my model@2:x", want: ref.Reference{Scheme: "file", Repository: "/home/me/my model@2:x"}},
		{name: "layout", in: "layout:///srv/out:v1", want: ref.Reference{Scheme: "layout", Repository: "/srv/out", Tag: "v1"}},
		{name: "layout by digest", in: "layout://out@" + sha256.String(), want: ref.Reference{Scheme: "layout", Repository: "out", Digest: sha256}},
		{name: "layout below an odd name", in: "layout:///srv/a@b:c/out", want: ref.Reference{Scheme: "layout", Repository: "/srv/a@b:c/out"}},
		{name: "layout on a drive", in: `layout://C:\models\out:v1`, want: ref.Reference{Scheme: "layout", Repository: `C:\models\out`, Tag: "v1"}},
		{name: "file in a layout", in: "layout:///srv/out:v1//config.json", want: ref.Reference{Scheme: "layout", Repository: "/srv/out", Tag: "v1", Path: "config.json"}},
		{name: "longest repository", in: "ghcr.io/" + strings.Repeat("a", 255), want: ref.Reference{Host: "ghcr.io", Repository: strings.Repeat("a", 255)}},
		{name: "longest tag", in: "ghcr.io/a:" + strings.Repeat("t", 128), want: ref.Reference{Host: "ghcr.io", Repository: "a", Tag: strings.Repeat("t", 128)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ref.Parse(tt.in)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
			out := tt.out
			if out == "" {
				out = tt.in
			}
			if got.String() != out {
				t.Errorf("String = %q, want %q", got.String(), out)
			}
		})
	}
}

func TestParseRejects(t *testing.T) {
	tests := []struct{ name, in, hint string }{
		{"empty", "", "empty"},
		{"scheme alone", "oci://", "no repository"},
		{"tag alone", ":v1", "no repository"},
		{"digest alone", "@" + sha256.String(), "unknown registry alias"},
		{"short name", "org/bert", "HOST/org/bert"},
		{"host alone", "ghcr.io", "HOST/ghcr.io"},
		{"host and slash", "ghcr.io/", "no repository"},
		{"host and tag", "ghcr.io/:v1", "no repository"},
		{"alias", "@corp/bert", "unknown registry alias @corp; none are set"},
		{"web address", "https://ghcr.io/bert", "without https://"},
		{"docker transport", "docker://ghcr.io/bert", "without docker://"},
		{"unknown scheme", "s4://ghcr.io/bert", "unknown scheme"},
		{"other scheme", "ftp://ghcr.io/bert", "known are oci, hf"},
		{"upper case", "ghcr.io/Org/bert", "lower case"},
		{"empty element", "ghcr.io/a///b", "path of a file"},
		{"leading separator", "ghcr.io/-a", "repository element"},
		{"trailing separator", "ghcr.io/a_", "repository element"},
		{"three underscores", "ghcr.io/a___b", "repository element"},
		{"dot dot", "ghcr.io/../b", "repository element"},
		{"backslash", `ghcr.io/a\b`, "repository element"},
		{"percent", "ghcr.io/a%2f..", "repository element"},
		{"question mark", "ghcr.io/a?x=y", "repository element"},
		{"long repository", "ghcr.io/" + strings.Repeat("a", 256), "256 bytes"},
		{"long tag", "ghcr.io/a:" + strings.Repeat("t", 129), "129 bytes"},
		{"long branch", "ghcr.io/a:x/" + strings.Repeat("t", 126), "branch of 128 bytes, more than 124"},
		{"long text", "ghcr.io/a//" + strings.Repeat("t", 5000), "longer than"},
		{"empty tag", "ghcr.io/a:", "tag"},
		{"tag with a dash", "ghcr.io/a:-rf", "tag"},
		{"two tags", "ghcr.io/a:b:c", "tag"},
		{"branch up", "ghcr.io/a:x/../y", "branch"},
		{"branch with a double underscore", "ghcr.io/a:x/y__z", "__"},
		{"unclosed range", `ghcr.io/a:"^1`, "tag"},
		{"range of nothing", `ghcr.io/a:"abc"`, "range"},
		{"range and digest", `ghcr.io/a:"^1"@` + sha256.String(), "cannot stand together"},
		{"digest in upper case", "ghcr.io/a@sha256:" + strings.ToUpper(hex64), "lower case"},
		{"digest too short", "ghcr.io/a@sha256:0123456789", "64 digits, not 10"},
		{"digest too long", "ghcr.io/a@sha256:" + hex64 + "0", "64 digits, not 65"},
		{"digest of another kind", "ghcr.io/a@md5:0123456789abcdef0123456789abcdef", "sha256 and sha512"},
		{"digest that climbs", "ghcr.io/a@sha256:../../x", "branch"},
		{"empty digest", "ghcr.io/a@", "digest"},
		{"two digests", "ghcr.io/a@01234567@01234567", "repository element"},
		{"prefix too short", "ghcr.io/a@0123456", "8 to 64"},
		{"line feed", "ghcr.io/a\n", "control character"},
		{"escape", "ghcr.io/\x1b[31ma", "control character"},
		{"bad UTF-8", "ghcr.io/\xff", "invalid UTF-8"},
		{"space", "ghcr.io/a b", "repository element"},
		{"empty variant", "ghcr.io/a#", "variant"},
		{"odd variant", "ghcr.io/a#x y", "variant"},
		{"empty path", "ghcr.io/a//", "path"},
		{"absolute path", "ghcr.io/a///etc/passwd", "path"},
		{"climbing path", "ghcr.io/a//../x", "path"},
		{"port zero", "ghcr.io:0/a", "port"},
		{"port too high", "ghcr.io:65536/a", "port"},
		{"host with underscore", "foo_bar.com/a", "host name"},
		{"host with empty label", "a..b/c", "host name"},
		{"host with a dash", "-a.b/c", "host name"},
		{"user and host", "me:pw@ghcr.io/a", "no registry host"},
		{"bad IPv6", "[::g]/a", "IPv6"},
		{"IPv6 zone", "[fe80::1%eth0]/a", "IPv6"},
		{"no file", "file://", "path on disk"},
		{"no layout", "layout://:v1", "no directory"},
		{"odd hub name", "hf://org/a b", "name element"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ref.Parse(tt.in)
			if !errors.Is(err, ref.ErrSyntax) {
				t.Fatalf("Parse = %+v, %v, want ErrSyntax", got, err)
			}
			if !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("error %q does not say %q", err, tt.hint)
			}
			if got != (ref.Reference{}) {
				t.Errorf("Parse = %+v beside an error", got)
			}
		})
	}
}

func TestNames(t *testing.T) {
	names := ref.Names{
		Default: "harbor.corp.io/ml",
		Aliases: map[string]string{"corp": "localhost:5000/a/b/", "hub": "docker.io", "bad": "nohost", "worse": "x.y/UP"},
	}
	tests := []struct{ name, in, want, hint string }{
		{name: "one element", in: "bert", want: "harbor.corp.io/ml/bert"},
		{name: "two elements and tag", in: "org/bert:v1", want: "harbor.corp.io/ml/org/bert:v1"},
		{name: "with a host, as it is", in: "ghcr.io/bert", want: "ghcr.io/bert"},
		{name: "branch of one element", in: "bert:feature/x", want: "harbor.corp.io/ml/bert:_b.feature__x"},
		{name: "branch of a name with a dot", in: "bert.v2:feature/x", want: "harbor.corp.io/ml/bert.v2:_b.feature__x"},
		{name: "digits before a slash are a port", in: "bert:2024/x", want: "bert:2024/x"},
		{name: "localhost as a model", in: "localhost:5000", want: "harbor.corp.io/ml/localhost:5000"},
		{name: "alias", in: "@corp/org/bert@01234567", want: "localhost:5000/a/b/org/bert@01234567"},
		{name: "alias of docker hub", in: "@hub/bert", want: "docker.io/library/bert"},
		{name: "scheme before alias", in: "oci://@corp/bert", want: "localhost:5000/a/b/bert"},
		{name: "no default for hugging face", in: "hf://gpt2", want: "hf://gpt2"},
		{name: "unknown alias", in: "@crop/bert", hint: "known are @bad, @corp, @hub, @worse"},
		{name: "alias without host", in: "@bad/bert", hint: "registry:443"},
		{name: "alias in upper case", in: "@worse/bert", hint: "lower case"},
		{name: "alias alone", in: "@corp", hint: "repository element"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := names.Parse(tt.in)
			if tt.hint != "" {
				if !errors.Is(err, ref.ErrSyntax) || !strings.Contains(err.Error(), tt.hint) {
					t.Errorf("Parse error = %v, want ErrSyntax with %q", err, tt.hint)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("Parse = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestDefaultNeedsHost(t *testing.T) {
	_, err := ref.Names{Default: "ml/models"}.Parse("bert")
	if !errors.Is(err, ref.ErrSyntax) || !strings.Contains(err.Error(), "default registry") {
		t.Errorf("Parse error = %v, want one about the default registry", err)
	}
}

func TestWith(t *testing.T) {
	r, err := ref.Parse(`ghcr.io/a:"^1"#q8//x`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.WithTag("v1").String(), "ghcr.io/a:v1#q8//x"; got != want {
		t.Errorf("WithTag = %q, want %q", got, want)
	}
	if got, want := r.WithTag("v1").WithDigest(sha256).String(), "ghcr.io/a:v1@"+sha256.String()+"#q8//x"; got != want {
		t.Errorf("WithTag and WithDigest = %q, want %q", got, want)
	}
	if got, want := r.WithDigest(sha256).WithTag("v2").String(), "ghcr.io/a:v2#q8//x"; got != want {
		t.Errorf("WithDigest and WithTag = %q, want %q", got, want)
	}
	if got, want := r.Name(), "ghcr.io/a"; got != want {
		t.Errorf("Name = %q, want %q", got, want)
	}
}

func TestBranches(t *testing.T) {
	for branch, tag := range map[string]string{
		"main":           "main",
		"a__b":           "a__b",
		"feature/x":      "_b.feature__x",
		"a/b/c_d-e.f":    "_b.a__b__c_d-e.f",
		"dependabot/1.2": "_b.dependabot__1.2",
	} {
		got, err := ref.EncodeBranch(branch)
		if err != nil || got != tag {
			t.Errorf("EncodeBranch(%q) = %q, %v, want %q", branch, got, err, tag)
		}
		if got := ref.DecodeBranch(tag); got != branch {
			t.Errorf("DecodeBranch(%q) = %q, want %q", tag, got, branch)
		}
	}
	for _, branch := range []string{"", "/", "a/", "/a", "a//b", "a_/b", "a/_b", "a__b/c", "a/../b", "./a", "_b.a__b", "a b", "-a", "ä/b", "x/" + strings.Repeat("a", 124)} {
		if tag, err := ref.EncodeBranch(branch); !errors.Is(err, ref.ErrSyntax) {
			t.Errorf("EncodeBranch(%q) = %q, %v, want ErrSyntax", branch, tag, err)
		}
	}
	for _, tag := range []string{"_b.x", "_b.", "_b.a___b", "_b.__", "v1", "_k.0123"} {
		if got := ref.DecodeBranch(tag); got != tag {
			t.Errorf("DecodeBranch(%q) = %q, want it unchanged", tag, got)
		}
	}
}
