package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const headerDigest = "Docker-Content-Digest"

// A Repository is one repository of a registry. It is made by
// [Client.Repository].
type Repository struct {
	client *Client
	ref    registry.Reference
	at     *endpoint // for all but reading content
	from   *sources  // for that

	mu       sync.Mutex
	sessions map[string]session // uploads that were begun, by digest
	latest   manifest           // that was written last: tags for it mostly follow

	memory Memory // may be nil
}

// Name returns the repository's name, as in host/org/model.
func (r *Repository) Name() string { return r.ref.Registry + "/" + r.ref.Repository }

// op names an operation on the repository in errors.
func (r *Repository) op(verb string) string { return verb + " " + r.Name() }

// A call is one request to the registry.
type call struct {
	at     *endpoint // nil means the repository's
	method string
	path   string     // below the repository
	query  url.Values // may be nil
	url    *url.URL   // in place of path, for an upload's location
	header map[string]string
	body   []byte
	upload *upload // in place of body
	scopes []string
	from   string // another repository that must be read, for a mount
	pace   pace   // who tries again
	want   []int  // the statuses that are no error; none means 200

	// landed, if not nil, is told of the request that was answered in the end,
	// after redirects.
	landed func(last *http.Request)
}

// do makes a request. An answer that is not wanted is an error; the caller
// closes the body of one that is.
func (r *Repository) do(ctx context.Context, k call) (*http.Response, error) {
	req, err := r.request(ctx, k)
	if err != nil {
		return nil, err
	}
	op := opOf(req)
	resp, err := r.client.authAt(r.place(k), k.pace).Do(req)
	if err != nil {
		return nil, k.tried(requestError(op, err))
	}
	if k.landed != nil && resp.Request != nil {
		k.landed(resp.Request)
	}
	// Where a redirect led is not for errors to show.
	resp.Request = req
	if len(k.want) == 0 {
		k.want = []int{http.StatusOK}
	}
	if !slices.Contains(k.want, resp.StatusCode) {
		return nil, k.tried(answerError(op, resp))
	}
	return resp, nil
}

// tried tells the caller not to try again what has been tried here already.
func (k call) tried(err error) error {
	e, ok := errors.AsType[*Error](err)
	if ok && k.pace == quick && (e.Status != 0 || covers(err)) {
		// The error can be that of another request, whose failure ended this
		// one: it is not ours to change.
		own := *e
		own.again = false
		return &own
	}
	return err
}

func (r *Repository) request(ctx context.Context, k call) (*http.Request, error) {
	at := r.place(k)
	ctx = withEndpoint(ctx, at)
	if len(k.scopes) == 0 {
		k.scopes = []string{auth.ActionPull}
	}
	ctx = auth.AppendScopesForHost(ctx, at.host, at.scope(r.ref.Repository, k.scopes...))
	if k.from != "" {
		ctx = auth.AppendScopesForHost(ctx, r.at.host, auth.ScopeRepository(k.from, auth.ActionPull))
	}
	if k.upload != nil {
		ctx = context.WithValue(ctx, uploadKey{}, true)
	}
	u := k.url
	if u == nil {
		u = at.url(r.ref.Repository, k.path, k.query)
	}
	var body io.Reader
	if k.body != nil {
		body = bytes.NewReader(k.body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for name, value := range k.header {
		req.Header.Set(name, value)
	}
	if k.upload != nil {
		err = k.upload.attach(ctx, req)
	}
	return req, err
}

// place returns where a call goes.
func (r *Repository) place(k call) *endpoint {
	if k.at != nil {
		return k.at
	}
	return r.at
}

// checkDesc refuses descriptors that cannot be asked for.
func checkDesc(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", desc.Digest, errors.Join(errdef.ErrInvalidDigest, err))
	}
	if desc.Size < 0 {
		return fmt.Errorf("size %d of %s: %w", desc.Size, desc.Digest, content.ErrInvalidDescriptorSize)
	}
	return nil
}

// wrongSize returns an error of class content.ErrMismatchedDigest: bytes of
// another length have another digest.
func wrongSize(op, text string) *Error {
	return &Error{Op: op, Text: text, Class: content.ErrMismatchedDigest}
}

// where returns the path of a manifest or blob.
func where(desc ocispec.Descriptor) string {
	if isManifest(desc.MediaType) {
		return "/manifests/" + desc.Digest.String()
	}
	return "/blobs/" + desc.Digest.String()
}

// Exists tells whether the manifest or blob is in the registry, whatever a
// mirror has. One whose size is known
// to be another is not.
func (r *Repository) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := checkDesc(desc); err != nil {
		return false, err
	}
	resp, err := r.head(ctx, nil, where(desc), isManifest(desc.MediaType))
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	return resp.ContentLength < 0 || resp.ContentLength == desc.Size, nil
}

// head asks for the headers alone, by GET where HEAD is not known.
func (r *Repository) head(ctx context.Context, at *endpoint, path string, manifest bool) (*http.Response, error) {
	k := call{at: at, method: http.MethodHead, path: path, header: map[string]string{"Accept": "*/*"}}
	if manifest {
		k.header["Accept"] = acceptManifests
	}
	resp, err := r.do(ctx, k)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusMethodNotAllowed {
		k.method = http.MethodGet
		return r.do(ctx, k)
	}
	return resp, err
}

// Fetch reads a manifest or blob. A manifest is checked before it is returned;
// of a blob only the length is: the reader fails when there are fewer or more
// bytes than desc says. The caller closes the reader.
func (r *Repository) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := checkDesc(desc); err != nil {
		return nil, err
	}
	if !isManifest(desc.MediaType) {
		return r.FetchRange(ctx, desc, 0, -1)
	}
	_, raw, err := r.Manifest(ctx, desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != desc.Size {
		return nil, wrongSize(r.op("fetch manifest from"), fmt.Sprintf("%d bytes, want %d", len(raw), desc.Size))
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

// Push writes a manifest or blob and lets the registry check it. What is there
// already is written again. A large blob from a reader that cannot seek is sent
// once: a broken upload is an error then. [Repository.PushFrom] goes on.
func (r *Repository) Push(ctx context.Context, desc ocispec.Descriptor, from io.Reader) error {
	if err := checkDesc(desc); err != nil {
		return err
	}
	if isManifest(desc.MediaType) {
		if desc.Size > MaxManifest {
			return fmt.Errorf("push %s: %w", desc.Digest, errdef.ErrSizeExceedsLimit)
		}
		raw, err := content.ReadAll(from, desc)
		if err != nil {
			return fmt.Errorf("read manifest %s: %w", desc.Digest, err)
		}
		return r.PushManifest(ctx, desc, raw)
	}
	open, err := reopen(from, desc.Size)
	if err != nil {
		return fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	return r.PushFrom(ctx, desc, open, nil)
}

// Delete removes a manifest or blob from the repository. Many registries do
// not let anybody.
func (r *Repository) Delete(ctx context.Context, desc ocispec.Descriptor) error {
	if err := checkDesc(desc); err != nil {
		return err
	}
	return r.delete(ctx, where(desc))
}

// Untag removes a tag and leaves the manifest that it points to. Many registries
// do not let anybody, and some cannot.
func (r *Repository) Untag(ctx context.Context, tag string) error {
	if strings.Contains(tag, ":") {
		return fmt.Errorf("%w: tag %q", errdef.ErrInvalidReference, tag)
	}
	if err := r.checkReference(tag); err != nil {
		return err
	}
	return r.delete(ctx, "/manifests/"+tag)
}

func (r *Repository) delete(ctx context.Context, path string) error {
	resp, err := r.do(ctx, call{
		method: http.MethodDelete, path: path,
		scopes: []string{auth.ActionDelete, auth.ActionPull},
		want:   []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent},
	})
	if err != nil {
		return err
	}
	drain(resp.Body)
	return nil
}

// checkDigest compares what the registry says it has with what it should.
func checkDigest(op string, resp *http.Response, want digest.Digest) error {
	said := resp.Header.Get(headerDigest)
	if said == "" || said == want.String() {
		return nil
	}
	got, err := digest.Parse(said)
	if err != nil {
		return protocolError(op, "the digest header is none: %q", said)
	}
	if got.Algorithm() != want.Algorithm() {
		return nil // the same bytes, named by another hash
	}
	return &Error{Op: op, Text: "the registry has " + said + ", want " + want.String(), Class: content.ErrMismatchedDigest}
}
