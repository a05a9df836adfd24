package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

func newShow(a *app) *cobra.Command {
	var trust trustFlags
	cmd := &cobra.Command{
		Use:   "show REF",
		Short: "Show one version: its message, what it changed, who signed it",
		Long: `Show the version that REF resolves to: message, author, branches and tags, signatures,
and which files it changed against its parent, or against each of them. Only manifests
are read. "modelreg diff" compares in depth.`,
		Example: `  modelreg show ghcr.io/acme/support:main
  modelreg show ghcr.io/acme/support:main~1 --key cosign.pub`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var named *signing.Trust
			if trust.used() {
				if named, err = a.trusted(cmd.Context(), trust); err != nil {
					return err
				}
			}
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.Show(cmd.Context(), r, named)
			if err != nil {
				return err
			}
			return a.printer.Result(res, func(w io.Writer) { printShown(w, res) })
		},
	}
	trust.add(cmd.Flags())
	return cmd
}

func printShown(w io.Writer, res *hub.ShowResult) {
	writeLines(w, entryLines(res.HistoryEntry, logFlags{}))
	for _, c := range res.Changes {
		fmt.Fprintln(w)
		switch {
		case c.Gone:
			fmt.Fprintf(w, "against %s, which the registry does not have any more: not known\n", shortRevision(c.Parent))
			continue
		case c.Parent != "":
			fmt.Fprintf(w, "against %s: ", shortRevision(c.Parent))
		}
		fmt.Fprintln(w, changesSummary(&c))
		printChanges(w, &c)
	}
}

// changesSummary counts changes, as git's --shortstat does.
func changesSummary(c *hub.Changes) string {
	if c.None() {
		return "no file changed"
	}
	var s strings.Builder
	for _, part := range []struct {
		n    int
		what string
	}{{len(c.Added), "added"}, {len(c.Changed), "changed"}, {len(c.Renamed), "renamed"}, {len(c.Removed), "removed"}, {c.Identical, "identical"}} {
		if part.n > 0 {
			s.WriteString(fmt.Sprintf("%d %s, ", part.n, part.what))
		}
	}
	sign, n := "+", c.SizeDelta
	if n < 0 {
		sign, n = "-", -n
	}
	return s.String() + sign + ui.Bytes(n)
}

// printChanges lists files in git's letters.
func printChanges(w io.Writer, c *hub.Changes) {
	for _, list := range []struct {
		letter string
		paths  []string
	}{{"A", c.Added}, {"M", c.Changed}, {"D", c.Removed}} {
		for _, p := range list.paths {
			fmt.Fprintf(w, "  %s  %s\n", list.letter, ui.Line(p))
		}
	}
	for _, r := range c.Renamed {
		fmt.Fprintf(w, "  R  %s -> %s\n", ui.Line(r.From), ui.Line(r.To))
	}
}
