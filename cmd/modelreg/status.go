package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
)

func newStatus(a *app) *cobra.Command {
	var opts hub.StatusOptions
	var exitCode, short bool
	cmd := &cobra.Command{
		Use:   "status [DIR [REF]]",
		Short: "Compare a working directory with its version",
		Long: `Show how the files of DIR (the current directory, if none is given) differ from those of
the version that it was pulled or last pushed as, or of REF: what a push would change. Files
that a push leaves out are not looked at.

What was pulled is kept in the directory, so that this needs no network (of one that was only
pushed the version is read from its registry), and files that modelreg has hashed before and that have not been touched since are not read. With
--remote the registry is asked whether the branch has moved on.

It ends with 0 whatever it finds; with --exit-code with 1 if files differ.`,
		Example: `  modelreg status
  modelreg status ./model
  modelreg status ./model ghcr.io/acme/support:main --exit-code`,
		Args:              rangeArgs(0, 2),
		ValidArgsFunction: positions(directories, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			h, err := a.hub(nil)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				var r ref.Reference
				if r, err = a.parse(args[1]); err != nil {
					return err
				}
				opts.Version = &r
			}
			res, err := h.Status(cmd.Context(), dir, opts)
			if err != nil {
				return err
			}
			err = a.printer.Result(res, func(w io.Writer) { printStatus(w, res, short) })
			if err == nil && exitCode && !res.Clean {
				return errDifferent
			}
			return err
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&exitCode, "exit-code", false, "end with 1 if files differ")
	fl.BoolVarP(&short, "short", "s", false, "only the files, in git's letters")
	fl.BoolVar(&opts.Remote, "remote", false, "ask the registry whether the branch has moved on")
	fl.IntVarP(&opts.Workers, "jobs", "j", 0, "read `N` files at once (default: one per CPU)")
	return cmd
}

func printStatus(w io.Writer, res *hub.StatusResult, short bool) {
	if short {
		printChanges(w, &res.Changes)
		return
	}
	fmt.Fprintf(w, "%s against %s\n", res.Directory, spoken(res.Reference))
	if res.Tip != "" {
		fmt.Fprintf(w, "the branch has moved on to %s; \"modelreg pull\" brings it\n", res.Tip)
	}
	if res.SkippedFiles > 0 {
		fmt.Fprintf(w, "%d files were not pulled\n", res.SkippedFiles)
	}
	if res.Clean {
		fmt.Fprintln(w, "nothing to push: no file changed")
		return
	}
	fmt.Fprintln(w, changesSummary(&res.Changes))
	printChanges(w, &res.Changes)
}
