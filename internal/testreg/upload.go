package testreg

import (
	"fmt"
	"maps"
	"net/http"
)

// ForgetUpload ends the session of the upload, and then answers as a registry
// that never knew it.
func ForgetUpload() Action {
	return func(x Exchange) {
		req := x.R.Clone(x.R.Context())
		req.Method, req.Body, req.ContentLength = http.MethodDelete, http.NoBody, 0
		x.Server.backend.ServeHTTP(newMemory(), req)
		Status(http.StatusNotFound, nil,
			`{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}`)(x)
	}
}

// RefuseChunk answers a chunk with 416 and what the registry has so far, and
// takes nothing.
func RefuseChunk() Action {
	return func(x Exchange) {
		status := x.uploadStatus()
		for _, key := range []string{"Location", "Range", "Docker-Upload-Uuid"} {
			x.W.Header().Set(key, status.header.Get(key))
		}
		x.W.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	}
}

// KeepPart takes only the first n bytes of a chunk and says so.
func KeepPart(n int64) Action {
	return func(x Exchange) {
		x.R.Body = http.MaxBytesReader(nil, x.R.Body, n)
		x.R.Header.Del("Content-Range")
		x.Pass(newMemory())
		status := x.uploadStatus()
		status.header.Del("Content-Length")
		maps.Copy(x.W.Header(), status.header)
		x.W.WriteHeader(http.StatusAccepted)
	}
}

// Overclaim takes the chunk and says that it has got so many bytes more.
func Overclaim(extra int64) Action {
	return func(x Exchange) {
		s := &stream{ResponseWriter: x.W}
		s.head = func(status int, h http.Header) int {
			var from, to int64
			if n, _ := fmt.Sscanf(h.Get("Range"), "%d-%d", &from, &to); n == 2 {
				h.Set("Range", fmt.Sprintf("%d-%d", from, to+extra))
			}
			return status
		}
		x.Pass(s)
	}
}

func (x Exchange) uploadStatus() *memory {
	req := x.R.Clone(x.R.Context())
	req.Method, req.Body, req.ContentLength = http.MethodGet, http.NoBody, 0
	m := newMemory()
	x.Server.backend.ServeHTTP(m, req)
	return m
}

// TakeThenDrop takes at least n bytes of an upload's body, keeps them, and
// resets the connection.
func TakeThenDrop(n int64) Action {
	return func(x Exchange) {
		x.R.Body = http.MaxBytesReader(nil, x.R.Body, n)
		x.Pass(newMemory())
		drop(x.W, true)
	}
}

// LargerThan acts on a request whose body is larger than n bytes, and passes
// others on.
func LargerThan(n int64, do Action) Action {
	return func(x Exchange) {
		if x.R.ContentLength > n {
			do(x)
			return
		}
		x.Pass(x.W)
	}
}

// TakeAsWhole takes a chunk for a whole blob and ends the upload, as registries
// do that know one chunk only.
func TakeAsWhole() Action {
	return ReadThen(func(x Exchange) {
		req := x.R.Clone(x.R.Context())
		req.Method, req.Body, req.ContentLength = http.MethodDelete, http.NoBody, 0
		x.Server.backend.ServeHTTP(newMemory(), req)
		x.W.WriteHeader(http.StatusCreated)
	})
}

// refusals are the ways in which registries do not take some uploads.
func refusals() map[string]Rule {
	patch := func(do Action) Rule { return Rule{Method: "PATCH", Path: uploads, Do: do} }
	unsupported := Status(http.StatusBadRequest, nil, `{"errors":[{"code":"UNSUPPORTED","message":"not here"}]}`)
	return map[string]Rule{
		"no-patch-405":  patch(Status(http.StatusMethodNotAllowed, nil, "")),
		"no-patch-404":  patch(Status(http.StatusNotFound, nil, "")),
		"no-patch-501":  patch(Status(http.StatusNotImplemented, nil, "")),
		"no-patch-code": patch(unsupported),
		"patch-201":     patch(TakeAsWhole()),
		"patch-4m":      patch(LargerThan(4<<20, Status(http.StatusRequestedRangeNotSatisfiable, nil, ""))),
		"no-put":        {Method: "PUT", Path: uploads, Do: LargerThan(0, unsupported)},
		"body-2m":       {Method: "PUT,PATCH", Path: uploads, Do: LargerThan(2<<20, Status(http.StatusRequestEntityTooLarge, nil, ""))},
		"min-chunk":     {Method: "POST", Path: uploads, Do: SetHeader(map[string]string{"OCI-Chunk-Min-Length": "5242880"})},
	}
}
