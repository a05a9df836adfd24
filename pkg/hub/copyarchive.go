package hub

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// A smallBlob is one whose bytes are in memory.
type smallBlob struct {
	desc ocispec.Descriptor
	raw  []byte
}

// A manuscript is what is going to be in an archive.
type manuscript struct {
	entries   []ocispec.Descriptor
	small     map[digest.Digest]smallBlob
	large     map[digest.Digest]ocispec.Descriptor
	qualified bool // names of entries begin with the repository
}

// write adds a manifest.
func (m *manuscript) write(desc ocispec.Descriptor, raw []byte) {
	m.small[desc.Digest] = smallBlob{desc, raw}
}

// list adds an entry of index.json.
func (m *manuscript) list(desc ocispec.Descriptor, repository, tag string) {
	m.entries = append(m.entries, layout.Name(layout.Listed(desc), repository, tag, m.qualified))
}

// add adds a shipment.
func (m *manuscript) add(s *shipment) error {
	name := s.from.name()
	if s.from.remote == nil && name == "" && s.from.ref.Host != "" {
		name = s.from.ref.Name()
	}
	blobs, err := s.closure.blobs()
	if err != nil {
		return err
	}
	for _, b := range blobs {
		m.large[b.Digest] = b
	}
	tagged := make(map[digest.Digest]bool)
	for _, tag := range slices.Sorted(maps.Keys(s.tags)) {
		m.list(s.closure.entry(s.tags[tag].Digest), name, tag)
		tagged[s.tags[tag].Digest] = true
	}
	for _, tag := range slices.Sorted(maps.Keys(s.kept)) {
		m.list(s.closure.entry(s.kept[tag].Digest), name, tag)
		tagged[s.kept[tag].Digest] = true
	}
	attached := make(map[digest.Digest][]ocispec.Descriptor)
	for _, n := range s.closure.order {
		m.write(n.desc, n.raw)
		entry := s.closure.entry(n.desc.Digest)
		for _, tag := range n.classic {
			m.list(entry, name, tag)
		}
		if n.version && !tagged[n.desc.Digest] {
			m.list(entry, name, "")
		}
		if n.subject == nil {
			continue
		}
		listed, err := layout.Referrer(n.raw, *n.subject)
		if err != nil {
			return err
		}
		m.list(listed, name, "")
		attached[n.subject.Digest] = append(attached[n.subject.Digest], listed)
	}
	return m.fallbacks(name, attached)
}

// fallbacks lists what is attached under the fallback tags.
func (m *manuscript) fallbacks(name string, attached map[digest.Digest][]ocispec.Descriptor) error {
	for _, subject := range slices.Sorted(maps.Keys(attached)) {
		list := slices.SortedFunc(slices.Values(attached[subject]), func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
		desc, raw, err := layout.Fallback(list)
		if err != nil {
			return err
		}
		m.write(desc, raw)
		m.list(desc, name, layout.FallbackTag(subject))
	}
	return nil
}

// entry is what index.json says of a manifest.
func (c *closure) entry(dgst digest.Digest) ocispec.Descriptor {
	n := c.nodes[dgst]
	desc := n.desc
	desc.ArtifactType = n.artifactType
	return desc
}

// compareEntries sorts entries by their names, and those without one last.
func compareEntries(a, b ocispec.Descriptor) int {
	x, y := a.Annotations[ocispec.AnnotationRefName], b.Annotations[ocispec.AnnotationRefName]
	if (x == "") != (y == "") {
		return cmp.Compare(len(y), len(x))
	}
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.Digest, b.Digest))
}

// contents returns what is in the archive, the same for the same shipments.
func (m *manuscript) contents() layout.Contents {
	slices.SortStableFunc(m.entries, compareEntries)
	m.entries = slices.CompactFunc(m.entries, func(a, b ocispec.Descriptor) bool {
		return a.Digest == b.Digest && maps.Equal(a.Annotations, b.Annotations)
	})
	c := layout.Contents{Index: m.entries}
	for _, dgst := range slices.Sorted(maps.Keys(m.small)) {
		c.Blobs = append(c.Blobs, m.small[dgst].desc)
	}
	for _, dgst := range slices.Sorted(maps.Keys(m.large)) {
		if _, twice := m.small[dgst]; !twice {
			c.Blobs = append(c.Blobs, m.large[dgst])
		}
	}
	return c
}

// toArchive writes shipments into a tar archive, with more small blobs and their
// entries if there are any.
func (c *copying) toArchive(ctx context.Context, dst ref.Reference, all []*shipment, more func(m *manuscript)) (err error) {
	file := filepath.FromSlash(dst.Repository)
	m := &manuscript{small: make(map[digest.Digest]smallBlob), large: make(map[digest.Digest]ocispec.Descriptor)}
	for _, s := range all {
		m.qualified = m.qualified || s.from.name() != all[0].from.name()
	}
	for _, s := range all {
		if err := m.add(s); err != nil {
			return err
		}
	}
	if more != nil {
		more(m)
	}
	contents := m.contents()
	w, err := layout.CreateTar(file, contents)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, b := range m.small {
		if err := w.Push(ctx, b.desc, bytes.NewReader(b.raw)); err != nil {
			return err
		}
		c.did(transfer.Done, b.desc.Size)
	}
	for _, s := range all {
		if err := c.fillArchive(ctx, w, s, m); err != nil {
			return err
		}
	}
	if err := c.checkArchive(ctx, w, all, contents); err != nil {
		if ctx.Err() == nil {
			w.Discard() // a further copy would be refused as well
		}
		return fmt.Errorf("check what was copied: %w", err)
	}
	c.sum(all, contents)
	return w.Commit()
}

// fillArchive fetches the blobs of a shipment that no other has brought.
func (c *copying) fillArchive(ctx context.Context, w *layout.TarWriter, s *shipment, m *manuscript) error {
	var jobs []transfer.Job
	blobs, err := s.closure.blobs()
	if err != nil {
		return err
	}
	for _, b := range blobs {
		_, here := m.large[b.Digest]
		if _, small := m.small[b.Digest]; !here || small {
			continue
		}
		delete(m.large, b.Digest)
		c.did(transfer.Done, b.Size)
		jobs = append(jobs, transfer.Job{Desc: b, Name: b.Annotations[ocispec.AnnotationTitle], Open: func() (transfer.Partial, error) { return w.Partial(b) }})
	}
	return transfer.Pull(ctx, s.from.at, jobs, transfer.PullOptions{Workers: c.opts.Workers, Observe: c.h.opts.Observe})
}

// sum says in the result what is in the archive.
func (c *copying) sum(all []*shipment, contents layout.Contents) {
	for _, b := range contents.Blobs {
		c.res.Size += b.Size
	}
	seen := make(map[digest.Digest]bool)
	for _, s := range all {
		for _, n := range s.closure.order {
			if seen[n.desc.Digest] {
				continue
			}
			seen[n.desc.Digest] = true
			c.res.Manifests++
			if n.version {
				c.res.Versions++
			} else if n.subject != nil || len(n.classic) > 0 {
				c.res.Attached++
			}
			for _, b := range n.blobs {
				if !seen[b.Digest] {
					seen[b.Digest] = true
					c.res.Blobs++
				}
			}
		}
		c.res.Tags = append(c.res.Tags, slices.Sorted(maps.Keys(s.tags))...)
	}
}

// checkArchive reads the archive as those will who get it, before it takes the
// place of one that is there. The bytes of large blobs were hashed when they were
// written.
func (c *copying) checkArchive(ctx context.Context, w *layout.TarWriter, all []*shipment, contents layout.Contents) error {
	l, err := w.Layout()
	if err != nil {
		return err
	}
	defer l.Close()
	for _, b := range contents.Blobs {
		if there, err := l.Exists(ctx, b); err != nil || !there {
			return errors.Join(err, fmt.Errorf("blob %s is not there", b.Digest))
		}
	}
	for _, s := range slices.Backward(all) {
		repo, err := l.Repository(s.from.name())
		if err != nil {
			return err
		}
		to := &copyEnd{at: repo, layout: l}
		for _, n := range s.closure.order {
			if err := c.checkManifest(ctx, n, to); err != nil {
				return err
			}
		}
		if err := c.verifyAt(ctx, s, to); err != nil {
			return err
		}
	}
	c.res.Checked = len(contents.Blobs)
	return nil
}
