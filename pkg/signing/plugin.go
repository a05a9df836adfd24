package signing

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// ErrPlugin means that a key cannot be reached: there is no plug-in program for
// it, or the program fails.
var ErrPlugin = errors.New("key plug-in")

// kmsReference is NAME://KEY. The name becomes part of a program's.
var kmsReference = regexp.MustCompile(`^([a-z][a-z0-9]*)://(.+)$`)

// IsKMS tells whether a key's name is one for [OpenKMS] and not a file's.
func IsKMS(name string) bool {
	return strings.HasPrefix(name, "pkcs11:") || kmsReference.MatchString(name)
}

// OpenKMS opens a key that is kept elsewhere, in a key management service or a
// hardware token, through sigstore's plug-ins: programs named sigstore-kms-NAME
// in the path, which speak to services that this one knows nothing of.
//
// The reference awskms://…, gcpkms://…, azurekms://…, hashivault://… or NAME://…
// has the plug-in of that name asked, with what follows. A PKCS #11 URI
// (RFC 7512), pkcs11:token=…;object=…, is for the plug-in pkcs11, which is given
// what follows the colon. References are for those who run the program to give,
// never a stranger's: they make it run others. k8s, gitlab and web addresses,
// which cosign takes, are refused, and so is a PIN in a reference, which every
// process on the machine could see.
//
// The key's public half is read at once; ctx is for that alone.
func OpenKMS(ctx context.Context, reference string) (*Signer, error) {
	shown := withoutPIN(reference)
	ref, err := pluginReference(reference)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", shown, err)
	}
	client, err := cliplugin.LoadSignerVerifier(ctx, ref, crypto.SHA256)
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("no program sigstore-kms-%s in the path", ref[:strings.Index(ref, "://")])
		}
		return nil, fmt.Errorf("open key %s: %w: %w", shown, ErrPlugin, err)
	}
	p := plugin{SignerVerifier: client, reference: shown}
	key, err := p.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", shown, err)
	}
	public, err := newPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", shown, err)
	}
	return &Signer{signer: p, public: public}, nil
}

// pinValue is the attribute of a PKCS #11 URI that holds a PIN.
var pinValue = regexp.MustCompile(`(?i)pin-value=[^;&]*`)

// withoutPIN is a reference as errors show it. What comes after a question mark
// says how to reach a key, and not which it is.
func withoutPIN(reference string) string {
	reference, _, _ = strings.Cut(reference, "?")
	return pinValue.ReplaceAllString(reference, "pin-value=…")
}

// pluginReference returns a reference in the one form that plug-ins are asked by.
func pluginReference(reference string) (string, error) {
	if uri, ok := strings.CutPrefix(reference, "pkcs11:"); ok {
		if pinValue.MatchString(uri) {
			return "", errors.New("the PIN does not go into the URI: every process on the machine could see it")
		}
		return "pkcs11://" + strings.TrimPrefix(uri, "//"), nil
	}
	m := kmsReference.FindStringSubmatch(reference)
	if m == nil {
		return "", errors.New("not of the form NAME://KEY")
	}
	switch m[1] {
	case "http", "https", "file", "k8s", "gitlab", "env", "oci":
		return "", fmt.Errorf("keys are not taken from %s", m[1])
	}
	return reference, nil
}

// A plugin is the client of a plug-in, whose answers are not believed to be
// whole, and whose errors say what was asked.
type plugin struct {
	signature.SignerVerifier
	reference string // as errors show it
}

// PublicKey asks for the key's public half.
func (p plugin) PublicKey(opts ...signature.PublicKeyOption) (key crypto.PublicKey, err error) {
	err = guard(func() (err error) {
		key, err = p.SignerVerifier.PublicKey(opts...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: read public key: %w", ErrPlugin, err)
	}
	return key, nil
}

// SignMessage has a message signed.
func (p plugin) SignMessage(message io.Reader, opts ...signature.SignOption) (sig []byte, err error) {
	err = guard(func() (err error) {
		sig, err = p.SignerVerifier.SignMessage(message, opts...)
		return err
	})
	if err == nil && len(sig) == 0 {
		err = errors.New("empty signature")
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrPlugin, p.reference, err)
	}
	return sig, nil
}
