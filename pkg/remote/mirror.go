package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// A Mirror is a host that has copies of what a registry has: a pull-through
// cache, or a neighbour that shares what it has pulled. It need not be trusted
// with content, which its digest proves.
//
// Each request to it says in the query ns=HOST which registry is meant, as
// containerd does, when the host is not the registry's own. The registry's
// credentials are not sent to it; those stored for its own host are, but never
// over plain HTTP to another machine.
type Mirror struct {
	// URL is where it is: http or https, a host, and a path if the API does
	// not lie directly below the host. "/v2" is added to a path that does not
	// end in it. A mirror may be on loopback, and may be spoken to without
	// TLS: it is the user who names it.
	URL string

	// OverridePath says that the path of URL is the API's root as it stands,
	// as in "https://harbor.example.com/v2/proxy".
	OverridePath bool

	// Resolve lets the mirror say what tags point to, where the reader allows
	// that too ([Repository.WithMirrorTags]). A mirror that does can pass an
	// old or another version for the one asked for.
	Resolve bool

	// Header goes with each request to the mirror's host.
	Header http.Header

	// CAFiles are PEM files of certificates to trust besides those of Options.
	CAFiles []string

	// ClientCerts are PEM files of client certificates with their keys. An
	// empty second name means that the key is in the first file.
	ClientCerts [][2]string

	// SkipVerify accepts any certificate.
	SkipVerify bool

	// DialTimeout bounds connecting. Zero means 3 seconds.
	DialTimeout time.Duration

	// Proxy is the URL of a proxy to use in place of the environment's.
	Proxy string
}

// String returns the mirror's URL, without a password that may be in it.
func (m Mirror) String() string {
	u, err := url.Parse(m.URL)
	if err != nil {
		return strconv.Quote(cleanText(m.URL[strings.LastIndexByte(m.URL, '@')+1:]))
	}
	return cleanText(u.Redacted())
}

// DefaultMirrors is the key in [Options.Mirrors] for registries that have none
// of their own.
const DefaultMirrors = "_default"

// A patience is how long we wait.
type patience struct{ dial, answer, stall time.Duration }

// mirrorPatience is less than a registry gets: there is somebody else to ask.
var mirrorPatience = patience{dial: 3 * time.Second, answer: 10 * time.Second, stall: 15 * time.Second}

// patienceFor returns how long the place that a request is for is waited for.
func patienceFor(ctx context.Context) patience {
	if at, ok := ctx.Value(endpointKey{}).(*endpoint); ok && at.mirror != nil {
		return at.mirror.patience
	}
	return patience{dial: dialTimeout, answer: answerTimeout, stall: stallTimeout}
}

// The longest and the shortest time that a mirror is left alone after a
// failure. It doubles with each one in a row.
const (
	firstRest   = 2 * time.Second
	longestRest = 5 * time.Minute
)

// A mirror is what is known of how a mirror does. All repositories of a client
// share it.
type mirror struct {
	patience patience
	resolve  bool

	mu       sync.Mutex
	failures int // in a row
	rest     time.Time
}

// resting reports whether the mirror is to be left alone.
func (m *mirror) resting(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.rest)
}

// failed leaves the mirror alone for a while. Requests that fail together
// count as one.
func (m *mirror) failed(now time.Time, atLeast time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Before(m.rest) {
		return
	}
	rest := min(firstRest<<min(m.failures, 16), longestRest)
	m.failures++
	m.rest = now.Add(max(rest, atLeast))
}

// worked forgives the failures so far.
func (m *mirror) worked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures, m.rest = 0, time.Time{}
}

// credentialAt returns what gives a place its credentials. The user may have
// named a mirror without TLS, but did not offer his password to the wire.
func (c *Client) credentialAt(at *endpoint) auth.CredentialFunc {
	open := at.scheme == "http" && !isLoopback(at.host)
	if open && (c.opts.PlainHTTP == nil || !c.opts.PlainHTTP(at.host)) {
		return nil
	}
	return c.credential
}

// parseMirror returns where a mirror is, and the root of its API.
func parseMirror(m Mirror) (at endpoint, err error) {
	u, err := url.Parse(m.URL)
	switch {
	case err != nil:
		return at, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return at, errors.New("neither http nor https")
	case u.Hostname() == "":
		return at, errors.New("no host")
	case u.User != nil:
		return at, errors.New("a user name in a URL: log in to the host instead")
	case u.RawQuery != "" || u.Fragment != "":
		return at, errors.New("a query or a fragment")
	}
	at = endpoint{scheme: u.Scheme, host: u.Host, api: true}
	if at.host == "docker.io" { // a name in references, and no registry
		at.host = "registry-1.docker.io"
	}
	if u.Path != "" {
		at.root = strings.TrimSuffix(path.Clean("/"+u.Path), "/")
	}
	if !m.OverridePath && !strings.HasSuffix(at.root, "/v2") {
		at.root += "/v2"
	}
	return at, nil
}

// proxied reports whether host is one of those that serve for registry rather
// than registry itself.
func proxied(host, registry string) bool {
	hub := registry == "docker.io" && host == "registry-1.docker.io"
	return !strings.EqualFold(host, registry) && !hub
}

// canonical returns h with the names as requests have them.
func canonical(h http.Header) http.Header {
	c := make(http.Header, len(h))
	for name, values := range h {
		c[http.CanonicalHeaderKey(name)] = values
	}
	return c
}

// special reports whether the mirror needs connections of its own kind.
func (m Mirror) special() bool {
	return len(m.CAFiles)+len(m.ClientCerts) > 0 || m.SkipVerify || m.DialTimeout > 0 || m.Proxy != ""
}

// tls returns base with the mirror's settings. The client certificate of base
// is for registries; certs are in its place.
func (m Mirror) tls(base *tls.Config, certs []tls.Certificate) (*tls.Config, error) {
	conf := base.Clone()
	conf.Certificates = slices.Clone(certs)
	conf.InsecureSkipVerify = base.InsecureSkipVerify || m.SkipVerify //nolint:gosec // asked for by the user
	if len(m.CAFiles) > 0 {
		conf.RootCAs = systemPool()
		if base.RootCAs != nil {
			conf.RootCAs = base.RootCAs.Clone()
		}
	}
	for _, file := range m.CAFiles {
		if err := addCA(conf.RootCAs, file); err != nil {
			return nil, err
		}
	}
	for _, pair := range m.ClientCerts {
		if pair[1] == "" {
			pair[1] = pair[0]
		}
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			return nil, fmt.Errorf("load client certificate %s: %w", pair[0], err)
		}
		conf.Certificates = append(conf.Certificates, cert)
	}
	return conf, nil
}

func systemPool() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool()
	}
	return pool
}

func addCA(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read %s: no certificate in it", file)
	}
	return nil
}
