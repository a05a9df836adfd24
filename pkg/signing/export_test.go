package signing

import "github.com/sigstore/sigstore/pkg/signature"

// Guard is for the test that a panic in foreign code stays one candidate's.
var Guard = guard

// IsOwnFault likewise.
var IsOwnFault = isOwnFault

// RawSigner lets a test sign what Sign would not.
func RawSigner(s *Signer) signature.SignerVerifier { return s.signer }

// ParseSeen lets a fuzz test at the list of one name.
func ParseSeen(raw []byte) (versions int, err error) {
	list, err := parseSeen(raw)
	if err != nil {
		return 0, err
	}
	return len(list.Versions), nil
}
