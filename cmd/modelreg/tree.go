package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

func newTree(a *app) *cobra.Command {
	var trust trustFlags
	cmd := &cobra.Command{
		Use:   "tree REF",
		Short: "Show what is attached to a version, and who says so",
		Long: `Show what is attached to a version: signatures and attestations in both layouts of
cosign, codings, indexes and whatever else refers to it, and what refers to that.

Who has signed is what the signature says of itself ("says"), and anybody can say
anything. With --key or --certificate-identity, what these have signed is marked as
verified. "modelreg verify" decides whether that is enough; this only shows.`,
		Example: `  modelreg tree ghcr.io/acme/support:v1
  modelreg tree ghcr.io/acme/support:v1 --key cosign.pub --format json`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.tree(cmd, args[0], trust) },
	}
	trust.add(cmd.Flags())
	trust.addAuthorities(cmd.Flags())
	return cmd
}

func (a *app) tree(cmd *cobra.Command, arg string, f trustFlags) error {
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	var trust *signing.Trust
	if f.used() {
		if trust, err = a.trusted(cmd.Context(), f); err != nil {
			return err
		}
	}
	res, err := h.Tree(cmd.Context(), r, trust)
	if err != nil {
		return err
	}
	if res.Truncated {
		a.printer.Warn("more is attached than is shown")
	}
	return a.printer.Result(res, func(w io.Writer) {
		fmt.Fprintln(w, spoken(res.Reference))
		if res.Root.Problem != "" {
			fmt.Fprintf(w, "problem: %s\n", ui.Line(res.Root.Problem))
		}
		printTree(w, "", res.Root.Attached)
	})
}

// printTree prints nodes below each other, each line after the branches that
// lead to it.
func printTree(w io.Writer, branches string, nodes []hub.TreeNode) {
	for i, n := range nodes {
		branch, further := "├── ", "│   "
		if i == len(nodes)-1 {
			branch, further = "└── ", "    "
		}
		fmt.Fprintf(w, "%s%s%s\n", branches, branch, treeLine(n))
		printTree(w, branches+further, n.Attached)
	}
}

func treeLine(n hub.TreeNode) string {
	what := n.Kind
	switch {
	case n.Kind == "attestation":
		what += " " + signing.PredicateName(n.PredicateType)
	case n.Kind == "other":
		what = cmp.Or(n.ArtifactType, n.MediaType, n.Kind)
	}
	parts := []string{ui.Line(what), n.Digest}
	switch {
	case n.Verified != nil:
		parts = append(parts, "verified: "+signedBy(*n.Verified))
	case n.Claims != nil:
		parts = append(parts, "says: "+claimedBy(*n.Claims))
	case n.Kind == "signature" || n.Kind == "attestation":
		parts = append(parts, "does not say who signed")
	default:
		parts = append(parts, ui.Bytes(n.Size))
	}
	if !n.Created.IsZero() && n.Verified == nil {
		parts = append(parts, "says: made "+n.Created.Format(time.RFC3339))
	}
	if n.Problem != "" {
		parts = append(parts, "("+ui.Line(n.Problem)+")")
	}
	return strings.Join(parts, "  ")
}

// claimedBy tells in words who is said to have signed.
func claimedBy(s hub.Signer) string {
	if s.Kind == "" {
		return "signed at " + s.Time.Format(time.RFC3339)
	}
	return signedBy(s)
}
