package hub

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// RecommitOptions says how [Hub.Revert] and [Hub.Merge] make a version.
type RecommitOptions struct {
	// Branch is the branch that gets the version. It must be set.
	Branch string

	// Message and Author are recorded; without a message one is made.
	Message, Author string

	// IfParent is what [Committing] says of it.
	IfParent string

	// TakeBranch takes the content of the branch, and not that of the version
	// that is merged. Revert does not look at it.
	TakeBranch bool

	// Created is written as creation time unless zero. That of the version
	// whose content it is, is not taken over.
	Created time.Time

	// Signer signs the version, if not nil.
	Signer *signing.Signer

	// Force brings back what was yanked, too.
	Force bool
}

// A RecommitResult says what [Hub.Revert] and [Hub.Merge] did.
type RecommitResult struct {
	Reference  string   `json:"reference"` // host/repository:branch@digest
	Digest     string   `json:"digest"`
	Revision   string   `json:"revision"`
	Tag        string   `json:"tag"` // the branch
	Created    bool     `json:"created"`
	Parents    []string `json:"parents"`
	Message    string   `json:"message"`
	Signatures int      `json:"signatures"` // made now
}

// Revert makes a version with the content of the one that r resolves to, on top
// of a branch. No file moves: the version lists the layers that are there. One
// that equals the tip of the branch changes nothing. What was yanked is refused,
// since nothing would say so of the new version: a [StateError], as in a pull.
func (h *Hub) Revert(ctx context.Context, r ref.Reference, opts RecommitOptions) (*RecommitResult, error) {
	return h.recommit(ctx, r, opts, func(c *recommit) error {
		c.content, c.record.Parents = c.from, []digest.Digest{c.commit.tip.Digest}
		if c.record.Message == "" {
			c.record.Message = "revert to " + Revision(c.from.desc.Digest)
		}
		return nil
	})
}

// Merge joins the history of the version that r resolves to into a branch: the
// new version has both the tip of the branch and that version as parents, and
// the content of the version, or of the tip with opts.TakeBranch. It is how a push
// that lost to another is brought in without sending anything again. If the
// branch has the version in its history already, nothing changes. Content that was
// yanked is refused, as [Hub.Revert] does.
func (h *Hub) Merge(ctx context.Context, r ref.Reference, opts RecommitOptions) (*RecommitResult, error) {
	return h.recommit(ctx, r, opts, func(c *recommit) error {
		c.merge = true
		c.content, c.record.Parents = c.from, []digest.Digest{c.commit.tip.Digest, c.from.desc.Digest}
		if opts.TakeBranch {
			content := *c.from
			content.desc, content.raw, content.signed = c.commit.tip, c.commit.raw, c.commit.tip
			content.ref = c.from.ref.WithTag("").WithDigest(c.commit.tip.Digest)
			c.content = &content
		}
		if c.record.Message == "" {
			c.record.Message = fmt.Sprintf("merge %s into %s", Revision(c.from.desc.Digest), ref.DecodeBranch(c.commit.branch))
		}
		return nil
	})
}

// A recommit makes a version of the layers of others.
type recommit struct {
	from    *target // that the user named
	content *target // whose layers it gets
	commit  *commit
	record  *lineage.Commit // that of commit
	merge   bool
	created time.Time
}

func (h *Hub) recommit(ctx context.Context, r ref.Reference, opts RecommitOptions, fill func(*recommit) error) (*RecommitResult, error) {
	branch, err := encodeTags([]string{opts.Branch})
	if err != nil {
		return nil, err
	}
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	at := t.ref.WithTag(branch[0])
	po := PushOptions{Committing: Committing{Message: opts.Message, Author: opts.Author, IfParent: opts.IfParent}}
	c := &recommit{from: t, created: opts.Created}
	if c.commit, err = h.beginCommit(t.repo.Origin(), at, po); err != nil {
		return nil, err
	}
	if err := c.commit.look(ctx); err != nil {
		return nil, err
	}
	if c.commit.raw == nil {
		return nil, fmt.Errorf("%w: there is no branch %s yet: \"modelreg tag\" or \"modelreg branch create\" makes one", ErrUsage, opts.Branch)
	}
	c.record = &c.commit.record
	if err := fill(c); err != nil {
		return nil, err
	}
	same, err := h.upToDate(ctx, c)
	if err != nil {
		return nil, err
	}
	made := *t
	made.desc, made.raw, made.signed = c.commit.tip, c.commit.raw, c.commit.tip
	if !same {
		if err := h.mayReturn(ctx, c.content, opts.Force); err != nil {
			return nil, err
		}
		if made.desc, made.raw, err = c.write(ctx, t.repo); err != nil {
			return nil, err
		}
		h.carryIndexes(ctx, &made)
	}
	made.signed, made.ref = made.desc, at.WithDigest(made.desc.Digest)
	return h.releaseAgain(ctx, &made, branch[0], c, opts.Signer)
}

// upToDate tells whether the branch has all of this already.
func (h *Hub) upToDate(ctx context.Context, c *recommit) (bool, error) {
	if c.merge {
		tip := c.commit.tip.Digest
		return tip == c.from.desc.Digest || h.descends(ctx, c.from, tip, c.from.desc.Digest), nil
	}
	if c.content.desc.Digest == c.commit.tip.Digest {
		return true, nil
	}
	if isIndex(c.content.desc) || isIndex(c.commit.tip) {
		return false, nil
	}
	was, err := mediatypes.ParseManifest(c.commit.raw)
	if err != nil {
		return false, nil // whatever it is, it is another
	}
	want, err := mediatypes.ParseManifest(c.content.raw)
	if err != nil {
		return false, err
	}
	delete(was.Annotations, ocispec.AnnotationCreated)
	delete(want.Annotations, ocispec.AnnotationCreated)
	return lineage.SameContent(was, want), nil
}

// mayReturn refuses content that was yanked: under its new digest nobody would be
// told. Of what is deprecated a warning is enough, unless the user is strict.
func (h *Hub) mayReturn(ctx context.Context, t *target, force bool) error {
	s, err := h.lookForStatus(ctx, t, nil, false)
	if err != nil {
		return fmt.Errorf("look for the status of %s: %w", t.ref, err)
	}
	if s.State == record.Active {
		return nil
	}
	found := s.problem(t.ref)
	if !force && (s.State == record.Yanked || h.opts.Strict) {
		return found
	}
	h.warn("%v%s; the new version has the same files, and nothing says so of it", found, s.advice())
	return nil
}

// write pushes the manifest or index of the content with another history.
func (c *recommit) write(ctx context.Context, repo *remote.Repository) (ocispec.Descriptor, []byte, error) {
	history, err := c.record.Annotations()
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	if !c.created.IsZero() {
		history[ocispec.AnnotationCreated] = c.created.UTC().Format(time.RFC3339)
	}
	raw, err := withHistory(c.content, history)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("write version: %w", err)
	}
	desc := content.NewDescriptorFromBytes(c.content.desc.MediaType, raw)
	if err := repo.PushManifest(ctx, desc, raw); err != nil {
		return desc, nil, fmt.Errorf("push manifest: %w", err)
	}
	return desc, raw, nil
}

// carryIndexes finds the chunk indexes of a version's files, for them to be kept
// with it too.
func (h *Hub) carryIndexes(ctx context.Context, t *target) {
	m, err := mediatypes.ParseManifest(t.raw)
	if err != nil {
		return // an index of variants: they have their own
	}
	if t.indexes, err = artifact.ReadIndexes(ctx, t.repo, m.Layers); err != nil {
		h.warn("%s: the next versions cannot be pulled by their differences from this one: %v", t.ref, err)
	}
}

// withHistory is a manifest or index with these annotations in place of those of
// its history. All else stays as it is, also what this program does not know.
func withHistory(t *target, history map[string]string) ([]byte, error) {
	if _, err := lineage.ParseCommit(t.desc, t.raw); err != nil {
		return nil, err
	}
	var doc map[string]jsontext.Value
	if err := json.Unmarshal(t.raw, &doc); err != nil {
		return nil, err
	}
	annotations := make(map[string]string)
	if said, ok := doc["annotations"]; ok {
		if err := json.Unmarshal(said, &annotations); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(annotations, func(k, _ string) bool { return lineage.IsHistory(k) || k == ocispec.AnnotationCreated })
	maps.Copy(annotations, history)
	said, err := json.Marshal(annotations, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	doc["annotations"] = said
	return json.Marshal(doc, json.Deterministic(true))
}

// releaseAgain releases a version as a push does.
func (h *Hub) releaseAgain(ctx context.Context, t *target, branch string, c *recommit, signer *signing.Signer) (*RecommitResult, error) {
	pushed := &PushResult{}
	res := &RecommitResult{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(), Revision: Revision(t.desc.Digest), Tag: ref.DecodeBranch(branch), Parents: []string{},
	}
	said := commitOf(t.desc, t.raw)
	res.Message = said.Message
	for _, p := range said.Parents {
		res.Parents = append(res.Parents, p.String())
	}
	err := h.release(ctx, t, releasing{tags: []string{branch}, signer: signer, commit: c.commit}, pushed)
	res.Created, res.Signatures = pushed.Created, pushed.Signatures
	if err != nil || !res.Created {
		return res, err
	}
	return res, h.moveVariants(ctx, t, branch, c.commit.tip.Digest, moving{signer: signer})
}
