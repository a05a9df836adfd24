package index

import "slices"

// A hash of a term has hashBits; the first partBits of them tell the part that
// it is gathered in.
const (
	hashBits = 51
	partBits = 8
	restBits = hashBits - partBits
	docBits  = 64 - restBits
)

// maxGathered bounds how many versions one transaction describes.
const maxGathered = 1 << docBits

// A gathering collects which version has which terms, eight bytes for each, in
// parts that are sorted fast because they fit into the caches.
type gathering struct {
	parts [1 << partBits][]uint64
	n     int
}

// add notes a version, by its place in the transaction, for a term.
func (g *gathering) add(hash int64, doc int) {
	p := &g.parts[hash>>restBits]
	*p = append(*p, uint64(hash)<<docBits|uint64(doc))
	g.n++
}

// each calls f with every term in order, and the versions that have it, which are
// good until f is called with a term of the next part. It can be called once.
func (g *gathering) each(f func(hash int64, docs []uint64) error) error {
	for i, p := range g.parts {
		slices.Sort(p)
		for len(p) > 0 {
			rest := p[0] >> docBits
			n := 1
			for n < len(p) && p[n]>>docBits == rest {
				n++
			}
			if err := f(int64(i)<<restBits|int64(rest), p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
		g.parts[i] = nil
	}
	return nil
}
