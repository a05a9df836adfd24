package policy

import (
	"cmp"
	_ "embed"
	"fmt"
	"strings"

	"github.com/modelreg/modelreg/pkg/signing"
)

//go:embed starter.yaml
var starter string

// A Starter is a policy to begin with.
type Starter struct {
	// Glob says for which repositories it is; empty means all.
	Glob string

	// Key is trusted. Nil refuses everything, until somebody is named.
	Key *signing.PublicKey
}

// Text returns a policy with comments, which [Parse] reads.
func (s Starter) Text() ([]byte, error) {
	authority := "    - name: nobody\n      static:\n        action: fail\n        message: name somebody in this policy first\n"
	signers := "# " + Prefix + `min-signers: "1"`
	if s.Key != nil {
		signers = strings.TrimPrefix(signers, "# ")
		lines := strings.ReplaceAll(strings.TrimSpace(string(s.Key.PEM())), "\n", "\n          ")
		authority = "    - name: team\n      key:\n        data: |\n          " + lines + "\n"
	}
	text := strings.NewReplacer("GLOB", fmt.Sprintf("%q", cmp.Or(s.Glob, "**")), "    AUTHORITY\n", authority, "SIGNERS", signers).Replace(starter)
	if _, err := Parse([]byte(text)); err != nil {
		return nil, err
	}
	return []byte(text), nil
}
