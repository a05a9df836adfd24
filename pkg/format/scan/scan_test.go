package scan_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// file is a File of bytes.
func file(name string, b []byte) scan.File {
	return scan.File{Path: name, Size: int64(len(b)), At: bytes.NewReader(b)}
}

// run scans one file.
func run(t *testing.T, name string, b []byte) *scan.Report {
	t.Helper()
	report, err := scan.Scan(t.Context(), scan.Files(file(name, b)), scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// rules returns the rules of a report's findings, in order and each once.
func rules(report *scan.Report) []string {
	var ids []string
	seen := make(map[string]bool)
	for _, f := range report.Findings {
		if !seen[f.Rule] {
			seen[f.Rule] = true
			ids = append(ids, f.Rule)
		}
	}
	return ids
}

func TestPrograms(t *testing.T) {
	tests := map[string]struct {
		content string
		verdict scan.Verdict
		rules   []string
	}{
		"text":   {"hello\n", scan.Safe, nil},
		"empty":  {"", scan.Safe, nil},
		"ELF":    {"\x7fELF\x02\x01\x01", scan.Dangerous, []string{"executable"}},
		"script": {"#!/bin/sh\necho\n", scan.Unknown, []string{"script"}},
		"7z":     {"7z\xbc\xaf\x27\x1c\x00", scan.Unscannable, []string{"archive-closed"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "a.md", []byte(test.content))
			if diff := cmp.Diff(test.rules, rules(got)); diff != "" || got.Verdict != test.verdict {
				t.Errorf("verdict %s, want %s; rules (-want +got):\n%s", got.Verdict, test.verdict, diff)
			}
		})
	}
}

func TestRulesAreOfOneKind(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range scan.Rules() {
		if seen[r.ID] || r.Meaning == "" || r.Severity == "" || r.Verdict == "" {
			t.Errorf("rule %q is there twice or says too little", r.ID)
		}
		seen[r.ID] = true
	}
}
