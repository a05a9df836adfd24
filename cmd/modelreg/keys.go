package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/modelreg/modelreg/pkg/signing"
)

// passwordVars are the environment variables that hold the password of a
// private key; the second is cosign's.
var passwordVars = []string{"MODELREG_KEY_PASSWORD", "COSIGN_PASSWORD"}

// maxKeyFile bounds key files, in bytes.
const maxKeyFile = 1 << 20

// trust reads what --verify checks with; nil when nothing is to be verified.
func (a *app) trust(ctx context.Context, verify bool, f trustFlags) (*signing.Trust, error) {
	if !verify {
		if f.used() {
			return nil, usagef("--key and --certificate-identity are used with --verify")
		}
		return nil, nil
	}
	if !f.given() {
		return nil, usagef("--verify needs %s", trustUsage)
	}
	return a.trusted(ctx, f)
}

// publicKey reads a public key from a file, from the environment variable that
// env://NAME names, or from where a plug-in reaches it.
func publicKey(ctx context.Context, name string) (*signing.PublicKey, error) {
	if isElsewhere(name) {
		s, err := signing.OpenKMS(ctx, name)
		if err != nil {
			return nil, keyElsewhere(err)
		}
		return s.Public(), nil
	}
	pem, err := readKey(name)
	if err != nil {
		return nil, err
	}
	key, err := signing.LoadPublicKey(pem)
	if err != nil {
		return nil, usagef("read public key %s: %w", name, err)
	}
	return key, nil
}

// isElsewhere tells whether a key's name is neither a file's nor a variable's.
func isElsewhere(name string) bool {
	return signing.IsKMS(name) && !strings.HasPrefix(name, "env://")
}

// keyElsewhere says what to do about a key that a plug-in does not give.
func keyElsewhere(err error) error {
	if errors.Is(err, signing.ErrPlugin) {
		return usageError{err, "keys that are kept elsewhere are reached through sigstore's plug-ins, programs named sigstore-kms-NAME in the path; see docs/signing.md"}
	}
	return usageError{err, "use a FILE, env://NAME, awskms://…, gcpkms://…, azurekms://…, hashivault://… or pkcs11:…"}
}

// signer opens a private key where it is kept elsewhere, or reads it, with its
// password from the environment or the terminal.
func (a *app) signer(ctx context.Context, file string) (*signing.Signer, error) {
	if isElsewhere(file) {
		s, err := signing.OpenKMS(ctx, file)
		if err != nil {
			return nil, keyElsewhere(err)
		}
		return s, nil
	}
	pem, err := readKey(file)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(pem, []byte("PUBLIC KEY-----")) {
		return nil, usagef("read private key %s: it is a public key: sign with the private one", file)
	}
	var password []byte
	if signing.NeedsPassword(pem) {
		if password, err = a.password(ctx, "password for "+file+": ", false); err != nil {
			return nil, err
		}
	}
	s, err := signing.LoadSigner(pem, password)
	if err != nil {
		return nil, usagef("read private key %s: %w", file, err)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 && !signing.NeedsPassword(pem) {
		a.printer.Warn("the private key %s has no password, and others than you may open the file: chmod 600 %[1]s", file)
	}
	return s, nil
}

// readKey reads a key from a file, or from the environment variable that
// env://NAME names.
func readKey(name string) ([]byte, error) {
	if v, ok := strings.CutPrefix(name, "env://"); ok {
		text, ok := os.LookupEnv(v)
		if !ok || text == "" {
			return nil, usagef("read key: the environment variable %s is not set", v)
		}
		return []byte(text), nil
	}
	raw, err := readSmall(name, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return raw, nil
}

// readSmall reads a file of at most limit bytes, which may also be a pipe.
func readSmall(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, usagef("%s has over %d bytes", file, limit)
	}
	return raw, nil
}

// password takes a password from the environment, or asks for it where there
// is a terminal; twice, if it is a new one.
func (a *app) password(ctx context.Context, prompt string, twice bool) ([]byte, error) {
	for _, v := range passwordVars {
		if p, ok := os.LookupEnv(v); ok {
			return []byte(p), nil
		}
	}
	first, err := a.ask(ctx, prompt)
	if err != nil {
		return nil, fmt.Errorf("ask for password: %w: set %s", err, passwordVars[0])
	}
	if !twice {
		return first, nil
	}
	second, err := a.ask(ctx, "again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, usagef("the two passwords differ")
	}
	return first, nil
}

// ask reads one line from the terminal without showing it.
func (a *app) ask(ctx context.Context, prompt string) ([]byte, error) {
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, usagef("standard input is not a terminal")
	}
	fd := int(f.Fd())
	shown, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	line, err := await(ctx, func() ([]byte, error) {
		fmt.Fprint(a.err, prompt)
		return term.ReadPassword(fd)
	})
	fmt.Fprintln(a.err)
	if ctx.Err() != nil {
		return nil, errors.Join(err, term.Restore(fd, shown))
	}
	return line, err
}

// await calls read, which cannot be interrupted, and gives up waiting for it
// when ctx ends. The program is about to end then, and the read with it.
func await(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := read()
		got <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case a := <-got:
		return a.line, a.err
	}
}

// writeNew writes a file that must not be there yet.
func writeNew(file string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return f.Sync()
}
