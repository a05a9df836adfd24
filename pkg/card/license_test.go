package card_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/card"
)

func TestSPDX(t *testing.T) {
	tests := map[string]string{
		"apache-2.0":                   "Apache-2.0",
		" MIT ":                        "MIT",
		"llama3.1":                     "LicenseRef-llama3.1",
		"openrail++":                   "LicenseRef-openrail-plus-plus",
		"odbl":                         "ODbL-1.0",
		"gpl-3.0":                      "GPL-3.0",
		"GPL-2.0+":                     "GPL-2.0+",
		"mit or apache-2.0":            "MIT OR Apache-2.0",
		"(MIT OR gemma) AND CC-BY-4.0": "(MIT OR LicenseRef-gemma) AND CC-BY-4.0",
		"gpl-2.0-only with classpath-exception-2.0": "GPL-2.0-only WITH Classpath-exception-2.0",
		"LicenseRef-acme.1":                         "LicenseRef-acme.1",
		"0bsd":                                      "0BSD",
		"":                                          "",
		"other":                                     "",
		"unknown":                                   "",
		"mit apache-2.0":                            "",
		"mit,apache-2.0":                            "",
		"(mit":                                      "",
		"mit)":                                      "",
		"mit and":                                   "",
		"mit with mit":                              "",
		"mit with":                                  "",
		"classpath-exception-2.0":                   "",
		"#":                                         "",
		"LicenseRef-":                               "",
		"LicenseRef-a b":                            "",
		"LicenseRef-a/b":                            "",
		strings.Repeat("(", 40):                     "",
		strings.Repeat("mit and ", 200):             "",
	}
	for in, want := range tests {
		got, err := card.SPDX(in)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, card.ErrLicense) {
			t.Errorf("SPDX(%q) = %q, %v; want %q", in, got, err, want)
		}
		if want != "" {
			if again, err := card.SPDX(got); again != got || err != nil {
				t.Errorf("SPDX(%q) = %q, %v: not itself", got, again, err)
			}
		}
	}
}

func TestMetadataSPDX(t *testing.T) {
	tests := map[string]struct {
		meta card.Metadata
		want string
	}{
		"none":         {card.Metadata{}, ""},
		"one":          {card.Metadata{Licenses: []string{"mit"}}, "MIT"},
		"several":      {card.Metadata{Licenses: []string{"mit or isc", "cc-by-4.0"}}, "(MIT OR ISC) AND CC-BY-4.0"},
		"another":      {card.Metadata{Licenses: []string{"other"}, LicenseName: "acme research"}, "LicenseRef-acme-research"},
		"other alone":  {card.Metadata{Licenses: []string{"other"}}, ""},
		"one of them?": {card.Metadata{Licenses: []string{"mit", "nonsense"}}, ""},
	}
	for name, tt := range tests {
		if got := tt.meta.SPDX(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func FuzzSPDX(f *testing.F) {
	for _, s := range []string{"mit", "(MIT OR llama3) AND ISC+", "a WITH b", "((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := card.SPDX(s)
		if err != nil {
			return
		}
		if again, err := card.SPDX(got); err != nil || again != got {
			t.Errorf("SPDX(%q) = %q, of which it is %q, %v", s, got, again, err)
		}
	})
}
