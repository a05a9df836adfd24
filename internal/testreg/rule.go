package testreg

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// A Presence says whether a header must be there.
type Presence int

// The ways a header can matter.
const (
	Any Presence = iota
	With
	Without
)

// A Rule picks requests and says what becomes of them. The zero value of each
// field but Do picks all.
type Rule struct {
	// Name is what the log calls the rule.
	Name string

	// Method is one method, or several with commas between.
	Method string

	// Path is a regular expression on the path and query.
	Path string

	// From and To are the first and the last of the matching requests that
	// the rule acts on, counted from 1. Zero means from the first, and
	// without end.
	From, To int

	// Range and Auth pick requests with or without a Range and an
	// Authorization header.
	Range, Auth Presence

	// Do acts on the request. Nil passes it on.
	Do Action

	setup func(*Server) // run when the rule is added
}

// An Action answers a request, itself or by letting the registry do it.
type Action func(x Exchange)

// An Exchange is one request and what an [Action] may do with it.
type Exchange struct {
	W      http.ResponseWriter
	R      *http.Request
	Next   http.Handler // the registry, behind its credentials
	Server *Server
}

// Pass lets the registry answer to w.
func (x Exchange) Pass(w http.ResponseWriter) { x.Next.ServeHTTP(w, x.R) }

type activeRule struct {
	Rule
	path *regexp.Regexp
	seen int
}

// Add puts rules after those that are there.
func (s *Server) Add(rules ...Rule) {
	s.tb.Helper()
	for _, r := range rules {
		path, err := regexp.Compile(r.Path)
		if err != nil {
			s.tb.Fatalf("testreg: rule %s: %v", r.Name, err)
		}
		if r.setup != nil {
			r.setup(s)
		}
		s.mu.Lock()
		s.rules = append(s.rules, &activeRule{Rule: r, path: path})
		s.mu.Unlock()
	}
}

// Reset removes all rules and clears the log and the sink.
func (s *Server) Reset() {
	s.mu.Lock()
	s.rules, s.log = nil, nil
	s.mu.Unlock()
	s.Sink.reset()
}

// pick returns the rule that acts on r, if any, and counts.
func (s *Server) pick(r *http.Request) *activeRule {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if !rule.matches(r) {
			continue
		}
		rule.seen++
		if rule.seen >= rule.From && (rule.To == 0 || rule.seen <= rule.To) {
			return rule
		}
	}
	return nil
}

func (r *activeRule) matches(req *http.Request) bool {
	if r.Method != "" && !containsWord(r.Method, req.Method) {
		return false
	}
	return r.path.MatchString(req.URL.RequestURI()) &&
		r.Range.fits(req.Header.Get("Range")) && r.Auth.fits(req.Header.Get("Authorization"))
}

func containsWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(w) == word {
			return true
		}
	}
	return false
}

func (p Presence) fits(value string) bool {
	return p == Any || (p == With) == (value != "")
}

// A Request is one line of the log.
type Request struct {
	Method string
	Path   string // without the query
	Query  string
	Range  string // the header
	Auth   string // the first digits of the hash of the Authorization header
	Rule   string // that acted, or ""

	// Status, BytesIn and BytesOut are what has been seen so far; they are
	// final when the exchange is over. Status is 0 for a connection that was
	// dropped without an answer.
	Status   int
	BytesIn  int64 // of the request's body
	BytesOut int64 // of the answer's body
}

// Requests returns the log, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.log))
	for i, r := range s.log {
		all[i] = *r
	}
	return all
}

// ServeHTTP answers as the rules say.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rule := s.pick(r)
	entry := &Request{
		Method: r.Method,
		Path:   r.URL.Path,
		Query:  r.URL.RawQuery,
		Range:  r.Header.Get("Range"),
		Auth:   shortHash(r.Header.Get("Authorization")),
	}
	if rule != nil {
		entry.Rule = rule.Name
	}
	s.mu.Lock()
	s.log = append(s.log, entry)
	s.mu.Unlock()
	w = &countingWriter{ResponseWriter: w, s: s, entry: entry}
	r.Body = &countingBody{ReadCloser: r.Body, s: s, entry: entry}

	next := s.guarded(s.backend)
	if rule == nil || rule.Do == nil {
		next.ServeHTTP(w, r)
		return
	}
	rule.Do(Exchange{W: w, R: r, Next: next, Server: s})
}

func shortHash(s string) string {
	if s == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

type countingWriter struct {
	http.ResponseWriter
	s     *Server
	entry *Request
}

// WriteHeader notes the status and passes it on.
func (w *countingWriter) WriteHeader(status int) {
	w.s.mu.Lock()
	if w.entry.Status < 200 { // informational answers come before the real one
		w.entry.Status = status
	}
	w.s.mu.Unlock()
	w.ResponseWriter.WriteHeader(status)
}

// Write counts what was written.
func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.s.mu.Lock()
	if w.entry.Status == 0 {
		w.entry.Status = http.StatusOK
	}
	w.entry.BytesOut += int64(n)
	w.s.mu.Unlock()
	return n, err
}

// Unwrap is for [http.ResponseController].
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type countingBody struct {
	io.ReadCloser
	s     *Server
	entry *Request
}

// Read counts what was read.
func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.s.mu.Lock()
	b.entry.BytesIn += int64(n)
	b.s.mu.Unlock()
	return n, err
}
