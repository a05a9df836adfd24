package scan_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// What is in a file without a format of its own, such as raw tensors, may begin
// like a pickle by chance.
func TestRandomBytesAreNoPickles(t *testing.T) {
	source := rand.NewChaCha8([32]byte{7})
	var files []scan.File
	for i := range 4000 {
		b := make([]byte, 300)
		_, _ = source.Read(b)
		if b[0] == 0x80 && b[1] < 6 {
			continue // says that it is one
		}
		files = append(files, scan.File{Path: fmt.Sprintf("tensors/%d.bin", i), Size: int64(len(b)), At: bytes.NewReader(b)})
	}
	r, err := scan.Scan(t.Context(), func(yield func(scan.File, error) bool) {
		for _, f := range files {
			if !yield(f, nil) {
				return
			}
		}
	}, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Rule != "executable" { // a magic of two bytes
			t.Errorf("%s: %s: %s", f.Path, f.Rule, f.Message)
		}
	}
}
