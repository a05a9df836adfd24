// Package source opens models that are on other hubs: the Hugging Face Hub,
// caches that its clients keep on disk, and ModelScope.
//
// [Open] resolves a name such as hf://org/model@main to a commit, once, and
// lists the files of that commit: what is opened does not change while it is
// read, whatever happens to the branch. Each file comes with its SHA-256 and a
// way to read any part of it. Large files stay where they are until they are
// read; small ones, and those whose SHA-256 the hub does not tell, are fetched
// into a temporary file at once, so that all digests are known.
//
// # What callers may build on
//
// A token is sent to the hub that it belongs to and to no other host, and never
// in the clear over a network. Where redirects may lead is up to the transport:
// that of package remote lets no hub on another host lead to this machine or
// its link. Requests are tried again when the answer was 408, 429 or 5xx or the
// connection broke; a hub that asks to wait is waited for, up to ten minutes a
// request or [Options].MaxWait. A file that breaks off is read on where it broke, by a new request,
// so that a redirect whose signature has run out is asked for again.
//
// Sizes and digests that a hub names are taken as claims: the caller compares
// what it reads with [File.Digest]. For the files fetched at once that has been
// done here.
//
// Errors have the classes of package remote, but are an *[Error]; an *[AccessError] says how to get
// at a model that is gated or private.
package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/glob"
)

// Schemes of the names that [Open] takes. A path on disk has none.
const (
	SchemeHuggingFace = "hf"
	SchemeModelScope  = "ms"
)

// SchemeRegistry is the Hub of a model in a cache that came there from a
// registry. [Open] takes no such names.
const SchemeRegistry = "oci"

// Endpoints of the hubs.
const (
	HuggingFace = "https://huggingface.co"
	ModelScope  = "https://modelscope.cn"
)

// maxFiles bounds the files of a model, and maxPage the bytes of one page of
// their list.
const (
	maxFiles = 100_000
	maxPage  = 64 << 20
)

// ErrName is wrapped when what was given is not the name of a model.
var ErrName = errors.New("invalid source")

// A Hub is how a hub is reached.
type Hub struct {
	// Endpoint is its URL. Empty means the public one.
	Endpoint string

	// Token is sent to it, unless empty.
	Token string
}

// Options adjusts [Open].
type Options struct {
	// Transport carries all requests. It should be that of a remote.Client,
	// which has the rules for redirects and time-outs; nil means
	// http.DefaultTransport, which has none.
	Transport http.RoundTripper

	// HuggingFace and ModelScope are the hubs.
	HuggingFace, ModelScope Hub

	// Offline takes models of the Hugging Face Hub from Cache, and asks
	// nobody.
	Offline bool

	// Cache is the directory in which Hugging Face's clients keep models
	// (HF_HUB_CACHE). It is used with Offline.
	Cache string

	// Include and Exclude choose files by the patterns of package glob. That
	// they choose none is an error that wraps glob.ErrNoMatch.
	Include, Exclude []string

	// TempDir is where small files are kept while the model is open. Empty
	// means that of the system.
	TempDir string

	// MaxWait bounds how long one request is tried again; then the error wraps
	// ErrMaxWait of package remote. Zero means 10 minutes, since the limits of
	// hubs are counted over five.
	MaxWait time.Duration

	// Warn, if not nil, is told that a hub asks to wait.
	Warn func(message string)
}

// A File is one file of a model.
type File struct {
	// Path is relative to the model's root, with slashes, as the hub names
	// it: it has not been judged.
	Path string

	// Size is in bytes.
	Size int64

	// Digest is the SHA-256 of the bytes: what the hub says when Claimed,
	// else what they were found to have.
	Digest  digest.Digest
	Claimed bool

	// Open reads length bytes from offset, or all to the end when length is
	// negative. It may be called from several goroutines; the caller closes
	// what it returns, before it closes the model.
	Open Opener

	blob  string // its SHA-1 as a git object, "" if not known
	local bool   // on this machine
}

// A Model is an opened model. Its files can be read until it is closed.
type Model struct {
	// Name is that of the model with its commit, such as
	// "hf://org/model@0123…".
	Name string

	// ID is the model's name on its hub, and Hub the hub: "hf" or "ms". Of a
	// model that modelreg has pulled into a cache they are the repository and
	// "oci", or, if that is not known, the name there and "".
	ID, Hub string

	// Revision is what was asked for, Commit what that was when it was
	// opened: of a model from a registry, the digest. ModelScope may tell only
	// the first digits.
	Revision, Commit string

	// Page is the URL at which people see the model, "" if there is none.
	Page string

	// License is the identifier that the hub shows, "" if none.
	License string

	// Files are sorted by path.
	Files []File

	closers []io.Closer
}

// Close removes what was kept for the model.
func (m *Model) Close() error {
	var errs []error
	for _, c := range slices.Backward(m.closers) {
		errs = append(errs, c.Close())
	}
	m.closers = nil
	return errors.Join(errs...)
}

// Open finds the model with this name: hf://org/model@revision,
// ms://org/model@revision, or the path of a model in a cache of Hugging Face's
// clients. Without a revision it is the hub's default branch. The caller closes
// the model.
func Open(ctx context.Context, name string, opts Options) (*Model, error) {
	m, err := open(ctx, name, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return m, nil
}

func open(ctx context.Context, name string, opts Options) (_ *Model, err error) {
	m := &Model{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	wanted, err := glob.Matcher(opts.Include, opts.Exclude)
	if err != nil {
		return nil, err
	}
	list, err := lister(m, name, opts)
	if err != nil {
		return nil, err
	}
	if err := list(ctx); err != nil {
		return nil, err
	}
	m.Files = slices.DeleteFunc(m.Files, func(f File) bool { return !wanted(f.Path) })
	if len(m.Files) == 0 && len(opts.Include)+len(opts.Exclude) > 0 {
		return nil, glob.ErrNoMatch
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if m.Name = m.ID + "@" + m.Commit; m.Hub != "" {
		m.Name = m.Hub + "://" + m.Name
	}
	if err := m.settle(ctx, opts.TempDir); err != nil {
		return nil, err
	}
	return m, nil
}

// lister returns what fills in the model and its files.
func lister(m *Model, name string, opts Options) (func(context.Context) error, error) {
	scheme, id, ok := strings.Cut(name, "://")
	if !ok {
		m.Page = cmp.Or(opts.HuggingFace.Endpoint, HuggingFace)
		return func(ctx context.Context) error { return m.listCached(ctx, name, "") }, nil
	}
	var err error
	if m.ID, m.Revision, err = parseID(id); err != nil {
		return nil, err
	}
	switch scheme {
	case SchemeHuggingFace:
		m.Hub = SchemeHuggingFace
		if opts.Offline {
			m.Page = cmp.Or(opts.HuggingFace.Endpoint, HuggingFace)
			return func(ctx context.Context) error { return m.listOffline(ctx, opts.Cache) }, nil
		}
		c, err := newClient(opts.HuggingFace, HuggingFace, opts)
		return (&huggingFace{client: c, m: m}).list, err
	case SchemeModelScope, "modelscope":
		m.Hub = SchemeModelScope
		if opts.Offline {
			return nil, fmt.Errorf("%w: only models of the Hugging Face Hub can be had offline", ErrName)
		}
		c, err := newClient(opts.ModelScope, ModelScope, opts)
		return (&modelScope{client: c, m: m}).list, err
	}
	return nil, fmt.Errorf("%w: unknown scheme %s://", ErrName, scheme)
}

// IsCached tells whether the directory at path is a model in a cache of
// Hugging Face's clients, or a snapshot of one.
func IsCached(path string) bool {
	_, _, ok := cachePlace(path)
	return ok
}

const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	maxID        = 200
	maxRevision  = 255
)

// parseID takes org/model@revision apart. Names follow huggingface_hub's
// validate_repo_id.
func parseID(s string) (id, revision string, err error) {
	id, revision, ok := strings.Cut(s, "@")
	if ok && (revision == "" || len(revision) > maxRevision || strings.ContainsFunc(revision, badInRevision) || strings.Contains(revision, "..")) {
		return "", "", fmt.Errorf("%w: %.80q is no revision", ErrName, revision)
	}
	parts := strings.Split(id, "/")
	if len(id) > maxID || len(parts) > 2 {
		return "", "", fmt.Errorf("%w: %.80q is not of the form org/model", ErrName, id)
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p, alphanumeric+"._-") != "" || strings.Trim(p[:1], alphanumeric+"_") != "" || strings.Contains(p, "..") {
			return "", "", fmt.Errorf("%w: %.80q is not of the form org/model", ErrName, id)
		}
	}
	return id, revision, nil
}

func badInRevision(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`\~^:?*[`, r) }

// tempFile makes a file that is gone after it is closed.
func tempFile(dir string) (*tempHandle, error) {
	f, err := os.CreateTemp(dir, "modelreg-import-*")
	if err != nil {
		return nil, err
	}
	return &tempHandle{f}, nil
}

type tempHandle struct{ *os.File }

func (t *tempHandle) Close() error { return errors.Join(t.File.Close(), os.Remove(t.Name())) }
