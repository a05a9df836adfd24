package index

import (
	"context"
	"fmt"
	"strings"
)

// MadeOf returns the versions that say that they were made of one of these, which
// are digests of versions ("sha256:…") or names as they stand in [Record.Bases] and
// [Record.Inputs], with or without a tag. All versions are looked at, those that
// were yanked too.
//
// They come the newest first, then by name; more tells that there are others than
// the first limit, which is cut to [MaxLimit]. It takes as long as there are such
// versions, however many others the index has.
func (ix *Index) MadeOf(ctx context.Context, names []string, limit int) (list []Record, more bool, err error) {
	err = ix.read(ctx, func(r *reader) (err error) {
		list, more, err = r.madeOf(names, min(max(limit, 1), MaxLimit))
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("look into index: %w", err)
	}
	return list, more, nil
}

func (r *reader) madeOf(names []string, limit int) (list []Record, more bool, err error) {
	var c clause
	for _, name := range names {
		for _, key := range []string{"base", factInput} {
			if err := r.addTerms(&c, fieldFact, cut(key+"="+strings.ToLower(name), MaxText), false); err != nil {
				return nil, false, err
			}
		}
	}
	live, err := r.term(fieldLive, "")
	if err != nil {
		return nil, false, err
	}
	rank := &ranking{r: r, order: order{name: "updated", col: colUpdated}, limit: limit}
	var found bitset
	for chunk := range r.chunks() {
		if err := r.outer.Err(); err != nil {
			return nil, false, err
		}
		if err := c.find(r, chunk, nil, &found); err != nil {
			return nil, false, err
		}
		live.at(chunk).intersect(&found)
		if found.empty() {
			continue // no column needs to be read
		}
		if err := rank.add(chunk, &found); err != nil {
			return nil, false, err
		}
	}
	more = len(rank.places) > limit
	for _, p := range rank.places[:min(limit, len(rank.places))] {
		record, err := r.record(p.id)
		if err != nil {
			return nil, false, err
		}
		list = append(list, record)
	}
	return list, more, nil
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
