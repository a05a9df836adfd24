package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A CopiedHistory is what [CopyOptions.History] took along besides what tags lead to.
type CopiedHistory struct {
	Unnamed    int  `json:"unnamed"`    // versions that no tag leads to, at once or by what follows them
	Tombstones int  `json:"tombstones"` // of versions that were removed
	Logs       int  `json:"logs"`       // of aliases
	Moves      int  `json:"moves"`      // in these logs
	Record     bool `json:"record"`     // the repository's
}

// A booked tag is one that modelreg keeps for itself, with what it leads to. Without
// bytes it is gone, or leads to nothing that can be read.
type booked struct {
	tag  string
	desc ocispec.Descriptor
	raw  []byte
}

// bookTags lists the tags by which a repository keeps its history: of versions, of
// entries of logs and their ends, and of its record. Those that writers and garbage
// collection leave for each other are not among them.
func bookTags(ctx context.Context, at copySource) ([]string, error) {
	var tags []string
	n := 0
	for tag, err := range at.Tags(ctx) {
		if err != nil {
			return nil, fmt.Errorf("list tags: %w", err)
		}
		if n++; n > maxLogTags {
			return nil, fmt.Errorf("more than %d tags: %w", maxLogTags, errdef.ErrSizeExceedsLimit)
		}
		if tag == record.Tag || strings.HasPrefix(tag, keepPrefix) || strings.HasPrefix(tag, record.EntryPrefix) || strings.HasPrefix(tag, record.TipPrefix) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags, nil
}

// whole adds what belongs to the repository and to none of the versions that tags
// lead to.
func (c *copying) whole(ctx context.Context, s *shipment) error {
	c.res.History = &CopiedHistory{}
	tags, err := bookTags(ctx, s.from.at)
	if err != nil {
		return err
	}
	found, err := c.readBooked(ctx, s, s.closure.holdVersions(tags))
	if err != nil {
		return err
	}
	orphans, books := c.sortBooked(s, found)
	if err := c.bookConflicts(ctx, s); err != nil {
		return err
	}
	books = slices.DeleteFunc(books, func(b booked) bool { return s.kept[b.tag].Digest == "" })
	c.countBooks(books)
	steps := make([]copyStep, len(books))
	for i, b := range books {
		steps[i] = copyStep{reference: b.desc.Digest.String(), desc: b.desc, raw: b.raw}
	}
	if err := s.closure.grow(ctx, steps); err != nil {
		return err
	}
	if err := c.addOrphans(ctx, s, orphans); err != nil {
		return err
	}
	if isLocal(s.to) { // where versions are held by nothing else
		for _, n := range s.closure.order {
			if n.version {
				s.kept[keepTag(n.desc.Digest)] = n.desc
			}
		}
	}
	return nil
}

// holdVersions takes those tags out that hold what is copied already, which become
// versions that are held where they arrive.
func (c *closure) holdVersions(tags []string) []string {
	held := make(map[string]*copyNode, len(c.order))
	for _, n := range c.order {
		held[keepTag(n.desc.Digest)] = n
	}
	return slices.DeleteFunc(tags, func(tag string) bool {
		n := held[tag]
		if n != nil {
			n.version = true
		}
		return n != nil
	})
}

// readBooked reads what tags lead to, many at once, and no more of it than can belong
// to a copy: whoever may push can set such tags.
func (c *copying) readBooked(ctx context.Context, s *shipment, tags []string) ([]booked, error) {
	if len(s.closure.order)+len(tags) > maxClosure {
		return nil, fmt.Errorf("more than %d versions, and tags that are kept about them: %w", maxClosure, errdef.ErrSizeExceedsLimit)
	}
	found := make([]booked, len(tags))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(closureWorkers)
	for i, tag := range tags {
		found[i].tag = tag
		g.Go(func() error {
			desc, raw, err := s.from.at.Manifest(ctx, tag)
			if errors.Is(err, errdef.ErrNotFound) || harmless(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read tag %s: %w", tag, err)
			}
			found[i].desc, found[i].raw = desc, raw
			return s.closure.spend(len(raw))
		})
	}
	return found, g.Wait()
}

// sortBooked tells versions from what is kept about the repository. Whoever may push
// can set tags like these: what is not what its tag says is left out.
func (c *copying) sortBooked(s *shipment, found []booked) (orphans []copyStep, books []booked) {
	for _, b := range found {
		alias, ok := b.about()
		switch {
		case !ok:
			c.res.Notes = append(c.res.Notes, "left out tag "+b.tag+", which leads to nothing that it should")
		case strings.HasPrefix(b.tag, keepPrefix) && keepTag(b.desc.Digest) == b.tag:
			orphans = append(orphans, copyStep{reference: b.desc.Digest.String(), desc: b.desc, raw: b.raw, version: true, history: maxClosure})
		case alias != "" && s.stays[alias]: // the log would not lead to where the alias is
		default:
			s.kept[b.tag] = b.desc
			books = append(books, b)
		}
	}
	return orphans, books
}

// about tells whether a tag leads to what its name says, and of a log whose it is.
func (b booked) about() (alias string, ok bool) {
	if b.raw == nil {
		return "", false
	}
	if b.tag == record.Tag {
		_, err := record.Layer(b.raw)
		return "", err == nil
	}
	if strings.HasPrefix(b.tag, keepPrefix) {
		stone, buried := record.ParseTombstone(b.raw)
		return "", keepTag(b.desc.Digest) == b.tag || buried && keepTag(stone.Digest) == b.tag
	}
	e, err := record.ParseEntry(b.raw)
	if err != nil {
		return "", false
	}
	if alias, ok := strings.CutPrefix(b.tag, record.TipPrefix); ok {
		return alias, e.Alias == alias
	}
	alias, seq, hex, ok := record.ParseEntryTag(b.tag)
	return alias, ok && e.Alias == alias && e.Seq == seq && strings.HasPrefix(b.desc.Digest.Encoded(), hex)
}

// bookConflicts looks at the destination's record and logs. A log that goes on from
// what is there takes its place; another one is a conflict like a tag that is taken.
func (c *copying) bookConflicts(ctx context.Context, s *shipment) error {
	if isLocal(s.to) {
		if _, err := os.Lstat(filepath.FromSlash(s.to.Repository)); isFile(s.to) || errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	tags := maps.Clone(s.kept)
	maps.DeleteFunc(tags, func(tag string, _ ocispec.Descriptor) bool {
		return strings.HasPrefix(tag, record.EntryPrefix) // its name has its digest
	})
	return c.eachTaken(ctx, s, tags, func(tag string, now ocispec.Descriptor) error { return c.bookTaken(s, tag, now) })
}

// bookTaken applies the rule to a tag that leads to something else at the
// destination, where nothing is buried by a copy.
func (c *copying) bookTaken(s *shipment, tag string, now ocispec.Descriptor) error {
	alias, isLog := strings.CutPrefix(tag, record.TipPrefix)
	isStone := strings.HasPrefix(tag, keepPrefix)
	what := "its record is another there"
	switch {
	case isStone:
		what = "the version that was removed is there"
	case isLog:
		what = "the log of " + ref.DecodeBranch(alias) + " is another there"
	}
	switch {
	case isLog && s.goesOn(alias, now):
		return nil
	case !isStone && c.opts.OnConflict == ConflictFail:
		return fmt.Errorf("%s: %w", what, ErrTaken)
	case !isStone && c.opts.OnConflict == ConflictOverwrite:
		return nil
	}
	c.res.Notes = append(c.res.Notes, "skipped "+tag+": "+what)
	delete(s.kept, tag)
	if isLog {
		maps.DeleteFunc(s.kept, func(tag string, _ ocispec.Descriptor) bool {
			of, _, _, ok := record.ParseEntryTag(tag)
			return ok && of == alias
		})
	}
	return nil
}

// goesOn tells whether the end of a log is an entry of the one that is copied.
func (s *shipment) goesOn(alias string, end ocispec.Descriptor) bool {
	for tag, desc := range s.kept {
		if of, _, _, ok := record.ParseEntryTag(tag); ok && of == alias && desc.Digest == end.Digest {
			return true
		}
	}
	return false
}

// countBooks adds to the result what is kept about the repository.
func (c *copying) countBooks(books []booked) {
	for _, b := range books {
		switch {
		case b.tag == record.Tag:
			c.res.History.Record = true
		case strings.HasPrefix(b.tag, keepPrefix):
			c.res.History.Tombstones++
		case strings.HasPrefix(b.tag, record.TipPrefix):
			c.res.History.Logs++
		default:
			c.res.History.Moves++
		}
	}
}

// addOrphans adds versions that no tag leads to and that nothing follows which is
// copied. They are asked for signatures and by policies as those with tags are, but
// one that is refused is left out: nobody can name it by accident.
func (c *copying) addOrphans(ctx context.Context, s *shipment, orphans []copyStep) error {
	rules, err := c.h.rules(ctx)
	if err != nil {
		return err
	}
	asked := s.trust != nil || len(rules.Policies) > 0 && !rules.Skip
	refused := map[string]error{}
	for _, step := range orphans {
		if asked {
			t := s.from.target(s.subject(), step.desc, step.raw)
			v, err := c.h.admit(ctx, t.ref, t, admitOptions{trust: s.trust, checkOnly: true})
			if isRefusal(err) {
				refused[step.reference] = err
				continue
			}
			if err != nil {
				return err
			}
			s.verified = cmp.Or(s.verified, v)
		}
		s.roots = append(s.roots, step)
	}
	steps := slices.DeleteFunc(slices.Clone(orphans), func(step copyStep) bool { return refused[step.reference] != nil })
	c.res.History.Unnamed += len(steps)
	if err := s.closure.grow(ctx, steps); err != nil {
		return err
	}
	for _, step := range orphans {
		if n := s.closure.nodes[step.desc.Digest]; n != nil {
			n.version = true
		} else if why := refused[step.reference]; why != nil {
			c.res.Notes = append(c.res.Notes, fmt.Sprintf("left out version %s, which no tag leads to: %v", step.desc.Digest, why))
		}
	}
	return nil
}

// isRefusal tells whether an error is the answer that a version may not be used,
// rather than that there is none.
func isRefusal(err error) bool {
	_, refused := errors.AsType[*policy.Refusal](err)
	return refused || errors.Is(err, signing.ErrNoSignature) || errors.Is(err, signing.ErrUntrusted) || errors.Is(err, signing.ErrTooMany)
}

// nameBooks sets the tags of what is kept about the repository, entries of logs before
// the ends of these, and the record not yet: it would log moves once more that its
// logs have.
func (c *copying) nameBooks(ctx context.Context, s *shipment, to *copyEnd) error {
	var ends []string
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(checkWorkers)
	for tag, desc := range s.kept {
		switch {
		case tag == record.Tag:
		case strings.HasPrefix(tag, record.TipPrefix):
			ends = append(ends, tag)
		default:
			g.Go(func() error { return c.setBook(gctx, s, to, tag, desc) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.Sort(ends)
	for _, tag := range ends {
		if err := c.setBook(ctx, s, to, tag, s.kept[tag]); err != nil {
			return err
		}
	}
	return nil
}

// setBook sets a tag of what is kept about the repository, unless somebody else has
// since it was looked at: nothing else holds their record, the end of their log, or a
// version that is there again.
func (c *copying) setBook(ctx context.Context, s *shipment, to *copyEnd, tag string, desc ocispec.Descriptor) error {
	now, err := to.at.Resolve(ctx, tag)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("look at tag %s: %w", tag, err)
	}
	alias, isLog := strings.CutPrefix(tag, record.TipPrefix)
	free := c.opts.OnConflict == ConflictOverwrite || isLog && s.goesOn(alias, now)
	switch {
	case strings.HasPrefix(tag, record.EntryPrefix) || keepTag(desc.Digest) == tag:
		free = true // the digest is in the name
	case strings.HasPrefix(tag, keepPrefix):
		free = false
	}
	if err == nil && !free && now.Digest != desc.Digest && now.Digest != s.before[tag] {
		return fmt.Errorf("tag %s: another writer moved it to %s meanwhile: %w", tag, now.Digest, ErrConflict)
	}
	_, err = writeTag(ctx, to.at, now.Digest, desc, tag)
	return err
}

// nameRecord sets the tag of the record, last of all.
func (c *copying) nameRecord(ctx context.Context, s *shipment, to *copyEnd) error {
	desc, ok := s.kept[record.Tag]
	if !ok {
		return nil
	}
	err := c.setBook(ctx, s, to, record.Tag, desc)
	if to.remote != nil {
		c.h.records.Delete(to.remote.Name())
	}
	return err
}
