package ref_test

import (
	"testing"

	"github.com/modelreg/modelreg/pkg/ref"
)

// FuzzParse states that what parses prints, and parses again to the same, also
// without the default and the aliases that completed it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"ghcr.io/org/bert:v1@" + sha256.String() + "#q8_0//model.gguf",
		"@corp/bert:feature/x",
		`bert:">=1.0 <2.0"`,
		"localhost:5000/bert@01234567",
		"[::1]:80/bert",
		"hf://Org/Model@607a30d783dfa663caf39e06633721c8d4cfcd7e",
		"ollama://hf.co/a/b:Q4_K_M",
		"file:///a b",
		"layout:////a:v1//b",
		"docker.io/bert",
		"bert:main~2^2~",
		"bert:main@{2026-05-03T10:00:00Z}~1#q4//a",
		"bert@01234567^",
		`bert:">=1 || ~2"`,
		"bert:^1.2~2",
		"layout://:@//",
	} {
		f.Add(s)
	}
	names := ref.Names{Default: "harbor.corp.io/ml", Aliases: map[string]string{"corp": "localhost:5000"}}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := names.Parse(s)
		if err != nil {
			return
		}
		again, err := ref.Parse(r.String())
		if err != nil {
			t.Fatalf("Parse(%q) = %q, which does not parse: %v", s, r, err)
		}
		if again != r {
			t.Fatalf("Parse(%q) = %#v, printed %q, read again %#v", s, r, r, again)
		}
		if r.Tag != "" && !ref.ValidTag(r.Tag) {
			t.Fatalf("Parse(%q) has tag %q", s, r.Tag)
		}
		if steps, err := ref.ParseRevision(r.Revision); err != nil || (r.Revision != "") != (len(steps) > 0) {
			t.Fatalf("Parse(%q) has revision %q: %v", s, r.Revision, err)
		}
		if r.Digest != "" && r.Digest.Validate() != nil {
			t.Fatalf("Parse(%q) has digest %q", s, r.Digest)
		}
	})
}

// FuzzEncodeBranch states that every branch that has a tag comes back from it,
// and that a tag is its own branch or decodes to one that encodes to it.
func FuzzEncodeBranch(f *testing.F) {
	for _, s := range []string{"main", "feature/x", "_b.a__b", "a___b", "a/_b", "_b._b.a__b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if tag, err := ref.EncodeBranch(s); err == nil {
			if !ref.ValidTag(tag) || ref.DecodeBranch(tag) != s {
				t.Fatalf("EncodeBranch(%q) = %q, which decodes to %q", s, tag, ref.DecodeBranch(tag))
			}
		}
		if branch := ref.DecodeBranch(s); branch != s {
			if tag, err := ref.EncodeBranch(branch); err != nil || tag != s {
				t.Fatalf("DecodeBranch(%q) = %q, which encodes to %q, %v", s, branch, tag, err)
			}
		}
	})
}
