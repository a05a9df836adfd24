package index

import (
	"cmp"
	"errors"
	"math/bits"
	"slices"
	"strings"
)

// ErrFacet is wrapped by errors about a facet that does not exist.
var ErrFacet = errors.New("cannot count")

// count counts the values of the facets.
func (s *search) count() ([]Facet, error) {
	var list []Facet
	for _, f := range s.facets {
		found := s.found
		if wider, ok := s.wider[f]; ok {
			found = wider
		}
		sets, err := s.r.sets(f)
		if err != nil {
			return nil, err
		}
		counts, err := s.tally(f, found, len(sets))
		if err != nil {
			return nil, err
		}
		list = append(list, s.facet(f, sets, counts))
	}
	return list, nil
}

// tally counts how often each set of values of a facet was found.
func (s *search) tally(f int, found []bitset, sets int) ([]int, error) {
	counts := make([]int, sets+1)
	for chunk := range found {
		in := &found[chunk]
		if in.empty() {
			continue
		}
		v, err := s.r.view(f, chunk)
		if err != nil {
			return nil, err
		}
		for b, block := range v.blocks {
			const perBlock = blockSize / 64
			for i, w := range in[b*perBlock : (b+1)*perBlock] {
				for ; w != 0; w &= w - 1 {
					at := 2 * (i<<6 | bits.TrailingZeros64(w))
					set := int(block[at]) | int(block[at+1])<<8
					if set > sets {
						return nil, ErrDamaged
					}
					counts[set]++
				}
			}
		}
	}
	return counts, nil
}

// sets returns the sets of values of a facet, by their numbers from 1. They are
// never changed, only more.
func (r *reader) sets(f int) ([][]string, error) {
	key := cacheKey{'s', int64(f)}
	var list [][]string
	if c := r.cache.get(key); c != nil && c.epoch == r.state.epoch && c.generation <= r.state.generation {
		list = c.value.([][]string)
		if c.generation == r.state.generation {
			return list, nil
		}
		list = list[:len(list):len(list)]
	}
	first := int64(f) * (maxSets + 1)
	rows, err := r.tx.QueryContext(r.ctx, "SELECT id, value FROM facet WHERE id > ? AND id <= ? ORDER BY id", first+int64(len(list)), first+maxSets)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	size := int64(0)
	for rows.Next() {
		var id int64
		var set string
		if err := rows.Scan(&id, &set); err != nil {
			return nil, err
		}
		if id != first+int64(len(list))+1 {
			return nil, ErrDamaged
		}
		list = append(list, strings.Split(set, "\x00"))
	}
	for _, set := range list {
		size += 24 + int64(40*len(set))
	}
	r.keep(key, list, size)
	return list, rows.Err()
}

// facet turns counts of sets into those of values, the most frequent first.
func (s *search) facet(f int, sets [][]string, counts []int) Facet {
	facet := Facet{Name: FacetNames()[f]}
	values := map[string]int{}
	for i, set := range sets {
		if n := counts[i+1]; n > 0 {
			for _, v := range set {
				values[v] += n
			}
		}
	}
	for v, n := range values {
		facet.Values = append(facet.Values, Count{v, n})
	}
	slices.SortFunc(facet.Values, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	limit := s.opts.FacetLimit
	if limit <= 0 {
		limit = DefaultFacetLimit
	}
	if n := len(facet.Values); n > limit {
		facet.Values, facet.More = facet.Values[:limit], n-limit
	}
	return facet
}
