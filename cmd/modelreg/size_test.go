package main

import "testing"

func TestSizeValue(t *testing.T) {
	tests := map[string]int64{
		"1048576": 1 << 20, "1b": 1, "4GB": 4e9, "4gb": 4e9, "4G": 4e9, "4GiB": 4 << 30, "4Gi": 4 << 30, "500MB": 500e6,
		"1.5KiB": 1536, " 2 TB ": 2e12, "16K": 16000,
		"": 0, "GB": 0, "iB": 0, "4iB": 0, "-1": 0, "0": 0, "1e9": 0, "0x10": 0, "NaN": 0, "Inf": 0, "9999999PB": 0, "1.2.3": 0, "4 GB each": 0, "1BB": 0,
	}
	for text, want := range tests {
		var v sizeValue
		if err := v.Set(text); (err == nil) != (want > 0) || int64(v) != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, v, err, want)
		}
	}
}
