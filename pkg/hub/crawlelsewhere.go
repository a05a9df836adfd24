package hub

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// sees notes what a repository has, and what the index had of it.
func (c *crawl) sees(ctx context.Context, repo *remote.Repository, all []string, versions []*crawled, old []index.Record) {
	var names []string
	if slices.Contains(all, record.Tag) {
		if rec, err := c.h.record(ctx, repo); err == nil { // if not, it was told of already
			names = rec.Evaluations
		}
	}
	e := &c.elsewhere
	e.mu.Lock()
	defer e.mu.Unlock()
	e.takeTags(repo.Name(), all)
	n := e.repo(repo.Name())
	for _, v := range versions {
		if s, ok := beginningOf(v.desc.Digest.Encoded()); ok {
			e.versions = append(e.versions, held{s, n})
		}
	}
	for _, r := range old {
		if s, ok := beginningOf(strings.TrimPrefix(r.Digest, "sha256:")); ok && len(r.Elsewhere) > 0 {
			e.again = append(e.again, s)
		}
	}
	for _, name := range names[:min(len(names), maxEvaluationRepos)] {
		r, err := ref.Parse(name)
		host, _, _ := strings.Cut(repo.Name(), "/")
		if err != nil || r.Host != host || e.named[name] == nil && len(e.named) == maxNamedEvaluations {
			continue
		}
		e.named[name] = append(e.named[name], repo.Name())
	}
}

// join brings into the index what was measured of versions elsewhere: in other
// repositories that were crawled, in those that the hub was told of, and in those that
// a version's own repository names. It is found by the lists of attachments that
// repositories have for digests that are none of theirs.
func (c *crawl) join(ctx context.Context) error {
	if err := c.listOthers(ctx); err != nil {
		return err
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	if c.elsewhere.askSilent(c.h.opts.Evaluations) {
		c.problem("evaluations", fmt.Errorf("repositories that do not list what they have were asked about %d versions, and not about others", maxSilent))
	}
	c.count(func(r *CrawlResult) { c.elsewhere.keep = !c.opts.Whole || r.Failed > 0 })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(crawlTags)
	for subject, holders := range c.elsewhere.candidates() {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := c.joinSubject(gctx, subject, holders); err != nil {
				return err
			}
			return c.flushIfDue(gctx)
		})
	}
	return g.Wait()
}

// listOthers lists the tags of repositories that are looked into for evaluations and
// were not crawled.
func (c *crawl) listOthers(ctx context.Context) error {
	var names []string
	for _, r := range c.h.opts.Evaluations {
		names = append(names, r.Name())
	}
	e := &c.elsewhere
	names = slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(names, maps.Keys(e.named)))))
	names = slices.DeleteFunc(names, func(name string) bool { return e.listed[name] })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(crawlTags)
	for _, name := range names {
		g.Go(func() error {
			var list []string
			repo, err := c.repositoryNamed(name)
			if err == nil {
				err = c.pace.do(gctx, func() (err error) { list, err = tags(gctx, repo, true); return err })
			}
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			if err != nil && !errors.Is(err, errdef.ErrNotFound) {
				c.problem(name, err)
				return nil
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			e.takeTags(name, list)
			e.only[name] = true
			return nil
		})
	}
	return g.Wait()
}

func (c *crawl) repositoryNamed(name string) (*remote.Repository, error) {
	r, err := ref.Parse(name)
	if err != nil {
		return nil, err
	}
	return c.h.repository(r)
}

// joinSubject brings the records of one version, in whatever repositories, up to date
// with what is said of it elsewhere.
func (c *crawl) joinSubject(ctx context.Context, subject [12]byte, holders []string) error {
	records, err := c.ix.OfDigest(ctx, hex.EncodeToString(subject[:]))
	if err != nil {
		return indexError{err}
	}
	asked := map[string]*attachedList{}
	for _, rec := range records {
		if err := c.joinRecord(ctx, rec, holders, asked); err != nil {
			return err
		}
	}
	return nil
}

// An attachedList is what one repository lists of a version.
type attachedList struct {
	repo   *remote.Repository
	digest digest.Digest // empty unless evaluations are among it
	err    error         // it could not be read
}

// joinRecord brings one record up to date. What cannot be read leaves it as it is.
func (c *crawl) joinRecord(ctx context.Context, before index.Record, holders []string, asked map[string]*attachedList) error {
	var others []*attachedList
	was := map[string]bool{}
	for _, at := range before.Elsewhere {
		name, _, _ := strings.Cut(at, "@")
		was[name] = true
	}
	for _, name := range c.placesFor(before, holders, was) {
		if len(others) == maxEvaluationRepos {
			break
		}
		l := asked[name]
		if l == nil {
			l = c.attachedList(ctx, name, digest.Digest(before.Digest))
			asked[name] = l
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case l.err != nil:
			if was[name] {
				return nil
			}
		case l.digest != "":
			others = append(others, l)
		}
	}
	slices.SortFunc(others, func(a, b *attachedList) int { return strings.Compare(a.repo.Name(), b.repo.Name()) })
	return c.rejoin(ctx, before, others)
}

// placesFor are the repositories in which something may be said of a version, the most
// wanted first.
func (c *crawl) placesFor(r index.Record, holders []string, was map[string]bool) []string {
	e := &c.elsewhere
	wanted := func(name string) int {
		switch {
		case slices.ContainsFunc(c.h.opts.Evaluations, func(o ref.Reference) bool { return o.Name() == name }):
			return 0
		case slices.Contains(e.named[name], r.Repository):
			return 1
		case e.crawled(name):
			return 2
		}
		return 3
	}
	var list []string
	for _, name := range holders {
		if name != r.Repository && wanted(name) < 3 {
			list = append(list, name)
		}
	}
	if e.keep {
		for name := range was {
			if !e.listed[name] {
				list = append(list, name)
			}
		}
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(wanted(a), wanted(b)), strings.Compare(a, b)) })
	return slices.Compact(list)
}

// crawled tells whether a repository was crawled, and not only looked into.
func (e *elsewhere) crawled(name string) bool { return e.listed[name] && !e.only[name] }

// attachedList asks what a repository lists of a version.
func (c *crawl) attachedList(ctx context.Context, name string, of digest.Digest) *attachedList {
	l := &attachedList{}
	if l.repo, l.err = c.repositoryNamed(name); l.err != nil {
		return l
	}
	e := &c.elsewhere
	e.mu.Lock()
	l.err = e.down[name]
	e.mu.Unlock()
	if l.err != nil {
		return l
	}
	var raw []byte
	tag := of.Algorithm().String() + "-" + of.Encoded()
	err := c.pace.do(ctx, func() (err error) { _, raw, err = l.repo.Manifest(ctx, tag); return err })
	if errors.Is(err, errdef.ErrNotFound) || errors.Is(err, mediatypes.ErrMalformed) {
		return l
	}
	if err != nil {
		l.err = err
		e.mu.Lock()
		known := e.down[name] != nil
		e.down[name] = err
		e.mu.Unlock()
		if !known && ctx.Err() == nil {
			c.problem(name+":"+tag, err)
		}
		return l
	}
	// Who lists what is no list says nothing, and must not keep others from it.
	if i, err := mediatypes.ParseIndex(raw); err == nil && slices.ContainsFunc(i.Manifests, mayEvaluate) {
		l.digest = digest.FromBytes(raw)
	}
	return l
}

// rejoin reads a version again with what is said of it elsewhere, unless that is what
// the index has.
func (c *crawl) rejoin(ctx context.Context, before index.Record, others []*attachedList) error {
	repo, err := c.repositoryNamed(before.Repository)
	if err != nil {
		return err
	}
	v := &crawled{attached: before.Attached, classic: before.Signed}
	v.desc.Digest = digest.Digest(before.Digest)
	var at []string
	for _, l := range others {
		at = append(at, l.repo.Name()+"@"+l.digest.String())
		v.elsewhere = append(v.elsewhere, l.repo)
	}
	joined, err := c.joined(ctx, repo, before.Attached, at)
	if err == nil && before.Joined == joined && slices.Equal(before.Elsewhere, at) {
		return nil
	}
	var facts *versionFacts
	if err == nil {
		err = c.pace.do(ctx, func() (err error) { facts, err = c.read(ctx, repo, v); return err })
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		c.problem(before.Repository+"@"+before.Digest, err)
		return nil
	}
	rec := facts.record()
	rec.Repository, rec.Digest, rec.Tags, rec.Latest, rec.Attached = before.Repository, before.Digest, before.Tags, before.Latest, before.Attached
	rec.Elsewhere, rec.Joined = at, joined
	c.put(rec)
	c.count(func(r *CrawlResult) { r.Joined++ })
	return nil
}

// joined stands for all that decides what is taken from elsewhere: what is listed
// there, and what is attached and said at home of whose word counts. It is empty where
// nothing is listed.
func (c *crawl) joined(ctx context.Context, repo *remote.Repository, attached string, at []string) (string, error) {
	if len(at) == 0 {
		return "", nil
	}
	var rec *recorded
	err := c.pace.do(ctx, func() (err error) { rec, err = c.h.recorded(ctx, repo); return err })
	if err != nil {
		return "", err
	}
	return digest.FromString(fmt.Sprintf("%s\n%s\n%s", attached, rec.desc.Digest, strings.Join(at, "\n"))).String(), nil
}

// keepElsewhere takes over what was said elsewhere of a version that is read again, so
// that it is there until that is looked at.
func keepElsewhere(r *index.Record, before index.Record) {
	if len(before.Elsewhere) == 0 {
		return
	}
	r.Elsewhere, r.Joined = before.Elsewhere, before.Joined
	for _, m := range before.Metrics {
		if m.Repository != "" {
			r.Metrics = append(r.Metrics, m)
		}
	}
}

// measurements are the results that are stated of a version, at home and in others, and
// those that its card claims. Repository is empty for what is said at home.
func (c *crawl) measurements(ctx context.Context, t *target, others []*remote.Repository) (*Evaluations, error) {
	rec, err := c.h.record(ctx, t.repo)
	switch {
	case ofRegistry(ctx, err):
		return nil, err
	case err != nil:
		rec = &record.Record{}
	}
	in := evalPlaces{others: others, trust: c.opts.Trust}
	res, err := c.h.statedIn(ctx, t, rec, in)
	if err != nil {
		return nil, err
	}
	if len(res.unread) > 0 {
		return nil, fmt.Errorf("list results of %s: %s", t.ref, strings.Join(res.Problems, "; "))
	}
	if err := c.h.claimedResults(ctx, t, EvaluationsOptions{Trust: c.opts.Trust}, res); err != nil {
		return nil, err
	}
	res.sort()
	for i := range res.Evaluations {
		if e := &res.Evaluations[i]; e.Repository == t.repo.Name() {
			e.Repository = ""
		}
	}
	return res, nil
}
