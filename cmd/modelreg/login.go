package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/modelreg/modelreg/pkg/remote"
)

// maxPassword bounds what is read from standard input as a password.
const maxPassword = 64 << 10

func newLogin(a *app) *cobra.Command {
	var user, password string
	var fromStdin bool
	var realms []string
	cmd := &cobra.Command{
		Use:   "login HOST",
		Short: "Log in to a registry",
		Long: `Check a user name and password or token with a registry and keep them where docker
keeps them: in the credential helper that docker's configuration names, else in its
config.json. Whoever is logged in with docker needs no login here.

A password goes only to the registry itself and to token servers known to belong to
it. One on another host has to be allowed with --realm, which is kept in the
configuration ("modelreg config get realms.HOST").`,
		Example: "  echo $TOKEN | modelreg login ghcr.io -u alice --password-stdin",
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cred, err := a.credential(cmd.Context(), user, password, fromStdin)
			if err != nil {
				return err
			}
			return a.login(cmd.Context(), args[0], cred, realms)
		},
	}
	cmd.Flags().StringVarP(&user, "username", "u", "", "user `NAME`")
	cmd.Flags().StringVarP(&password, "password", "p", "", "password or token (others on this machine may see it: prefer --password-stdin)")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password or token from standard input")
	cmd.Flags().StringArrayVar(&realms, "realm", nil, "let the token server on `HOST` see the credentials, now and later (repeatable)")
	return cmd
}

// login checks and stores a credential, and, once it was good, which token
// servers may see it.
func (a *app) login(ctx context.Context, registry string, cred remote.Credential, realms []string) error {
	for i, realm := range realms {
		host, err := realmHost(realm)
		if err != nil {
			return err
		}
		realms[i] = host
	}
	a.config.allow(registry, realms)
	client, err := a.client()
	if err != nil {
		return err
	}
	if err := client.Login(ctx, registry, cred); err != nil {
		return err
	}
	if len(realms) > 0 {
		err := a.changeConfig(func(c *config) error { c.allow(registry, realms); return nil })
		if err != nil {
			return err
		}
	}
	a.printer.Note("logged in to %s", registry)
	return a.printer.Result(map[string]string{"registry": registry, "username": cred.Username}, func(io.Writer) {})
}

// realmHost reads --realm: a host, or the URL that a registry names.
func realmHost(realm string) (string, error) {
	text := realm
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), ", ") {
		return "", usagef("--realm %s: use the host of a token server, such as auth.example.com", realm)
	}
	return u.Hostname(), nil
}

func (a *app) credential(ctx context.Context, user, password string, fromStdin bool) (remote.Credential, error) {
	var cred remote.Credential
	if fromStdin {
		data, err := io.ReadAll(io.LimitReader(a.in, maxPassword))
		if err != nil {
			return cred, fmt.Errorf("read password: %w", err)
		}
		if password = strings.TrimRight(string(data), "\r\n"); password == "" {
			return cred, usagef("standard input holds no password")
		}
	}
	if user == "" {
		if fromStdin {
			return cred, usagef("--password-stdin needs --username")
		}
		var err error
		if user, err = a.askLine(ctx, "Username: "); err != nil {
			return cred, err
		}
	}
	if password == "" {
		secret, err := a.ask(ctx, "Password: ")
		if err != nil {
			return cred, fmt.Errorf("ask for password: %w: use --password-stdin", err)
		}
		password = string(secret)
	}
	cred.Username, cred.Password = user, password
	return cred, nil
}

// askLine reads one line from the terminal.
func (a *app) askLine(ctx context.Context, prompt string) (string, error) {
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usagef("standard input is not a terminal: use --username and --password-stdin")
	}
	line, err := await(ctx, func() ([]byte, error) {
		fmt.Fprint(a.err, prompt)
		return bufio.NewReader(f).ReadBytes('\n')
	})
	if err != nil {
		return "", fmt.Errorf("read user name: %w", err)
	}
	return strings.TrimSpace(string(line)), nil
}

func newLogout(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "logout HOST",
		Short: "Forget the credentials for a registry",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.Logout(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.printer.Note("logged out of %s", args[0])
			return a.printer.Result(map[string]string{"registry": args[0]}, func(io.Writer) {})
		},
	}
}
