package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// model goes through what is asked of the files.
func (j *judge) model(m Model) {
	f := j.facts.Model
	if len(m.Licenses) > 0 {
		j.licenses(m, f)
	}
	if len(m.Formats) > 0 {
		j.formats(m, f)
	}
	if m.CustomCode {
		j.add(RuleCustomCode, len(f.CustomCode) == 0, or(listed(f.CustomCode), "none"), "a model that is loaded without code that comes with it")
	}
	if m.MaxSize > 0 {
		j.add(RuleMaxSize, f.Size >= 0 && f.Size <= m.MaxSize, fmt.Sprintf("%d bytes", f.Size), fmt.Sprintf("at most %d bytes", m.MaxSize))
	}
	if len(m.BaseModels) > 0 {
		j.baseModels(m, f)
	}
	if m.MinVersion != "" {
		j.minVersion(m.MinVersion, f.Version)
	}
}

func (j *judge) licenses(m Model, f ModelFacts) {
	wanted := "a licence, and none but " + listed(m.Licenses)
	var bad []string
	for _, l := range f.Licenses {
		if !slices.Contains(m.Licenses, strings.ToLower(l)) {
			bad = append(bad, l)
		}
	}
	switch {
	case len(f.Licenses) == 0:
		j.add(RuleLicenses, false, "no licence", wanted)
	case len(bad) > 0:
		j.add(RuleLicenses, false, listed(bad), wanted)
	default:
		j.add(RuleLicenses, true, listed(f.Licenses), wanted)
	}
}

func (j *judge) formats(m Model, f ModelFacts) {
	var good, bad []string
	for _, format := range f.Formats {
		if slices.Contains(m.Formats, format.Name) {
			good = append(good, format.Name)
			continue
		}
		name := format.Name
		if format.Path != "" {
			name += " (" + format.Path + ")"
		}
		bad = append(bad, name)
	}
	if len(bad) > 0 {
		good = bad
	}
	j.add(RuleFormats, len(bad) == 0, or(listed(good), "no weights"), "no weights but in "+listed(m.Formats))
}

func (j *judge) baseModels(m Model, f ModelFacts) {
	var bad []string
	for _, base := range f.BaseModels {
		if !matchesAny(m.globs.bases, base) {
			bad = append(bad, base)
		}
	}
	found := or(listed(f.BaseModels), "none")
	if len(bad) > 0 {
		found = listed(bad)
	}
	j.add(RuleBaseModels, len(bad) == 0, found, "no base model but "+listed(m.BaseModels))
}

// minVersion compares what the version says that it is, and the tag where that
// is one, with the least that is allowed.
func (j *judge) minVersion(least, version string) {
	want, err := semver.StrictNewVersion(least)
	ok, compared := err == nil, false
	var found []string
	for _, text := range []string{version, j.facts.Tag} {
		v, err := semver.StrictNewVersion(strings.TrimPrefix(text, "v"))
		if err != nil {
			continue
		}
		compared = true
		ok = ok && !v.LessThan(want)
		found = append(found, v.String())
	}
	j.add(RuleMinVersion, ok && compared, or(strings.Join(slices.Compact(found), " and "), "neither a version in the manifest nor a tag that is one"), "at least "+least)
}
