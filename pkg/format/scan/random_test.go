package scan_test

import (
	"bytes"
	"encoding/binary"
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
		b := make([]byte, 300+i)
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
		if f.Rule != "executable" && f.Rule != "compressed-malformed" { // magics of two bytes
			t.Errorf("%s: %s: %s", f.Path, f.Rule, f.Message)
		}
	}
}

// The length of a safetensors header stands where a pickle has its protocol.
func TestHeaderLengthIsNoProtocol(t *testing.T) {
	for _, length := range []int{0x80, 0x180, 0x280, 0x380, 0x480, 0x580} {
		header := fmt.Sprintf(`{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}%*s}`, length-53, "")
		b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
		b = append(b, header+"data"...)
		if len(header) != length {
			t.Fatalf("header of %d bytes", len(header))
		}
		file := scan.File{Path: "model.safetensors", Size: int64(len(b)), At: bytes.NewReader(b)}
		r, err := scan.Scan(t.Context(), func(yield func(scan.File, error) bool) { yield(file, nil) }, scan.Options{})
		if err != nil || r.Verdict != scan.Safe {
			t.Errorf("header of %#x bytes: %+v, %v", length, r, err)
		}
	}
}
