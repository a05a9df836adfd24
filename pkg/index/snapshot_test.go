package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/modelreg/modelreg/internal/testcards"
	"github.com/modelreg/modelreg/pkg/index"
)

func snapshotOf(t *testing.T, ix *index.Index, keep func(string) bool) ([]byte, index.SnapshotStats) {
	t.Helper()
	var b bytes.Buffer
	s, err := ix.WriteSnapshot(t.Context(), &b, keep)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), s
}

func compressed(text string) []byte {
	enc, _ := zstd.NewWriter(nil) // fails only for bad options
	return enc.EncodeAll([]byte(text), nil)
}

func readAll(t *testing.T, r io.Reader) ([]index.Record, error) {
	t.Helper()
	var all []index.Record
	_, err := index.ReadSnapshot(t.Context(), r, func(batch []index.Record) error {
		all = append(all, batch...)
		return nil
	})
	return all, err
}

func TestSnapshotIsTheSameInAnyOrder(t *testing.T) {
	records := slices.Collect(testcards.Records(3, 40))
	one := open(t, records...)
	other := open(t)
	for part := range slices.Chunk(reversed(records), 23) {
		if err := other.Put(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, stats := snapshotOf(t, one, nil)
	again, _ := snapshotOf(t, other, nil)
	if !bytes.Equal(snapshot, again) {
		t.Error("the same records give other bytes when they come in another order")
	}
	read, err := readAll(t, bytes.NewReader(snapshot))
	if err != nil {
		t.Fatal(err)
	}
	if len(read) != 40 || stats.Versions != 40 {
		t.Fatalf("%d records were read, and %d written, of 40", len(read), stats.Versions)
	}
	copied := open(t, read...)
	third, _ := snapshotOf(t, copied, nil)
	if !bytes.Equal(snapshot, third) {
		t.Error("a snapshot of what was read of a snapshot is another one")
	}
	name := read[0].Repository
	_, stats = snapshotOf(t, one, func(r string) bool { return r == name })
	if stats.Repositories != 1 {
		t.Errorf("a snapshot of one repository has %d", stats.Repositories)
	}
}

const sum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85"

func line(repository string, last int, more string) string {
	return fmt.Sprintf("{\"repository\":%q,\"digest\":\"%s%x\"%s}\n", repository, sum, last, more)
}

func TestReadSnapshotRefuses(t *testing.T) {
	good := line("reg.io/a/b", 1, "")
	long := strings.Repeat("x", 1<<20)
	tests := map[string][]byte{
		"no zstd":          []byte(good),
		"cut off":          compressed(good)[:30],
		"half a line":      compressed(good + strings.TrimSuffix(line("reg.io/a/c", 1, ""), "\n")),
		"no JSON":          compressed("records\n"),
		"empty line":       compressed(good + "\n"),
		"a list":           compressed("[]\n"),
		"long line":        compressed(line("reg.io/a/b", 1, `,"card":"`+long+`"`)),
		"grows":            compressed(line("reg.io/a/b", 1, `,"keywords":["`+strings.Repeat(strings.Repeat("<", 500)+`","`, 64)+`"],"datasets":["`+strings.Repeat(strings.Repeat("<", 500)+`","`, 64)+`"],"formats":["`+strings.Repeat(strings.Repeat("<", 500)+`","`, 64)+`"],"licenses":["`+strings.Repeat(strings.Repeat("<", 500)+`","`, 64)+`"],"languages":["`+strings.Repeat(strings.Repeat("<", 500)+`","`, 64)+`"],"tags":["`+strings.Repeat(strings.Repeat("<", 500)+`","`, 64)+`"]`)),
		"not sorted":       compressed(line("reg.io/a/b", 2, "") + good),
		"twice":            compressed(good + good),
		"name twice":       compressed(line("reg.io/a/b", 1, `,"digest":"`+sum+`2"`)),
		"no repository":    compressed(line("", 1, "")),
		"space":            compressed(line("reg.io/a b", 1, "")),
		"escape":           compressed(line("reg.io/a\x1b[31m", 1, "")),
		"no digest":        compressed(`{"repository":"reg.io/a/b","digest":"latest"}` + "\n"),
		"unknown status":   compressed(line("reg.io/a/b", 1, `,"status":"blessed"`)),
		"negative":         compressed(line("reg.io/a/b", 1, `,"size":-1`)),
		"no number":        compressed(line("reg.io/a/b", 1, `,"metrics":[{"name":"x","value":1e999}]`)),
		"time out of ISO":  compressed(line("reg.io/a/b", 1, `,"updated":"9999-12-31T23:59:59-23:00"`)),
		"window too large": window(t, good),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := readAll(t, bytes.NewReader(raw)); !errors.Is(err, index.ErrSnapshot) {
				t.Errorf("%d records, error %v", len(got), err)
			}
		})
	}
}

// window compresses a text that asks for more memory than it may.
func window(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := enc.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := enc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadSnapshotComesInParts(t *testing.T) {
	var b strings.Builder
	for i := range 10_000 {
		b.WriteString(line(fmt.Sprintf("reg.io/a/m%05d", i), 1, ""))
	}
	var parts []int
	s, err := index.ReadSnapshot(t.Context(), bytes.NewReader(compressed(b.String())), func(batch []index.Record) error {
		parts = append(parts, len(batch))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{4096, 4096, 1808}, parts); diff != "" {
		t.Error(diff)
	}
	if s.Repositories != 10_000 || s.Versions != 10_000 {
		t.Errorf("counted %+v", s)
	}
	stop := errors.New("stop")
	if _, err := index.ReadSnapshot(t.Context(), bytes.NewReader(compressed(b.String())), func([]index.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v, want that of the user", err)
	}
}

func TestDistrust(t *testing.T) {
	r := index.Record{
		Repository: "reg.io/a/b", Status: index.Yanked, Signed: true, Verified: true, Signers: []string{"ada@example.com"},
		Attached: sum, Updated: time.Unix(1, 0).UTC(), Metrics: []index.Metric{{Name: "mmlu", Value: 1, Class: "trusted"}},
	}
	r.Distrust()
	want := index.Record{
		Repository: "reg.io/a/b", Status: index.Yanked, Signed: true, Attached: "unread",
		Updated: time.Unix(1, 0).UTC(), Metrics: []index.Metric{{Name: "mmlu", Value: 1, Class: "claimed"}},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

// FuzzReadSnapshot reads lines, so that the fuzzer need not find out how to
// compress: what is taken must be kept and written again.
func FuzzReadSnapshot(f *testing.F) {
	f.Add([]byte(line("reg.io/a/b", 1, "")))
	f.Add([]byte(line("reg.io/a/b", 1, `,"tags":["v1"],"latest":true,"updated":"2026-01-02T03:04:05Z","status":"yanked","card":"words \ud800 <&>"`) +
		line("reg.io/a/b", 2, `,"metrics":[{"name":"mmlu","value":0.5,"class":"trusted"}],"bases":[{"name":"hf:x/y"}],"signers":["a"]`)))
	f.Add([]byte("[]\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := readAll(t, bytes.NewReader(compressed(string(text))))
		if err != nil {
			if !errors.Is(err, index.ErrSnapshot) {
				t.Fatalf("error %v is of no class", err)
			}
			return
		}
		var b bytes.Buffer
		for _, r := range first {
			raw, err := index.Canonical(&r)
			if err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			b.Write(append(raw, '\n'))
		}
		second, err := readAll(t, bytes.NewReader(compressed(b.String())))
		if diff := cmp.Diff(first, second); err != nil || diff != "" {
			t.Fatalf("read again: %v\n%s", err, diff)
		}
	})
}

func reversed(records []index.Record) []index.Record {
	list := slices.Clone(records)
	slices.Reverse(list)
	return list
}
