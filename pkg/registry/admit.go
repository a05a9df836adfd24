package registry

import (
	"errors"
	"net/http"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
)

// A DeniedError is what [Options.Admit] returns of a manifest that is not to be
// given out.
type DeniedError struct {
	// Reason is told to the client.
	Reason string

	// Detail goes into the answer as JSON, if it is not nil.
	Detail any
}

func (e *DeniedError) Error() string { return e.Reason }

// ErrNoManifest is what [Options.Admit] returns of a manifest that is not there. What
// is put there in that moment has not been decided on.
var ErrNoManifest = errors.New("manifest unknown")

// giveManifest answers GET and HEAD of a manifest where somebody decides which are
// given out. A tag is resolved once: what is given is what was decided on.
func (r *Registry) giveManifest(w http.ResponseWriter, req *http.Request, rt route) {
	dgst, err := r.resolve(req, rt)
	if _, unknown := errors.AsType[distribution.ErrTagUnknown](err); unknown {
		r.app.ServeHTTP(w, req) // which says so in its own words
		return
	}
	if err == nil {
		err = r.admit(req.Context(), rt.name, dgst)
	}
	if denied, ok := errors.AsType[*DeniedError](err); ok {
		writeDenied(w, denied)
		return
	}
	if errors.Is(err, ErrNoManifest) {
		writeError(w, http.StatusNotFound, codeManifestUnknown, "manifest unknown")
		return
	}
	if err != nil {
		r.fail(w, err)
		return
	}
	byDigest := req.Clone(req.Context())
	byDigest.URL.Path, byDigest.URL.RawPath = "/v2/"+rt.name+"/manifests/"+dgst.String(), ""
	r.app.ServeHTTP(w, byDigest)
}

// resolve returns the digest that a reference stands for.
func (r *Registry) resolve(req *http.Request, rt route) (digest.Digest, error) {
	if isDigest(rt.ref) {
		return digest.Digest(rt.ref), nil
	}
	repo, err := r.repository(req.Context(), rt.name)
	if err != nil {
		return "", err
	}
	desc, err := repo.Tags(req.Context()).Get(req.Context(), rt.ref)
	return desc.Digest, err
}

func writeDenied(w http.ResponseWriter, e *DeniedError) {
	writeErrors(w, http.StatusForbidden, errorEntry{Code: codeDenied, Message: e.Reason, Detail: e.Detail})
}
