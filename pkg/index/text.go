package index

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// ErrTooBroad is wrapped by errors about a query that stands for too much to be
// looked up, such as a prefix of very many words.
var ErrTooBroad = errors.New("the query is too broad")

// planText adds a term of text: one word, or several in a row.
func (r *reader) planText(p *plan, t Term) error {
	v := t.Values[0]
	ph := phrase{prefix: v.Prefix}
	for _, tok := range tokens(v.Text) {
		ph.words = append(ph.words, tok.text)
	}
	if len(ph.words) == 0 {
		return nil
	}
	all, err := r.phrase(ph)
	if err != nil {
		return err
	}
	p.clauses = append(p.clauses, clause{not: t.Not, any: [][]postings{all}})
	if t.Not {
		return nil
	}
	p.marks = append(p.marks, ph)
	if len(ph.words) > 1 {
		p.phrases = append(p.phrases, ph)
	}
	return r.scores(p, ph)
}

// phrase returns the postings that all versions with the phrase have.
func (r *reader) phrase(ph phrase) ([]postings, error) {
	var all []postings
	for i, w := range ph.words {
		last := i == len(ph.words)-1
		one, err := r.word(fieldAny, w, ph.prefix && last)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
		if i > 0 && !(last && ph.prefix) {
			pair, err := r.postings(pairOf(ph.words[i-1], w), false)
			if err != nil {
				return nil, err
			}
			all = append(all, pair)
		}
	}
	return all, nil
}

// scores looks up where the words of a phrase count more.
func (r *reader) scores(p *plan, ph phrase) error {
	for i, w := range ph.words {
		var s wordScore
		var err error
		prefix := ph.prefix && i == len(ph.words)-1
		if s.name, err = r.word(fieldName, w, prefix); err != nil {
			return err
		}
		if s.tag, err = r.word(fieldTag, w, prefix); err != nil {
			return err
		}
		if !prefix {
			if s.title, err = r.term(fieldTitle, w); err != nil {
				return err
			}
		}
		p.words = append(p.words, s)
	}
	return nil
}

// word returns the postings of a word of a field, or of all that begin with it.
func (r *reader) word(field byte, w string, prefix bool) (postings, error) {
	if !prefix {
		return r.term(field, w)
	}
	if utf8.RuneCountInString(w) <= longPrefix {
		return r.term(field-upper, w)
	}
	return r.beginsWith(field, w)
}

// beginsWith returns the postings of all words of a field that begin so.
func (r *reader) beginsWith(field byte, prefix string) (postings, error) {
	key := cacheKey{'b', hashOf(field-upper, prefix)}
	list, from, now := r.kept(key, false)
	if now {
		return list, nil
	}
	found, err := r.wordsFrom(field, prefix, maxExpandWords)
	if err != nil {
		return nil, err
	}
	hashes := make([]int64, len(found))
	for i, w := range found {
		hashes[i] = hashOf(field, w)
	}
	slices.Sort(hashes)
	if err := r.together(hashes, from, &list); err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	r.keep(key, list, list.bytes())
	return list, nil
}

// in tells whether the phrase stands in the words of a text, and where: the index
// of its first word.
func (ph phrase) in(words []token) (int, bool) {
	for i := 0; i+len(ph.words) <= len(words); i++ {
		if ph.at(words[i:]) {
			return i, true
		}
	}
	return 0, false
}

func (ph phrase) at(words []token) bool {
	for i, w := range ph.words {
		have := words[i].text
		if ph.prefix && i == len(ph.words)-1 {
			if len(have) < len(w) || have[:len(w)] != w {
				return false
			}
		} else if have != w {
			return false
		}
	}
	return true
}

// fits tells whether a record has all phrases, word by word.
func fits(r *Record, phrases []phrase) bool {
	found := make([]bool, len(phrases))
	for _, text := range texts(r) {
		words := tokens(text)
		for i, ph := range phrases {
			if !found[i] {
				_, found[i] = ph.in(words)
			}
		}
	}
	for _, ok := range found {
		if !ok {
			return false
		}
	}
	return true
}
