package index

import (
	"fmt"
	"time"
)

// What one prefix may stand for: values, which are read one by one, and words of
// texts, which are read together.
const (
	maxExpand      = 4096
	maxExpandWords = 1 << 16
)

// A clause is one condition, ready to be looked up chunk by chunk.
type clause struct {
	key string // as in the query; empty for text
	not bool

	// any are sets of postings: one of them is enough, and each is the
	// versions that all of its postings have.
	any [][]postings

	// scan, if not nil, tells versions by their numbers, in place of any.
	scan func(r *reader, chunk int, in, out *bitset) error
}

// find leaves in out the versions of a chunk that fit, of those in in.
func (c *clause) find(r *reader, chunk int, in, out *bitset) error {
	*out = bitset{}
	if c.scan != nil {
		return c.scan(r, chunk, in, out)
	}
	var one bitset
	for _, all := range c.any {
		if len(all) == 1 {
			all[0].at(chunk).addTo(out)
			continue
		}
		one = bitset{}
		all[0].at(chunk).addTo(&one)
		for _, p := range all[1:] {
			p.at(chunk).intersect(&one)
		}
		for i, w := range one {
			out[i] |= w
		}
	}
	return nil
}

// A phrase is words in a row that postings alone cannot prove.
type phrase struct {
	words  []string
	prefix bool // the last one is only the beginning of a word
}

// A wordScore is a word of the query, and where it counts more.
type wordScore struct{ name, tag, title postings }

// A plan is a query, ready to be run.
type plan struct {
	clauses []clause
	words   []wordScore
	phrases []phrase // of terms that are not negated
	marks   []phrase // all words, for snippets

	allVersions bool // not only the latest ones
	statusAsked bool // yanked versions are not left out
}

func (r *reader) plan(q Query, now time.Time) (*plan, error) {
	p := &plan{}
	for _, t := range q.Terms {
		if err := r.planTerm(p, t, now); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (r *reader) planTerm(p *plan, t Term, now time.Time) error {
	switch t.Key {
	case "":
		return r.planText(p, t)
	case "versions":
		for _, v := range t.Values {
			p.allVersions = p.allVersions || (v.Text == "all") != t.Not
		}
		return nil
	case "tag", "digest":
		p.allVersions = true
	case "yanked", "status":
		p.statusAsked = true
	}
	k, known := findKey(t.Key)
	if !known {
		return fmt.Errorf("unknown key %q", t.Key)
	}
	c := clause{key: t.Key, not: t.Not}
	var err error
	switch k.kind {
	case numbers:
		c.scan = scanNumbers(t, now)
	case metrics:
		c.scan = scanMetrics(t)
	case flags:
		if c.any, err = r.flag(t); c.any == nil {
			return err // any
		}
	default:
		for _, v := range t.Values {
			if err == nil {
				err = r.addFact(&c, t.Key, v)
			}
		}
	}
	p.clauses = append(p.clauses, c)
	return err
}

// flag returns the postings of yes, and inverts them for no through the term
// that all living versions have. It returns nil if anything will do.
func (r *reader) flag(t Term) ([][]postings, error) {
	key := map[string]string{"deprecated": "status=" + Deprecated, "yanked": "status=" + Yanked}[t.Key]
	if key == "" {
		key = t.Key + "=yes"
	}
	return r.yesOrNo(key, t.Values)
}

func (r *reader) yesOrNo(fact string, values []Value) ([][]postings, error) {
	yes, err := r.term(fieldFact, fact)
	if err != nil {
		return nil, err
	}
	live, err := r.term(fieldLive, "")
	if err != nil {
		return nil, err
	}
	list := [][]postings{}
	for _, v := range values {
		switch v.Text {
		case "yes":
			list = append(list, []postings{yes})
		case "no":
			list = append(list, []postings{without(live, yes)})
		default:
			return nil, nil
		}
	}
	return list, nil
}

// without returns the versions of a that b does not have.
func without(a, b postings) postings {
	list := make(postings, len(a))
	for i := range a {
		set := new(bitset)
		a[i].addTo(set)
		b.at(i).removeFrom(set)
		list[i] = posting{bits: set}
	}
	return list
}

// addFact adds a value of a key of words.
func (r *reader) addFact(c *clause, key string, v Value) error {
	if key == "signed" && !v.Phrase && (v.Text == "yes" || v.Text == "no" || v.Text == "true" || v.Text == "false" || v.Text == "any") {
		text := map[string]string{"true": "yes", "false": "no"}[v.Text]
		if text == "" {
			text = v.Text
		}
		list, err := r.yesOrNo("anysigned=yes", []Value{{Text: text}})
		if list == nil && err == nil {
			var live postings
			live, err = r.term(fieldLive, "")
			list = [][]postings{{live}}
		}
		c.any = append(c.any, list...)
		return err
	}
	text := v.Text
	if key == "digest" {
		text = shortDigest(text)
		v.Prefix = v.Prefix && len(text) < 24
	}
	if v.Prefix && text == "" {
		p, err := r.term(fieldFact, key)
		c.any = append(c.any, []postings{p})
		return err
	}
	if key == "repo" {
		if err := r.addTerms(c, fieldRepo, text, v.Prefix); err != nil {
			return err
		}
	}
	return r.addTerms(c, fieldFact, cut(key+"="+text, MaxText), v.Prefix)
}

// addTerms adds a term, or all that begin with it.
func (r *reader) addTerms(c *clause, field byte, text string, prefix bool) error {
	var list []postings
	var err error
	if prefix {
		list, err = r.expand(field, text)
	} else {
		list = make([]postings, 1)
		list[0], err = r.term(field, text)
	}
	for _, p := range list {
		c.any = append(c.any, []postings{p})
	}
	return err
}

// wordsFrom returns the words of a field with this beginning, if they are not
// more than limit.
func (r *reader) wordsFrom(field byte, prefix string, limit int) (found []string, err error) {
	err = r.words(field, prefix, func(w string) bool {
		found = append(found, w)
		return len(found) <= limit
	})
	if err != nil {
		return nil, err
	}
	if len(found) > limit {
		return nil, fmt.Errorf("%w: %q stands for more than %d words", ErrTooBroad, prefix+"*", limit)
	}
	return found, nil
}

// expand returns the postings of all words of a field with this beginning.
func (r *reader) expand(field byte, prefix string) ([]postings, error) {
	found, err := r.wordsFrom(field, prefix, maxExpand)
	if err != nil {
		return nil, err
	}
	list := make([]postings, len(found))
	for i, w := range found {
		if list[i], err = r.term(field, w); err != nil {
			return nil, err
		}
	}
	return list, nil
}
