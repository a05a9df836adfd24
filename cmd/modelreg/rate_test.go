package main

import (
	"strconv"
	"testing"
)

func TestRateValue(t *testing.T) {
	tests := map[string]int64{
		"200M": 200e6, "200MB": 200e6, "200MB/s": 200e6, "50MiB/s": 50 << 20, "1500": 1500,
		"0": 0, "": 0, "fast": 0, "M/s": 0, "1M/m": 0, "-1K": 0, "/s": 0,
	}
	for text, want := range tests {
		var n int64
		v := rateValue{&n}
		if err := v.Set(text); (err == nil) != (want > 0) || n != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, n, err, want)
		}
	}
	n := int64(1500)
	if got := (rateValue{&n}).String(); got != "1500" {
		t.Errorf("String() = %q", got)
	}
}

// What is read is a number of bytes above zero, and a plain number is itself.
func FuzzSizeValue(f *testing.F) {
	for _, text := range []string{"1500", "200M", "1.5GiB", "64 KiB", "99999999999999T", ".", "1.b", "\u0660K", "I", "B"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v sizeValue
		err := v.Set(text)
		if err == nil && v <= 0 {
			t.Errorf("Set(%q) = %d", text, v)
		}
		if i, perr := strconv.ParseUint(text, 10, 53); perr == nil && i > 0 && (err != nil || int64(v) != int64(i)) {
			t.Errorf("Set(%q) = %d, %v, want %d", text, v, err, i)
		}
	})
}
