package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/hub"
)

func newEvalCompare(a *app) *cobra.Command {
	var who evalWho
	var markdown bool
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Compare what two versions were measured to do",
		Long: `Compare the results of two versions, which may be in different repositories. Two results
are compared where task, dataset with its revision, configuration and split, and metric are
the same. ▲ is better and ▼ worse, by the metric's direction; ? where that or the unit is
not known. A fraction and a percentage are compared, in the unit of A. * marks a difference that is significant: a two-sided z-test on both standard
errors, which takes the runs for independent, p < 0.05. What else differs between two
measurements is noted: shots, samples, versions of harness and task, whose word it is.

Of several results of one measurement the most believable is compared (see "eval list").`,
		Example: `  modelreg eval compare ghcr.io/acme/support:v1 ghcr.io/acme/support:v2 --key lab.pub --markdown`,
		Args:    exactArgs(2), ValidArgsFunction: positions(a.references, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := who.options(cmd.Context(), a)
			if err != nil {
				return err
			}
			from, err := a.parse(args[0])
			if err != nil {
				return err
			}
			h, to, err := a.open(args[1])
			if err != nil {
				return err
			}
			res, err := h.CompareEvaluations(cmd.Context(), from, to, opts)
			if err != nil {
				return err
			}
			for _, p := range res.Problems {
				a.printer.Warn("%s", ui.Line(p))
			}
			if len(res.Rows) == 0 {
				a.printer.Note("no measurement is known of both")
			}
			return a.printer.Result(res, func(w io.Writer) {
				if markdown {
					markdownComparison(w, res)
					return
				}
				printComparison(w, res)
			})
		},
	}
	who.add(cmd)
	cmd.Flags().BoolVar(&markdown, "markdown", false, "write a table in Markdown")
	return cmd
}

// comparedCells are the cells of a row.
func comparedCells(r hub.ComparedRow) []string {
	return []string{
		taskName(r.A.Result), metricName(r.A.Result), datasetName(r.A.Result),
		evalValue(r.A.Result), evalValue(r.B.Result), evalDelta(r), strings.Join(r.Flags, ", "),
	}
}

// significance explains the star of a difference.
const significance = "significant: chance makes such a difference less than one time in twenty (p < 0.05)"

func anySignificant(rows []hub.ComparedRow) bool {
	return slices.ContainsFunc(rows, func(r hub.ComparedRow) bool { return r.Significant })
}

func comparedHeader() []string {
	return []string{"TASK", "METRIC", "DATASET", "A", "B", "DIFFERENCE", "NOTES"}
}

// evalDelta is a difference with what it means.
func evalDelta(r hub.ComparedRow) string {
	sign := map[eval.Verdict]string{eval.Better: "▲", eval.Worse: "▼", eval.Same: "=", eval.Incomparable: "?"}[r.Verdict]
	if r.Delta == nil {
		return sign
	}
	s := fmt.Sprintf("%s %+.5g", sign, *r.Delta)
	if r.A.Metric.Unit != r.B.Metric.Unit && r.A.Metric.Unit == eval.Percent {
		s += " %"
	}
	if r.Significant {
		s += " *"
	}
	return s
}

func printComparison(w io.Writer, res *hub.EvalComparison) {
	if len(res.Rows) > 0 {
		t := ui.Table(w)
		fmt.Fprintln(t, strings.Join(comparedHeader(), "\t"))
		for _, r := range res.Rows {
			cells := comparedCells(r)
			for i := range cells {
				cells[i] = ui.Line(cells[i])
			}
			fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
		}
		_ = t.Flush()
		if anySignificant(res.Rows) {
			fmt.Fprintln(w, "* "+significance)
		}
	}
	for _, line := range onlyOfOne(res) {
		fmt.Fprintln(w, ui.Line(line))
	}
}

// onlyOfOne are the results that one of the two versions has alone.
func onlyOfOne(res *hub.EvalComparison) []string {
	var lines []string
	for _, only := range []struct {
		name string
		list []hub.Evaluation
	}{{"A", res.OnlyA}, {"B", res.OnlyB}} {
		for _, e := range only.list {
			lines = append(lines, fmt.Sprintf("only of %s: %s %s on %s: %s", only.name, taskName(e.Result), metricName(e.Result), datasetName(e.Result), evalValue(e.Result)))
		}
	}
	return lines
}

func markdownComparison(w io.Writer, res *hub.EvalComparison) {
	line := func(cells []string) { fmt.Fprintln(w, "| "+strings.Join(cells, " | ")+" |") }
	if len(res.Rows) > 0 {
		markdownRows(line, res.Rows)
		if anySignificant(res.Rows) {
			fmt.Fprintln(w, "\n"+markdownCell("* "+significance))
		}
	}
	for i, only := range onlyOfOne(res) {
		if i == 0 && len(res.Rows) > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, "- "+markdownCell(only))
	}
}

func markdownRows(line func(cells []string), rows []hub.ComparedRow) {
	header := comparedHeader()
	line(header)
	rule := make([]string, len(header))
	for i := range rule {
		rule[i] = "---"
	}
	line(rule)
	for _, r := range rows {
		cells := comparedCells(r)
		for i := range cells {
			cells[i] = markdownCell(cells[i])
		}
		line(cells)
	}
}

// markdownCell escapes what would be more than text in a cell of Markdown.
func markdownCell(s string) string {
	var b strings.Builder
	for _, r := range ui.Line(s) {
		if strings.ContainsRune("\\`*_[]<>|~#!&", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func newEvalExport(a *app) *cobra.Command {
	var who evalWho
	var as, out, name, task string
	cmd := &cobra.Command{
		Use:   "export REF",
		Short: "Write the results of a version as a card's model-index",
		Long: `Write the results of the version REF as the model-index of a card, in YAML. Only results
that a known party has signed are written: of the classes trusted, publisher and evaluator.
Who signed them is lost there: a card is the word of whoever writes it. A card must say what
kind of task each result is of; results that do not say it have the task of the model, or --task.`,
		Example: `  modelreg eval export ghcr.io/acme/support:v1 --as model-index --key lab.pub -o model-index.yaml`,
		Args:    exactArgs(1), ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.evaluationsOf(cmd.Context(), args[0], &who)
			if err != nil {
				return err
			}
			results := res.Vouched()
			if len(results) == 0 {
				return usagef("export results of %s: no known party has signed any: name whom you trust with --key or --certificate-identity", res.Reference)
			}
			if name == "" {
				name = evalModel(res.Reference)
			}
			if task == "" {
				if task, err = a.taskOf(cmd.Context(), args[0], results); err != nil {
					return err
				}
			}
			doc, err := eval.ModelIndex(name, task, results)
			if err != nil {
				return err
			}
			if out != "" {
				if err := os.WriteFile(out, doc, 0o666); err != nil {
					return fmt.Errorf("export results: %w", err)
				}
			}
			return a.printer.Result(map[string]any{"as": as, "document": string(doc)}, func(w io.Writer) {
				if out == "" {
					_, _ = w.Write(doc) // errors are kept by the writer
				}
			})
		},
	}
	who.add(cmd)
	choose(cmd, choiceFlag{value: &as, name: "as", usage: "`FORMAT` of what is written: model-index"}, "model-index")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to `FILE`")
	cmd.Flags().StringVar(&task, "task", "", "`TASK` of results that do not say theirs (default: that of the model)")
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the model in it (default: the repository's last part)")
	return cmd
}

// taskOf is the task of a model, if there is a result that does not say its own.
func (a *app) taskOf(ctx context.Context, arg string, results []eval.Result) (string, error) {
	if !slices.ContainsFunc(results, func(r eval.Result) bool { return r.Task == "" }) {
		return "", nil
	}
	h, r, err := a.open(arg)
	if err != nil {
		return "", err
	}
	found, err := h.Inspect(ctx, r)
	if err != nil {
		return "", err
	}
	task := found.Model.Task
	if task == "" {
		a.printer.Note("results that do not say their task are written as of the task \"other\", since the model does not say its own: --task names it")
	}
	return task, nil
}

// evalModel is the last part of a repository's name.
func evalModel(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	name = name[strings.LastIndexByte(name, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}
