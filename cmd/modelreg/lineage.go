package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
)

func newLineage(a *app) *cobra.Command {
	var opts hub.LineageOptions
	var trust trustFlags
	var up bool
	var format, index string
	cmd := &cobra.Command{
		Use:   "lineage REF",
		Short: "Show what a version was made of, and what was made of it",
		Long: `Show what a version was made of, through all registries that it names: base models,
datasets, code. With --down, what was made of it too.

What a version says of its bases is compared with the headers of the weights of
both: a quantised model has the base's names and shapes, the targets of an adapter
are in the base and fit, a fine-tune is shaped alike. Then it is "checked", else
"claimed", or "contradicted". Weights are not fetched.

Warnings tell what is passed on: a licence that promises more than the base's, a
base that was yanked, has no signature, or was found unsafe by a scan.

With --down an index is asked too, if there is one ("modelreg index build" and
"index pull" make it). What it tells of is marked and shown as the index has it;
--confirm reads it where it lies, and leaves out what is not so. With --offline the
index alone is asked.`,
		Example: `  modelreg lineage ghcr.io/acme/support-gguf:v1
  modelreg lineage ghcr.io/acme/base:v3 --down --in ghcr.io/acme --in ghcr.io/labs
  modelreg lineage ghcr.io/acme/base:v3 --down --offline
  modelreg lineage ghcr.io/acme/support:v1 --format dot | dot -Tsvg -o lineage.svg`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Both = up && opts.Down
			return a.lineage(cmd, args[0], lineageRun{opts, trust, format, index})
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&up, "up", false, "show what it was made of (the default; with --down, both)")
	fl.BoolVar(&opts.Down, "down", false, "show what was made of it")
	fl.StringArrayVar(&opts.In, "in", nil, "look for what was made of it in the repositories of `HOST/PREFIX` (repeatable; default: the version's own organisation)")
	fl.StringVar(&index, "index", "", "with --down ask the index in `FILE` too (default: index.db in the cache directory, if there is one)")
	fl.BoolVar(&opts.Confirm, "confirm", false, "read what the index tells of in its registry, and leave out what is not so")
	fl.BoolVar(&opts.Offline, "offline", false, "with --down ask the index alone, and no registry")
	fl.IntVar(&opts.Depth, "depth", hub.DefaultLineageDepth, "take `N` steps each way")
	fl.BoolVar(&opts.NoCheck, "no-check", false, "do not compare weights")
	choose(cmd, choiceFlag{value: &format, name: "format", usage: "shape of the result on standard output: `text|json|dot`; dot is for Graphviz"}, "text", "json", "dot")
	trust.add(fl)
	a.addPolicyFlags(cmd)
	cmd.AddCommand(newLineageAnnounce(a))
	return cmd
}

func newLineageAnnounce(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "announce REF",
		Short: "Tell what a version was made of that it was",
		Long: `Attach to what a version was made of a note that says so, so that "modelreg lineage
--down" finds the version from there, in whatever registry it is, without reading
other repositories.

That takes the right to write to those repositories. What cannot be told is listed,
and it is an error if nothing could be. A note is a hint: what counts is what the
version itself says, and it is read to see that it does. The same note again changes
nothing.`,
		Example: `  modelreg push ./tuned ghcr.io/acme/support:v1 --base ghcr.io/labs/base:v3
  modelreg lineage announce ghcr.io/acme/support:v1
  modelreg lineage ghcr.io/labs/base:v3 --down`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, failed := h.Announce(cmd.Context(), r)
			if res == nil {
				return failed
			}
			if err := a.printer.Result(res, func(w io.Writer) { printAnnounced(w, res) }); err != nil {
				return err
			}
			return failed
		},
	}
}

func printAnnounced(w io.Writer, res *hub.AnnounceResult) {
	for _, b := range res.Bases {
		what := "told before"
		switch {
		case b.Problem != "":
			what = "not told: " + b.Problem
		case b.Made:
			what = "told"
		}
		fmt.Fprintf(w, "%s  %s  %s\n", b.Relation, ui.Line(spoken(b.Reference)+shortHex(b.Digest)), ui.Line(spoken(what)))
	}
}

// noteAnnounced tells what was told of a version that was pushed.
func (a *app) noteAnnounced(res *hub.PushResult) {
	for _, b := range res.Announced {
		what := ui.Line(spoken(b.Reference) + shortHex(b.Digest))
		switch {
		case b.Problem != "":
			a.printer.Warn("not announced at %s: %s; \"modelreg lineage announce %s\" does it", what, ui.Line(spoken(b.Problem)), spoken(res.Reference))
		case b.Made:
			a.printer.Note("announced at %s", what)
		}
	}
}

// lineageRun is how a lineage was asked for.
type lineageRun struct {
	opts   hub.LineageOptions
	trust  trustFlags
	format string
	index  string // its file
}

func (a *app) lineage(cmd *cobra.Command, arg string, run lineageRun) (err error) {
	if run.opts.Depth < 1 || run.opts.Depth > 64 {
		return usagef("--depth %d: use 1 to 64", run.opts.Depth)
	}
	if len(run.opts.In) > 0 && !run.opts.Down {
		return usagef("--in is used with --down")
	}
	if err := run.checkIndexFlags(); err != nil {
		return err
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	if run.opts.Down {
		if run.opts.Index, err = a.lineageIndex(cmd.Context(), run); err != nil {
			return err
		}
	}
	if ix := run.opts.Index; ix != nil {
		defer func() { err = errors.Join(err, ix.Close()) }()
	}
	if run.trust.used() {
		if run.opts.Trust, err = a.trusted(cmd.Context(), run.trust); err != nil {
			return err
		}
	}
	res, err := h.Lineage(cmd.Context(), r, run.opts)
	if err != nil {
		return err
	}
	if res.Truncated {
		a.printer.Warn("there is more than is shown")
	}
	if run.format == "dot" {
		_, err := io.WriteString(a.out, lineageDOT(res))
		return err
	}
	a.printer.Format = ui.Format(run.format)
	return a.printer.Result(res, func(w io.Writer) { printLineage(w, res, run.opts) })
}

// printLineage draws what a version was made of as a tree below it, and then what
// was made of it, and what there is to say about all of them.
func printLineage(w io.Writer, res *hub.Lineage, opts hub.LineageOptions) {
	d, root := newDrawing(w, res), res.Nodes[0]
	fmt.Fprintln(w, nodeLine(root))
	if !opts.Down || opts.Both {
		d.branches(root.ID, "")
	}
	if opts.Down {
		d.down, d.drawn = true, map[string]bool{}
		fmt.Fprintln(w, "\nmade of it")
		if !d.branches(root.ID, "") {
			fmt.Fprintln(w, "└── nothing that was found")
		}
	}
	printPassedOn(w, res)
}

// printAncestry draws what a version was made of below something else.
func printAncestry(w io.Writer, res *hub.Lineage) {
	fmt.Fprintln(w, "\nmade of")
	if !newDrawing(w, res).branches(res.Nodes[0].ID, "") {
		fmt.Fprintln(w, "└── nothing that it names")
	}
	if res.Truncated {
		fmt.Fprintln(w, "\nthere is more than is shown")
	}
	printPassedOn(w, res)
}

func printPassedOn(w io.Writer, res *hub.Lineage) {
	if len(res.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	for _, warning := range res.Warnings {
		fmt.Fprintf(w, "! %s: %s\n", warning.Kind, ui.Line(spoken(warning.Message)))
	}
}

// maxInputRows bounds what is shown of what a version says that it was made of.
const maxInputRows = 8

// inputRows are what a version says that it was made of.
func inputRows(row func(name string, value any), inputs []hub.InputInfo) {
	name := "made of"
	for i, in := range inputs {
		if i == maxInputRows {
			row(name, fmt.Sprintf("and %d more", len(inputs)-i))
			return
		}
		words := relationWords(hub.LineageEdge{Relation: in.Relation, Inferred: in.Inferred, Weight: in.Weight})
		row(name, words+"  "+spoken(in.Reference)+shortHex(in.Digest))
		name = ""
	}
}

// A drawing is a lineage on its way to the terminal.
type drawing struct {
	w     io.Writer
	res   *hub.Lineage
	nodes map[string]hub.LineageNode
	down  bool
	drawn map[string]bool
}

func newDrawing(w io.Writer, res *hub.Lineage) *drawing {
	d := &drawing{w: w, res: res, nodes: map[string]hub.LineageNode{}, drawn: map[string]bool{}}
	for _, n := range res.Nodes {
		d.nodes[n.ID] = n
	}
	return d
}

// branches draws what is next to a node, each line after the branches that lead
// to it, and tells whether there was something.
func (d *drawing) branches(id, before string) bool {
	d.drawn[id] = true
	var edges []hub.LineageEdge
	for _, e := range d.res.Edges {
		if !d.down && e.Output == id || d.down && e.Input == id {
			edges = append(edges, e)
		}
	}
	for i, e := range edges {
		branch, further := "├── ", "│   "
		if i == len(edges)-1 {
			branch, further = "└── ", "    "
		}
		next := e.Input
		if d.down {
			next = e.Output
		}
		again := ""
		if d.drawn[next] {
			again = "  (as above)"
		}
		fmt.Fprintf(d.w, "%s%s%s  %s%s%s\n", before, branch, relationWords(e), nodeLine(d.nodes[next]), learntWords(e, d.nodes[next]), again)
		if e.Relation.OfModels() {
			fmt.Fprintf(d.w, "%s%s%s %s: %s\n", before, further, verdictMark(e.Claim.Verdict), e.Claim.Verdict, ui.Line(e.Claim.Reason))
		}
		if again == "" {
			d.branches(next, before+further)
		}
	}
	return len(edges) > 0
}

func verdictMark(v lineage.Verdict) string {
	return map[lineage.Verdict]string{lineage.Checked: "✓", lineage.Contradicted: "✗", lineage.Claimed: "·"}[v]
}

// relationWords are the relation and what is known of it.
func relationWords(e hub.LineageEdge) string {
	s := string(e.Relation)
	if e.Inferred {
		s += "?"
	}
	if e.Weight != 0 {
		s += fmt.Sprintf(" %g", e.Weight)
	}
	return s
}

// nodeLine is a node in one line.
func nodeLine(n hub.LineageNode) string {
	s := ui.Line(spoken(n.Reference) + shortHex(n.Digest))
	var words []string
	if len(n.Licenses) > 0 {
		words = append(words, ui.Line(strings.Join(n.Licenses, ", ")))
	}
	switch {
	case len(n.Signers) > 0:
		words = append(words, "signed by "+signedBy(n.Signers[0]))
	case n.Signatures == 1:
		words = append(words, "1 signature")
	case n.Signatures > 1:
		words = append(words, fmt.Sprintf("%d signatures", n.Signatures))
	case n.Read && n.Kind == "model":
		words = append(words, "unsigned")
	}
	if n.State != "" {
		words = append(words, strings.ToUpper(ui.Line(n.State)))
	}
	if len(words) > 0 {
		s += "  " + strings.Join(words, " · ")
	}
	return s
}

// shortHex is a digest behind a reference; nothing without one.
func shortHex(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	if hex == "" {
		return ""
	}
	return "@" + hex[:min(len(hex), 12)]
}

// lineageDOT writes a lineage in the language of Graphviz.
func lineageDOT(res *hub.Lineage) string {
	var b strings.Builder
	b.WriteString("digraph lineage {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n")
	for i, n := range res.Nodes {
		label := []string{spoken(n.Reference)}
		if hex := shortHex(n.Digest); hex != "" {
			label = append(label, hex[1:])
		}
		if len(n.Licenses) > 0 {
			label = append(label, strings.Join(n.Licenses, ", "))
		}
		attributes := "label=" + dotLabel(label...)
		switch {
		case i == 0:
			attributes += ", style=bold"
		case n.Kind != "model":
			attributes += ", shape=cylinder"
		case !n.Read:
			attributes += ", style=dashed"
		}
		if n.State != "" {
			attributes += ", color=red"
		}
		fmt.Fprintf(&b, "  %s [%s];\n", dotQuote(n.ID), attributes)
	}
	for _, e := range res.Edges {
		label, style := []string{relationWords(e)}, ""
		if e.Relation.OfModels() {
			label = append(label, string(e.Claim.Verdict))
			style = map[lineage.Verdict]string{lineage.Claimed: ", style=dashed", lineage.Contradicted: ", color=red, style=bold"}[e.Claim.Verdict]
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%s%s];\n", dotQuote(e.Input), dotQuote(e.Output), dotLabel(label...), style)
	}
	b.WriteString("}\n")
	return b.String()
}

// dotQuote writes a name as a string of DOT.
func dotQuote(s string) string { return `"` + dotEscape(s) + `"` }

// dotLabel writes lines as a label, in which Graphviz reads escapes (escString) and
// entities of HTML besides.
func dotLabel(lines ...string) string {
	for i, l := range lines {
		lines[i] = strings.ReplaceAll(dotEscape(l), "&", "&amp;")
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}

// dotEscape writes text for between quotes. There only a quote needs a backslash
// before it; one of the text is doubled, so that it neither stands before a quote
// nor begins an escape.
func dotEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(ui.Line(s))
}
