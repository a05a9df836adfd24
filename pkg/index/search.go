package index

import "time"

// Options adjusts a search. The zero value finds the twenty most relevant
// versions that anybody may see, and counts no facets.
type Options struct {
	// Sort is "relevance", "updated", "params", "size", "name" or
	// "metric:NAME". Empty means relevance if the query has text, and
	// updated if not. A "-" before it turns the order round.
	Sort string

	// Limit bounds the hits. Zero means [DefaultLimit]; more than
	// [MaxLimit] means that.
	Limit int

	// Cursor is [Results.Next] of an earlier search with the same query,
	// sort and access; empty begins.
	Cursor string

	// Facets are the facets to count: names of [FacetNames].
	Facets []string

	// FacetLimit bounds the values of one facet, the most frequent first.
	// Zero means [DefaultFacetLimit].
	FacetLimit int

	// Access bounds what is seen, counts and suggestions included.
	Access Access

	// Now is what ages in the query are counted from. Zero means the time
	// of the search.
	Now time.Time
}

// Bounds and defaults of a search.
const (
	DefaultLimit      = 20
	MaxLimit          = 1000
	DefaultFacetLimit = 10
)

// FacetNames returns the names of all facets.
func FacetNames() []string {
	return []string{"task", "library", "license", "language", "format", "quant", "params", "signed", "status"}
}

// Access says which repositories a search sees. The zero value sees all. An
// entry that ends in a slash stands for all repositories below.
type Access struct {
	// Allow are the repositories that are seen: all of them if it is nil,
	// and none if it is empty and not nil.
	Allow []string

	// Deny are repositories that are not seen, whatever Allow says.
	Deny []string
}

// Results is what a search found.
type Results struct {
	// Total counts all versions that fit, not only those of this page.
	Total int

	// Hits are those of this page, in order.
	Hits []Hit

	// Facets are the counts that were asked for, in the order of
	// [FacetNames].
	Facets []Facet

	// Next is the cursor of the next page; empty when there is none.
	Next string

	// Hidden counts yanked versions that fit and are not among Total,
	// because the query does not mention yanked: or status:.
	Hidden int

	// Instead is a query that finds something, when this one finds nothing
	// and one of its words looks like a slip; or empty.
	Instead string
}

// A Hit is one version that fits.
type Hit struct {
	Record Record

	// Score is the relevance; higher is better. It only compares within one
	// query.
	Score int

	// Snippet is the piece of the card that fits the query's words best, or
	// the card's beginning.
	Snippet Snippet
}

// A Snippet is a piece of a card's text.
type Snippet struct {
	Text string

	// Marks are the byte offsets, begin and end, of the words that fit.
	Marks [][2]int
}

// A Facet is how many of the found versions have which value.
type Facet struct {
	Name   string
	Values []Count

	// More counts the values that are left out by the limit.
	More int
}

// A Count is one value of a [Facet].
type Count struct {
	Value string
	Count int
}
