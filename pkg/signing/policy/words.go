package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/signing"
)

const maxListed = 5 // entries of a list in a sentence

// listed joins what there is for a sentence, and is short about the rest.
func listed(all []string) string {
	if n := len(all) - maxListed; n > 0 {
		return strings.Join(all[:maxListed], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(all, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func yes(ok bool, then, otherwise string) string {
	if ok {
		return then
	}
	return otherwise
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// short is enough of a fingerprint to compare.
func short(fingerprint string) string { return fingerprint[:min(16, len(fingerprint))] }

func signatory(s signing.Signatory) string {
	if s.KeyFingerprint != "" {
		return "key " + short(s.KeyFingerprint)
	}
	return s.Identity + " by " + s.Issuer
}

func signatories(all []signing.Signatory) string {
	var names []string
	for _, s := range all {
		names = append(names, signatory(s))
	}
	return listed(names)
}

// named is what follows a count of signers.
func named(all []signing.Signatory) string {
	if len(all) == 0 {
		return ""
	}
	return " (" + signatories(all) + ")"
}

// span says a duration in days where it is some.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return plural(int(d/day), "day")
	}
	return d.String()
}
