package catalog_test

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/catalog"
)

func TestNextLink(t *testing.T) {
	tests := map[string]string{
		"":                                "",
		`<https://a/?page=2>; rel="next"`: "https://a/?page=2",
		`<https://a/?page=1>; rel="prev", <https://a/?page=3>; rel="next", <https://a/?page=9>; rel="last"`: "https://a/?page=3",
		`</v?page=2>; REL=next`:                     "/v?page=2",
		`<https://a/?x=1,2>; title="b"; rel="next"`: "https://a/?x=1,2",
		`<https://a/>; rel="nextish"`:               "",
		`<https://a/; rel="next"`:                   "",
		`https://a/; rel="next"`:                    "",
		`<>; rel="next"`:                            "",
	}
	for in, want := range tests {
		if got := catalog.NextLink([]string{in}); got != want {
			t.Errorf("NextLink(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzNextLink states that a target is what stood between angles.
func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`<https://a/?page=2>; rel="next"`, `<a>; rel=prev, <b>; rel=next`, `<<>>; rel="next"`, `<a`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := catalog.NextLink([]string{s}); got != "" && !strings.Contains(s, "<"+got+">") {
			t.Fatalf("NextLink(%q) = %q", s, got)
		}
	})
}
