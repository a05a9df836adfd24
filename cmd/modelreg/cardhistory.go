package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/hub"
)

func newCardHistory(a *app) *cobra.Command {
	var f trustFlags
	cmd := &cobra.Command{
		Use:   "history REF",
		Short: "List the revisions of a card, and who has signed them",
		Long: `List what the card of a version was, the newest revision first. The one that counts is
marked with an asterisk. Each revision names the one before it, so that one that was removed
is noticed; the newest being removed leaves no trace. "(publisher)" is who the repository's own
record names: whoever may push there can write that, so name the keys that matter with --key.`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, err := a.givenTrust(cmd.Context(), f)
			if err != nil {
				return err
			}
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.CardHistory(cmd.Context(), r, trust)
			if err != nil {
				return err
			}
			for _, p := range res.Problems {
				a.printer.Warn("%s", p)
			}
			return a.printer.Result(res, func(w io.Writer) { printCardHistory(w, res) })
		},
	}
	f.add(cmd.Flags())
	a.addPolicyFlags(cmd)
	return cmd
}

func printCardHistory(w io.Writer, res *hub.CardHistory) {
	t := ui.Table(w)
	fmt.Fprintln(t, "\tREVISION\tDIGEST\tTIME\tSIGNED BY\tMESSAGE")
	for _, rev := range res.Revisions {
		mark, number, at := "", "released", "-"
		if rev.Digest == res.Effective {
			mark = "*"
		}
		if rev.Seq > 0 {
			number = strconv.Itoa(rev.Seq)
		}
		if !rev.Created.IsZero() {
			at = rev.Created.Format(time.RFC3339)
		}
		who := partiesOf(rev.Signers)
		switch {
		case rev.Status == hub.CardReleased:
			who = "(with the version)"
		case rev.Status == hub.CardPublisher:
			who += " (publisher)"
		case who == "":
			who = "nobody who is trusted"
		}
		message := rev.Message
		if rev.Author != "" {
			message += " (" + rev.Author + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", mark, number, short(rev.Digest), at, ui.Line(who), ui.Line(message))
	}
	_ = t.Flush()
}

func newCardDiff(a *app) *cobra.Command {
	var f cardFlags
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff REF|DIR [REF|DIR]",
		Short: "Show what changed from one card to another",
		Long: `Show the keys of the front matter that differ, by their values, and the sections of the text
that do. With one REF it compares the card as released with the one that counts now, or with
--revision. With --exit-code the exit code is 1 when there are differences.`,
		Example: `  modelreg card diff ghcr.io/acme/support:v1
  modelreg card diff ghcr.io/acme/support:v1 ./model`,
		Args:              rangeArgs(1, 2),
		ValidArgsFunction: positions(a.references, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.cardDiff(cmd.Context(), args, f, exitCode)
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with exit code 1 when there are differences")
	f.add(a, cmd)
	return cmd
}

// cardDiffed is the result of "card diff".
type cardDiffed struct {
	From string `json:"from"` // reference or path, and the digest of the revision
	To   string `json:"to"`
	*card.Difference
}

func (a *app) cardDiff(ctx context.Context, args []string, f cardFlags, exitCode bool) error {
	old, now, err := a.twoCards(ctx, args, f)
	if err != nil {
		return err
	}
	d, err := card.Compare(old.card, now.card)
	if err != nil {
		return fmt.Errorf("compare cards: %w", err)
	}
	for _, side := range []*shownCard{old, now} {
		if n := side.Revision.Newer; n != nil {
			a.printer.Note("%s has an update that nobody who is trusted has signed, revision %d%s: --revision newest compares it, --key names whom to trust",
				spoken(side.Reference), n.Seq, when(n.Created))
		}
	}
	l := lookOf(a.out)
	err = a.printer.Result(cardDiffed{old.label(), now.label(), d}, func(w io.Writer) { printCardDiff(w, d, l) })
	if err == nil && exitCode && !d.Empty() {
		return errCardsDiffer
	}
	return err
}

func (a *app) twoCards(ctx context.Context, args []string, f cardFlags) (old, now *shownCard, err error) {
	if len(args) == 1 {
		if _, local := a.localCard(args[0]); local {
			return nil, nil, usagef("card diff %s: with what? give a second REF or DIR", args[0])
		}
		if f.released {
			return nil, nil, usagef("--released is what the card is compared with: nothing would differ")
		}
		if old, err = a.fetchCard(ctx, args[0], cardFlags{released: true}); err != nil {
			return nil, nil, err
		}
		now, err = a.fetchCard(ctx, args[0], f)
		return old, now, err
	}
	sides := make([]*shownCard, len(args))
	for i, arg := range args {
		flags := f
		if _, local := a.localCard(arg); local {
			flags = cardFlags{}
		}
		if sides[i], err = a.fetchCard(ctx, arg, flags); err != nil {
			return nil, nil, err
		}
	}
	return sides[0], sides[1], nil
}

// label names a card and its revision.
func (s *shownCard) label() string {
	if s.path != "" {
		return s.path
	}
	return s.Reference + " card " + s.Revision.Digest
}

func printCardDiff(w io.Writer, d *card.Difference, l look) {
	for _, f := range d.Fields {
		switch {
		case f.Old == "":
			fmt.Fprintf(w, "%s %s: %s\n", l.green("+"), ui.Line(f.Key), ui.Line(f.New))
		case f.New == "":
			fmt.Fprintf(w, "%s %s: %s\n", l.red("-"), ui.Line(f.Key), ui.Line(f.Old))
		default:
			fmt.Fprintf(w, "~ %s: %s %s %s\n", ui.Line(f.Key), l.red(ui.Line(f.Old)), l.faint("→"), l.green(ui.Line(f.New)))
		}
	}
	for _, s := range d.Sections {
		title := s.Title
		if title == "" {
			title = "(before the first heading)"
		}
		fmt.Fprintf(w, "\n%s %s\n", l.strong("# "+ui.Line(title)), l.faint(s.Change))
		for _, line := range s.Lines {
			text := ui.Line(line)
			switch line[0] {
			case '+':
				text = l.green(text)
			case '-':
				text = l.red(text)
			}
			fmt.Fprintln(w, text)
		}
	}
	if d.Empty() {
		fmt.Fprintln(w, "the cards say the same")
	}
}

func (l look) green(s string) string { return l.colored("32", s) }
func (l look) red(s string) string   { return l.colored("31", s) }

func (l look) colored(code, s string) string {
	if !l.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// errCardsDiffer says what --exit-code asks about.
var errCardsDiffer = errors.New("the cards differ")
