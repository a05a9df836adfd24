package transfer

import (
	"slices"
	"sort"
)

// A span is a stretch of a blob, in bytes: from off up to, and without, end.
type span struct{ off, end int64 }

func (s span) bytes() int64 { return s.end - s.off }

// spans are sorted, do not overlap and do not touch each other.
type spans []span

// bytes returns how many there are in all.
func (all spans) bytes() int64 {
	var n int64
	for _, s := range all {
		n += s.bytes()
	}
	return n
}

// search returns the index of the first span that ends past off.
func (all spans) search(off int64) int {
	return sort.Search(len(all), func(i int) bool { return all[i].end > off })
}

// add returns the spans with s among them.
func (all spans) add(s span) spans {
	if s.bytes() <= 0 {
		return all
	}
	first := all.search(s.off - 1)
	last := first
	for last < len(all) && all[last].off <= s.end {
		s.off, s.end = min(s.off, all[last].off), max(s.end, all[last].end)
		last++
	}
	return slices.Replace(all, first, last, s)
}

// remove returns the spans without the bytes of s.
func (all spans) remove(s span) spans {
	if s.bytes() <= 0 {
		return all
	}
	first := all.search(s.off)
	var rest []span
	last := first
	for last < len(all) && all[last].off < s.end {
		rest = appendSpan(rest, span{all[last].off, min(all[last].end, s.off)})
		rest = appendSpan(rest, span{max(all[last].off, s.end), all[last].end})
		last++
	}
	if first == 0 && len(rest) == 0 {
		return all[last:] // the usual case, and there may be many behind it
	}
	return slices.Replace(all, first, last, rest...)
}

func appendSpan(all []span, s span) []span {
	if s.bytes() > 0 {
		all = append(all, s)
	}
	return all
}

// within returns what the spans have of s.
func (all spans) within(s span) []span {
	var found []span
	for _, a := range all[all.search(s.off):] {
		if a.off >= s.end {
			break
		}
		found = appendSpan(found, span{max(a.off, s.off), min(a.end, s.end)})
	}
	return found
}

// hold tells whether all of s is in one of the spans.
func (all spans) hold(s span) bool {
	i := all.search(s.off)
	return i < len(all) && all[i].off <= s.off && s.end <= all[i].end
}

// from returns the end of the span that holds the byte at off, or off.
func (all spans) from(off int64) int64 {
	if i := all.search(off); i < len(all) && all[i].off <= off {
		return all[i].end
	}
	return off
}
