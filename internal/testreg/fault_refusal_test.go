package testreg_test

import (
	"bytes"
	"strings"
)

// refusalChecks want small uploads in other ways to go on working.
func refusalChecks() map[string]check {
	noPatch := func(status int) check {
		return func(f fixture) {
			at := f.upload()
			if a := f.patch(at, "0123"); a.status != status {
				f.t.Errorf("PATCH = %d, want %d", a.status, status)
			}
			f.finish(at, "0123", "0123")
		}
	}
	large := strings.Repeat("x", 5<<20)
	return map[string]check{
		"no-patch-405":  noPatch(405),
		"no-patch-404":  noPatch(404),
		"no-patch-501":  noPatch(501),
		"no-patch-code": noPatch(400),
		"patch-201": func(f fixture) {
			at := f.upload()
			if a := f.patch(at, "0123"); a.status != 201 {
				f.t.Errorf("PATCH = %d, want 201", a.status)
			}
			if a := f.patch(at, "4567"); a.status != 201 {
				f.t.Errorf("second PATCH = %d", a.status)
			}
		},
		"patch-4m": func(f fixture) {
			at := f.upload()
			if a := f.patch(at, large); a.status != 416 {
				f.t.Errorf("large PATCH = %d, want 416", a.status)
			}
			f.finish(f.patch(at, "01").header.Get("Location"), "23", "0123")
		},
		"no-put": func(f fixture) {
			if a := f.pushWith("", []byte("x")); a.status != 400 || !bytes.Contains(a.body, []byte("UNSUPPORTED")) {
				f.t.Errorf("PUT = %d %s, want 400", a.status, a.body)
			}
			f.finish(f.patch(f.upload(), "0123").header.Get("Location"), "", "0123")
		},
		"body-2m": func(f fixture) {
			if a := f.pushWith("", []byte(large)); a.status != 413 {
				f.t.Errorf("PUT = %d, want 413", a.status)
			}
			f.finish(f.upload(), "0123", "0123")
		},
		"min-chunk": func(f fixture) {
			a := do(f.t, f.Server, "POST", repo+"/blobs/uploads/", nil)
			if got := a.header.Get("OCI-Chunk-Min-Length"); got != "5242880" {
				f.t.Errorf("OCI-Chunk-Min-Length = %q", got)
			}
		},
	}
}
