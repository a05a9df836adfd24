package index

import (
	"context"
	"fmt"
	"strings"
)

// maxMadeOf bounds the records that [Index.MadeOf] reads, and madeOfPage those that
// are ordered together.
const (
	maxMadeOf  = 20_000
	madeOfPage = 512
)

// MadeOfOptions adjusts [Index.MadeOf]. The zero value returns the newest version
// alone.
type MadeOfOptions struct {
	// Limit bounds the versions that are returned. It is cut to [MaxLimit].
	Limit int

	// Keep, if not nil, tells whether a version is one of those that are looked
	// for. What it leaves out does not count against the limit.
	Keep func(*Record) bool
}

// MadeOf returns the versions that say that they were made of one of these, which
// are digests of versions ("sha256:…") or names as they stand in [Record.Bases] and
// [Record.Inputs], with or without a tag. All versions are looked at, those that
// were yanked too.
//
// They come the newest first, then by name; more tells that there are or may be
// others: beyond the limit, or beyond the newest 20,000 that opts.Keep was asked
// about. It takes as long as there are such versions, however many others the index
// has.
func (ix *Index) MadeOf(ctx context.Context, names []string, opts MadeOfOptions) (list []Record, more bool, err error) {
	opts.Limit = min(max(opts.Limit, 1), MaxLimit)
	err = ix.read(ctx, func(r *reader) (err error) {
		list, more, err = r.madeOf(names, opts)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("look into index: %w", err)
	}
	return list, more, nil
}

func (r *reader) madeOf(names []string, opts MadeOfOptions) (list []Record, more bool, err error) {
	var c clause
	for _, name := range names {
		for _, key := range []string{"base", factInput} {
			if err := r.addTerms(&c, fieldFact, cut(key+"="+strings.ToLower(name), MaxText), false); err != nil {
				return nil, false, err
			}
		}
	}
	var after *place
	for read := 0; ; read += madeOfPage {
		rank := &ranking{r: r, order: order{name: "updated", col: colUpdated}, limit: min(madeOfPage, maxMadeOf-read), after: after}
		if err := r.rankAll(&c, rank); err != nil {
			return nil, false, err
		}
		for i, p := range rank.places {
			if i == rank.limit {
				break
			}
			if err := r.outer.Err(); err != nil {
				return nil, false, err
			}
			record, err := r.record(p.id)
			if err != nil {
				return nil, false, err
			}
			if opts.Keep != nil && !opts.Keep(&record) {
				continue
			}
			if len(list) == opts.Limit {
				return list, true, nil
			}
			list = append(list, record)
		}
		if !rank.full() || read+madeOfPage >= maxMadeOf {
			return list, rank.full(), nil
		}
		after = &rank.places[rank.limit-1]
	}
}

// rankAll ranks all versions that a clause finds.
func (r *reader) rankAll(c *clause, rank *ranking) error {
	live, err := r.term(fieldLive, "")
	if err != nil {
		return err
	}
	var found bitset
	for chunk := range r.chunks() {
		if err := r.outer.Err(); err != nil {
			return err
		}
		if err := c.find(r, chunk, nil, &found); err != nil {
			return err
		}
		live.at(chunk).intersect(&found)
		if found.empty() {
			continue // no column needs to be read
		}
		if err := rank.add(chunk, &found); err != nil {
			return err
		}
	}
	return nil
}

// inputNames returns the ways to name something that a version was made of: by its
// digest, and whole, with and without its tag.
func inputNames(b Base) []string {
	name, _, _ := strings.Cut(b.Name, "@")
	list := []string{b.Digest, name}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		list = append(list, name[:i])
	}
	return list
}
