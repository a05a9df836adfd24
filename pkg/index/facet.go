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
		counts, err := s.tally(f, found)
		if err != nil {
			return nil, err
		}
		facet, err := s.facet(f, counts)
		if err != nil {
			return nil, err
		}
		list = append(list, facet)
	}
	return list, nil
}

// tally counts how often each set of values of a facet was found.
func (s *search) tally(f int, found []bitset) ([]int, error) {
	counts := make([]int, maxSets+1)
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
					counts[uint16(block[at])|uint16(block[at+1])<<8]++
				}
			}
		}
	}
	return counts, nil
}

// facet turns counts of sets into those of values, the most frequent first.
func (s *search) facet(f int, sets []int) (Facet, error) {
	facet := Facet{Name: FacetNames()[f]}
	values := map[string]int{}
	rows, err := s.r.tx.QueryContext(s.r.ctx, "SELECT id, value FROM facet WHERE field = ?", f)
	if err != nil {
		return facet, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		var set string
		if err := rows.Scan(&id, &set); err != nil {
			return facet, err
		}
		if n := sets[id&maxSets]; n > 0 {
			for v := range strings.SplitSeq(set, "\x00") {
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
	return facet, rows.Err()
}
