package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// ErrTaken says that a name at a destination stands for something else already.
var ErrTaken = fmt.Errorf("taken: %w", ErrConflict)

// A Conflict says what [Hub.Copy] does where a tag at the destination stands for
// another version already.
type Conflict string

// The rules for tags that are taken.
const (
	ConflictFail      Conflict = "fail"      // an error that wraps [ErrTaken], before anything moves
	ConflictSkip      Conflict = "skip"      // the tag stays, and its version is not copied
	ConflictOverwrite Conflict = "overwrite" // the tag moves
)

// CopyOptions adjusts [Hub.Copy]. The zero value copies one version with all
// that is attached to it, and fails where the tag is taken.
type CopyOptions struct {
	// With are kinds of what is attached: [WithReferrers] and so on. None
	// means [WithAll].
	With []string

	// WithBases copies the models that the version says it was made of too,
	// where it names them by digest.
	WithBases bool

	// Depth is how many of the versions before it are copied too.
	Depth int

	// Tags, if not empty, are what is copied in place of the tag of the source,
	// each under its own name. AllTags copies all that people gave.
	Tags    []string
	AllTags bool

	// History copies the repository as a whole: all tags, as AllTags does, with all
	// versions before them; those that no tag leads to any more, and the tombstones of
	// those that were removed; the logs of aliases, and the record.
	History bool

	// OnConflict is the rule for tags that are taken. "" is ConflictFail.
	OnConflict Conflict

	// Trust, if not nil, must have signed each version, at the source before
	// anything is copied and at the destination before a tag points there.
	Trust *signing.Trust

	// Workers bounds the blobs moved at once. Zero means 4.
	Workers int

	// MaxWait bounds the waits for a registry that gives next to nothing, for
	// each blob that goes into a layout. Zero means 5 minutes.
	MaxWait time.Duration

	// MountFrom names repositories of the destination's registry that may
	// have the blobs.
	MountFrom []string
}

// A CopyResult says what [Hub.Copy] did. Sizes are bytes.
type CopyResult struct {
	Source       string    `json:"source"`       // as resolved
	Reference    string    `json:"reference"`    // at the destination
	Digest       string    `json:"digest"`       // of the version, or the first of several
	Tags         []string  `json:"tags"`         // that point to what was copied
	Versions     int       `json:"versions"`     // copied, with those before them and bases
	Manifests    int       `json:"manifests"`    // all of them, with what is attached
	Attached     int       `json:"attached"`     // of those, that are attached to others
	Blobs        int       `json:"blobs"`        // config, layers
	Size         int64     `json:"size"`         // of manifests and blobs
	CopiedBytes  int64     `json:"copiedBytes"`  // that moved
	MountedBytes int64     `json:"mountedBytes"` // linked from another repository
	SkippedBytes int64     `json:"skippedBytes"` // at the destination already
	Checked      int       `json:"checked"`      // manifests and blobs that were asked for again at the destination
	Verified     *Verified `json:"verified"`     // at the destination; null when no signature was asked for
	Notes        []string  `json:"notes,omitempty"`

	// History is what was copied with the repository as a whole; nil if that was not
	// asked for.
	History *CopiedHistory `json:"history,omitempty"`
}

// A copying is one call of Copy.
type copying struct {
	h    *Hub
	opts CopyOptions
	with wants
	res  *CopyResult
}

// A shipment is versions of one repository, with what belongs to them.
type shipment struct {
	from     *copyEnd
	to       ref.Reference // without tag and digest
	roots    []copyStep
	tags     map[string]ocispec.Descriptor // to set at the destination
	before   map[string]digest.Digest      // what they stand for there now
	stays    map[string]bool               // tags that are not set, since they stand for something else there
	kept     map[string]ocispec.Descriptor // tags to set that modelreg keeps for itself
	closure  *closure
	done     bool // an archive that is there already stays
	trust    *signing.Trust
	stated   bool      // the name that the layout has for it is what policies are about
	verified *Verified // at the source; nil when nobody asked for that
}

// Copy copies the version that src stands for, and what belongs to it, to dst:
// the manifests that an index lists, config and layers, what is attached in
// either way (referrers by API and by fallback tag, cosign's tags), and what is
// attached to that. Each is a registry, a layout in a directory, or one in a tar
// archive. What dst has is not moved again, and blobs of the same registry are
// linked where it allows that.
//
// The source is resolved once. Blobs come first, then manifests, then what is
// attached; then the destination is asked again for all of it; and only then
// the tags move: whoever stops a copy leaves no tag that stands for less than
// a whole version. A further copy goes on with what has arrived.
func (h *Hub) Copy(ctx context.Context, src, dst ref.Reference, opts CopyOptions) (_ *CopyResult, err error) {
	c, err := h.copying(opts)
	if err != nil {
		return nil, err
	}
	from, err := h.source(src)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	s, err := c.load(ctx, from, src, dst)
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", src, err)
	}
	all, done, err := c.withBases(ctx, s)
	defer func() { err = errors.Join(err, done()) }()
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", src, err)
	}
	c.res.Reference = arrival(s, dst)
	switch {
	case len(s.roots)+len(s.kept) == 0: // all were skipped
	case isFile(dst):
		err = c.toArchive(ctx, dst, all, nil)
	default:
		for _, one := range slices.Backward(all) { // bases before what is made of them
			if err = c.ship(ctx, one); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("copy %s to %s: %w", src, dst, err)
	}
	return c.res, nil
}

// arrival is what the destination calls what was copied.
func arrival(s *shipment, dst ref.Reference) string {
	if isFile(dst) {
		return dst.WithTag("").String()
	}
	if len(s.roots) != 1 || len(s.kept) > 0 {
		return s.to.String()
	}
	r := s.to
	for tag := range s.tags {
		r.Tag = tag
	}
	return r.WithDigest(s.roots[0].desc.Digest).String()
}

func (h *Hub) copying(opts CopyOptions) (*copying, error) {
	switch opts.OnConflict {
	case "":
		opts.OnConflict = ConflictFail
	case ConflictFail, ConflictSkip, ConflictOverwrite:
	default:
		return nil, fmt.Errorf("%w: on conflict %q: use fail, skip or overwrite", ErrUsage, opts.OnConflict)
	}
	if opts.History && (len(opts.Tags) > 0 || opts.Depth > 0) {
		return nil, fmt.Errorf("%w: a repository is copied as a whole, or some tags or a depth of it", ErrUsage)
	}
	opts.AllTags = opts.AllTags || opts.History
	with, err := parseWants(opts.With)
	if err != nil {
		return nil, err
	}
	if opts.Trust != nil && !with.classic() {
		return nil, fmt.Errorf("%w: signatures that are to be verified must be copied: with signatures, or all", ErrUsage)
	}
	return &copying{h: h, opts: opts, with: with, res: &CopyResult{Tags: []string{}}}, nil
}

// load resolves what is to be copied, decides whether it may be, and finds out
// what belongs to it.
func (c *copying) load(ctx context.Context, from *copyEnd, src, dst ref.Reference) (*shipment, error) {
	if dst.Digest != "" || dst.Prefix != "" || dst.Range != "" {
		return nil, fmt.Errorf("%w: copy to %s: copy to a tag; the digest comes from the source", ErrUsage, dst)
	}
	s := c.shipment(from, dst)
	if err := c.resolve(ctx, s, src, dst); err != nil {
		return nil, err
	}
	if err := c.conflicts(ctx, s); err != nil {
		return nil, err
	}
	return s, c.prepare(ctx, s, src)
}

func (c *copying) shipment(from *copyEnd, dst ref.Reference) *shipment {
	s := &shipment{
		from: from, trust: c.opts.Trust, tags: make(map[string]ocispec.Descriptor), before: make(map[string]digest.Digest),
		stays: make(map[string]bool), kept: make(map[string]ocispec.Descriptor),
	}
	s.to = dst
	s.to.Tag = ""
	return s
}

// prepare decides whether what was resolved may be copied, and finds out what
// belongs to it.
func (c *copying) prepare(ctx context.Context, s *shipment, src ref.Reference) error {
	if err := c.admit(ctx, s, src); err != nil {
		return err
	}
	for i := range s.roots {
		s.roots[i].history = c.opts.Depth
		if c.opts.History {
			s.roots[i].history = maxClosure
		}
	}
	var err error
	s.closure, err = gather(ctx, s.from.at, s.roots, c.with)
	if err != nil {
		return err
	}
	if c.opts.History && !s.done {
		if err := c.whole(ctx, s); err != nil {
			return err
		}
	}
	c.res.Notes = append(c.res.Notes, s.closure.notes...)
	return nil
}

// resolve turns what is to be copied into digests, once.
func (c *copying) resolve(ctx context.Context, s *shipment, src, dst ref.Reference) error {
	tags := c.opts.Tags
	if c.opts.AllTags {
		var about []string
		var err error
		if tags, about, err = peopleTags(ctx, s.from.at); err != nil {
			return err
		}
		if len(tags) == 0 && !c.opts.History {
			return fmt.Errorf("no tags in %s: %w", src, errdef.ErrNotFound)
		}
		if len(about) > 0 && !c.opts.History {
			c.res.Notes = append(c.res.Notes, "not copied, since it is about "+src.Name()+" as a whole: "+strings.Join(about, ", ")+": tags of the copy are not protected by it (--history takes it along)")
		}
	}
	if len(tags) == 0 && !c.opts.History {
		at, step, err := c.h.lookUpSource(ctx, s.from, src)
		if err != nil {
			return err
		}
		step.tag = at.Tag
		s.roots = append(s.roots, step)
		c.res.Source, c.res.Digest = at.String(), step.desc.Digest.String()
		tag := dst.Tag
		if tag == "" && src.Digest == "" && src.Prefix == "" {
			tag = at.Tag
		}
		if tag == "" {
			return nil
		}
		s.tags[tag] = step.desc
		return checkTag(tag)
	}
	if src.Tag != "" || src.Digest != "" || src.Prefix != "" || src.Range != "" || dst.Tag != "" {
		return fmt.Errorf("%w: with several tags, name the repositories alone", ErrUsage)
	}
	tags, err := encodeTags(decoded(tags))
	if err != nil {
		return err
	}
	for _, tag := range tags {
		r := src
		r.Tag = tag
		_, step, err := c.h.lookUpSource(ctx, s.from, r)
		if err != nil {
			return err
		}
		step.tag = tag
		s.roots = append(s.roots, step)
		s.tags[tag] = step.desc
	}
	c.res.Source = src.String()
	if len(s.roots) > 0 {
		c.res.Digest = s.roots[0].desc.Digest.String()
	}
	return nil
}

// decoded gives the tags that are branches the names that people type.
func decoded(tags []string) []string {
	out := make([]string, len(tags))
	for i, tag := range tags {
		out[i] = ref.DecodeBranch(tag)
	}
	return out
}

// admit decides whether the versions may be copied, on their digests.
func (c *copying) admit(ctx context.Context, s *shipment, src ref.Reference) error {
	for _, root := range s.roots {
		if root.pinned {
			continue
		}
		r, t := src, s.from.target(s.subject(), root.desc, root.raw)
		if s.from.remote == nil {
			r = t.ref // what tags of a layout led to is nothing to remember
		} else if t.ref.Tag = root.tag; root.tag != "" {
			r.Tag = root.tag
		}
		v, err := c.h.admit(ctx, r, t, admitOptions{trust: s.trust})
		if err != nil {
			return err
		}
		s.verified = v
		if err := c.enough(ctx, r, *t); err != nil {
			return err
		}
	}
	return nil
}

// subject is the repository whose policy decides about the source: its own name
// in a registry. What a layout says of itself decides only where no registry is
// copied to.
func (s *shipment) subject() string {
	switch {
	case s.stated:
		return cmp.Or(s.from.name(), s.from.ref.Repository)
	case s.from.remote != nil:
		return s.from.name()
	case !isLocal(s.to):
		return s.to.Name()
	}
	return cmp.Or(s.from.name(), s.from.ref.Repository)
}

// withBases adds the shipments of the models that the versions were made of.
func (c *copying) withBases(ctx context.Context, first *shipment) (all []*shipment, done func() error, err error) {
	all = []*shipment{first}
	var ends []*copyEnd
	done = func() error {
		var err error
		for _, e := range ends {
			err = errors.Join(err, e.close())
		}
		return err
	}
	if !c.opts.WithBases {
		return all, done, nil
	}
	seen := make(map[string]bool)
	for i := 0; i < len(all); i++ {
		for _, name := range all[i].bases() {
			if seen[name] {
				continue
			}
			if seen[name] = true; len(seen) > maxBases {
				return all, done, fmt.Errorf("more than %d bases: %w", maxBases, errdef.ErrSizeExceedsLimit)
			}
			r, ok := baseReference(name)
			if !ok {
				c.res.Notes = append(c.res.Notes, "base "+name+" is not copied: it is not named by a registry and a digest")
				continue
			}
			s, from, err := c.loadBase(ctx, first, r)
			if err != nil {
				return all, done, fmt.Errorf("base %s: %w", r, err)
			}
			all, ends = append(all, s), append(ends, from)
		}
	}
	return all, done, nil
}

// maxBases bounds the models that others are said to be made of.
const maxBases = 64

// bases are the names of what the versions were made of.
func (s *shipment) bases() []string {
	var names []string
	for _, n := range s.closure.order {
		if n.version || len(s.closure.nodes) == 1 {
			names = append(names, n.bases...)
		}
	}
	return names
}

// baseReference reads the name of a base, if it says which bytes are meant.
func baseReference(name string) (ref.Reference, bool) {
	r, err := ref.Parse(strings.TrimPrefix(name, "oci:"))
	if err != nil || r.Scheme != "" || r.Host == "" || r.Digest == "" {
		return r, false
	}
	r.Tag = ""
	return r, true
}

// loadBase loads a base from the place that the model came from, if that is an
// archive that holds it too, and from its registry otherwise.
func (c *copying) loadBase(ctx context.Context, first *shipment, r ref.Reference) (*shipment, *copyEnd, error) {
	var from *copyEnd
	var err error
	if first.from.remote == nil {
		var at *layout.Repository
		at, err = first.from.layout.Repository(r.Name())
		from = &copyEnd{ref: r, at: at}
	} else {
		from, err = c.h.source(r)
	}
	if err != nil {
		return nil, nil, err
	}
	dst := first.to
	if !isLocal(dst) {
		dst.Repository = basePath(first, r)
	}
	// The manifest of the model, which was verified, names the bytes of the base.
	opts := c.opts
	opts.Tags, opts.AllTags, opts.History, opts.Trust = nil, false, false, nil
	other := &copying{h: c.h, opts: opts, with: c.with, res: &CopyResult{}}
	s, err := other.load(ctx, from, r, dst)
	c.res.Notes = append(c.res.Notes, other.res.Notes...)
	return s, from, err
}

// basePath is where a base goes: below the same prefix as the model, if that
// keeps its name behind one, and under its own name otherwise.
func basePath(first *shipment, base ref.Reference) string {
	prefix, ok := strings.CutSuffix(first.to.Repository, first.from.ref.Repository)
	if !ok {
		return base.Repository
	}
	return path.Join(prefix, base.Repository)
}
