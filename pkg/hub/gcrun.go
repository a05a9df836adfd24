package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	versionKey = ocispec.AnnotationVersion

	// gcTag is where it is noted since when nothing needs which versions.
	gcTag      = "_gc"
	gcType     = "application/vnd.modelreg.gc.v1+json"
	maxGCNote  = 4 << 20 // bytes
	maxGCDepth = 4       // of what is attached to what is attached
	gcBatch    = 32      // versions are deleted before it is looked again who needs them
)

// tags sorts the repository's tags: names for people, and keep-tags. It notes
// those of alias logs, and of what other clients attach by tags.
func (c *collection) tags(ctx context.Context) (names, held []string, err error) {
	n := 0
	c.entries, c.classic, c.leading = nil, nil, nil
	for tag, err := range c.repo.Tags(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if n++; n > maxGCTags {
			return nil, nil, fmt.Errorf("more than %d tags: %w", maxGCTags, errdef.ErrSizeExceedsLimit)
		}
		switch {
		case strings.HasPrefix(tag, keepPrefix):
			held = append(held, tag)
		case strings.HasPrefix(tag, record.EntryPrefix):
			c.entries = append(c.entries, tag)
		case strings.HasPrefix(tag, "sha256-") && hidden(tag) && strings.Contains(tag, "."):
			c.classic = append(c.classic, tag)
		case !hidden(tag):
			names = append(names, tag)
		}
	}
	return names, held, nil
}

// aliases keeps what protected aliases led to within the window.
func (c *collection) aliases(ctx context.Context) error {
	found := make([]*record.Entry, len(c.entries))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(gcWorkers)
	for i, tag := range c.entries {
		group.Go(func() error {
			_, raw, err := c.repo.Manifest(gctx, tag)
			if errors.Is(err, errdef.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			if e, err := record.ParseEntry(raw); err == nil {
				found[i] = &e
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, e := range found {
		if e == nil || c.now.Sub(e.Time) > c.rules.AliasWindow {
			continue
		}
		for _, d := range []digest.Digest{e.From, e.To} {
			if v := c.versions[d]; v != nil {
				v.keep("%s led to it within %s", e.Alias, days(c.rules.AliasWindow))
			}
		}
	}
	return nil
}

// inputs keeps what a version was made of.
func (c *collection) inputs(edges []lineage.Edge, by string) {
	for _, e := range edges {
		if v := c.versions[e.Digest]; v != nil && e.Digest != "" {
			v.keep("%s was made of it (%s)", by, e.Relation)
		}
	}
}

// membersOf are the manifests of an index.
func membersOf(index []byte) []digest.Digest {
	x, err := mediatypes.ParseIndex(index)
	if err != nil {
		return nil
	}
	var out []digest.Digest
	for _, m := range x.Manifests {
		out = append(out, m.Digest)
	}
	return out
}

// freed adds up the blobs that only versions name which are due.
func (c *collection) freed(res *GCResult) int64 {
	due := map[digest.Digest]bool{}
	for _, u := range res.Unneeded {
		due[digest.Digest(u.Digest)] = u.State == "due"
	}
	stays, goes := map[digest.Digest]bool{}, map[digest.Digest]int64{}
	for d, v := range c.versions {
		m, err := mediatypes.ParseManifest(v.raw)
		if err != nil {
			continue
		}
		for _, l := range append(m.Layers, m.Config) {
			if due[d] {
				goes[l.Digest] = max(l.Size, 0)
			} else {
				stays[l.Digest] = true
			}
		}
	}
	var n int64
	for d, size := range goes {
		if !stays[d] {
			n = sum(n, size)
		}
	}
	return n
}

// run deletes what is due and notes the rest.
func (c *collection) run(ctx context.Context, res *GCResult) error {
	if res.Deleted > 0 {
		if err := c.canDelete(ctx); err != nil {
			return err
		}
		if err := c.lookAgain(ctx); err != nil {
			return err
		}
	}
	res.Run, res.Deleted = true, 0
	if err := c.holdKept(ctx); err != nil {
		return err
	}
	note := map[digest.Digest]time.Time{}
	for _, u := range res.Unneeded {
		note[digest.Digest(u.Digest)] = u.Since
	}
	if err := c.writeNote(ctx, note); err != nil {
		return err
	}
	for i := range res.Unneeded {
		u := &res.Unneeded[i]
		if u.State != "due" {
			continue
		}
		if res.Deleted%gcBatch == gcBatch-1 {
			if err := c.lookAgain(ctx); err != nil {
				return err
			}
		}
		n, err := c.remove(ctx, c.versions[digest.Digest(u.Digest)])
		res.Attached += n
		if err != nil {
			return fmt.Errorf("delete %s: %w", u.Digest, err)
		}
		u.State = "deleted"
		res.Deleted++
		delete(note, digest.Digest(u.Digest))
	}
	if res.Deleted == 0 {
		return nil
	}
	return c.writeNote(ctx, note)
}

// holdKept gives kept versions their keep-tags back in whose place a run that was
// stopped has left tombstones.
func (c *collection) holdKept(ctx context.Context) error {
	for _, v := range c.versions {
		if !v.buried || len(v.why) == 0 {
			continue
		}
		if _, err := moveTag(ctx, c.repo, v.descriptor(), keepTag(v.digest)); err != nil {
			return err
		}
	}
	return nil
}

// canDelete asks for something to be deleted that is not there: a registry that
// lets nobody delete says so, and one that does says that it is not there.
func (c *collection) canDelete(ctx context.Context) error {
	none := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, []byte("modelreg: nothing"))
	err := c.repo.Delete(ctx, none)
	if refused(err) {
		return ErrNoDelete
	}
	if err == nil || errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	return err
}

func refused(err error) bool {
	e, ok := errors.AsType[*remote.Error](err)
	return ok && (e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented)
}

// remove deletes a version, after its tombstone was put up, and what is attached
// to it. It returns how many manifests were attached.
func (c *collection) remove(ctx context.Context, v *gcVersion) (attached int, err error) {
	why := "nothing needed it since " + c.sinceWords(v)
	if err := c.hub.Bury(ctx, c.ref, v.digest.String(), Burial{Reason: why, Now: c.now}); err != nil {
		return 0, err
	}
	desc := v.descriptor()
	attached, err = c.detach(ctx, desc, 0)
	if err != nil {
		return attached, err
	}
	return attached, c.delete(ctx, desc)
}

func (c *collection) sinceWords(v *gcVersion) string {
	if at, ok := c.condemned[v.digest]; ok {
		return at.Format(time.DateOnly)
	}
	return c.now.Format(time.DateOnly)
}

// A gcNote tells since when nothing needs which versions.
type gcNote struct {
	Version  int                         `json:"version"`
	Unneeded map[digest.Digest]time.Time `json:"unneeded"`
}

// readNote reads what earlier runs noted. Without a note there is none.
func (c *collection) readNote(ctx context.Context) error {
	desc, raw, err := c.repo.Manifest(ctx, gcTag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c.noteTip = desc.Digest
	m, err := mediatypes.ParseManifest(raw)
	if err != nil || m.ArtifactType != gcType || len(m.Layers) != 1 || m.Layers[0].Size > maxGCNote {
		return fmt.Errorf("read tag %s: %w: it is no note of garbage collection", gcTag, mediatypes.ErrMalformed)
	}
	text, err := content.FetchAll(ctx, c.repo, m.Layers[0])
	if err != nil {
		return err
	}
	var note gcNote
	if err := json.Unmarshal(text, &note); err != nil || note.Version != 1 {
		return fmt.Errorf("read tag %s: %w: %w", gcTag, mediatypes.ErrMalformed, err)
	}
	for d, at := range note.Unneeded {
		if d.Validate() == nil && !at.After(c.now) {
			c.condemned[d] = at
		}
	}
	return nil
}

// writeNote writes down since when nothing needs what, unless it says so already.
// With nothing to write down there is no note, where the registry removes tags.
func (c *collection) writeNote(ctx context.Context, unneeded map[digest.Digest]time.Time) error {
	if len(unneeded) == 0 {
		if gone, err := c.dropNote(ctx); gone || err != nil {
			return err
		}
	}
	text, err := json.Marshal(gcNote{1, unneeded}, json.Deterministic(true))
	if err != nil {
		return err
	}
	layer := content.NewDescriptorFromBytes(gcType, text)
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: gcType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer},
	}, json.Deterministic(true))
	if err != nil {
		return err
	}
	if digest.FromBytes(raw) == c.noteTip {
		return nil
	}
	desc, err := pushSmall(ctx, c.repo, raw, layer, text)
	if err != nil {
		return fmt.Errorf("note what is not needed: %w", err)
	}
	if _, err := replaceTag(ctx, c.repo, gcTag, c.noteTip, desc); err != nil {
		return err
	}
	c.noteTip = desc.Digest
	return nil
}

// dropNote removes the note. False means that the registry does not remove tags.
func (c *collection) dropNote(ctx context.Context) (bool, error) {
	if c.noteTip == "" {
		return true, nil
	}
	now, err := c.repo.Resolve(ctx, gcTag)
	switch {
	case errors.Is(err, errdef.ErrNotFound):
	case err != nil:
		return false, fmt.Errorf("look at tag %s: %w", gcTag, err)
	case now.Digest != c.noteTip:
		return false, fmt.Errorf("tag %s: another run has moved it to %s meanwhile: %w", gcTag, now.Digest, ErrConflict)
	default:
		err = c.repo.Untag(ctx, gcTag)
		if e, ok := errors.AsType[*remote.Error](err); ok && e.Status/100 == 4 && !errors.Is(err, errdef.ErrNotFound) || refused(err) {
			return false, nil
		}
		if err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return false, fmt.Errorf("remove tag %s: %w", gcTag, err)
		}
	}
	c.noteTip = ""
	return true, nil
}
