package main

import (
	"context"
	"fmt"

	"github.com/modelreg/modelreg/pkg/signing"
)

// What private authorities vouch for: the signature of files, for which all that
// they certified will do, or that of a version, whose signer is named.
type certifiedWhat int

const (
	certifiedVersions certifiedWhat = iota
	certifiedFiles
)

// trustedByAuthorities is [app.trusted] with private authorities, and without those
// of sigstore unless they are named as well.
func (a *app) trustedByAuthorities(ctx context.Context, who trustFlags, what certifiedWhat) (*signing.Trust, error) {
	if who.caRoots == "" {
		return nil, usagef("--ca-intermediates goes with --ca-roots: they are trusted for what leads to a root")
	}
	authorities, err := readAuthorities(who)
	if err != nil {
		return nil, err
	}
	if what == certifiedVersions && len(authorities.Identities) == 0 {
		return nil, usageError{
			fmt.Errorf("--ca-roots goes with --certificate-identity: whose certificates count"),
			"an authority certifies many; --certificate-identity-regexp '^.*@acme\\.example$' names several",
		}
	}
	named := who
	if who.root == "" || who.issuer+who.issuerRegexp == "" { // nobody but the private authorities vouches for them
		who.identities, who.identityRegexps, who.issuer, who.issuerRegexp = nil, nil, "", ""
	}
	if len(who.identityRegexps) == 0 { // else that of sigstore's warns
		a.warnOpen(named)
	}
	who.caRoots, who.caIntermediates = "", ""
	t := &signing.Trust{RequireLog: who.requireLog, RequireTimestamp: who.requireTime}
	if who.given() {
		if t, err = a.trusted(ctx, who); err != nil {
			return nil, err
		}
	}
	witnessed := what == certifiedVersions && (who.root != "" || who.requireLog || who.requireTime)
	if witnessed && t.Roots == nil {
		if t.Roots, err = a.trustedRoot(who.root); err != nil {
			return nil, err
		}
	}
	t.Authorities = authorities
	if err := t.Check(); err != nil {
		return nil, usageError{err, ""}
	}
	return t, nil
}

// readAuthorities reads the authorities that the flags name, and whom they vouch for.
func readAuthorities(who trustFlags) (*signing.Authorities, error) {
	raw, err := readSmall(who.caRoots, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	authorities, err := signing.ParseAuthorities(raw)
	if err != nil {
		return nil, usagef("%s: %w", who.caRoots, err)
	}
	if who.caIntermediates != "" {
		if raw, err = readSmall(who.caIntermediates, maxKeyFile); err != nil {
			return nil, fmt.Errorf("read intermediate certificates: %w", err)
		}
		if err := authorities.AddIntermediates(raw); err != nil {
			return nil, usagef("%s: %w", who.caIntermediates, err)
		}
	}
	if who.issuer != "" && who.issuerRegexp != "" {
		return nil, usagef("--certificate-oidc-issuer and --certificate-oidc-issuer-regexp do not go together")
	}
	for _, name := range who.identities {
		authorities.Identities = append(authorities.Identities, signing.Identity{Subject: name, Issuer: who.issuer, IssuerRegexp: who.issuerRegexp})
	}
	for _, pattern := range who.identityRegexps {
		authorities.Identities = append(authorities.Identities, signing.Identity{SubjectRegexp: pattern, Issuer: who.issuer, IssuerRegexp: who.issuerRegexp})
	}
	if len(authorities.Identities) == 0 && who.issuer+who.issuerRegexp != "" {
		return nil, usagef("--certificate-identity and --certificate-oidc-issuer go together: a provider vouches for many")
	}
	return authorities, nil
}
