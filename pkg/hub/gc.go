package hub

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	day = 24 * time.Hour

	// DefaultGrace is how long a version that nothing needs is left alone.
	DefaultGrace = 7 * day

	// DefaultKeepLast is how many versions of each line are kept.
	DefaultKeepLast = 10

	// DefaultAliasWindow is how far back what an alias led to is kept.
	DefaultAliasWindow = 90 * day

	maxGCTags = 100_000
	gcWorkers = 16
)

// ErrNoDelete says that the registry lets nobody delete.
var ErrNoDelete = fmt.Errorf("the registry does not let manifests be deleted: %w", remote.ErrProtocol)

// GCRules say what is kept although no name leads to it.
type GCRules struct {
	// Last is how many versions of each branch, release and alias are kept,
	// the one that it leads to included.
	Last int

	// Within keeps what is not older. A version that does not say when it was
	// made is as old as the finding that nothing needs it.
	Within time.Duration

	// Versions are globs of org.opencontainers.image.version: what says that it
	// is such a version is kept.
	Versions []string

	// Grace is how long what nothing needs is left alone before it is deleted.
	Grace time.Duration

	// AliasWindow keeps what protected aliases led to for so long.
	AliasWindow time.Duration

	// Holds are versions that are kept whatever else.
	Holds []digest.Digest
}

// GCOptions adjusts [Hub.GC]. The zero value plans by the rules of the
// repository's record, or else the defaults, and changes nothing.
type GCOptions struct {
	// Rules returns the rules, given those of the record or the defaults. Nil
	// takes them as they are.
	Rules func(GCRules) GCRules

	// Locked are versions that lock files name, with what to call these.
	Locked map[digest.Digest]string

	// In names repositories, as HOST/PREFIX, whose versions may have been made
	// of those of this one. The repository itself is always looked in.
	In []string

	// Force deletes also what indexes list and what others were made of.
	Force bool

	// Run deletes what is due, and notes what is not due yet.
	Run bool

	// Now is when. Zero means time.Now.
	Now time.Time
}

// A GCResult is a plan, or what became of it.
type GCResult struct {
	Repository string        `json:"repository"`
	Run        bool          `json:"run"` // false: nothing was changed
	Kept       []GCKept      `json:"kept"`
	Unneeded   []GCCondemned `json:"unneeded"`

	// Deleted and Attached are how many versions, and manifests attached to
	// them, were deleted; in a plan, how many versions would be.
	Deleted  int `json:"deleted"`
	Attached int `json:"attached"`

	// Freed is the size of blobs that only deleted versions name, in bytes. The
	// registry's own garbage collection gives the space back.
	Freed int64 `json:"freedBytes"`
}

// A GCKept is a version that is kept.
type GCKept struct {
	Digest string   `json:"digest"`
	Tags   []string `json:"tags"`
	Why    []string `json:"why"`
}

// A GCCondemned is a version that nothing needs.
type GCCondemned struct {
	Digest  string    `json:"digest"`
	Message string    `json:"message,omitempty"` // of the version: hostile text
	Since   time.Time `json:"since"`             // found to be unneeded
	Due     time.Time `json:"due"`               // when it may be deleted
	State   string    `json:"state"`             // "waiting", "due" or "deleted"
	Size    int64     `json:"size"`              // of its layers, in bytes
}

// retention is the rules as a record has them.
type retention struct {
	Last     *int            `json:"last"`
	Within   string          `json:"within"`
	Versions []string        `json:"versions"`
	Grace    string          `json:"grace"`
	AliasLog string          `json:"aliasLog"`
	Holds    []digest.Digest `json:"holds"`
}

// gcRules are those of a record, and defaults for what it does not say.
func gcRules(rec *record.Record) (GCRules, error) {
	r := GCRules{Last: DefaultKeepLast, Grace: DefaultGrace, AliasWindow: DefaultAliasWindow}
	if len(rec.Retention) == 0 {
		return r, nil
	}
	var said retention
	if err := json.Unmarshal(rec.Retention, &said, json.RejectUnknownMembers(true)); err != nil {
		return r, fmt.Errorf("retention of the repository's record: %w: %w", record.ErrMalformed, err)
	}
	for _, age := range []struct {
		text string
		into *time.Duration
	}{{said.Within, &r.Within}, {said.Grace, &r.Grace}, {said.AliasLog, &r.AliasWindow}} {
		if age.text == "" {
			continue
		}
		d, err := ParseDays(age.text)
		if err != nil {
			return r, fmt.Errorf("retention of the repository's record: %w: %w", record.ErrMalformed, err)
		}
		*age.into = d
	}
	if said.Last != nil {
		r.Last = max(*said.Last, 1)
	}
	r.Versions, r.Holds = said.Versions, said.Holds
	return r, nil
}

// ParseDays reads a time such as 30d, 12h or 0.
func ParseDays(s string) (time.Duration, error) {
	var n int
	var unit string
	if s == "0" {
		return 0, nil
	}
	if c, _ := fmt.Sscanf(s, "%d%s", &n, &unit); c == 2 && n >= 0 && n <= 36500 {
		switch unit {
		case "d":
			return time.Duration(n) * day, nil
		case "h":
			return time.Duration(n) * time.Hour, nil
		}
	}
	return 0, fmt.Errorf("%w: %.40q is no time such as 30d or 12h", ErrUsage, s)
}

// GC finds out which versions of the repository of r are kept and why, and which
// nothing needs. With opts.Run it notes when it found that, and deletes those
// found so long ago that the grace is over: a tombstone takes the place of the
// keep-tag, then what is attached goes, then the version. Names for people are
// never deleted, nor what they lead to.
//
// Stopped half-way, the next run goes on.
func (h *Hub) GC(ctx context.Context, r ref.Reference, opts GCOptions) (*GCResult, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	repo = repo.Origin()
	rec, err := h.record(ctx, repo)
	if err != nil {
		return nil, err
	}
	c := &collection{hub: h, repo: repo, ref: r, opts: opts, now: cmp.Or(opts.Now, time.Now()).UTC().Truncate(time.Second)}
	if c.rules, err = gcRules(rec); err != nil {
		return nil, err
	}
	if opts.Rules != nil {
		c.rules = opts.Rules(c.rules)
	}
	if err := c.read(ctx); err != nil {
		return nil, fmt.Errorf("plan garbage collection of %s: %w", r.Name(), err)
	}
	if err := c.mark(ctx); err != nil {
		return nil, fmt.Errorf("plan garbage collection of %s: %w", r.Name(), err)
	}
	res := c.plan()
	if !opts.Run {
		return res, nil
	}
	if err := c.run(ctx, res); err != nil {
		return res, fmt.Errorf("collect garbage of %s: %w", r.Name(), err)
	}
	return res, nil
}

// A collection is one call of GC.
type collection struct {
	hub   *Hub
	repo  *remote.Repository
	ref   ref.Reference
	opts  GCOptions
	rules GCRules
	now   time.Time

	names     map[string]digest.Digest     // tags for people
	entries   []string                     // tags of alias logs
	classic   []string                     // tags such as sha256-….sig
	looked    map[string]bool              // keep-tags when the plan was made
	leading   map[digest.Digest]int        // how many of the classic tags lead there; nil if nobody has looked
	versions  map[digest.Digest]*gcVersion // that names and keep-tags lead to
	condemned map[digest.Digest]time.Time  // by earlier runs
	noteTip   digest.Digest                // of the note of these; "" if there is none
}

// A gcVersion is one that may be kept.
type gcVersion struct {
	digest    digest.Digest
	commit    lineage.Commit
	raw       []byte
	mediaType string
	mention   string // org.opencontainers.image.version
	tags      []string
	why       []string
	model     bool // and no attachment, record or the like
	held      bool // by its keep-tag, or its tombstone is there
	buried    bool // its keep-tag has its tombstone
}

func (v *gcVersion) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: v.mediaType, Digest: v.digest, Size: int64(len(v.raw))}
}

func (v *gcVersion) keep(format string, args ...any) {
	if why := fmt.Sprintf(format, args...); len(v.why) < 8 && !slices.Contains(v.why, why) {
		v.why = append(v.why, why)
	}
}

// mark notes why versions are kept.
func (c *collection) mark(ctx context.Context) error {
	tips := slices.Sorted(maps.Keys(c.names))
	for _, tag := range tips {
		v := c.versions[c.names[tag]]
		if v == nil {
			continue
		}
		v.tags = append(v.tags, ref.DecodeBranch(tag))
		v.keep("tag %s", ref.DecodeBranch(tag))
		c.line(tag, v)
	}
	if err := c.aliases(ctx); err != nil {
		return err
	}
	for _, v := range c.versions {
		c.byRule(v)
		if len(v.why) == 0 && (!v.model || !v.held) {
			v.keep("no version of a model that a keep-tag of its own holds")
		}
	}
	if c.opts.Force {
		return nil
	}
	if err := c.byDescendants(ctx); err != nil {
		return err
	}
	for before := -1; before != c.kept(); {
		before = c.kept()
		for _, v := range c.versions {
			if len(v.why) > 0 {
				c.byKept(v)
			}
		}
	}
	return nil
}

// line keeps the last versions before a tip.
func (c *collection) line(tag string, tip *gcVersion) {
	seen := map[digest.Digest]bool{tip.digest: true}
	queue := []*gcVersion{tip}
	for n := 1; len(queue) > 0 && n < c.rules.Last; {
		v := queue[0]
		queue = queue[1:]
		for _, p := range v.commit.Parents {
			parent := c.versions[p]
			if parent == nil || seen[p] || n >= c.rules.Last {
				continue
			}
			seen[p] = true
			n++
			parent.keep("one of the last %d of %s", c.rules.Last, ref.DecodeBranch(tag))
			queue = append(queue, parent)
		}
	}
}

// byRule keeps what rules, lock files and holds name.
func (c *collection) byRule(v *gcVersion) {
	if at := v.commit.Created; c.rules.Within > 0 && !at.IsZero() && c.now.Sub(at) <= c.rules.Within {
		v.keep("made %s, within %s", at.Format(time.DateOnly), days(c.rules.Within))
	}
	for _, pattern := range c.rules.Versions {
		if ok, _ := path.Match(pattern, v.mention); ok && v.mention != "" {
			v.keep("version %.60q is one of %.60q", v.mention, pattern)
		}
	}
	if file, ok := c.opts.Locked[v.digest]; ok {
		v.keep("locked by %s", file)
	}
	if slices.Contains(c.rules.Holds, v.digest) {
		v.keep("on hold")
	}
}

// byDescendants keeps what versions of other repositories were made of.
func (c *collection) byDescendants(ctx context.Context) error {
	if len(c.opts.In) == 0 {
		return nil
	}
	others := newCensus(c.hub, 0)
	if err := others.take(ctx, c.opts.In); err != nil {
		return fmt.Errorf("look for what was made of its versions: %w", err)
	}
	// What could not be read may need any version.
	for _, p := range others.problems {
		return fmt.Errorf("look for what was made of its versions: %w", p.err)
	}
	if others.truncated {
		return fmt.Errorf("look for what was made of its versions: more than %d versions: %w", MaxLineageVersions, errdef.ErrSizeExceedsLimit)
	}
	for _, d := range others.found {
		if d.ref.Name() != c.ref.Name() {
			c.inputs(d.edges, nameOf(&target{ref: d.ref}))
		}
	}
	return nil
}

// byKept keeps what a kept version was made of, and what it lists as an index.
func (c *collection) byKept(v *gcVersion) {
	c.inputs(lineage.Edges(annotationsOf(v.raw), card.Metadata{}), "this repository's "+shortDigest(v.digest))
	if !v.commit.Index {
		return
	}
	for _, child := range membersOf(v.raw) {
		if m := c.versions[child]; m != nil {
			m.keep("listed by the index %s", shortDigest(v.digest))
		}
	}
}

func (c *collection) kept() (n int) {
	for _, v := range c.versions {
		if len(v.why) > 0 {
			n++
		}
	}
	return n
}

// plan sorts versions into those that are kept and those that are not.
func (c *collection) plan() *GCResult {
	res := &GCResult{Repository: c.ref.Name(), Kept: []GCKept{}, Unneeded: []GCCondemned{}}
	for _, d := range slices.Sorted(maps.Keys(c.versions)) {
		v := c.versions[d]
		if len(v.why) > 0 {
			slices.Sort(v.why)
			res.Kept = append(res.Kept, GCKept{Digest: d.String(), Tags: append([]string{}, v.tags...), Why: v.why})
			continue
		}
		u := GCCondemned{Digest: d.String(), Message: v.commit.Message, Size: v.commit.Size, Since: cmp.Or(c.condemned[d], c.now), State: "waiting"}
		u.Due = u.Since.Add(c.rules.Grace)
		if v.commit.Created.IsZero() {
			u.Due = u.Since.Add(max(c.rules.Grace, c.rules.Within))
		}
		if !u.Due.After(c.now) {
			u.State = "due"
			res.Deleted++
		}
		res.Unneeded = append(res.Unneeded, u)
	}
	res.Freed = c.freed(res)
	return res
}

// shortDigest is a digest for people.
func shortDigest(d digest.Digest) string { return d.Encoded()[:min(12, len(d.Encoded()))] }

func days(d time.Duration) string {
	if d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}
