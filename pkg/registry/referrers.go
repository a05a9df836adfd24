package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of one page of referrers. A page reads each manifest it lists, so they
// bound the work that one request can cause.
const (
	maxPage      = 256      // manifests read
	maxPageRead  = 32 << 20 // bytes of them
	maxPageBytes = 3 << 20  // of the answer; less than clients take of a manifest
)

// contents reads and writes the manifests of one repository. It lives for one
// request, whose context it holds.
type contents struct {
	ctx       context.Context
	repo      distribution.Repository
	manifests distribution.ManifestService
}

func (r *Registry) open(ctx context.Context, name string) (contents, error) {
	repo, err := r.repository(ctx, name)
	if err != nil {
		return contents{}, err
	}
	// A list may outlive what it lists, which Distribution would refuse.
	manifests, err := repo.Manifests(ctx, storage.SkipLayerVerification())
	if err != nil {
		return contents{}, fmt.Errorf("open manifests: %w", err)
	}
	return contents{ctx, repo, manifests}, nil
}

// A stored is a manifest of the repository.
type stored struct {
	mediaType string
	raw       []byte
	doc       document
}

func (s stored) descriptor() ocispec.Descriptor { return s.doc.descriptor(s.mediaType, s.raw) }

// errNoManifest is returned for what is not there, or is there and can neither
// refer nor list.
var errNoManifest = errors.New("no such manifest")

// get reads a manifest or an index.
func (c contents) get(dgst digest.Digest) (stored, error) {
	m, err := c.manifests.Get(c.ctx, dgst)
	if isNoManifest(err) {
		return stored{}, errNoManifest
	}
	if err != nil {
		return stored{}, fmt.Errorf("read manifest %s: %w", dgst, err)
	}
	mediaType, raw, err := m.Payload()
	if err != nil {
		return stored{}, fmt.Errorf("read manifest %s: %w", dgst, err)
	}
	doc, err := parseDocument(raw)
	if err != nil || !canRefer(mediaType) || dgst.Algorithm().FromBytes(raw) != dgst {
		return stored{}, errNoManifest
	}
	return stored{mediaType, raw, doc}, nil
}

// isNoManifest tells content that is missing or damaged from a disk that cannot
// be read: the first must not take the rest of a list with it.
func isNoManifest(err error) bool {
	if _, ok := errors.AsType[distribution.ErrManifestUnknownRevision](err); ok {
		return true
	}
	if _, ok := errors.AsType[distribution.ErrManifestVerification](err); ok {
		return true
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return true
	}
	_, ok := errors.AsType[*json.UnmarshalTypeError](err)
	return ok
}

// A list is the referrers of one subject: the index under its referrers tag.
// Nothing else records them. Who changes a list holds the repository's lock.
//
// Nothing of an entry but its digest is believed: some clients write the wrong
// artifactType, and anybody may write an entry for what refers to something
// else.
type list struct {
	contents
	tag     string
	target  digest.Digest        // what the tag points to, or ""
	entries []ocispec.Descriptor // of the index; not checked
}

func (r *Registry) openList(ctx context.Context, name, tag string) (list, error) {
	c, err := r.open(ctx, name)
	if err != nil {
		return list{}, err
	}
	return c.list(tag)
}

func (c contents) list(tag string) (list, error) {
	l := list{contents: c, tag: tag}
	desc, err := c.repo.Tags(c.ctx).Get(c.ctx, tag)
	if _, ok := errors.AsType[distribution.ErrTagUnknown](err); ok {
		return l, nil
	}
	if err != nil {
		return list{}, fmt.Errorf("resolve referrers tag: %w", err)
	}
	l.target = desc.Digest
	index, err := c.get(desc.Digest)
	if errors.Is(err, errNoManifest) {
		return l, nil // nothing that lists anything
	}
	if err != nil {
		return list{}, err
	}
	l.entries = index.doc.Manifests
	return l, nil
}

// live returns those of the entries that are there and belong to the list,
// described anew.
func (l list) live(entries []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var kept []ocispec.Descriptor
	for _, dgst := range digests(entries) {
		m, err := l.get(dgst)
		if errors.Is(err, errNoManifest) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if subject := m.doc.subject(); subject != "" && referrersTag(subject) == l.tag {
			kept = append(kept, m.descriptor())
		}
	}
	return kept, nil
}

// digests returns the valid digests of the entries, sorted, each once.
func digests(entries []ocispec.Descriptor) []digest.Digest {
	all := make([]digest.Digest, 0, len(entries))
	for _, e := range entries {
		if e.Digest.Validate() == nil {
			all = append(all, e.Digest)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// with returns the entries with desc among them.
func (l list) with(desc ocispec.Descriptor) []ocispec.Descriptor {
	return append(l.without(desc.Digest), desc)
}

func (l list) without(dgst digest.Digest) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(l.entries), func(e ocispec.Descriptor) bool {
		return e.Digest == dgst
	})
}

// merge makes the tag list what it did and what a client's index does. Where
// the index is complete and right, the tag takes it byte for byte, so that the
// client finds what it wrote.
func (l list) merge(raw []byte, entries []ocispec.Descriptor) error {
	merged, err := l.live(slices.Concat(l.entries, entries))
	if err != nil {
		return err
	}
	if sameEntries(merged, entries) {
		return l.point(digest.FromBytes(raw), int64(len(raw)))
	}
	return l.store(merged)
}

// sameEntries reports whether two lists say the same in any order.
func sameEntries(a, b []ocispec.Descriptor) bool {
	x, errX := encodeList(a)
	y, errY := encodeList(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// encodeList writes an index of the entries, sorted: the same referrers give
// the same index, in whatever order they came. One that is larger than what
// registries take is refused.
func encodeList(entries []ocispec.Descriptor) ([]byte, error) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	raw, err := json.Marshal(newIndex(entries))
	if err != nil {
		return nil, fmt.Errorf("encode referrers: %w", err)
	}
	if len(raw) > maxManifest {
		return nil, &refusal{http.StatusRequestEntityTooLarge, codeSizeInvalid, "the subject has too many referrers"}
	}
	return raw, nil
}

func newIndex(entries []ocispec.Descriptor) ocispec.Index {
	if entries == nil {
		entries = []ocispec.Descriptor{} // the specification wants an array
	}
	return ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: entries,
	}
}

// store writes an index of the entries and points the tag to it.
func (l list) store(entries []ocispec.Descriptor) error {
	raw, err := encodeList(entries)
	if err != nil {
		return err
	}
	return l.storeRaw(raw)
}

// storeRaw writes an index and points the tag to it. The index before it stays,
// for those who are about to read it by its digest, until garbage is collected.
func (l list) storeRaw(raw []byte) error {
	m, desc, err := distribution.UnmarshalManifest(ocispec.MediaTypeImageIndex, raw)
	if err != nil {
		return fmt.Errorf("encode referrers: %w", err)
	}
	if _, err := l.manifests.Put(l.ctx, m); err != nil {
		return fmt.Errorf("store referrers: %w", err)
	}
	return l.point(desc.Digest, desc.Size)
}

func (l list) point(dgst digest.Digest, size int64) error {
	if dgst == l.target {
		return nil
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: dgst, Size: size}
	if err := l.repo.Tags(l.ctx).Tag(l.ctx, l.tag, desc); err != nil {
		return fmt.Errorf("move referrers tag: %w", err)
	}
	return nil
}

// removeReferrer takes a manifest that was deleted off the list under tag.
func (r *Registry) removeReferrer(ctx context.Context, rt route, tag string) error {
	l, err := r.openList(ctx, rt.name, tag)
	if err != nil {
		return err
	}
	rest := l.without(digest.Digest(rt.ref))
	switch {
	case len(rest) == len(l.entries):
		return nil
	case len(rest) > 0:
		return l.store(rest)
	}
	if err := l.repo.Tags(ctx).Untag(ctx, tag); err != nil {
		return fmt.Errorf("remove referrers tag: %w", err)
	}
	return nil
}

// beforeDelete returns the referrers tag that lists the manifest rt names, or
// "", and refuses if the manifest is itself a list in use.
func (r *Registry) beforeDelete(ctx context.Context, rt route) (tag string, err error) {
	c, err := r.open(ctx, rt.name)
	if err != nil {
		return "", err
	}
	m, err := c.get(digest.Digest(rt.ref))
	if errors.Is(err, errNoManifest) {
		return "", nil // Distribution has the answer
	}
	if err != nil {
		return "", err
	}
	if err := c.checkNoList(digest.Digest(rt.ref), m.doc.Manifests); err != nil {
		return "", err
	}
	if subject := m.doc.subject(); subject != "" {
		return referrersTag(subject), nil
	}
	return "", nil
}

// checkNoList refuses to delete the index that a referrers tag points to. The
// first of its entries that is there tells which tag that would be.
func (c contents) checkNoList(index digest.Digest, entries []ocispec.Descriptor) error {
	for _, dgst := range digests(entries) {
		m, err := c.get(dgst)
		if errors.Is(err, errNoManifest) {
			continue
		}
		if err != nil {
			return err
		}
		subject := m.doc.subject()
		if subject == "" {
			return nil
		}
		current, err := c.list(referrersTag(subject))
		if err == nil && current.target == index {
			return errListInUse()
		}
		return err
	}
	return nil
}

// checkUnused refuses to delete a referrers tag that lists something.
func (r *Registry) checkUnused(ctx context.Context, name, tag string) error {
	l, err := r.openList(ctx, name, tag)
	if err != nil {
		return err
	}
	live, err := l.live(l.entries)
	if err != nil || len(live) == 0 {
		return err
	}
	return errListInUse()
}

func errListInUse() error {
	return &refusal{
		http.StatusMethodNotAllowed, codeUnsupported,
		"the registry keeps this list of referrers; delete the referrers instead",
	}
}

// serveReferrers answers GET /v2/<name>/referrers/<digest> (OCI Distribution
// Specification 1.1, "Listing Referrers").
func (r *Registry) serveReferrers(w http.ResponseWriter, req *http.Request, rt route) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, codeUnsupported, "referrers are added by pushing them")
		return
	}
	subject := digest.Digest(rt.ref)
	if subject.Validate() != nil {
		writeError(w, http.StatusBadRequest, codeDigestInvalid, "not a digest")
		return
	}
	l, err := r.openList(req.Context(), rt.name, referrersTag(subject))
	if err != nil {
		r.fail(w, err)
		return
	}
	query := req.URL.Query()
	artifactType := query.Get("artifactType")
	page, next, err := l.page(subject, artifactType, digest.Digest(query.Get("last")))
	if err != nil {
		r.fail(w, err)
		return
	}
	if next != "" {
		query.Set("last", next.String())
		setNext(w, req.URL.Path, query)
	}
	if artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	writeJSON(w, http.StatusOK, ocispec.MediaTypeImageIndex, newIndex(page))
}

// page returns the referrers of subject after last, and where the next page
// starts, if there is one. A page may be empty and yet have a next one, when
// nothing it looked at passed the filter.
func (l list) page(subject digest.Digest, artifactType string, last digest.Digest) (page []ocispec.Descriptor, next digest.Digest, err error) {
	all := digests(l.entries)
	if i, found := slices.BinarySearch(all, last); found {
		all = all[i+1:]
	} else {
		all = all[i:]
	}
	var size, read int
	for i, dgst := range all {
		if i == maxPage || size > maxPageBytes || read > maxPageRead {
			return page, all[i-1], nil
		}
		m, err := l.get(dgst)
		if errors.Is(err, errNoManifest) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		read += len(m.raw)
		desc := m.descriptor()
		if m.doc.subject() != subject || artifactType != "" && desc.ArtifactType != artifactType {
			continue
		}
		page = append(page, desc)
		size += entrySize(desc)
	}
	return page, "", nil
}

// entrySize is about what desc takes in JSON.
func entrySize(desc ocispec.Descriptor) int {
	size := 256 + len(desc.ArtifactType)
	for key, value := range desc.Annotations {
		size += len(key) + len(value) + 6
	}
	return size
}
