package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/bom"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

func newBOM(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bom",
		Short: "Write, attach and show bills of materials (CycloneDX, SPDX)",
		Long: `A bill of materials says what is in a version, file by file, what it was made of, what its card
says of it and how it was measured, in a form that other tools read: CycloneDX (ML-BOM) or
SPDX 3 (profiles AI and Dataset). The same version and card give the same bytes.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBOMGenerate(a), newBOMAttach(a), newBOMShow(a))
	return cmd
}

// bomFlags say what a bill looks like.
type bomFlags struct {
	form, created, output string
	card                  cardFlags
}

func newBOMGenerate(a *app) *cobra.Command {
	var f bomFlags
	cmd := &cobra.Command{
		Use:   "generate REF | DIR",
		Short: "Write a bill of materials",
		Long: `Write the bill of materials of a version, reading no more than headers of its weights, or of a
directory, of which every file is read. SPDX demands a time: it is that of the version, or
1970 where it has none, unless --created or SOURCE_DATE_EPOCH says another.`,
		Example: `  modelreg bom generate ghcr.io/acme/support:v1 -o bom.cdx.json
  modelreg bom generate ./model --bom-format spdx`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.bill(cmd.Context(), args[0], f)
			if err != nil {
				return err
			}
			return a.writeDocument(raw, f.output)
		},
	}
	f.add(a, cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write to `FILE` instead of standard output")
	return cmd
}

func (f *bomFlags) add(a *app, cmd *cobra.Command) {
	choose(cmd, choiceFlag{value: &f.form, name: "bom-format", usage: "form of the bill: `cyclonedx|cyclonedx-1.7|spdx`"},
		string(bom.CycloneDX16), string(bom.CycloneDX17), string(bom.SPDX3))
	cmd.Flags().StringVar(&f.created, "created", "", "`TIME` in the bill, RFC 3339 (default: SOURCE_DATE_EPOCH if set, else that of the version)")
	f.card.add(a, cmd)
}

// bill makes the bill of materials of a version or a directory.
func (a *app) bill(ctx context.Context, arg string, f bomFlags) ([]byte, error) {
	opts := hub.BOMOptions{Format: bom.Format(f.form), Tool: version()}
	var err error
	if opts.Created, err = createdTime(f.created); err != nil {
		return nil, err
	}
	if a.local(arg) {
		if f.card.trust.used() || f.card.released || f.card.revision != "" {
			return nil, usagef("bill of materials of %s: what is trusted, and revisions of cards, are of a version in a registry", arg)
		}
		return hub.BOMOfDir(ctx, arg, opts)
	}
	if opts.Card, err = a.cardOptions(ctx, f.card); err != nil {
		return nil, err
	}
	h, r, err := a.open(arg)
	if err != nil {
		return nil, err
	}
	return h.BOM(ctx, r, opts)
}

// writeDocument writes a document to a file, or to standard output without one.
func (a *app) writeDocument(raw []byte, file string) error {
	if file == "" || file == "-" {
		_, err := a.out.Write(raw)
		return err
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil { //nolint:gosec // it is for others to read
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}

func newBOMAttach(a *app) *cobra.Command {
	var f bomFlags
	var file string
	var signer signerFlags
	cmd := &cobra.Command{
		Use:   "attach REF",
		Short: "Attach a bill of materials to a version",
		Long: `Attach the bill of materials that "bom generate" writes, or that in --file, to the version that
REF resolves to: as a referrer of type application/vnd.cyclonedx+json or
application/spdx+json, where registries and other tools look for it. With something to
sign with, the bill is signed, and attested too (cyclonedx, spdx), so that "modelreg verify
--attestation" and cosign can demand it. The same bill again changes nothing.

What counts for the card in it are the publishers that the repository names.`,
		Example: `  modelreg bom attach ghcr.io/acme/support:v1 --key team.key
  modelreg bom attach ghcr.io/acme/support:v1 --file bom.spdx.json`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.attachBOM(cmd.Context(), args[0], file, f, signer)
		},
	}
	choose(cmd, choiceFlag{value: &f.form, name: "bom-format", usage: "form of the bill: `cyclonedx|cyclonedx-1.7|spdx`"},
		string(bom.CycloneDX16), string(bom.CycloneDX17), string(bom.SPDX3))
	cmd.Flags().StringVar(&f.created, "created", "", "`TIME` in the bill, RFC 3339 (default: SOURCE_DATE_EPOCH if set, else that of the version)")
	cmd.Flags().StringVar(&file, "file", "", "attach the bill in `FILE`; - is standard input")
	signer.add(cmd)
	a.addPolicyFlags(cmd)
	return cmd
}

func (a *app) attachBOM(ctx context.Context, arg, file string, f bomFlags, sf signerFlags) error {
	var raw []byte
	var err error
	if file != "" {
		raw, err = a.readBytes(ctx, file, hub.MaxBOMBytes)
	} else {
		raw, err = a.bill(ctx, arg, f)
	}
	if err != nil {
		return err
	}
	var s *signing.Signer
	if sf.given() {
		if s, err = a.signerOf(ctx, sf); err != nil {
			return err
		}
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	res, err := h.AttachBOM(ctx, r, raw, s)
	if err != nil {
		return err
	}
	if res.Created {
		a.printer.Note("attached %s of %s to %s", res.MediaType, ui.Bytes(res.Size), short(res.Digest))
	} else {
		a.printer.Note("attached before: nothing to do")
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, res.BOM) })
}

func newBOMShow(a *app) *cobra.Command {
	var f trustFlags
	var raw bool
	var media string
	cmd := &cobra.Command{
		Use:   "show REF",
		Short: "List the bills of materials of a version, or write one",
		Long: `List the bills of materials that are attached to a version. With --key or
--certificate-identity only those that somebody who is trusted has signed count, and the
exit code is 8 when there is none. --raw writes the bill itself; there must be one to
choose, of the type that --type names if there are several.`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showBOM(cmd.Context(), args[0], f, bomChoice{raw: raw, media: media})
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "write the bill byte for byte")
	choose(cmd, choiceFlag{value: &media, name: "type", usage: "only bills of this type: `any|cyclonedx|spdx`"}, "any", "cyclonedx", "spdx")
	f.add(cmd.Flags())
	return cmd
}

// bomChoice says which bills are wanted, and how.
type bomChoice struct {
	raw   bool
	media string
}

func (a *app) showBOM(ctx context.Context, arg string, f trustFlags, choice bomChoice) error {
	trust, err := a.givenTrust(ctx, f)
	if err != nil {
		return err
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	res, err := h.BOMs(ctx, r, trust)
	if err != nil {
		return err
	}
	if choice.media != "any" {
		want := bom.Format(choice.media).MediaType()
		res.Bills = slices.DeleteFunc(res.Bills, func(b hub.Bill) bool { return b.MediaType != want })
	}
	good := slices.DeleteFunc(slices.Clone(res.Bills), func(b hub.Bill) bool { return trust != nil && !b.Verified })
	if choice.raw && len(good) == 1 {
		raw, err := res.Fetch(ctx, good[0])
		if err != nil {
			return err
		}
		_, err = a.out.Write(raw)
		return err
	}
	if choice.raw && len(good) > 1 {
		return usagef("bills of materials of %s: there are %d: choose one with --type or --key", res.Reference, len(good))
	}
	if !choice.raw {
		if err := a.printer.Result(res, func(w io.Writer) { printBills(w, res) }); err != nil {
			return err
		}
	}
	return missingBill(res, good, trust != nil)
}

// missingBill is the error of a version without a bill that counts.
func missingBill(res *hub.Bills, good []hub.Bill, trusted bool) error {
	switch {
	case len(good) > 0:
		return nil
	case trusted && len(res.Bills) > 0:
		return fmt.Errorf("bills of materials of %s: %w", res.Reference, signing.ErrUntrusted)
	case trusted:
		return fmt.Errorf("bills of materials of %s: %w", res.Reference, signing.ErrNoSignature)
	}
	return hub.NoBOM(res.Reference)
}

func printBills(w io.Writer, res *hub.Bills) {
	if len(res.Bills) == 0 {
		return
	}
	t := ui.Table(w)
	fmt.Fprintln(t, "TYPE\tSIZE\tDIGEST\tSIGNED BY")
	for _, b := range res.Bills {
		who := partiesOf(b.Signers)
		if who == "" {
			who = "-"
		}
		if b.Reason != "" {
			who = "nobody who is trusted"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", ui.Line(b.MediaType), ui.Bytes(b.Size), short(b.BOM), ui.Line(who))
	}
	_ = t.Flush()
}

func newCardExport(a *app) *cobra.Command {
	var f bomFlags
	cmd := &cobra.Command{
		Use:   "export REF | DIR",
		Short: "Write a card in the form of another tool",
		Long: `Write the card as a CycloneDX ML-BOM, as an SPDX 3 document with the AI profile (both are what
"bom generate" writes), as HTML that is safe to put into a page, or as JSON.`,
		Example:           `  modelreg card export ghcr.io/acme/support:v1 --as spdx -o card.spdx.json`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exportCard(cmd.Context(), args[0], f)
		},
	}
	choose(cmd, choiceFlag{value: &f.form, name: "as", usage: "form to write: `cyclonedx|cyclonedx-1.7|spdx|html|json`"},
		string(bom.CycloneDX16), string(bom.CycloneDX17), string(bom.SPDX3), "html", "json")
	cmd.Flags().StringVar(&f.created, "created", "", "`TIME` in a bill of materials, RFC 3339 (default: SOURCE_DATE_EPOCH if set, else that of the version)")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write to `FILE` instead of standard output")
	f.card.add(a, cmd)
	return cmd
}
