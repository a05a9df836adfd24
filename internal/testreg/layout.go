package testreg

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A layout serves an OCI image layout as it lies there. It believes its
// documents: a blob is what the file named by the digest holds, whatever that
// hashes to.
type layout struct {
	root *os.Root
	tags map[string]ocispec.Descriptor
}

func openLayout(dir string) (*layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	l := &layout{root: root, tags: make(map[string]ocispec.Descriptor)}
	raw, err := root.ReadFile("index.json")
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("open layout: %w", err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("read index.json: %w", err)
	}
	for _, desc := range index.Manifests {
		tag := desc.Annotations[ocispec.AnnotationRefName]
		if tag == "" {
			tag = "latest"
		}
		l.tags[tag] = desc
	}
	return l, nil
}

// ServeHTTP answers the pulling half of the protocol.
func (l *layout) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/v2/" {
		_, _ = io.WriteString(w, "{}")
		return
	}
	if name, ok := strings.CutSuffix(r.URL.Path, "/tags/list"); ok {
		l.serveTags(w, strings.TrimPrefix(name, "/v2/"))
		return
	}
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) < 5 {
		http.NotFound(w, r)
		return
	}
	ref := parts[len(parts)-1]
	switch parts[len(parts)-2] {
	case "manifests":
		l.serveManifest(w, r, ref)
	case "blobs":
		l.serveFile(w, r, "application/octet-stream", ref)
	default:
		http.NotFound(w, r)
	}
}

func (l *layout) serveTags(w http.ResponseWriter, name string) {
	tags := []string{}
	for tag := range l.tags {
		tags = append(tags, tag)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": name, "tags": tags})
}

func (l *layout) serveManifest(w http.ResponseWriter, r *http.Request, ref string) {
	mediaType := ocispec.MediaTypeImageManifest
	for tag, desc := range l.tags {
		if ref != tag && ref != string(desc.Digest) {
			continue
		}
		ref = string(desc.Digest)
		if desc.MediaType != "" {
			mediaType = desc.MediaType
		}
		break
	}
	l.serveFile(w, r, mediaType, ref)
}

func (l *layout) serveFile(w http.ResponseWriter, r *http.Request, mediaType, dgst string) {
	algorithm, hex, ok := strings.Cut(dgst, ":")
	if !ok {
		http.NotFound(w, r)
		return
	}
	f, err := l.root.Open("blobs/" + algorithm + "/" + hex)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", dgst)
	http.ServeContent(w, r, "", fi.ModTime(), f)
}
