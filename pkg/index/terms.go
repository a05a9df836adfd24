package index

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode"

	"github.com/zeebo/xxh3"
)

// Fields of words. A term is a field and a word; its posting is found by its
// hash. Capital letters stand for beginnings of words.
const (
	fieldAny   = 'x' // any text of the record
	fieldName  = 'n' // the last part of the repository's name
	fieldTag   = 't' // task, library, keywords and what else classifies
	fieldTitle = 's' // title and summary
	fieldFact  = 'f' // "key=value", for filters; "key" alone if there is any
	fieldRepo  = 'r' // the whole name of the repository, for access
	fieldLive  = 'l' // versions that are not replaced or deleted

	upper = 'a' - 'A'
)

// longPrefix is the longest beginning of words, in letters, that has postings
// of its own. Longer ones are found by the words themselves.
const longPrefix = 4

// pairBits are the bits of a hash that tell two words in a row from others. Pairs
// share postings, so a phrase that is found has to be looked at. The other bits of
// their hashes are zero, as those of terms hardly ever are.
const pairBits = 16

// isPair tells the hashes of pairs from those of terms.
func isPair(hash int64) bool { return hash&(1<<(hashBits-pairBits)-1) == 0 }

// hashOf returns the number under which a term's postings are kept. Those of
// repositories decide who sees what, so nobody must be able to name one that has
// the number of another: they have a key that only this index has.
//
// Words that begin alike are in the same bucket, so that all words with some
// longer beginning are read at once.
func hashOf(field byte, word string) int64 {
	hash := int64(xxh3.HashStringSeed(word, uint64(field)) >> (64 - hashBits))
	switch field {
	case fieldAny, fieldName, fieldTag:
		begins := xxh3.HashStringSeed(beginning(word, longPrefix+1), uint64(field))
		hash = int64(begins>>(64-bucketBits))<<bucketRest | int64(restOf(hash))
	}
	return hash
}

// beginning returns the first n letters of a word, or the whole.
func beginning(word string, n int) string {
	for i := range word {
		if n--; n < 0 {
			return word[:i]
		}
	}
	return word
}

// repoHash is hashOf for the name of a repository.
func (s state) repoHash(name string) int64 {
	mac := hmac.New(sha256.New, []byte(strconv.FormatInt(s.key, 16)))
	mac.Write([]byte(name))
	return int64(binary.BigEndian.Uint64(mac.Sum(nil)) >> (64 - hashBits))
}

func pairOf(a, b string) int64 {
	hash := xxh3.HashStringSeed(b, xxh3.HashString(a))
	return int64(hash>>(64-pairBits)) << (hashBits - pairBits)
}

// A sink takes the terms of one record.
type sink interface {
	// term takes a word of a field, and tells whether it is new. Listed words
	// can be found by their beginning and be suggested.
	term(field byte, word string, listed bool) bool
	pair(hash int64)
}

// describe gives the terms of a record to s, some of them repeatedly. It uses
// buf, and returns it for the next record.
func describe(r *Record, s sink, buf []token) []token {
	for _, w := range nameWords(r.Repository) {
		addWord(s, fieldName, w)
		addWord(s, fieldAny, w)
	}
	for _, text := range tagTexts(r) {
		buf = appendTokens(buf[:0], text)
		for _, t := range buf {
			addWord(s, fieldTag, t.text)
		}
	}
	for _, text := range []string{r.Title, r.Summary} {
		buf = appendTokens(buf[:0], text)
		for _, t := range buf {
			s.term(fieldTitle, t.text, false)
		}
	}
	for _, text := range texts(r) {
		last := ""
		buf = appendTokens(buf[:0], text)
		for _, t := range buf {
			addWord(s, fieldAny, t.text)
			if last != "" {
				s.pair(pairOf(last, t.text))
			}
			last = t.text
		}
	}
	describeFacts(r, s)
	return buf
}

// addWord gives a word and its beginnings to s.
func addWord(s sink, field byte, word string) {
	if !s.term(field, word, true) {
		return
	}
	n := 0
	for i := range word {
		if i > 0 {
			s.term(field-upper, word[:i], false)
		}
		if n++; n > longPrefix {
			return
		}
	}
	s.term(field-upper, word, false)
}

// lastPart returns the model's own name, the end of the repository's.
func lastPart(repository string) string {
	return repository[strings.LastIndexByte(repository, '/')+1:]
}

// pathOf returns the repository's name without its registry.
func pathOf(repository string) string {
	if _, path, ok := strings.Cut(repository, "/"); ok {
		return path
	}
	return repository
}

// nameWords returns the words of a model's name: as they are, parted between
// letters and digits, and joined with their neighbour, so that "llama3" and
// "llama 3" find each other.
func nameWords(repository string) []string {
	var list []string
	last := ""
	for _, t := range tokens(lastPart(repository)) {
		list = append(list, t.text)
		if last != "" {
			list = append(list, last+t.text)
		}
		last = t.text
		list = append(list, lettersAndDigits(t.text)...)
	}
	return list
}

// lettersAndDigits parts a word before its first digit or after its last one,
// if there is such a place.
func lettersAndDigits(w string) []string {
	i := strings.IndexFunc(w, func(r rune) bool { return unicode.IsDigit(r) != unicode.IsDigit(rune(w[0])) })
	if i <= 0 {
		return nil
	}
	return []string{w[:i], w[i:]}
}

// tagTexts are the texts that classify a model.
func tagTexts(r *Record) []string {
	list := []string{r.Task, r.Library, r.Architecture, r.Author}
	for _, l := range [][]string{r.Keywords, r.Licenses, r.Datasets, r.Formats, r.Quantizations, r.Tags} {
		list = append(list, l...)
	}
	for _, b := range r.Bases {
		list = append(list, b.Name)
	}
	return append(list, strings.TrimSuffix(pathOf(r.Repository), lastPart(r.Repository)))
}

// texts are all texts of a record in which phrases are found.
func texts(r *Record) []string {
	return append(tagTexts(r), lastPart(r.Repository), r.Title, r.Summary, r.Card)
}

// factInput is the fact that [Record.Inputs] are found by. No query names it.
const factInput = "input"

// describeFacts gives the values that filters ask for.
func describeFacts(r *Record, s sink) {
	for key, values := range facts(r) {
		any := false
		for _, v := range values {
			if v = strings.ToLower(v); v != "" {
				s.term(fieldFact, cut(key+"="+v, MaxText), true)
				any = true
			}
		}
		if any {
			s.term(fieldFact, key, false)
		}
	}
}

// facts returns what the filters of words compare with.
func facts(r *Record) map[string][]string {
	status := r.Status
	if status == "" {
		status = Active
	}
	f := map[string][]string{
		"task": {r.Task}, "library": {r.Library}, "arch": {r.Architecture}, "status": {status},
		"license": r.Licenses, "language": r.Languages, "format": r.Formats, "quant": r.Quantizations,
		"keyword": r.Keywords, "dataset": r.Datasets, "tag": r.Tags,
		"repo":   {pathOf(r.Repository), lastPart(r.Repository)},
		"digest": {shortDigest(r.Digest)},
		"author": people([]string{r.Author}), "signed": people(r.Signers),
	}
	for _, b := range r.Bases {
		f["base"] = append(f["base"], baseNames(b)...)
	}
	for _, b := range r.Inputs {
		f[factInput] = append(f[factInput], inputNames(b)...)
	}
	for key, on := range map[string]bool{"latest": r.Latest, "code": r.Code, "anysigned": r.Signed || r.Verified, "verified": r.Verified} {
		if on {
			f[key] = []string{"yes"}
		}
	}
	return f
}

// shortDigest returns what is looked up of a digest: 96 bits.
func shortDigest(d string) string { return cut(strings.TrimPrefix(d, "sha256:"), 24) }

// people returns the ways to name somebody: as written, by each word, and by the
// domain of an address.
func people(names []string) []string {
	var list []string
	for _, name := range names {
		list = append(list, name)
		for _, w := range strings.FieldsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || r == '<' || r == '>' }) {
			list = append(list, w)
			if i := strings.LastIndexByte(w, '@'); i >= 0 {
				list = append(list, w[i:])
			}
		}
	}
	return list
}

// baseNames returns the ways to name a base model: whole, without its tag, without
// its hub or registry, and every beginning of its own name that ends at a "-".
func baseNames(b Base) []string {
	name, _, _ := strings.Cut(b.Name, "@")
	list := []string{b.Digest, name, strings.TrimPrefix(name, "hf:"), pathOf(name), lastPart(name)}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') && !strings.HasPrefix(name, "hf:") {
		name = name[:i]
		list = append(list, name, pathOf(name), lastPart(name))
	}
	own := strings.TrimPrefix(lastPart(name), "hf:")
	for i, r := range own {
		if r == '-' && i > 0 {
			list = append(list, own[:i])
		}
	}
	return list
}
