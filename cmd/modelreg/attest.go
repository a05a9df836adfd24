package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

type attestFlags struct {
	predicateType, predicate string
	layout                   string
	again                    bool
	signer                   signerFlags
}

func newAttest(a *app) *cobra.Command {
	var f attestFlags
	cmd := &cobra.Command{
		Use:   "attest REF",
		Short: "Sign a statement about a version",
		Long: `Sign what a file says of the digest that REF resolves to: where it comes from, what
is in it, what a scan or a test has found. The statement is an in-toto statement in a
sigstore bundle, attached to the version; cosign verifies it, and modelreg verifies
cosign's. "modelreg verify --attestation" checks that it is there and who says so.

FILE holds the predicate, one JSON object of at most 16 MiB. TYPE says what it means: a
URI, or one of cosign's short names

  slsaprovenance1   https://slsa.dev/provenance/v1
  slsaprovenance    https://slsa.dev/provenance/v0.2
  cyclonedx         https://cyclonedx.org/bom
  spdx, spdxjson    https://spdx.dev/Document
  vuln              https://cosign.sigstore.dev/attestation/vuln/v1
  openvex           https://openvex.dev/ns
  link              https://in-toto.io/Link/v1
  test-result       https://in-toto.io/attestation/test-result/v0.1
  custom            https://cosign.sigstore.dev/attestation/v1

The same statement by the same key or identity again changes nothing (--again adds it).
One that says something else is another, beside the first: nothing is replaced.`,
		Example: `  modelreg attest ghcr.io/acme/support:v1 --type cyclonedx --predicate bom.json --key cosign.key
  modelreg attest ghcr.io/acme/support:v1 --type https://acme.example/eval/v1 --predicate - --key cosign.key <eval.json`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.attest(cmd, args[0], f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.predicateType, "type", "", "`TYPE` of the predicate: a URI or a short name")
	fl.StringVar(&f.predicate, "predicate", "", "`FILE` with the predicate; - is standard input")
	fl.BoolVar(&f.again, "again", false, againUsage)
	f.signer.add(cmd)
	f.signer.addCertificate(cmd)
	choose(cmd, choiceFlag{value: &f.layout, name: "attestation-layout", usage: "`bundle|classic`: a referrer, or cosign's older tag"}, "bundle", "classic")
	completeTypes(cmd, "type")
	return cmd
}

// completeTypes proposes the short names of predicate types.
func completeTypes(cmd *cobra.Command, flag string) {
	fixed := cobra.FixedCompletions(signing.PredicateNames(), cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // the flag is defined beside the call
	}
}

func (a *app) attest(cmd *cobra.Command, arg string, f attestFlags) error {
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	switch {
	case f.predicateType == "":
		return usagef("attest needs --type TYPE: what the predicate is")
	case f.predicate == "":
		return usagef("attest needs --predicate FILE: what is to be attested")
	case !f.signer.given():
		return usagef("attest needs %s", signerUsage)
	}
	if err := f.signer.fits("attestation-layout", f.layout); err != nil {
		return err
	}
	p, err := a.readPredicate(cmd.Context(), f)
	if err != nil {
		return err
	}
	s, err := a.signerOf(cmd.Context(), f.signer)
	if err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	format := map[string]signing.Format{"bundle": signing.Bundle, "classic": signing.Classic}[f.layout]
	res, err := h.Attest(cmd.Context(), r, s, p, signing.AttestOptions{Format: format, Again: f.again})
	if err != nil {
		return err
	}
	if res.Attestations == 0 {
		a.printer.Note("attested before %s: nothing to do (--again attests once more)", f.signer.asWhom())
	} else {
		a.printer.Note("attested %s: %s", res.Digest, signing.PredicateName(res.PredicateType))
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

// readPredicate reads what the flags name.
func (a *app) readPredicate(ctx context.Context, f attestFlags) (p signing.Predicate, err error) {
	if p.Type, err = signing.PredicateType(f.predicateType); err != nil {
		return p, usagef("--type %s: %w", f.predicateType, err)
	}
	if p.Raw, err = a.readDocument(ctx, f.predicate, signing.MaxPredicateBytes); err != nil {
		return p, err
	}
	if err := p.Check(); err != nil {
		return p, usagef("--predicate %s: %w", f.predicate, err)
	}
	return p, nil
}

// readDocument reads a document from a file, or standard input for "-", without the
// blanks around it.
func (a *app) readDocument(ctx context.Context, name string, limit int64) ([]byte, error) {
	raw, err := a.readBytes(ctx, name, limit)
	return bytes.TrimSpace(raw), err
}

// readBytes reads a file, or standard input for "-", of at most limit bytes.
func (a *app) readBytes(ctx context.Context, name string, limit int64) ([]byte, error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read document: %w", err)
		}
		defer f.Close()
		in = f
	}
	raw, err := await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, limit+1)) })
	if err != nil {
		return nil, fmt.Errorf("read document %s: %w", name, err)
	}
	if int64(len(raw)) > limit {
		return nil, usagef("read document %s: more than %d bytes", name, limit)
	}
	return raw, nil
}

// addAttestationFlags adds those that ask verify for attestations.
func addAttestationFlags(cmd *cobra.Command, opts *hub.VerifyOptions) {
	fl := cmd.Flags()
	fl.StringArrayVar(&opts.Attestations, "attestation", nil, "demand an attestation of `TYPE` too, a URI or a short name such as slsaprovenance1 (repeatable); the JSON result has what it says")
	fl.BoolVar(&opts.AttestationsOnly, "attestation-only", false, "make do with the attestations: no signature besides is needed")
	completeTypes(cmd, "attestation")
}

// attestationTypes returns opts with URIs for the short names.
func attestationTypes(opts hub.VerifyOptions) (hub.VerifyOptions, error) {
	if opts.AttestationsOnly && len(opts.Attestations) == 0 {
		return opts, usagef("--attestation-only needs --attestation TYPE")
	}
	types := make([]string, len(opts.Attestations))
	for i, name := range opts.Attestations {
		var err error
		if types[i], err = signing.PredicateType(name); err != nil {
			return opts, usagef("--attestation %s: %w", name, err)
		}
	}
	opts.Attestations = types
	return opts, nil
}

func printAttestations(w io.Writer, list []hub.Attestation) {
	for _, att := range list {
		fmt.Fprintf(w, "attested by %s: %s\n", signedBy(att.Signer), ui.Line(att.PredicateType))
	}
}
