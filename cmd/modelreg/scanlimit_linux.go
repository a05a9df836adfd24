package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// limitMemory bounds the address space of this process to n bytes beyond what
// it has: the runtime reserves much more than it uses. Where that cannot be
// done the garbage collector's limit is all there is.
func limitMemory(n uint64) {
	stat, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return
	}
	pages, err := strconv.ParseUint(strings.SplitN(string(stat), " ", 2)[0], 10, 64)
	if err != nil {
		return
	}
	limit := pages*uint64(os.Getpagesize()) + n
	_ = syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: limit, Max: limit})
}
