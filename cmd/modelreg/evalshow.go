package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/hub"
)

const evalClasses = `
  trusted     signed by a key or an identity that you name (--key, --certificate-identity)
  publisher   signed by a publisher that the repository's record names
  evaluator   signed by an evaluator that the record names
  community   signed by somebody else
  unsigned    attached by whoever can push there
  claimed     written in the card of the version

Who can push to a repository can write its record: name the keys that matter.`

func newEvalList(a *app) *cobra.Command {
	var who evalWho
	var metric string
	cmd := &cobra.Command{
		Use:   "list REF",
		Short: "List what a version was measured to do, and whose word that is",
		Long: `List the results that are known of the version REF: those stated in its repository, in
those that --from and the configuration name, and what its card claims. CLASS says whose
word a result is:
` + evalClasses,
		Example: `  modelreg eval list ghcr.io/acme/support:v1 --key lab.pub --from ghcr.io/lab/evals`,
		Args:    exactArgs(1), ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.evaluationsOf(cmd.Context(), args[0], &who)
			if err != nil {
				return err
			}
			if metric != "" {
				name := eval.NewMetric(metric, 0).Name
				res.Evaluations = slices.DeleteFunc(res.Evaluations, func(e hub.Evaluation) bool { return e.Metric.Name != name })
			}
			if len(res.Evaluations) == 0 {
				a.printer.Note("no results are known")
			}
			return a.printer.Result(res, func(w io.Writer) { printEvaluations(w, res.Evaluations) })
		},
	}
	who.add(cmd)
	cmd.Flags().StringVar(&metric, "metric", "", "only results of the metric `NAME`")
	return cmd
}

// printEvaluations prints a row for each result.
func printEvaluations(w io.Writer, list []hub.Evaluation) {
	if len(list) == 0 {
		return
	}
	t := ui.Table(w)
	fmt.Fprintln(t, "TASK\tMETRIC\tVALUE\tDATASET\tHARNESS\tCLASS\tSIGNER\tSTATEMENT")
	for _, e := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", ui.Line(taskName(e.Result)), ui.Line(metricName(e.Result)), evalValue(e.Result),
			ui.Line(datasetName(e.Result)), ui.Line(harnessName(e.Result)), evalClass(e), evalSigner(e), short(e.Statement))
	}
	_ = t.Flush()
	for i, e := range list {
		if i > 0 && list[i-1].Statement == e.Statement {
			continue
		}
		for _, d := range e.Disputed {
			fmt.Fprintf(w, "%s is disputed by %s: %s\n", short(d.Statement), signedBy(*d.Signer), ui.Line(d.Reason))
		}
	}
}

// printInspected prints the first results, for those who look at the whole version.
func printInspected(w io.Writer, list []hub.Evaluation) {
	const most = 8
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := ui.Table(w)
	fmt.Fprintln(t, "MEASURED\tVALUE\tDATASET\tCLASS")
	for _, e := range list[:min(most, len(list))] {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", ui.Line(metricName(e.Result)), evalValue(e.Result), ui.Line(datasetName(e.Result)), evalClass(e))
	}
	_ = t.Flush()
	if n := len(list) - most; n > 0 {
		fmt.Fprintf(w, "and %d more: \"modelreg eval list\" shows all, and whose they are\n", n)
	}
}

func taskName(r eval.Result) string {
	if r.Task == "" {
		return "-"
	}
	return r.Task
}

func metricName(r eval.Result) string {
	if r.Metric.Filter == "" {
		return r.Metric.Name
	}
	return r.Metric.Name + " (" + r.Metric.Filter + ")"
}

// evalValue is a value with its standard error.
func evalValue(r eval.Result) string {
	s := evalFigure(r.Value)
	if r.Stderr != nil {
		s += " ± " + evalFigure(*r.Stderr)
	}
	if r.Metric.Unit == eval.Percent {
		s += " %"
	}
	return s
}

// evalFigure writes a number in at most five significant digits.
func evalFigure(f float64) string { return strconv.FormatFloat(f, 'g', 5, 64) }

func datasetName(r eval.Result) string {
	s := r.Dataset.ID
	if s == "" {
		s = "-"
	}
	if state := r.Dataset.State(); state != "" {
		s += "@" + state[:min(len(state), 15)]
	}
	if r.Dataset.Config != "" {
		s += " " + r.Dataset.Config
	}
	if r.Dataset.Split != "" {
		s += "/" + r.Dataset.Split
	}
	if r.Shots != nil {
		s += fmt.Sprintf(" %d-shot", *r.Shots)
	}
	return s
}

func harnessName(r eval.Result) string {
	if r.Harness.Name == "" {
		return "-"
	}
	return strings.TrimSpace(r.Harness.Name + " " + r.Harness.Version)
}

func evalClass(e hub.Evaluation) string {
	if len(e.Disputed) > 0 {
		return string(e.Class) + ", disputed"
	}
	return string(e.Class)
}

// evalSigner is who has signed, or who it says has.
func evalSigner(e hub.Evaluation) string {
	who := func(s *hub.Signer) string {
		if s.Kind == "certificate" {
			return ui.Line(s.Identity)
		}
		return "key " + ui.Line(s.KeyFingerprint[:min(12, len(s.KeyFingerprint))])
	}
	switch {
	case e.Signer != nil:
		return who(e.Signer)
	case e.Claims != nil:
		return "says: " + who(e.Claims)
	}
	return "-"
}

func newEvalShow(a *app) *cobra.Command {
	var who evalWho
	cmd := &cobra.Command{
		Use:   "show REF [STATEMENT]",
		Short: "Show all that is known of results",
		Long: `Show every field of the results that are known of the version REF, or of those in one
STATEMENT: its digest, or the beginning of that.`,
		Example: `  modelreg eval show ghcr.io/acme/support:v1 4f0c8e2a --key lab.pub`,
		Args:    rangeArgs(1, 2), ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.evaluationsOf(cmd.Context(), args[0], &who)
			if err != nil {
				return err
			}
			if len(args) == 2 {
				if err := res.Pick(args[1]); err != nil {
					return err
				}
			}
			return a.printer.Result(res, func(w io.Writer) {
				for i, e := range res.Evaluations {
					if i > 0 {
						fmt.Fprintln(w)
					}
					printEvaluation(w, e)
				}
			})
		},
	}
	who.add(cmd)
	return cmd
}

func printEvaluation(w io.Writer, e hub.Evaluation) {
	t := ui.Table(w)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, ui.Line(value))
		}
	}
	row("task", e.Task)
	row("metric", metricName(e.Result))
	row("value", strconv.FormatFloat(e.Value, 'g', -1, 64))
	if e.Stderr != nil {
		row("standard error", strconv.FormatFloat(*e.Stderr, 'g', -1, 64))
	}
	row("unit", string(e.Metric.Unit))
	row("better", string(e.Metric.Direction))
	row("dataset", datasetName(e.Result))
	if e.N > 0 {
		row("samples", strconv.FormatInt(e.N, 10))
	}
	row("model", e.Model)
	row("harness", strings.Join(slices.DeleteFunc([]string{e.Harness.Name, e.Harness.Version, e.Harness.Revision}, func(s string) bool { return s == "" }), " "))
	row("task version", e.Harness.TaskVersion)
	for _, name := range slices.Sorted(maps.Keys(e.Harness.Args)) {
		row("  "+name, e.Harness.Args[name])
	}
	row("hardware", e.Hardware)
	row("measured", e.When)
	row("traces", e.Traces)
	row("source", strings.TrimSpace(e.Source.Name+" "+e.Source.URL))
	row("notes", e.Notes)
	row("class", string(e.Class))
	if e.Signer != nil {
		row("signed by", signedBy(*e.Signer))
	} else if e.Claims != nil {
		row("says signed by", signedBy(*e.Claims)+": not checked")
	}
	row("statement", e.Repository+"@"+e.Statement)
	row("read from", strings.TrimSpace(string(e.Format)+" "+e.File))
	for _, d := range e.Disputed {
		row("disputed", d.Reason+" (by "+signedBy(*d.Signer)+")")
	}
	_ = t.Flush()
}
