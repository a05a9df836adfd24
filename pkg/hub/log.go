package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// LogOptions adjusts [Hub.Log]. The zero value lists the whole history of a
// version, and counts signatures without looking whose they are.
type LogOptions struct {
	// Limit bounds the versions. Zero means all.
	Limit int

	// All lists the versions of all branches and tags, and those that no branch
	// leads to any more and that only their keep-tags hold.
	All bool

	// FirstParent follows the first parent of each version and no others.
	FirstParent bool

	// Metrics looks for what each version was measured to do.
	Metrics bool

	// Trust, if not nil, says whose signatures are looked for.
	Trust *signing.Trust
}

// A HistoryEntry is one version in a history.
type HistoryEntry struct {
	Digest   string   `json:"digest"`
	Revision string   `json:"revision"` // the first 40 digits of the digest
	Parents  []string `json:"parents"`  // digests
	Message  string   `json:"message"`
	Author   string   `json:"author"`   // a claim: nobody has checked it
	ChangeID string   `json:"changeId"` // of all that amend the same version
	Created  string   `json:"created"`  // RFC 3339, empty when the version does not say
	Tags     []string `json:"tags"`     // branches, releases and aliases that point to it, sorted
	Size     int64    `json:"size"`     // bytes of the layers; of an index as it says of its variants

	// Signatures is how many are attached, whosesoever; Signers are the trusted
	// ones among them, if somebody was named.
	Signatures int      `json:"signatures"`
	Signers    []Signer `json:"signers"`

	// Status is what became of a version that was deprecated or yanked, as those
	// find it who use the version; nil for others.
	Status *State `json:"status,omitempty"`

	Missing  []string `json:"missing,omitempty"`  // parents that the registry does not have any more
	Squashed string   `json:"squashed,omitempty"` // the version in whose place it stands, with a shorter history
	Problem  string   `json:"problem,omitempty"`  // what of it cannot be read

	// Evaluations are what the version was measured to do, if that was asked for: what
	// is stated of it and what its card claims, and of each measurement those results
	// that are the most believable.
	Evaluations []Evaluation `json:"evaluations,omitempty"`

	commit   lineage.Commit
	stated   bool                 // something is attached that states what became of it
	attached []ocispec.Descriptor // what may be statements of results
	revised  bool                 // something is attached that revises its card
}

// Commit is the version as package lineage knows it.
func (e HistoryEntry) Commit() lineage.Commit { return e.commit }

// A LogResult is a history, newest first: see [lineage.History].
type LogResult struct {
	Repository string         `json:"repository"` // host/name
	Entries    []HistoryEntry `json:"entries"`
	Gaps       []string       `json:"gaps"` // parents that the registry does not have any more
	More       bool           `json:"more"` // there are versions beyond these
}

// Log lists the history of the version that r resolves to, or of the variant that
// it names. It reads manifests, many at once, and no files.
func (h *Hub) Log(ctx context.Context, r ref.Reference, opts LogOptions) (*LogResult, error) {
	t, err := h.tip(ctx, r, opts.All)
	if err != nil {
		return nil, err
	}
	known, found, err := logOf(ctx, t, opts)
	if err != nil {
		return nil, fmt.Errorf("read history of %s: %w", t.ref, err)
	}
	h.noteWhole(ctx, t.repo, known.all[record.Tag])
	res := &LogResult{Repository: t.ref.Name(), Entries: make([]HistoryEntry, len(found.Commits)), Gaps: []string{}, More: found.More}
	gone := make(map[string]bool)
	for _, g := range found.Gaps {
		res.Gaps = append(res.Gaps, g.String())
		gone[g.String()] = true
	}
	for i, c := range found.Commits {
		e := historyEntry(c, known.of[c.Digest])
		for _, p := range e.Parents {
			if gone[p] {
				e.Missing = append(e.Missing, p)
			}
		}
		res.Entries[i] = e
	}
	err = h.logSignatures(ctx, t, res.Entries, signatureReader{trust: opts.Trust, tags: known.all})
	if err == nil && opts.Metrics {
		err = h.logMetrics(ctx, t, res.Entries, opts.Trust)
	}
	return res, err
}

// logOf reads the tags of a repository and the history of a version of it, or of
// all.
func logOf(ctx context.Context, t *target, opts LogOptions) (known *tagged, found *lineage.History, err error) {
	wo := lineage.WalkOptions{Limit: opts.Limit, FirstParent: opts.FirstParent}
	if opts.All {
		if known, err = readTags(ctx, t.repo); err != nil {
			return nil, nil, err
		}
		start, err := known.tips(ctx, t)
		if err != nil {
			return nil, nil, err
		}
		found, err = readHistory(ctx, t.repo, start, wo)
		return known, found, err
	}
	g, both := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		known, err = readTags(both, t.repo)
		return err
	})
	g.Go(func() (err error) {
		found, err = readHistory(both, t.repo, []digest.Digest{t.desc.Digest}, wo)
		return err
	})
	return known, found, g.Wait()
}

// tip resolves r. For all versions of a repository any will do.
func (h *Hub) tip(ctx context.Context, r ref.Reference, all bool) (*target, error) {
	t, err := h.asked(ctx, r)
	if !all || !errors.Is(err, errdef.ErrNotFound) || isFixed(r) || r.Tag != "" {
		return t, err
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	return &target{repo: repo, ref: r}, nil
}

func historyEntry(c lineage.Commit, tags []string) HistoryEntry {
	e := HistoryEntry{
		Digest: c.Digest.String(), Revision: Revision(c.Digest), Parents: []string{}, Message: c.Message, Author: c.Author,
		ChangeID: c.ChangeID, Tags: tags, Size: c.Size, Signers: []Signer{}, Squashed: c.Squashed.String(), Problem: c.Problem, commit: c,
	}
	if !c.Created.IsZero() {
		e.Created = c.Created.Format(time.RFC3339)
	}
	for _, p := range c.Parents {
		e.Parents = append(e.Parents, p.String())
	}
	if e.Tags == nil {
		e.Tags = []string{}
	}
	return e
}

// tagged is what the tags of a repository point to.
type tagged struct {
	all  map[string]bool            // as the registry stores them
	of   map[digest.Digest][]string // names that people gave, by version, sorted
	kept []string                   // keep-tags
}

// readTags reads what the tags that people gave point to.
func readTags(ctx context.Context, repo *remote.Repository) (*tagged, error) {
	t := &tagged{all: make(map[string]bool), of: make(map[digest.Digest][]string)}
	var named []string
	for tag, err := range repo.Tags(ctx) {
		if err != nil {
			return nil, err
		}
		t.all[tag] = true
		switch {
		case strings.HasPrefix(tag, keepPrefix):
			t.kept = append(t.kept, tag)
		case !hidden(tag):
			named = append(named, tag)
		}
	}
	slices.Sort(named)
	found, err := resolveAll(ctx, repo, named)
	for i, desc := range found {
		if desc.Digest != "" {
			t.of[desc.Digest] = append(t.of[desc.Digest], ref.DecodeBranch(named[i]))
		}
	}
	return t, err
}

// resolveAll resolves tags, many at once. What is gone is the zero descriptor.
func resolveAll(ctx context.Context, repo *remote.Repository, tags []string) ([]ocispec.Descriptor, error) {
	found := make([]ocispec.Descriptor, len(tags))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(historyWorkers)
	for i, tag := range tags {
		g.Go(func() (err error) {
			found[i], err = repo.Resolve(gctx, tag)
			if errors.Is(err, errdef.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	return found, g.Wait()
}

// tips are the versions that all other versions are reached from. A keep-tag that
// spells another digest than it leads to holds no version: that is how the
// tombstone of one that was removed is found.
func (t *tagged) tips(ctx context.Context, from *target) ([]digest.Digest, error) {
	all := slices.Sorted(maps.Keys(t.of))
	found, err := resolveAll(ctx, from.repo, t.kept)
	for i, desc := range found {
		if desc.Digest != "" && keepTag(desc.Digest) == t.kept[i] && len(t.of[desc.Digest]) == 0 {
			all = append(all, desc.Digest)
		}
	}
	return all, err
}

// A signatureReader looks for the signatures of many versions.
type signatureReader struct {
	trust *signing.Trust
	tags  map[string]bool // of the repository
}

// logSignatures counts the signatures of versions, and tells which versions were
// withdrawn: what is attached is listed for both at once. Where the registry has no
// referrers API, the list of its tags tells which have nothing.
func (h *Hub) logSignatures(ctx context.Context, t *target, entries []HistoryEntry, s signatureReader) error {
	if len(entries) == 0 {
		return nil
	}
	api, err := t.repo.HasReferrers(ctx, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: entries[0].commit.Digest, Size: 1})
	if err != nil {
		h.warn("signatures of %s, and what was withdrawn, are not known: %v", t.ref.Name(), err)
		return context.Cause(ctx)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(historyWorkers)
	for i := range entries {
		e := &entries[i]
		if !api && !s.listed(e.commit.Digest) {
			continue
		}
		g.Go(func() error {
			if err := s.read(gctx, t, e); err != nil && gctx.Err() == nil {
				h.warn("signatures of %s, and whether it was withdrawn, are not known: %v", e.Digest, err)
			}
			return context.Cause(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return h.logStates(ctx, t, entries, s.trust)
}

// logStates tells what became of those versions about which something was stated.
func (h *Hub) logStates(ctx context.Context, t *target, entries []HistoryEntry, trust *signing.Trust) error {
	var stated []digest.Digest
	for _, e := range entries {
		if e.stated {
			stated = append(stated, e.commit.Digest)
		}
	}
	found, err := h.marks(ctx, t.repo, stated, trust)
	for i, e := range entries {
		entries[i].Status = found[e.commit.Digest]
	}
	return err
}

// listed tells whether there is a tag for what refers to a version.
func (s signatureReader) listed(d digest.Digest) bool {
	tag := strings.Replace(d.String(), ":", "-", 1)
	return s.tags[tag] || s.tags[tag+".sig"]
}

func (s signatureReader) read(ctx context.Context, t *target, e *HistoryEntry) error {
	repo := knownTags{t.repo, s.tags}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: e.commit.Digest, Size: 1}
	refs, err := repo.Referrers(ctx, desc, "")
	if err == nil {
		e.Signatures, err = signing.Count(ctx, repo, desc, refs)
	}
	e.stated, e.attached = slices.ContainsFunc(refs, statesStatus), mayMeasure(refs)
	e.revised = slices.ContainsFunc(refs, func(d ocispec.Descriptor) bool { return d.ArtifactType == mediatypes.ArtifactCard })
	if err != nil || s.trust == nil || e.Signatures == 0 {
		return err
	}
	if desc, _, err = repo.Manifest(ctx, e.Digest); err != nil {
		return err
	}
	report, err := signing.Verify(ctx, repo, signing.Target{Repository: t.ref.Name(), Descriptor: desc}, *s.trust)
	if report != nil {
		e.Signers = signers(report)
	}
	if errors.Is(err, signing.ErrUntrusted) || errors.Is(err, signing.ErrNoSignature) {
		return nil
	}
	return err
}

// knownTags is a repository whose tags are known, so that those that are not
// there cost no request.
type knownTags struct {
	*remote.Repository
	tags map[string]bool
}

// Manifest implements [signing.Reader].
func (k knownTags) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	if !strings.Contains(reference, ":") && !k.tags[reference] {
		return ocispec.Descriptor{}, nil, fmt.Errorf("tag %s: %w", reference, errdef.ErrNotFound)
	}
	return k.Repository.Manifest(ctx, reference)
}
