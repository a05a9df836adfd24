package source

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/remote"
)

// maxPages bounds the pages of a list of files.
const maxPages = 10_000

// A huggingFace lists a model of the Hugging Face Hub, by the HTTP API that its
// own clients use (https://huggingface.co/docs/hub/api).
type huggingFace struct {
	client *client
	m      *Model
}

func (h *huggingFace) list(ctx context.Context) error {
	if h.m.Revision == "" {
		h.m.Revision = "main"
	}
	if err := h.resolve(ctx); err != nil {
		return err
	}
	next := h.client.url("/api/models/"+h.m.ID+"/tree/"+h.m.Commit, url.Values{"recursive": {"true"}, "expand": {"false"}})
	for page := 0; next != ""; page++ {
		if page == maxPages {
			return h.broken("list files", "more than %d pages", maxPages)
		}
		was := next
		var err error
		if next, err = h.page(ctx, next); err != nil {
			return err
		}
		if next == was {
			return h.broken("list files", "a page that leads to itself")
		}
	}
	return nil
}

// resolve turns the revision into a commit.
func (h *huggingFace) resolve(ctx context.Context) error {
	var doc struct {
		ID       string `json:"id"`
		SHA      string `json:"sha"`
		CardData struct {
			License any `json:"license"`
		} `json:"cardData"`
		Tags []string `json:"tags"`
	}
	at := h.client.url("/api/models/"+h.m.ID+"/revision/"+url.PathEscape(h.m.Revision), nil)
	if _, err := h.client.document(ctx, request{url: at, fail: h.explain}, &doc); err != nil {
		return err
	}
	if !isHex(doc.SHA, 40) {
		return h.broken("resolve "+h.m.Revision, "%.80q is no commit", doc.SHA)
	}
	if isHex(h.m.Revision, 40) && doc.SHA != h.m.Revision {
		return h.broken("resolve "+h.m.Revision, "the hub answers with commit %s", doc.SHA)
	}
	h.m.Commit = doc.SHA
	// A model that was renamed, or that is spelled otherwise, is asked for by
	// its own name from here on.
	if id, _, err := parseID(doc.ID); err == nil {
		h.m.ID = id
	}
	h.m.Page = h.client.base.String() + "/" + h.m.ID
	h.m.License, _ = doc.CardData.License.(string)
	for _, t := range doc.Tags {
		if l, ok := strings.CutPrefix(t, "license:"); ok && h.m.License == "" {
			h.m.License = l
		}
	}
	h.m.License = remote.CleanText(h.m.License)
	return nil
}

// An entry is one of a tree.
type hfEntry struct {
	Type string `json:"type"`
	Path string `json:"path"`
	OID  string `json:"oid"`
	Size int64  `json:"size"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// page reads one page of the tree and returns where the next is, "" after the
// last.
func (h *huggingFace) page(ctx context.Context, at string) (next string, err error) {
	var entries []hfEntry
	header, err := h.client.document(ctx, request{url: at, fail: h.explain}, &entries)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Type != "file" {
			continue
		}
		f, err := h.file(e)
		if err != nil {
			return "", err
		}
		if len(h.m.Files) == maxFiles {
			return "", h.broken("list files", "more than %d files", maxFiles)
		}
		h.m.Files = append(h.m.Files, f)
	}
	return h.nextPage(at, header)
}

// nextPage reads the Link header (RFC 8288). It must lead to the hub itself, for
// the token goes along.
func (h *huggingFace) nextPage(at string, header http.Header) (string, error) {
	for _, line := range header.Values("Link") {
		for link := range strings.SplitSeq(line, ",") {
			target, params, ok := strings.Cut(strings.TrimSpace(link), ">")
			if !ok || !strings.Contains(params, `rel="next"`) {
				continue
			}
			base, err := url.Parse(at)
			if err != nil {
				return "", err
			}
			u, err := base.Parse(strings.TrimPrefix(target, "<"))
			if err != nil || !h.client.ours(u) || u.User != nil {
				return "", h.broken("list files", "the next page is elsewhere")
			}
			return u.String(), nil
		}
	}
	return "", nil
}

func (h *huggingFace) file(e hfEntry) (File, error) {
	f := File{Path: e.Path, Size: e.Size, blob: e.OID}
	if e.LFS != nil {
		// The object is a pointer then, and not the file.
		f.blob, f.Size, f.Claimed = "", e.LFS.Size, true
		if !isHex(e.LFS.OID, 64) {
			return f, h.broken("list files", "%.80q is no SHA-256", e.LFS.OID)
		}
		f.Digest = digest.NewDigestFromEncoded(digest.SHA256, e.LFS.OID)
	}
	if f.Size < 0 || e.Path == "" || f.blob != "" && !isHex(f.blob, 40) {
		return f, h.broken("list files", "%.200q of %d bytes is no file", e.Path, f.Size)
	}
	d := download{client: h.client, size: f.Size, req: request{
		url:   h.client.url("/"+h.m.ID+"/resolve/"+h.m.Commit+"/"+escapePath(e.Path), nil),
		first: func(header http.Header) error { return h.judge(f, header) },
		fail:  h.explain,
	}}
	f.Open = d.opener(h.client.ahead)
	return f, nil
}

func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// judge compares what the hub says of a file when it is fetched with what it
// said when it was listed.
func (h *huggingFace) judge(f File, header http.Header) error {
	if c := header.Get("X-Repo-Commit"); c != "" && c != h.m.Commit {
		return h.broken("get "+f.Path, "it is of commit %.80q now", c)
	}
	etag := strings.Trim(strings.TrimPrefix(header.Get("X-Linked-Etag"), "W/"), `"`)
	if f.Digest != "" && isHex(etag, 64) && etag != f.Digest.Encoded() {
		return &Error{Op: "get " + f.Path, Text: "the hub has sha256:" + etag + ", and listed " + f.Digest.String(), Class: content.ErrMismatchedDigest}
	}
	if n := header.Get("X-Linked-Size"); n != "" && n != fmt.Sprint(f.Size) {
		return &Error{Op: "get " + f.Path, Text: remote.CleanText("the hub has " + n + " bytes, and listed " + fmt.Sprint(f.Size)), Class: content.ErrMismatchedDigest}
	}
	return nil
}

func (h *huggingFace) broken(op, format string, args ...any) error {
	return broken(op+" of "+h.m.ID, format, args...)
}

// explain gives an answer of the Hub its meaning, which is in X-Error-Code.
// Without one, 401 is what the Hub says of models that do not exist, so that
// nobody learns which private ones do.
func (h *huggingFace) explain(e *Error, _ http.Header) error {
	access := &AccessError{ID: h.m.ID, Page: h.client.base.String() + "/" + h.m.ID, Token: h.client.token != "", Err: e}
	switch {
	case e.Code == "GatedRepo":
		e.Class, access.Gated = remote.ErrForbidden, true
	case e.Code == "RevisionNotFound" || e.Code == "EntryNotFound":
		e.Class = errdef.ErrNotFound
		return e
	case e.Code == "RepoNotFound" || e.Status == http.StatusNotFound:
		e.Class = errdef.ErrNotFound
	case e.Status == http.StatusUnauthorized && !access.Token:
		e.Class = errdef.ErrNotFound
	case errors.Is(e, remote.ErrProtocol):
		return e
	}
	return access
}

func isHex(s string, n int) bool {
	if len(s) != n || strings.ToLower(s) != s {
		return false
	}
	_, err := hex.DecodeString(s)
	return err == nil
}
