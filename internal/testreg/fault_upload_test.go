package testreg_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// sendsTo wants a redirect of the blob to a place that is built of the names of
// hosts.
func sendsTo(want string) check {
	return func(f fixture) {
		f.t.Helper()
		place := strings.NewReplacer("{sink}", f.Sink.URL, "{host}", f.Sink.Host, "{path}", f.blob).Replace(want)
		if a := f.get(f.blob); a.status != 307 || a.header.Get("Location") != place {
			f.t.Errorf("answer = %d to %q, want 307 to %q", a.status, a.header.Get("Location"), place)
		}
	}
}

func placeChecks() map[string]check {
	return map[string]check{
		"redirect-sink": func(f fixture) {
			sendsTo("{sink}{path}")(f)
			// There it is, and a credential sent along is noted.
			a := do(f.t, f.Server, "GET", f.Sink.URL+f.blob, map[string]string{"Authorization": "Bearer secret"})
			if !bytes.Equal(a.body, f.data) {
				f.t.Error("the sink does not serve the blob")
			}
			if got := f.Sink.Credentials(); len(got) != 1 || !strings.Contains(got[0], "secret") {
				f.t.Errorf("the sink noted %q", got)
			}
		},
		"redirect-http":      sendsTo("{sink}{path}"),
		"redirect-loop":      sendsTo("{path}"),
		"redirect-userinfo":  sendsTo("http://user:secret@{host}{path}"),
		"redirect-linklocal": sendsTo("http://169.254.169.254{path}"),
		"redirect-file":      func(f fixture) { sendsTo("file:///etc/passwd")(f) },
		"location-sink": func(f fixture) {
			a := do(f.t, f.Server, "POST", repo+"/blobs/uploads/", nil)
			if got := a.header.Get("Location"); a.status != 202 || !strings.HasPrefix(got, f.Sink.URL+"/v2/") {
				f.t.Errorf("POST = %d to %q, want the sink", a.status, got)
			}
		},
		"link-sink": func(f fixture) {
			if got := f.get(repo + "/tags/list").header.Get("Link"); !strings.HasPrefix(got, "<"+f.Sink.URL) {
				f.t.Errorf("Link = %q, want the sink", got)
			}
		},
		"link-loop": func(f fixture) {
			first := f.get(repo + "/tags/list")
			second := f.get(nextOf(first))
			if nextOf(first) == "" || nextOf(first) != nextOf(second) || !bytes.Equal(first.body, second.body) {
				f.t.Errorf("next = %q, and then %q", nextOf(first), nextOf(second))
			}
		},
	}
}

func nextOf(a answer) string {
	next, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	return next
}

func realmOf(a answer) string {
	_, rest, _ := strings.Cut(a.header.Get("Www-Authenticate"), `realm="`)
	realm, _, _ := strings.Cut(rest, `"`)
	return realm
}

// asksFor wants a challenge that names a token server.
func asksFor(realm string) check {
	return func(f fixture) {
		f.t.Helper()
		want := strings.ReplaceAll(realm, "{sink}", f.Sink.URL)
		if a := f.get(f.blob); a.status != 401 || realmOf(a) != want {
			f.t.Errorf("answer = %d with realm %q, want 401 with %q", a.status, realmOf(a), want)
		}
		if a := do(f.t, f.Server, "GET", f.blob, map[string]string{"Authorization": "Bearer x"}); a.status != 200 {
			f.t.Errorf("answer with a token = %d, want 200", a.status)
		}
	}
}

// token gets one from the server that the challenge names.
func (f fixture) token() string {
	f.t.Helper()
	a := f.get(realmOf(f.get("/v2/")))
	var body struct{ Token string }
	if err := json.Unmarshal(a.body, &body); err != nil || body.Token == "" {
		f.t.Fatalf("token server = %d %s", a.status, a.body)
	}
	return body.Token
}

func (f fixture) statusWith(token string) int {
	f.t.Helper()
	return do(f.t, f.Server, "GET", f.blob, map[string]string{"Authorization": "Bearer " + token}).status
}

func authChecks() map[string]check {
	return map[string]check{
		"realm-sink":       asksFor("{sink}/token"),
		"realm-http":       asksFor("{sink}/token"),
		"realm-ip-decimal": asksFor("http://2130706433/token"),
		"realm-ip-hex":     asksFor("http://0x7f000001/token"),
		"realm-ip-mapped":  asksFor("http://[::ffff:127.0.0.1]/token"),
		"realm-linklocal":  asksFor("http://169.254.169.254/token"),
		"token-3": func(f fixture) {
			token := f.token()
			for i, want := range []int{200, 200, 200, 401, 401} {
				if got := f.statusWith(token); got != want {
					f.t.Errorf("use %d of the token = %d, want %d", i+1, got, want)
				}
			}
			if got := f.statusWith(f.token()); got != 200 {
				f.t.Errorf("a new token = %d, want 200", got)
			}
			if got := f.statusWith("made-up"); got != 401 {
				f.t.Errorf("a made-up token = %d, want 401", got)
			}
		},
		"401-forever": func(f fixture) {
			for range 3 {
				if got := f.statusWith(f.token()); got != 401 {
					f.t.Errorf("answer with a fresh token = %d, want 401", got)
				}
			}
		},
		"401-after-body": func(f fixture) {
			token := f.token()
			for i, want := range []int{401, 201} {
				a := f.pushWith(token, []byte("weights"))
				if a.status != want {
					f.t.Errorf("upload %d = %d, want %d", i+1, a.status, want)
				}
			}
			log := f.Requests()
			for _, r := range log {
				if r.Rule == "401-after-body" && r.BytesIn != int64(len("weights")) {
					f.t.Errorf("%d bytes of the body were read, want all", r.BytesIn)
				}
			}
		},
		"endless-token": endless("/token"),
		"token-redirect": func(f fixture) {
			if a := f.get(realmOf(f.get("/v2/"))); a.status != 307 || !strings.HasPrefix(a.header.Get("Location"), f.Sink.URL) {
				f.t.Errorf("token server = %d to %q, want 307 to the sink", a.status, a.header.Get("Location"))
			}
		},
	}
}

// pushWith uploads a blob in one piece.
func (f fixture) pushWith(token string, data []byte) answer {
	f.t.Helper()
	header := map[string]string{"Authorization": "Bearer " + token}
	a := send(f.t, f.Server, "POST", repo+"/blobs/uploads/", header, nil)
	if a.status != 202 {
		return a
	}
	return send(f.t, f.Server, "PUT", a.header.Get("Location")+"&digest="+digest.FromBytes(data).String(), header, bytes.NewReader(data))
}

// upload starts one and returns where to go on.
func (f fixture) upload() string {
	f.t.Helper()
	a := do(f.t, f.Server, "POST", repo+"/blobs/uploads/", nil)
	if a.status != 202 {
		f.t.Fatalf("POST = %d %s", a.status, a.body)
	}
	return a.header.Get("Location")
}

func (f fixture) patch(location, chunk string) answer {
	f.t.Helper()
	return send(f.t, f.Server, "PATCH", location, nil, strings.NewReader(chunk))
}

// finish ends an upload and wants it to be the blob data.
func (f fixture) finish(location, rest, data string) {
	f.t.Helper()
	dgst := digest.FromString(data)
	a := send(f.t, f.Server, "PUT", location+"&digest="+dgst.String(), nil, strings.NewReader(rest))
	if a.status != 201 {
		f.t.Errorf("PUT = %d %s %v, want 201", a.status, a.body, a.err)
	}
	if a := f.get(repo + "/blobs/" + dgst.String()); string(a.body) != data {
		f.t.Errorf("blob = %q, want %q", a.body, data)
	}
}

// standsAt asks how far an upload is, and wants a Range.
func (f fixture) standsAt(location, want string) answer {
	f.t.Helper()
	a := f.get(location)
	if a.status != 204 || a.header.Get("Range") != want {
		f.t.Errorf("upload = %d at %q, want 204 at %q", a.status, a.header.Get("Range"), want)
	}
	return a
}

func uploadChecks() map[string]check {
	gone := func(f fixture, location string) {
		f.t.Helper()
		if a := f.patch(location, "more"); a.status != 404 || !bytes.Contains(a.body, []byte("BLOB_UPLOAD_UNKNOWN")) {
			f.t.Errorf("PATCH = %d %s, want 404", a.status, a.body)
		}
		if a := f.get(location); a.status != 404 {
			f.t.Errorf("the session still is there: %d", a.status)
		}
	}
	return map[string]check{
		"forget-upload": func(f fixture) { gone(f, f.upload()) },
		"forget-upload@2": func(f fixture) {
			a := f.patch(f.upload(), "first")
			if a.status != 202 {
				f.t.Errorf("first PATCH = %d, want 202", a.status)
			}
			gone(f, a.header.Get("Location"))
		},
		"patch-416": func(f fixture) {
			a := f.patch(f.upload(), "0123")
			if a.status != 416 || a.header.Get("Range") != "0-0" {
				f.t.Errorf("PATCH = %d at %q, want 416 at the start", a.status, a.header.Get("Range"))
			}
			f.finish(a.header.Get("Location"), "0123", "0123")
		},
		"patch-part": func(f fixture) {
			a := f.patch(f.upload(), "0123")
			if a.status != 202 || a.header.Get("Range") != "0-0" {
				f.t.Errorf("PATCH = %d at %q, want 202 after one byte", a.status, a.header.Get("Range"))
			}
			f.finish(a.header.Get("Location"), "123", "0123")
		},
		"patch-overclaim": func(f fixture) {
			a := f.patch(f.upload(), "0123")
			if a.status != 202 || a.header.Get("Range") != "0-4" {
				f.t.Errorf("PATCH = %d at %q, want 202 at 0-4", a.status, a.header.Get("Range"))
			}
			f.standsAt(a.header.Get("Location"), "0-3")
		},
		"patch-cut": func(f fixture) {
			location := f.upload()
			if a := f.patch(location, strings.Repeat("x", 1000)); a.err == nil {
				f.t.Errorf("PATCH = %d, want a broken connection", a.status)
			}
			a := f.standsAt(location, "0-0")
			f.finish(a.header.Get("Location"), "y", "xy")
		},
		"digest-refused": func(f fixture) {
			if a := f.pushWith("", []byte("x")); a.status != 400 || !bytes.Contains(a.body, []byte("DIGEST_INVALID")) {
				f.t.Errorf("PUT = %d %s, want 400", a.status, a.body)
			}
		},
		"slow-commit":          func(f fixture) { f.finish(f.upload(), "x", "x") },
		"commit-drop-blob":     dropped(repo+"/blobs/"+digest.FromString("x").String(), fixture.putBlob),
		"commit-drop-manifest": dropped("", fixture.putByDigest),
		"commit-drop-tag":      dropped(repo+"/manifests/v2", func(f fixture) answer { return f.putAgain("v2") }),
	}
}

func (f fixture) putBlob() answer { return f.pushWith("", []byte("x")) }

func (f fixture) putByDigest() answer { return f.putAgain(digest.FromBytes(f.changed()).String()) }

// changed is a manifest that the registry does not have yet.
func (f fixture) changed() []byte {
	return bytes.Replace(f.raw, []byte("x-model"), []byte("x-other"), 1)
}

func (f fixture) putAgain(ref string) answer {
	f.t.Helper()
	return send(f.t, f.Server, "PUT", repo+"/manifests/"+ref,
		map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, bytes.NewReader(f.changed()))
}

// dropped wants a write to be lost on the way back, and yet done.
func dropped(path string, write func(fixture) answer) check {
	return func(f fixture) {
		f.t.Helper()
		if path == "" {
			path = repo + "/manifests/" + digest.FromBytes(f.changed()).String()
		}
		if a := f.get(path); a.status != 404 {
			f.t.Fatalf("GET before = %d, want 404", a.status)
		}
		if a := write(f); a.err == nil {
			f.t.Errorf("answer = %d, want a broken connection", a.status)
		}
		if a := f.get(path); a.status != 200 {
			f.t.Errorf("GET after = %d, want 200", a.status)
		}
		if a := write(f); a.err != nil || a.status != http.StatusCreated {
			f.t.Errorf("second try = %d, %v; want 201", a.status, a.err)
		}
	}
}

func listChecks() map[string]check {
	return map[string]check{
		"no-referrers": func(f fixture) {
			subject := strings.TrimPrefix(f.manifest, repo+"/manifests/")
			if a := f.get(repo + "/referrers/" + subject); a.status != 404 {
				f.t.Errorf("referrers API = %d, want 404", a.status)
			}
			tag := repo + "/manifests/" + strings.Replace(subject, ":", "-", 1)
			if a := f.get(tag); a.status != 200 || !bytes.Contains(a.body, []byte(f.referrer.Digest)) {
				f.t.Errorf("tag = %d %s, want the referrer", a.status, a.body)
			}
			raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ocispec.MediaTypeImageIndex)
			header := map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}
			if a := send(f.t, f.Server, "PUT", tag, header, bytes.NewReader(raw)); a.status != 201 {
				f.t.Errorf("PUT tag = %d, want 201", a.status)
			}
			if a := f.get(tag); !bytes.Equal(a.body, raw) {
				f.t.Errorf("tag = %s, want it as the client left it", a.body)
			}
		},
		"fallback-is-subject": func(f fixture) {
			if a := f.get(strings.Replace(f.manifest, "sha256:", "sha256-", 1)); !bytes.Equal(a.body, f.raw) {
				f.t.Errorf("tag = %d %s, want the subject", a.status, a.body)
			}
		},
		"endless-tags": func(f fixture) { neverEnds(f, repo+"/tags/list") },
		"endless-referrers": func(f fixture) {
			neverEnds(f, repo+"/referrers/"+strings.TrimPrefix(f.manifest, repo+"/manifests/"))
		},
	}
}

// neverEnds wants a next page behind each page, and each another.
func neverEnds(f fixture, next string) {
	f.t.Helper()
	seen := map[string]bool{}
	for range 200 {
		a := f.get(next)
		if a.status != 200 || seen[next] || nextOf(a) == "" {
			f.t.Fatalf("%s = %d, next %q; want a new page each time", next, a.status, nextOf(a))
		}
		seen[next] = true
		next = nextOf(a)
	}
}
