package signing

import (
	"fmt"
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
