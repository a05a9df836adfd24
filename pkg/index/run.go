package index

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/xxh3"
)

// verifyLimit is up to how many versions the words of phrases are compared one
// by one. Of more, about one in 400 of those that have the words of a phrase
// apart from each other is counted too.
const verifyLimit = 200

// Search finds the versions that fit a query. The order depends on the records
// alone: by what [Options.Sort] says, then the newest first, then by name.
//
// Relevance is a sum over the words of the query: 12 for a word of the model's
// name, 5 for one of what classifies it (task, library, licence, keywords, bases
// and the like), 3 for one of its title or summary, 1 for one of the card's text.
// The share of the name that the query's words cover adds up to 12, so that a
// model comes before those that are named after it. A version that is deprecated
// loses 20.
//
// Errors wrap [ErrSort], [ErrCursor] or [ErrTooBroad] if the search itself is to
// blame.
func (ix *Index) Search(ctx context.Context, q Query, opts Options) (*Results, error) {
	var res *Results
	err := ix.read(ctx, func(r *reader) (err error) {
		res, err = r.search(q, opts)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return res, nil
}

// A search is one run of a plan.
type search struct {
	r      *reader
	plan   *plan
	opts   Options
	access postings // nil sees all
	facets []int    // columns to count

	live, latest, yanked postings

	total, hidden int
	found         []bitset         // by chunk
	wider         map[int][]bitset // facet: found without the query's terms for it
}

func (r *reader) search(q Query, opts Options) (*Results, error) {
	if opts.Now.IsZero() {
		opts.Now = time.Now()
	}
	opts.Limit = min(max(opts.Limit, 0), MaxLimit)
	if opts.Limit == 0 {
		opts.Limit = DefaultLimit
	}
	s := &search{r: r, opts: opts, wider: map[int][]bitset{}}
	rank, name, err := s.ranking(q)
	if err != nil {
		return nil, err
	}
	if err := s.collect(); err != nil {
		return nil, err
	}
	if err := s.verify(); err != nil {
		return nil, err
	}
	for chunk := range s.found {
		if err := rank.add(chunk, &s.found[chunk]); err != nil {
			return nil, err
		}
	}
	res := &Results{Total: s.total, Hidden: s.hidden}
	if len(rank.places) > opts.Limit {
		rank.places = rank.places[:opts.Limit]
		res.Next = rank.places[opts.Limit-1].cursor(name)
	}
	if res.Hits, err = s.hits(rank); err != nil {
		return nil, err
	}
	if res.Facets, err = s.count(); err != nil {
		return nil, err
	}
	if s.total == 0 {
		res.Instead, err = s.instead(q)
	}
	return res, err
}

// ranking plans the search, and returns what orders the finds and a text that
// stands for the search in cursors.
func (s *search) ranking(q Query) (*ranking, string, error) {
	hasText := slices.ContainsFunc(q.Terms, func(t Term) bool { return t.Key == "" && !t.Not })
	o, err := parseOrder(s.opts.Sort, hasText)
	if err != nil {
		return nil, "", err
	}
	name := fmt.Sprint(q, "\n", o)
	rank := &ranking{r: s.r, order: o, limit: s.opts.Limit}
	if s.opts.Cursor != "" {
		if rank.after, err = parseCursor(s.opts.Cursor, name); err != nil {
			return nil, "", err
		}
	}
	if s.plan, err = s.r.plan(q, s.opts.Now); err != nil {
		return nil, "", err
	}
	rank.plan = s.plan
	for _, f := range s.opts.Facets {
		i := slices.Index(FacetNames(), f)
		if i < 0 {
			return nil, "", fmt.Errorf("%w: no facet %q: there are %s", ErrFacet, f, strings.Join(FacetNames(), ", "))
		}
		s.facets = append(s.facets, i)
	}
	slices.Sort(s.facets)
	s.facets = slices.Compact(s.facets)
	if s.access, err = s.r.access(s.opts.Access); err != nil {
		return nil, "", err
	}
	for _, p := range []struct {
		into *postings
		f    byte
		word string
	}{{&s.live, fieldLive, ""}, {&s.latest, fieldFact, "latest=yes"}, {&s.yanked, fieldFact, "status=" + Yanked}} {
		if *p.into, err = s.r.term(p.f, p.word); err != nil {
			return nil, "", err
		}
	}
	return rank, name, nil
}

// collect finds the versions chunk by chunk.
func (s *search) collect() error {
	s.found = make([]bitset, s.r.chunks())
	wider := s.wideners()
	var whole bitset
	parts := make([]bitset, len(s.plan.clauses))
	for chunk := range s.found {
		if err := s.r.outer.Err(); err != nil {
			return err
		}
		out := &s.found[chunk]
		s.seen(chunk, out)
		in := out
		if len(wider) > 0 {
			whole = *out
			in = &whole
		}
		for i := range s.plan.clauses {
			c := &s.plan.clauses[i]
			if err := c.find(s.r, chunk, in, &parts[i]); err != nil {
				return err
			}
			narrow(out, &parts[i], c.not)
		}
		if !s.plan.statusAsked {
			before := out.count()
			s.yanked.at(chunk).removeFrom(out)
			s.hidden += before - out.count()
		}
		s.total += out.count()
		s.widen(wider, chunk, parts)
	}
	return nil
}

// seen sets out to all versions of a chunk that this search may find at all.
func (s *search) seen(chunk int, out *bitset) {
	*out = bitset{}
	s.live.at(chunk).addTo(out)
	if s.opts.Access.Allow != nil || s.opts.Access.Deny != nil {
		s.access.at(chunk).intersect(out)
	}
	if !s.plan.allVersions {
		s.latest.at(chunk).intersect(out)
	}
}

func narrow(out, part *bitset, not bool) {
	if not {
		out.andNot(part)
	} else {
		out.and(part)
	}
}

// wideners are the facets that are counted and that the query has terms for.
// They are counted without these terms: what else there would be.
func (s *search) wideners() []int {
	var list []int
	for _, f := range s.facets {
		if slices.ContainsFunc(s.plan.clauses, func(c clause) bool { return facetOf(c.key) == f && !c.not }) {
			list = append(list, f)
		}
	}
	return list
}

// facetOf returns the facet that a key filters by, or -1.
func facetOf(key string) int {
	switch key {
	case "verified":
		key = "signed"
	case "deprecated", "yanked":
		key = "status"
	}
	return slices.Index(FacetNames(), key)
}

func (s *search) widen(facets []int, chunk int, parts []bitset) {
	for _, f := range facets {
		var out bitset
		s.seen(chunk, &out)
		for i, c := range s.plan.clauses {
			if facetOf(c.key) != f || c.not {
				narrow(&out, &parts[i], c.not)
			}
		}
		if !s.plan.statusAsked {
			s.yanked.at(chunk).removeFrom(&out)
		}
		s.wider[f] = append(s.wider[f], out)
	}
}

// verify takes out the versions that have the words of a phrase, but not in a
// row, if it is not too much work.
func (s *search) verify() error {
	if len(s.plan.phrases) == 0 || s.total > verifyLimit {
		return nil
	}
	for chunk := range s.found {
		out := &s.found[chunk]
		for i, w := range out {
			for ; w != 0; w &= w - 1 {
				doc := i<<6 | bits.TrailingZeros64(w)
				r, err := s.r.record(int64(chunk)*chunkSize + int64(doc))
				if err != nil {
					return err
				}
				if !fits(&r, s.plan.phrases) {
					out[i] &^= 1 << (doc & 63)
					s.total--
				}
			}
		}
	}
	return nil
}

func (s *search) hits(rank *ranking) ([]Hit, error) {
	hits := make([]Hit, 0, len(rank.places))
	for _, p := range rank.places {
		r, err := s.r.record(p.id)
		if err != nil {
			return nil, err
		}
		h := Hit{Record: r, Snippet: snippet(&r, s.plan.marks)}
		if rank.order.name == "relevance" {
			h.Score = int(max(p.primary, -p.primary))
			if rank.order.reverse == (p.primary > 0) {
				h.Score = -h.Score
			}
		}
		hits = append(hits, h)
	}
	return hits, nil
}

// access returns the versions of the repositories that may be seen.
func (r *reader) access(a Access) (postings, error) {
	if a.Allow == nil && a.Deny == nil {
		return nil, nil
	}
	name := strings.Join(a.Allow, "\n") + "\n\n" + strings.Join(a.Deny, "\n")
	if a.Allow == nil {
		name = "*" + name
	}
	key := cacheKey{'a', int64(xxh3.HashString(name))}
	if c := r.cache.get(key); c != nil && c.epoch == r.state.epoch && c.generation == r.state.generation {
		return c.value.(postings), nil
	}
	set := make(postings, r.chunks())
	for i := range set {
		set[i].bits = new(bitset)
	}
	if a.Allow == nil {
		live, err := r.term(fieldLive, "")
		if err != nil {
			return nil, err
		}
		for i := range set {
			live.at(i).addTo(set[i].bits)
		}
	}
	err := r.eachRepository(a.Allow, func(chunk int, p posting) { p.addTo(set[chunk].bits) })
	if err == nil {
		err = r.eachRepository(a.Deny, func(chunk int, p posting) { p.removeFrom(set[chunk].bits) })
	}
	if err != nil {
		return nil, err
	}
	r.keep(key, set, int64(len(set))*chunkSize/8+100)
	return set, nil
}

// eachRepository calls f with the postings of the repositories that a list
// names.
func (r *reader) eachRepository(list []string, f func(chunk int, p posting)) error {
	for _, entry := range list {
		names := []string{entry}
		if strings.HasSuffix(entry, "/") {
			names = nil
			err := r.words(fieldRepo, entry, func(w string) bool { names = append(names, w); return true })
			if err != nil {
				return err
			}
		}
		for _, name := range names {
			var p postings
			if err := r.load(r.state.repoHash(name), 0, &p); err != nil {
				return err
			}
			for chunk := range p {
				f(chunk, p[chunk])
			}
		}
	}
	return nil
}
