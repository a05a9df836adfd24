package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
)

func newBranch(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "branch",
		Short: "List, create, rename and delete branches",
		Long: `A branch is a tag that moves: a push to it makes a version whose parent is the one that
the branch pointed to. Names may have slashes, as in feature/x, which the registry stores
as _b.feature__x. Tags that are semantic versions, and those that the record of the
repository protects or makes immutable, are no branches.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBranchList(a), newBranchCreate(a), newBranchRename(a), newBranchDelete(a))
	return cmd
}

func newBranchList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "list REPOSITORY",
		Aliases:           []string{"ls"},
		Short:             "List the branches of a repository",
		Long:              "List branches and their tips. A star marks the one that a reference without a tag means.",
		Example:           "  modelreg branch list ghcr.io/acme/support",
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			list, err := h.Branches(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.printer.Result(list, func(w io.Writer) { printBranches(w, list) })
		},
	}
}

func printBranches(w io.Writer, list []hub.BranchInfo) {
	t := ui.Table(w)
	for _, b := range list {
		mark := " "
		if b.Default {
			mark = "*"
		}
		subject, _, _ := strings.Cut(b.Message, "\n")
		fmt.Fprintf(t, "%s %s\t%s\t%s\n", mark, ui.Line(b.Branch), shortRevision(b.Digest), ui.Line(subject))
	}
	_ = t.Flush() // errors are kept by the writer below
}

func newBranchCreate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "create REF BRANCH",
		Short: "Begin a branch at a version",
		Long: `Make BRANCH point to the version that REF resolves to, in the same repository. Nothing is
uploaded. A branch that exists and points elsewhere stays, and that is an error.`,
		Example: `  modelreg branch create ghcr.io/acme/support:main feature/long-context
  modelreg branch create ghcr.io/acme/support:main~3 hotfix`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.CreateBranch(cmd.Context(), r, args[1])
			if err != nil {
				return err
			}
			a.printer.Note("branch %s begins at %s", res.Branch, shortRevision(res.Digest))
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
		},
	}
}

func newBranchRename(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rename REPOSITORY BRANCH NAME",
		Short:             "Give a branch another name",
		Long:              "Give BRANCH another NAME, which must be free. Its versions stay as they are.",
		Example:           "  modelreg branch rename ghcr.io/acme/support master main",
		Args:              exactArgs(3),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.RenameBranch(cmd.Context(), r, args[1], args[2])
			if err != nil {
				return err
			}
			a.printer.Note("branch %s is %s now", res.Was, res.Branch)
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
		},
	}
}

func newBranchDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete REPOSITORY BRANCH",
		Short: "Remove the name of a branch",
		Long: `Remove the name BRANCH. The versions stay in the registry, held by their keep-tags:
"modelreg branch create REPOSITORY@DIGEST BRANCH" brings it back, with the digest that
this prints. The branch that a reference without a tag means is not removed.`,
		Example:           "  modelreg branch delete ghcr.io/acme/support feature/x",
		Args:              exactArgs(2),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.DeleteBranch(cmd.Context(), r, args[1])
			if err != nil {
				return err
			}
			a.printer.Note("removed branch %s, which was %s", res.Branch, res.Digest)
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
		},
	}
}
