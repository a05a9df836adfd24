package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
)

// Error codes of the OCI Distribution Specification, "Error Codes", and of
// Distribution.
const (
	codeDenied           = "DENIED"
	codeDigestInvalid    = "DIGEST_INVALID"
	codeManifestInvalid  = "MANIFEST_INVALID"
	codeManifestUnknown  = "MANIFEST_UNKNOWN"
	codeNameInvalid      = "NAME_INVALID"
	codeNameUnknown      = "NAME_UNKNOWN"
	codePaginationNumber = "PAGINATION_NUMBER_INVALID"
	codeSizeInvalid      = "SIZE_INVALID"
	codeUnknown          = "UNKNOWN"
	codeUnsupported      = "UNSUPPORTED"
)

type errorEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeErrors(w, status, errorEntry{Code: code, Message: message})
}

func writeErrors(w http.ResponseWriter, status int, entries ...errorEntry) {
	body := struct {
		Errors []errorEntry `json:"errors"`
	}{entries}
	writeJSON(w, status, "application/json", body)
}

func writeJSON(w http.ResponseWriter, status int, mediaType string, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encode answer", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(raw)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Docker-Distribution-Api-Version", "registry/2.0") // as all other answers have
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the client is gone, then
}

// A refusal is an error that the client is told of in these words.
type refusal struct {
	status  int
	code    string
	message string
}

func (e *refusal) Error() string { return e.message }

// fail answers a request that could not be done. What went wrong inside goes to
// the log; the client learns only what concerns it.
func (r *Registry) fail(w http.ResponseWriter, err error) {
	if no, ok := errors.AsType[*refusal](err); ok {
		writeError(w, no.status, no.code, no.message)
		return
	}
	r.log.WithError(err).Error("request failed")
	writeError(w, http.StatusInternalServerError, codeUnknown, "the registry could not do this; see its log")
}

// A recorder holds the short answer to a write until all of it is done.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: make(http.Header)} }

// Header returns the header that writeTo will send.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// Write notes a part of the body.
func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

func (r *recorder) writeTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.header)
	if r.status != 0 {
		w.WriteHeader(r.status)
	}
	_, _ = w.Write(r.body.Bytes()) // the client is gone, then
}
