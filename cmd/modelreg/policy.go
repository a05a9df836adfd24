package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

func newPolicy(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy COMMAND",
		Short: "Write, check, try and publish the rules of what may be used",
		Long: `A policy says in one file which versions may be used: who must have signed them, what
must be attested, which licences, formats and sizes are allowed. It is a file that
sigstore's policy-controller takes too; docs/policy.md describes it.

"pull", "cat", "mount", "tensors" and "lock" hold each version against the policies of
the configuration ("modelreg config set policy /etc/modelreg/policy.yaml"), of
MODELREG_POLICY and of --policy, before they use a byte of it. Where a policy is, what
no rule allows is refused (exit 10).

POLICY is a file, or oci://REF for one that was published with "policy push".`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyInit(a), newPolicyValidate(a), newPolicyTest(a), newPolicyExplain(a), newPolicyPush(a), newPolicyGenerate(a))
	return cmd
}

func newPolicyInit(a *app) *cobra.Command {
	var s policy.Starter
	var key string
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a policy to begin with",
		Long: `Write a policy with comments to FILE (default: policy.yaml). With --key it trusts that key;
without, it refuses everything until somebody is named in it.`,
		Example: `  modelreg policy init policy.yaml --glob 'ghcr.io/acme/**' --key cosign.pub`,
		Args:    rangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := append(args, "policy.yaml")[0]
			if _, err := os.Lstat(file); err == nil {
				return usagef("write policy: %s exists, and is not replaced", file)
			}
			if key != "" {
				var err error
				if s.Key, err = publicKey(cmd.Context(), key); err != nil {
					return err
				}
			}
			text, err := s.Text()
			if err != nil {
				return err
			}
			if err := writeNew(file, text, 0o644); err != nil {
				return err
			}
			return a.printer.Result(map[string]string{"policy": file}, func(w io.Writer) { fmt.Fprintln(w, file) })
		},
	}
	cmd.Flags().StringVar(&s.Glob, "glob", "", "the repositories that it is for (default: all, **)")
	cmd.Flags().StringVar(&key, "key", "", "public key `FILE` to trust")
	return cmd
}

// policySummary is what validate prints. Its fields are the contract with
// scripts.
type policySummary struct {
	Policy    string           `json:"policy"`
	Digest    string           `json:"digest"`
	Documents []policyDocument `json:"documents"`
}

type policyDocument struct {
	Name        string   `json:"name"`
	Mode        string   `json:"mode"`
	Globs       []string `json:"globs"`
	Authorities []string `json:"authorities"`
}

func newPolicyValidate(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate POLICY",
		Short: "Check a policy, without a version",
		Long: `Read a policy as a pull would, and tell what is in it. Unknown fields and annotations are
errors, and so is what would allow more than it seems to: regular expressions that are
not anchored, identities without an issuer, keys by reference.`,
		Example: `  modelreg policy validate policy.yaml`,
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.policy(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			res := summary(p)
			return a.printer.Result(res, func(w io.Writer) {
				t := ui.Table(w)
				fmt.Fprintln(t, "NAME\tMODE\tREPOSITORIES\tAUTHORITIES")
				for _, d := range res.Documents {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Name, d.Mode, strings.Join(d.Globs, " "), strings.Join(d.Authorities, ", "))
				}
				_ = t.Flush()
			})
		},
	}
	a.addPolicyTrust(cmd)
	return cmd
}

func summary(p *policy.Policy) policySummary {
	res := policySummary{Policy: p.String(), Digest: p.Digest().String(), Documents: []policyDocument{}}
	for _, d := range p.Documents {
		doc := policyDocument{Name: d.Name, Mode: "enforce", Globs: d.Globs}
		if d.Warn {
			doc.Mode = "warn"
		}
		for _, at := range d.Authorities {
			doc.Authorities = append(doc.Authorities, at.Name)
		}
		res.Documents = append(res.Documents, doc)
	}
	return res
}

// policy reads the one that is named.
func (a *app) policy(ctx context.Context, name string) (*policy.Policy, error) {
	h, err := a.hubUnder(nil, nil)
	if err != nil {
		return nil, err
	}
	return a.readPolicy(ctx, h, a.policySource(name))
}

func (a *app) policySource(name string) policySource {
	return policySource{name, a.config.policySigners().and(a.policies.policySigners)}
}

func newPolicyTest(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test POLICY REF",
		Short: "Tell whether a policy allows a version",
		Long: `Hold the version that REF resolves to against one policy, and no other. The exit code is
that of a pull: 0 if it is allowed, 10 if it is refused, 11 if it was yanked. What is
fetched is the manifest, what is attached to it, and small files that the policy asks for.`,
		Example:           `  modelreg policy test policy.yaml ghcr.io/acme/support:v1`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(nil, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.explainPolicy(cmd, args)
			if err != nil {
				return err
			}
			for _, d := range e.Policies {
				for _, w := range d.Warnings() {
					a.printer.Warn("%s of %s: found %s, wanted %s", w.Rule, w.Document, w.Found, w.Wanted)
				}
			}
			err = a.printer.Result(e, func(w io.Writer) {
				if e.Allowed {
					fmt.Fprintln(w, spoken(e.Reference))
				}
			})
			return cmp.Or(err, e.Err())
		},
	}
	a.addPolicyTrust(cmd)
	return cmd
}

func newPolicyExplain(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain POLICY REF",
		Short: "Show every rule for a version: what was found, what is wanted",
		Long: `Hold the version that REF resolves to against one policy, and no other, and show what came
out for every rule that applies to its repository. To explain succeeds also when the
version is refused.`,
		Example:           `  modelreg policy explain policy.yaml ghcr.io/acme/support:v1`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(nil, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.explainPolicy(cmd, args)
			if err != nil {
				return err
			}
			return a.printer.Result(e, func(w io.Writer) { printExplanation(w, e) })
		},
	}
	a.addPolicyTrust(cmd)
	return cmd
}

// explainPolicy asks the policy args[0] about the version args[1].
func (a *app) explainPolicy(cmd *cobra.Command, args []string) (*hub.Explanation, error) {
	r, err := a.parse(args[1])
	if err != nil {
		return nil, err
	}
	h, err := a.hubUnder(nil, []policySource{a.policySource(args[0])})
	if err != nil {
		return nil, err
	}
	return h.Explain(cmd.Context(), r, hub.VerifyOptions{})
}

func printExplanation(w io.Writer, e *hub.Explanation) {
	fmt.Fprintln(w, spoken(e.Reference))
	t := ui.Table(w)
	fmt.Fprintln(t, "\tDOCUMENT\tRULE\tFOUND\tWANTED")
	for _, d := range e.Policies {
		for _, r := range d.Rules {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", cmp.Or(r.Effect, "ok"), r.Document, r.Rule, ui.Line(r.Found), ui.Line(r.Wanted))
		}
	}
	_ = t.Flush()
	if e.Allowed {
		fmt.Fprintln(w, "allowed")
	} else {
		fmt.Fprintln(w, "refused")
	}
}

func newPolicyPush(a *app) *cobra.Command {
	var sign signerFlags
	cmd := &cobra.Command{
		Use:   "push FILE REF",
		Short: "Publish a policy in a registry, signed",
		Long: `Push the policy in FILE to REF, and sign it with --key. Others use it as oci://REF with the
public key (--policy-key, configuration: policy-keys), or as oci://REF@DIGEST, which needs
no key and no network after the first time. It is believed under the name REF alone:
push it again for another tag or repository.`,
		Example: `  modelreg policy push policy.yaml ghcr.io/acme/policies:prod --key cosign.key
  modelreg pull ghcr.io/acme/support:v1 --policy oci://ghcr.io/acme/policies:prod --policy-key cosign.pub`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(nil, a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.pushPolicy(cmd.Context(), args[0], args[1], sign)
			if err != nil {
				return err
			}
			if res.Signatures == 0 {
				a.printer.Note("not signed now: it is used by its digest, or after \"modelreg sign\"")
			}
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
		},
	}
	sign.add(cmd)
	return cmd
}

func (a *app) pushPolicy(ctx context.Context, file, arg string, sign signerFlags) (*hub.PolicyPush, error) {
	r, err := a.parse(arg)
	if err != nil {
		return nil, err
	}
	raw, err := readPolicyFile(file)
	if err != nil {
		return nil, err
	}
	var s *signing.Signer
	if sign.given() {
		if s, err = a.signerOf(ctx, sign); err != nil {
			return nil, err
		}
	}
	h, err := a.hub(nil)
	if err != nil {
		return nil, err
	}
	return h.PushPolicy(ctx, raw, r, s)
}
