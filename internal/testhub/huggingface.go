package testhub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// A failure is an answer that is no success.
type failure struct {
	status  int
	code    string // X-Error-Code
	message string
	commit  string
}

func (f failure) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if f.code != "" {
		h.Set("X-Error-Code", f.code)
	}
	if f.commit != "" {
		h.Set("X-Repo-Commit", f.commit)
	}
	h.Set("X-Error-Message", f.message)
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": f.message})
}

// serve is the hub. Paths are taken apart before they are unescaped: a branch
// may have slashes in its name.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var seg []string
	for part := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		text, err := url.PathUnescape(part)
		if err != nil {
			failure{status: 400, message: "bad path"}.write(w)
			return
		}
		seg = append(seg, text)
	}
	switch {
	case len(seg) >= 5 && seg[0] == "api" && seg[1] == "v1":
		s.serveModelScope(w, r, seg[3:])
	case len(seg) >= 4 && seg[0] == "api" && seg[1] == "models":
		s.serveAPI(w, r, seg[2:])
	case len(seg) >= 5 && seg[2] == "resolve":
		s.serveFile(w, r, seg)
	default:
		failure{status: 404, message: "Sorry, we can't find the page you are looking for."}.write(w)
	}
}

// open finds the model that a request names and judges its token.
func (s *Server) open(w http.ResponseWriter, r *http.Request, id string, content bool) *model {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	m := s.models[id]
	switch known := token != "" && token == s.opts.Token; {
	case token != "" && !known:
		failure{status: 401, message: "Invalid credentials in Authorization header"}.write(w)
	case m == nil && known:
		failure{status: 404, code: "RepoNotFound", message: "Repository not found"}.write(w)
	case m == nil || m.private && !known:
		// The Hub sends no code here.
		failure{status: 401, message: "Repository not found"}.write(w)
	case m.gated && content && !known:
		failure{status: 401, code: "GatedRepo", message: "Access to model " + id + " is restricted. You must have access to it and be authenticated to access it. Please log in."}.write(w)
	default:
		return m
	}
	return nil
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, seg []string) {
	m := s.open(w, r, seg[0]+"/"+seg[1], false)
	if m == nil {
		return
	}
	what, revision := "revision", "main"
	if len(seg) > 3 {
		what, revision = seg[2], seg[3]
	}
	commit, ok := m.commitOf(revision)
	if !ok {
		failure{status: 404, code: "RevisionNotFound", message: "Invalid rev id: " + revision}.write(w)
		return
	}
	switch what {
	case "revision":
		s.writeInfo(w, m, commit)
	case "tree":
		s.writeTree(w, r, m, commit)
	default:
		failure{status: 404, message: "no such call"}.write(w)
	}
}

func (s *Server) writeInfo(w http.ResponseWriter, m *model, commit string) {
	type sibling struct {
		Name string `json:"rfilename"`
	}
	siblings := []sibling{}
	for _, p := range sortedPaths(m.commits[commit]) {
		siblings = append(siblings, sibling{p})
	}
	var gated any = false
	if m.gated {
		gated = "manual"
	}
	writeJSON(w, map[string]any{
		"_id": "0123456789abcdef01234567", "id": m.id, "modelId": m.id, "sha": commit,
		"lastModified": "2026-01-02T03:04:05.000Z", "createdAt": "2026-01-02T03:04:05.000Z",
		"private": m.private, "gated": gated, "disabled": false, "downloads": 0, "likes": 0,
		"tags": []string{"license:" + m.license}, "cardData": map[string]any{"license": m.license},
		"siblings": siblings,
	})
}

// An entry is one of a tree.
type entry struct {
	Type string `json:"type"`
	OID  string `json:"oid"`
	Size int    `json:"size"`
	Path string `json:"path"`
	LFS  *lfs   `json:"lfs,omitempty"`
}

type lfs struct {
	OID     string `json:"oid"`
	Size    int    `json:"size"`
	Pointer int    `json:"pointerSize"`
}

func (s *Server) writeTree(w http.ResponseWriter, r *http.Request, m *model, commit string) {
	files := m.commits[commit]
	list := []entry{}
	dirs := map[string]bool{}
	for _, p := range sortedPaths(files) {
		for d := path.Dir(p); d != "." && !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
			list = append(list, entry{Type: "directory", OID: gitBlob([]byte(d)), Path: d})
		}
		o := files[p]
		e := entry{Type: "file", OID: o.git, Size: len(o.data), Path: p}
		if len(o.data) >= s.opts.LFS {
			e.OID = gitBlob(o.pointer())
			e.LFS = &lfs{OID: o.sha256, Size: len(o.data), Pointer: len(o.pointer())}
		}
		list = append(list, e)
	}
	if size := s.opts.PageSize; size > 0 {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		list = list[min(from, len(list)):]
		if len(list) > size {
			list = list[:size]
			next := *r.URL
			q := next.Query()
			q.Set("cursor", fmt.Sprint(from+size))
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?%s>; rel="next"`, r.Host, next.EscapedPath(), q.Encode()))
		}
	}
	writeJSON(w, list)
}

func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, seg []string) {
	m := s.open(w, r, seg[0]+"/"+seg[1], true)
	if m == nil {
		return
	}
	commit, ok := m.commitOf(seg[3])
	if !ok {
		failure{status: 404, code: "RevisionNotFound", message: "Invalid rev id: " + seg[3]}.write(w)
		return
	}
	name := strings.Join(seg[4:], "/")
	o, ok := m.commits[commit][name]
	if !ok {
		failure{status: 404, code: "EntryNotFound", message: "Entry not found", commit: commit}.write(w)
		return
	}
	h := w.Header()
	h.Set("X-Repo-Commit", commit)
	if len(o.data) >= s.opts.LFS {
		h.Set("X-Linked-Size", fmt.Sprint(len(o.data)))
		h.Set("X-Linked-Etag", `"`+o.sha256+`"`)
		h.Set("Location", s.sign(o.sha256))
		w.WriteHeader(http.StatusFound)
		return
	}
	h.Set("Etag", `"`+o.git+`"`)
	serveBytes(w, r, s.objects[o.sha256])
}

// sign makes a URL of the store.
func (s *Server) sign(oid string) string {
	s.serial++
	sig := fmt.Sprint(s.serial)
	s.signed[sig] = 0
	return s.Store.URL + "/objects/" + oid + "?X-Signature=" + sig
}

// serveObject is the store.
func (s *Server) serveObject(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	sig := r.URL.Query().Get("X-Signature")
	used, ok := s.signed[sig]
	s.signed[sig] = used + 1
	b, found := s.objects[path.Base(r.URL.Path)]
	s.mu.Unlock()
	switch {
	case !ok || s.opts.URLUses > 0 && used >= s.opts.URLUses:
		http.Error(w, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", http.StatusForbidden)
	case !found:
		http.NotFound(w, r)
	default:
		w.Header().Set("Etag", `"not the digest"`)
		serveBytes(w, r, b)
	}
}

func serveBytes(w http.ResponseWriter, r *http.Request, b []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}
