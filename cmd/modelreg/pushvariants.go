package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/variant"
)

// formFlags say which variants a push makes.
type formFlags struct {
	paths  []string
	byFile bool
}

func (f *formFlags) add(cmd *cobra.Command, opts *hub.PushOptions) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.paths, "variant", nil, "make PATH, a directory or a file of weights, one variant of the version: `[NAME=]PATH` (repeatable)")
	fl.BoolVar(&f.byFile, "variants-by-file", false, "make each GGUF file in DIR a variant, and the weights of each other format")
	fl.BoolVar(&opts.Add, "add", false, "with --variant: keep the variants that the version has already")
}

func (f formFlags) given() bool { return len(f.paths) > 0 || f.byFile }

// pushArgs takes DIR and REF, or with --variant REF alone.
func (f *formFlags) pushArgs(cmd *cobra.Command, args []string) error {
	if len(f.paths) > 0 && !f.byFile {
		return rangeArgs(1, 2)(cmd, args)
	}
	return exactArgs(2)(cmd, args)
}

// check refuses what contradicts itself.
func (f formFlags) check(opts hub.PushOptions) error {
	switch {
	case f.byFile && len(f.paths) > 0:
		return usagef("--variants-by-file and --variant do not go together: the one finds the variants, the other names them")
	case opts.Add && !f.given():
		return usagef("--add goes with --variant NAME=PATH, or --variants-by-file")
	}
	return nil
}

// forms reads the variants; dir is "" where there is none.
func (f formFlags) forms(dir string) ([]hub.PushedForm, error) {
	if f.byFile {
		return hub.FormsIn(dir)
	}
	var forms []hub.PushedForm
	whole := hub.PushedForm{Dir: dir}
	for _, arg := range f.paths {
		name, path := splitVariant(arg)
		form, err := hub.FormAt(path)
		if err != nil {
			return nil, err
		}
		if name != "" {
			form.Name = name
		}
		forms = append(forms, form)
		whole = whole.Without(path)
	}
	if dir != "" {
		forms = append([]hub.PushedForm{whole}, forms...)
	}
	return forms, nil
}

// splitVariant reads NAME=PATH. What is no name belongs to the path.
func splitVariant(arg string) (name, path string) {
	name, path, ok := strings.Cut(arg, "=")
	if !ok || variant.CheckName(name) != nil || path == "" {
		return "", arg
	}
	return name, path
}

// pushed pushes a directory, or several variants.
func (a *app) pushed(ctx context.Context, h *hub.Hub, dir string, r ref.Reference, f pushFlags) (*hub.PushResult, error) {
	if !f.forms.given() {
		return h.Push(ctx, dir, r, f.PushOptions)
	}
	forms, err := f.forms.forms(dir)
	if err != nil {
		return nil, err
	}
	return h.PushVariants(ctx, forms, r, f.PushOptions)
}

// pushPlaces are DIR, "" without one, and REF.
func pushPlaces(args []string) (dir, reference string, err error) {
	if len(args) == 1 {
		return "", args[0], nil
	}
	if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
		return "", "", usageError{fmt.Errorf("push %s: it is a file: push its directory", args[0]), "as one variant of several, a file is pushed with --variant " + args[0]}
	} else if err != nil && isDir(args[1]) {
		return "", "", usagef("push %s: the directory comes first: push %s %s", args[0], args[1], args[0])
	}
	return args[0], args[1], nil
}

// notePushed tells of the variants.
func (a *app) notePushed(res *hub.PushResult) {
	for _, v := range res.Variants {
		what := "pushed"
		if v.Kept {
			what = "kept"
		}
		a.printer.Note("variant %s: %s, %s, needs %s, %s", v.Name, strings.TrimSpace(v.Format+" "+v.Quant), sizeOf(v.Size), needsOf(v.MinMem), what)
	}
}
