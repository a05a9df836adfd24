package main

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/modelreg/modelreg/pkg/variant"
)

// ownDevices are those that share the machine's memory.
func ownDevices() []variant.Device { return nil }

// totalMemory is what the machine has in bytes, or the control group that this
// process is in may take of it.
func totalMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	total := int64(info.Totalram) * int64(info.Unit) //nolint:unconvert // 32 bits on some machines
	for _, name := range limitFiles() {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && limit > 0 {
			total = min(total, limit)
		}
	}
	return total
}

// limitFiles are where limits of memory may stand: of the first and second
// version of control groups, in a container and outside.
func limitFiles() []string {
	const root = "/sys/fs/cgroup"
	files := []string{root + "/memory.max", root + "/memory/memory.limit_in_bytes"}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(own)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ; ok && len(group) > 1; group = path.Dir(group) {
			files = append(files, path.Join(root, path.Clean("/"+group), "memory.max"))
		}
	}
	return files
}
