package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// NoParent in place of a parent begins a new history, and in place of the tip
// that is expected means that there is none.
const NoParent = "none"

// ErrStale says that a branch points to another version than the files were that
// are to replace it. It wraps [ErrConflict].
var ErrStale = fmt.Errorf("another version is there now: %w", ErrConflict)

// Committing says what a new version records of its history. The zero value
// records the version that the branch pointed to, and nothing for the first.
type Committing struct {
	// Branch is the tag whose history the version continues, and which moves
	// first. Empty means the tag of the reference.
	Branch string

	// Message and Author are recorded as they stand. They are claims: nobody
	// checks them, and nothing is recorded where they are empty.
	Message, Author string

	// Parents are the versions that this one was made from, the one of its own
	// branch first: a digest, the first digits of one, a tag or a revision such
	// as "main~1", or [NoParent] alone. Empty means the tip of the branch.
	Parents []string

	// IfParent, if not empty, is the digest that the branch must point to, or
	// the first digits of it, or [NoParent]; else the error wraps [ErrConflict]
	// and nothing is sent.
	IfParent string

	// Amend puts the version in the place of the tip, with the tip's parents
	// and, where none are given, its message and author.
	Amend bool
}

// A commit is a version in the making, and the tip of the branch that it goes
// to, as it was in the beginning.
type commit struct {
	branch string // as a tag
	tip    ocispec.Descriptor
	raw    []byte // nil without a tip
	base   base   // of the files, if they come from the repository
	ahead  []byte // the manifest of base, if the branch was moved back from there, or is new; else nil

	upstream *upstream // nil unless the files were pulled from another repository

	record   lineage.Commit
	explicit bool // the parents are others than the tip: there is something to record
	restart  bool // whatever the tip is has no part in the history

	wonBefore digest.Digest // who had won the branch when this race for it began
	failed    error         // of look

	look func(ctx context.Context) error

	// trace, if not nil, finds the history of one of several variants, when it is
	// known from its files what it is called.
	trace func(made artifact.Made) error
}

// beginCommit prepares a version for the branch r.Tag. The branch is looked at, and
// a repository to which nothing is added any more refused, when [commit.check] is
// called, so that what is refused anyway costs no request.
func (h *Hub) beginCommit(repo *remote.Repository, r ref.Reference, opts PushOptions) (*commit, error) {
	c := &commit{branch: r.Tag, record: lineage.Commit{Message: opts.Message, Author: opts.Author}}
	if _, err := c.record.Annotations(); err != nil {
		return nil, err
	}
	if opts.Amend && len(opts.Parents) > 0 {
		return nil, fmt.Errorf("%w: amend %s: an amended version keeps its parents", ErrUsage, r)
	}
	c.look = func(ctx context.Context) error {
		if !opts.DryRun {
			if err := h.mayAdd(ctx, repo, r); err != nil {
				return err
			}
		}
		return h.look(ctx, repo, r, c, opts)
	}
	return c, nil
}

// check is what [artifact.PackOptions] asks before files are read: first what
// may refuse them, then the branch.
func (c *commit) check(ctx context.Context, first func([]artifact.Plan) error) func([]artifact.Plan) error {
	return func(layers []artifact.Plan) error {
		if first != nil {
			if err := first(layers); err != nil {
				return err
			}
		}
		c.failed = c.look(ctx)
		return c.failed
	}
}

// cause is the error of a push: of one that stopped because of the branch, what
// was found there, whatever was under way.
func (c *commit) cause(err error) error { return cmp.Or(c.failed, err) }

// look reads the tip of the branch, and finds the parents.
func (h *Hub) look(ctx context.Context, repo *remote.Repository, r ref.Reference, c *commit, opts PushOptions) (err error) {
	c.tip, c.raw, err = repo.Manifest(ctx, c.branch)
	switch {
	case err == nil, errors.Is(err, errdef.ErrNotFound):
	case opts.DryRun && opts.IfParent == "" && ctx.Err() == nil:
		h.warn("%s is not known, so this is what a first version would be: %v", r, err)
		c.base = base{}
	default:
		return fmt.Errorf("look at %s: %w", r, err)
	}
	if err := c.expect(opts.IfParent); err != nil {
		return err
	}
	if opts.Amend {
		if c.raw != nil && opts.IfParent == "" && h.isBehind(ctx, repo, c) {
			return fmt.Errorf("amend %s: it points to %s, and the files were %s: %w", ref.DecodeBranch(c.branch), c.tip.Digest, c.base.digest, ErrStale)
		}
		return c.amend(r, opts.Committing)
	}
	return h.setParents(ctx, repo, r, c, opts.Committing)
}

// expect compares the tip with what the user has seen.
func (c *commit) expect(want string) error {
	if want == "" || want == NoParent && c.raw == nil || want != NoParent && c.raw != nil && hasPrefix(c.tip.Digest, want) {
		return nil
	}
	is := "does not exist"
	if c.raw != nil {
		is = "points to " + c.tip.Digest.String()
	}
	return fmt.Errorf("%s %s, and not to %s: %w", ref.DecodeBranch(c.branch), is, want, ErrConflict)
}

// amend takes over what the tip says of itself.
func (c *commit) amend(r ref.Reference, opts Committing) error {
	if c.raw == nil {
		return fmt.Errorf("amend %s: there is no version to amend: %w", r, errdef.ErrNotFound)
	}
	was, err := lineage.ParseCommit(c.tip, c.raw)
	if err != nil {
		return fmt.Errorf("amend %s: %w", r, err)
	}
	c.record.Parents, c.record.Squashed, c.record.ChangeID = was.Parents, was.Squashed, was.ChangeID
	c.record.Message = cmp.Or(opts.Message, was.Message)
	c.record.Author = cmp.Or(opts.Author, was.Author)
	c.restart = true
	c.explicit = c.record.Message != was.Message || c.record.Author != was.Author
	return nil
}

// setParents finds the parents that the user names, or else the version that this
// one was made from.
func (h *Hub) setParents(ctx context.Context, repo *remote.Repository, r ref.Reference, c *commit, opts Committing) error {
	named := opts.Parents
	switch {
	case len(named) == 1 && named[0] == NoParent:
		c.explicit, c.restart = true, true
		return nil
	case len(named) == 0 && c.raw == nil:
		return h.beginBranch(ctx, repo, c)
	case len(named) == 0 && opts.IfParent == "" && h.isBehind(ctx, repo, c): // who names the tip has seen it
		c.record.Parents = []digest.Digest{c.base.digest}
		c.ahead = h.ahead(ctx, repo, c)
		return nil
	case len(named) == 0:
		c.record.Parents = []digest.Digest{c.tip.Digest}
		return nil
	}
	for _, name := range named {
		t, err := h.within(ctx, repo, r, name)
		if err != nil {
			return fmt.Errorf("parent %s: %w", name, err)
		}
		if !slices.Contains(c.record.Parents, t.desc.Digest) {
			c.record.Parents = append(c.record.Parents, t.desc.Digest)
		}
	}
	c.explicit = !slices.Equal(c.record.Parents, []digest.Digest{c.tip.Digest})
	if _, err := c.record.Annotations(); err != nil {
		return err
	}
	return nil
}

// within resolves the name of a version in the repository of r: a digest, the
// beginning of one, a tag, a branch, or a revision, alone or behind the name of
// that repository.
func (h *Hub) within(ctx context.Context, repo *remote.Repository, r ref.Reference, name string) (*target, error) {
	text := r.Name() + ":" + name
	if isDigits(name) {
		text = r.Name() + "@" + name
	} else if rest := behind(r.Name(), name); rest != "" {
		text = r.Name() + rest
	}
	at, err := ref.Parse(text)
	if err != nil {
		if other, no := ref.Parse(name); no == nil && other.Host != "" {
			return nil, fmt.Errorf("%w: it is in another repository than %s", ErrUsage, r.Name())
		}
		return nil, err
	}
	return h.lookUp(ctx, repo, repo, at)
}

// behind is what a reference has behind the name of a repository, of which the
// beginning may be left out; "" for a reference to another, or for a bare name.
func behind(repository, reference string) string {
	for i, c := range reference {
		if c != ':' && c != '@' || strings.HasPrefix(reference[i:], "@{") {
			continue
		}
		if strings.HasSuffix("/"+repository, "/"+reference[:i]) {
			return reference[i:]
		}
	}
	return ""
}

// isDigits tells whether name is a digest or the beginning of one, rather than
// a tag: tags of as many digits, such as dates, are written with the colon.
func isDigits(name string) bool {
	base := name
	if i := strings.IndexAny(name, "~^"); i >= 0 {
		base = name[:i]
	}
	if strings.HasPrefix(base, "sha256:") || strings.HasPrefix(base, "sha512:") {
		return true
	}
	return len(base) >= 8 && strings.Trim(base, "0123456789abcdef") == ""
}

// equals are the manifests in whose place no version of the same content is made.
func (c *commit) equals() [][]byte {
	var list [][]byte
	if c.explicit {
		return nil
	}
	if c.raw != nil && !isIndex(c.tip) {
		list = append(list, c.raw)
	}
	if c.ahead != nil {
		list = append(list, c.ahead)
	}
	return list
}

// hook writes the history into a manifest, or returns the tip's, or that of the
// files before, where the version would be no other; see [artifact.PackOptions]. A new date alone makes
// none: where it comes from the environment it is another one each time.
func (c *commit) hook(made artifact.Made) ([]byte, error) {
	m := made.Manifest
	if err := c.upstream.own(m); err != nil {
		return nil, err
	}
	if c.trace != nil {
		if err := c.trace(made); err != nil {
			return nil, err
		}
	}
	for _, raw := range c.equals() {
		then, err := made.Dated(created(raw))
		if err == nil {
			err = c.upstream.own(&then)
		}
		if err != nil {
			return nil, err
		}
		if was, err := mediatypes.ParseManifest(raw); err == nil && lineage.SameContent(was, then) {
			return raw, nil
		}
	}
	record, err := c.record.Annotations()
	if err != nil {
		return nil, err
	}
	for k, v := range record {
		if _, given := m.Annotations[k]; given {
			continue
		}
		if m.Annotations == nil {
			m.Annotations = make(map[string]string)
		}
		m.Annotations[k] = v
	}
	return nil, nil
}

// isFixed tells whether a reference names a version for good, so that nothing
// can be pushed to it.
func isFixed(r ref.Reference) bool {
	return r.Digest != "" || r.Prefix != "" || r.Range != "" || r.Revision != ""
}
