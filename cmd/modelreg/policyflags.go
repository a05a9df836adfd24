package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// policyFlags say what versions are held against. Every command that uses bytes
// of a version has them.
type policyFlags struct {
	policySigners
	policy string
	roots  []string
	skip   bool
	strict bool

	// as is the repository of which what lies on this machine is taken to be.
	as string

	// carried are policies that came with a bundle, which are looked for there
	// and not in their registries.
	carried [][]byte
}

// policySigners say who must have signed a policy in a registry: one of them.
type policySigners struct {
	keys             []string
	identity, issuer string
}

// and are both; the identity of more counts if it has one.
func (s policySigners) and(more policySigners) policySigners {
	s.keys = slices.Concat(s.keys, more.keys)
	if more.identity+more.issuer != "" {
		s.identity, s.issuer = more.identity, more.issuer
	}
	return s
}

func (s policySigners) given() bool { return len(s.keys) > 0 || s.identity+s.issuer != "" }

func (c config) policySigners() policySigners {
	return policySigners{c.PolicyKeys, c.PolicyIdentity, c.PolicyIssuer}
}

const policyUsage = "refuse what the policy in `FILE`, or in a registry at oci://REF, does not allow, besides that of the configuration"

// addPolicyFlags gives a command the flags of policies.
func (a *app) addPolicyFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.policies.policy, "policy", "", policyUsage)
	cmd.Flags().BoolVar(&a.policies.skip, "insecure-skip-verify", false, "use the version whatever policies say; warns, and is recorded")
	a.addPolicyTrust(cmd)
}

// addStrictFlag gives a command the flag of those who use nothing that was
// deprecated.
func (a *app) addStrictFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.policies.strict, "strict", false, "refuse a version that was deprecated, or of which it is not known whether it was withdrawn")
}

// addPolicyTrust gives a command the flags that say whom policies are believed
// of, and whom they believe.
func (a *app) addPolicyTrust(cmd *cobra.Command) {
	a.addPolicySigners(cmd)
	cmd.Flags().StringArrayVar(&a.policies.roots, "trust-root", nil, "`NAME=FILE`: the trusted_root.json that a policy calls NAME (repeatable)")
}

// addAsFlag gives a command that takes what lies on this machine the flag that says
// what it is.
func (a *app) addAsFlag(cmd *cobra.Command, of string) {
	cmd.Flags().StringVar(&a.policies.as, "as", "", "with "+of+": ask policies about a version of `REPOSITORY`, whatever is noted there")
}

// asRepository reads --as.
func (a *app) asRepository() (ref.Reference, error) {
	if a.policies.as == "" {
		return ref.Reference{}, nil
	}
	r, err := a.parse(a.policies.as)
	if err == nil && (r.Scheme != "" || r.Tag != "" || r.Digest != "") {
		err = usagef("--as %s: name a repository, HOST/ORG/MODEL", a.policies.as)
	}
	return r, err
}

// checkAs refuses --as for what says itself where it is from.
func (a *app) checkAs(r ref.Reference) error {
	if a.policies.as != "" && r.Scheme != ref.SchemeLayout {
		return usagef("--as goes with what lies on this machine, and %s is in a registry", r)
	}
	return nil
}

// addPolicySigners gives a command the flags that say whom policies are believed
// of.
func (a *app) addPolicySigners(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&a.policies.keys, "policy-key", nil, "public key `FILE` that must have signed a policy at oci://REF; one named by its digest needs none (repeatable)")
	fl.StringVar(&a.policies.identity, "policy-certificate-identity", "", "or a certificate issued to `WHO`")
	fl.StringVar(&a.policies.issuer, "policy-certificate-oidc-issuer", "", "and only if `URL` is the provider that vouched for them")
}

// A policySource is where a policy is, and who must have signed it if that is a
// registry.
type policySource struct {
	name    string
	signers policySigners
}

// policySources lists what the configuration, the environment and the flags
// name. Each must allow a version: none of them can be made to say less by
// another one.
func (a *app) policySources() []policySource {
	var out []policySource
	add := func(name string, signers policySigners) {
		if name != "" && !slices.ContainsFunc(out, func(s policySource) bool { return s.name == name }) {
			out = append(out, policySource{name, signers})
		}
	}
	add(a.config.Policy, a.config.policySigners())
	signers := a.config.policySigners().and(a.policies.policySigners)
	add(os.Getenv("MODELREG_POLICY"), signers)
	add(a.policies.policy, signers)
	return out
}

// hasPolicy tells whether any policy is named.
func (a *app) hasPolicy() bool { return len(a.policySources()) > 0 }

// rules returns what reads the policies, when they are needed, once. h is a hub
// without policies.
func (a *app) rules(h *hub.Hub, sources []policySource) func(context.Context) (hub.Rules, error) {
	var mu sync.Mutex
	var read *hub.Rules
	return func(ctx context.Context) (hub.Rules, error) {
		mu.Lock()
		defer mu.Unlock()
		if read != nil {
			return *read, nil
		}
		r := hub.Rules{Skip: a.policies.skip, Roots: a.namedRoot}
		for _, s := range sources {
			p, err := a.readPolicy(ctx, h, s)
			if err != nil {
				return hub.Rules{}, err
			}
			r.Policies = append(r.Policies, p)
		}
		read = &r
		return r, nil
	}
}

// namedRoot reads the trusted root that a policy has this name for; the one
// without a name is that of --trusted-root.
func (a *app) namedRoot(name string) (*signing.Roots, error) {
	if name == "" {
		return a.trustedRoot("")
	}
	for _, given := range a.policies.roots {
		if called, file, _ := strings.Cut(given, "="); called == name {
			return readTrustedRoot(file)
		}
	}
	if file, ok := a.config.TrustRoots[name]; ok {
		return readTrustedRoot(file)
	}
	return nil, usagef("the trusted root %q is not known here: give --trust-root %s=FILE", name, name)
}

// readPolicy reads a file, or asks h, which is one without policies.
func (a *app) readPolicy(ctx context.Context, h *hub.Hub, s policySource) (*policy.Policy, error) {
	if !strings.HasPrefix(s.name, "oci://") {
		raw, err := readPolicyFile(s.name)
		if err != nil {
			return nil, err
		}
		p, err := policy.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		return p, nil
	}
	r, err := a.parse(s.name)
	if err != nil {
		return nil, err
	}
	trust, err := a.policyTrust(ctx, r, s)
	if err != nil {
		return nil, err
	}
	for _, signed := range a.policies.carried {
		p, err := h.CarriedPolicy(ctx, r, signed, hub.PolicyOptions{Trust: trust})
		if !errors.Is(err, errdef.ErrNotFound) {
			return p, err
		}
	}
	return h.FetchPolicy(ctx, r, hub.PolicyOptions{Trust: trust})
}

// policyTrust is who must have signed a policy; nil where its digest says which
// one it is.
func (a *app) policyTrust(ctx context.Context, r ref.Reference, s policySource) (*signing.Trust, error) {
	if !s.signers.given() {
		if r.Digest != "" {
			return nil, nil
		}
		return nil, usageError{
			fmt.Errorf("policy %s: a tag can be moved by whoever may push there", s.name),
			"name the key that has signed it with --policy-key FILE (configuration: policy-keys), or add its digest",
		}
	}
	f := trustFlags{keys: s.signers.keys, issuer: s.signers.issuer}
	if s.signers.identity != "" {
		f.identities = []string{s.signers.identity}
	}
	return a.trusted(ctx, f)
}

func readPolicyFile(name string) ([]byte, error) {
	raw, err := readSmall(name, policy.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return raw, nil
}

// setPolicy changes a setting about policies.
func (c *config) setPolicy(key, value string) error {
	switch key {
	case "policy":
		// A file that is another one in every directory is no rule for a machine.
		if value != "" && !strings.HasPrefix(value, "oci://") && !filepath.IsAbs(value) {
			return usageError{errors.New("set policy to " + value + ": it is a file of the current directory only"), "give the whole path of the file, or oci://REF"}
		}
		c.Policy = value
	case "policy-keys":
		c.PolicyKeys = nil
		if value != "" {
			c.PolicyKeys = strings.Split(value, ",")
		}
	case "policy-identity":
		c.PolicyIdentity = value
	case "policy-issuer":
		c.PolicyIssuer = value
	default:
		return usagef("set %s: no such setting: use policy, policy-keys, policy-identity or policy-issuer", key)
	}
	return nil
}
