package lineage

import (
	"fmt"
	"slices"
	"strings"
)

// A LicenceClass says what a licence asks of those who change a model and pass it
// on. It is a table for warnings, and no legal advice.
type LicenceClass string

// The classes, from what asks least. Of an unknown licence nothing is said.
const (
	Unknown       LicenceClass = "unknown"
	Permissive    LicenceClass = "permissive"     // names the authors, or not even that
	WeakCopyleft  LicenceClass = "weak-copyleft"  // the files themselves stay under it
	Copyleft      LicenceClass = "copyleft"       // what is made of it is under it too
	Restricted    LicenceClass = "restricted"     // restrictions of use are passed on: OpenRAIL
	Custom        LicenceClass = "custom"         // a vendor's own terms are passed on: Llama, Gemma
	NonCommercial LicenceClass = "non-commercial" // not for money
	NoDerivatives LicenceClass = "no-derivatives" // nothing made of it may be passed on
)

// licenceClasses are found by the longest prefix, in lower case. Identifiers are
// SPDX's and those of the Hugging Face Hub.
var licenceClasses = map[string]LicenceClass{
	"mit": Permissive, "apache-": Permissive, "bsd-": Permissive, "bsd": Permissive, "0bsd": Permissive, "isc": Permissive, "zlib": Permissive,
	"unlicense": Permissive, "wtfpl": Permissive, "cc0-": Permissive, "cc-by-2": Permissive, "cc-by-3": Permissive, "cc-by-4": Permissive, "pddl": Permissive,
	"odc-by": Permissive, "bsl-1.0": Permissive, "afl-3.0": Permissive, "artistic-2.0": Permissive, "ecl-2.0": Permissive, "postgresql": Permissive,
	"ms-pl": Permissive, "ncsa": Permissive, "ofl-1.1": Permissive, "openmdw": Permissive, "cdla-permissive": Permissive,

	"lgpl": WeakCopyleft, "mpl-": WeakCopyleft, "epl-": WeakCopyleft, "eupl-": WeakCopyleft, "osl-": WeakCopyleft, "cddl": WeakCopyleft,
	"gpl": Copyleft, "agpl": Copyleft, "cc-by-sa": Copyleft, "odbl": Copyleft, "gfdl": Copyleft, "cdla-sharing": Copyleft,

	"openrail": Restricted, "bigscience-": Restricted, "creativeml-openrail": Restricted, "bigcode-openrail": Restricted, "open-rail": Restricted,
	"llama2": Custom, "llama3": Custom, "llama4": Custom, "llama-": Custom, "gemma": Custom, "deepseek": Custom, "qwen": Custom, "tii-falcon": Custom, "falcon": Custom,
	"intel-research": NonCommercial, "apple-amlr": NonCommercial, "apple-ascl": Custom, "fair-noncommercial-research": NonCommercial, "nvidia": Custom,
	"mrl": NonCommercial, "mnpl": NonCommercial, "flux-1-dev-non-commercial": NonCommercial, "stability-ai": Custom, "stabilityai": Custom, "c-uda": Custom,
	"lgpl-lr": WeakCopyleft, "h-research": NonCommercial, "etalab-2.0": Permissive, "hippocratic": Restricted,

	"cc-by-nc": NonCommercial, "cc-by-nc-nd": NoDerivatives, "cc-by-nd": NoDerivatives,
}

// ClassOf tells the class of a licence by its identifier, in any case.
func ClassOf(licence string) LicenceClass {
	name := strings.ToLower(strings.TrimSpace(licence))
	name = strings.TrimPrefix(name, "licenseref-")
	best, class := "", Unknown
	for prefix, c := range licenceClasses {
		if strings.HasPrefix(name, prefix) && len(prefix) > len(best) {
			best, class = prefix, c
		}
	}
	return class
}

// LicenceConflict tells why licences of a version promise more than those of what
// it was made of allow; empty if they do not, or if that cannot be told. Several
// licences are a choice.
func LicenceConflict(child, base []string) string {
	child, base = choices(child), choices(base)
	reason := ""
	for _, b := range base {
		r := asks(child, b)
		if r == "" {
			return ""
		}
		if reason == "" {
			reason = r
		}
	}
	return reason
}

// asks is what one licence of the base wants of all that the child offers.
func asks(child []string, base string) string {
	class := ClassOf(base)
	if class == Unknown || class == Permissive {
		return ""
	}
	if class == NoDerivatives {
		return fmt.Sprintf("%.60s of the base does not let anything be passed on that was made of it", base)
	}
	if len(child) == 0 {
		return fmt.Sprintf("it names no licence, the base is under %.60s", base)
	}
	for _, c := range child {
		if !passesOn(c, base) {
			continue
		}
		return ""
	}
	return fmt.Sprintf("it is offered under %.60s, the base under %.60s (%s)", strings.Join(child, " or "), base, meaning[class])
}

var meaning = map[LicenceClass]string{
	WeakCopyleft:  "what is made of it stays under it",
	Copyleft:      "what is made of it stays under it",
	Restricted:    "its restrictions of use are to be passed on",
	Custom:        "its own terms are to be passed on",
	NonCommercial: "not for commercial use",
}

// passesOn tells whether a licence keeps what another asks for, or may.
func passesOn(child, base string) bool {
	c, b := ClassOf(child), ClassOf(base)
	same := strings.EqualFold(child, base)
	switch {
	case same, c == Unknown:
		return true
	case b == WeakCopyleft:
		return c == Copyleft || c == WeakCopyleft
	case b == Copyleft:
		return c == Copyleft && kin(child) == kin(base)
	case b == Restricted:
		return c == Restricted
	case b == Custom:
		return c == Custom && kin(child) == kin(base)
	case b == NonCommercial:
		return c == NonCommercial || c == NoDerivatives
	}
	return true
}

// kin is the kind of a licence without its version: those of one kind follow
// each other.
func kin(licence string) string {
	name := strings.TrimPrefix(strings.ToLower(licence), "licenseref-")
	if strings.HasPrefix(name, "agpl") {
		return "gpl" // may be joined with version 3 of the GPL
	}
	end := strings.IndexAny(name, "0123456789-")
	if end < 0 || strings.HasPrefix(name, "cc-") {
		return strings.Join(slices.DeleteFunc(strings.Split(name, "-"), func(s string) bool { return strings.Trim(s, "0123456789.") == "" }), "-")
	}
	return name[:end]
}

// choices takes expressions such as "MIT OR Apache-2.0" apart. What is asked for
// together ("AND") is taken as several that are each a choice: this warns rather
// too little than too often.
func choices(licences []string) []string {
	var out []string
	for _, l := range licences {
		l = strings.NewReplacer("(", " ", ")", " ", " or ", " OR ", " and ", " AND ").Replace(l)
		for part := range strings.SplitSeq(strings.ReplaceAll(l, " AND ", " OR "), " OR ") {
			if part = strings.TrimSpace(part); part != "" {
				part, _, _ = strings.Cut(part, " WITH ")
				out = append(out, part)
			}
		}
	}
	return out
}
