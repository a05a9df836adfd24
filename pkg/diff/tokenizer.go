package diff

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxVocabulary = 4 << 20 // tokens
	maxAdded      = 4096    // added tokens
)

// A vocabulary is what is compared of a tokenizer.json: which tokens there are.
type vocabulary struct {
	seed   maphash.Seed
	ids    map[uint64]int64 // by the hash of the token
	merges int
	added  []string          // content of the added tokens, sorted
	rest   map[string]*node  // normalizer, pre_tokenizer and so on
	kind   string            // model.type
	dec    *jsontext.Decoder // where it is read from
}

var errTooMany = errors.New("too many tokens")

// tokenizers compares two files of tokenizers without holding them.
func (c *comparer) tokenizers(ctx context.Context, name string) ([]Change, error) {
	was, is := byPath(c.a.Files)[name], byPath(c.b.Files)[name]
	switch {
	case was == nil && is == nil:
		return nil, nil
	case was == nil:
		return []Change{{Op: Added}}, nil
	case is == nil:
		return []Change{{Op: Removed}}, nil
	}
	seed := maphash.MakeSeed()
	var both [2]*vocabulary
	for i, f := range []*File{was, is} {
		v, err := readVocabulary(ctx, f, seed)
		if _, ok := errors.AsType[*jsontext.SyntacticError](err); ok || errors.Is(err, errTooMany) {
			c.problem("%s: not compared: %v", name, err)
			return []Change{{Op: Changed}}, nil
		}
		if err != nil {
			return nil, err
		}
		both[i] = v
	}
	changes := both[0].compare(both[1])
	if len(changes) == 0 {
		changes = []Change{{Op: Changed}} // in what is not looked at
	}
	return changes, nil
}

func readVocabulary(ctx context.Context, f *File, seed maphash.Seed) (*vocabulary, error) {
	r, err := f.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, f.Size), 1<<20)
	v := &vocabulary{seed: seed, ids: map[uint64]int64{}, rest: map[string]*node{}, dec: jsontext.NewDecoder(in)}
	err = v.members(func(key string) error {
		switch key {
		case "model":
			return v.model()
		case "added_tokens":
			return v.addedTokens()
		}
		p := parser{dec: v.dec}
		n, err := p.value()
		v.rest[key] = n
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %+q: %w", f.Path, err)
	}
	slices.Sort(v.added)
	return v, nil
}

// members calls read for each member of the object that is next, and passes
// over anything else.
func (v *vocabulary) members(read func(key string) error) error {
	if v.dec.PeekKind() != '{' {
		return v.dec.SkipValue()
	}
	if _, err := v.dec.ReadToken(); err != nil {
		return err
	}
	for v.dec.PeekKind() != '}' {
		key, err := v.dec.ReadToken()
		if err != nil {
			return err
		}
		if err := read(key.String()); err != nil {
			return err
		}
	}
	_, err := v.dec.ReadToken()
	return err
}

// elements calls read for each element of the array that is next.
func (v *vocabulary) elements(read func() error) error {
	if v.dec.PeekKind() != '[' {
		return v.dec.SkipValue()
	}
	if _, err := v.dec.ReadToken(); err != nil {
		return err
	}
	for v.dec.PeekKind() != ']' {
		if err := read(); err != nil {
			return err
		}
	}
	_, err := v.dec.ReadToken()
	return err
}

func (v *vocabulary) model() error {
	return v.members(func(key string) error {
		switch {
		case key == "type":
			t, err := v.dec.ReadToken()
			if err == nil && t.Kind() == '"' {
				v.kind = t.String()
			}
			return err
		case key == "vocab" && v.dec.PeekKind() == '{':
			return v.members(func(token string) error {
				id, err := v.dec.ReadToken()
				if err != nil {
					return err
				}
				n, _ := strconv.ParseInt(id.String(), 10, 64) // 0 for what is no number
				return v.token(token, n)
			})
		case key == "vocab":
			return v.elements(v.scored)
		case key == "merges":
			return v.elements(func() error { v.merges++; return v.dec.SkipValue() })
		}
		return v.dec.SkipValue()
	})
}

// scored reads a token of a unigram model, which stands before its score.
func (v *vocabulary) scored() error {
	raw, err := v.dec.ReadValue()
	if err != nil {
		return err
	}
	var pair []any
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) == 0 {
		return nil //nolint:nilerr // another kind of element counts for nothing
	}
	token, _ := pair[0].(string)
	return v.token(token, int64(len(v.ids)))
}

func (v *vocabulary) token(text string, id int64) error {
	if len(v.ids) >= maxVocabulary {
		return errTooMany
	}
	v.ids[maphash.String(v.seed, text)] = id
	return nil
}

func (v *vocabulary) addedTokens() error {
	return v.elements(func() error {
		raw, err := v.dec.ReadValue()
		if err != nil {
			return err
		}
		var t struct {
			Content string `json:"content"`
		}
		if json.Unmarshal(raw, &t) == nil && t.Content != "" {
			v.added = append(v.added, t.Content)
		}
		if len(v.added) > maxAdded {
			return errTooMany
		}
		return nil
	})
}

// compare sums up how w differs.
func (v *vocabulary) compare(w *vocabulary) []Change {
	c := &comparison{}
	number := func(path string, from, to int) {
		if from != to {
			c.add(Change{Path: path, Op: Changed, From: quoted(from), To: quoted(to)})
		}
	}
	if v.kind != w.kind {
		c.add(Change{Path: "model.type", Op: Changed, From: quoted(v.kind), To: quoted(w.kind)})
	}
	number("vocabulary", len(v.ids), len(w.ids))
	fresh, moved := 0, 0
	for token, id := range w.ids {
		switch was, ok := v.ids[token]; {
		case !ok:
			fresh++
		case was != id:
			moved++
		}
	}
	number("vocabulary.new", 0, fresh)
	number("vocabulary.gone", 0, len(v.ids)-(len(w.ids)-fresh))
	number("vocabulary.renumbered", 0, moved)
	number("merges", v.merges, w.merges)
	for _, e := range script(v.added, w.added) {
		for _, t := range v.added[e.a0:e.a1] {
			c.add(Change{Path: "added_tokens", Op: Removed, From: quoted(t)})
		}
		for _, t := range w.added[e.b0:e.b1] {
			c.add(Change{Path: "added_tokens", Op: Added, To: quoted(t)})
		}
	}
	keys := map[string]bool{}
	for k := range v.rest {
		keys[k] = true
	}
	for k := range w.rest {
		keys[k] = true
	}
	for _, k := range sortedKeys(keys) {
		c.values(k, v.rest[k], w.rest[k])
	}
	return c.changes
}

// quoted is a number or a text as a value of a result.
func quoted(v any) json.RawMessage {
	text, ok := v.(string)
	if !ok {
		return json.RawMessage(fmt.Sprint(v))
	}
	raw, err := jsontext.AppendQuote(nil, text)
	if err != nil { // not UTF-8
		raw, _ = jsontext.AppendQuote(nil, strings.ToValidUTF8(text, "\ufffd"))
	}
	return json.RawMessage(raw)
}
