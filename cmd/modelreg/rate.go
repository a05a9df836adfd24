package main

import (
	"fmt"
	"strings"
)

// A rateValue is a flag of bytes per second: a size, with or without "/s".
type rateValue struct{ bytes *int64 }

// String implements pflag.Value.
func (v rateValue) String() string {
	if v.bytes == nil {
		return ""
	}
	return new(sizeValue(*v.bytes)).String()
}

// Type implements pflag.Value.
func (v rateValue) Type() string { return "rate" }

// Set implements pflag.Value.
func (v rateValue) Set(s string) error {
	var size sizeValue
	if err := size.Set(strings.TrimSuffix(s, "/s")); err != nil {
		return fmt.Errorf("%w, for each second", err)
	}
	*v.bytes = int64(size)
	return nil
}
