package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
)

func newEval(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval COMMAND",
		Short: "State, show and compare what models were measured to do",
		Long: `Results of evaluations are statements about the digest of a version: what was measured,
on what, with what, and the number. Whoever measures signs them, and keeps them beside
the model or in a repository of his own; either way they are found by the digest, and
the model's owner cannot remove what others have measured. docs/evaluations.md tells more.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEvalAdd(a), newEvalImport(a), newEvalList(a), newEvalShow(a), newEvalCompare(a), newEvalExport(a), newEvalDispute(a), newEvalAdopt(a))
	return cmd
}

// evalKeep says where a statement goes and who signs it.
type evalKeep struct {
	to       string
	unsigned bool
	signer   signerFlags
}

func (f *evalKeep) add(cmd *cobra.Command) {
	f.signer.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.to, "to", "", "keep the statement in `REPO`, of your own, instead of the model's repository")
	fl.BoolVar(&f.unsigned, "unsigned", false, "attach what nobody vouches for: it is shown as such, and counts for no policy")
}

// options reads the flags.
func (f *evalKeep) options(ctx context.Context, a *app, name string) (opts hub.EvaluateOptions, err error) {
	switch {
	case f.unsigned && f.signer.given():
		return opts, usagef("--unsigned and %s do not go together", signerUsage)
	case !f.unsigned && !f.signer.given():
		return opts, usagef("%s needs %s: a number that nobody signs is worth little; --unsigned attaches it all the same", name, signerUsage)
	}
	if f.to != "" {
		if opts.To, err = a.repositoryOf(f.to); err != nil {
			return opts, err
		}
	}
	if f.unsigned {
		return opts, nil
	}
	opts.Signer, err = a.signerOf(ctx, f.signer)
	return opts, err
}

// repositoryOf parses the name of a repository.
func (a *app) repositoryOf(arg string) (ref.Reference, error) {
	r, err := a.parse(arg)
	if err != nil {
		return r, err
	}
	if r.Tag != "" || r.Digest != "" || r.Prefix != "" || r.Range != "" || r.Variant != "" || r.Path != "" {
		return r, usagef("%s: give the repository alone, without tag and digest", arg)
	}
	return r, nil
}

// repositoriesOf parses names of repositories.
func (a *app) repositoriesOf(names []string) ([]ref.Reference, error) {
	var list []ref.Reference
	for _, name := range names {
		r, err := a.repositoryOf(name)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// evaluate states reports, and prints what was done: one result for each.
func (a *app) evaluate(cmd *cobra.Command, arg string, reports []*eval.Report, f *evalKeep) error {
	opts, err := f.options(cmd.Context(), a, cmd.CommandPath())
	if err != nil {
		return err
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	done := make([]*hub.EvaluateResult, 0, len(reports))
	for _, report := range reports {
		res, err := h.Evaluate(cmd.Context(), r, report, opts)
		if err != nil {
			return err
		}
		// A tag that moves must not make two statements of one run be about two versions.
		r.Tag, r.Range, r.Prefix, r.Digest = "", "", "", digest.Digest(res.Digest)
		done = append(done, res)
		switch {
		case res.Made == 0:
			a.printer.Note("stated before: nothing to do")
		case res.Signed:
			a.printer.Note("stated %s of %s", countOf(res.Results, "result"), res.Digest)
		default:
			a.printer.Note("attached %s of %s; nobody vouches for them", countOf(res.Results, "result"), res.Digest)
		}
	}
	return a.printer.Result(done, func(w io.Writer) {
		for _, res := range done {
			fmt.Fprintln(w, strings.TrimSpace(spoken(res.Reference)+" "+res.Statement))
		}
	})
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func newEvalImport(a *app) *cobra.Command {
	var from string
	var keep evalKeep
	cmd := &cobra.Command{
		Use:   "import FILE|DIR REF",
		Short: "State the results that a harness has written",
		Long: `State the results in FILE about the version REF: one signed statement for each file. What
wrote it is found out from what is in it:

  lm-evaluation-harness   results_*.json of lm-eval, of any version
  inspect                 logs of Inspect that succeeded, as JSON or .eval
  model-index             a model card with model-index in its front matter
  eval-results            a file of .eval_results
  native                  what "modelreg eval show --format json" calls the predicate

Of DIR all such files are taken, and others passed over. Importing a file again changes
nothing. Paths and credentials of the machine that measured are not stated.`,
		Example: `  modelreg eval import results/ ghcr.io/acme/support:v1 --key cosign.key
  modelreg eval import results_2026-09-21T17-39-05.json ghcr.io/acme/support@sha256:4f0c… --to ghcr.io/lab/evals --keyless`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(nil, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			reports, err := a.readReports(cmd.Context(), args[0], evalFormat(from))
			if err != nil {
				return err
			}
			return a.evaluate(cmd, args[1], reports, &keep)
		},
	}
	choose(cmd, choiceFlag{value: &from, name: "from", usage: "take the file for `FORMAT`: " + strings.Join(evalFormats(), "|")}, evalFormats()...)
	keep.add(cmd)
	return cmd
}

// evalFormats are the names of formats, the first for finding out.
func evalFormats() []string {
	return []string{"auto", "lm-eval", "inspect", "model-index", "eval-results", "native"}
}

func evalFormat(name string) eval.Format {
	return map[string]eval.Format{
		"lm-eval": eval.FormatLMEval, "inspect": eval.FormatInspect,
		"model-index": eval.FormatCard, "eval-results": eval.FormatResults, "native": eval.FormatNative,
	}[name]
}

// maxEvalFiles bounds the files of a directory that are read.
const maxEvalFiles = 1000

// readReports reads a file of results, or all those in a directory.
func (a *app) readReports(ctx context.Context, name string, format eval.Format) ([]*eval.Report, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	if !info.IsDir() {
		raw, err := await(ctx, func() ([]byte, error) { return readResults(func() (fs.File, error) { return os.Open(name) }) })
		if err != nil {
			return nil, err
		}
		report, err := a.report(raw, name, format)
		if err != nil {
			return nil, err
		}
		return []*eval.Report{report}, nil
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer root.Close()
	return a.reportsIn(ctx, root.FS(), name, format)
}

// report parses one file.
func (a *app) report(raw []byte, name string, format eval.Format) (*eval.Report, error) {
	report, err := eval.Parse(raw, format)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	report.Source = digest.FromBytes(raw).String()
	for _, s := range report.Skipped {
		a.printer.Note("%s: passed over: %s", name, s)
	}
	return report, nil
}

// reportsIn reads the results in a directory, and passes over files that are none.
func (a *app) reportsIn(ctx context.Context, dir fs.FS, name string, format eval.Format) ([]*eval.Report, error) {
	var reports []*eval.Report
	n := 0
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if !d.Type().IsRegular() || !mayHoldResults(path) {
			return nil
		}
		if n++; n > maxEvalFiles {
			return usagef("read results in %s: more than %d files", name, maxEvalFiles)
		}
		raw, err := await(ctx, func() ([]byte, error) { return readResults(func() (fs.File, error) { return dir.Open(path) }) })
		if err != nil {
			return err
		}
		report, err := a.report(raw, path, format)
		if errors.Is(err, eval.ErrMalformed) {
			a.printer.Note("passed over: %v", err)
			return nil
		}
		if err != nil {
			return err
		}
		reports = append(reports, report)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	if len(reports) == 0 {
		return nil, usagef("read results in %s: no file of results", name)
	}
	return reports, nil
}

// mayHoldResults tells whether a file is looked into, by its name.
func mayHoldResults(path string) bool {
	return slices.ContainsFunc([]string{".json", ".yaml", ".yml", ".eval"}, func(ext string) bool { return strings.HasSuffix(path, ext) })
}

func readResults(open func() (fs.File, error)) ([]byte, error) {
	f, err := open()
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, eval.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return raw, nil
}

// evalWho says whose results are shown, and from where.
type evalWho struct {
	trust trustFlags
	from  []string
}

func (f *evalWho) add(cmd *cobra.Command) {
	f.trust.add(cmd.Flags())
	cmd.Flags().StringArrayVar(&f.from, "from", nil, "look into `REPO` too, where others keep what they have measured (repeatable; default: evaluations of the configuration)")
}

func (f *evalWho) options(ctx context.Context, a *app) (opts hub.EvaluationsOptions, err error) {
	if f.trust.used() {
		if opts.Trust, err = a.trusted(ctx, f.trust); err != nil {
			return opts, err
		}
	}
	if len(f.from) > 0 {
		opts.From, err = a.repositoriesOf(f.from)
	}
	return opts, err
}

// evaluationsOf asks for the results of a version, and warns of what could not be
// looked at.
func (a *app) evaluationsOf(ctx context.Context, arg string, f *evalWho) (*hub.Evaluations, error) {
	opts, err := f.options(ctx, a)
	if err != nil {
		return nil, err
	}
	h, r, err := a.open(arg)
	if err != nil {
		return nil, err
	}
	res, err := h.Evaluations(ctx, r, opts)
	if err != nil {
		return nil, err
	}
	for _, p := range res.Problems {
		a.printer.Warn("%s", ui.Line(p))
	}
	return res, nil
}
