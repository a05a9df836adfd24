package card_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

// A draft says what it was told, and nothing more: all else is a placeholder.
func TestDraft(t *testing.T) {
	d := card.Draft{
		Name: "support|<b>", License: "apache-2.0", Library: "peft", Task: "text-generation", Languages: []string{"en", "no"},
		BaseModels: []string{"acme/base"}, BaseRelation: "adapter", Facts: [][2]string{{"parameters", "7.2B"}},
	}
	raw, err := d.Readme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := card.Parse(raw)
	if err != nil || c.Problem != nil {
		t.Fatal(err, c.Problem)
	}
	want := card.Metadata{
		Licenses: []string{"apache-2.0"}, Library: "peft", Task: "text-generation", Languages: []string{"en", "no"},
		BaseModels: []string{"acme/base"}, BaseRelation: "adapter",
	}
	if diff := cmp.Diff(want, c.Meta); diff != "" {
		t.Error(diff)
	}
	r, err := c.Lint(card.LintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Sections {
		if s.ID != "metadata" && s.ID != "description" && (s.State != card.SectionPlaceholder || s.Points != 0) {
			t.Errorf("%s is %s with %d points", s.ID, s.State, s.Points)
		}
	}
	if !strings.Contains(string(raw), "# support\\|&lt;b>\n") {
		t.Errorf("the name is not text: %s", raw)
	}
	if raw, err := (card.Draft{Name: "x"}).Readme(); err != nil || strings.HasPrefix(string(raw), "---") {
		t.Errorf("nothing is known, and there is front matter: %q, %v", raw, err)
	}
	if _, err := (card.Draft{License: "a\nb"}).Readme(); !errors.Is(err, card.ErrEdit) {
		t.Errorf("error %v", err)
	}
}

func TestLicenseOfText(t *testing.T) {
	apache, err := os.ReadFile(filepath.Join("..", "..", "examples", "digits", "model", "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		string(apache): "apache-2.0",
		"MIT License\n\nPermission is hereby granted, free of charge,\nto any person obtaining a copy": "mit",
		"LLAMA 3.1 COMMUNITY LICENSE AGREEMENT":                                                        "llama3.1",
		"GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007":                                         "gpl-3.0",
		"Creative Commons Attribution-NonCommercial 4.0 International":                                 "cc-by-nc-4.0",
		"All rights reserved.": "",
		"":                     "",
	} {
		if got := card.LicenseOfText(text); got != want {
			t.Errorf("%.40q is %q, want %q", text, got, want)
		}
	}
}
