package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
)

type logFlags struct {
	hub.LogOptions
	graph, oneline, patch bool
	trust                 trustFlags
	style                 ui.Style
	headlines             headlines
}

// A logged version may come with what it changed.
type logged struct {
	hub.HistoryEntry

	Diff *hub.DiffResult `json:"diff,omitempty"`
}

func newLog(a *app) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "log REF",
		Short: "Show the versions of a branch, newest first",
		Long: `Show the version that REF resolves to and those that it was made from, newest first.
Only manifests are read.

Each version names its parents, so whoever signed it has signed its history. Message and
author are what the pusher wrote; whose signature is on a version, --key or
--certificate-identity tell. A version says when it was made only if it was pushed with
--created or SOURCE_DATE_EPOCH. One that was deprecated or yanked is marked, where that
counts for those who pull it.

With --metrics each version comes with the results that are known of it: first those that
most of the versions have, so that one can be followed through the history. Behind each is
whose word it is, as "modelreg eval list" tells: "trusted" where --key or an identity names
who signed it, "claimed" where nothing but the card says so.

With --all the versions of all branches and tags are listed, and those that no branch
leads to any more: nothing that was pushed is lost until it is collected.`,
		Example: `  modelreg log ghcr.io/acme/support:main
  modelreg log ghcr.io/acme/support --all --graph --oneline
  modelreg log ghcr.io/acme/support:main~10 -n 5 --format json
  modelreg log ghcr.io/acme/support:main --key cosign.pub
  modelreg log ghcr.io/acme/support:main --oneline --metrics --key lab.pub`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.log(cmd, args[0], f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.graph, "graph", false, "draw the history, as git does")
	fl.BoolVar(&f.oneline, "oneline", false, "one line for each version")
	fl.BoolVarP(&f.patch, "patch", "p", false, "show what each version changed against its first parent, as \"modelreg diff\" does, in files, configuration and card")
	fl.IntVarP(&f.Limit, "max-count", "n", 0, "show at most `N` versions")
	fl.BoolVar(&f.All, "all", false, "start from all branches and tags, and from versions that none of them leads to")
	fl.BoolVar(&f.Metrics, "metrics", false, "show what each version was measured to do, and whose word that is")
	fl.BoolVar(&f.FirstParent, "first-parent", false, "follow only the first parent of each version")
	f.trust.add(fl)
	return cmd
}

func (a *app) log(cmd *cobra.Command, arg string, f logFlags) (err error) {
	if f.Limit < 0 {
		return usagef("--max-count %d: not a number of versions", f.Limit)
	}
	if f.trust.used() {
		if f.Trust, err = a.trusted(cmd.Context(), f.trust); err != nil {
			return err
		}
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	res, err := h.Log(cmd.Context(), r, f.LogOptions)
	if err != nil {
		return err
	}
	a.noteGaps(res.Gaps)
	if res.More && f.Limit == 0 {
		a.printer.Warn("only the first %d versions are shown", len(res.Entries))
	}
	list := make([]logged, len(res.Entries))
	for i, e := range res.Entries {
		list[i].HistoryEntry = e
	}
	if f.patch {
		if err := a.patches(cmd.Context(), h, r, list); err != nil {
			return err
		}
	}
	f.style = a.printer.Style()
	if f.Metrics {
		f.headlines = headlinesOf(res.Entries)
	}
	return a.printer.Result(list, func(w io.Writer) { a.printLog(w, list, f) })
}

// noteGaps tells where a history ends because versions were collected.
func (a *app) noteGaps(gaps []string) {
	const most = 3
	switch n := len(gaps); {
	case n == 0:
	case n <= most:
		var short []string
		for _, g := range gaps {
			short = append(short, shortRevision(g))
		}
		a.printer.Warn("the history is cut: not in the registry any more: %s", strings.Join(short, ", "))
	default:
		a.printer.Warn("the history is cut: not in the registry any more: %s and %d others", shortRevision(gaps[0]), n-1)
	}
}

// patches compares versions with their first parents, some at once.
func (a *app) patches(ctx context.Context, h *hub.Hub, r ref.Reference, list []logged) error {
	const atOnce = 4
	g, both := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	levels := diff.Levels{Files: true, Config: true, Card: true}
	for i := range list {
		parents := list[i].Commit().Parents
		if len(parents) == 0 {
			continue
		}
		g.Go(func() (err error) {
			at := r.WithTag("")
			from, to := hub.DiffSide{Reference: at.WithDigest(parents[0])}, hub.DiffSide{Reference: at.WithDigest(list[i].Commit().Digest)}
			list[i].Diff, err = h.Diff(both, from, to, hub.DiffOptions{Options: diff.Options{Levels: levels}})
			if errors.Is(err, errdef.ErrNotFound) {
				return nil // the parent is gone, which has been said
			}
			return err
		})
	}
	return g.Wait()
}

func (a *app) printLog(w io.Writer, list []logged, f logFlags) {
	var g lineage.Graph
	for i, e := range list {
		text := entryLines(e.HistoryEntry, f)
		if e.Diff != nil {
			var b strings.Builder
			d := diffPrinter{w: &b, style: a.printer.Style()}
			d.print(e.Diff)
			text = append(text, "")
			text = append(text, strings.Split(strings.TrimRight(b.String(), "\n"), "\n")...)
		}
		if (!f.oneline || f.patch) && i < len(list)-1 {
			text = append(text, "")
		}
		if f.graph {
			drawEntry(w, g.Add(drawn(e.HistoryEntry, f.FirstParent)), text)
		} else {
			writeLines(w, text)
		}
	}
}

// drawn is a version with those of its parents that a line leads to.
func drawn(e hub.HistoryEntry, first bool) lineage.Commit {
	c := e.Commit()
	if first {
		c.Parents = c.Parents[:min(1, len(c.Parents))]
	}
	c.Parents = slices.DeleteFunc(slices.Clone(c.Parents), func(p digest.Digest) bool { return slices.Contains(e.Missing, p.String()) })
	return c
}

func writeLines(w io.Writer, lines []string) {
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
}

// drawEntry writes the lines of a version beside its place in the graph.
func drawEntry(w io.Writer, d lineage.Drawing, text []string) {
	line := func(drawn, text string) { fmt.Fprintln(w, strings.TrimRight(drawn+text, " ")) }
	line(d.Line, text[0])
	for i, l := range text[1:] {
		drawn := d.Rest
		if i < len(d.Below) {
			drawn = d.Below[i]
		}
		line(drawn, l)
	}
	for i := len(text) - 1; i < len(d.Below); i++ {
		line(d.Below[i], "")
	}
}

// entryLines is a version for people. What strangers wrote is escaped.
func entryLines(e hub.HistoryEntry, f logFlags) []string {
	if f.oneline {
		line := onelineEntry(e, f.style)
		if m := f.headlines.of(e, onelineMetrics); len(m) > 0 {
			line += " {" + ui.Line(strings.Join(m, ", ")) + "}"
		}
		return []string{line}
	}
	lines := []string{"version " + e.Digest + tagList(e.Tags)}
	if e.Status != nil {
		lines = append(lines, "status:  "+f.style.Bad(statusLine(e.Status)))
	}
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, name+" "+ui.Line(value))
		}
	}
	if len(e.Parents) > 1 {
		var parents []string
		for _, p := range e.Parents {
			parents = append(parents, shortRevision(p))
		}
		add("merge:  ", strings.Join(parents, " "))
	}
	add("author: ", e.Author)
	add("date:   ", e.Created)
	if e.ChangeID != e.Revision {
		add("change: ", e.ChangeID)
	}
	add("size:   ", entrySize(e))
	add("signed: ", entrySigners(e))
	for _, m := range f.headlines.of(e, entryMetrics) {
		add("metric: ", m)
	}
	add("squash: ", e.Squashed)
	add("problem:", e.Problem)
	if e.Message == "" {
		return lines
	}
	lines = append(lines, "")
	for l := range strings.SplitSeq(e.Message, "\n") {
		lines = append(lines, strings.TrimRight("    "+ui.Line(l), " "))
	}
	return lines
}

// onelineEntry is a version in one line: its revision, its names, what became of it,
// the first line of the message, and who signed it.
func onelineEntry(e hub.HistoryEntry, style ui.Style) string {
	line := shortRevision(e.Digest) + tagList(e.Tags)
	if e.Status != nil {
		line += " " + style.Bad("["+string(e.Status.State)+"]")
	}
	if subject := e.Commit().Subject(); subject != "" {
		line += " " + ui.Line(subject)
	}
	if len(e.Signers) > 0 {
		line += " [" + entrySigners(e) + "]"
	}
	return line
}

func tagList(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return " (" + ui.Line(strings.Join(tags, ", ")) + ")"
}

func entrySize(e hub.HistoryEntry) string {
	switch c := e.Commit(); {
	case !c.Index:
		return ui.Bytes(e.Size)
	case c.Variants == 0:
		return "an index"
	case e.Size == 0:
		return plural(c.Variants, "variant")
	default:
		return ui.Bytes(e.Size) + " in " + plural(c.Variants, "variant")
	}
}

func entrySigners(e hub.HistoryEntry) string {
	var by []string
	for _, s := range e.Signers {
		by = append(by, signedBy(s))
	}
	switch {
	case len(by) > 0:
		return "by " + ui.Line(strings.Join(by, ", "))
	case e.Signatures == 0:
		return ""
	case e.Signatures == 1:
		return "1 signature, not verified"
	}
	return fmt.Sprintf("%d signatures, not verified", e.Signatures)
}

// shortRevision cuts a digest to what people name versions by.
func shortRevision(digest string) string {
	const digits = 12
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(digits, len(hex))]
}
