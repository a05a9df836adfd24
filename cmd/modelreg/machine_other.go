//go:build !linux && !darwin

package main

import "github.com/modelreg/modelreg/pkg/variant"

// ownDevices are those that share the machine's memory.
func ownDevices() []variant.Device { return nil }

// totalMemory is not known here, so no variant is too large.
func totalMemory() int64 { return 0 }
