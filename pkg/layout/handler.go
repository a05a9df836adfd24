package layout

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// A Handler answers what clients of a registry ask, from the layout in a directory:
// manifests, blobs and ranges of them, tags, referrers (OCI Distribution
// Specification, "Pull" and "Content Discovery"). What would change something is
// answered with 405. The layout is opened for each request and closed after it, so
// that there is nothing to close; requests may come at the same time. It
// authenticates nobody: it is for clients in the same process.
type Handler struct {
	// Dir is the directory that the layout is in.
	Dir string

	// Repository is the one whose tags are given; see [Layout.Repository].
	Repository string
}

// ServeHTTP implements [http.Handler]. The repository's name in the path is not
// looked at.
func (h Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "a layout is only read here: copy it to change it")
		return
	}
	l, err := Open(h.Dir)
	if err != nil {
		fail(w, err)
		return
	}
	defer l.Close() //nolint:errcheck // only read
	repo, err := l.Repository(h.Repository)
	if err == nil {
		err = repo.serve(w, req)
	}
	if err != nil {
		fail(w, err)
	}
}

// serve answers a request, unless there is an error, which is before all of it.
func (r *Repository) serve(w http.ResponseWriter, req *http.Request) error {
	head, last, _ := cutLast(strings.TrimSuffix(req.URL.Path, "/"))
	_, kind, _ := cutLast(head)
	switch kind {
	case "manifests":
		return r.serveManifest(w, req, last)
	case "blobs":
		return r.serveBlob(w, req, digest.Digest(last))
	case "referrers":
		return r.serveReferrers(w, req, digest.Digest(last))
	case "tags":
		return r.serveTags(w, req)
	}
	if last == "v2" {
		return answer(w, "application/json", struct{}{})
	}
	return errdef.ErrNotFound
}

// cutLast cuts a path before its last element.
func cutLast(path string) (head, last string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

func (r *Repository) serveManifest(w http.ResponseWriter, req *http.Request, reference string) error {
	desc, raw, err := r.Manifest(req.Context(), reference)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", desc.MediaType)
	h.Set("Content-Length", strconv.Itoa(len(raw)))
	h.Set("Docker-Content-Digest", desc.Digest.String())
	if req.Method == http.MethodGet {
		_, _ = w.Write(raw) // the client is gone, then
	}
	return nil
}

func (r *Repository) serveBlob(w http.ResponseWriter, req *http.Request, dgst digest.Digest) error {
	if err := checkDigest(dgst); err != nil {
		return err
	}
	f, err := r.at.blob(dgst)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", dgst.String())
	http.ServeContent(w, req, "", time.Time{}, io.NewSectionReader(f, 0, f.Size()))
	return nil
}

func (r *Repository) serveReferrers(w http.ResponseWriter, req *http.Request, dgst digest.Digest) error {
	list, err := r.Referrers(req.Context(), ocispec.Descriptor{Digest: dgst}, req.URL.Query().Get("artifactType"))
	if err != nil {
		return err
	}
	if req.URL.Query().Has("artifactType") {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: list}
	if list == nil {
		index.Manifests = []ocispec.Descriptor{}
	}
	return answer(w, ocispec.MediaTypeImageIndex, index)
}

func (r *Repository) serveTags(w http.ResponseWriter, req *http.Request) error {
	tags := []string{}
	for tag, err := range r.Tags(req.Context()) {
		if err != nil {
			return err
		}
		tags = append(tags, tag)
	}
	return answer(w, "application/json", map[string]any{"name": r.name, "tags": tags})
}

func answer(w http.ResponseWriter, mediaType string, v any) error {
	raw, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	_, _ = w.Write(raw) // the client is gone, then
	return nil
}

// fail answers that something is not there, or cannot be read. Asking again would
// change nothing.
func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, errdef.ErrNotFound) {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", err.Error())
		return
	}
	refuse(w, http.StatusUnprocessableEntity, "UNKNOWN", err.Error())
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	raw, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}, json.Deterministic(true))
	if err != nil {
		raw = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the client is gone, then
}
