package testreg

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// An AuthScheme is a way to ask for credentials.
type AuthScheme string

// The schemes.
const (
	NoAuth AuthScheme = ""
	Basic  AuthScheme = "basic"
	Bearer AuthScheme = "bearer" // with a token server at /token
)

// Auth is what a [Server] asks for.
type Auth struct {
	Scheme AuthScheme

	// Username and Password are what is accepted. Without a name, the token
	// server gives tokens to anybody.
	Username, Password string

	// TokenUses is the number of requests a token is good for. Zero means
	// any.
	TokenUses int

	// Realm is the token server named in challenges, in which {sink}, {url}
	// and {host} are replaced. Empty means the server's own.
	Realm string
}

// SetAuth changes what the server asks for. Tokens given so far are forgotten.
func (s *Server) SetAuth(a Auth) {
	g := newGuard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = g
}

// guarded serves a registry to those with the right credentials.
func (s *Server) guarded(registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		g := s.auth
		s.mu.Unlock()
		switch {
		case g.Scheme == Bearer && r.URL.Path == "/token":
			g.serveToken(w, r)
		case g.allows(r):
			registry.ServeHTTP(w, r)
		default:
			s.challenge(w, g.Auth)
		}
	})
}

func (s *Server) challenge(w http.ResponseWriter, a Auth) {
	value := `Basic realm="testreg"`
	if a.Scheme == Bearer {
		realm := a.Realm
		if realm == "" {
			realm = "{url}/token"
		}
		value = fmt.Sprintf(`Bearer realm=%q,service="testreg"`, s.expand(realm))
	}
	w.Header().Set("Www-Authenticate", value)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
}

// A guard checks credentials and hands out tokens.
type guard struct {
	Auth

	mu     sync.Mutex
	tokens map[string]int // uses so far
}

func newGuard(a Auth) *guard { return &guard{Auth: a, tokens: make(map[string]int)} }

func (g *guard) allows(r *http.Request) bool {
	switch g.Scheme {
	case Basic:
		user, password, ok := r.BasicAuth()
		return ok && user == g.Username && password == g.Password
	case Bearer:
		return g.use(r.Header.Get("Authorization"))
	}
	return true
}

func (g *guard) use(header string) bool {
	const prefix = "Bearer "
	if len(header) <= len(prefix) || header[:len(prefix)] != prefix {
		return false
	}
	token := header[len(prefix):]
	g.mu.Lock()
	defer g.mu.Unlock()
	uses, ok := g.tokens[token]
	if !ok || g.TokenUses > 0 && uses >= g.TokenUses {
		return false
	}
	g.tokens[token]++
	return true
}

// serveToken answers both ways to ask for a token: GET with basic
// credentials, and the OAuth2 form.
func (g *guard) serveToken(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	if !ok {
		user, password = r.PostFormValue("username"), r.PostFormValue("password")
	}
	if g.Username != "" && (user != g.Username || password != g.Password) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	token := rand.Text()
	g.mu.Lock()
	g.tokens[token] = 0
	g.mu.Unlock()
	writeToken(w, token)
}

func writeToken(w http.ResponseWriter, token string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
}
