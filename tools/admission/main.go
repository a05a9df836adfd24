// Command admission does to the objects that "modelreg policy generate" writes
// what a cluster would, as far as that can be done without one, for the slow
// suite:
//
//	admission check CRDS FILE            every object in FILE against its published
//	                                     schema, its expressions compiled
//	admission decide FILE OBJECT         what the policies in FILE say of an object
//
// CRDS is a directory of CustomResourceDefinitions. What FILE holds of Kyverno is
// evaluated with functions that take every image for signed whose reference
// contains "signed". It prints one line for each thing it found, and "admitted"
// or "denied: MESSAGE".
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "admission:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "check":
		return check(args[1], args[2])
	case len(args) == 3 && args[0] == "decide":
		return decide(args[1], args[2])
	}
	return fmt.Errorf("usage: admission check CRDS FILE | admission decide FILE OBJECT")
}
