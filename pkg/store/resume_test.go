package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/store/storetest"
)

func TestResumeDistrusts(t *testing.T) {
	b := blobOf(1, 6*step)
	desc := storetest.Blob(b)
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   int64
	}{
		{"nothing wrong", func(*testing.T, string) {}, 4 * step},
		{"more data than the journal knows", editData(func(b []byte) []byte { return append(b, "more"...) }), 4 * step},
		{"last piece changed", editData(func(b []byte) []byte { b[4*step-1] ^= 1; return b }), 0},
		{"data shorter than the journal says", editData(func(b []byte) []byte { return b[:4*step-1] }), 0},
		{"no data", editData(func([]byte) []byte { return nil }), 0},
		{"no journal", removeFile("f.journal"), 0},
		{"journal empty", editJournal(func(string) string { return "" }), 0},
		{"journal cut off", editJournal(func(s string) string { return s[:len(s)-1] }), 0},
		{"journal with part of a record", editJournal(func(s string) string { return s + "{}" }), 4 * step},
		{"journal with records that are none", editJournal(func(s string) string { return s + strings.Repeat(" ", 1<<20) }), 4 * step},
		{"journal of zeros", editJournal(func(s string) string { return strings.Repeat("\x00", len(s)) }), 0},
		{"journal of a later version", editJournal(fill(replace(`"version":1`, `"version":2`))), 0},
		{"journal of another blob", editJournal(fill(replace(desc.Digest.Encoded()[:8], "00000000"))), 0},
		{"journal of another size", editJournal(fill(replace(`"size":393216`, `"size":393217`))), 0},
		{"journal claims more", editJournal(fill(replace(`"length":262144`, `"length":327680`))), 0},
		{"journal claims more than all", editJournal(fill(replace(`"length":262144`, `"length":999999999`))), 0},
		{"journal claims less than nothing", editJournal(fill(replace(`"length":196608`, `"length":-1`))), 0},
		{"journal with another state", editJournal(fill(replace(`"state":"c2hhA`, `"state":"c2hhB`))), 0},
		{"after a restart", editJournal(fill(otherBoot)), 4 * step},
		{"after a restart that lost the beginning", both(
			editJournal(fill(otherBoot)), editData(func(b []byte) []byte { clear(b[:100]); return b })), 0},
		{"written where boots are not known", editJournal(fill(noBoot)), 4 * step},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := openRoot(t)
			p := openPartial(t, root, "f", desc)
			writeSteps(t, p, b, 4)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			test.damage(t, root.Name())
			p = openPartial(t, root, "f", desc)
			n, err := ingest(p, desc, b)
			if n != test.want || err != nil {
				t.Errorf("resumed from %d, %v, want %d", n, err, test.want)
			}
			if got, err := root.ReadFile("f"); err != nil || !bytes.Equal(got, b) {
				t.Errorf("file is wrong: %v", err)
			}
		})
	}
}

func editFile(name string, edit func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(b)
		if b = edit(b); bytes.Equal(b, before) {
			t.Fatal("nothing was changed")
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func editData(edit func([]byte) []byte) func(*testing.T, string) { return editFile("f.partial", edit) }

func editJournal(edit func(string) string) func(*testing.T, string) {
	return editFile("f.journal", func(b []byte) []byte { return []byte(edit(string(b))) })
}

// fill gives an edited journal its old length.
func fill(edit func(string) string) func(string) string {
	return func(s string) string {
		edited := strings.TrimRight(edit(s), " ")
		return edited + strings.Repeat(" ", len(s)-len(edited))
	}
}

func removeFile(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func replace(from, to string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, from, to) }
}

func both(one, two func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		one(t, dir)
		two(t, dir)
	}
}

func otherBoot(s string) string { return setBoot(s, "another boot") }
func noBoot(s string) string    { return setBoot(s, "") }

func setBoot(s, boot string) string {
	head, rest, _ := strings.Cut(s, `"boot":"`)
	_, tail, _ := strings.Cut(rest, `"`)
	return head + `"boot":"` + boot + `"` + tail
}
