package lineage_test

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/lineage"
)

func TestClassOf(t *testing.T) {
	tests := map[string]lineage.LicenceClass{
		"mit": lineage.Permissive, "MIT": lineage.Permissive, "apache-2.0": lineage.Permissive, "BSD-3-Clause": lineage.Permissive, "CC0-1.0": lineage.Permissive,
		"cc-by-4.0": lineage.Permissive, "lgpl-3.0": lineage.WeakCopyleft, "mpl-2.0": lineage.WeakCopyleft, "gpl-3.0": lineage.Copyleft,
		"AGPL-3.0-only": lineage.Copyleft, "cc-by-sa-4.0": lineage.Copyleft, "openrail++": lineage.Restricted, "bigscience-bloom-rail-1.0": lineage.Restricted,
		"creativeml-openrail-m": lineage.Restricted, "llama2": lineage.Custom, "llama3.1": lineage.Custom, "LicenseRef-llama-3.1-community": lineage.Custom,
		"gemma": lineage.Custom, "cc-by-nc-4.0": lineage.NonCommercial, "cc-by-nc-sa-4.0": lineage.NonCommercial, "cc-by-nc-nd-4.0": lineage.NoDerivatives,
		"cc-by-nd-4.0": lineage.NoDerivatives, "other": lineage.Unknown, "": lineage.Unknown, "LicenseRef-acme": lineage.Unknown, "bsl-1.0": lineage.Permissive,
	}
	for id, want := range tests {
		if got := lineage.ClassOf(id); got != want {
			t.Errorf("ClassOf(%q) = %s, want %s", id, got, want)
		}
	}
}

func TestLicenceConflict(t *testing.T) {
	tests := []struct {
		child, base, want string // want is a part of the reason
	}{
		{"mit", "apache-2.0", ""},
		{"gpl-3.0", "mit", ""},
		{"cc-by-nc-4.0", "apache-2.0", ""},
		{"", "apache-2.0", ""},
		{"apache-2.0", "gpl-3.0", "offered under apache-2.0, the base under gpl-3.0 (what is made of it stays under it)"},
		{"agpl-3.0", "gpl-3.0", ""},
		{"cc-by-sa-4.0", "gpl-3.0", "offered under"},
		{"cc-by-sa-4.0", "cc-by-sa-3.0", ""},
		{"mit", "lgpl-3.0", "offered under"},
		{"gpl-3.0", "lgpl-3.0", ""},
		{"apache-2.0", "llama3.1", "the base under llama3.1 (its own terms are to be passed on)"},
		{"llama3.2", "llama3.1", ""},
		{"LicenseRef-llama-3.1-community", "llama3.1", ""},
		{"gemma", "llama3.1", "offered under gemma"},
		{"mit", "gemma", "offered under mit"},
		{"openrail", "creativeml-openrail-m", ""},
		{"mit", "openrail", "restrictions of use"},
		{"mit", "cc-by-nc-4.0", "not for commercial use"},
		{"cc-by-nc-sa-4.0", "cc-by-nc-4.0", ""},
		{"cc-by-nd-4.0", "cc-by-nd-4.0", "does not let anything be passed on"},
		{"", "llama3.1", "names no licence"},
		{"other", "llama3.1", ""},   // its text may say so
		{"mit", "LicenseRef-x", ""}, // nobody knows
		{"mit", "mit OR gpl-3.0", ""},
		{"MIT OR Apache-2.0", "gpl-3.0", "offered under MIT or Apache-2.0"},
		{"mit,gpl-3.0", "gpl-3.0", ""},
		{"apache-2.0", "GPL-3.0-only WITH Classpath-exception-2.0", "offered under"},
	}
	for _, test := range tests {
		split := func(s string) []string {
			return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
		}
		got := lineage.LicenceConflict(split(test.child), split(test.base))
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%q of %q: %q, want %q", test.child, test.base, got, test.want)
		}
	}
}
