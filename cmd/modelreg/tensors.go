package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
)

func newTensors(a *app) *cobra.Command {
	var order string
	cmd := &cobra.Command{
		Use:   "tensors REF | DIR [PATH]",
		Short: "List the tensors of a version: name, type, shape, bytes",
		Long: `List the tensors in all weights of a version, or in its file PATH: safetensors,
GGUF, ONNX, PyTorch and NumPy. Headers are read by range; weights are not fetched.

An argument that begins with ./, ../ or / is a directory or file on this machine;
so is one that exists and cannot be a reference. --format json tells the file and
the offset of each tensor too.`,
		Example: `  modelreg tensors ghcr.io/acme/support:v1
  modelreg tensors ghcr.io/acme/support:v1 model.safetensors --sort size
  modelreg tensors ./model --format json`,
		Args:              rangeArgs(1, 2),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.tensors(cmd.Context(), append(args, "")[:2])
			if err != nil {
				return err
			}
			sortTensors(res.Tensors, order)
			for _, p := range res.Problems {
				a.printer.Warn("%s", p)
			}
			a.printer.Note("%d tensors of %s elements, %s, in %s", len(res.Tensors), ui.Count(res.Elements), ui.Bytes(res.Size), ui.Files(res.Files))
			return a.printer.Result(res, func(w io.Writer) { printTensors(w, res) })
		},
	}
	a.addVariantFlags(cmd)
	a.addPolicyFlags(cmd)
	a.addStrictFlag(cmd)
	choose(cmd, choiceFlag{value: &order, name: "sort", usage: "order of the list: `file|name|size`; file is as they lie in the files, size the largest first"}, "file", "name", "size")
	return cmd
}

// tensors lists those of args[0], on this machine or in a registry, in the file
// args[1] or in all.
func (a *app) tensors(ctx context.Context, args []string) (*hub.TensorList, error) {
	if a.local(args[0]) {
		return hub.LocalTensors(ctx, args[0], args[1])
	}
	r, err := a.parse(args[0])
	if err != nil {
		return nil, err
	}
	h, err := a.hub(nil)
	if err != nil {
		return nil, err
	}
	return h.Tensors(ctx, r, args[1])
}

func sortTensors(list []hub.TensorInfo, order string) {
	switch order {
	case "name":
		slices.SortStableFunc(list, func(x, y hub.TensorInfo) int { return strings.Compare(x.Name, y.Name) })
	case "size":
		slices.SortStableFunc(list, func(x, y hub.TensorInfo) int { return cmp.Compare(y.Bytes, x.Bytes) })
	}
}

func printTensors(w io.Writer, res *hub.TensorList) {
	t := ui.Table(w)
	head := "NAME\tDTYPE\tSHAPE\tBYTES"
	if res.Files > 1 {
		head += "\tFILE"
	}
	fmt.Fprintln(t, head)
	for _, i := range res.Tensors {
		size := "-"
		if i.Bytes >= 0 {
			size = ui.Bytes(i.Bytes)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s", ui.Line(i.Name), cmp.Or(ui.Line(i.DType), "-"), shape(i.Shape), size)
		if res.Files > 1 {
			fmt.Fprintf(t, "\t%s", ui.Line(i.File))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}

// shape writes a shape as Python does.
func shape(dims []int64) string {
	return strings.ReplaceAll(fmt.Sprint(dims), " ", ", ")
}
