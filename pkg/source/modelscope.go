package source

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/remote"
)

// A modelScope lists a model of ModelScope, by the HTTP API that its own client
// uses.
//
// The list of files has the beginning of the last commit's name, and for each
// file the commit that changed it last. Files are fetched by those: that is what
// pins them.
type modelScope struct {
	client *client
	m      *Model
}

type msFiles struct {
	Code    int    `json:"Code"`
	Success *bool  `json:"Success"`
	Message string `json:"Message"`
	Data    struct {
		Files           []msFile `json:"Files"`
		LatestCommitter *struct {
			ID      string `json:"Id"`
			ShortID string `json:"ShortId"`
		} `json:"LatestCommitter"`
	} `json:"Data"`
}

type msFile struct {
	Path     string `json:"Path"`
	Type     string `json:"Type"`
	Size     int64  `json:"Size"`
	SHA256   string `json:"Sha256"`
	Revision string `json:"Revision"`
}

func (s *modelScope) list(ctx context.Context) error {
	if s.m.Revision == "" {
		s.m.Revision = "master"
	}
	s.client.dress = func(h http.Header, token string) {
		bearer(h, token)
		h.Set("Cookie", "m_session_id="+url.QueryEscape(token)) // what its own client sends
	}
	s.m.Page = s.client.base.String() + "/models/" + s.m.ID
	var doc msFiles
	at := s.client.url("/api/v1/models/"+s.m.ID+"/repo/files", url.Values{"Revision": {s.m.Revision}, "Recursive": {"true"}})
	if _, err := s.client.document(ctx, request{url: at, fail: s.explain}, &doc); err != nil {
		return err
	}
	if doc.Code != http.StatusOK || doc.Success != nil && !*doc.Success {
		e := &Error{Op: "list files of " + s.m.ID, Text: remote.CleanText(doc.Message), Class: remote.ErrProtocol}
		if doc.Code == http.StatusNotFound {
			e.Class = errdef.ErrNotFound
		}
		return e
	}
	if len(doc.Data.Files) == 0 {
		// An empty list is the answer for a revision that there is not.
		return &Error{Op: "list files of " + s.m.ID, Text: remote.CleanText("no revision " + s.m.Revision), Class: errdef.ErrNotFound}
	}
	if len(doc.Data.Files) > maxFiles {
		return s.broken("more than %d files", maxFiles)
	}
	for _, f := range doc.Data.Files {
		if f.Type == "tree" {
			continue
		}
		if err := s.add(f); err != nil {
			return err
		}
	}
	return s.pin(doc)
}

func (s *modelScope) add(e msFile) error {
	f := File{Path: e.Path, Size: e.Size}
	if e.SHA256 != "" {
		if !isHex(e.SHA256, 64) {
			return s.broken("%.80q is no SHA-256", e.SHA256)
		}
		f.Digest, f.Claimed = digest.NewDigestFromEncoded(digest.SHA256, e.SHA256), true
	}
	if e.Path == "" || e.Size < 0 {
		return s.broken("%.200q of %d bytes is no file", e.Path, e.Size)
	}
	revision := e.Revision
	if !isHex(revision, 40) {
		revision = s.m.Revision
	}
	f.Open = download{client: s.client, size: f.Size, req: request{
		url:  s.client.url("/api/v1/models/"+s.m.ID+"/repo", url.Values{"Revision": {revision}, "FilePath": {e.Path}}),
		fail: s.explain,
	}}.opener(s.client.ahead)
	s.m.Files = append(s.m.Files, f)
	return nil
}

// pin finds the name of the last commit.
func (s *modelScope) pin(doc msFiles) error {
	short := ""
	if c := doc.Data.LatestCommitter; c != nil {
		short = c.ShortID
		if isHex(c.ID, 40) {
			s.m.Commit = c.ID
			return nil
		}
	}
	if isHex(s.m.Revision, 40) {
		s.m.Commit = s.m.Revision
		return nil
	}
	if len(short) < 7 || strings.Trim(short, "0123456789abcdef") != "" {
		return s.broken("the last commit %.80q has no name", short)
	}
	s.m.Commit = short
	for _, f := range doc.Data.Files {
		if isHex(f.Revision, 40) && strings.HasPrefix(f.Revision, short) {
			s.m.Commit = f.Revision
		}
	}
	return nil
}

func (s *modelScope) broken(format string, args ...any) error {
	return broken("list files of "+s.m.ID, format, args...)
}

func (s *modelScope) explain(e *Error, _ http.Header) error {
	if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusNotFound {
		return &AccessError{ID: s.m.ID, Page: s.m.Page, Token: s.client.token != "", Err: e}
	}
	return e
}
