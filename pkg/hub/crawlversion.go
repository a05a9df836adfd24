package hub

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// crawlTags bounds the tags of one repository that are asked for at once.
const crawlTags = 32

// A crawled is a version as its repository has it now.
type crawled struct {
	desc     ocispec.Descriptor
	tags     []string
	latest   bool
	attached string // what besides the version a record of it is made of; empty for nothing
	unasked  bool   // what that is, is not known
	classic  bool   // there is a signature in the older layout
	noModel  bool

	elsewhere []*remote.Repository // that have evaluations of it
}

// repository crawls one repository, whose tags are listed unless they are known
// already. One that is not there has no versions.
func (c *crawl) repository(ctx context.Context, name string, all []string) error {
	r, err := ref.Parse(name)
	if err != nil {
		return err
	}
	repo, err := c.h.repository(r)
	if err != nil {
		return err
	}
	if all == nil {
		err = c.pace.do(ctx, func() (err error) { all, err = tags(ctx, repo, true); return err })
		if err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return err
		}
	}
	skipped, err := c.ix.Skipped(ctx, name, crawlRules)
	if err != nil {
		return indexError{err}
	}
	versions, unread, err := c.versions(ctx, repo, all, skipped)
	if err != nil {
		return err
	}
	old, err := c.ix.Versions(ctx, name)
	if err != nil {
		return indexError{err}
	}
	c.sees(ctx, repo, all, versions, old)
	known := map[string]index.Record{}
	for _, r := range old {
		known[r.Digest] = r
	}
	c.count(func(r *CrawlResult) { r.Repositories++ })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(crawlTags)
	for _, v := range versions {
		before, ok := known[v.desc.Digest.String()]
		delete(known, v.desc.Digest.String())
		g.Go(func() error {
			if err := c.version(gctx, repo, v, before, ok); err != nil {
				return err
			}
			return c.flushIfDue(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.leftOut(name, versions, skipped)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range known {
		if slices.ContainsFunc(r.Tags, func(tag string) bool { return unread[tag] }) {
			continue // it may be there
		}
		c.gone = append(c.gone, r.Key())
		c.res.Deleted++
	}
	return nil
}

// remove takes a version out of the index.
func (c *crawl) remove(k index.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = append(c.gone, k)
	c.res.Deleted++
}

// leftOut remembers what of a repository is no model, unless it is what was skipped
// before.
func (c *crawl) leftOut(name string, versions []*crawled, skipped []string) {
	var now []string
	for _, v := range versions {
		if v.noModel {
			now = append(now, v.desc.Digest.String())
		}
	}
	if now = now[:min(len(now), index.MaxSkipped)]; !slices.Equal(now, skipped) {
		c.skip(name, now)
	}
}

// versions asks for the digests of all tags that people gave, and of what is
// attached to those that were not skipped before. Tags that could not be asked for
// are unread.
func (c *crawl) versions(ctx context.Context, repo *remote.Repository, all, skipped []string) (list []*crawled, unread map[string]bool, err error) {
	var mu sync.Mutex
	found := map[digest.Digest]*crawled{}
	unread = map[string]bool{}
	given := slices.DeleteFunc(slices.Clone(all), hidden)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(crawlTags)
	for _, tag := range given {
		g.Go(func() error {
			desc, err := c.head(gctx, repo, tag)
			if ofRegistry(gctx, err) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				unread[ref.DecodeBranch(tag)] = true
				c.problem(repo.Name()+":"+tag, err)
				return nil
			case desc.Digest == "":
				return nil
			case found[desc.Digest] == nil:
				found[desc.Digest] = &crawled{desc: desc}
			}
			found[desc.Digest].tags = append(found[desc.Digest].tags, tag)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	list = make([]*crawled, 0, len(found))
	for _, v := range found {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *crawled) int { return strings.Compare(string(a.desc.Digest), string(b.desc.Digest)) })
	for _, v := range list {
		_, v.noModel = slices.BinarySearch(skipped, v.desc.Digest.String())
	}
	said, err := c.record(ctx, repo, all)
	if err != nil {
		return nil, nil, err
	}
	markLatest(said, list)
	return list, unread, c.attachments(ctx, repo, list, attachable{all, said})
}

// ofRegistry tells whether an error is about the registry, so that nothing else of
// it will be read either, and not about the one thing that was asked for.
func ofRegistry(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, remote.ErrUnreachable) || errors.Is(err, remote.ErrUnauthorized))
}

// head asks what a tag leads to: nothing if it is gone by now.
func (c *crawl) head(ctx context.Context, repo *remote.Repository, tag string) (desc ocispec.Descriptor, err error) {
	err = c.pace.do(ctx, func() (err error) { desc, err = repo.Resolve(ctx, tag); return err })
	if errors.Is(err, errdef.ErrNotFound) {
		err = nil
	}
	return desc, err
}

// attachable is where the attachments of a repository's versions are looked for.
type attachable struct {
	tags   []string // all, sorted
	record *recorded
}

// attachments looks for what a record of a version is made of besides the version:
// the list of what is attached, what is attached by tags of the older layout, and the
// record of the repository, which says whose word counts. A registry that lists the
// tag of one of the lists has no others; one that lists none may hide them.
func (c *crawl) attachments(ctx context.Context, repo *remote.Repository, list []*crawled, in attachable) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(crawlTags)
	listed := slices.ContainsFunc(in.tags, func(tag string) bool { return strings.HasPrefix(tag, "sha256-") && !strings.Contains(tag, ".") })
	for _, v := range list {
		if v.noModel {
			continue
		}
		tag := v.desc.Digest.Algorithm().String() + "-" + v.desc.Digest.Encoded()
		var ask []string
		for _, suffix := range []string{"", ".sig", ".att"} {
			_, ok := slices.BinarySearch(in.tags, tag+suffix)
			if v.classic = v.classic || ok && suffix == ".sig"; ok || suffix == "" && !listed {
				ask = append(ask, tag+suffix)
			}
		}
		g.Go(func() error { return c.attachedTo(ctx, repo, v, ask, in.record) })
	}
	return g.Wait()
}

// attachedTo asks for the tags of what may be attached to a version. The list alone
// stands for itself.
func (c *crawl) attachedTo(ctx context.Context, repo *remote.Repository, v *crawled, ask []string, said *recorded) error {
	var parts []string
	for _, tag := range ask {
		desc, err := c.head(ctx, repo, tag)
		if ofRegistry(ctx, err) {
			return err
		}
		if err != nil {
			c.problem(repo.Name()+":"+tag, err)
			v.unasked = true
			return nil
		}
		if desc.Digest != "" {
			parts = append(parts, tag+"@"+desc.Digest.String())
			v.attached = desc.Digest.String()
		}
	}
	if said == nil {
		v.unasked = len(parts) > 0
	} else if len(parts) > 0 && said.desc.Digest != "" {
		parts = append(parts, record.Tag+"@"+said.desc.Digest.String())
	}
	if len(parts) > 1 || len(parts) == 1 && strings.Contains(parts[0], ".") {
		v.attached = digest.FromString(strings.Join(parts, "\n")).String()
	}
	return nil
}

// record reads what a repository says about itself as it is now: nil if that cannot
// be read.
func (c *crawl) record(ctx context.Context, repo *remote.Repository, all []string) (said *recorded, err error) {
	if !slices.Contains(all, record.Tag) {
		return &recorded{}, nil
	}
	c.h.records.Delete(repo.Name())
	err = c.pace.do(ctx, func() (err error) { said, err = c.h.recorded(ctx, repo); return err })
	if err != nil && !ofRegistry(ctx, err) {
		c.problem(repo.Name()+":"+record.Tag, err)
		return nil, nil
	}
	return said, err
}

// markLatest finds the version that the repository's name stands for: its default
// branch, or else the highest release.
func markLatest(said *recorded, list []*crawled) {
	names := []string{DefaultTag, "main", "master"}
	if said != nil && said.DefaultBranch != "" {
		names = slices.Insert(names, 0, said.DefaultBranch)
	}
	for _, name := range names {
		for _, v := range list {
			if slices.Contains(v.tags, name) {
				v.latest = true
				return
			}
		}
	}
	if v := highestRelease(list); v != nil {
		v.latest = true
	}
}

// highestRelease returns the version with the highest semantic version as its
// tag, or with the last tag if none has one.
func highestRelease(list []*crawled) *crawled {
	var best, last *crawled
	var high *semver.Version
	name := ""
	for _, v := range list {
		for _, tag := range v.tags {
			if tag >= name {
				last, name = v, tag
			}
			n, err := semver.NewVersion(tag)
			if err == nil && (high == nil || n.GreaterThan(high)) {
				best, high = v, n
			}
		}
	}
	if best != nil {
		return best
	}
	return last
}

// version brings one version up to date.
func (c *crawl) version(ctx context.Context, repo *remote.Repository, v *crawled, before index.Record, known bool) error {
	slices.Sort(v.tags)
	names := make([]string, len(v.tags))
	for i, tag := range v.tags {
		names[i] = ref.DecodeBranch(tag)
	}
	if v.noModel {
		c.count(func(r *CrawlResult) { r.Skipped++ })
		return nil
	}
	if known && (before.Attached == v.attached || v.unasked) {
		c.count(func(r *CrawlResult) { r.Versions++ })
		if !slices.Equal(before.Tags, names) || before.Latest != v.latest {
			before.Tags, before.Latest = names, v.latest
			c.put(before)
			c.count(func(r *CrawlResult) { r.Changed++ })
		}
		return nil
	}
	var facts *versionFacts
	err := c.pace.do(ctx, func() (err error) { facts, err = c.read(ctx, repo, v); return err })
	switch {
	case errors.Is(err, artifact.ErrNotModel):
		v.noModel = true
		c.count(func(r *CrawlResult) { r.Skipped++ })
		if known {
			c.remove(before.Key())
		}
		return nil
	case ofRegistry(ctx, err):
		return err
	case err != nil:
		c.problem(repo.Name()+"@"+v.desc.Digest.String(), err)
		return nil
	}
	rec := facts.record()
	rec.Repository, rec.Digest, rec.Tags, rec.Latest, rec.Attached = repo.Name(), v.desc.Digest.String(), names, v.latest, v.attached
	keepElsewhere(&rec, before)
	c.put(rec)
	c.count(func(r *CrawlResult) { r.Versions++; r.Fetched++ })
	return nil
}

// read fetches what a record is made of.
func (c *crawl) read(ctx context.Context, repo *remote.Repository, v *crawled) (*versionFacts, error) {
	desc, raw, err := repo.Manifest(ctx, v.desc.Digest.String())
	if err != nil {
		return nil, err
	}
	name, err := ref.Parse(repo.Name())
	if err != nil {
		return nil, err
	}
	t := &target{repo: repo, ref: name.WithDigest(desc.Digest), desc: desc, raw: raw, signed: desc, made: created(raw)}
	f := &versionFacts{made: t.made, signed: v.classic, elsewhere: v.elsewhere}
	if err := c.readManifest(ctx, t, f); err != nil {
		return nil, err
	}
	if v.attached == "" && len(v.elsewhere) == 0 {
		return f, c.readCard(ctx, t, f)
	}
	return f, c.readAttached(ctx, t, f)
}

// readManifest takes what the manifest says, or the first model of an index, and
// looks into files only where neither says what the model is.
func (c *crawl) readManifest(ctx context.Context, t *target, f *versionFacts) error {
	raw := t.raw
	f.desc = t.desc
	if isIndex(t.desc) {
		i, err := mediatypes.ParseIndex(t.raw)
		if err != nil {
			return errors.Join(artifact.ErrNotModel, err)
		}
		models := f.takeIndex(i)
		if len(models) == 0 {
			return artifact.ErrNotModel
		}
		if f.desc, raw, err = t.repo.Manifest(ctx, models[0].Digest.String()); err != nil {
			return err
		}
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return errors.Join(artifact.ErrNotModel, err)
	}
	model, err := c.isCrawled(ctx, t, m)
	if err != nil {
		return err
	}
	if !model {
		return artifact.ErrNotModel
	}
	f.takeManifest(m)
	if f.annotations[mediatypes.AnnotationFormats] != "" || !slices.ContainsFunc(f.layers, mayBeWeights) {
		return nil
	}
	a, err := artifact.Open(ctx, t.repo, f.desc)
	if err != nil {
		return err
	}
	var doc *card.Card
	f.model, doc, err = a.Describe(ctx, t.repo.Origin())
	f.card = doc
	return err
}

// mayBeWeights tells whether a layer may say more of a model than its manifest.
func mayBeWeights(l ocispec.Descriptor) bool {
	return isWeights(l.MediaType) || strings.Contains(l.MediaType, ".tar") || strings.Contains(l.MediaType, "octet-stream")
}

func isWeights(mediaType string) bool {
	for _, part := range []string{".weight.v1", "gguf", "safetensors", "ollama.image.model", "kitops.modelkit.model"} {
		if strings.Contains(mediaType, part) {
			return true
		}
	}
	return false
}

// readCard reads the card that a version was released with.
func (c *crawl) readCard(ctx context.Context, t *target, f *versionFacts) error {
	if f.card != nil {
		return nil
	}
	for _, l := range f.layers {
		path := l.Annotations[mediatypes.AnnotationFilepath]
		if path == "" {
			path = l.Annotations[mediatypes.AnnotationTitle]
		}
		if path == cardFile && !strings.Contains(l.MediaType, ".tar") && l.Size <= card.MaxBytes {
			raw, err := content.FetchAll(ctx, t.repo, l)
			if err == nil {
				f.card, err = card.Parse(raw)
			}
			return err
		}
	}
	if !slices.ContainsFunc(f.layers, func(l ocispec.Descriptor) bool { return strings.Contains(l.MediaType, ".tar") }) {
		return nil
	}
	return f.takeCard(c.h.releasedCard(ctx, t))
}

// readAttached reads what is attached: a newer card, what became of the version,
// and who has signed it.
func (c *crawl) readAttached(ctx context.Context, t *target, f *versionFacts) error {
	list, err := t.repo.Referrers(ctx, t.signed, "")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.ArtifactType == mediatypes.ArtifactCard }) {
		err = f.takeCard(c.h.effectiveCard(ctx, t, c.opts.Trust))
	} else {
		err = c.readCard(ctx, t, f)
	}
	if err != nil {
		return err
	}
	if f.status, err = c.h.statusOf(ctx, t, c.opts.Trust); err != nil {
		return err
	}
	if slices.ContainsFunc(list, mayEvaluate) || len(f.elsewhere) > 0 {
		if f.measured, err = c.measurements(ctx, t, f.elsewhere); err != nil {
			return err
		}
	}
	n, err := signatures(ctx, t, list)
	if err != nil {
		return err
	}
	f.signed = f.signed || n > 0
	if c.opts.Trust == nil || !f.signed {
		return nil
	}
	report, err := signing.Verify(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}, *c.opts.Trust)
	switch {
	case err == nil:
		f.signers = signers(report)
	case !errors.Is(err, signing.ErrUntrusted) && !errors.Is(err, signing.ErrNoSignature) && !errors.Is(err, signing.ErrTooMany):
		return err
	}
	return nil
}
