package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// newTransport returns a transport that talks HTTP/1.1 only: one connection a
// blob is faster than HTTP/2's streams in one connection where a link, a
// balancer or a flow-control window limits each connection.
func newTransport(conf *tls.Config, control func(network, address string, c syscall.RawConn) error) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            newDialer(control).DialContext,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    10 * time.Second,
		Protocols:              protocols,
		DisableCompression:     true, // a digest is of the bytes as they are stored
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         32 << 10,
		WriteBufferSize:        32 << 10,
	}
}

// A farTransport goes where a registry on another host sends us. What it dials
// itself must not be inside; that a proxy is, as it often is, harms nobody.
type farTransport struct {
	proxied *http.Transport
	direct  *http.Transport // refuses inner addresses
}

// RoundTrip sends the request through the proxy that the environment names for
// it, if it names one.
func (t *farTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if proxy, err := t.proxied.Proxy(req); proxy != nil || err != nil {
		return t.proxied.RoundTrip(req)
	}
	return t.direct.RoundTrip(req)
}

// CloseIdleConnections closes those that it opened itself.
func (t *farTransport) CloseIdleConnections() { t.direct.CloseIdleConnections() }

func tlsConfig(opts Options) (*tls.Config, error) {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: opts.InsecureTLS, //nolint:gosec // asked for by the user
	}
	if opts.CAFile != "" {
		conf.RootCAs = systemPool()
		if err := addCA(conf.RootCAs, opts.CAFile); err != nil {
			return nil, err
		}
	}
	if (opts.CertFile == "") != (opts.KeyFile == "") {
		return nil, errors.New("client certificate and key go together")
	}
	if opts.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(opts.CertFile, opts.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate %s: %w", opts.CertFile, err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}
