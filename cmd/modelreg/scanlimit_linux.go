package main

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// limitProcess takes from this process what looking at files does not need: it
// can open nothing from here on, neither files nor sockets, and leaves no image of
// its memory behind when it ends.
func limitProcess() {
	// The runtime needs a file of its own as soon as it waits for time.
	time.Sleep(time.Nanosecond)
	for _, resource := range []int{syscall.RLIMIT_NOFILE, syscall.RLIMIT_CORE} {
		_ = syscall.Setrlimit(resource, &syscall.Rlimit{})
	}
	// The runtime ignores the end of processor time if nobody waits for it.
	over := make(chan os.Signal, 1)
	signal.Notify(over, syscall.SIGXCPU)
	go func() {
		<-over
		os.Exit(exitFailure)
	}()
}

// limitWork bounds the processor time of this process, which [limitProcess] has
// been called in, to d from now. Who asks for
// files keeps the time of each, and ends the process; this is for when nobody is
// there any more to do so.
func limitWork(d time.Duration) {
	var used syscall.Rusage
	var limit syscall.Rlimit
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil || syscall.Getrlimit(syscall.RLIMIT_CPU, &limit) != nil {
		return
	}
	limit.Cur = min(uint64(used.Utime.Sec+used.Stime.Sec)+uint64(d/time.Second)+1, limit.Max)
	_ = syscall.Setrlimit(syscall.RLIMIT_CPU, &limit)
}

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
