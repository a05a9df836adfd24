package testreg

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A Sink is another host: it serves what the registry does, without asking for
// credentials, and notes those it is sent all the same. Token requests are
// answered with a worthless token, so that a client betrayed to the sink goes
// on.
type Sink struct {
	Host string // host:port
	URL  string // with the registry's scheme
	HTTP string // always plain

	mu   sync.Mutex
	seen []SinkRequest
}

// A SinkRequest is a request that reached a [Sink].
type SinkRequest struct {
	Method string
	URI    string

	// Credential is what the request gave away: an Authorization or Cookie
	// header, a user in the URL, or a form with a password or refresh token.
	// Empty means nothing.
	Credential string
}

func newSink(tb testing.TB, s *Server, tls bool) *Sink {
	tb.Helper()
	k := &Sink{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { k.serve(w, r, s.backend) })
	start := func(opts Options) *front {
		f, err := listen("", h, opts)
		if err != nil {
			tb.Fatalf("testreg: sink: %v", err)
		}
		tb.Cleanup(func() {
			f.CloseClientConnections()
			f.Close()
		})
		return f
	}
	plain := start(Options{})
	k.Host, k.URL, k.HTTP = plain.host, plain.URL, plain.URL
	if tls {
		secure := start(Options{TLS: true})
		k.Host, k.URL = secure.host, secure.URL
	}
	return k
}

func (k *Sink) serve(w http.ResponseWriter, r *http.Request, backend http.Handler) {
	k.mu.Lock()
	k.seen = append(k.seen, SinkRequest{Method: r.Method, URI: r.RequestURI, Credential: credentialOf(r)})
	k.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/v2/") {
		backend.ServeHTTP(w, r)
		return
	}
	writeToken(w, "worthless")
}

func credentialOf(r *http.Request) string {
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Registry-Auth"} {
		if v := r.Header.Get(name); v != "" {
			return name + ": " + v
		}
	}
	if r.URL.User != nil {
		return "URL: " + r.URL.User.String()
	}
	if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		for _, name := range []string{"password", "refresh_token", "client_secret"} {
			if v := r.PostFormValue(name); v != "" {
				return name + ": " + v
			}
		}
	}
	return ""
}

// Requests returns what reached the sink, oldest first.
func (k *Sink) Requests() []SinkRequest {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]SinkRequest(nil), k.seen...)
}

// Credentials returns the credentials that reached the sink. A client that is
// right sends none.
func (k *Sink) Credentials() []string {
	var all []string
	for _, r := range k.Requests() {
		if r.Credential != "" {
			all = append(all, r.Credential)
		}
	}
	return all
}

func (k *Sink) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = nil
}

// expand replaces the names of hosts that rules may use in headers.
func (s *Server) expand(text string) string {
	return strings.NewReplacer(
		"{sink}", s.Sink.URL, "{sink-host}", s.Sink.Host, "{sink-http}", s.Sink.HTTP,
		"{url}", s.URL, "{host}", s.Host,
	).Replace(text)
}
