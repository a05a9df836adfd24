package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// copyWorkers is how many blobs move at once when nobody says, and
// checkWorkers how many things are asked for at once.
const (
	copyWorkers  = 4
	checkWorkers = 8
)

// conflicts looks at the destination's tags, and takes those versions out that
// are not to be copied.
func (c *copying) conflicts(ctx context.Context, s *shipment) error {
	if isLocal(s.to) {
		_, err := os.Lstat(filepath.FromSlash(s.to.Repository))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case isFile(s.to):
			return c.taken(s)
		}
	}
	return c.eachTaken(ctx, s, s.tags, func(tag string, now ocispec.Descriptor) error {
		switch c.opts.OnConflict {
		case ConflictFail:
			return fmt.Errorf("tag %s stands for %s there, not %s: %w", ref.DecodeBranch(tag), now.Digest, s.tags[tag].Digest, ErrTaken)
		case ConflictSkip:
			c.res.Notes = append(c.res.Notes, "skipped "+ref.DecodeBranch(tag)+": it stands for "+now.Digest.String()+" there")
			c.skip(s, tag)
		}
		return nil
	})
}

// eachTaken calls do, in the order of their names, for the tags that lead to
// something else at the destination, and remembers where all of them lead there.
func (c *copying) eachTaken(ctx context.Context, s *shipment, tags map[string]ocispec.Descriptor, do func(tag string, now ocispec.Descriptor) error) (err error) {
	to, err := c.h.destination(s.to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		now, err := to.at.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at tag %s: %w", tag, err)
		}
		s.before[tag] = now.Digest
		if now.Digest == tags[tag].Digest {
			continue
		}
		if err := do(tag, now); err != nil {
			return err
		}
	}
	return nil
}

// taken applies the rule to an archive that is there already.
func (c *copying) taken(s *shipment) error {
	switch c.opts.OnConflict {
	case ConflictFail:
		return fmt.Errorf("%s is there already: %w", s.to.Repository, ErrTaken)
	case ConflictSkip:
		c.res.Notes = append(c.res.Notes, "skipped: "+s.to.Repository+" is there already")
		s.roots, s.done = nil, true
		clear(s.tags)
	}
	return nil
}

// skip takes a tag out, and its version if no other tag is to point to it.
func (c *copying) skip(s *shipment, tag string) {
	dgst := s.tags[tag].Digest
	delete(s.tags, tag)
	s.stays[tag] = true
	for _, other := range s.tags {
		if other.Digest == dgst {
			return
		}
	}
	s.roots = slices.DeleteFunc(s.roots, func(r copyStep) bool { return r.desc.Digest == dgst })
}

// ship copies a shipment into a repository of a registry or of a layout.
func (c *copying) ship(ctx context.Context, s *shipment) (err error) {
	to, err := c.h.destination(s.to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	blobs, err := s.closure.blobs()
	if err != nil {
		return err
	}
	c.count(s, blobs)
	if err := c.moveBlobs(ctx, s.from, to, blobs); err != nil {
		return err
	}
	if err := c.pushManifests(ctx, s, to); err != nil {
		return err
	}
	if err := c.check(ctx, s, to, blobs); err != nil {
		return fmt.Errorf("check what was copied: %w", err)
	}
	if err := c.verifyAt(ctx, s, to); err != nil {
		return fmt.Errorf("check what was copied: %w", err)
	}
	return c.name(ctx, s, to)
}

// verifyAt looks for the signatures of versions again, where they have arrived.
// A base is not asked for one: the manifest of what was made of it names it.
func (c *copying) verifyAt(ctx context.Context, s *shipment, to *copyEnd) error {
	if s.verified == nil {
		return nil
	}
	trust := s.trust
	if trust != nil && trust.MatchRepository {
		anywhere := *trust
		anywhere.MatchRepository = false // it was signed for the source's
		trust = &anywhere
	}
	for _, root := range s.roots {
		if root.pinned {
			continue
		}
		name := s.subject()
		if to.remote != nil && !s.stated {
			name = to.name()
		}
		t := to.target(name, root.desc, root.raw)
		v, err := c.h.admit(ctx, t.ref, t, admitOptions{trust: trust})
		if err != nil {
			return err
		}
		c.res.Verified = v
	}
	return nil
}

// count adds to the result what is going to be copied.
func (c *copying) count(s *shipment, blobs []ocispec.Descriptor) {
	c.res.Blobs += len(blobs)
	for _, b := range blobs {
		c.res.Size += b.Size
	}
	for _, n := range s.closure.order {
		c.res.Manifests++
		c.res.Size += n.desc.Size
		if n.version {
			c.res.Versions++
		} else if n.subject != nil || len(n.classic) > 0 {
			c.res.Attached++
		}
	}
}

// pushManifests writes the manifests: those that others list before those, and
// then what refers to them.
func (c *copying) pushManifests(ctx context.Context, s *shipment, to *copyEnd) error {
	for _, n := range s.closure.plain() {
		there, err := to.at.Exists(ctx, n.desc)
		if err != nil {
			return fmt.Errorf("look for manifest %s: %w", n.desc.Digest, err)
		}
		if !there {
			err = to.at.PushManifest(ctx, n.desc, n.raw)
		}
		if err != nil {
			return fmt.Errorf("push manifest %s: %w", n.desc.Digest, err)
		}
		c.moved(n.desc.Size, there)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(checkWorkers)
	referrers := s.closure.referrers()
	there := make([]bool, len(referrers))
	for i, n := range referrers {
		g.Go(func() (err error) {
			if there[i], err = to.at.Exists(gctx, n.desc); err != nil {
				return fmt.Errorf("look for manifest %s: %w", n.desc.Digest, err)
			}
			return to.at.PushReferrer(gctx, n.raw, *n.subject) // which also lists it
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, n := range referrers {
		c.moved(n.desc.Size, there[i])
	}
	return c.pushClassic(ctx, s, to)
}

// moved counts bytes.
func (c *copying) moved(n int64, there bool) {
	if there {
		c.res.SkippedBytes += n
	} else {
		c.res.CopiedBytes += n
	}
}

// pushClassic points cosign's tags at what they point to at the source. Where
// the destination has one with other signatures, none of them may be lost.
func (c *copying) pushClassic(ctx context.Context, s *shipment, to *copyEnd) error {
	for _, n := range s.closure.order {
		for _, tag := range n.classic {
			now, raw, err := to.at.Manifest(ctx, tag)
			if err != nil && !errors.Is(err, errdef.ErrNotFound) {
				return fmt.Errorf("look at tag %s: %w", tag, err)
			}
			if err == nil && now.Digest == n.desc.Digest {
				continue
			}
			if err == nil {
				theirs := &copyNode{desc: now, raw: raw}
				if theirs.parse() != nil || !n.holds(theirs) {
					if theirs.holds(n) {
						continue // it has these, and more
					}
					if c.opts.OnConflict == ConflictFail {
						return fmt.Errorf("tag %s has other signatures there, which would be lost: %w", tag, ErrTaken)
					}
					if c.opts.OnConflict == ConflictSkip {
						c.res.Notes = append(c.res.Notes, "skipped "+tag+": it has other signatures there")
						continue
					}
				}
			}
			if err := to.at.Tag(ctx, n.desc, tag); err != nil {
				return fmt.Errorf("tag %s: %w", tag, err)
			}
		}
	}
	return nil
}

// holds tells whether n has all layers of other.
func (n *copyNode) holds(other *copyNode) bool {
	for i, b := range other.blobs {
		if i > 0 && !slices.ContainsFunc(n.blobs, func(d ocispec.Descriptor) bool { return d.Digest == b.Digest }) {
			return false
		}
	}
	return true
}

// check asks the destination for everything again.
func (c *copying) check(ctx context.Context, s *shipment, to *copyEnd, blobs []ocispec.Descriptor) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(checkWorkers)
	for _, b := range blobs {
		g.Go(func() error {
			there, err := to.at.Exists(ctx, b)
			if err == nil && !there {
				err = fmt.Errorf("blob %s is not there: %w", b.Digest, errdef.ErrNotFound)
			}
			return err
		})
	}
	for _, n := range s.closure.order {
		g.Go(func() error { return c.checkManifest(ctx, n, to) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.res.Checked += len(blobs) + len(s.closure.order)
	return nil
}

// checkManifest fetches a manifest, and looks whether it is found from what it
// refers to.
func (c *copying) checkManifest(ctx context.Context, n *copyNode, to *copyEnd) error {
	desc, _, err := to.at.Manifest(ctx, n.desc.Digest.String())
	if err != nil {
		return err
	}
	if desc.Digest != n.desc.Digest || desc.Size != n.desc.Size {
		return fmt.Errorf("manifest %s: the destination has %s of %d bytes: %w", n.desc.Digest, desc.Digest, desc.Size, content.ErrMismatchedDigest)
	}
	if n.subject == nil {
		return nil
	}
	listed, err := to.at.Referrers(ctx, *n.subject, "")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(listed, func(d ocispec.Descriptor) bool { return d.Digest == n.desc.Digest }) {
		return fmt.Errorf("manifest %s is not listed as attached to %s: %w", n.desc.Digest, n.subject.Digest, errdef.ErrNotFound)
	}
	return nil
}

// name gives what was copied its tags: in a registry those first that hold it
// against garbage collection.
func (c *copying) name(ctx context.Context, s *shipment, to *copyEnd) error {
	if to.remote != nil {
		if err := c.hold(ctx, s, to); err != nil {
			return err
		}
		c.remember(s, to)
	}
	if err := c.nameBooks(ctx, s, to); err != nil {
		return err
	}
	for _, tag := range slices.Sorted(maps.Keys(s.tags)) {
		if err := c.setTag(ctx, s, to, tag); err != nil {
			return err
		}
		c.res.Tags = append(c.res.Tags, tag)
	}
	return c.nameRecord(ctx, s, to)
}

// hold sets the keep-tags of versions.
func (c *copying) hold(ctx context.Context, s *shipment, to *copyEnd) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(checkWorkers)
	for _, n := range s.closure.order {
		if n.version {
			g.Go(func() error {
				_, err := moveTag(ctx, to.at, n.desc, keepTag(n.desc.Digest))
				return err
			})
		}
	}
	return g.Wait()
}

// setTag moves a tag, unless somebody else has since it was looked at.
func (c *copying) setTag(ctx context.Context, s *shipment, to *copyEnd, tag string) error {
	desc := s.tags[tag]
	now, err := to.at.Resolve(ctx, tag)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("look at tag %s: %w", tag, err)
	}
	if err == nil && c.opts.OnConflict != ConflictOverwrite && now.Digest != desc.Digest && now.Digest != s.before[tag] {
		return fmt.Errorf("tag %s: another writer moved it to %s meanwhile: %w", tag, now.Digest, ErrConflict)
	}
	if to.remote == nil {
		_, err = moveTag(ctx, to.at, desc, tag)
		return err
	}
	_, logged := s.kept[record.TipTag(tag)]
	_, err = c.h.move(ctx, &target{repo: to.remote, ref: s.to.WithTag(tag), desc: desc, signed: desc}, tag, moving{logged: logged})
	return err
}

// remember notes where blobs can be mounted from, for the next copy or push.
func (c *copying) remember(s *shipment, to *copyEnd) {
	if c.h.opts.Store == nil {
		return
	}
	for _, n := range s.closure.order {
		if n.version {
			for _, b := range n.blobs {
				c.h.opts.Store.Remember(b.Digest, to.remote.Name())
			}
		}
	}
}

// did counts what became of a blob.
func (c *copying) did(action transfer.Action, size int64) {
	switch action {
	case transfer.Mounted:
		c.res.MountedBytes += size
	case transfer.Exists:
		c.res.SkippedBytes += size
	default:
		c.res.CopiedBytes += size
	}
}

// sourceDigest makes it known that a place could not give the bytes it should.
func sourceDigest(err error, dgst digest.Digest) error {
	return fmt.Errorf("read blob %s: %w", dgst, err)
}
