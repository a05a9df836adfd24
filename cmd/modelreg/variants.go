package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/variant"
)

// variantFlags say which variant is taken of a version that has several.
type variantFlags struct {
	variant, runtime string
	fit              int64
	explain          bool
}

// addVariantFlags gives a command the flags of variants.
func (a *app) addVariantFlags(cmd *cobra.Command) {
	f, fl := &a.variant, cmd.Flags()
	fl.StringVar(&f.variant, "variant", "", "take this variant of a version that has several: its `NAME`, or format=gguf,quant=Q4_K_M; the same as after a # in REF")
	fl.StringVar(&f.runtime, "for", "", "take a variant that `RUNTIME` loads: "+strings.Join(variant.Runtimes(), ", "))
	fl.Var((*sizeValue)(&f.fit), "fit", "take a variant that needs at most this `SIZE` of memory, such as 24GiB (default: 85 % of what this machine has)")
	fl.BoolVar(&f.explain, "explain", false, "tell of every variant why it was taken or not")
	runtimes := cobra.FixedCompletions(variant.Runtimes(), cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc("for", runtimes); err != nil {
		panic(err) // only for a flag that is not there
	}
}

// want is what the flags ask for.
func (f variantFlags) want() (w variant.Want, err error) {
	if f.variant != "" {
		if w, err = variant.ParseWant(f.variant); err != nil {
			return w, usagef("--variant: %w", err)
		}
	}
	w, err = w.And(variant.Want{Runtime: f.runtime, Memory: f.fit})
	if err == nil {
		err = w.Check()
	}
	if err != nil {
		return w, usagef("%w", err)
	}
	return w, nil
}

// given tells whether one of the flags chooses a variant.
func (f variantFlags) given() bool { return f.variant != "" || f.runtime != "" || f.fit != 0 }

// noteChoice tells which variant is taken.
func (a *app) noteChoice(version ref.Reference, c variant.Choice) {
	if a.variant.explain || c.Index < 0 {
		var b strings.Builder
		printChoice(&b, c)
		for line := range strings.Lines(b.String()) {
			a.printer.Note("%s", strings.TrimRight(line, " \n"))
		}
	}
	if c.Index >= 0 {
		a.printer.Note("variant %s of %s: %s", c.Variant.Label(), ui.Line(version.String()), c.Reason)
	}
}

// printChoice writes a line for each variant. What is in it was checked when it
// was read.
func printChoice(w io.Writer, c variant.Choice) {
	t := ui.Table(w)
	fmt.Fprintln(t, "VARIANT\tFORMAT\tQUANT\tSIZE\tNEEDS\t")
	for _, r := range c.Rows {
		v := r.Variant
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%s\t%s\n", mark(r.Chosen), v.Label(), v.Format, v.Quant, sizeOf(v.Size), needsOf(v.MinMem), r.Reason)
	}
	_ = t.Flush()
}

func mark(chosen bool) string {
	if chosen {
		return "→"
	}
	return " "
}

// printVariants writes what is known of each variant, for people who choose; with
// explain, why each would be taken or not in place of what loads it.
func printVariants(w io.Writer, all []hub.VariantInfo, explain bool) {
	t := ui.Table(w)
	last := "RUNTIMES"
	if explain {
		last = "WHY"
	}
	fmt.Fprintln(t, "  VARIANT\tFORMAT\tQUANT\tDTYPE\tSIZE\tNEEDS\tDIGEST\t"+last)
	for _, v := range all {
		name := v.Name
		if name == "" {
			name = "-"
		}
		told := strings.Join(v.Runtimes, ", ")
		if explain {
			told = v.Reason
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", mark(v.Chosen), name, v.Format, v.Quant, v.DType, sizeOf(v.Size), needsOf(v.MinMem), short(v.Digest), told)
	}
	_ = t.Flush()
}

func sizeOf(n int64) string {
	if n <= 0 {
		return "-"
	}
	return ui.Bytes(n)
}

func needsOf(n int64) string {
	if n <= 0 {
		return "-"
	}
	return variant.FormatSize(n)
}
