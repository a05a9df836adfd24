package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lock"
)

// gcFlags say what is kept.
type gcFlags struct {
	hub.GCOptions
	last                       int
	within, grace, aliasWindow string
	versions, holds, lockFiles []string
	yes                        bool
}

func newGC(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc COMMAND",
		Short: "Find and delete versions that nothing needs",
		Long: `Find the versions of a repository that nothing needs, and delete them.

Kept are all versions that a branch, release or alias leads to, the last ones before
these, what a protected alias led to lately, what retention rules, lock files and holds
name, what kept indexes list, and what other versions were made of. The rules are those
of the repository's record, and of the flags.

What nothing needs is left alone for a grace time first.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGCPlan(a), newGCRun(a))
	return cmd
}

func newGCPlan(a *app) *cobra.Command {
	var f gcFlags
	cmd := &cobra.Command{
		Use:               "plan REPO",
		Short:             "Tell which versions are kept and why, and which are not; change nothing",
		Long:              "Tell which versions of a repository are kept and why, and which nothing needs. Nothing is changed.",
		Example:           "  modelreg gc plan ghcr.io/acme/support --lock prod/modelreg.lock --in ghcr.io/acme",
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.gc(cmd, args[0], f) },
	}
	f.add(cmd)
	return cmd
}

func newGCRun(a *app) *cobra.Command {
	var f gcFlags
	cmd := &cobra.Command{
		Use:   "run REPO",
		Short: "Delete versions that nothing has needed for the grace time",
		Long: `Note which versions of a repository nothing needs, and delete those that an earlier run
noted as long ago as the grace time: a tombstone takes the place of the keep-tag, then
signatures and whatever else is attached is deleted, and then the version. The registry's
own garbage collection gives the space back.

Run it regularly. A registry that lets nobody delete is left as it is (exit 13).`,
		Example: `  modelreg gc run ghcr.io/acme/support --yes --lock prod/modelreg.lock
  modelreg gc run ghcr.io/acme/support --yes --keep-last 30 --grace 14d`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Run = true
			return a.gc(cmd, args[0], f)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask; needed without a terminal")
	return cmd
}

func (f *gcFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.IntVar(&f.last, "keep-last", 0, "keep the last `N` versions of each branch, release and alias (default 10)")
	fl.StringVar(&f.within, "keep-within", "", "keep what is not older than `TIME`, such as 30d or 12h")
	fl.StringArrayVar(&f.versions, "keep-version", nil, "keep what says that it is a version that matches `PATTERN`, such as 1.* (repeatable)")
	fl.StringVar(&f.grace, "grace", "", "delete only what nothing has needed for `TIME` (default 7d)")
	fl.StringVar(&f.aliasWindow, "alias-window", "", "keep what protected aliases led to within `TIME` (default 90d)")
	fl.StringArrayVar(&f.holds, "hold", nil, "keep the version with this `DIGEST` (repeatable)")
	fl.StringArrayVar(&f.lockFiles, "lock", nil, "keep what lock `FILE` names (repeatable)")
	fl.StringArrayVar(&f.In, "in", nil, "keep what versions in the repositories of `HOST/PREFIX` were made of (repeatable)")
	fl.BoolVar(&f.Force, "force", false, "do not keep what kept indexes list and what other versions were made of")
}

func (a *app) gc(cmd *cobra.Command, arg string, f gcFlags) error {
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	if r.Tag != "" || r.Digest != "" || r.Prefix != "" || r.Range != "" {
		return usagef("gc %s: name a repository, without tag and digest", arg)
	}
	if f.Rules, err = f.rules(); err != nil {
		return err
	}
	if f.Locked, err = lockedBy(f.lockFiles); err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	if f.Run && !f.yes {
		if !isTerminal(a.err) {
			return usagef("gc run %s: say --yes: there is nobody to ask", arg)
		}
		plan := f.GCOptions
		plan.Run = false
		res, err := h.GC(cmd.Context(), r, plan)
		if err != nil {
			return err
		}
		printGC(a.err, res)
		if res.Deleted > 0 && !a.agreed(fmt.Sprintf("delete %s of %s?", plural(res.Deleted, "version"), res.Repository)) {
			return usagef("gc run %s: not agreed", arg)
		}
	}
	res, err := h.GC(cmd.Context(), r, f.GCOptions)
	if err != nil {
		return err
	}
	return a.printer.Result(res, func(w io.Writer) { printGC(w, res) })
}

// agreed asks a question.
func (a *app) agreed(question string) bool {
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(io.LimitReader(a.in, 64)).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y") || strings.EqualFold(strings.TrimSpace(answer), "yes")
}

// rules reads the flags; what they do not say is left as it is.
func (f *gcFlags) rules() (func(hub.GCRules) hub.GCRules, error) {
	if f.last < 0 {
		return nil, usagef("--keep-last %d: keep 1 or more", f.last)
	}
	times := map[string]*time.Duration{}
	for text, flag := range map[*string]string{&f.within: "keep-within", &f.grace: "grace", &f.aliasWindow: "alias-window"} {
		if *text == "" {
			continue
		}
		d, err := hub.ParseDays(*text)
		if err != nil {
			return nil, usagef("--%s %s: use a time such as 30d or 12h", flag, *text)
		}
		times[flag] = &d
	}
	var holds []digest.Digest
	for _, h := range f.holds {
		d, err := digest.Parse(h)
		if err != nil {
			return nil, usagef("--hold %s: give the whole digest", h)
		}
		holds = append(holds, d)
	}
	return func(r hub.GCRules) hub.GCRules {
		if f.last > 0 {
			r.Last = f.last
		}
		for flag, into := range map[string]*time.Duration{"keep-within": &r.Within, "grace": &r.Grace, "alias-window": &r.AliasWindow} {
			if d := times[flag]; d != nil {
				*into = *d
			}
		}
		r.Versions, r.Holds = append(r.Versions, f.versions...), append(r.Holds, holds...)
		return r
	}, nil
}

// lockedBy are the versions that lock files name, with their files.
func lockedBy(files []string) (map[digest.Digest]string, error) {
	out := map[digest.Digest]string{}
	for _, name := range files {
		f, err := lock.Read(name)
		if err != nil {
			return nil, err
		}
		for _, model := range f.Names() {
			_, e, err := f.Find(model, nil)
			if err != nil {
				return nil, err
			}
			for _, d := range []digest.Digest{e.Pinned().Digest, e.Target()} {
				if d != "" {
					out[d] = name
				}
			}
		}
	}
	return out, nil
}

func printGC(w io.Writer, res *hub.GCResult) {
	t := ui.Table(w)
	for _, k := range res.Kept {
		fmt.Fprintf(t, "kept\t%s\t%s\n", short(k.Digest), ui.Line(strings.Join(k.Why, "; ")))
	}
	for _, u := range res.Unneeded {
		note := "nothing needs it since " + u.Since.Format(time.DateOnly)
		if u.State == "waiting" {
			note += ", due " + u.Due.Format(time.DateOnly)
		}
		if u.Message != "" {
			first, _, _ := strings.Cut(u.Message, "\n")
			note += ": " + ui.Line(first)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", u.State, short(u.Digest), note)
	}
	_ = t.Flush()
	verb := "would be deleted"
	if res.Run {
		verb = "deleted"
	}
	fmt.Fprintf(w, "%s kept, %s %s, %s of blobs that nothing else names\n", plural(len(res.Kept), "version"), plural(res.Deleted, "version"), verb, ui.Bytes(res.Freed))
}

// plural writes a number of things.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
