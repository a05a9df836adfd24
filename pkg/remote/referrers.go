package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

const (
	// maxReferrers bounds how many referrers of one manifest are listed.
	maxReferrers = 10_000

	// maxListTries bounds the tries to get into a fallback tag that others
	// write too.
	maxListTries = 40

	// lookWait is how long after writing a fallback tag we look whether we
	// are still in it, at least: long enough for a writer who read it before
	// us to write it.
	lookWait = 100 * time.Millisecond
)

// errListed ends the listing when there are too many.
var errListed = errors.New("too many referrers")

// Referrers lists the manifests that say they refer to desc: those that the
// registry's API names, and those in the fallback tag, where clients list what
// a registry without the API cannot (OCI distribution specification, section
// "Referrers Tag Schema"). An artifactType that is not empty keeps the others
// out, but not those whose list entry does not say, or says "empty", as cosign
// 2 does. Who fetches a referrer has to check that its subject really is desc.
func (r *Repository) Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	if err := checkDesc(desc); err != nil {
		return nil, err
	}
	all, err := r.referrersByAPI(ctx, desc)
	if err != nil && !errIs(err, errdef.ErrUnsupported, errdef.ErrNotFound) {
		return nil, err
	}
	index, err := r.fallback(ctx, desc)
	if err != nil {
		return nil, err
	}
	seen := make(map[digest.Digest]bool)
	var found []ocispec.Descriptor
	for _, d := range append(all, index.Manifests...) {
		if seen[d.Digest] || !ofType(d, artifactType) || checkDesc(d) != nil {
			continue
		}
		seen[d.Digest] = true
		found = append(found, d)
	}
	if len(found) > maxReferrers {
		return nil, tooMany(r.op("list referrers in"))
	}
	return found, nil
}

func tooMany(op string) *Error {
	return &Error{Op: op, Text: fmt.Sprintf("more than %d referrers", maxReferrers), Class: ErrProtocol, cause: errdef.ErrSizeExceedsLimit}
}

// ofType reports whether a list entry may be of the type wanted.
func ofType(d ocispec.Descriptor, want string) bool {
	return want == "" || d.ArtifactType == want || d.ArtifactType == "" || d.ArtifactType == ocispec.MediaTypeEmptyJSON
}

// referrersByAPI asks the registry. errdef.ErrUnsupported means that it has no
// such API.
func (r *Repository) referrersByAPI(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	list := r.lister()
	if err := list.SetReferrersCapability(true); err != nil {
		return nil, err
	}
	var all []ocispec.Descriptor
	err := list.Referrers(withEndpoint(ctx, r.at), desc, "", func(page []ocispec.Descriptor) error {
		all = append(all, page...)
		if len(all) > maxReferrers {
			return errListed
		}
		return nil
	})
	op := r.op("list referrers in")
	switch {
	case errors.Is(err, errListed):
		return nil, tooMany(op)
	case errors.Is(err, errdef.ErrUnsupported):
		return nil, errdef.ErrUnsupported
	case err != nil:
		return nil, noAPI(listError(op, err))
	}
	return all, nil
}

// noAPI recognises the answers of registries that do not know the path.
func noAPI(err error) error {
	e, ok := errors.AsType[*Error](err)
	if ok && (e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented || e.Status == http.StatusBadRequest) {
		return errdef.ErrUnsupported
	}
	return err
}

// A fallbackIndex is what stands under a fallback tag.
type fallbackIndex struct {
	ocispec.Index
	etag  string
	there bool // the tag exists
}

// fallback reads the fallback tag of a manifest. There is none when the tag
// does not exist, and when it is no index: some registries resolve it to the
// manifest itself, and anybody who may write tags can put anything there.
func (r *Repository) fallback(ctx context.Context, subject ocispec.Descriptor) (fallbackIndex, error) {
	desc, raw, etag, err := r.manifest(ctx, fallbackTag(subject.Digest))
	if errors.Is(err, errdef.ErrNotFound) {
		return fallbackIndex{}, nil
	}
	if err != nil {
		return fallbackIndex{}, err
	}
	index := fallbackIndex{etag: etag, there: true}
	if desc.MediaType != ocispec.MediaTypeImageIndex || desc.Digest == subject.Digest {
		return index, nil
	}
	if err := json.Unmarshal(raw, &index.Index); err != nil {
		return fallbackIndex{etag: etag, there: true}, nil
	}
	return index, nil
}

// fallbackTag returns the tag under which the referrers of a manifest are
// listed. Both parts are cut to what fits a tag, as the specification says.
func fallbackTag(dgst digest.Digest) string {
	cut := func(s string, n int) string { return s[:min(n, len(s))] }
	return cut(dgst.Algorithm().String(), 32) + "-" + cut(dgst.Encoded(), 64)
}

// PushReferrer writes a manifest that refers to subject, and sees to it that
// it is listed: by the registry's API, if it has one, and in the fallback tag.
// The tag is written in any case, for registries that lose untagged manifests
// and for readers that know no API. Several writers of one tag can undo each
// other, so it is read again, and written again until the manifest is in it.
func (r *Repository) PushReferrer(ctx context.Context, raw []byte, subject ocispec.Descriptor) error {
	if err := checkDesc(subject); err != nil {
		return err
	}
	entry, err := describeReferrer(raw, subject)
	if err != nil {
		return fmt.Errorf("push referrer of %s: %w", subject.Digest, err)
	}
	resp, err := r.putManifest(ctx, putOptions{desc: entry, raw: raw, reference: entry.Digest.String()})
	if err != nil {
		return err
	}
	if err := checkDigest(r.op("push referrer to"), resp, entry.Digest); err != nil {
		return err
	}
	listed := resp.Header.Get("OCI-Subject") == subject.Digest.String()
	err = r.list(ctx, entry, subject)
	if e, ok := errors.AsType[*Error](err); ok && listed && e.Status/100 == 4 && !e.again {
		return nil // the API has it, and the registry forbids such a tag
	}
	return err
}

// describeReferrer returns the list entry for a manifest, as the
// specification builds it in section "Listing Referrers".
func describeReferrer(raw []byte, subject ocispec.Descriptor) (ocispec.Descriptor, error) {
	var m struct {
		MediaType    string              `json:"mediaType"`
		ArtifactType string              `json:"artifactType"`
		Config       ocispec.Descriptor  `json:"config"`
		Subject      *ocispec.Descriptor `json:"subject"`
		Annotations  map[string]string   `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return ocispec.Descriptor{}, err
	}
	if m.Subject == nil || m.Subject.Digest != subject.Digest {
		return ocispec.Descriptor{}, fmt.Errorf("%w: its subject is another", errdef.ErrInvalidReference)
	}
	if !isManifest(m.MediaType) {
		return ocispec.Descriptor{}, fmt.Errorf("%w: %q", errdef.ErrInvalidMediaType, m.MediaType)
	}
	if m.ArtifactType == "" {
		m.ArtifactType = m.Config.MediaType
	}
	return ocispec.Descriptor{
		MediaType:    m.MediaType,
		ArtifactType: m.ArtifactType,
		Digest:       digest.FromBytes(raw),
		Size:         int64(len(raw)),
		Annotations:  m.Annotations,
	}, nil
}

// list puts entry into the fallback tag of subject.
func (r *Repository) list(ctx context.Context, entry, subject ocispec.Descriptor) error {
	for try := range maxListTries {
		start := time.Now()
		listed, err := r.enlist(ctx, entry, subject)
		if listed || err != nil {
			return err
		}
		// Others need about as long from reading to writing as we did.
		wait := max(lookWait, 3*time.Since(start))
		if err := Pause(ctx, wait+backoff(min(try, 2), 0)/4); err != nil {
			return err
		}
	}
	return &Error{Op: r.op("list referrer in"), Text: "others keep writing the same list", Class: ErrUnreachable, again: true}
}

// enlist writes the fallback tag with entry in it. listed means that nothing
// was to be done. Writers in this process take turns.
func (r *Repository) enlist(ctx context.Context, entry, subject ocispec.Descriptor) (listed bool, err error) {
	tag := fallbackTag(subject.Digest)
	lock := r.client.lock(r.Name() + ":" + tag)
	lock.Lock()
	defer lock.Unlock()
	index, err := r.fallback(ctx, subject)
	if err != nil {
		return false, err
	}
	if holds(index, entry) {
		return true, nil
	}
	if err := r.writeFallback(ctx, subject, index, entry); err != nil && !conflict(err) {
		return false, err
	}
	return false, nil
}

func holds(index fallbackIndex, entry ocispec.Descriptor) bool {
	for _, d := range index.Manifests {
		if d.Digest == entry.Digest {
			return true
		}
	}
	return false
}

// conflict reports whether a conditional write came too late.
func conflict(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Status == http.StatusPreconditionFailed || e.Status == http.StatusConflict)
}

// writeFallback writes the list with entry added. The condition is for
// registries that know one; the others ignore it.
func (r *Repository) writeFallback(ctx context.Context, subject ocispec.Descriptor, index fallbackIndex, entry ocispec.Descriptor) error {
	next := ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageIndex,
		Manifests:   append(index.Manifests[:len(index.Manifests):len(index.Manifests)], entry),
		Annotations: index.Annotations,
	}
	raw, err := json.Marshal(next, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode referrers of %s: %w", subject.Digest, err)
	}
	if len(raw) > MaxManifest {
		return tooMany(r.op("list referrer in"))
	}
	p := putOptions{
		desc:      ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		raw:       bytes.Clone(raw),
		reference: fallbackTag(subject.Digest),
	}
	switch {
	case index.there && strings.HasPrefix(index.etag, `"`):
		p.match = map[string]string{"If-Match": index.etag}
	case !index.there:
		p.match = map[string]string{"If-None-Match": "*"}
	}
	_, err = r.putManifest(ctx, p)
	return err
}

// lock returns the lock of a tag. Different tags can share one.
func (c *Client) lock(tag string) *sync.Mutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(tag))
	return &c.tagLocks[h.Sum32()%uint32(len(c.tagLocks))]
}
