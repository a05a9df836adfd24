package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

// directory tells whether an argument of sign or verify is a directory on this
// machine and not a reference.
func (a *app) directory(arg string) (bool, error) {
	if isPath(arg) {
		return true, nil
	}
	info, err := os.Stat(arg)
	if err != nil || !info.IsDir() {
		return false, nil
	}
	r, err := a.parse(arg)
	switch {
	case err != nil:
		return true, nil
	case r.Tag != "" || r.Digest != "":
		return false, nil
	}
	return false, usagef("%s is a directory here, and could be a model in a registry: write ./%[1]s for the directory, or a tag after the model's name", arg)
}

// either runs the one of two that the argument is for. The flags named are for
// the other.
func (a *app) either(cmd *cobra.Command, arg string, dir, ref command) error {
	is, err := a.directory(arg)
	if err != nil {
		return err
	}
	chosen, other := ref, dir
	what := "a directory: a path begins with ./ or /"
	if is {
		chosen, other = dir, ref
		what = "a reference, not with a directory"
	}
	for _, name := range other.flags {
		if cmd.Flags().Changed(name) {
			return usagef("--%s goes with %s", name, what)
		}
	}
	return chosen.run()
}

// A command is what one does to a directory or to a reference, and the flags that
// mean nothing to the other.
type command struct {
	flags []string
	run   func() error
}

const (
	signDirHelp = `Of a directory, a path that begins with ./ or /, the files are signed as OpenSSF
Model Signing has it, and the signature is written to DIR/model.sig. The keys are
ECDSA keys. Left out are .git, .github, .gitignore, .gitattributes and .modelreg.`

	verifyDirHelp = `Of a directory, a path that begins with ./ or /, every file is read and compared with
what was signed: with the manifest and signatures that pull --verify keeps there, and
with DIR/model.sig, a signature of OpenSSF Model Signing by this or another tool. No
network is needed. A file that changed, is missing, or was not signed fails (exit 15).
What the signer left out and is there is listed. How many files the pull left out, with
--include or --exclude, is said by what it noted in DIR, which nobody signed: they are
counted, and --complete fails for them.

With --policy, or without a key where the configuration has a policy, the policy is asked
about the version that was pulled, with the signatures and attestations that the pull kept
because they counted then. What was attached since is not known here. The name of the
repository is what the pull noted, which nobody signed: --as says which it must be.`
)

// dirFlags are the flags of sign and verify that go with a directory.
type dirFlags struct {
	signature  string
	force      bool
	fast       bool
	allowExtra bool
	complete   bool
	jobs       int
}

func (f *dirFlags) addSign(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.signature, "signature", "", "with DIR: write the signature to `FILE` (default: DIR/model.sig)")
	cmd.Flags().BoolVar(&f.force, "force", false, "with DIR: replace a signature that another key made")
}

func (f *dirFlags) addVerify(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.signature, "signature", "", "with DIR: check with the signature in `FILE` (default: DIR/model.sig, and what pull --verify keeps in DIR)")
	cmd.Flags().BoolVar(&f.fast, "fast", false, "with DIR: do not read files that have not changed since modelreg last read them")
	cmd.Flags().BoolVar(&f.allowExtra, "allow-extra", false, "with DIR: list files that nobody signed, and let them be")
	cmd.Flags().BoolVar(&f.complete, "complete", false, "with DIR: fail for files of the version that the pull left out, too")
	cmd.Flags().IntVarP(&f.jobs, "jobs", "j", 0, "with DIR: read `N` files at once (default: one per CPU)")
}

// signDir signs the files of a directory.
func (a *app) signDir(cmd *cobra.Command, dir string, signer signerFlags, f dirFlags) error {
	s, err := a.fileSigner(cmd.Context(), signer)
	if err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	res, err := h.SignDir(cmd.Context(), dir, s, hub.SignDirOptions{Signature: f.signature, Force: f.force})
	if err != nil {
		return err
	}
	a.printer.Note("signed %s, %s", ui.Files(res.Files), ui.Bytes(res.Size))
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, ui.Line(res.Signature)) })
}

// fileSigner opens what signs files.
func (a *app) fileSigner(ctx context.Context, signer signerFlags) (*signing.Signer, error) {
	witnessed := signer.config+signer.rekor != "" || len(signer.timestamps) > 0
	if signer.certificate != "" && witnessed {
		return nil, usagef("--certificate for files goes with no log or timestamp: OpenSSF Model Signing has no place for them")
	}
	return a.signerOf(ctx, signer)
}

// signFiles signs the files of a version, and not the version.
func (a *app) signFiles(cmd *cobra.Command, arg string, who signerFlags) error {
	if cmd.Flags().Changed("signature-layout") {
		return usagef("--oms and --signature-layout do not go together: the files' signature is a bundle")
	}
	if cmd.Flags().Changed("again") {
		return usagef("--oms and --again do not go together: the files' signature is made once for each signer")
	}
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	s, err := a.fileSigner(cmd.Context(), who)
	if err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	res, err := h.SignFiles(cmd.Context(), r, s)
	if err != nil {
		return err
	}
	if res.ModelSignatureMade {
		a.printer.Note("signed the files of %s", res.Digest)
	} else {
		a.printer.Note("the files were signed before %s: nothing to do", who.asWhom())
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

// verifyDir checks the files of a directory.
func (a *app) verifyDir(cmd *cobra.Command, dir string, who trustFlags, f dirFlags) error {
	var trust *signing.Trust
	var err error
	if who.caRoots != "" {
		trust, err = a.trustedByAuthorities(cmd.Context(), who, certifiedFiles)
	} else {
		trust, err = a.trustedOrPolicies(cmd.Context(), who)
	}
	if err != nil {
		return err
	}
	opts := hub.VerifyDirOptions{
		Signature: f.signature, Fast: f.fast, AllowExtra: f.allowExtra, Complete: f.complete, Workers: f.jobs,
		Policies: cmd.Flags().Changed("policy"),
	}
	if opts.As, err = a.asRepository(); err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	res, verr := h.VerifyDir(cmd.Context(), dir, *trust, opts)
	if res == nil {
		return verr
	}
	if res.Repository != "" && a.policies.as == "" {
		a.printer.Note("judged as %s, as the pull noted; --as says what it must be", ui.Line(res.Repository))
	}
	if verr == nil {
		a.printer.Note("%s as signed, %s; %d read", ui.Files(res.Files), ui.Bytes(res.Size), res.ReadFiles)
		for _, x := range res.Failures {
			a.printer.Warn("not counted: %s", x.Reason)
		}
	}
	if err := a.printer.Result(res, func(w io.Writer) { printVerifiedDir(w, res) }); err != nil {
		return err
	}
	return verr
}

func printVerifiedDir(w io.Writer, res *hub.VerifyDirResult) {
	if res.Verified {
		fmt.Fprintln(w, ui.Line(res.Directory))
		for _, rec := range res.Records {
			for _, s := range rec.Signers {
				fmt.Fprintf(w, "signed by %s (%s)\n", signedBy(s), ui.Line(rec.File))
			}
		}
		if res.Repository != "" {
			fmt.Fprintf(w, "allowed as %s by %s\n", ui.Line(res.Repository), ui.Line(res.Policy))
		}
	}
	if res.LeftOut > 0 {
		fmt.Fprintf(w, "left out by the pull, as it noted: %s\n", ui.Files(res.LeftOut))
	}
	for _, l := range []struct {
		what  string
		names []string
	}{{"changed", res.Changed}, {"missing", res.Missing}, {"not signed", res.Extra}, {"ignored by the signer", res.Ignored}} {
		for _, name := range l.names {
			fmt.Fprintf(w, "%s: %s\n", l.what, ui.Line(name))
		}
	}
}
