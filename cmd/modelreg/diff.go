package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/hub"
)

// errDifferent ends diff --exit-code when there are differences, which is no
// failure to report.
var errDifferent = errors.New("different")

// diffFlags are those of diff.
type diffFlags struct {
	levels         diff.Levels
	stat, exitCode bool
	bytes, values  bool
	maxFetch       sizeValue
	trust          trustFlags
}

func newDiff(a *app) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff REF|DIR REF|DIR",
		Short: "Compare two versions: files, config, tensors, card, metrics, trust",
		Long: `Compare two versions, or a version and a directory, at six levels: files, by name and
digest; configuration, by its structure; tensors: which were added, removed, given
another shape or type, or changed in value; the card, by field and word; metrics, with
what is better and what is chance; trust: what was signed, attested and approved.

No weights are downloaded. Which tensors changed is told by the digests of files, then
by the chunk indexes that were pushed with them, which name the hash of each part of a
tensor, and last by the bytes themselves, up to --max-fetch. An index is what whoever
pushed says; --bytes believes none. Without a level, all are compared.

An argument that begins with ./, ../ or / is a directory on this machine, taken as a
push would take it; so is one that exists and cannot be a reference.`,
		Example: `  modelreg diff ghcr.io/acme/support:v1 ghcr.io/acme/support:v2
  modelreg diff ghcr.io/acme/support:v1 ./model --tensors --stat
  modelreg diff ghcr.io/acme/support:v1 ghcr.io/acme/support:v2 --tensors --values
  modelreg diff ghcr.io/acme/support:prod ghcr.io/acme/support:v2 --format md`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(a.references, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("max-fetch") && f.maxFetch == 0 {
				f.maxFetch = -1 // nothing, and not what nobody said
			}
			return a.diff(cmd.Context(), args, f)
		},
	}
	a.addPolicyFlags(cmd)
	f.add(cmd)
	choose(cmd, choiceFlag{value: &a.format, name: "format", usage: "shape of results on standard output: `text|json|md|html`; md is Markdown for a pull request, html a fragment that is safe to put into a page"}, "text", "json", "md", "html")
	return cmd
}

func (f *diffFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	for _, l := range []struct {
		on          *bool
		name, usage string
	}{
		{&f.levels.Files, "files", "compare the files"},
		{&f.levels.Config, "config", "compare the configuration"},
		{&f.levels.Tensors, "tensors", "compare the tensors"},
		{&f.levels.Card, "card", "compare the cards"},
		{&f.levels.Metrics, "metrics", "compare what was measured"},
		{&f.levels.Trust, "trust", "compare who vouches for what"},
	} {
		fl.BoolVar(l.on, l.name, false, l.usage)
	}
	fl.BoolVar(&f.stat, "stat", false, "a line for each level")
	fl.BoolVar(&f.exitCode, "exit-code", false, "exit with 1 if there are differences")
	fl.BoolVar(&f.values, "values", false, "tell by how much changed tensors differ, which reads all of them")
	fl.BoolVar(&f.bytes, "bytes", false, "compare tensors by their bytes where their files differ, and believe no chunk index")
	fl.Var(&f.maxFetch, "max-fetch", "fetch no more than `SIZE` of tensors to compare them (default: 1GiB; 0: nothing); those beyond it are unknown")
	f.trust.add(fl)
}

func (a *app) diff(ctx context.Context, args []string, f diffFlags) error {
	var sides [2]hub.DiffSide
	for i, arg := range args {
		var err error
		if sides[i], err = a.diffSide(arg); err != nil {
			return err
		}
	}
	opts := hub.DiffOptions{Options: diff.Options{
		Levels: f.levels, MaxFetch: int64(f.maxFetch), Bytes: f.bytes, Values: f.values,
	}}
	if f.trust.used() {
		var err error
		if opts.Trust, err = a.trusted(ctx, f.trust); err != nil {
			return err
		}
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	res, err := h.Diff(ctx, sides[0], sides[1], opts)
	if err != nil {
		return err
	}
	for _, p := range res.Problems {
		a.printer.Warn("%s", p)
	}
	err = a.printer.Result(res, func(w io.Writer) {
		switch a.format {
		case "md":
			printMarkdown(w, res, f.stat)
		case "html":
			printHTML(w, res, f.stat)
		default:
			d := diffPrinter{w: w, style: a.printer.Style(), stat: f.stat}
			d.print(res)
		}
	})
	if err == nil && f.exitCode && res.Different {
		return errDifferent
	}
	return err
}

// diffSide reads an argument that is a reference or a directory.
func (a *app) diffSide(arg string) (hub.DiffSide, error) {
	if a.local(arg) {
		info, err := os.Stat(arg)
		if err != nil {
			return hub.DiffSide{}, err
		}
		if !info.IsDir() {
			return hub.DiffSide{}, usagef("%s is a file: give the directory of the model", ui.Line(arg))
		}
		return hub.DiffSide{Directory: arg}, nil
	}
	r, err := a.parse(arg)
	return hub.DiffSide{Reference: r}, err
}
