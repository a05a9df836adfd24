// Package registry is an OCI registry as an [http.Handler]: the handlers of
// CNCF Distribution over a directory, with what they lack put in front.
//
// What is added:
//
//   - GET /v2/<name>/referrers/<digest>, as the OCI Distribution Specification
//     1.1 has it ("Listing Referrers"): filter by artifactType, pages, and an
//     empty index for a subject nobody refers to.
//   - The OCI-Subject header in the answer to a manifest with a subject, and
//     the referrers tag (sha256-<hex>) written along with it, so that clients
//     which know only the tag see what the API lists. Both are one list: the
//     index under the tag. It holds what was in the directory before this
//     package served it, too.
//   - A referrers tag cannot lose what it lists: a client's own index is merged
//     with what is there, and the tag cannot be deleted while a listed manifest
//     exists. A manifest leaves the list by being deleted.
//   - Referrers tags are left out of /v2/<name>/tags/list; the query
//     modelreg_all=1 shows them.
//   - Manifests of more than 4 MiB are answered with 413.
//   - Success is said only after data, name and every new directory above it
//     are on the disk; a blob that a crash has emptied counts as missing, so that
//     pushing it again repairs it.
//   - Uploads that were given up are removed; those of a running client survive
//     a restart.
//
// Everything else (ranges, mounts, chunked uploads, the catalogue) is
// Distribution's, byte for byte. The package opens no port, reads no
// environment, writes to no standard stream and authenticates nobody: it is
// to be put behind a server that does.
//
// One directory is served by one Registry at a time, because the order of writes
// to a list of referrers is kept in memory; [New] refuses a second one with
// [ErrInUse]. Read-only ones may join.
package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	// Digests of these algorithms must be known wherever a digest is checked.
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// ErrInUse is returned by [New] for a directory that another Registry serves,
// in this process or in another.
var ErrInUse = errors.New("data directory is in use")

// Options adjusts [New]. The zero value is an empty registry in memory.
type Options struct {
	// Data is the directory that holds the content, in Distribution's own
	// form. It is made if it is not there. Empty means memory: the content
	// goes with the Registry.
	Data string

	// Logger is told, at level Debug, what happens. Nil means silence.
	Logger *slog.Logger

	// ReadOnly refuses every request that could change something with 405,
	// and leaves the directory untouched.
	ReadOnly bool

	// Admit, if not nil, is asked before a manifest or index is given out, with
	// the repository's name and the digest that a tag was resolved to; calls
	// come from several goroutines. An error is the answer: 403 for a
	// [DeniedError], which is told, and 500 for others. Lists, blobs and
	// referrers are given to everybody: a blob's name tells its content.
	Admit func(ctx context.Context, name string, dgst digest.Digest) error

	// UploadExpiry is how long an upload may lie untouched before it is
	// removed. Zero means 24 hours.
	UploadExpiry time.Duration
}

// A Registry serves the OCI distribution protocol. It is safe for concurrent
// use. Make one with [New].
type Registry struct {
	app      *handlers.App
	content  distribution.Namespace
	log      *logrus.Entry
	readOnly bool
	admit    func(context.Context, string, digest.Digest) error // nil admits all
	locks    keyedMutex
	dirLock  *flock.Flock // nil in memory and for reading only

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// New opens the registry in opts.Data. Cancelling ctx stops its background
// work; [Registry.Close] must be called all the same.
func New(ctx context.Context, opts Options) (*Registry, error) {
	driver, err := openDriver(opts)
	if err != nil {
		return nil, err
	}
	r := &Registry{log: newLog(opts.Logger), readOnly: opts.ReadOnly, admit: opts.Admit}
	if r.dirLock, err = lockData(opts); err != nil {
		return nil, err
	}
	if err := r.start(ctx, driver, opts); err != nil {
		return nil, errors.Join(err, r.unlock())
	}
	return r, nil
}

func (r *Registry) start(ctx context.Context, driver namedDriver, opts Options) error {
	secret, err := uploadSecret(opts)
	if err != nil {
		return err
	}
	ctx, r.stop = context.WithCancel(logContext{Context: ctx, entry: r.log})
	r.content, err = storage.NewRegistry(ctx, driver, storage.EnableDelete)
	if err != nil {
		r.stop()
		return fmt.Errorf("open registry: %w", err)
	}
	r.app = handlers.NewApp(ctx, configure(driver, secret, opts.ReadOnly))
	if opts.Data != "" && !opts.ReadOnly {
		p := purger{root: opts.Data, age: opts.UploadExpiry, log: r.log}
		r.wg.Go(func() { p.run(ctx) })
	}
	return nil
}

// lockData takes the directory for this Registry alone, where it has one that
// it may write to.
func lockData(opts Options) (*flock.Flock, error) {
	if opts.Data == "" || opts.ReadOnly {
		return nil, nil
	}
	l := flock.New(filepath.Join(opts.Data, "lock"), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("open %s: %w", opts.Data, ErrInUse)
	}
	return l, nil
}

// maxCatalog is the number of repositories on one page of the catalogue, and
// the most that a client may ask for.
const maxCatalog = 1000

// configure builds what NewApp would otherwise read from a file. The purger
// of Distribution is off because it logs through a global; ours replaces it.
func configure(driver namedDriver, secret string, readOnly bool) *configuration.Configuration {
	c := &configuration.Configuration{
		Storage: configuration.Storage{
			driverName: configuration.Parameters{driverParameter: driver},
			"delete":   configuration.Parameters{"enabled": true},
			"redirect": configuration.Parameters{"disable": true},
			"maintenance": configuration.Parameters{
				"uploadpurging": map[any]any{"enabled": false},
				"readonly":      map[any]any{"enabled": readOnly},
			},
		},
	}
	c.HTTP.Secret = secret
	c.Catalog.MaxEntries = maxCatalog
	return c
}

// Close stops what runs in the background and waits for it. Stop the HTTP
// server first: requests that are still running are not waited for.
func (r *Registry) Close() error {
	r.stop()
	r.wg.Wait()
	return errors.Join(r.app.Shutdown(), closeEvents(r.app), r.unlock())
}

func (r *Registry) unlock() error {
	if r.dirLock == nil {
		return nil
	}
	return r.dirLock.Close()
}

// secretFile is where the key that signs the state of uploads is kept. With it
// an upload can go on after a restart.
const secretFile = "upload-secret"

func uploadSecret(opts Options) (string, error) {
	if opts.Data == "" {
		return rand.Text(), nil
	}
	name := filepath.Join(opts.Data, secretFile)
	b, err := os.ReadFile(name)
	if err == nil && len(b) > 0 {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read upload secret: %w", err)
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	secret := hex.EncodeToString(raw[:])
	if opts.ReadOnly {
		return secret, nil
	}
	if err := os.WriteFile(name, []byte(secret), 0o600); err != nil {
		return "", fmt.Errorf("keep upload secret: %w", err)
	}
	return secret, nil
}

// ServeHTTP answers one request below /v2/.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	req = r.quiet(req)
	safe := isSafe(req.Method)
	if r.readOnly && !safe {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, codeUnsupported, "the registry is read-only")
		return
	}
	rt, ok := parsePath(req.URL.Path)
	if !ok && (!safe || r.admit != nil && req.URL.Path != "/v2/") {
		// Distribution's router knows more names than the specification does.
		// A write it would accept must not go around the list of referrers, and
		// a read not around who decides.
		writeError(w, http.StatusBadRequest, codeNameInvalid, "not a path of the distribution specification")
		return
	}
	r.route(w, req, rt)
}

// Distribution returns the same content as Distribution alone would serve it:
// no referrers API, no OCI-Subject, referrers tags left to the clients. It is for
// seeing how a client does with such a registry.
func (r *Registry) Distribution() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.app.ServeHTTP(w, r.quiet(req))
	})
}

// quiet gives Distribution our logger for the request.
func (r *Registry) quiet(req *http.Request) *http.Request {
	return req.WithContext(logContext{Context: req.Context(), entry: r.log})
}

func (r *Registry) route(w http.ResponseWriter, req *http.Request, rt route) {
	switch {
	case rt.kind == kindReferrers:
		r.serveReferrers(w, req, rt)
	case rt.kind == kindTags && req.Method == http.MethodGet:
		r.serveTags(w, req, rt)
	case rt.kind == kindManifest && req.Method == http.MethodPut:
		r.putManifest(w, req, rt)
	case rt.kind == kindManifest && req.Method == http.MethodDelete:
		r.deleteManifest(w, req, rt)
	case rt.kind == kindManifest && isSafe(req.Method) && r.admit != nil:
		r.giveManifest(w, req, rt)
	default:
		r.app.ServeHTTP(w, req)
	}
}

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
