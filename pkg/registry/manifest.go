package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxManifest is the size up to which the specification asks registries to take
// manifests ("Pushing Manifests"), and Distribution's own limit.
const maxManifest = 4 << 20

// maxListed bounds the annotations of one manifest that are repeated in a list
// of referrers. A manifest with more is listed without them.
const maxListed = 64 << 10

// A document is what this package reads of a manifest or an index.
type document struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

// parseDocument reads a manifest. Keys are told by their case and must not
// come twice: what this package sees is what every other reader must see.
func parseDocument(raw []byte) (document, error) {
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return document{}, fmt.Errorf("parse manifest: %w", err)
	}
	if doc.Subject != nil {
		if err := doc.Subject.Digest.Validate(); err != nil {
			return document{}, fmt.Errorf("parse subject: %w", err)
		}
	}
	return doc, nil
}

// subject returns the digest that the document refers to, or "".
func (d document) subject() digest.Digest {
	if d.Subject == nil {
		return ""
	}
	return d.Subject.Digest
}

// descriptor describes the document as a list of referrers must (OCI
// Distribution Specification, "Listing Referrers"): the artifactType, or the
// media type of the config where there is none, and the annotations.
func (d document) descriptor(mediaType string, raw []byte) ocispec.Descriptor {
	desc := ocispec.Descriptor{
		MediaType:    mediaType,
		Digest:       digest.FromBytes(raw),
		Size:         int64(len(raw)),
		ArtifactType: d.ArtifactType,
	}
	if desc.ArtifactType == "" && d.Config != nil {
		desc.ArtifactType = d.Config.MediaType
	}
	var size int
	for key, value := range d.Annotations {
		size += len(key) + len(value)
	}
	if size > 0 && size <= maxListed {
		desc.Annotations = d.Annotations
	}
	return desc
}

func canRefer(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == ocispec.MediaTypeImageIndex
}

// putManifest answers PUT /v2/<name>/manifests/<reference>.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, rt route) {
	raw, err := readManifest(w, req)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		writeError(w, http.StatusRequestEntityTooLarge, codeSizeInvalid, "manifests are limited to 4 MiB")
		return
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, codeManifestInvalid, "the manifest did not arrive whole")
		return
	}
	doc, err := parseDocument(raw)
	if err != nil {
		writeError(w, http.StatusBadRequest, codeManifestInvalid, err.Error())
		return
	}
	p := put{
		Registry:  r,
		req:       req,
		rt:        rt,
		raw:       raw,
		doc:       doc,
		mediaType: mediaTypeOf(req),
	}
	p.serve(w)
}

// mediaTypeOf returns the Content-Type without its parameters.
func mediaTypeOf(req *http.Request) string {
	mediaType, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

func readManifest(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	if req.ContentLength > maxManifest {
		w.Header().Set("Connection", "close") // the body is not read
		return nil, &http.MaxBytesError{Limit: maxManifest}
	}
	return io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
}

// A put is one manifest on its way in.
type put struct {
	*Registry
	req       *http.Request
	rt        route
	raw       []byte
	doc       document
	mediaType string
}

func (p put) serve(w http.ResponseWriter) {
	refers := p.doc.subject() != "" && canRefer(p.mediaType)
	listed := isReferrersTag(p.rt.ref)
	if !refers && !listed {
		p.app.ServeHTTP(w, p.request(p.req.URL.Path))
		return
	}
	defer p.locks.lock(p.rt.name)()
	answer, err := p.store(refers, listed)
	if err != nil {
		p.fail(w, err)
		return
	}
	answer.writeTo(w)
}

// store keeps the manifest and then puts it on the list of its subject. If the
// second fails the client is told so and tries again, while the other order
// could list what is not there. That the list has room is seen first.
func (p put) store(refers, listed bool) (*recorder, error) {
	var l list
	var grown []byte
	var err error
	if refers {
		if l, grown, err = p.growList(); err != nil {
			return nil, err
		}
	}
	var answer *recorder
	if listed {
		answer, err = p.putList()
	} else {
		answer = p.forward(p.req.URL.Path)
	}
	if err != nil || !refers || answer.status != http.StatusCreated {
		return answer, err
	}
	answer.header.Set("OCI-Subject", p.doc.subject().String())
	return answer, l.storeRaw(grown)
}

// growList returns the list of the subject, and what it is to become.
func (p put) growList() (list, []byte, error) {
	l, err := p.openList(p.req.Context(), p.rt.name, referrersTag(p.doc.subject()))
	if err != nil {
		return list{}, nil, err
	}
	grown, err := encodeList(l.with(p.doc.descriptor(p.mediaType, p.raw)))
	return l, grown, err
}

// putList takes a client's own list of referrers. It is stored under its digest
// as it came; the tag then points to it only if it misses nothing, and else to
// a list of both.
func (p put) putList() (*recorder, error) {
	if p.mediaType != ocispec.MediaTypeImageIndex {
		return nil, &refusal{http.StatusBadRequest, codeManifestInvalid, "a referrers tag takes an image index"}
	}
	dgst := digest.FromBytes(p.raw)
	answer := p.forward("/v2/" + p.rt.name + "/manifests/" + dgst.String())
	if answer.status != http.StatusCreated {
		return answer, nil
	}
	l, err := p.openList(p.req.Context(), p.rt.name, p.rt.ref)
	if err != nil {
		return nil, err
	}
	return answer, l.merge(p.raw, p.doc.Manifests)
}

// request returns the request for path, with the body that was read.
func (p put) request(path string) *http.Request {
	req := p.req.Clone(p.req.Context())
	req.URL.Path, req.URL.RawPath = path, ""
	req.Body = io.NopCloser(bytes.NewReader(p.raw))
	req.ContentLength = int64(len(p.raw))
	return req
}

func (p put) forward(path string) *recorder {
	answer := newRecorder()
	p.app.ServeHTTP(answer, p.request(path))
	return answer
}
