package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
)

func newCat(a *app) *cobra.Command {
	var part string
	cmd := &cobra.Command{
		Use:   "cat REF PATH",
		Short: "Write one file of a version, or a part of it, to standard output",
		Long: `Write one file of a version to standard output. Its digest is known when all of it
was written: look at the exit code before you use it.

With --range only that part is fetched, and each byte is verified before it is
written: large weights have an index of the digests of their chunks. Of a file of
more than 8 MiB without one, the part is written with a warning.`,
		Example: `  modelreg cat ghcr.io/acme/support:v1 config.json
  modelreg cat ghcr.io/acme/support:v1 model.safetensors --range 0-7`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRange(part)
			if err != nil {
				return err
			}
			h, ref, err := a.open(args[0])
			if err != nil {
				return err
			}
			if part == "" {
				return h.Cat(cmd.Context(), ref, args[1], a.out)
			}
			return h.CatRange(cmd.Context(), ref, args[1], r, a.out)
		},
	}
	a.addVariantFlags(cmd)
	a.addPolicyFlags(cmd)
	a.addAsFlag(cmd, "layout://DIR")
	a.addStrictFlag(cmd)
	cmd.Flags().StringVar(&part, "range", "", "only the bytes `A-B` from 0, both included; A- is to the end, -N the last N bytes")
	return cmd
}

// parseRange reads a range as HTTP has it (RFC 9110 section 14.1.2), the whole
// file when it is empty.
func parseRange(s string) (hub.Range, error) {
	if s == "" {
		return hub.Range{Last: -1}, nil
	}
	a, b, ok := strings.Cut(s, "-")
	first, err1 := strconv.ParseUint(a, 10, 63)
	last, err2 := strconv.ParseUint(b, 10, 63)
	switch {
	case ok && a == "" && err2 == nil && last > 0:
		return hub.Range{First: -int64(last)}, nil
	case ok && b == "" && err1 == nil:
		return hub.Range{First: int64(first), Last: -1}, nil
	case ok && err1 == nil && err2 == nil && first <= last:
		return hub.Range{First: int64(first), Last: int64(last)}, nil
	}
	return hub.Range{}, usagef("--range %s: use FIRST-LAST, FIRST- or -LENGTH, in bytes", s)
}
