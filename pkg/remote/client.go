// Package remote is a client of OCI registries.
package remote

import (
	"context"
	"errors"
	"iter"
	"net/http"

	"oras.land/oras-go/v2/registry/remote/auth"
)

var (
	// ErrProtocol means that a registry's answer breaks the rules.
	ErrProtocol = errors.New("registry broke the protocol")
	// ErrUnauthorized means that credentials are missing or refused.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden means that the user may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrUnreachable means that the registry could not be reached, or did
	// not work, after all retries.
	ErrUnreachable = errors.New("registry unreachable")
)

// A Credential is what a registry asks for.
type Credential = auth.Credential

// Options adjusts [New].
type Options struct {
	// PlainHTTP tells for which hosts plain HTTP is used. Nil means
	// loopback addresses only.
	PlainHTTP func(host string) bool

	CAFile            string
	CertFile, KeyFile string
	InsecureTLS       bool
	AuthFile          string
	UserAgent         string
	Realms            map[string][]string
	Transport         http.RoundTripper
}

// A Client talks to registries.
type Client struct{ opts Options }

// New returns a client.
func New(opts Options) (*Client, error) { return &Client{opts: opts}, nil }

// Repository returns the repository of that name, host/repo.
func (c *Client) Repository(name string) (*Repository, error) { return nil, errors.ErrUnsupported }

// Catalog lists the repositories of a registry.
func (c *Client) Catalog(ctx context.Context, host string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("", errors.ErrUnsupported) }
}

// Ping asks whether host is a registry that lets us in.
func (c *Client) Ping(ctx context.Context, host string) error { return errors.ErrUnsupported }

// Login checks a credential and stores it.
func (c *Client) Login(ctx context.Context, host string, cred Credential) error {
	return errors.ErrUnsupported
}

// Logout removes the stored credential.
func (c *Client) Logout(ctx context.Context, host string) error { return errors.ErrUnsupported }

// Credential returns the stored credential.
func (c *Client) Credential(ctx context.Context, host string) (Credential, error) {
	return Credential{}, errors.ErrUnsupported
}

// Transport returns the transport without credentials.
func (c *Client) Transport() http.RoundTripper { return c.opts.Transport }
