package testhub

import (
	"net/http"
	"path"
)

// serveModelScope answers /api/v1/models/ORG/NAME/repo and …/repo/files.
func (s *Server) serveModelScope(w http.ResponseWriter, r *http.Request, seg []string) {
	m := s.models[seg[0]+"/"+seg[1]]
	if m == nil || m.private && r.Header.Get("Authorization") != "Bearer "+s.opts.Token {
		w.WriteHeader(http.StatusNotFound)
		writeJSON(w, map[string]any{"Code": 10010205001, "Message": "Model not found", "Success": false})
		return
	}
	q := r.URL.Query()
	commit, ok := m.commitOf(q.Get("Revision"))
	switch files := m.commits[commit]; {
	case len(seg) == 4 && !ok:
		// The API says success here, with no files.
		s.writeScope(w, nil, "")
	case len(seg) == 4:
		s.writeScope(w, files, commit)
	default:
		o, found := files[q.Get("FilePath")]
		if !found {
			http.Error(w, "no such file", http.StatusNotFound)
			return
		}
		serveBytes(w, r, s.objects[o.sha256])
	}
}

func (s *Server) writeScope(w http.ResponseWriter, files map[string]object, commit string) {
	type file struct {
		Name, Path, Type, Sha256, Revision string
		Size                               int
		IsLFS                              bool
	}
	var list []file
	for _, p := range sortedPaths(files) {
		o := files[p]
		list = append(list, file{
			Name: path.Base(p), Path: p, Type: "blob", Sha256: o.sha256, Revision: commit,
			Size: len(o.data), IsLFS: len(o.data) >= s.opts.LFS,
		})
	}
	data := map[string]any{"Files": list, "IsVisual": 0, "LatestCommitter": nil}
	if commit != "" {
		data["LatestCommitter"] = map[string]any{"Id": "", "ShortId": commit[:8]}
	}
	writeJSON(w, map[string]any{"Code": 200, "Data": data, "Message": "success", "RequestId": "1", "Success": true})
}
