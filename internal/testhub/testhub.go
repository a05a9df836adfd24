// Package testhub is a hub of models for tests: the part of the Hugging Face
// Hub's HTTP API, and of ModelScope's, that its clients use to fetch models.
//
// [New] starts a hub and the store behind it, on two ports: small files are
// served by the hub itself, large ones (as Git LFS would have it) by the store,
// to which the hub redirects with a signed URL. Both are [testreg.Server]s, so
// that a test can break them by rules:
//
//	hub := testhub.New(t, testhub.Options{})
//	commit := hub.Commit("org/model", map[string][]byte{"model.bin": weights})
//	hub.Store.Add(testreg.Rule{Path: "/objects/", To: 1, Do: testreg.Cut(testreg.Middle)})
//
// The package listens on loopback only, and everything ends with the test.
package testhub

import (
	"crypto/sha1" //nolint:gosec // what git names its objects by
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
)

// Options adjusts [New].
type Options struct {
	// LFS is from how many bytes files are large. Zero means 1024.
	LFS int

	// PageSize is how many entries a page of a list has. Zero means all.
	PageSize int

	// URLUses is how often the signed URL of a large file can be used. Zero
	// means always.
	URLUses int

	// Token is what private and gated models need.
	Token string
}

// A Server is a hub under test control. Its methods are safe for concurrent use.
type Server struct {
	Hub   *testreg.Server
	Store *testreg.Server

	opts Options

	mu      sync.Mutex
	models  map[string]*model
	objects map[string][]byte // by SHA-256
	signed  map[string]int    // uses of signed URLs
	serial  int
}

// A model is one repository.
type model struct {
	id       string
	license  string
	gated    bool
	private  bool
	branches map[string]string
	commits  map[string]map[string]object
}

// An object is a file, with the names that hubs have for its bytes. They are
// made once: hashing takes longer than serving.
type object struct {
	data   []byte
	sha256 string
	git    string // as a git blob
}

func newObject(data []byte) object { return object{data, sum(data), gitBlob(data)} }

// New starts a hub that lives as long as the test.
func New(tb testing.TB, opts Options) *Server {
	tb.Helper()
	if opts.LFS == 0 {
		opts.LFS = 1024
	}
	s := &Server{opts: opts, models: make(map[string]*model), objects: make(map[string][]byte), signed: make(map[string]int)}
	s.Store = testreg.New(tb, testreg.Options{Handler: http.HandlerFunc(s.serveObject)})
	s.Hub = testreg.New(tb, testreg.Options{Handler: http.HandlerFunc(s.serve)})
	return s
}

// URL is the endpoint of the hub.
func (s *Server) URL() string { return s.Hub.URL }

// Commit makes files the content of a model's branch main, and returns the
// commit. The same files make the same commit.
func (s *Server) Commit(id string, files map[string][]byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.models[id]
	if m == nil {
		m = &model{id: id, license: "apache-2.0", branches: make(map[string]string), commits: make(map[string]map[string]object)}
		s.models[id] = m
	}
	h := sha1.New() //nolint:gosec // a name, not a promise
	objects := make(map[string]object)
	for _, p := range sortedPaths(files) {
		o := newObject(files[p])
		fmt.Fprintf(h, "%s\x00%s\n", p, o.git)
		objects[p], s.objects[o.sha256] = o, o.data
	}
	commit := hex.EncodeToString(h.Sum(nil))
	m.commits[commit] = objects
	m.branches["main"], m.branches["master"] = commit, commit
	return commit
}

// Branch gives a commit of a model a name.
func (s *Server) Branch(id, name, commit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models[id].branches[name] = commit
}

// Gate makes a model one that only the token opens.
func (s *Server) Gate(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models[id].gated = true
}

// Hide makes a model one that only the token shows.
func (s *Server) Hide(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models[id].private = true
}

// Corrupt makes the store give other bytes of the same length for an object.
func (s *Server) Corrupt(content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := slices.Clone(content)
	changed[len(changed)/2] ^= 1
	s.objects[sum(content)] = changed
}

func sortedPaths[T any](files map[string]T) []string {
	var paths []string
	for p := range files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func gitBlob(b []byte) string {
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(b), b))) //nolint:gosec // as git does
}

// pointer is the file that Git LFS keeps in place of a large one.
func (o object) pointer() []byte {
	return fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", o.sha256, len(o.data))
}

// commitOf resolves a revision of a model.
func (m *model) commitOf(revision string) (string, bool) {
	if _, ok := m.commits[revision]; ok {
		return revision, true
	}
	if c, ok := m.branches[revision]; ok {
		return c, true
	}
	for c := range m.commits {
		if len(revision) >= 7 && strings.HasPrefix(c, revision) {
			return c, true
		}
	}
	return "", false
}
