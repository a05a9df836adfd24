package testsigstore

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A TrustRepository publishes files by The Update Framework, on loopback, as a
// deployment publishes its trusted root. Its methods fail the test that made it.
type TrustRepository struct {
	URL string

	t     testing.TB
	keys  map[string]signature.Signer // by role
	root  *metadata.Metadata[metadata.RootType]
	first []byte
	next  int64 // version of what is published next

	mu    sync.Mutex
	files map[string][]byte // by path
	asked []string
}

var trustRoles = []string{metadata.ROOT, metadata.TIMESTAMP, metadata.SNAPSHOT, metadata.TARGETS}

// NewTrustRepository makes a repository that publishes nothing yet, and serves
// it until the test ends.
func NewTrustRepository(t testing.TB) *TrustRepository {
	t.Helper()
	r := &TrustRepository{t: t, keys: map[string]signature.Signer{}, files: map[string][]byte{}, next: 1}
	r.root = metadata.Root(time.Now().Add(time.Hour))
	for _, role := range trustRoles {
		r.keys[role] = r.newKey(role)
	}
	r.sign(func() error { _, err := r.root.Sign(r.keys[metadata.ROOT]); return err })
	r.first = bytesOf(r, r.root)
	r.Set("/1.root.json", r.first)
	srv := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(srv.Close)
	r.URL = srv.URL
	return r
}

// Root is the first root.json.
func (r *TrustRepository) Root() []byte { return r.first }

func (r *TrustRepository) sign(f func() error) {
	r.t.Helper()
	if err := f(); err != nil {
		r.t.Fatal(err)
	}
}

// newKey adds a key to a role.
func (r *TrustRepository) newKey(role string) signature.Signer {
	r.t.Helper()
	signer, err := signature.LoadECDSASigner(newKey(r.t), crypto.SHA256)
	r.sign(func() error { return err })
	public, err := signer.PublicKey()
	r.sign(func() error { return err })
	key, err := metadata.KeyFromPublicKey(public)
	r.sign(func() error { return err })
	r.sign(func() error { return r.root.Signed.AddKey(key, role) })
	return signer
}

func bytesOf[T metadata.Roles](r *TrustRepository, m *metadata.Metadata[T]) []byte {
	r.t.Helper()
	raw, err := m.ToBytes(false)
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

// Publish publishes files, and nothing that was published before, until a time.
func (r *TrustRepository) Publish(files map[string][]byte, until time.Time) {
	r.t.Helper()
	targets, snapshot, stamp := metadata.Targets(until), metadata.Snapshot(until), metadata.Timestamp(until)
	for name, raw := range files {
		info, err := metadata.TargetFile().FromBytes(name, raw, "sha256")
		r.sign(func() error { return err })
		targets.Signed.Targets[name] = info
		sum := sha256.Sum256(raw)
		r.Set("/targets/"+hex.EncodeToString(sum[:])+"."+name, raw)
	}
	targets.Signed.Version, snapshot.Signed.Version, stamp.Signed.Version = r.next, r.next, r.next
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(r.next)
	stamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(r.next)
	r.sign(func() error { _, err := targets.Sign(r.keys[metadata.TARGETS]); return err })
	r.sign(func() error { _, err := snapshot.Sign(r.keys[metadata.SNAPSHOT]); return err })
	r.sign(func() error { _, err := stamp.Sign(r.keys[metadata.TIMESTAMP]); return err })
	r.Set(fmt.Sprintf("/%d.targets.json", r.next), bytesOf(r, targets))
	r.Set(fmt.Sprintf("/%d.snapshot.json", r.next), bytesOf(r, snapshot))
	r.Set("/timestamp.json", bytesOf(r, stamp))
	r.next++
}

// Rotate replaces the key of a role, which Publish signs with from then on.
func (r *TrustRepository) Rotate(role string) {
	r.t.Helper()
	for _, id := range append([]string(nil), r.root.Signed.Roles[role].KeyIDs...) {
		r.sign(func() error { return r.root.Signed.RevokeKey(id, role) })
	}
	r.keys[role] = r.newKey(role)
	r.root.Signed.Version++
	r.root.ClearSignatures()
	r.sign(func() error { _, err := r.root.Sign(r.keys[metadata.ROOT]); return err })
	r.Set(fmt.Sprintf("/%d.root.json", r.root.Signed.Version), bytesOf(r, r.root))
}

// Set has a path answered with these bytes; nil means that it is not there.
func (r *TrustRepository) Set(path string, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[path] = raw
}

// Get is what a path is answered with.
func (r *TrustRepository) Get(path string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files[path]
}

// Files are the paths below a prefix that are answered.
func (r *TrustRepository) Files(prefix string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for path, raw := range r.files {
		if raw != nil && strings.HasPrefix(path, prefix) {
			list = append(list, path)
		}
	}
	return list
}

// Asked are the paths that it was asked for so far, in order.
func (r *TrustRepository) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.asked...)
}

func (r *TrustRepository) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	raw := r.files[req.URL.Path]
	r.asked = append(r.asked, req.URL.Path)
	r.mu.Unlock()
	if raw == nil {
		http.NotFound(w, req)
		return
	}
	_, _ = w.Write(raw) // the client is gone, or sees it
}
