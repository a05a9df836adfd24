package card

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// MaxSeq is the largest number of a revision that is believed.
const MaxSeq = 1_000_000

// A Link is what a revision of a card says of its place among the others.
type Link struct {
	Digest  string    // its own
	Seq     int       // from 1
	Prev    string    // the digest of the one before; empty for the first
	Created time.Time // zero if it does not say
}

// Chain puts revisions into order, the newest first, and tells in words what is
// wrong with them: one that is gone, two that follow the same. Of revisions with
// one number the later one is newer, and of those of one time the one whose digest
// is greater, so that all readers agree.
//
// The newest revision being removed leaves no trace in the others.
func Chain(links []Link) (order []Link, problems []string) {
	order = slices.Clone(links)
	slices.SortFunc(order, func(a, b Link) int {
		return cmp.Or(cmp.Compare(b.Seq, a.Seq), b.Created.Compare(a.Created), cmp.Compare(b.Digest, a.Digest))
	})
	there := make(map[string]Link, len(order))
	for _, l := range order {
		there[l.Digest] = l
	}
	type place struct {
		prev string
		seq  int
	}
	taken := map[place]string{}
	for i := len(order) - 1; i >= 0; i-- {
		l := order[i]
		if problem := misplaced(l, there); problem != "" {
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

// misplaced tells what is wrong with what a revision says it follows.
func misplaced(l Link, there map[string]Link) string {
	prev, ok := there[l.Prev]
	switch {
	case l.Prev == "" && l.Seq > 1:
		return fmt.Sprintf("card revision %s has number %d and does not say what it follows", l.Digest, l.Seq)
	case l.Prev != "" && !ok:
		return fmt.Sprintf("a card revision was removed: %s, number %d", l.Prev, l.Seq-1)
	case ok && prev.Seq != l.Seq-1:
		return fmt.Sprintf("card revision %s has number %d and follows number %d", l.Digest, l.Seq, prev.Seq)
	}
	return ""
}
