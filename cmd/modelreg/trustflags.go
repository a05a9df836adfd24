package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

// trustFlags say whose signatures count. They are the same, and are named as
// cosign's, on every command that checks signatures.
type trustFlags struct {
	keys                        []string
	identities, identityRegexps []string
	issuer, issuerRegexp        string
	root                        string
	requireLog, requireTime     bool
	ignoreLog, ignoreSCT        bool
	caRoots, caIntermediates    string
}

// trustUsage says in errors what to give.
const trustUsage = "--key FILE, or --certificate-identity and --certificate-oidc-issuer"

func (f *trustFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.keys, "key", nil, "public key to trust: `FILE`, env://NAME, or one kept elsewhere, such as awskms://… (repeatable: one signer is enough)")
	fl.StringArrayVar(&f.identities, "certificate-identity", nil, "trust certificates issued to `WHO`, a mail address or URI (repeatable)")
	fl.StringArrayVar(&f.identityRegexps, "certificate-identity-regexp", nil, "the same, for all that match `REGEXP`, anchored with ^ and $ (repeatable)")
	fl.StringVar(&f.issuer, "certificate-oidc-issuer", "", "and only if `URL` is the provider that vouched for them")
	fl.StringVar(&f.issuerRegexp, "certificate-oidc-issuer-regexp", "", "the same, for providers that match `REGEXP`, anchored")
	fl.StringVar(&f.root, "trusted-root", "", "the sigstore deployment that certificates are of: its trusted_root.json in `FILE` (default: the configuration's, what \"trust update\" has fetched, or what cosign has cached)")
	fl.BoolVar(&f.requireLog, "require-log", false, "count only signatures, also by keys, that are in a transparency log of the trusted root")
	fl.BoolVar(&f.requireTime, "require-timestamp", false, "count only signatures that a timestamp authority of the trusted root has stamped")
	fl.BoolVar(&f.ignoreLog, "insecure-ignore-tlog", false, "take certificates' signatures that are in no log, if a timestamp authority has stamped them")
	fl.BoolVar(&f.ignoreSCT, "insecure-ignore-sct", false, "take certificates that are in no log of certificates")
}

// addAuthorities adds those that name private certificate authorities.
func (f *trustFlags) addAuthorities(fl *pflag.FlagSet) {
	fl.StringVar(&f.caRoots, "ca-roots", "", "trust certificates of the private authorities in PEM `FILE`, if they are --certificate-identity's, which needs no provider then; without it all, of files (DIR, --oms)")
	fl.StringVar(&f.caIntermediates, "ca-intermediates", "", "with --ca-roots: certificates in PEM `FILE` that lead to these authorities, where a signature does not bring them")
}

// given tells whether somebody is named.
func (f *trustFlags) given() bool {
	return len(f.keys)+len(f.identities)+len(f.identityRegexps) > 0 || f.issuer+f.issuerRegexp+f.caRoots+f.caIntermediates != ""
}

// used tells whether any of the flags was given.
func (f *trustFlags) used() bool {
	return f.given() || f.root != "" || f.requireLog || f.requireTime || f.ignoreLog || f.ignoreSCT
}

// trusted reads what the flags name. Somebody must be.
func (a *app) trusted(ctx context.Context, f trustFlags) (*signing.Trust, error) {
	if !f.given() {
		return nil, usagef("give %s", trustUsage)
	}
	if f.caRoots+f.caIntermediates != "" {
		return a.trustedByAuthorities(ctx, f, certifiedVersions)
	}
	a.warnOpen(f)
	t := &signing.Trust{
		RequireLog: f.requireLog, RequireTimestamp: f.requireTime,
		IgnoreLog: f.ignoreLog, IgnoreSCT: f.ignoreSCT,
	}
	var err error
	if t.Identities, err = f.certificates(); err != nil {
		return nil, err
	}
	for _, name := range f.keys {
		key, err := publicKey(ctx, name)
		if err != nil {
			return nil, err
		}
		t.Keys = append(t.Keys, key)
	}
	needed := len(t.Identities) > 0 || f.requireLog || f.requireTime
	if needed || f.root != "" {
		if t.Roots, err = a.trustedRoot(f.root); err != nil {
			return nil, err
		}
	}
	if err := t.Check(); err != nil {
		return nil, usageError{err, ""}
	}
	return t, nil
}

// warnOpen warns of expressions that let everybody in.
func (a *app) warnOpen(f trustFlags) {
	for _, expr := range f.identityRegexps {
		if signing.MatchesAnything(expr) {
			a.printer.Warn("--certificate-identity-regexp %s is true of everybody: whoever the provider or authority gives a certificate counts", expr)
		}
	}
	if f.issuerRegexp != "" && signing.MatchesAnything(f.issuerRegexp) {
		a.printer.Warn("--certificate-oidc-issuer-regexp %s is true of every provider: each may vouch for any name", f.issuerRegexp)
	}
}

// trustedOrPolicies is [app.trusted], and nobody where policies decide.
func (a *app) trustedOrPolicies(ctx context.Context, f trustFlags) (*signing.Trust, error) {
	if f.used() || !a.hasPolicy() {
		return a.trusted(ctx, f)
	}
	return &signing.Trust{}, nil
}

// certificates are the identities: each that is named, with the one issuer.
func (f *trustFlags) certificates() ([]signing.Identity, error) {
	named := len(f.identities)+len(f.identityRegexps) > 0
	vouched := f.issuer+f.issuerRegexp != ""
	if named != vouched {
		return nil, usagef("--certificate-identity and --certificate-oidc-issuer go together: a name says nothing without who vouched for it")
	}
	if f.issuer != "" && f.issuerRegexp != "" {
		return nil, usagef("--certificate-oidc-issuer and --certificate-oidc-issuer-regexp do not go together")
	}
	var list []signing.Identity
	for _, who := range f.identities {
		list = append(list, signing.Identity{Subject: who, Issuer: f.issuer, IssuerRegexp: f.issuerRegexp})
	}
	for _, who := range f.identityRegexps {
		list = append(list, signing.Identity{SubjectRegexp: who, Issuer: f.issuer, IssuerRegexp: f.issuerRegexp})
	}
	for _, id := range list {
		if err := id.Check(); err != nil {
			return nil, usageError{err, ""}
		}
	}
	return list, nil
}

// maxTrustedRoot bounds a trusted root's file, in bytes.
const maxTrustedRoot = 1 << 20

// trustedRoot reads the trusted root of the flag, or the one that is used without.
// Nothing is asked of the network. One that is out of date is used, and that is
// said: whoever has no network has no newer one.
func (a *app) trustedRoot(file string) (*signing.Roots, error) {
	found, err := a.findRoot(file)
	if err != nil {
		return nil, err
	}
	if found.kept != nil && time.Now().After(found.kept.Expires) {
		a.warnStale(found.kept)
	}
	return found.roots, nil
}

// A foundRoot is a trusted root, and where it is from.
type foundRoot struct {
	roots  *signing.Roots
	file   string
	source string             // "flag", "configuration", "fetched" or "cosign"
	kept   *signing.Published // nil unless it was fetched
}

// findRoot finds the trusted root of the flag, or that of the configuration, or
// what was fetched, or what cosign keeps of the public sigstore.
func (a *app) findRoot(file string) (*foundRoot, error) {
	source := "flag"
	if file == "" {
		file, source = a.config.TrustedRoot, "configuration"
	}
	if file != "" {
		roots, err := readTrustedRoot(file)
		return &foundRoot{roots: roots, file: file, source: source}, err
	}
	kept, err := a.keptTrust()
	if err != nil {
		return nil, err
	}
	if kept != nil {
		roots, err := signing.ParseTrustedRoot(kept.TrustedRoot)
		return &foundRoot{roots: roots, file: kept.File, source: "fetched", kept: kept}, err
	}
	if a.config.TrustRepository == "" {
		for _, file := range cosignRoots() {
			if roots, err := readTrustedRoot(file); !errors.Is(err, fs.ErrNotExist) {
				return &foundRoot{roots: roots, file: file, source: "cosign"}, err
			}
		}
	}
	return nil, usageError{
		errors.New("no trusted root: certificates and logs are believed only of a sigstore deployment that is known"),
		"\"modelreg trust update\" fetches that of the public sigstore; of a private deployment, give --trusted-root FILE, " +
			"or set trusted-root in the configuration (\"cosign trusted-root create\" makes one)",
	}
}

// cosignRoots are where "cosign initialize" leaves the trusted root of the
// public sigstore.
func cosignRoots() []string {
	dir := os.Getenv("TUF_ROOT")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil
		}
		dir = filepath.Join(home, ".sigstore", "root")
	}
	return []string{
		filepath.Join(dir, "tuf-repo-cdn.sigstore.dev", "targets", "trusted_root.json"),
		filepath.Join(dir, "targets", "trusted_root.json"),
	}
}

func readTrustedRoot(file string) (*signing.Roots, error) {
	raw, err := readSmall(file, maxTrustedRoot)
	if err != nil {
		return nil, fmt.Errorf("read trusted root: %w", err)
	}
	roots, err := signing.ParseTrustedRoot(raw)
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return roots, nil
}

// signedBy tells in words who signed, and what is known of when.
func signedBy(s hub.Signer) string {
	who := "key " + s.KeyFingerprint
	if s.Kind == "certificate" {
		who = fmt.Sprintf("%s (issuer %s)", ui.Line(s.Identity), ui.Line(s.Issuer))
	}
	if !s.Time.IsZero() {
		who += " at " + s.Time.Format(time.RFC3339)
	}
	if s.Logged {
		who += ", in the log"
	}
	return who
}
