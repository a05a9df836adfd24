package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/signing"
)

// signerFlags say what to sign with, and who is to vouch for that. They are the
// same on every command that signs.
type signerFlags struct {
	key           string
	keyless       bool
	token         string
	config        string
	fulcio, rekor string
	rekorVersion  string
	timestamps    []string
	noLog         bool
	root          string

	certificate, chain string // of the key
}

// signerUsage says in errors what to give.
const signerUsage = "--key FILE or --keyless"

func (f *signerFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.key, "key", "", "private key to sign with: `FILE`, env://NAME, or a key kept elsewhere (awskms://…, gcpkms://…, azurekms://…, hashivault://…, pkcs11:…)")
	fl.BoolVar(&f.keyless, "keyless", false, "sign with a certificate for who an OIDC token names, instead of a key")
	fl.StringVar(&f.token, "identity-token", "", "the OIDC token, or the `FILE` it is in (default: SIGSTORE_ID_TOKEN, or that of the GitHub Actions job); implies --keyless")
	fl.StringVar(&f.config, "signing-config", "", "take the services of a sigstore deployment from its signing_config.json in `FILE`")
	fl.StringVar(&f.fulcio, "fulcio-url", "", "certificate authority at `URL` (default of --keyless: the public sigstore)")
	fl.StringVar(&f.rekor, "rekor-url", "", "write the signature to the transparency log at `URL`, for all to read who may read the log")
	choose(cmd, choiceFlag{value: &f.rekorVersion, name: "rekor-version", usage: "API of --rekor-url: `2|1`"}, "2", "1")
	fl.StringArrayVar(&f.timestamps, "timestamp-url", nil, "have the signature stamped by the timestamp authority at `URL` (repeatable)")
	fl.BoolVar(&f.noLog, "no-log", false, "write to no transparency log, whatever the other flags say; keyless signatures are stamped then")
	fl.StringVar(&f.root, "trusted-root", "", "attach a signature only if the trusted root in `FILE` believes it (default of --keyless without other flags: what \"trust update\" has fetched)")
}

// addCertificate adds those that put the key's certificate beside a signature.
func (f *signerFlags) addCertificate(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.certificate, "certificate", "", "with --key: put the key's certificate in PEM `FILE` beside the signature, for those who trust its authority")
	cmd.Flags().StringVar(&f.chain, "certificate-chain", "", "with --certificate: and the certificates in PEM `FILE`, which lead from it to the authority")
}

// given tells whether there is something to sign with.
func (f *signerFlags) given() bool { return f.key != "" || f.withoutKey() }

func (f *signerFlags) withoutKey() bool { return f.keyless || f.token != "" }

// asWhom says in a sentence who signs.
func (f *signerFlags) asWhom() string {
	if f.withoutKey() {
		return "by this identity"
	}
	return "with this key"
}

// fits refuses a layout that has no place for the signature.
func (f *signerFlags) fits(flag, layout string) error {
	if f.withoutKey() && layout != "bundle" {
		return usagef("--keyless and --%s %s do not go together: the older layout is for keys", flag, layout)
	}
	return nil
}

// signerOf opens what the flags name. Something must be. What is about to become
// public is said before it does.
func (a *app) signerOf(ctx context.Context, f signerFlags) (*signing.Signer, error) {
	switch {
	case !f.given():
		return nil, usageError{
			fmt.Errorf("nothing to sign with: give %s", signerUsage),
			"\"modelreg keygen\" makes a key; --keyless signs as who a job or a token of yours names",
		}
	case f.key != "" && f.withoutKey():
		return nil, usagef("--key and --keyless do not go together")
	case f.certificate != "" && (f.withoutKey() || f.fulcio != ""):
		return nil, usagef("--certificate goes with --key: a certificate of Fulcio is made for each signature")
	}
	services, err := a.services(f)
	if err != nil {
		return nil, err
	}
	var s *signing.Signer
	if f.withoutKey() {
		token, err := tokenSource(f.token)
		if err != nil {
			return nil, err
		}
		if s, err = signing.NewKeyless(token, services); err != nil {
			return nil, usageError{err, ""}
		}
	} else {
		if s, err = a.signer(ctx, f.key); err != nil {
			return nil, err
		}
		if len(services.Logs)+len(services.Timestamps) > 0 {
			if s, err = s.With(services); err != nil {
				return nil, usageError{err, ""}
			}
		}
		if s, err = f.certified(s); err != nil {
			return nil, err
		}
	}
	a.tellLogs(services, f.withoutKey())
	return s, nil
}

// certified returns the signer with the certificates of the flags.
func (f signerFlags) certified(s *signing.Signer) (*signing.Signer, error) {
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
		return nil, usageError{err, "the key is --key's, and --certificate begins with its own certificate, one that is for signing"}
	}
	return s, nil
}

// tellLogs says what is going to be kept where, for good.
func (a *app) tellLogs(s signing.Services, keyless bool) {
	what := "the public key"
	if keyless {
		what = "your identity as the certificate has it"
	}
	for _, log := range s.Logs {
		a.printer.Note("note: the transparency log %s keeps this signature for good, with a digest of what is signed and %s (--no-log writes to none)", log, what)
	}
}

// services are those that the flags name. Without any, a keyless signature is
// made with the usual ones; with some of a private deployment no other is asked
// besides.
func (a *app) services(f signerFlags) (signing.Services, error) {
	var s signing.Services
	given := f.fulcio != "" || f.rekor != "" || len(f.timestamps) > 0
	switch {
	case f.config != "" && given:
		return s, usagef("--signing-config and --fulcio-url, --rekor-url or --timestamp-url do not go together")
	case f.config != "":
		raw, err := readSmall(f.config, maxTrustedRoot)
		if err != nil {
			return s, fmt.Errorf("read signing configuration: %w", err)
		}
		if s, err = signing.ParseSigningConfig(raw); err != nil {
			return s, usagef("%s: %w", f.config, err)
		}
	case given:
		s.Fulcio, s.Timestamps = f.fulcio, slices.Clone(f.timestamps)
		if f.rekor != "" {
			s.Logs = []signing.LogService{{URL: f.rekor, Version: int(f.rekorVersion[0] - '0')}}
		}
	case f.withoutKey():
		var err error
		if s, err = a.usualServices(); err != nil {
			return s, err
		}
	}
	if f.noLog {
		s.Logs = nil
	}
	if f.root == "" {
		return s, nil
	}
	var err error
	s.Roots, err = a.trustedRoot(f.root)
	return s, err
}
