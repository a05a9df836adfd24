package signing

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"
)

// maxRootBytes bounds a trusted root; that of the public sigstore has 7 KB.
const maxRootBytes = 1 << 20

// Roots are the parties of a sigstore deployment that certificates are believed
// of: certificate authorities, transparency logs, logs of certificates and
// timestamp authorities, each for the time in which its key was in use.
type Roots struct{ trusted *root.TrustedRoot }

// ParseTrustedRoot reads sigstore's trusted_root.json. It needs no network, and
// whoever calls it knows where the bytes are from.
func ParseTrustedRoot(raw []byte) (*Roots, error) {
	if len(raw) > maxRootBytes {
		return nil, fmt.Errorf("read trusted root: %d bytes, more than %d", len(raw), maxRootBytes)
	}
	var r Roots
	err := guard(func() (err error) {
		r.trusted, err = root.NewTrustedRootFromJSON(raw)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read trusted root: %w", err)
	}
	return &r, nil
}

func (r *Roots) authorities() int {
	if r == nil {
		return 0
	}
	return len(r.trusted.FulcioCertificateAuthorities())
}

func (r *Roots) logs() int {
	if r == nil {
		return 0
	}
	return len(r.trusted.RekorLogs())
}

func (r *Roots) timestampers() int {
	if r == nil {
		return 0
	}
	return len(r.trusted.TimestampingAuthorities())
}

func (r *Roots) certificateLogs() int {
	if r == nil {
		return 0
	}
	return len(r.trusted.CTLogs())
}

// logInUse tells whether the log with this ID, in hexadecimal, is known and had
// its key in use at a time.
func (r *Roots) logInUse(id string, at time.Time) bool {
	log, ok := r.trusted.RekorLogs()[id]
	return ok && !at.Before(log.ValidityPeriodStart) && (log.ValidityPeriodEnd.IsZero() || !at.After(log.ValidityPeriodEnd))
}

// with are the roots, which may be nil, and a key.
func (r *Roots) with(verifier signature.Verifier) root.TrustedMaterial {
	m := keyMaterial{TrustedMaterial: &root.BaseTrustedMaterial{}, key: root.NewExpiringKey(verifier, time.Time{}, time.Time{})}
	if r != nil {
		m.TrustedMaterial = r.trusted
	}
	return m
}

// keyMaterial are roots with one key, whatever it is called.
type keyMaterial struct {
	root.TrustedMaterial
	key root.TimeConstrainedVerifier
}

func (m keyMaterial) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return m.key, nil
}

// A Party is one of those that [Roots] believe.
type Party struct {
	// Kind is "certificate-authority", "transparency-log", "certificate-log" or
	// "timestamp-authority".
	Kind string

	Name string // the URL, or whatever the trusted root calls it; may be empty

	// ID is what it is known by, in hexadecimal: the ID of a log's key, or the
	// SHA-256 of an authority's root certificate.
	ID string

	// From and Until are when its key was or is in use; zero if that is open.
	From, Until time.Time
}

// Parties lists whom the roots believe, in the order of the kinds, the oldest
// first.
func (r *Roots) Parties() []Party {
	var list []Party
	for _, a := range r.trusted.FulcioCertificateAuthorities() {
		if ca, ok := a.(*root.FulcioCertificateAuthority); ok {
			list = append(list, Party{"certificate-authority", ca.URI, certificateID(ca.Root), ca.ValidityPeriodStart, ca.ValidityPeriodEnd})
		}
	}
	for kind, logs := range map[string]map[string]*root.TransparencyLog{"transparency-log": r.trusted.RekorLogs(), "certificate-log": r.trusted.CTLogs()} {
		for id, log := range logs {
			list = append(list, Party{kind, log.BaseURL, id, log.ValidityPeriodStart, log.ValidityPeriodEnd})
		}
	}
	for _, a := range r.trusted.TimestampingAuthorities() {
		if tsa, ok := a.(*root.SigstoreTimestampingAuthority); ok {
			list = append(list, Party{"timestamp-authority", tsa.URI, certificateID(tsa.Root), tsa.ValidityPeriodStart, tsa.ValidityPeriodEnd})
		}
	}
	kinds := []string{"certificate-authority", "transparency-log", "certificate-log", "timestamp-authority"}
	slices.SortFunc(list, func(a, b Party) int {
		return cmp.Or(slices.Index(kinds, a.Kind)-slices.Index(kinds, b.Kind), a.From.Compare(b.From), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func certificateID(cert *x509.Certificate) string {
	if cert == nil {
		return ""
	}
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}
