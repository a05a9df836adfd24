package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/signing/policy/admission"
)

func newPolicyGenerate(a *app) *cobra.Command {
	names := make([]string, 0, len(admission.Engines()))
	for _, e := range admission.Engines() {
		names = append(names, string(e))
	}
	cmd := &cobra.Command{
		Use:   "generate ENGINE",
		Short: "Write a policy for the admission controller of a Kubernetes cluster",
		Long: `Write the policy for ENGINE, as YAML to be applied to a cluster:

  kyverno            verifies signatures and attestations with Kyverno
  policy-controller  the same with sigstore's policy-controller
  vap                lets in what is named by digest, from the policy's repositories; a
                     ValidatingAdmissionPolicy needs nothing installed, and verifies no
                     signatures

Looked at are image volumes of pods, and of all that makes pods, and models that KServe's
resources name, which admission controllers do not do by themselves. What an engine cannot
do is said in the comments that come along; docs/admission.md has it in one table.

The policy is that of --policy, or of the configuration.`,
		Example: `  modelreg policy generate kyverno --policy policy.yaml | kubectl apply -f -
  modelreg policy generate vap --policy policy.yaml > models-vap.yaml`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(words(names...)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.policyGenerate(cmd.Context(), admission.Engine(args[0]))
		},
	}
	cmd.Flags().StringVar(&a.policies.policy, "policy", "", "the policy in `FILE`, or in a registry at oci://REF (default: that of the configuration)")
	a.addPolicyTrust(cmd)
	return cmd
}

func (a *app) policyGenerate(ctx context.Context, engine admission.Engine) error {
	sources := a.policySources()
	if a.policies.policy != "" {
		sources = slices.DeleteFunc(sources, func(s policySource) bool { return s.name != a.policies.policy })
	}
	if len(sources) != 1 {
		return usagef("generate policy: the configuration and the environment name %d: say which with --policy FILE", len(sources))
	}
	if !slices.Contains(admission.Engines(), engine) {
		return usagef("generate policy for %q: there are kyverno, policy-controller and vap", engine)
	}
	p, err := a.policy(ctx, sources[0].name)
	if err != nil {
		return err
	}
	opts := admission.Options{Roots: map[string][]byte{}}
	for name, file := range a.rootFiles() {
		if opts.Roots[name], err = readSmall(file, maxTrustedRoot); err != nil {
			return fmt.Errorf("read trusted root: %w", err)
		}
	}
	text, err := admission.Generate(p, engine, opts)
	if errors.Is(err, admission.ErrUnsupported) {
		return usageError{err, "docs/admission.md says what each engine can do; a root of trust is given with --trust-root NAME=FILE"}
	}
	if err != nil {
		return err
	}
	res := map[string]string{"engine": string(engine), "policy": p.String(), "document": text}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprint(w, text) })
}

// rootFiles are the files of trusted roots that policies can name.
func (a *app) rootFiles() map[string]string {
	files := map[string]string{}
	if a.config.TrustedRoot != "" {
		files[""] = a.config.TrustedRoot
	}
	maps.Copy(files, a.config.TrustRoots)
	for _, given := range a.policies.roots {
		name, file, _ := strings.Cut(given, "=")
		files[name] = file
	}
	return files
}
