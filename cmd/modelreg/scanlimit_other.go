//go:build !linux

package main

import "time"

// limitMemory does nothing: here the garbage collector's limit is all there is.
func limitMemory(uint64) {}

// limitProcess and limitWork do nothing: here who asks for files is all that ends
// the process.
func limitProcess() {}

func limitWork(time.Duration) {}
