package index

import (
	"slices"
	"unicode/utf8"
)

// instead returns the query with the words put right that look like slips, if
// this finds something; else "". Only what this search may see is suggested.
func (s *search) instead(q Query) (string, error) {
	better := Query{Terms: slices.Clone(q.Terms)}
	changed := false
	for i, t := range q.Terms {
		if t.Not {
			continue
		}
		var u Term
		var ok bool
		var err error
		if t.Key == "" {
			u, ok, err = s.betterText(t)
		} else {
			u, ok, err = s.betterFact(t)
		}
		if err != nil {
			return "", err
		}
		if ok {
			better.Terms[i] = u
			changed = true
		}
	}
	if !changed {
		return "", nil
	}
	opts := s.opts
	opts.Cursor, opts.Facets, opts.Limit = "", nil, 1
	// Words that were put right are in versions that are seen, so this does
	// not come here again but for a query that still finds nothing.
	p, err := s.r.plan(better, opts.Now)
	if err != nil {
		return "", err
	}
	again := &search{r: s.r, plan: p, opts: opts, access: s.access, live: s.live, latest: s.latest, yanked: s.yanked}
	if err := again.collect(); err != nil || again.total == 0 {
		return "", err
	}
	return better.String(), nil
}

// frequency counts in how many versions that are seen a term is.
func (s *search) frequency(field byte, word string) (int, error) {
	p, err := s.r.term(field, word)
	if err != nil {
		return 0, err
	}
	n := 0
	var seen bitset
	for chunk := range p {
		s.seen(chunk, &seen)
		p[chunk].intersect(&seen)
		n += seen.count()
	}
	return n, nil
}

// betterText puts a single word right that no version has.
func (s *search) betterText(t Term) (Term, bool, error) {
	words := tokens(t.Values[0].Text)
	if len(words) != 1 || t.Values[0].Prefix {
		return t, false, nil
	}
	w := words[0].text
	if n, err := s.frequency(fieldAny, w); err != nil || n > 0 {
		return t, false, err
	}
	best, most := "", 0
	for _, c := range slips(w) {
		n, err := s.frequency(fieldAny, c)
		if err != nil {
			return t, false, err
		}
		if n > most {
			best, most = c, n
		}
	}
	if best == "" {
		var err error
		if best, err = s.nearWord(fieldAny, w, w[:firstRune(w)]); err != nil || best == "" {
			return t, false, err
		}
	}
	return Term{Values: []Value{{Text: best}}}, true, nil
}

func firstRune(w string) int {
	_, n := utf8.DecodeRuneInString(w)
	return n
}

// nearWord returns the word with this beginning that is nearest to w and seen.
func (s *search) nearWord(field byte, w, prefix string) (string, error) {
	const most = 1 << 16 // words to look at
	limit := len(w)/4 + 1
	type near struct {
		word     string
		distance int
	}
	var list []near
	looked := 0
	err := s.r.words(field, prefix, func(c string) bool {
		if d := len(c) - len(w); -limit <= d && d <= limit {
			if d := distance(w, c); d <= limit {
				list = append(list, near{c, d})
			}
		}
		looked++
		return looked < most
	})
	if err != nil {
		return "", err
	}
	slices.SortStableFunc(list, func(a, b near) int { return a.distance - b.distance })
	for _, c := range list[:min(len(list), 100)] {
		if n, err := s.frequency(field, c.word); err != nil || n > 0 {
			return c.word, err
		}
	}
	return "", nil
}

// betterFact puts the values of a filter right that no version has.
func (s *search) betterFact(t Term) (Term, bool, error) {
	k, _ := findKey(t.Key)
	if k.kind != words || t.Key == "digest" {
		return t, false, nil
	}
	better := Term{Key: t.Key, Values: slices.Clone(t.Values)}
	changed := false
	for i, v := range t.Values {
		if v.Prefix {
			continue
		}
		w := t.Key + "=" + v.Text
		if n, err := s.frequency(fieldFact, w); err != nil || n > 0 {
			return t, false, err
		}
		c, err := s.nearWord(fieldFact, w, t.Key+"="+v.Text[:firstRune(v.Text)])
		if err != nil {
			return t, false, err
		}
		if c != "" {
			better.Values[i] = Value{Text: c[len(t.Key)+1:], Phrase: v.Phrase}
			changed = true
		}
	}
	return better, changed, nil
}

// slips returns the words that are one slip away from w: a letter too many, too
// few, another one, or two swapped.
func slips(w string) []string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	if len(w) < 3 || len(w) > 24 {
		return nil
	}
	var list []string
	for i := range len(w) + 1 {
		for _, c := range letters {
			list = append(list, w[:i]+string(c)+w[i:])
			if i < len(w) {
				list = append(list, w[:i]+string(c)+w[i+1:])
			}
		}
		if i < len(w) {
			list = append(list, w[:i]+w[i+1:])
		}
		if i+1 < len(w) {
			list = append(list, w[:i]+w[i+1:i+2]+w[i:i+1]+w[i+2:])
		}
	}
	return list
}
