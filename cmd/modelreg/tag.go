package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
)

// moveFlags say what a log is told of a move.
type moveFlags struct {
	message, author string
	signer          signerFlags
}

func (f *moveFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.message, "message", "m", "", "why, for the log of a protected alias: `TEXT`")
	fl.StringVar(&f.author, "author", "", "who, for that log: `NAME <MAIL>`; a claim, unless it is signed")
	f.signer.add(cmd)
}

// tagOptions are what the flags say.
func (a *app) tagOptions(cmd *cobra.Command, f moveFlags) (hub.TagOptions, error) {
	opts := hub.TagOptions{Message: f.message, Author: f.author}
	if !f.signer.given() {
		return opts, nil
	}
	var err error
	opts.Signer, err = a.signerOf(cmd.Context(), f.signer)
	return opts, err
}

func addTagForce(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "set a protected alias to a version that was yanked, too")
}

func newTag(a *app) *cobra.Command {
	var f moveFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "tag REF TAG...",
		Short: "Point tags at a version, list and delete them, and show where an alias was",
		Long: `Point each TAG at the version that REF resolves to, in the same repository. Nothing is
uploaded. A tag that exists moves, unless the record of the repository ("modelreg repo")
makes it immutable (exit 4); "modelreg tag create" moves none without --move. A protected
alias is not set to a version that was yanked (exit 11) without --force.

Moves of a protected alias are written to a log in the repository, which "modelreg tag
log" shows; with --key or --keyless the entry is signed.`,
		Example: `  modelreg tag ghcr.io/acme/support@sha256:… v1.2.0
  modelreg tag ghcr.io/acme/support:v1.2.0 prod -m "ticket 123" --key team.key`,
		Args:              rangeArgs(2, -1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := a.tagOptions(cmd, f)
			if err != nil {
				return err
			}
			opts.Move, opts.Force = true, force
			return a.setTags(cmd, args, opts)
		},
	}
	addTagForce(cmd, &force)
	f.add(cmd)
	cmd.AddCommand(newTagCreate(a), newTagList(a), newTagDelete(a), newTagLog(a))
	return cmd
}

func (a *app) setTags(cmd *cobra.Command, args []string, opts hub.TagOptions) error {
	h, r, err := a.open(args[0])
	if err != nil {
		return err
	}
	res, err := h.SetTags(cmd.Context(), r, args[1:], opts)
	if err != nil {
		return err
	}
	a.printer.Note("tagged %s", strings.Join(args[1:], ", "))
	for _, m := range res.Moves {
		a.tellMove(m)
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

// tellMove says what of a move its log may not show, and where it is written.
func (a *app) tellMove(m hub.Move) {
	for _, note := range m.Notes {
		a.printer.Warn("%s", note)
	}
	if m.Changed && m.Logged != "" {
		a.printer.Note("%s: from %s to %s, logged as %s", m.Tag, place(m.From), place(m.To), short(m.Logged))
	}
}

func place(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return short(digest)
}

func newTagCreate(a *app) *cobra.Command {
	var f moveFlags
	var move, protect, force bool
	cmd := &cobra.Command{
		Use:   "create REF TAG...",
		Short: "Point new tags at a version",
		Long: `Point each TAG at the version that REF resolves to. A tag that stands for another
version already is an error (exit 4) before any is set; --move moves it.

With --protect the tags become aliases whose moves are logged, from this one on: the
record of the repository names them then.`,
		Example: `  modelreg tag create ghcr.io/acme/support:main v1.2.0
  modelreg tag create ghcr.io/acme/support:v1.2.0 prod --protect`,
		Args:              rangeArgs(2, -1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := a.tagOptions(cmd, f)
			if err != nil {
				return err
			}
			opts.Move, opts.Protect, opts.Force = move, protect, force
			return a.setTags(cmd, args, opts)
		},
	}
	cmd.Flags().BoolVar(&move, "move", false, "move tags that stand for another version")
	addTagForce(cmd, &force)
	cmd.Flags().BoolVar(&protect, "protect", false, "log the moves of these tags, from this one on")
	f.add(cmd)
	return cmd
}

func newTagList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "list REPOSITORY",
		Short:             "List the tags of a repository, which of them may move, and what was withdrawn",
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			list, err := h.ListTags(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.printer.Result(list, func(w io.Writer) {
				t := a.markedTable(w, "TAG\tDIGEST\tRULES")
				for _, info := range list {
					t.row(info.Status, ui.Line(info.Tag), short(info.Digest), strings.Join(tagRules(info), ", "))
				}
				t.flush()
			})
		},
	}
}

func tagRules(t hub.TagInfo) []string {
	var rules []string
	for name, holds := range map[string]bool{"immutable": t.Immutable, "protected": t.Protected, "default": t.Default} {
		if holds {
			rules = append(rules, name)
		}
	}
	return sorted(rules)
}

func newTagDelete(a *app) *cobra.Command {
	var f moveFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "delete REF",
		Short: "Remove a tag, and keep its version",
		Long: `Remove the tag that REF names. The version stays, and can be had by its digest: a tag of
its own holds it. A tag that the record of the repository makes immutable is not removed
(exit 4). Nor is a protected alias, without --force; then its log says that it was. Some
registries remove no tags.`,
		Example:           "  modelreg tag delete ghcr.io/acme/support:canary",
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := a.tagOptions(cmd, f)
			if err != nil {
				return err
			}
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			opts.Force = force
			res, err := h.Untag(cmd.Context(), r, opts)
			if err != nil {
				return err
			}
			a.tellMove(res.Move)
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete a protected alias, too")
	f.add(cmd)
	return cmd
}

func newTagLog(a *app) *cobra.Command {
	var f trustFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "log REF",
		Short: "Show where an alias was, and who moved it",
		Long: `Show the moves of the protected alias that REF names, the newest first: when, from
where, to where, why. Time, author and message are what was claimed; with --key or
--certificate-identity each entry tells whether a trusted party has signed it, somebody
else, or nobody.

What is wrong with the log is told, and then the exit code is 8: entries that are gone,
moves that nobody logged. Somebody who may push to the repository can cut the newest
entries off and set the alias back so that nothing shows, but forge none that is signed.`,
		Example: `  modelreg tag log ghcr.io/acme/support:prod
  modelreg tag log ghcr.io/acme/support:prod --key team.pub`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.tagLog(cmd, args[0], f, limit) },
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "show no more than `N` entries")
	f.add(cmd.Flags())
	return cmd
}

// printAliasLog prints a log; with verified also who has signed its entries.
func printAliasLog(w io.Writer, log *hub.AliasLog, verified bool) {
	t := ui.Table(w)
	signed := ""
	if verified {
		signed = "SIGNED\t"
	}
	fmt.Fprintf(t, "NO\tTIME\tMOVE\t%sAUTHOR\tMESSAGE\n", signed)
	for _, e := range log.Entries {
		if verified {
			signed = signedWords(e) + "\t"
		}
		message := ui.Line(e.Message)
		if !e.Stands {
			message = "(lost against the one above) " + message
		}
		fmt.Fprintf(t, "%d\t%s\t%s → %s\t%s%s\t%s\n", e.Seq, e.Time.Format(time.RFC3339), place(e.From), place(e.To), signed, ui.Line(e.Author), message)
	}
	_ = t.Flush() // errors are kept by the writer below
}

func signedWords(e hub.LogEntry) string {
	switch e.Signed {
	case hub.SignedTrusted:
		return "✓ " + ui.Line(partiesOf(e.Signers))
	case hub.SignedOther:
		return "by somebody else"
	case hub.SignedNot:
		return "unsigned"
	}
	return "not known"
}

// signedCounts sums up who has signed the entries of a log.
func signedCounts(log *hub.AliasLog) string {
	n := map[string]int{}
	for _, e := range log.Entries {
		n[e.Signed]++
	}
	line := fmt.Sprintf("%s: %d signed by those you trust, %d by others, %d unsigned",
		plural(len(log.Entries), "move"), n[hub.SignedTrusted], n[hub.SignedOther], n[hub.SignedNot])
	if unknown := n[hub.SignedUnknown]; unknown > 0 {
		line += fmt.Sprintf("; of %d it is not known", unknown)
	}
	return line
}

func (a *app) tagLog(cmd *cobra.Command, arg string, f trustFlags, limit int) error {
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	trust, err := a.trustOf(cmd.Context(), f)
	if err != nil {
		return err
	}
	log, err := h.AliasLog(cmd.Context(), r, trust, limit)
	if err != nil {
		return err
	}
	err = a.printer.Result(log, func(w io.Writer) {
		printAliasLog(w, log, trust != nil)
	})
	if trust != nil {
		a.printer.Note("%s", signedCounts(log))
	}
	for _, p := range log.Problems {
		a.printer.Warn("%s", p)
	}
	if err == nil && len(log.Problems) > 0 {
		err = fmt.Errorf("log of %s: %w", r, hub.ErrBrokenLog)
	}
	return err
}
