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

	certificate, chain string // of the key that signs
	caRoots            string
}

func (f *dirFlags) addSign(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.signature, "signature", "", "with DIR: write the signature to `FILE` (default: DIR/model.sig)")
	cmd.Flags().BoolVar(&f.force, "force", false, "with DIR: replace a signature that another key made")
	cmd.Flags().StringVar(&f.certificate, "certificate", "", "with DIR or --oms: put the key's certificate in PEM `FILE` beside the signature, for those who trust its authority")
	cmd.Flags().StringVar(&f.chain, "certificate-chain", "", "with DIR or --oms: and the certificates in PEM `FILE`, which lead from it to the authority")
}

func (f *dirFlags) addVerify(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.signature, "signature", "", "with DIR: check with the signature in `FILE` (default: DIR/model.sig, and what pull --verify keeps in DIR)")
	cmd.Flags().StringVar(&f.caRoots, "ca-roots", "", "with DIR: "+caRootsUsage)
	cmd.Flags().BoolVar(&f.fast, "fast", false, "with DIR: do not read files that have not changed since modelreg last read them")
	cmd.Flags().BoolVar(&f.allowExtra, "allow-extra", false, "with DIR: list files that nobody signed, and let them be")
	cmd.Flags().BoolVar(&f.complete, "complete", false, "with DIR: fail for files of the version that the pull left out, too")
	cmd.Flags().IntVarP(&f.jobs, "jobs", "j", 0, "with DIR: read `N` files at once (default: one per CPU)")
}

// signDir signs the files of a directory.
func (a *app) signDir(cmd *cobra.Command, dir string, signer signerFlags, f dirFlags) error {
	s, err := a.fileSigner(cmd.Context(), signer, f)
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
func (a *app) fileSigner(ctx context.Context, signer signerFlags, f dirFlags) (*signing.Signer, error) {
	witnessed := signer.config+signer.fulcio+signer.rekor != "" || len(signer.timestamps) > 0
	if f.certificate != "" && (signer.withoutKey() || witnessed) {
		return nil, usagef("--certificate goes with --key, and with no log or timestamp")
	}
	s, err := a.signerOf(ctx, signer)
	if err != nil {
		return nil, err
	}
	return f.certified(s)
}

// certified returns the signer with the certificates of the flags.
func (f dirFlags) certified(s *signing.Signer) (*signing.Signer, error) {
	if f.certificate == "" {
		if f.chain != "" {
			return nil, usagef("--certificate-chain goes with --certificate: the key's own comes first")
		}
		return s, nil
	}
	var text []byte
	for _, file := range []string{f.certificate, f.chain} {
		if file == "" {
			continue
		}
		raw, err := readSmall(file, maxKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		text = append(append(text, raw...), '\n')
	}
	s, err := s.WithCertificates(text)
	if err != nil {
		return nil, usageError{err, "the key is --key's, and --certificate begins with its own certificate, an ECDSA one that is for signing"}
	}
	return s, nil
}

// caRootsUsage describes --ca-roots, of verify and of pull.
const caRootsUsage = "trust certificates of the private authorities in PEM `FILE`, all or those of --certificate-identity, which needs no provider then"

// trustedByAuthorities is [app.trusted] with private authorities, whose
// certificates count for signatures of files.
func (a *app) trustedByAuthorities(ctx context.Context, caRoots string, who trustFlags) (*signing.Trust, error) {
	raw, err := readSmall(caRoots, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	authorities, err := signing.ParseAuthorities(raw)
	if err != nil {
		return nil, usagef("%s: %w", caRoots, err)
	}
	authorities.Subjects, authorities.SubjectRegexps = who.identities, who.identityRegexps
	if who.issuer+who.issuerRegexp == "" { // nobody but the authority vouches for them
		who.identities, who.identityRegexps = nil, nil
	}
	t := &signing.Trust{}
	if who.given() {
		if t, err = a.trusted(ctx, who); err != nil {
			return nil, err
		}
	}
	t.RequireLog, t.RequireTimestamp = who.requireLog, who.requireTime
	t.Authorities = authorities
	if err := t.Check(); err != nil {
		return nil, usageError{err, ""}
	}
	return t, nil
}

// signFiles signs the files of a version, and not the version.
func (a *app) signFiles(cmd *cobra.Command, arg string, who signerFlags, f dirFlags) error {
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
	s, err := a.fileSigner(cmd.Context(), who, f)
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
	if f.caRoots != "" {
		trust, err = a.trustedByAuthorities(cmd.Context(), f.caRoots, who)
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
