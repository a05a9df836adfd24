package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

func newCardShow(a *app) *cobra.Command {
	var f cardFlags
	var raw bool
	cmd := &cobra.Command{
		Use:   "show REF | DIR",
		Short: "Show the card of a version or of a directory",
		Long: `Show a card: the facts first, then the text, laid out for the terminal. --raw writes the
README as it is, --format html a fragment of HTML that is safe to put into a page.`,
		Example: `  modelreg card show ghcr.io/acme/support:v1
  modelreg card show ghcr.io/acme/support:v1 --key team.pub
  modelreg card show ghcr.io/acme/support:v1 --revision 2 --raw >README.md`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.cardShow(cmd.Context(), args[0], f, raw)
		},
	}
	choose(cmd, choiceFlag{value: &a.format, name: "format", usage: "shape of results on standard output: `text|json|html`"}, "text", "json", "html")
	cmd.Flags().BoolVar(&raw, "raw", false, "write the README byte for byte")
	f.add(a, cmd)
	return cmd
}

// cardShown is the result of "card show".
type cardShown struct {
	Reference string            `json:"reference"` // or the path of the README
	Digest    string            `json:"digest"`    // of the version; empty on this machine
	Revision  *hub.CardRevision `json:"revision"`  // null on this machine
	Problems  []string          `json:"problems"`
	Card      json.RawMessage   `json:"card"` // front matter, verbatim
	SPDX      string            `json:"spdx"` // the licence as an SPDX expression
	Summary   string            `json:"summary"`
	Body      string            `json:"body"` // Markdown
	Score     int               `json:"score"`
}

func (a *app) cardShow(ctx context.Context, arg string, f cardFlags, raw bool) error {
	s, err := a.fetchCard(ctx, arg, f)
	if err != nil {
		return err
	}
	switch {
	case raw && a.format != "text":
		return usagef("--raw and --format do not go together")
	case raw:
		_, err = a.out.Write(s.raw)
		return err
	case a.format == "html":
		html, err := s.card.HTML(card.HTMLOptions{})
		if err != nil {
			return fmt.Errorf("show card of %s: %w", s.name(), err)
		}
		_, err = a.out.Write(html)
		return err
	}
	res, err := s.shown()
	if err != nil {
		return err
	}
	if s.card.Problem != nil {
		a.printer.Warn("%v", s.card.Problem)
	}
	look := lookOf(a.out)
	var textErr error
	err = a.printer.Result(res, func(w io.Writer) {
		printCardHead(w, s, res, look)
		textErr = s.card.Text(w, card.TextOptions{Width: look.width, Color: look.color})
	})
	return cmp.Or(err, textErr)
}

// shown is all that there is to show of a card.
func (s *shownCard) shown() (cardShown, error) {
	res := cardShown{
		Reference: s.name(), Digest: s.Digest, Problems: append([]string{}, s.Problems...), Card: s.card.JSON(),
		SPDX: s.card.Meta.SPDX(), Summary: s.card.Summary(), Body: string(bytes.ToValidUTF8(s.card.Body, []byte("\ufffd"))),
	}
	if s.path == "" {
		res.Revision = &s.Revision
	}
	report, err := s.card.Lint(card.LintOptions{Pinned: s.Pinned})
	if err != nil {
		return res, fmt.Errorf("show card of %s: %w", s.name(), err)
	}
	res.Score = report.Score
	if s.card.Problem != nil {
		res.Problems = append(res.Problems, s.card.Problem.Error())
	}
	return res, nil
}

// A look is what the place that text goes to can show.
type look struct {
	width int
	color bool
}

// maxTextWidth is how wide lines of prose are at most: wider ones are hard to read.
const maxTextWidth = 100

func lookOf(w io.Writer) look {
	l := look{width: 80}
	f, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return l
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
		l.width = min(width, maxTextWidth)
	}
	l.color = os.Getenv("NO_COLOR") == ""
	return l
}

// strong makes text stand out where that can be shown. The text is safe already.
func (l look) strong(s string) string {
	if !l.color {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// faint is the opposite of strong.
func (l look) faint(s string) string {
	if !l.color {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}

// printCardHead prints what is known of the model before its text.
func printCardHead(w io.Writer, s *shownCard, res cardShown, l look) {
	m, an := s.card.Meta, s.Annotations
	fmt.Fprintln(w, l.strong(ui.Line(cmp.Or(m.Name, titleOf(s)))))
	if facts := ui.Line(strings.Join(factsOf(m, an), " · ")); facts != "" {
		fmt.Fprintln(w, facts)
	}
	t := ui.Table(w)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", l.faint(name), ui.Line(value))
		}
	}
	licence := cmp.Or(res.SPDX, strings.Join(m.Licenses, ", "))
	row("version", spoken(s.Reference))
	row("licence", cmp.Or(licence, "none is named"))
	row("language", brieflyList(m.Languages))
	relation := ""
	if m.BaseRelation != "" && len(m.BaseModels) > 0 {
		relation = " (" + m.BaseRelation + ")"
	}
	row("base", brieflyList(m.BaseModels)+relation)
	row("data", brieflyList(m.Datasets))
	row("results", resultsOf(m.Results))
	row("tags", brieflyList(m.Tags))
	row("replaced by", m.NewVersion)
	row("card", cardState(s))
	row("complete", fmt.Sprintf("%d of 100 (\"modelreg card lint\" tells what is missing)", res.Score))
	_ = t.Flush() // errors are kept by the writer below
	fmt.Fprintf(w, "%s\n\n", l.faint(strings.Repeat("─", l.width)))
}

// titleOf is what to call a model whose card does not say.
func titleOf(s *shownCard) string {
	if s.path != "" {
		return s.path
	}
	name, _, _ := strings.Cut(spoken(s.Reference), "@")
	return name
}

// factsOf are the few things that one wants to know first.
func factsOf(m card.Metadata, an map[string]string) []string {
	var out []string
	add := func(s string) {
		if s != "" {
			out = append(out, s)
		}
	}
	add(cmp.Or(m.Task, an[mediatypes.AnnotationTask]))
	add(cmp.Or(m.Library, an[mediatypes.AnnotationLibrary]))
	add(an[mediatypes.AnnotationArchitecture])
	if n, err := strconv.ParseInt(an[mediatypes.AnnotationParameters], 10, 64); err == nil && n > 0 {
		add(ui.Count(n) + " parameters")
	}
	add(an[mediatypes.AnnotationQuantization])
	add(strings.ReplaceAll(an[mediatypes.AnnotationFormats], ",", ", "))
	if n := an[mediatypes.AnnotationContextLength]; n != "" {
		add("context " + n)
	}
	return out
}

// brieflyList joins the first of many.
func brieflyList(list []string) string {
	const most = 8
	if n := len(list) - most; n > 0 {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ")
}

// resultsOf are the first results, as the card claims them, by dataset.
func resultsOf(results []card.Result) string {
	const most = 12
	var out []string
	last := ""
	for _, r := range results[:min(len(results), most)] {
		text := strings.TrimSpace(cmp.Or(r.Metric.Name, r.Metric.Type) + " " + r.Value)
		on := cmp.Or(r.Dataset.Name, r.Dataset.ID)
		if n := len(out); n > 0 && on == last {
			out[n-1] += ", " + text
		} else {
			out = append(out, on+": "+text)
		}
		last = on
	}
	return brieflyList(out)
}

// cardState says in words which card this is, and which it is not.
func cardState(s *shownCard) string {
	if s.path != "" {
		return ""
	}
	rev := s.Revision
	state := "as released"
	if rev.Seq > 0 {
		state = "revision " + strconv.Itoa(rev.Seq) + when(rev.Created)
		switch rev.Status {
		case hub.CardVerified:
			state += ", signed by " + partiesOf(rev.Signers)
		case hub.CardPublisher:
			state += ", signed by " + partiesOf(rev.Signers) + ", a publisher by the repository's own record"
		default:
			state += ", not signed by anybody who is trusted"
		}
	}
	if n := rev.Newer; n != nil {
		state += fmt.Sprintf("; there is an unverified update, revision %d%s (--revision newest shows it)", n.Seq, when(n.Created))
	}
	return state
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " of " + t.Format(time.DateOnly)
}

// partiesOf names signers in few words.
func partiesOf(signers []hub.Signer) string {
	names := make([]string, len(signers))
	for i, s := range signers {
		names[i] = s.Identity
		if s.Kind != "certificate" {
			names[i] = "key " + s.KeyFingerprint[:min(12, len(s.KeyFingerprint))]
		}
	}
	return strings.Join(names, ", ")
}

func printLint(w io.Writer, s *shownCard, r *card.Report) {
	t := ui.Table(w)
	for _, f := range r.Findings {
		line := "-"
		if f.Line > 0 {
			line = strconv.Itoa(f.Line)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Level, line, f.Rule, ui.Line(f.Message))
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	t = ui.Table(w)
	for _, sec := range r.Sections {
		fmt.Fprintf(t, "%s\t%d/%d\t%s\t%s\n", sec.Title, sec.Points, sec.Most, sec.State, ui.Line(sec.Reason))
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\n%s: complete to %d of 100; %s\n", ui.Line(s.name()), r.Score, counted(r))
}
