package card

import (
	"fmt"
	"strings"
)

// Needed stands where only a person knows what to say. Hubs and [Card.Lint] know it
// as a placeholder.
const Needed = "[More Information Needed]"

// A Draft is what the files of a model say, to begin a card with. Empty fields are
// left out, or asked for.
type Draft struct {
	Name         string
	License      string // as in front matter
	Library      string
	Task         string
	Languages    []string
	BaseModels   []string
	BaseRelation string

	// Facts are lines of a table: what it is called, and the value.
	Facts [][2]string
}

// Readme writes a card: front matter with what is known, the facts as a table, and
// the sections that readers look for, with [Needed] where somebody has to write.
// Comments in it say what belongs there.
func (d Draft) Readme() ([]byte, error) {
	var edits []Edit
	set := func(key, v string) {
		if v != "" {
			edits = append(edits, Edit{Key: key, Value: v})
		}
	}
	set("license", d.License)
	set("language", strings.Join(d.Languages, ","))
	set("library_name", d.Library)
	set("pipeline_tag", d.Task)
	set("base_model", strings.Join(d.BaseModels, ","))
	set("base_model_relation", d.BaseRelation)
	return Rewrite([]byte(d.body()), edits...)
}

func (d Draft) body() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- What the model is, in a paragraph. -->\n%s\n", plain(d.Name), Needed)
	if len(d.Facts) > 0 {
		b.WriteString("\n| | |\n| --- | --- |\n")
		for _, f := range d.Facts {
			fmt.Fprintf(&b, "| %s | %s |\n", plain(f[0]), plain(f[1]))
		}
	}
	for _, s := range [][2]string{
		{"Intended use", "Who should use it, for what; and what it must not be used for."},
		{"How to use", "Code that works as it is pasted."},
		{"Limitations", "Where it fails, and how one notices."},
		{"Bias and risks", "Whom it serves worse than others, and what harm it could do."},
		{"Training data", "What it has seen, with names and revisions of datasets, and what was left out."},
		{"Training procedure", "How it was trained: code, hyperparameters, hardware."},
		{"Evaluation", "Numbers, with the datasets and their revisions; model-index in the front matter is read by programs."},
		{"Environmental impact", "Energy and emissions of training, as co2_eq_emissions in the front matter too."},
		{"Contact and citation", "Who answers questions, and how to cite it."},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n<!-- %s -->\n%s\n", s[0], s[1], Needed)
	}
	return b.String()
}

// plain makes text from files safe in a line of Markdown.
func plain(s string) string {
	s = escapeControls(cut(strings.Join(strings.Fields(s), " "), maxReason))
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "[", "\\[", "`", "\\`", "*", "\\*").Replace(s)
}

// LicenseOfText tells which licence a text is, by words that only that one has, as
// an identifier for front matter; "" if it does not know.
func LicenseOfText(text string) string {
	const looked = 16 << 10
	t := strings.ToLower(strings.Join(strings.Fields(text[:min(len(text), looked)]), " "))
	for _, known := range []struct {
		id    string
		words []string
	}{
		{"apache-2.0", []string{"apache license", "version 2.0"}},
		{"agpl-3.0", []string{"gnu affero general public license", "version 3"}},
		{"lgpl-3.0", []string{"gnu lesser general public license", "version 3"}},
		{"gpl-3.0", []string{"gnu general public license", "version 3"}},
		{"gpl-2.0", []string{"gnu general public license", "version 2"}},
		{"mpl-2.0", []string{"mozilla public license", "2.0"}},
		{"cc-by-nc-sa-4.0", []string{"attribution-noncommercial-sharealike 4.0"}},
		{"cc-by-nc-4.0", []string{"attribution-noncommercial 4.0"}},
		{"cc-by-sa-4.0", []string{"attribution-sharealike 4.0"}},
		{"cc-by-4.0", []string{"attribution 4.0 international"}},
		{"cc0-1.0", []string{"cc0 1.0 universal"}},
		{"llama3.3", []string{"llama 3.3 community license"}},
		{"llama3.2", []string{"llama 3.2 community license"}},
		{"llama3.1", []string{"llama 3.1 community license"}},
		{"llama3", []string{"llama 3 community license"}},
		{"llama2", []string{"llama 2 community license"}},
		{"gemma", []string{"gemma terms of use"}},
		{"bigscience-bloom-rail-1.0", []string{"bigscience rail license"}},
		{"creativeml-openrail-m", []string{"creativeml open rail-m"}},
		{"unlicense", []string{"this is free and unencumbered software"}},
		{"isc", []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"}},
		{"bsd-3-clause", []string{"redistribution and use in source and binary forms", "neither the name of"}},
		{"bsd-2-clause", []string{"redistribution and use in source and binary forms"}},
		{"mit", []string{"permission is hereby granted, free of charge, to any person obtaining a copy"}},
	} {
		all := true
		for _, w := range known.words {
			all = all && strings.Contains(t, w)
		}
		if all {
			return known.id
		}
	}
	return ""
}
