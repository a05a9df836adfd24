package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// released is the version of a release; the linker sets it.
var released string

// version tells the version of this binary: that of the release, or that of
// the module when it was built with "go install".
func version() string {
	if released != "" {
		return released
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			res := map[string]string{"version": version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return a.printer.Result(res, func(w io.Writer) {
				fmt.Fprintf(w, "modelreg %s %s %s\n", res["version"], res["go"], res["platform"])
			})
		},
	}
}
