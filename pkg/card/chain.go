package card

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// MaxSeq is the largest number that a revision can have.
	MaxSeq = 1_000_000

	// maxRemoved is how many revisions may have been removed for the numbers of the
	// others to be believed.
	maxRemoved = 1000
)

// Counted tells whether somebody can have counted to a number where so many revisions
// are attached. Whoever may push writes any number: one beyond that is passed over,
// so that it uses up nobody else's.
func Counted(seq, attached int) bool { return seq <= attached+maxRemoved }

// A Link is what a revision of a card says of its place among the others.
type Link struct {
	Digest  string    // its own
	Seq     int       // from 1
	Prev    string    // the digest of the one before; empty for the first
	Created time.Time // zero if it does not say
}

// Newer compares two revisions by their numbers, for sorting the newest first. Of
// revisions with one number the later one is newer, and of those of one time the one
// whose digest is greater, so that all readers agree.
func Newer(a, b Link) int {
	return cmp.Or(cmp.Compare(b.Seq, a.Seq), b.Created.Compare(a.Created), cmp.Compare(b.Digest, a.Digest))
}

// Chain puts revisions into order, the newest first, and tells in words what is
// wrong with them: one that is gone, two that follow the same, a number that nobody
// can have counted to. Those with such numbers come last. Attached is how many there
// are, with those that are not among the links.
//
// The newest revision being removed leaves no trace in the others.
func Chain(links []Link, attached int) (order []Link, problems []string) {
	attached = max(attached, len(links))
	order = slices.SortedFunc(slices.Values(links), Newer)
	absurd := 0
	for absurd < len(order) && !Counted(order[absurd].Seq, attached) {
		absurd++
	}
	problems = passedOver(order[:absurd])
	order = slices.Concat(order[absurd:], order[:absurd])
	there := make(map[string]Link, len(order))
	for _, l := range order {
		there[l.Digest] = l
	}
	type place struct {
		prev string
		seq  int
	}
	taken := map[place]string{}
	for _, l := range slices.Backward(order[:len(order)-absurd]) {
		if problem := misplaced(l, there, attached); problem != "" {
			problems = append(problems, problem)
		}
		at := place{l.Prev, l.Seq}
		if other, ok := taken[at]; ok {
			problems = append(problems, fmt.Sprintf("card revisions %s and %s were written at the same time: both have number %d", other, l.Digest, l.Seq))
		}
		taken[at] = l.Digest
	}
	return order, problems
}

// passedOver tells of revisions with numbers that nobody can have counted to.
func passedOver(absurd []Link) []string {
	if len(absurd) == 0 {
		return nil
	}
	more := ""
	if n := len(absurd) - 1; n > 0 {
		more = fmt.Sprintf(", as are %d more such", n)
	}
	return []string{fmt.Sprintf("card revision %s says that it has number %d, and nobody can have counted to that: it is passed over%s", absurd[0].Digest, absurd[0].Seq, more)}
}

// misplaced tells what is wrong with what a revision says it follows.
func misplaced(l Link, there map[string]Link, attached int) string {
	prev, ok := there[l.Prev]
	switch {
	case l.Prev == "" && l.Seq > 1:
		return fmt.Sprintf("card revision %s has number %d and does not say what it follows", l.Digest, l.Seq)
	case l.Prev != "" && !ok:
		return fmt.Sprintf("a card revision was removed: %s, number %d", l.Prev, l.Seq-1)
	case ok && prev.Seq != l.Seq-1 && Counted(prev.Seq, attached):
		return fmt.Sprintf("card revision %s has number %d and follows number %d", l.Digest, l.Seq, prev.Seq)
	}
	return ""
}
