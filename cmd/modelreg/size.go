package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// A sizeValue is a flag whose value is a number of bytes: 4GB, 1.5GiB, 500M or
// 1048576. Units without an i are powers of 1000.
type sizeValue int64

// sizeUnits are powers of 1000, those of 1024 being spelled with an i.
const sizeUnits = "KMGTP"

var errSize = errors.New("use a number of bytes such as 500MB, 4GB or 4GiB")

// String implements pflag.Value.
func (v *sizeValue) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*v), 10)
}

// Type implements pflag.Value.
func (v *sizeValue) Type() string { return "size" }

// Set implements pflag.Value.
func (v *sizeValue) Set(s string) error {
	text := strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s)), "B")
	base := 1000.0
	if t, ok := strings.CutSuffix(text, "I"); ok {
		text, base = t, 1024
	}
	factor := 1.0
	if n := len(text); n > 0 {
		if i := strings.IndexByte(sizeUnits, text[n-1]); i >= 0 {
			text, factor = text[:n-1], math.Pow(base, float64(i+1))
		} else if base == 1024 {
			return errSize
		}
	}
	number, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	// 2^53 is where a float64 no longer knows every whole number.
	if size := number * factor; err == nil && number > 0 && size >= 1 && size <= 1<<53 && strings.Trim(text, "0123456789. ") == "" {
		*v = sizeValue(size)
		return nil
	}
	return errSize
}
