package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

func newBundle(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle COMMAND",
		Short: "Carry versions to where there is no network, in one file",
		Long: `A bundle is a tar archive with an OCI image layout: versions with all that is attached
to them, and the keys, trusted root and policy that they can be verified with where
nobody can be asked.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBundleSave(a), newBundleVerify(a), newBundleLoad(a))
	return cmd
}

// bundleFlags are what the commands have in common.
type bundleFlags struct {
	copyFlags
	output      string
	policies    []string
	trustDigest string
}

func newBundleSave(a *app) *cobra.Command {
	var f bundleFlags
	cmd := &cobra.Command{
		Use:   "save REF... -o FILE.tar",
		Short: "Write versions, and what they are verified with, into a file",
		Long: `Write the versions that the references stand for into FILE.tar, with all that belongs
and is attached to them, as "modelreg copy" does.

The keys of --key, which must have signed, go into the bundle, and so do identities,
the trusted root and policies. The digest of these files is printed: tell it to whoever
gets the bundle, by another way than the bundle itself.

A policy at oci://REF is verified now, as with "pull", and goes into the bundle with its
signature, so that "bundle load --policy oci://REF --policy-key FILE" needs no registry.`,
		Example: `  modelreg bundle save ghcr.io/acme/support:v1 -o support.tar --key cosign.pub
  modelreg bundle save ghcr.io/acme/support:v1 ghcr.io/acme/base:v3 -o models.tar --policy policy.yaml`,
		Args:              rangeArgs(1, -1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.bundleSave(cmd, args, f) },
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "the bundle's `FILE`")
	cmd.Flags().StringArrayVar(&f.policies, "policy", nil, "put the policy in `FILE`, or in a registry at oci://REF, into the bundle (repeatable)")
	a.addPolicySigners(cmd)
	return cmd
}

func newBundleVerify(a *app) *cobra.Command {
	var f bundleFlags
	cmd := &cobra.Command{
		Use:   "verify FILE.tar",
		Short: "Check all bytes of a bundle, and who signed what is in it, without a network",
		Long: `Compare every manifest and blob of the bundle with its digest, look whether anything
is missing, and verify the signatures. Nobody is asked but the file, and the registries of
bases where a policy asks about lineage.

Whom to trust is said by --key, --certificate-identity and --policy. Without them the
bundle's own trust files are believed, and their digest is printed: they prove nothing
unless that is the digest which the sender told you. --trust-digest refuses others.`,
		Example: `  modelreg bundle verify support.tar --key cosign.pub
  modelreg bundle verify support.tar --trust-digest sha256:…`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.bundleVerify(cmd, args[0], f) },
	}
	a.bundleTrust(cmd, &f)
	f.trust.addAuthorities(cmd.Flags())
	return cmd
}

func newBundleLoad(a *app) *cobra.Command {
	var f bundleFlags
	cmd := &cobra.Command{
		Use:   "load FILE.tar [DST]",
		Short: "Copy what a bundle holds into a registry",
		Long: `Verify the bundle as "modelreg bundle verify" does, and copy what it holds into a
registry, as "modelreg copy" does: tags move last. Bytes are compared with their digests
as they are sent.

DST is a repository; for a bundle of several repositories a registry, HOST or
HOST/PREFIX, below which each keeps its name. Without DST they go where they came from.`,
		Example: `  modelreg bundle load support.tar harbor.local/ml/support --key cosign.pub
  modelreg bundle load models.tar harbor.local/mirror --trust-digest sha256:…`,
		Args:              rangeArgs(1, 2),
		ValidArgsFunction: positions(words(), a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.bundleLoad(cmd, args, f) },
	}
	a.bundleTrust(cmd, &f)
	f.trust.addAuthorities(cmd.Flags())
	fl := cmd.Flags()
	fl.StringArrayVar(&f.MountFrom, "mount-from", nil, "link blobs from `REPOSITORY` of DST's registry instead of uploading (repeatable)")
	fl.IntVarP(&f.Workers, "jobs", "j", 0, "move `N` blobs at once (default 4)")
	choose(cmd, choiceFlag{value: &f.conflict, name: "on-conflict", usage: "what to do with a tag that stands for another version: `fail|skip|overwrite`"}, "fail", "skip", "overwrite")
	return cmd
}

// bundleTrust registers whom to believe in place of the bundle.
func (a *app) bundleTrust(cmd *cobra.Command, f *bundleFlags) {
	f.trust.add(cmd.Flags())
	a.addPolicyFlags(cmd)
	cmd.Flags().StringVar(&f.trustDigest, "trust-digest", "", "refuse a bundle whose trust files have another `DIGEST`")
}

func (a *app) bundleSave(cmd *cobra.Command, args []string, f bundleFlags) error {
	if f.output == "" {
		return usagef("bundle save needs -o FILE")
	}
	var refs []ref.Reference
	for _, arg := range args {
		r, err := a.place(arg)
		if err != nil {
			return err
		}
		refs = append(refs, r)
	}
	opts, err := a.bundleOptions(cmd.Context(), &f)
	if err != nil {
		return err
	}
	if opts.TrustFiles, err = a.trustFiles(cmd.Context(), f, opts); err != nil {
		return err
	}
	return a.bundle(cmd, "save", func(ctx context.Context, h *hub.Hub) (*hub.BundleResult, error) {
		return h.SaveBundle(ctx, refs, f.output, opts)
	})
}

func (a *app) bundleVerify(cmd *cobra.Command, file string, f bundleFlags) error {
	opts, err := a.bundleOptions(cmd.Context(), &f)
	if err != nil {
		return err
	}
	if err := a.takeCarried(cmd.Context(), file); err != nil {
		return err
	}
	return a.bundle(cmd, "verify", func(ctx context.Context, h *hub.Hub) (*hub.BundleResult, error) {
		return h.VerifyBundle(ctx, file, opts)
	})
}

func (a *app) bundleLoad(cmd *cobra.Command, args []string, f bundleFlags) error {
	var dst ref.Reference
	if len(args) > 1 {
		var err error
		if dst, err = a.prefix(args[1]); err != nil {
			return err
		}
	}
	opts, err := a.bundleOptions(cmd.Context(), &f)
	if err != nil {
		return err
	}
	if err := a.takeCarried(cmd.Context(), args[0]); err != nil {
		return err
	}
	return a.bundle(cmd, "load", func(ctx context.Context, h *hub.Hub) (*hub.BundleResult, error) {
		return h.LoadBundle(ctx, args[0], dst, opts)
	})
}

// prefix reads a repository, or a registry's host alone.
func (a *app) prefix(s string) (ref.Reference, error) {
	if r, err := a.place(s + "/x"); err == nil && r.Scheme == "" && !strings.Contains(s, "/") && r.Repository == "x" {
		r.Repository = ""
		return r, nil
	}
	return a.place(s)
}

// bundleOptions reads the flags.
func (a *app) bundleOptions(ctx context.Context, f *bundleFlags) (opts hub.BundleOptions, err error) {
	if f.trustDigest != "" {
		if opts.TrustDigest, err = digest.Parse(f.trustDigest); err != nil {
			return opts, usagef("--trust-digest %s: it is sha256: and 64 digits", f.trustDigest)
		}
	}
	if f.carries() {
		opts.CopyOptions = f.CopyOptions
		opts.OnConflict = hub.Conflict(f.conflict)
	} else if err := a.copyOptions(ctx, &f.copyFlags); err != nil {
		return opts, err
	} else {
		opts.CopyOptions = f.CopyOptions
	}
	return opts, nil
}

// carries tells whether the flags name a trusted root to carry, and nobody whose
// signature is to be verified.
func (f *bundleFlags) carries() bool {
	return f.output != "" && f.trust.root != "" && !f.trust.given()
}

// takeCarried has the policies of registries looked for in a bundle first, where
// any are asked for.
func (a *app) takeCarried(ctx context.Context, file string) (err error) {
	if slices.ContainsFunc(a.policySources(), func(s policySource) bool { return strings.HasPrefix(s.name, "oci://") }) {
		a.policies.carried, err = hub.CarriedPolicies(ctx, file)
	}
	return err
}

// carriedPolicy fetches a policy that goes into a bundle, as its file and with
// its signatures.
func (a *app) carriedPolicy(ctx context.Context, name string) ([]hub.TrustFile, error) {
	r, err := a.parse(name)
	if err != nil {
		return nil, err
	}
	trust, err := a.policyTrust(ctx, r, policySource{name, a.config.policySigners().and(a.policies.policySigners)})
	if err != nil {
		return nil, err
	}
	h, err := a.hubUnder(nil, nil)
	if err != nil {
		return nil, err
	}
	c, err := h.CarryPolicy(ctx, r, hub.PolicyOptions{Trust: trust})
	if err != nil {
		return nil, err
	}
	return []hub.TrustFile{
		{Kind: hub.TrustPolicy, Name: "oci://" + c.Reference, Raw: c.File},
		{Kind: hub.TrustSignedPolicy, Name: "oci://" + c.Reference, Raw: c.Signed},
	}, nil
}

// trustFiles are what save puts into a bundle.
func (a *app) trustFiles(ctx context.Context, f bundleFlags, opts hub.BundleOptions) ([]hub.TrustFile, error) {
	var files []hub.TrustFile
	if opts.Trust != nil {
		for i, key := range opts.Trust.Keys {
			name := strings.TrimPrefix(f.trust.keys[i], "env://")
			files = append(files, hub.TrustFile{Kind: hub.TrustKey, Name: filepath.Base(name), Raw: key.PEM()})
		}
		if ids := opts.Trust.Identities; len(ids) > 0 {
			raw, err := hub.FormatIdentities(ids)
			if err != nil {
				return nil, err
			}
			files = append(files, hub.TrustFile{Kind: hub.TrustIdentities, Name: "identities.json", Raw: raw})
		}
	}
	more := map[hub.TrustKind][]string{hub.TrustPolicy: f.policies}
	if root := cmp.Or(f.trust.root, a.rootOf(opts)); root != "" {
		more[hub.TrustRoot] = []string{root}
	}
	for kind, names := range more {
		for _, name := range names {
			if kind == hub.TrustPolicy && strings.HasPrefix(name, "oci://") {
				signed, err := a.carriedPolicy(ctx, name)
				if err != nil {
					return nil, err
				}
				files = append(files, signed...)
				continue
			}
			raw, err := readSmall(name, maxTrustedRoot)
			if err != nil {
				return nil, err
			}
			if kind == hub.TrustPolicy {
				if _, err := policy.Parse(raw); err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
			}
			files = append(files, hub.TrustFile{Kind: kind, Name: filepath.Base(name), Raw: raw})
		}
	}
	return files, nil
}

// rootOf is the trusted root that is used unless one is named, where certificates
// are trusted, for they are worth nothing without it.
func (a *app) rootOf(opts hub.BundleOptions) string {
	if opts.Trust == nil || opts.Trust.Roots == nil {
		return ""
	}
	found, err := a.findRoot("")
	if err != nil {
		return ""
	}
	return found.file
}

// bundle runs one of the commands, and prints what it did.
func (a *app) bundle(cmd *cobra.Command, what string, run func(context.Context, *hub.Hub) (*hub.BundleResult, error)) error {
	progress := a.printer.Progress(what)
	h, err := a.hub(progress.Observe)
	if err != nil {
		progress.Close()
		return err
	}
	started := time.Now()
	res, err := run(cmd.Context(), h)
	progress.Close()
	if res != nil {
		a.noteTrust(res)
	}
	if err != nil {
		return err
	}
	for _, n := range res.Notes {
		a.printer.Note("note: %s", n)
	}
	a.noteSigners(res.Verified)
	moved := ""
	if what != "verify" {
		moved = fmt.Sprintf(": %s moved, %s mounted, %s already there", ui.Bytes(res.CopiedBytes), ui.Bytes(res.MountedBytes), ui.Bytes(res.SkippedBytes))
	}
	a.printer.Note("%s in %s%s; %d manifests, %d of them attached, and %d blobs checked",
		ui.Bytes(res.Size), ui.Duration(time.Since(started)), moved, res.Manifests, res.Attached, res.Blobs)
	return a.printer.Result(res, func(w io.Writer) {
		for _, v := range res.Versions {
			fmt.Fprintln(w, spoken(v.Reference))
		}
	})
}

// noteTrust tells whom a bundle was verified with. That it vouches for itself
// must not be overlooked.
func (a *app) noteTrust(res *hub.BundleResult) {
	if res.Trust != nil {
		a.printer.Note("the bundle's trust files: %s", res.Trust.Digest)
		for _, f := range res.Trust.Files {
			a.printer.Note("  %s  %s  %s", f.Kind, f.Digest, ui.Line(f.Name))
		}
	}
	switch res.TrustFrom {
	case "bundle":
		a.printer.Warn("verified with what the bundle itself says of whom to trust: compare the digest with the sender's, or give --key, --policy or --trust-digest")
	case "none":
		a.printer.Warn("no signature is verified: nobody to trust is named, here or in the bundle")
	}
}
