package scan

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/card"
)

// maxLicence bounds the texts of licences. The longest in use have some 50 KiB.
const maxLicence = 1 << 20

// licenceHead is where a licence says what it is called, in bytes of its text
// with single spaces.
const licenceHead = 2000

// A licencePhrase is by what the text of a licence is known.
type licencePhrase struct {
	id   string // as the Hugging Face Hub and SPDX spell it
	head string // in the beginning, in lower case; "" for none
	body string // anywhere; "" for none
	not  string // nowhere; "" for none
}

// licencePhrases are asked in this order, so that what quotes another licence
// comes first.
var licencePhrases = []licencePhrase{
	{id: "agpl-3.0", head: "gnu affero general public license version 3"},
	{id: "lgpl-3.0", head: "gnu lesser general public license version 3"},
	{id: "lgpl-2.1", head: "gnu lesser general public license version 2.1"},
	{id: "gpl-3.0", head: "gnu general public license version 3"},
	{id: "gpl-2.0", head: "gnu general public license version 2"},
	{id: "mpl-2.0", head: "mozilla public license version 2.0"},
	{id: "mpl-2.0", head: "mozilla public license, version 2.0"},
	{id: "llama3.3", head: "llama 3.3 community license agreement"},
	{id: "llama3.2", head: "llama 3.2 community license agreement"},
	{id: "llama3.1", head: "llama 3.1 community license agreement"},
	{id: "llama3", head: "meta llama 3 community license agreement"},
	{id: "llama2", head: "llama 2 community license agreement"},
	{id: "gemma", head: "gemma terms of use"},
	{id: "bigcode-openrail-m", head: "bigcode open rail-m"},
	{id: "bigcode-openrail-m", head: "bigcode openrail-m"},
	{id: "bigscience-bloom-rail-1.0", head: "bigscience rail license"},
	{id: "bigscience-openrail-m", head: "bigscience open rail-m"},
	{id: "creativeml-openrail-m", head: "creativeml open rail-m"},
	{id: "openrail++", head: "creativeml open rail++-m"},
	{id: "cc-by-nc-sa-4.0", head: "attribution-noncommercial-sharealike 4.0 international"},
	{id: "cc-by-nc-nd-4.0", head: "attribution-noncommercial-noderivatives 4.0 international"},
	{id: "cc-by-nc-4.0", head: "attribution-noncommercial 4.0 international"},
	{id: "cc-by-sa-4.0", head: "attribution-sharealike 4.0 international"},
	{id: "cc-by-nd-4.0", head: "attribution-noderivatives 4.0 international"},
	{id: "cc-by-4.0", head: "attribution 4.0 international"},
	{id: "cc0-1.0", head: "cc0 1.0 universal"},
	{id: "apache-2.0", head: "apache license version 2.0"},
	{id: "apache-2.0", head: "licensed under the apache license, version 2.0"},
	{id: "unlicense", head: "this is free and unencumbered software released into the public domain"},
	{id: "bsl-1.0", head: "boost software license - version 1.0"},
	{id: "isc", body: "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice"},
	{id: "mit", body: "permission is hereby granted, free of charge, to any person obtaining a copy", not: "neither the name"},
	{id: "bsd-3-clause", body: "redistribution and use in source and binary forms, with or without modification, are permitted provided", head: ""},
	{id: "wtfpl", head: "do what the fuck you want to public license"},
	{id: "artistic-2.0", head: "the artistic license 2.0"},
	{id: "openmdw-1.0", head: "openmdw license agreement, version 1.0"},
}

// licenceOf tells which licence a text is, "" if it is none of those known.
func licenceOf(text string) string {
	text = plain(text)
	head := text[:min(len(text), licenceHead)]
	for _, p := range licencePhrases {
		if !strings.Contains(head, p.head) || !strings.Contains(text, p.body) || p.not != "" && strings.Contains(text, p.not) {
			continue
		}
		if p.id == "bsd-3-clause" && !strings.Contains(text, "neither the name") {
			return "bsd-2-clause"
		}
		return p.id
	}
	return ""
}

// plain is a text in lower case with single spaces and without the marks of
// Markdown and typography.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		switch r {
		case '#', '*', '_', '`', '"', '“', '”':
			return -1
		}
		return r
	}, strings.ToLower(text))
	return strings.Join(strings.Fields(text), " ")
}

// A collection is what is noted of the files of a model, to be compared when
// all have been seen.
type collection struct {
	card     string   // path of the card; "" if none has been seen
	declared []string // the card's licences
	texts    []licenceText
}

// maxLicenceTexts bounds how many texts are noted.
const maxLicenceTexts = 100

// A licenceText is a file that holds a licence.
type licenceText struct {
	path, id string
}

// add notes what a file is compared by.
func (c *collection) add(path string, r Result) {
	if r.Licence != "" && len(c.texts) < maxLicenceTexts {
		c.texts = append(c.texts, licenceText{path, r.Licence})
	}
	if len(r.Declared) > 0 {
		c.card, c.declared = path, r.Declared
	}
}

// noteLicence notes the licence that a card declares, and the one that a text
// is, of files at the top of a model.
func noteLicence(s *session, in *input) error {
	if in.depth > 0 || path.Dir(in.path) != "." {
		return nil
	}
	name := in.base()
	switch stem := strings.TrimSuffix(strings.TrimSuffix(name, ".txt"), ".md"); {
	case name == "readme.md":
		return s.noteCard(in)
	case strings.HasPrefix(stem, "license"), strings.HasPrefix(stem, "licence"), stem == "copying", stem == "unlicense":
		data, err := in.bytes(maxLicence)
		if err != nil || data == nil || bytes.IndexByte(data, 0) >= 0 {
			return err
		}
		s.result.Licence = licenceOf(string(data))
	}
	return nil
}

func (s *session) noteCard(in *input) error {
	data, err := in.bytes(card.MaxBytes)
	if err != nil || data == nil {
		return err
	}
	c, err := card.Parse(data)
	if err != nil {
		return nil //nolint:nilerr // a card that cannot be read declares nothing
	}
	s.result.Declared = c.Meta.Licenses
	return nil
}

// compare returns findings about the licence. A model may have texts of several
// licences, for its code and its weights: one of them must be a declared one. A
// licence that is not on the list, such as "other", can be any text.
func (c *collection) compare() []Finding {
	if len(c.texts) == 0 || len(c.declared) == 0 {
		return nil
	}
	known := false
	for _, id := range c.declared {
		id = strings.ToLower(id)
		if !slices.ContainsFunc(licencePhrases, func(p licencePhrase) bool { return p.id == id }) && id != "bsd-2-clause" {
			return nil
		}
		known = true
		if slices.ContainsFunc(c.texts, func(t licenceText) bool { return t.id == id }) {
			return nil
		}
	}
	if !known {
		return nil
	}
	s := &session{seen: make(map[string]bool)}
	s.add(&input{path: c.texts[0].path}, "licence-mismatch", 0, "the text is that of %s; %s declares %.100s",
		c.texts[0].id, c.card, strings.Join(c.declared, ", "))
	return s.result.Findings
}
