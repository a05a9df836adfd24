package diff_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/diff"
)

func TestText(t *testing.T) {
	tests := map[string]struct {
		from, to string
		want     *diff.TextChange
	}{
		"same":  {"a\nb\n", "a\nb\n", nil},
		"empty": {"", "", nil},
		"one line": {"a\nb\nc\n", "a\nB\nc\n", &diff.TextChange{Added: 1, Removed: 1, Hunks: []diff.Hunk{
			{From: 1, To: 1, Lines: []string{" a", "-b", "+B", " c"}},
		}}},
		"line end": {"a\n", "a", &diff.TextChange{Added: 1, Removed: 1, Hunks: []diff.Hunk{
			{From: 1, To: 1, Lines: []string{"-a", "+a (no line end)"}},
		}}},
		"far apart": {"x\n1\n2\n3\n4\n5\n6\n7\ny\n", "X\n1\n2\n3\n4\n5\n6\n7\ny\nz\n", &diff.TextChange{Added: 2, Removed: 1, Hunks: []diff.Hunk{
			{From: 1, To: 1, Lines: []string{"-x", "+X", " 1", " 2", " 3"}},
			{From: 7, To: 7, Lines: []string{" 6", " 7", " y", "+z"}},
		}}},
		"from nothing": {"", "a\n", &diff.TextChange{Added: 1, Hunks: []diff.Hunk{{From: 1, To: 1, Lines: []string{"+a"}}}}},
		"to nothing":   {"a\n", "", &diff.TextChange{Removed: 1, Hunks: []diff.Hunk{{From: 1, To: 1, Lines: []string{"-a"}}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, diff.Text(tt.from, tt.to)); d != "" {
				t.Error(d)
			}
		})
	}
}

// What differs in everything ends in reasonable time and memory.
func TestTextOfStrangers(t *testing.T) {
	var a, b strings.Builder
	for i := range 50_000 {
		a.WriteString(strings.Repeat("a", i%7) + "\n")
		b.WriteString(strings.Repeat("b", i%5) + "\n")
	}
	got := diff.Text(a.String(), b.String())
	lines := 0
	for _, h := range got.Hunks {
		lines += len(h.Lines)
	}
	if !got.Truncated || lines > 400 || got.Added == 0 {
		t.Errorf("%d lines in hunks, truncated %v, +%d", lines, got.Truncated, got.Added)
	}
}

func TestWords(t *testing.T) {
	tests := map[string]struct {
		from, to string
		want     []diff.Word
	}{
		"same": {"a b", "a b", nil},
		"one": {"It is good at English.", "It is good at German.", []diff.Word{
			{Op: "=", Text: "It is good at "}, {Op: "-", Text: "English"}, {Op: "+", Text: "German"}, {Op: "=", Text: "."},
		}},
		"two side by side": {"the old thing", "the brand new thing", []diff.Word{
			{Op: "=", Text: "the "}, {Op: "-", Text: "old"}, {Op: "+", Text: "brand new"}, {Op: "=", Text: " thing"},
		}},
		"far from the beginning": {"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 x", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 y", []diff.Word{
			{Op: "=", Text: "…"}, {Op: "=", Text: "10 11 12 13 14 15 "}, {Op: "-", Text: "x"}, {Op: "+", Text: "y"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, diff.Words(tt.from, tt.to)); d != "" {
				t.Error(d)
			}
		})
	}
}

// apply makes the new text of the old one and the hunks.
func apply(t *testing.T, from string, c *diff.TextChange) string {
	t.Helper()
	lines := strings.SplitAfter(from, "\n")
	var out strings.Builder
	at := 0
	for _, h := range c.Hunks {
		for ; at < h.From-1; at++ {
			out.WriteString(lines[at])
		}
		for _, line := range h.Lines {
			text := line[1:] + "\n"
			if line[0] != '+' && lines[at] != text {
				t.Fatalf("hunk has %q where the text has %q", text, lines[at])
			}
			if line[0] != '-' {
				out.WriteString(text)
			}
			if line[0] != '+' {
				at++
			}
		}
	}
	return out.String() + strings.Join(lines[at:], "")
}

// What the hunks say, done to the old text, gives the new one.
func FuzzText(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\nd\n")
	f.Add("", "x\n")
	f.Add("\n\n\n", "\n")
	f.Add("a\nb\na\nb\na\n", "b\na\nb\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ReplaceAll(a, "(no line end)", "")+"\n", strings.ReplaceAll(b, "(no line end)", "")+"\n"
		c := diff.Text(a, b)
		if c == nil {
			if a != b {
				t.Fatal("different texts are said to be the same")
			}
			return
		}
		if c.Truncated {
			return
		}
		if got := apply(t, a, c); got != b {
			t.Errorf("%q with the changes to %q is %q", a, b, got)
		}
		var from, to strings.Builder
		elided := false
		for _, w := range diff.Words(a, b) {
			elided = elided || w.Text == "…"
			if w.Op != "+" {
				from.WriteString(w.Text)
			}
			if w.Op != "-" {
				to.WriteString(w.Text)
			}
		}
		if !elided && (from.String() != a || to.String() != b) {
			t.Errorf("words make %q and %q of %q and %q", from.String(), to.String(), a, b)
		}
	})
}
