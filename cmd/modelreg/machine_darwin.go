package main

import (
	"golang.org/x/sys/unix"

	"github.com/modelreg/modelreg/pkg/variant"
)

// ownDevices are those that share the machine's memory.
func ownDevices() []variant.Device { return []variant.Device{{Kind: "metal"}} }

// totalMemory is what the machine has in bytes.
func totalMemory() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}
