package registry

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Error codes of the OCI Distribution Specification, "Error Codes", and of
// Distribution.
const (
	codeDigestInvalid    = "DIGEST_INVALID"
	codeManifestInvalid  = "MANIFEST_INVALID"
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
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	body := struct {
		Errors []errorEntry `json:"errors"`
	}{[]errorEntry{{code, message}}}
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
