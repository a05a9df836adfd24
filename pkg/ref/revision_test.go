package ref_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/ref"
)

func TestParseRevision(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 5, day, hour, minute, 0, 0, time.UTC) }
	tests := map[string][]ref.Step{
		"":                             nil,
		"~":                            {{Back: 1}},
		"~0":                           {{}},
		"~12^2^":                       {{Back: 12}, {Parent: 2}, {Parent: 1}},
		"@{2026-05-03}":                {{At: at(4, 0, 0).Add(-time.Nanosecond)}},
		"@{2026-05-03T10:00:00+02:00}": {{At: at(3, 8, 0)}},
		"@{2026-05-03 10:30}~1":        {{At: at(3, 10, 30)}, {Back: 1}},
	}
	for text, want := range tests {
		got, err := ref.ParseRevision(text)
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("ParseRevision(%q) = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "~x", "@{yesterday}", "@{2026-05-03", "~1@{2026-05-03}", "~99999999999999999999", "^1000001", strings.Repeat("~", 33)} {
		if _, err := ref.ParseRevision(text); !errors.Is(err, ref.ErrSyntax) {
			t.Errorf("ParseRevision(%q): %v", text, err)
		}
	}
}

func TestParseWithRevision(t *testing.T) {
	hex := strings.Repeat("ab", 32)
	tests := map[string]ref.Reference{
		"r.io/m:main~2":                 {Tag: "main", Revision: "~2"},
		"r.io/m:feature/x^2":            {Tag: "_b.feature__x", Revision: "^2"},
		"r.io/m:main@{2026-05-03}~":     {Tag: "main", Revision: "@{2026-05-03}~"},
		"r.io/m~1":                      {Revision: "~1"},
		"r.io/m@abcdef12~3#q4//x":       {Prefix: "abcdef12", Revision: "~3", Variant: "q4", Path: "x"},
		"r.io/m:v1@sha256:" + hex + "^": {Tag: "v1", Revision: "^"},
		"r.io/m:~1.2":                   {Range: "~1.2"},
		"r.io/m:~2":                     {Range: "~2"},
		`r.io/m:">=1 || ~2"`:            {Range: ">=1 || ~2"},
		"r.io/m:>=1 ~2":                 {Range: ">=1 ~2"},
	}
	for text, want := range tests {
		want.Host, want.Repository = "r.io", "m"
		got, err := ref.Parse(text)
		if strings.Contains(text, "sha256") {
			want.Digest = got.Digest
		}
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"r.io/m:main@{soon}", "r.io/m:main~9999999"} {
		if _, err := ref.Parse(text); !errors.Is(err, ref.ErrSyntax) {
			t.Errorf("Parse(%q): %v", text, err)
		}
	}
	// A version that a revision led to is not what the tag points to.
	r, err := ref.Parse("r.io/m:main~2")
	if err != nil {
		t.Fatal(err)
	}
	pinned := r.WithDigest("sha256:12")
	if pinned.Tag != "" || pinned.Revision != "" {
		t.Errorf("pinned: %+v", pinned)
	}
}
