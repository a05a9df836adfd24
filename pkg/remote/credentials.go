package remote

import (
	"context"
	"errors"
	"fmt"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// A Credential is what a registry asks for: a user name and a password, or a
// token.
type Credential = auth.Credential

func openStore(path string) (credentials.Store, error) {
	// As docker does: into a helper where there is one, else into the file.
	opts := credentials.StoreOptions{AllowPlaintextPut: true, DetectDefaultNativeStore: true}
	if path != "" {
		return credentials.NewStore(path, opts)
	}
	return credentials.NewStoreFromDocker(opts)
}

// Login checks that the registry takes cred, and stores it as docker would: in
// the credential helper that docker's configuration names for the host, or in
// the configuration itself. A registry that asks nobody for credentials takes
// any.
func (c *Client) Login(ctx context.Context, host string, cred Credential) error {
	reg, at, err := c.registry(host)
	if err != nil {
		return err
	}
	probe := c.auth(quick)
	probe.Cache = nil
	probe.Credential = auth.StaticCredential(at.host, cred)
	reg.Client = probe
	if err := reg.Ping(withEndpoint(ctx, at)); err != nil {
		return requestError("log in to "+host, err)
	}
	store, err := c.store()
	if err != nil {
		return fmt.Errorf("open credentials: %w", err)
	}
	if err := store.Put(ctx, credentials.ServerAddressFromRegistry(at.host), cred); err != nil {
		return fmt.Errorf("store credential of %s: %w", host, err)
	}
	c.forgetTokens()
	return nil
}

// Logout removes the credential stored for host. That there is none is no
// error.
func (c *Client) Logout(ctx context.Context, host string) error {
	_, at, err := c.registry(host)
	if err != nil {
		return err
	}
	store, err := c.store()
	if err != nil {
		return fmt.Errorf("open credentials: %w", err)
	}
	if err := store.Delete(ctx, credentials.ServerAddressFromRegistry(at.host)); err != nil {
		return fmt.Errorf("remove credential of %s: %w", host, err)
	}
	c.forgetTokens()
	return nil
}

// Credential returns the credential stored for host, or an empty one when
// there is none.
func (c *Client) Credential(ctx context.Context, host string) (Credential, error) {
	_, at, err := c.registry(host)
	if err != nil {
		return Credential{}, err
	}
	return c.credential(ctx, at.host)
}

// credential is oras-go's auth.CredentialFunc.
func (c *Client) credential(ctx context.Context, hostport string) (auth.Credential, error) {
	store, err := c.store()
	if err != nil {
		return auth.EmptyCredential, credentialError(hostport, err)
	}
	cred, err := store.Get(ctx, credentials.ServerAddressFromRegistry(hostport))
	if err != nil {
		return auth.EmptyCredential, credentialError(hostport, err)
	}
	return cred, nil
}

func credentialError(host string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Op: "read credential of " + host, Text: cleanText(err.Error()), Class: ErrUnauthorized, cause: err}
}

func (c *Client) forgetTokens() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache = auth.NewCache()
}
