package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/eval"
)

// evalFlags are one result on the command line.
type evalFlags struct {
	result                  eval.Result
	metric, value, stderr   string
	direction, unit         string
	harness, dataset, shots string
}

func newEvalAdd(a *app) *cobra.Command {
	var f evalFlags
	var keep evalKeep
	cmd := &cobra.Command{
		Use:   "add REF",
		Short: "State one result of a version",
		Long: `State one number about the version REF, in a signed statement. Metrics that are known have
a direction, and fractions are told from percentages; of others --direction says which
values are better. The same result by the same signer again changes nothing.`,
		Example: `  modelreg eval add ghcr.io/acme/support:v1 --metric accuracy --value 0.712 --stderr 0.004 --dataset cais/mmlu --n 14042 --key cosign.key`,
		Args:    exactArgs(1), ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := f.report()
			if err != nil {
				return err
			}
			return a.evaluate(cmd, args[0], []*eval.Report{report}, &keep)
		},
	}
	f.add(cmd)
	keep.add(cmd)
	return cmd
}

func (f *evalFlags) add(cmd *cobra.Command) {
	fl, r := cmd.Flags(), &f.result
	fl.StringVar(&f.metric, "metric", "", "what was measured: `NAME`, such as accuracy, wer, pass@1")
	fl.StringVar(&f.value, "value", "", "the `NUMBER`")
	fl.StringVar(&f.stderr, "stderr", "", "its standard error, a `NUMBER`")
	fl.StringVar(&f.dataset, "dataset", "", "what it was measured on: `ID`, or ID@REVISION")
	fl.StringVar(&r.Dataset.Config, "dataset-config", "", "`NAME` of the dataset's configuration")
	fl.StringVar(&r.Dataset.Split, "split", "", "`NAME` of the dataset's split")
	fl.StringVar(&r.Task, "task", "", "`NAME` of the task in the harness")
	fl.StringVar(&r.Metric.Filter, "filter", "", "`NAME` of how answers were taken from what the model wrote")
	fl.Int64Var(&r.N, "n", 0, "it was measured on `N` samples")
	fl.StringVar(&f.shots, "shots", "", "`N` examples stood in the prompt")
	fl.StringVar(&f.harness, "harness", "", "what measured: `NAME` or NAME@VERSION")
	fl.StringVar(&r.Hardware, "hardware", "", "`WHAT` it ran on")
	fl.StringVar(&r.When, "when", "", "`DATE` of the measurement, or a time as in RFC 3339")
	fl.StringVar(&r.Traces, "traces", "", "where the answers are: `URL` or digest")
	fl.StringVar(&r.Source.URL, "source", "", "where the result was published: `URL`")
	fl.StringVar(&r.Notes, "notes", "", "`TEXT` for people")
	choose(cmd, choiceFlag{value: &f.direction, name: "direction", usage: "which values are better: `auto|higher|lower`"}, "auto", "higher", "lower")
	fl.StringVar(&f.unit, "unit", "", "what the value counts: fraction, percent, or another `UNIT`")
}

// report is what the flags state.
func (f *evalFlags) report() (*eval.Report, error) {
	switch {
	case f.metric == "":
		return nil, usagef("eval add needs --metric NAME: what was measured")
	case f.value == "":
		return nil, usagef("eval add needs --value NUMBER")
	case f.dataset == "":
		return nil, usagef("eval add needs --dataset ID: what it was measured on")
	}
	r := f.result
	var err error
	if r.Value, err = evalNumber("value", f.value); err != nil {
		return nil, err
	}
	if f.stderr != "" {
		se, err := evalNumber("stderr", f.stderr)
		if err != nil {
			return nil, err
		}
		r.Stderr = &se
	}
	if f.shots != "" {
		n, err := strconv.Atoi(f.shots)
		if err != nil {
			return nil, usagef("--shots %s: not a number", f.shots)
		}
		r.Shots = &n
	}
	filter := r.Metric.Filter
	r.Metric = eval.NewMetric(f.metric, r.Value)
	r.Metric.Filter = filter
	if f.direction != "auto" {
		r.Metric.Direction = eval.Direction(f.direction)
	}
	if f.unit != "" {
		r.Metric.Unit = eval.Unit(f.unit)
	}
	r.Dataset.ID, r.Dataset.Revision, _ = strings.Cut(f.dataset, "@")
	if strings.HasPrefix(r.Dataset.Revision, "sha256:") {
		r.Dataset.Digest, r.Dataset.Revision = r.Dataset.Revision, ""
	}
	r.Harness.Name, r.Harness.Version, _ = strings.Cut(f.harness, "@")
	if err := r.Check(); err != nil {
		return nil, usagef("eval add: %w", err)
	}
	return &eval.Report{Results: []eval.Result{r}}, nil
}

func evalNumber(flag, text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, usagef("--%s %s: not a number", flag, text)
	}
	return f, nil
}

func newEvalDispute(a *app) *cobra.Command {
	var reason string
	var signer signerFlags
	cmd := &cobra.Command{
		Use:   "dispute REF STATEMENT",
		Short: "State that a result is doubted",
		Long: `State, signed, that the STATEMENT about REF (its digest, or the beginning of that) is
doubted, and why. Nothing is removed: the result stays where it is, and "eval list" shows
the doubt beside it where it was signed by a publisher of the repository, or by somebody
whom the reader trusts.`,
		Example: `  modelreg eval dispute ghcr.io/acme/support:v1 4f0c8e2a --reason 'the prompt had the answers in it' --key cosign.key`,
		Args:    exactArgs(2), ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usagef("eval dispute needs --reason TEXT")
			}
			if !signer.given() {
				return usagef("eval dispute needs %s", signerUsage)
			}
			opts, err := (&evalWho{}).options(cmd.Context(), a)
			if err != nil {
				return err
			}
			if opts.Signer, err = a.signerOf(cmd.Context(), signer); err != nil {
				return err
			}
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.Dispute(cmd.Context(), r, args[1], reason, opts)
			if err != nil {
				return err
			}
			if res.Made == 0 {
				a.printer.Note("disputed before: nothing to do")
			}
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, res.Statement) })
		},
	}
	signer.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, as `TEXT` for people")
	return cmd
}

func newEvalAdopt(a *app) *cobra.Command {
	var who evalWho
	cmd := &cobra.Command{
		Use:   "adopt REF STATEMENT",
		Short: "Copy somebody's result into the model's repository",
		Long: `Copy the STATEMENT about REF (its digest, or the beginning of that) from the repository
that its measurer keeps it in, named with --from, into the model's own. It stays the
word of whoever signed it, and policies, which look into the model's repository alone,
can count it. Only what somebody known has signed is taken: name the key.`,
		Example: `  modelreg eval adopt ghcr.io/acme/support:v1 4f0c8e2a --from ghcr.io/lab/evals --key lab.pub`,
		Args:    exactArgs(2), ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := who.options(cmd.Context(), a)
			if err != nil {
				return err
			}
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.AdoptEvaluation(cmd.Context(), r, args[1], opts)
			if err != nil {
				return err
			}
			if res.Made == 0 {
				a.printer.Note("it is there: nothing to do")
			}
			return a.printer.Result(res, func(w io.Writer) {
				fmt.Fprintf(w, "%s signed by %s\n", res.Statement, signedBy(res.Signer))
			})
		},
	}
	who.add(cmd)
	return cmd
}
