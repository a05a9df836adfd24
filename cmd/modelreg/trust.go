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

func newKeygen(a *app) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key pair for signing",
		Long: `Make a private key, encrypted with a password, and a public key, in the files
PREFIX.key and PREFIX.pub. The format is cosign's: either tool uses the other's keys.

The password is taken from MODELREG_KEY_PASSWORD or COSIGN_PASSWORD, or asked for.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.keygen(cmd.Context(), prefix) },
	}
	cmd.Flags().StringVarP(&prefix, "output", "o", "cosign", "`PREFIX` of the two files")
	return cmd
}

func (a *app) keygen(ctx context.Context, prefix string) error {
	private, public := prefix+".key", prefix+".pub"
	for _, file := range []string{private, public} {
		if _, err := os.Lstat(file); err == nil {
			return usagef("make key pair: %s exists, and is not replaced", file)
		}
	}
	password, err := a.password(ctx, "password for the new key: ", true)
	if err != nil {
		return err
	}
	key, pub, err := signing.GenerateKeyPair(password)
	if err != nil {
		return err
	}
	if err := writeNew(private, key, 0o600); err != nil {
		return err
	}
	if err := writeNew(public, pub, 0o644); err != nil {
		return err
	}
	parsed, err := signing.LoadPublicKey(pub)
	if err != nil {
		return err
	}
	res := map[string]string{"privateKey": private, "publicKey": public, "keyFingerprint": parsed.Fingerprint()}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintf(w, "%s\n%s\n", private, public) })
}

func newSign(a *app) *cobra.Command {
	var signer signerFlags
	var layout string
	var files, again bool
	var dir dirFlags
	cmd := &cobra.Command{
		Use:   "sign REF | DIR",
		Short: "Sign a version, or the files of a directory",
		Long: `Sign the digest that REF resolves to. The signature is a sigstore bundle attached
to the version; cosign verifies it, and modelreg verifies cosign's.

With --key a key signs: in a file, in the environment, or in a key service or hardware
token that a plug-in of sigstore reaches. With --keyless an identity does: Fulcio turns
an OIDC token into a certificate that is good for minutes, a transparency log or a
timestamp authority says that the signature was made in them, and the key is forgotten.
Without other flags that is the public sigstore, whose log anybody may read, so that
who signed what digest is public for good; --signing-config, or the URLs, name a private
deployment. A key's signatures are logged and stamped too with --rekor-url and
--timestamp-url. docs/signing.md has more.

With --key and --certificate the certificate of the key, by an authority of your own, is
beside the signature, for those who trust the authority (verify --ca-roots).

What the same key or identity has signed before is not signed again (--again does).
Whether an identity has is known where --trusted-root, or what "modelreg trust update"
has fetched, says whom to believe.

` + signDirHelp,
		Example: `  modelreg sign ghcr.io/acme/support@sha256:… --key cosign.key
  modelreg sign ./model --key cosign.key
  modelreg sign ghcr.io/acme/support@sha256:… --keyless --signing-config signing_config.json`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.either(
				cmd, args[0],
				command{[]string{"signature", "force"}, func() error { return a.signDir(cmd, args[0], signer, dir) }},
				command{[]string{"signature-layout", "oms", "again"}, func() error {
					if files {
						return a.signFiles(cmd, args[0], signer)
					}
					return a.sign(cmd, args[0], signer, signFlags{layout: layout, again: again})
				}},
			)
		},
	}
	dir.addSign(cmd)
	cmd.Flags().BoolVar(&files, "oms", false, "sign the files and not the version, as OpenSSF Model Signing does, and attach that; none is read, and pull --oms brings model.sig")
	cmd.Flags().BoolVar(&again, "again", false, againUsage)
	signer.add(cmd)
	signer.addCertificate(cmd)
	choose(cmd, choiceFlag{value: &layout, name: "signature-layout", usage: "`bundle|classic|both`: a referrer, or cosign's older tag"}, "bundle", "classic", "both")
	return cmd
}

// againUsage describes --again, of sign and of attest.
const againUsage = "sign also what the same key or identity has signed before"

// signFlags say how a version is signed.
type signFlags struct {
	layout string
	again  bool
}

func (a *app) sign(cmd *cobra.Command, arg string, f signerFlags, how signFlags) error {
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	format := map[string]signing.Format{"bundle": signing.Bundle, "classic": signing.Classic, "both": signing.Both}[how.layout]
	if err := f.fits("signature-layout", how.layout); err != nil {
		return err
	}
	s, err := a.signerOf(cmd.Context(), f)
	if err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	res, err := h.Sign(cmd.Context(), r, s, signing.SignOptions{Format: format, Again: how.again})
	if err != nil {
		return err
	}
	if res.Signatures == 0 {
		a.printer.Note("signed before %s: nothing to do (--again signs once more)", f.asWhom())
	} else {
		a.printer.Note("signed %s", res.Digest)
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

func newVerify(a *app) *cobra.Command {
	var trust trustFlags
	var opts hub.VerifyOptions
	var dir dirFlags
	cmd := &cobra.Command{
		Use:   "verify REF | DIR",
		Short: "Check who signed a version, or the files of a directory",
		Long: `Check that one of the given keys or identities signed the digest that REF resolves
to. Both layouts of cosign are read. An attestation is not a signature and does not
count.

An identity is whom a sigstore certificate was issued to, together with the OIDC
provider that vouched for it. Certificates, transparency logs and timestamps are
believed of the deployment in --trusted-root, and nobody is asked over the network: a
signature must be in a log, and a certificate in a log of certificates, if the trusted
root names such logs.

With --ca-roots certificates count that an authority of your own has issued, to one of
--certificate-identity; no sigstore deployment does unless --trusted-root names it too. A
certificate must be good when a timestamp authority of --trusted-root, or a log, says that
the signature was made, or now where nobody does. --certificate-oidc-issuer is for those
that name a provider.

Where a tag led when it was verified is remembered. A tag that goes back to a version
seen before, or to one that says it was made earlier, is refused, however well that is
signed. An older version that was never seen here and has no date (push --created) is
not noticed. REF with a digest is not compared.

` + verifyDirHelp,
		Example: `  modelreg verify ghcr.io/acme/support:v1 --key cosign.pub
  modelreg verify ghcr.io/acme/support:v1 --ca-roots acme-root.pem --certificate-identity release@acme.example
  modelreg verify ./model --key cosign.pub
  modelreg verify ./model --policy policy.yaml --as ghcr.io/acme/support
  modelreg verify ghcr.io/acme/support:v1 --trusted-root trusted_root.json \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --certificate-identity-regexp '^https://github\.com/acme/train/\.github/workflows/release\.yml@refs/tags/v.*$'`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.either(
				cmd, args[0],
				command{[]string{"signature", "fast", "allow-extra", "complete", "jobs"}, func() error { return a.verifyDir(cmd, args[0], trust, dir) }},
				command{[]string{"allow-downgrade", "attestation", "attestation-only"}, func() error { return a.verify(cmd, args[0], trust, opts) }},
			)
		},
	}
	dir.addVerify(cmd)
	a.addAsFlag(cmd, "DIR or layout://DIR")
	trust.add(cmd.Flags())
	trust.addAuthorities(cmd.Flags())
	cmd.Flags().BoolVar(&opts.AllowDowngrade, "allow-downgrade", false, downgradeUsage)
	addAttestationFlags(cmd, &opts)
	cmd.Flags().StringVar(&a.policies.policy, "policy", "", policyUsage)
	a.addPolicyTrust(cmd)
	return cmd
}

// downgradeUsage describes --allow-downgrade, of verify and of pull.
const downgradeUsage = "accept a tag that went back to an older version than it was seen at"

func (a *app) verify(cmd *cobra.Command, arg string, f trustFlags, opts hub.VerifyOptions) error {
	r, err := a.parse(arg)
	if err == nil {
		err = a.checkAs(r)
	}
	if err != nil {
		return err
	}
	trust, err := a.trustedOrPolicies(cmd.Context(), f)
	if err != nil {
		return err
	}
	if opts, err = attestationTypes(opts); err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	res, verr := h.Verify(cmd.Context(), r, *trust, opts)
	if res == nil {
		return verr
	}
	for _, w := range res.Warnings {
		a.printer.Warn("%s", ui.Line(w))
	}
	if err := a.printer.Result(res, func(w io.Writer) { printVerified(w, res) }); err != nil {
		return err
	}
	return verr
}

func printVerified(w io.Writer, res *hub.VerifyResult) {
	if res.Verified {
		fmt.Fprintln(w, spoken(res.Reference))
	}
	for _, s := range res.Signers {
		fmt.Fprintf(w, "signed by %s\n", signedBy(s))
	}
	printAttestations(w, res.Attestations)
}
