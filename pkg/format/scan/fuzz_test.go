package scan_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// addFiles adds the files of testdata and those that tests build.
func addFiles(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/[dsu]*/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		if strings.HasPrefix(filepath.Base(name), "large") {
			continue // takes too long
		}
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 8<<10 {
			f.Add(b)
		}
	}
	for _, build := range ways {
		f.Add(build("os", "getcwd"))
	}
	for _, open := range compressors {
		var b bytes.Buffer
		w := open(&b)
		w.Write(evil) //nolint:errcheck // a bytes.Buffer takes everything
		w.Close()     //nolint:errcheck // as above
		f.Add(b.Bytes())
	}
	f.Add(legacyTorch(tensor, 16))
	f.Add(torchZip(good))
	f.Add(wrapper("f4", 2, []byte("\x00\x00\x00\x00\x00\x00\x00\x00")))
}

// Whatever stands behind the import of a dangerous function, in whatever is
// called a pickle, the file is not safe; nor is it with one behind its end.
func FuzzPickle(f *testing.F) {
	addFiles(f)
	first := asm(nil).global("os", "getcwd")
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := run(t, "a.pkl", slices.Concat(first, b)); got.Verdict == scan.Safe {
			t.Errorf("safe: %q", b)
		}
		alone := run(t, "a.pkl", b)
		if alone.Verdict == scan.Safe && len(b) > 0 {
			if got := run(t, "a.pkl", slices.Concat(b, evil)); got.Verdict == scan.Safe {
				t.Errorf("safe with another behind it: %q", b)
			}
		}
	})
}

// A report is the same each time, tells offsets in the file, and is safe only
// without findings that say otherwise.
func FuzzScan(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, opts := range []scan.Options{{}, {Sparse: true}} {
			got, err := scan.Scan(t.Context(), scan.Files(file("model.pt", b)), opts)
			if err != nil {
				t.Fatal(err)
			}
			again, err := scan.Scan(t.Context(), scan.Files(file("model.pt", bytes.Clone(b))), opts)
			if diff := cmp.Diff(got, again); diff != "" || err != nil {
				t.Errorf("the second time: %v\n%s", err, diff)
			}
			for _, found := range got.Findings {
				if found.Path == "model.pt" && (found.Offset < 0 || found.Offset > int64(len(b))) {
					t.Errorf("offset %d of %d", found.Offset, len(b))
				}
			}
		}
	})
}

// BenchmarkPickle follows the opcodes of a dictionary of tensors.
func BenchmarkPickle(b *testing.B) {
	a := asm(nil).proto(2).raw("}(")
	for range 20_000 {
		a = a.text("model.layers.0.self_attn.q_proj.weight").raw(tensor)
	}
	benchmark(b, "model.pkl", bytes.ReplaceAll(a.raw("u").stop(), []byte("NtQ"), []byte("Nt0N")))
}

// BenchmarkArchive compares the checksum of a PyTorch archive's storages.
func BenchmarkArchive(b *testing.B) {
	benchmark(b, "model.pt", torchZip(bytes.Repeat([]byte("N0"), 10), member("m/data/0", make([]byte, 64<<20))))
}

func benchmark(b *testing.B, name string, data []byte) {
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scan.Scan(b.Context(), scan.Files(file(name, data)), scan.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever another scanner answers, what is found in it is about files that were
// asked about, and has a severity.
func FuzzParseSARIF(f *testing.F) {
	f.Add([]byte(`{"version":"2.1.0","runs":[{"tool":{"driver":{"rules":[{"id":"r","properties":{"security-severity":"9.1"}}]}},"results":[{"ruleId":"r",` +
		`"message":{"text":"bad"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.bin"},"region":{"byteOffset":-1}}}]}]}]}`))
	f.Add([]byte(`{"version":"2.1.0","runs":[{"results":[{"level":"error"},{"kind":"pass"}]}]}`))
	f.Add([]byte(`{"version":"2.1.0","runs":[null]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		findings, err := scan.ParseSARIF(raw, "other", func(uri string) (string, bool) { return uri, uri == "a.bin" })
		if err != nil {
			return
		}
		for _, f := range findings {
			if f.Path != "" && f.Path != "a.bin" || f.Offset < 0 || f.Message == "" || !strings.HasPrefix(f.Rule, "other:") || !f.Severity.AtLeast(scan.None) {
				t.Errorf("%+v", f)
			}
		}
	})
}
