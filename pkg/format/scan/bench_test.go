package scan_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// BenchmarkSmallFiles scans files of 100 KiB that their names have for
// configurations, with letters in which most words are found by chance.
func BenchmarkSmallFiles(b *testing.B) {
	rnd := rand.NewChaCha8([32]byte{})
	files := make([]scan.File, 50)
	for i := range files {
		raw := make([]byte, 75<<10)
		rnd.Read(raw) //nolint:errcheck // never fails
		text := base64.StdEncoding.AppendEncode(nil, raw)
		files[i] = scan.File{Path: fmt.Sprintf("data/%d.json", i), Size: int64(len(text)), At: bytes.NewReader(text)}
		b.SetBytes(int64(len(files) * len(text)))
	}
	for b.Loop() {
		if _, err := scan.Scan(b.Context(), scan.Files(files...), scan.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
