package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Capabilities is what a registry was found able to do.
type Capabilities struct {
	Referrers    bool  `json:"referrers"`    // has the referrers API
	OCISubject   bool  `json:"ociSubject"`   // says so when a referrer is pushed
	Ranges       bool  `json:"ranges"`       // gives parts of blobs
	Mount        bool  `json:"mount"`        // links blobs between repositories
	Chunked      bool  `json:"chunked"`      // takes a blob in several PATCHes
	MinChunk     int64 `json:"minChunk"`     // the least it wants in one, 0 if it does not say
	UploadStatus bool  `json:"uploadStatus"` // tells how much of an upload it has
	DeleteTag    bool  `json:"deleteTag"`    // removes tags
	DeleteDigest bool  `json:"deleteDigest"` // removes manifests
	DeleteBlob   bool  `json:"deleteBlob"`   // removes blobs
	Catalog      bool  `json:"catalog"`      // lists its repositories
	TagCAS       bool  `json:"tagCAS"`       // honours If-Match when a tag is written
	DigestHeader bool  `json:"digestHeader"` // sends Docker-Content-Digest
	MaxManifest  int64 `json:"maxManifest"`  // the largest manifest it took of those tried
}

// cleanTimeout bounds the removal of what a probe left.
const cleanTimeout = 30 * time.Second

// Probe finds out what the registry can do, by trying it on repositories below
// modelreg-probe under this one. See [Client.Probe].
func (r *Repository) Probe(ctx context.Context) (Capabilities, error) {
	return r.client.Probe(ctx, r.ref.Registry, r.ref.Repository)
}

// Probe finds out what the registry on host can do, by trying it on the
// repositories modelreg-probe/one and modelreg-probe/two, under prefix if that
// is not empty: always the same ones, since many registries list a repository
// for ever. It removes what it wrote where the registry lets it. The error tells why the
// registry could not be tried at all; what it merely cannot do is not an error.
func (c *Client) Probe(ctx context.Context, host, prefix string) (Capabilities, error) {
	base := host + "/" + strings.Trim(prefix+"/modelreg-probe", "/")
	var p prober
	var err error
	if p.repo, err = c.Repository(base + "/one"); err != nil {
		return Capabilities{}, err
	}
	if p.other, err = c.Repository(base + "/two"); err != nil {
		return Capabilities{}, err
	}
	defer p.clean(ctx)
	if err := p.write(ctx); err != nil {
		return Capabilities{}, fmt.Errorf("probe %s: %w", host, err)
	}
	for _, look := range []func(context.Context){
		p.referrers, p.reading, p.mount, p.chunked, p.catalog, p.swap, p.size, p.deletion,
	} {
		look(ctx)
	}
	return p.found, ctx.Err()
}

// A prober is one probe under way.
type prober struct {
	repo, other *Repository
	found       Capabilities

	blob      ocispec.Descriptor
	raw       []byte // the blob
	subject   ocispec.Descriptor
	manifest  []byte               // the subject
	manifests []ocispec.Descriptor // all that were written to repo
}

const probeTag = "probe"

// write puts a small artifact into the scratch repository.
func (p *prober) write(ctx context.Context) error {
	p.raw = []byte(strings.Repeat(rand.Text(), 64))
	p.blob = describe("application/octet-stream", p.raw)
	for _, raw := range [][]byte{p.raw, []byte("{}")} {
		if err := p.repo.Push(ctx, describe("application/octet-stream", raw), bytes.NewReader(raw)); err != nil {
			return err
		}
	}
	var err error
	p.subject, p.manifest, err = p.put(ctx, 0, nil, probeTag)
	return err
}

func describe(mediaType string, raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

// put writes a manifest that is at least size bytes long.
func (p *prober) put(ctx context.Context, size int, subject *ocispec.Descriptor, tags ...string) (ocispec.Descriptor, []byte, error) {
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.modelreg.probe",
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       []ocispec.Descriptor{p.blob},
		Subject:      subject,
		Annotations:  map[string]string{"dev.modelreg.probe": rand.Text()},
	}
	// Annotations of 32 KiB, for a registry may bound each of them.
	for i := 0; i*32<<10 < size; i++ {
		m.Annotations["dev.modelreg.fill."+strconv.Itoa(i)] = strings.Repeat("x", 32<<10)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc := describe(m.MediaType, raw)
	err = p.repo.PushManifest(ctx, desc, raw, tags...)
	if err == nil {
		p.manifests = append(p.manifests, desc)
	}
	return desc, raw, err
}

func (p *prober) referrers(ctx context.Context) {
	desc, raw, err := p.put(ctx, 0, &p.subject)
	if err != nil {
		return
	}
	resp, err := p.repo.putManifest(ctx, putOptions{desc: desc, raw: raw, reference: desc.Digest.String()})
	p.found.OCISubject = err == nil && resp.Header.Get("OCI-Subject") == p.subject.Digest.String()
	all, err := p.repo.referrersByAPI(ctx, p.subject)
	for _, d := range all {
		p.found.Referrers = p.found.Referrers || err == nil && d.Digest == desc.Digest
	}
}

func (p *prober) reading(ctx context.Context) {
	resp, err := p.repo.head(ctx, nil, "/manifests/"+probeTag, true)
	if err == nil {
		drain(resp.Body)
		p.found.DigestHeader = resp.Header.Get(headerDigest) == p.subject.Digest.String()
	}
	resp, err = p.repo.do(ctx, call{
		method: http.MethodGet, path: where(p.blob), want: []int{http.StatusPartialContent},
		header: map[string]string{"Range": "bytes=1-2"},
	})
	if err != nil {
		return
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(io.LimitReader(resp.Body, 3))
	p.found.Ranges = bytes.Equal(got, p.raw[1:3])
}

func (p *prober) mount(ctx context.Context) {
	ok, err := p.other.MountFrom(ctx, p.blob, p.repo.ref.Repository)
	p.found.Mount = ok && err == nil
	if s, ok := p.other.takeSession(p.blob.Digest.String()); ok {
		p.cancel(ctx, s.at)
	}
}

// cancel ends an upload.
func (p *prober) cancel(ctx context.Context, at *url.URL) {
	resp, err := p.repo.do(ctx, call{
		method: http.MethodDelete, url: at, scopes: []string{auth.ActionPull, auth.ActionPush},
		want: []int{http.StatusNoContent, http.StatusAccepted, http.StatusOK},
	})
	if err == nil {
		drain(resp.Body)
	}
}

// chunked sends a blob in two pieces, asks in between how far it is, and
// leaves it unfinished.
func (p *prober) chunked(ctx context.Context) {
	scopes := []string{auth.ActionPull, auth.ActionPush}
	resp, err := p.repo.do(ctx, call{method: http.MethodPost, path: "/blobs/uploads/", scopes: scopes, want: []int{http.StatusAccepted}})
	if err != nil {
		return
	}
	drain(resp.Body)
	p.found.MinChunk, _ = parseCount(resp.Header.Get(headerMinLength))
	u := &upload{repo: p.repo}
	if u.to, err = p.repo.location(resp); err != nil {
		return
	}
	defer func() { p.cancel(ctx, u.to) }()
	for _, span := range []string{"0-9", "10-19"} {
		resp, err := p.repo.do(ctx, call{
			method: http.MethodPatch, url: u.to, body: p.raw[:10], scopes: scopes, want: []int{http.StatusAccepted},
			header: map[string]string{"Content-Type": "application/octet-stream", "Content-Range": span},
		})
		if err != nil {
			return
		}
		drain(resp.Body)
		if to, err := p.repo.location(resp); err == nil {
			u.to = to
		}
	}
	p.found.Chunked = true
	kept, err := u.status(ctx)
	p.found.UploadStatus = err == nil && kept == 20
}

func (p *prober) catalog(ctx context.Context) {
	p.found.Catalog = true
	for _, err := range p.repo.client.Catalog(ctx, p.repo.ref.Registry) {
		p.found.Catalog = err == nil
		return
	}
}

// swap writes the tag under a condition that does not hold, and under one
// that does.
func (p *prober) swap(ctx context.Context) {
	write := func(etag string) error {
		_, err := p.repo.putManifest(ctx, putOptions{
			desc: p.subject, raw: p.manifest, reference: probeTag,
			match: map[string]string{"If-Match": etag},
		})
		return err
	}
	_, _, etag, err := p.repo.manifest(ctx, probeTag)
	if err != nil || etag == "" {
		return
	}
	p.found.TagCAS = conflict(write(`"`+digest.FromString("another").String()+`"`)) && write(etag) == nil
}

// size tries manifests up to the most that anybody reads.
func (p *prober) size(ctx context.Context) {
	p.found.MaxManifest = p.subject.Size
	for _, kib := range []int{256, 1 << 10, 2 << 10, 4<<10 - 64} {
		desc, _, err := p.put(ctx, kib<<10, nil)
		if err != nil {
			return
		}
		p.found.MaxManifest = desc.Size
	}
}

func (p *prober) deletion(ctx context.Context) {
	p.found.DeleteTag = p.repo.delete(ctx, "/manifests/"+probeTag) == nil && p.gone(ctx, "/manifests/"+probeTag)
	if len(p.manifests) > 0 {
		last := p.manifests[len(p.manifests)-1]
		p.found.DeleteDigest = p.repo.Delete(ctx, last) == nil && p.gone(ctx, where(last))
	}
	p.found.DeleteBlob = p.repo.Delete(ctx, p.blob) == nil && p.gone(ctx, where(p.blob))
}

// gone reports whether deleting really did.
func (p *prober) gone(ctx context.Context, path string) bool {
	resp, err := p.repo.head(ctx, nil, path, true)
	if err == nil {
		drain(resp.Body)
	}
	return errors.Is(err, errdef.ErrNotFound)
}

// clean removes what is left, also when the probe was called off.
func (p *prober) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	_ = p.repo.delete(ctx, "/manifests/"+probeTag)
	for _, desc := range p.manifests {
		_ = p.repo.Delete(ctx, desc)
	}
	for _, repo := range []*Repository{p.repo, p.other} {
		_ = repo.Delete(ctx, p.blob)
		_ = repo.Delete(ctx, describe("application/octet-stream", []byte("{}")))
	}
}
