package scan_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

var writeDocs = flag.Bool("write-docs", false, "write the table of rules in docs/scan.md instead of comparing with it")

// TestDocs holds the table of rules in the manual against the rules.
func TestDocs(t *testing.T) {
	const begin = "<!-- The table is written by \"make docs\". -->\n"
	name := filepath.Join("..", "..", "..", "docs", "scan.md")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, table, ok := strings.Cut(string(raw), begin)
	if !ok {
		t.Fatalf("%s has no place for the table", name)
	}
	var want strings.Builder
	want.WriteString("\n| rule | severity | verdict | what it finds |\n| --- | --- | --- | --- |\n")
	for _, r := range scan.Rules() {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", r.ID, r.Severity, r.Verdict, r.Meaning)
	}
	if *writeDocs {
		if err := os.WriteFile(name, []byte(text+begin+want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), table); diff != "" {
		t.Errorf("%s is out of date (run: make docs):\n%s", name, diff)
	}
}

func TestRules(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := make(map[string]bool)
	for _, r := range scan.Rules() {
		if seen[r.ID] || !id.MatchString(r.ID) {
			t.Errorf("rule %q is there twice or has an odd name", r.ID)
		}
		seen[r.ID] = true
		if !strings.HasSuffix(r.Meaning, ".") || strings.ContainsAny(r.Meaning, "|\n") {
			t.Errorf("%s: %q is no sentence that fits into a table", r.ID, r.Meaning)
		}
		// What is not scanned is no small matter, and what is dangerous a large one.
		if r.Verdict == scan.Unscannable && !r.Severity.AtLeast(scan.Medium) || r.Verdict == scan.Dangerous && !r.Severity.AtLeast(scan.High) {
			t.Errorf("%s: severity %s with verdict %s", r.ID, r.Severity, r.Verdict)
		}
	}
}
