package remote

import (
	"context"
	"net/http"
	"net/url"
)

type besideKey struct{} // true for a request to what goes with a registry

func forBeside(ctx context.Context) bool { return ctx.Value(besideKey{}) != nil }

// BaseURL returns the scheme and host at which the registry on host is spoken to.
func (c *Client) BaseURL(host string) (*url.URL, error) {
	_, at, err := c.registry(host)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: at.scheme, Host: at.host}, nil
}

// TransportFor is [Client.Transport] for requests to what goes with the registry on
// host, such as the API of the service that it is a part of. What the user has set
// up for the registry counts for what is at its own scheme, host and port. A secret
// in the header or the body goes to another host only if the registry's passwords
// may go there, and else the request fails with [ErrUnauthorized].
func (c *Client) TransportFor(host string) (http.RoundTripper, error) {
	_, at, err := c.registry(host)
	if err != nil {
		return nil, err
	}
	return &beside{c.guard, at}, nil
}

// beside carries requests that are made for an endpoint, but not to its registry.
type beside struct {
	guard *guard
	at    *endpoint
}

// RoundTrip implements [http.RoundTripper].
func (b *beside) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := context.WithValue(withEndpoint(req.Context(), b.at), besideKey{}, true)
	return b.guard.RoundTrip(req.WithContext(ctx))
}

// Realm asks the registry on host, without credentials, where its token server is.
// It is nil if the registry asks for no tokens. The URL is the registry's word, and
// nobody may be sent a secret for it alone.
func (c *Client) Realm(ctx context.Context, host string) (*url.URL, error) {
	_, at, err := c.registry(host)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: at.scheme, Host: at.host, Path: at.base() + "/"}
	req, err := http.NewRequestWithContext(withEndpoint(ctx, at), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: c.again(), CheckRedirect: readsOnly}).Do(req)
	if err != nil {
		return nil, requestError(opOf(req), err)
	}
	defer drain(resp.Body)
	found, ok := pickChallenge(resp.Header)
	if resp.StatusCode != http.StatusUnauthorized || !ok || found.scheme != "bearer" {
		return nil, nil
	}
	realm, err := url.Parse(found.realm)
	if err != nil {
		return nil, protocolError(opOf(req), "token server is not a URL: %q", found.realm)
	}
	return realm, nil
}
