// Package testreg is a registry for tests that misbehaves on demand.
//
// [New] starts a real one ([registry.Registry]) on loopback, with a handler in
// front that goes through a list of [Rule]s: the first that matches a request
// acts on it, the rest of the traffic is served as always. What a rule does is
// an [Action]; those here cut, stall, slow, shorten, lengthen, corrupt, redirect
// and refuse, and a test may bring its own. [Fault] has the usual ones ready by
// name.
//
//	reg := testreg.New(t, testreg.Options{})
//	reg.Add(testreg.Fault("cut@mid"))
//	// … pull from reg.Host …
//	if reg.Sink.Credentials() != nil { … }
//
// The server keeps a log of every request, and a [Sink]: a second host that
// serves the same content and notes each credential that reaches it, where none
// must.
//
// With [Options.Layout] the server shows the content of an OCI layout under
// the digests its documents claim, true or not.
//
// The package listens on loopback only, and everything ends with the test.
package testreg

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"github.com/modelreg/modelreg/pkg/registry"
)

// Options adjusts [New]. The zero value is an empty registry over plain HTTP
// that asks for no credentials.
type Options struct {
	// TLS serves HTTPS, with a certificate from an authority of its own
	// ([Server.CA]).
	TLS bool

	// Certificate says what is wrong with the certificate. It needs TLS.
	Certificate Certificate

	// Data is the directory of the registry. Empty means memory, which is
	// faster as long as the test moves little.
	Data string

	// Layout serves the OCI layout in this directory, read-only, under any
	// repository name, instead of a registry. Tags are those of its
	// index.json; a manifest there without one is tagged "latest".
	Layout string

	// Handler is served instead of a registry.
	Handler http.Handler

	// NoReferrers makes the registry one of OCI 1.0: no referrers API, no
	// OCI-Subject, and referrers tags left to the clients.
	NoReferrers bool

	// Auth makes the server ask for credentials.
	Auth Auth

	// Rules are there from the first request on.
	Rules []Rule

	// Listen is the address to listen on. Empty means a free port of
	// 127.0.0.1. Anything but loopback is refused.
	Listen string
}

// A Server is a registry under test control. Its methods are safe for
// concurrent use.
type Server struct {
	Host string // host:port, as in a reference
	URL  string // with scheme, without a slash at the end
	CA   []byte // PEM of the authority that signed the certificate, with TLS
	Sink *Sink

	tb      testing.TB
	backend http.Handler
	plain   http.Handler // the backend without a referrers API
	client  *http.Client
	done    chan struct{} // closed when the test ends

	mu    sync.Mutex
	rules []*activeRule
	log   []*Request
	auth  *guard
}

// New starts a server that lives as long as the test.
func New(tb testing.TB, opts Options) *Server {
	tb.Helper()
	s := &Server{tb: tb, done: make(chan struct{}), auth: newGuard(opts.Auth)}
	s.openBackend(opts)
	front, err := listen(opts.Listen, s, opts)
	if err != nil {
		tb.Fatalf("testreg: %v", err)
	}
	s.Host, s.URL, s.CA, s.client = front.host, front.URL, front.ca, front.Client()
	s.Sink = newSink(tb, s, opts.TLS)
	s.Add(opts.Rules...)
	tb.Cleanup(func() {
		close(s.done)
		front.CloseClientConnections()
		front.Close()
	})
	return s
}

// Client returns a client that trusts the server's certificate.
func (s *Server) Client() *http.Client { return s.client }

// Backend returns what the server serves, without rules, credentials or log.
func (s *Server) Backend() http.Handler { return s.backend }

func (s *Server) openBackend(opts Options) {
	switch {
	case opts.Handler != nil:
		s.backend, s.plain = opts.Handler, opts.Handler
	case opts.Layout != "":
		l, err := openLayout(opts.Layout)
		if err != nil {
			s.tb.Fatalf("testreg: %v", err)
		}
		s.tb.Cleanup(func() { _ = l.root.Close() })
		s.backend, s.plain = l, l
	default:
		r := openRegistry(s.tb, opts.Data)
		s.backend, s.plain = r, r.Distribution()
		if opts.NoReferrers {
			s.backend = s.plain
		}
	}
}

func openRegistry(tb testing.TB, data string) *registry.Registry {
	r, err := registry.New(context.WithoutCancel(tb.Context()), registry.Options{Data: data})
	if err != nil {
		tb.Fatalf("testreg: %v", err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Errorf("testreg: close registry: %v", err)
		}
	})
	return r
}

// A front is a listening server.
type front struct {
	*httptest.Server
	host string
	ca   []byte
}

func listen(addr string, h http.Handler, opts Options) (*front, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if err := checkLoopback(addr); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close() // the one it brought
	s.Listener = l
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // faults are on purpose
	f := &front{Server: s, host: l.Addr().String()}
	if !opts.TLS {
		s.Start()
		return f, nil
	}
	if f.ca, err = f.startTLS(opts.Certificate); err != nil {
		_ = l.Close()
		return nil, err
	}
	return f, nil
}

func checkLoopback(addr string) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", addr, err)
	}
	if !ap.Addr().IsLoopback() {
		return fmt.Errorf("listen on %q: not a loopback address", addr)
	}
	return nil
}
