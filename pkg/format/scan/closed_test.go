package scan_test

import (
	"archive/tar"
	"archive/zip"
	"slices"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/scan"
)

// What is packed in a way that is not opened is never a pass, whatever it is
// called and whatever it lies in.
func TestClosed(t *testing.T) {
	closed := map[string]string{
		"xz":         "\xfd7zXZ\x00\x00\x02\xd3\x73\xd7\xafjunk",
		"lzma":       "\x5d\x00\x00\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00junk",
		"lz4":        "\x04\x22\x4d\x18\x65\x40\xa7junk",
		"7z":         "7z\xbc\xaf\x27\x1c\x00\x04junk",
		"rar":        "Rar!\x1a\x07\x01\x00junk",
		"rar 4":      "Rar!\x1a\x07\x00junk",
		"lzip":       "LZIP\x01\x0cjunk",
		"compress":   "\x1f\x9d\x90junk",
		"pack":       "\x1f\xa0junkjunk",
		"cabinet":    "MSCF\x00\x00\x00\x00junkjunk",
		"ar":         "!<arch>\njunk",
		"old joblib": "ZF0xjunk",
	}
	names := []string{"model.bin", "model.pt", "model.safetensors", "model.gguf", "README.md", "config.json", "tokenizer.model", "model"}
	for format, data := range closed {
		t.Run(format, func(t *testing.T) {
			files := map[string][]byte{
				"a.zip":  plainZip(zip.Store, testmodel.Member{Name: "weights", Data: []byte(data)}),
				"b.zip":  plainZip(zip.Deflate, testmodel.Member{Name: "weights.txt", Data: []byte(data)}),
				"c.tar":  tarOf(tar.Header{Name: "weights"}, []byte(data)),
				"d.gz":   packed(t, gzipped, []byte(data)),
				"e.zst":  packed(t, zstdded, []byte(data)),
				"f.nemo": packed(t, gzipped, tarOf(tar.Header{Name: "weights.ckpt"}, []byte(data))),
			}
			for _, name := range names {
				files[name] = []byte(data)
			}
			for name, data := range files {
				if got := run(t, name, data); got.Verdict != scan.Unscannable && got.Verdict != scan.Dangerous || !slices.Contains(rules(got), "archive-closed") {
					t.Errorf("%s: verdict %s: %v", name, got.Verdict, got.Findings)
				}
			}
		})
	}
}
