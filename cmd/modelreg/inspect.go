package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/hub"
)

func newInspect(a *app) *cobra.Command {
	var showCard, showLineage bool
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "Show what a version is, without fetching its weights",
		Long: `Show the files, the model and the metadata of a version. Headers of weight files
are read by range, so this moves kilobytes of a model of any size.

Artifacts of other tools can be inspected too: CNCF ModelPack, KitOps ModelKits,
Docker model artifacts, Ollama manifests, plain ORAS files and model images.

Of a version that has several variants the list of them is shown, with an arrow at the
one that "modelreg pull" takes here; REF#VARIANT shows one of them.`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.Inspect(cmd.Context(), r)
			if err != nil {
				return err
			}
			if showLineage {
				if err := h.InspectLineage(cmd.Context(), res, hub.LineageOptions{}); err != nil {
					return err
				}
			}
			var cardErr error
			err = a.printer.Result(res, func(w io.Writer) {
				printInspection(w, res, a.variant.explain)
				if showCard {
					fmt.Fprintln(w)
					_, cardErr = res.CardText(w, card.TextOptions{})
				}
			})
			if err != nil {
				return err
			}
			return cardErr
		},
	}
	a.addVariantFlags(cmd)
	a.addPolicyFlags(cmd)
	cmd.Flags().BoolVar(&showCard, "card", false, "show the model's card too")
	cmd.Flags().BoolVar(&showLineage, "lineage", false, "show what was found of what it was made of, as \"modelreg lineage\" does")
	return cmd
}

func printInspection(w io.Writer, res *hub.Inspection, explain bool) {
	t := ui.Table(w)
	row := func(name string, value any) {
		if s := fmt.Sprint(value); s != "" && s != "0" {
			fmt.Fprintf(t, "%s\t%s\n", name, ui.Line(s))
		}
	}
	m := res.Model
	row("reference", spoken(res.Reference))
	row("digest", res.Digest)
	row("artifact", res.Format)
	row("size", inspectedSize(res))
	row("task", m.Task)
	row("library", m.Library)
	row("architecture", m.Architecture)
	if m.Parameters > 0 {
		row("parameters", strings.TrimSuffix(fmt.Sprintf("%s (%s)", ui.Count(m.Parameters), dtypes(m.DTypes)), " ()"))
	}
	row("formats", strings.Join(m.Formats, ", "))
	row("quantization", m.Quantization)
	row("context length", m.ContextLength)
	row("licence", res.Annotations["org.opencontainers.image.licenses"])
	inputRows(row, res.Inputs)
	if m.CustomCode {
		row("custom code", "yes: loading it may run Python from this model")
	}
	if res.Status != nil {
		row("status", statusLine(res.Status))
	}
	if res.Repository != nil {
		row("repository", statusLine(res.Repository))
	}
	row("signatures", fmt.Sprintf("%d attached (\"modelreg verify\" tells whose)", res.Signatures))
	_ = t.Flush() // errors are kept by the writer below
	fmt.Fprintln(w)
	if len(res.Variants) > 0 {
		printVariants(w, res.Variants, explain)
	} else {
		printFiles(w, res.Files)
	}
	if res.Lineage != nil {
		printAncestry(w, res.Lineage)
	}
	printInspected(w, res.Evaluations)
	for _, p := range res.Problems {
		fmt.Fprintf(w, "\nproblem: %s\n", ui.Line(p))
	}
}

func inspectedSize(res *hub.Inspection) string {
	if n := len(res.Variants); n > 0 {
		return fmt.Sprintf("%s in %d variants", ui.Bytes(res.Size), n)
	}
	return ui.Bytes(res.Size) + " in " + ui.Files(len(res.Files))
}

func dtypes(counts map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return int(min(max(counts[b]-counts[a], -1), 1))
		}
		return strings.Compare(a, b)
	})
	return strings.Join(names, ", ")
}

func printFiles(w io.Writer, files []hub.FileInfo) {
	t := ui.Table(w)
	fmt.Fprintln(t, "KIND\tSIZE\tDIGEST\tPATH")
	for _, f := range files {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Kind, ui.Bytes(f.Size), short(f.Digest), ui.Line(f.Path))
	}
	_ = t.Flush()
}

// short cuts a digest to what people compare.
func short(digest string) string {
	const keep = len("sha256:") + 12
	return digest[:min(keep, len(digest))]
}
