package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// sorted sorts words in place.
func sorted(words []string) []string {
	slices.Sort(words)
	return words
}

// trustOf is whom the flags name; nil if they name nobody.
func (a *app) trustOf(ctx context.Context, f trustFlags) (*signing.Trust, error) {
	if !f.used() {
		return nil, nil
	}
	return a.trusted(ctx, f)
}

type promoteFlags struct {
	moveFlags
	to, verifier     string
	create           bool
	keys             []string
	identity, issuer string
}

func newPromote(a *app) *cobra.Command {
	var f promoteFlags
	cmd := &cobra.Command{
		Use:   "promote REF --to ALIAS",
		Short: "Let an alias lead to a version that policies allow there",
		Long: `Let ALIAS lead to the version that REF resolves to. ALIAS is a tag of the same
repository, such as prod, or a whole reference in another one. Then the version is copied
there first, with all that is attached to it, and verified there.

Where the record of the repository protects aliases ("modelreg repo protect"), ALIAS is
one of them, or a tag that is there: another is taken for a slip (exit 3) without --create.

Policies (--policy, the configuration) are asked about the version under the name of the
alias; --signed-by and --signed-by-identity name who must have signed it besides. What
they refuse does not move (exit 10), nor does a version that was yanked (exit 11).

With --key or --keyless what was decided is attached to the version as a verification
summary (https://slsa.dev/verification_summary/v1), before the alias moves, and the
entry in the log of a protected alias is signed.`,
		Example: `  modelreg promote ghcr.io/acme/support:v1.2.0 --to prod --policy prod.yaml --key release.key
  modelreg promote registry.dev/acme/support:v1.2.0 --to registry.live/acme/support:prod --signed-by team.pub`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.promote(cmd, args[0], f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.to, "to", "", "the `ALIAS`: a tag, or HOST/ORG/MODEL:TAG")
	fl.BoolVar(&f.create, "create", false, "make a tag that is not there, where the record protects others")
	fl.StringArrayVar(&f.keys, "signed-by", nil, "public key `FILE` that must have signed the version (repeatable: one is enough)")
	fl.StringVar(&f.identity, "signed-by-identity", "", "or a certificate issued to `WHO`")
	fl.StringVar(&f.issuer, "signed-by-issuer", "", "and only if `URL` is the provider that vouched for them")
	fl.StringVar(&f.verifier, "verifier", "", "who verified, for the summary: `URI` (default: "+hub.DefaultVerifier+")")
	f.add(cmd)
	a.addPolicyFlags(cmd)
	a.addStrictFlag(cmd)
	return cmd
}

func (a *app) promote(cmd *cobra.Command, arg string, f promoteFlags) error {
	if f.to == "" {
		return usagef("promote needs --to ALIAS: where the version is to go")
	}
	h, src, err := a.open(arg)
	if err != nil {
		return err
	}
	dst, err := a.alias(src, f.to)
	if err != nil {
		return err
	}
	opts := hub.PromoteOptions{Message: f.message, Author: f.author, Verifier: f.verifier, Create: f.create}
	who := trustFlags{keys: f.keys, issuer: f.issuer}
	if f.identity != "" {
		who.identities = []string{f.identity}
	}
	if opts.Trust, err = a.trustOf(cmd.Context(), who); err != nil {
		return err
	}
	if f.signer.given() {
		if opts.Signer, err = a.signerOf(cmd.Context(), f.signer); err != nil {
			return err
		}
	}
	res, err := h.Promote(cmd.Context(), src, dst, opts)
	if err != nil {
		return err
	}
	a.tellPromotion(res)
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

// alias reads where to: a tag of src's repository, or a whole reference.
func (a *app) alias(src ref.Reference, to string) (ref.Reference, error) {
	if strings.Contains(to, ":") || strings.HasPrefix(to, "@") {
		return a.parse(to)
	}
	tag, err := ref.EncodeBranch(to)
	src.Revision = ""
	return src.WithTag(tag), err
}

func (a *app) tellPromotion(res *hub.PromoteResult) {
	if c := res.Copied; c != nil {
		a.printer.Note("copied to %s: %d manifests, %d blobs, all checked there", spoken(c.Reference), c.Manifests, c.Blobs)
	}
	switch {
	case res.Summary != "":
		a.printer.Note("verified by %s; the summary is %s", res.Verified.Policy, short(res.Summary))
	case res.Verified != nil:
		a.printer.Note("verified by %s", res.Verified.Policy)
	default:
		a.printer.Note("nothing was verified: there is no policy, and nobody is named who must have signed")
	}
	if !res.Move.Changed {
		a.printer.Note("%s is there already", res.Move.Tag)
	}
	if res.Move.Changed && res.Move.Logged == "" {
		a.printer.Note("%s: from %s to %s; no log is kept of it", res.Move.Tag, place(res.Move.From), place(res.Move.To))
	}
	a.tellMove(res.Move)
}

func newRollback(a *app) *cobra.Command {
	var f moveFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "rollback REF",
		Short: "Let an alias lead where it led before",
		Long: `Let the protected alias that REF names lead to the version that it led to before, by its
log ("modelreg tag log"). Doing so again goes further back. Versions that were yanked or
removed are passed over; --force goes back to a yanked one too.

Those who verify see that the alias went back, and refuse it (exit 10) until they say
--allow-downgrade once, or name the digest.`,
		Example:           "  modelreg rollback ghcr.io/acme/support:prod -m \"answers in French\"",
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			how, err := a.tagOptions(cmd, f)
			if err != nil {
				return err
			}
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.Rollback(cmd.Context(), r, hub.RollbackOptions{Signer: how.Signer, Message: how.Message, Author: how.Author, Force: force})
			if err != nil {
				return err
			}
			a.tellMove(res.Move)
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "go back to a version that was yanked, too")
	f.add(cmd)
	return cmd
}
