package hub

import "github.com/modelreg/modelreg/pkg/signing"

// ParseProof lets a fuzz test at what a pull keeps.
func ParseProof(raw []byte) (signing.Reader, signing.Target, error) {
	p, err := parseProof(raw)
	if err != nil {
		return nil, signing.Target{}, err
	}
	return p, signing.Target{Repository: p.Repository, Descriptor: p.Signed}, nil
}
