// Command modelreg is a model hub that runs on the OCI registry a team already
// has: it packs, pushes, signs, resolves, verifies and pulls models.
//
// Each command parses its flags, calls one method of package hub and prints
// one result. Exit codes are in exit.go and under "modelreg help exit-codes".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == workerCommand {
		os.Exit(scanWorker(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	self, _ := os.Executable() // "" where nobody knows: then scans have no process of their own
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, self: self}))
}
