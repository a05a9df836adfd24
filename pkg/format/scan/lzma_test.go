package scan_test

import (
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// joblib tells LZMA by two bytes, and unpacks it with a dictionary of any size.
// What it may take for LZMA is a finding where it cannot be unpacked.
func TestLZMA(t *testing.T) {
	const unknown, small = "\xff\xff\xff\xff\xff\xff\xff\xff", "\x40\x00\x00\x00\x00\x00\x00\x00"
	for _, head := range []string{
		"\x5d\x00\x00\x80\x00" + unknown, "\x5d\x00\x01\x00\x00" + unknown, "\x5d\x00\x03\x00\x00" + small, "\x5d\x00\x05\x00\x00" + unknown,
		"\x5d\x00\x05\x07\x00" + small, "\x5d\x00\xff\xff\xff" + small,
	} {
		if got := run(t, "model.bin", []byte(head+"\x00abcdefgh")); got.Verdict != scan.Unscannable {
			t.Errorf("%q: %v", head, got.Findings)
		}
	}
	for _, head := range []string{"\x5d\x00\x05\x07\x00\x01\x02\x03\x04\x05\x06\x07\x08\x00", "\x5d\x00\x05\x07\x00" + small + "\x01", "\x5d\x00\x05", "\x5d\x00"} {
		if got := run(t, "model.bin", []byte(head)); got.Verdict != scan.Safe {
			t.Errorf("%q: %v", head, got.Findings)
		}
	}
}
