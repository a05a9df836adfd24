package registry

import (
	"errors"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of one page of referrers. A page reads each manifest it lists, so they
// bound the work that one request can cause.
const (
	maxPage      = 256      // manifests read
	maxPageRead  = 32 << 20 // bytes of them
	maxPageBytes = 3 << 20  // of the answer; less than clients take of a manifest
)

// serveReferrers answers GET /v2/<name>/referrers/<digest> (OCI Distribution
// Specification 1.1, "Listing Referrers").
func (r *Registry) serveReferrers(w http.ResponseWriter, req *http.Request, rt route) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, codeUnsupported, "referrers are added by pushing them")
		return
	}
	subject := digest.Digest(rt.ref)
	if subject.Validate() != nil {
		writeError(w, http.StatusBadRequest, codeDigestInvalid, "not a digest")
		return
	}
	l, err := r.openList(req.Context(), rt.name, referrersTag(subject))
	if err != nil {
		r.fail(w, err)
		return
	}
	query := req.URL.Query()
	artifactType := query.Get("artifactType")
	page, next, err := l.page(subject, artifactType, digest.Digest(query.Get("last")))
	if err != nil {
		r.fail(w, err)
		return
	}
	if next != "" {
		query.Set("last", next.String())
		setNext(w, req.URL.Path, query)
	}
	if artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	writeJSON(w, http.StatusOK, ocispec.MediaTypeImageIndex, newIndex(page))
}

// page returns the referrers of subject after last, and where the next page
// starts, if there is one. A page may be empty and yet have a next one, when
// nothing it looked at passed the filter.
func (l list) page(subject digest.Digest, artifactType string, last digest.Digest) (page []ocispec.Descriptor, next digest.Digest, err error) {
	all := digests(l.entries)
	if i, found := slices.BinarySearch(all, last); found {
		all = all[i+1:]
	} else {
		all = all[i:]
	}
	var size, read int
	for i, dgst := range all {
		if i == maxPage || size > maxPageBytes || read > maxPageRead {
			return page, all[i-1], nil
		}
		m, err := l.get(dgst)
		if errors.Is(err, errNoManifest) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		read += len(m.raw)
		desc := m.descriptor()
		if m.doc.subject() != subject || artifactType != "" && desc.ArtifactType != artifactType {
			continue
		}
		page = append(page, desc)
		size += entrySize(desc)
	}
	return page, "", nil
}

// entrySize is about what desc takes in JSON.
func entrySize(desc ocispec.Descriptor) int {
	size := 256 + len(desc.ArtifactType)
	for key, value := range desc.Annotations {
		size += len(key) + len(value) + 6
	}
	return size
}
