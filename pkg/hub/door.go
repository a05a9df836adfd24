package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/singleflight"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

const (
	// admittedFor and refusedFor are how long an answer holds: what is attached
	// to a version later may yank it, or sign it.
	admittedFor = time.Minute
	refusedFor  = 5 * time.Second

	doorTimeout = 30 * time.Second // of one decision, whoever waits for it
	doorWorkers = 8                // decisions under way at once
	doorAnswers = 10_000           // remembered
)

// ErrNothingThere means that a [Door] has nothing to give out.
var ErrNothingThere = errors.New("no such manifest")

// A Door decides for a registry which versions it gives out: those that the
// policies of a [Hub] allow. It is safe for concurrent use.
type Door struct {
	hub     *Hub
	host    string
	flight  singleflight.Group
	working chan struct{}

	mu    sync.Mutex
	known map[doorKey]doorAnswer
	round int // how often all was forgotten
}

type doorKey struct {
	repository string
	digest     digest.Digest
}

type doorAnswer struct {
	err   error
	until time.Time
}

// NewDoor returns a Door to the registry that policies, and h, call host. What h
// remembers of repositories counts for one decision. Other registries are asked only
// about what a version was made of, where a policy has conditions on that; one that
// cannot be asked refuses the version.
func NewDoor(h *Hub, host string) *Door {
	return &Door{hub: h, host: host, working: make(chan struct{}, doorWorkers), known: make(map[doorKey]doorAnswer)}
}

// Admit returns nil if a manifest or index may be given out, and what the policies
// say if not: a *[policy.Refusal], or why they could not be asked. An index is
// decided on as "verify" does, and for a while it takes what it lists along, whose
// signature is that of the index. What is attached to versions, such as a signature,
// is given out unasked if all that it holds is of the types of such documents; each
// version is decided on once a minute. What is not there is [ErrNothingThere].
func (d *Door) Admit(ctx context.Context, repository string, dgst digest.Digest) error {
	key := doorKey{repository, dgst}
	said, round, ok := d.remembered(key)
	if ok {
		return said.err
	}
	answer := d.flight.DoChan(fmt.Sprintf("%d %s@%s", round, repository, dgst), func() (any, error) {
		// Others wait for it too, whoever goes away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), doorTimeout)
		defer cancel()
		return nil, d.ask(ctx, key, round)
	})
	select {
	case a := <-answer:
		return a.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Forget has each version decided on anew, such as when the policies have changed.
func (d *Door) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.round++
	clear(d.known)
}

// remembered is the answer that still holds, and how often all was forgotten.
func (d *Door) remembered(key doorKey) (doorAnswer, int, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.known[key]
	return a, d.round, ok && time.Now().Before(a.until)
}

// ask decides, and remembers the answer unless all was forgotten meanwhile.
func (d *Door) ask(ctx context.Context, key doorKey, round int) error {
	select {
	case d.working <- struct{}{}:
		defer func() { <-d.working }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	listed, err := d.decide(ctx, key)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= doorAnswers {
		clear(d.known)
	}
	if errors.Is(err, ErrNothingThere) || d.round != round {
		return err // what is not there may be in a moment
	}
	if err != nil {
		d.known[key] = doorAnswer{err, time.Now().Add(refusedFor)}
		return err
	}
	until := time.Now().Add(admittedFor)
	for _, dgst := range append(listed, key.digest) {
		d.known[doorKey{key.repository, dgst}] = doorAnswer{until: until}
	}
	return nil
}

// decide asks the policies. What an index lists is allowed with it.
func (d *Door) decide(ctx context.Context, key doorKey) (listed []digest.Digest, err error) {
	h := New(d.hub.opts)
	r := ref.Reference{Host: d.host, Repository: key.repository, Digest: key.digest}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	desc, raw, err := repo.Manifest(ctx, key.digest.String())
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, ErrNothingThere
	}
	if err != nil {
		return nil, err
	}
	if isAttached(desc, raw) {
		return nil, nil
	}
	t, err := h.lookUp(ctx, repo, repo, r)
	if err != nil {
		return nil, err
	}
	index, _ := t.index()
	rules, err := h.rules(ctx)
	if err != nil {
		return nil, err
	}
	decisions, err := h.decide(ctx, r, t, rules, admitOptions{checkOnly: true})
	if err != nil {
		return nil, err
	}
	for i := range decisions {
		if err := decisions[i].Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", t.ref, err)
		}
	}
	for _, m := range index.Manifests {
		listed = append(listed, m.Digest)
	}
	return listed, nil
}

// index is the version as an index, if it is one.
func (t *target) index() (ocispec.Index, bool) {
	if !isIndex(t.desc) {
		return ocispec.Index{}, false
	}
	index, err := mediatypes.ParseIndex(t.raw)
	return index, err == nil
}

// isAttached tells what is attached to versions from what might be loaded as one.
// Some loaders go by the types of layers alone, some by none but the names of files:
// only what neither can take for weights is let through.
func isAttached(desc ocispec.Descriptor, raw []byte) bool {
	if isIndex(desc) {
		index, err := mediatypes.ParseIndex(raw)
		return err == nil && listsReferrers(index)
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return false
	}
	if _, ok := mediatypes.Detect(m); ok {
		return false
	}
	return !slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool { return !isDocument(l) })
}

// documentTypes are the beginnings of the media types of what is attached.
var documentTypes = []string{
	"application/vnd.dev.cosign.", "application/vnd.dev.sigstore.", "application/vnd.dsse.", "application/vnd.in-toto+",
	"application/jose+json", "application/cose", "application/vnd.cyclonedx+", "application/spdx+json", "application/sarif+json",
	mediatypes.LayerMarkdown, ocispec.MediaTypeEmptyJSON, ownTypes,
}

// isDocument tells whether a layer is of a type that is attached to versions, and
// is not called as weights might be.
func isDocument(l ocispec.Descriptor) bool {
	if !slices.ContainsFunc(documentTypes, func(t string) bool { return strings.HasPrefix(l.MediaType, t) }) {
		return false
	}
	for _, name := range []string{l.Annotations[mediatypes.AnnotationTitle], l.Annotations[mediatypes.AnnotationFilepath]} {
		if name != "" && !slices.Contains([]string{".md", ".json", ".yaml", ".xml", ".zst"}, path.Ext(name)) {
			return false
		}
	}
	return true
}

// listsReferrers tells a list of referrers from an index of models. What it lists
// is decided on by itself.
func listsReferrers(index ocispec.Index) bool {
	return !slices.ContainsFunc(index.Manifests, func(m ocispec.Descriptor) bool {
		return m.ArtifactType == "" || isModel(m) || m.ArtifactType == mediatypes.ArtifactModelKit
	})
}
