package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/term"

	"github.com/modelreg/modelreg/pkg/signing"
)

// passwordVars are the environment variables that hold the password of a
// private key; the second is cosign's.
var passwordVars = []string{"MODELREG_KEY_PASSWORD", "COSIGN_PASSWORD"}

// maxKeyFile bounds key files, in bytes.
const maxKeyFile = 1 << 20

// trust reads the public keys that --verify checks with; nil when nothing is
// to be verified.
func (a *app) trust(verify bool, files []string) (*signing.Trust, error) {
	if !verify {
		if len(files) > 0 {
			return nil, usagef("--key is used with --verify")
		}
		return nil, nil
	}
	if len(files) == 0 {
		return nil, usagef("--verify needs --key FILE")
	}
	return publicKeys(files)
}

func publicKeys(files []string) (*signing.Trust, error) {
	var t signing.Trust
	for _, file := range files {
		pem, err := readKey(file)
		if err != nil {
			return nil, err
		}
		key, err := signing.LoadPublicKey(pem)
		if err != nil {
			return nil, usagef("read public key %s: %w", file, err)
		}
		t.Keys = append(t.Keys, key)
	}
	return &t, nil
}

// signer reads a private key, with its password from the environment or the
// terminal.
func (a *app) signer(ctx context.Context, file string) (*signing.Signer, error) {
	pem, err := readKey(file)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(pem, []byte("PUBLIC KEY-----")) {
		return nil, usagef("read private key %s: it is a public key: sign with the private one", file)
	}
	password, err := a.password(ctx, "password for "+file+": ", false)
	if err != nil {
		return nil, err
	}
	s, err := signing.LoadSigner(pem, password)
	if err != nil {
		return nil, usagef("read private key %s: %w", file, err)
	}
	return s, nil
}

func readKey(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if info.Size() > maxKeyFile {
		return nil, usagef("read key %s: %d bytes are too many for a key", file, info.Size())
	}
	return os.ReadFile(file)
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
