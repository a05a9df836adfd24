package scan_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/scan"
)

func xzed(w io.Writer) io.WriteCloser   { z, _ := xz.NewWriter(w); return z }
func lzmaed(w io.Writer) io.WriteCloser { z, _ := lzma.NewWriter(w); return z }
func lz4ed(w io.Writer) io.WriteCloser  { return &lz4Writer{w: w} }

// An lz4Writer writes a frame without checksums, of blocks that are as they are,
// or one byte many times.
type lz4Writer struct {
	w    io.Writer
	data []byte
}

func (w *lz4Writer) Write(p []byte) (int, error) { w.data = append(w.data, p...); return len(p), nil }

func (w *lz4Writer) Close() error {
	frame := []byte("\x04\x22\x4d\x18\x60\x70\x73") // independent blocks of up to 4 MiB
	for chunk := range slices.Chunk(w.data, 4<<20) {
		block, flag := chunk, uint32(1<<31)
		if n := len(chunk); n > 300 && bytes.Count(chunk, chunk[:1]) == n {
			block, flag = append([]byte{0x1f, chunk[0], 1, 0}, bytes.Repeat([]byte{255}, (n-1-4-15)/255)...), 0
			block = append(block, byte((n-1-4-15)%255), 0)
		}
		frame = append(binary.LittleEndian.AppendUint32(frame, uint32(len(block))|flag), block...)
	}
	_, err := w.w.Write(append(frame, 0, 0, 0, 0))
	return err
}

// compressors are those of joblib that Go's own packages do not have.
var compressors = map[string]func(io.Writer) io.WriteCloser{"xz": xzed, "lzma": lzmaed, "lz4": lz4ed}

// What other tools have packed is unpacked to the same bytes: what is called at
// its end is found there, and nothing else.
func TestPackedElsewhere(t *testing.T) {
	const atEnd, atLargeEnd = 433055, 26214408
	files, err := filepath.Glob("testdata/dangerous/long_*")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	more, err := filepath.Glob("testdata/dangerous/joblib_*")
	if err != nil || len(more) != 3 {
		t.Fatal(more, err)
	}
	large, err := filepath.Glob("testdata/dangerous/large*") // than what is held
	if err != nil || len(large) != 2 {
		t.Fatal(large, err)
	}
	for _, name := range slices.Concat(files, more, large) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, filepath.Base(name), b).Findings
			if len(got) != 1 || got[0].Rule != "pickle-dangerous-import" || !strings.Contains(got[0].Message, "posix.getcwd") {
				t.Fatalf("found %v", got)
			}
			if strings.Contains(name, "long") && got[0].Offset != atEnd || strings.Contains(name, "large") && got[0].Offset != atLargeEnd {
				t.Errorf("found at %d", got[0].Offset)
			}
		})
	}
}

func TestPackedPicklesOfJoblib(t *testing.T) {
	for format, open := range compressors {
		t.Run(format, func(t *testing.T) {
			ok, bad := packed(t, open, good), packed(t, open, evil)
			tests := map[string]struct {
				data    []byte
				verdict scan.Verdict
				rule    string
			}{
				"good":              {ok, scan.Safe, ""},
				"bad":               {bad, scan.Dangerous, "pickle-dangerous-import"},
				"twice":             {packed(t, open, bad), scan.Dangerous, "pickle-dangerous-import"},
				"in gzip":           {packed(t, gzipped, bad), scan.Dangerous, "pickle-dangerous-import"},
				"in zip":            {plainZip(zip.Deflate, testmodel.Member{Name: "m/data.pkl", Data: bad}), scan.Dangerous, "pickle-dangerous-import"},
				"as numbers":        {torchZip(good, testmodel.Member{Name: "m/data/0", Data: bad}), map[string]scan.Verdict{"lzma": scan.Safe}[format], ""},
				"bytes behind":      {append(slices.Clone(ok), "junk"...), scan.Unscannable, "compressed-malformed"},
				"bad, bytes behind": {append(slices.Clone(bad), "junk"...), scan.Dangerous, "compressed-malformed"},
				"a pickle behind":   {append(slices.Clone(ok), evil...), scan.Unscannable, "compressed-malformed"},
			}
			for name, test := range tests {
				t.Run(name, func(t *testing.T) {
					got := run(t, "model.joblib", test.data)
					if test.verdict != "" && got.Verdict != test.verdict || test.rule != "" && !slices.Contains(rules(got), test.rule) {
						t.Errorf("verdict %s, want %s with %q: %v", got.Verdict, test.verdict, test.rule, got.Findings)
					}
				})
			}
		})
	}
}

// What unpacks to more than is held is read once, and archives in it are not.
func TestPackedBombs(t *testing.T) {
	zeros := make([]byte, 25<<20)
	x, err := os.ReadFile("testdata/dangerous/large.pkl.xz")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		data []byte
		rule string
	}{
		"a pickle in lz4":       {packed(t, lz4ed, asm(nil).proto(2).bytes(string(zeros)).op('0').global("os", "getcwd").raw(")R").stop()), "pickle-dangerous-import"},
		"a zip in lz4":          {packed(t, lz4ed, plainZip(zip.Store, testmodel.Member{Name: "x", Data: zeros})), "limit-size"},
		"xz before zeros":       {packed(t, gzipped, append(slices.Clone(x), zeros...)), "limit-size"},
		"lzma before zeros":     {packed(t, gzipped, append(packed(t, lzmaed, evil), zeros...)), "limit-size"},
		"lz4 before zeros":      {packed(t, gzipped, append(packed(t, lz4ed, evil), zeros...)), "limit-size"},
		"xz, deeper and deeper": {packed(t, xzed, packed(t, lzmaed, packed(t, lz4ed, packed(t, xzed, packed(t, gzipped, evil))))), "limit-depth"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "a.joblib", test.data); got.Verdict == scan.Safe || !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want rule %s: %v", got.Verdict, test.rule, got.Findings)
			}
		})
	}
}

// Streams of xz and frames of LZ4 that follow each other are one file. LZMA has
// no way to tell, and readers differ.
func TestConcatenated(t *testing.T) {
	skipped := []byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc")
	x, z, a := packed(t, xzed, evil), packed(t, lz4ed, evil), packed(t, lzmaed, evil)
	okX, okZ, okA := packed(t, xzed, good), packed(t, lz4ed, good), packed(t, lzmaed, good)
	tests := map[string]struct {
		data    []byte
		verdict scan.Verdict
	}{
		"xz":                        {slices.Concat(okX, x), scan.Dangerous},
		"xz, empty":                 {slices.Concat(packed(t, xzed, nil), x), scan.Dangerous},
		"xz, padded":                {slices.Concat(okX, make([]byte, 8)), scan.Safe},
		"xz, padded wrongly":        {slices.Concat(okX, make([]byte, 7)), scan.Unscannable},
		"xz, padded, and another":   {slices.Concat(okX, make([]byte, 4), x), scan.Unscannable},
		"xz and lzma":               {slices.Concat(okX, a), scan.Unscannable},
		"lz4":                       {slices.Concat(okZ, z), scan.Dangerous},
		"lz4, empty":                {slices.Concat(packed(t, lz4ed, nil), z), scan.Dangerous},
		"lz4, something to skip":    {slices.Concat(okZ, skipped, z), scan.Dangerous},
		"lz4, something at the end": {slices.Concat(okZ, skipped), scan.Safe},
		"lz4, skipped and cut":      {slices.Concat(okZ, skipped[:9]), scan.Unscannable},
		"lz4 and an old one":        {slices.Concat(okZ, []byte("\x02\x21\x4c\x18"), z), scan.Unscannable},
		"lzma":                      {slices.Concat(okA, a), scan.Unscannable},
		"lzma and xz":               {slices.Concat(okA, x), scan.Unscannable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "model.joblib", test.data); got.Verdict != test.verdict {
				t.Errorf("verdict %s, want %s: %v", got.Verdict, test.verdict, got.Findings)
			}
		})
	}
}

// A packed pickle that is cut or changed anywhere is never a pass.
func TestPackedAndDamaged(t *testing.T) {
	names := map[string]string{"a.pkl.xz": "joblib_xz.joblib", "a.pkl.lzma": "joblib_lzma.joblib", "a.pkl.lz4": "joblib_lz4.joblib"}
	for name, file := range names {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata/dangerous", file))
			if err != nil {
				t.Fatal(err)
			}
			step := 1 + len(b)/300
			for i := 1; i < len(b); i += step {
				if got := run(t, name, b[:i]); got.Verdict == scan.Safe {
					t.Errorf("%d of %d bytes are safe", i, len(b))
				}
				changed := slices.Clone(b)
				changed[i] ^= 1 << (i % 8)
				if got := run(t, name, changed); got.Verdict == scan.Safe {
					t.Errorf("a change of byte %d is safe", i)
				}
			}
		})
	}
}

// withDictionary says in the header of an xz file that it wants a dictionary of
// a size, and makes the checksum true.
func withDictionary(t *testing.T, b []byte, property byte) []byte {
	t.Helper()
	b = slices.Clone(b)
	header := b[12 : 12+(int(b[12])+1)*4]
	at := bytes.Index(header, []byte{0x21, 1})
	if at < 0 {
		t.Fatal("no filter")
	}
	header[at+2] = property
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	return b
}

// What a header says of a dictionary is not believed before it is allocated.
func TestDictionaries(t *testing.T) {
	x, a := packed(t, xzed, evil), packed(t, lzmaed, evil)
	lz4Dict := patched(packed(t, lz4ed, evil), 4, "\x61")
	tests := map[string]struct {
		data []byte
		want string
	}{
		"xz, 64 MiB":   {withDictionary(t, x, 28), "pickle-dangerous-import"},
		"xz, 96 MiB":   {withDictionary(t, x, 29), "archive-closed"},
		"xz, 4 GiB":    {withDictionary(t, x, 40), "archive-closed"},
		"xz, more":     {withDictionary(t, x, 41), "archive-closed"},
		"xz, nested":   {withDictionary(t, packed(t, xzed, withDictionary(t, x, 28)), 28), "archive-closed"},
		"lzma, 64 MiB": {patched(a, 1, "\x00\x00\x00\x04"), "pickle-dangerous-import"},
		"lzma, 96 MiB": {patched(a, 1, "\x00\x00\x00\x06"), "archive-closed"},
		"lzma, 4 GiB":  {patched(a, 1, "\x00\x00\xff\xff"), "archive-closed"},
		"lz4, outside": {lz4Dict, "archive-closed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := run(t, "model.joblib", test.data)
			runtime.ReadMemStats(&after)
			if !slices.Contains(rules(got), test.want) || got.Verdict == scan.Safe {
				t.Errorf("%s, want %s: %v", got.Verdict, test.want, got.Findings)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 80<<20 || test.want == "archive-closed" && !strings.Contains(name, "nested") && n > 4<<20 {
				t.Errorf("took %d MiB", n>>20)
			}
		})
	}
}

// Many blocks that each want a large dictionary end with the time that there is,
// and do not take the memory of all.
func TestManyDictionaries(t *testing.T) {
	one := withDictionary(t, packed(t, xzed, good), 28)
	got := run(t, "model.joblib", bytes.Repeat(one, 40))
	if got.Verdict != scan.Unscannable && got.Verdict != scan.Safe || slices.Contains(rules(got), "archive-closed") {
		t.Errorf("%s: %v", got.Verdict, got.Findings)
	}
}
