package scan_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

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

// errBroken is a failure of a disk or network.
var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

// What cannot be read is an error, and no finding.
func TestReadErrors(t *testing.T) {
	_, err := scan.Scan(t.Context(), scan.Files(scan.File{Path: "a", Size: 10, At: brokenReader{}}), scan.Options{})
	if !errors.Is(err, errBroken) {
		t.Errorf("error %v, want that of the reader", err)
	}
	short := scan.File{Path: "a.pkl", Size: 100, At: bytes.NewReader([]byte("\x80\x02N."))}
	if _, err := scan.Scan(t.Context(), scan.Files(short), scan.Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want that the file is shorter than it was", err)
	}
	failing := func(yield func(scan.File, error) bool) { yield(scan.File{}, errBroken) }
	if _, err := scan.Scan(t.Context(), failing, scan.Options{}); !errors.Is(err, errBroken) {
		t.Errorf("error %v, want that of the files", err)
	}
}

// Time is a limit like others; a caller that gives up is an error.
func TestTime(t *testing.T) {
	long := append([]byte("\x80\x02"), bytes.Repeat([]byte("N0"), 8<<20)...)
	report, err := scan.Scan(t.Context(), scan.Files(file("a.pkl", long)), scan.Options{Timeout: time.Microsecond})
	if err != nil || report.Verdict != scan.Unscannable || !slices.Contains(rules(report), "limit-time") {
		t.Errorf("%v %v", report, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scan.Scan(ctx, scan.Files(file("a.pkl", long)), scan.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
}

// One bad file does not hide behind many good ones, nor the other way.
func TestManyFiles(t *testing.T) {
	report, err := scan.Scan(t.Context(), scan.Files(file("a.pkl", evil), file("b.pkl", good), file("c.7z", []byte("7z\xbc\xaf\x27\x1c"))), scan.Options{})
	if err != nil || report.Files != 3 || report.Verdict != scan.Dangerous || len(report.Findings) != 2 {
		t.Errorf("%v %v", report, err)
	}
}
