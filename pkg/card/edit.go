package card

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// ErrEdit is wrapped by errors about an edit that cannot be made without changing
// more of the front matter than was asked for.
var ErrEdit = errors.New("front matter cannot be edited")

// An Op is what an [Edit] does to a key.
type Op int

// The operations.
const (
	Set    Op = iota // the key gets the value
	Add              // the value becomes a member of the key's list
	Remove           // the value is no member of the key's list any more
	Unset            // the key goes
)

const maxKey = 100 // bytes of a key that is edited

// An Edit is one change of front matter.
type Edit struct {
	Key string
	Op  Op

	// Value is text, a number, true or false, or a list or mapping in the flow
	// form of YAML, on one line. For the keys whose value is a list of words
	// (language, tags, datasets, metrics, base_model), commas stand between
	// several. It means nothing to Unset.
	Value string
}

// ParseEdit reads an edit as KEY=VALUE, KEY+=VALUE or KEY-=VALUE.
func ParseEdit(s string) (Edit, error) {
	key, val, ok := strings.Cut(s, "=")
	e := Edit{Key: key, Value: strings.TrimSpace(val)}
	if k, found := strings.CutSuffix(key, "+"); found {
		e.Key, e.Op = k, Add
	} else if k, found := strings.CutSuffix(key, "-"); found {
		e.Key, e.Op = k, Remove
	}
	e.Key = strings.TrimSpace(e.Key)
	if !ok || e.Key == "" || e.Value == "" {
		return e, fmt.Errorf("%w: %s is not KEY=VALUE, KEY+=VALUE or KEY-=VALUE", ErrEdit, quote(s))
	}
	return e, nil
}

// Rewrite makes edits in the front matter of readme and returns the README that
// comes of it. Whatever is not edited stays as it is, byte for byte: comments, the
// order and the spelling of keys, unknown keys, the body. A README without front
// matter gets some. After each edit the front matter is read again; where an edit
// would change anything else (an anchor that others refer to, say), nothing is
// changed and the error wraps [ErrEdit].
func Rewrite(readme []byte, edits ...Edit) ([]byte, error) {
	if len(readme) > MaxBytes {
		return nil, fmt.Errorf("edit card: %d bytes, limit %d: %w", len(readme), MaxBytes, ErrTooLarge)
	}
	if len(edits) == 0 {
		return slices.Clone(readme), nil
	}
	matter, body, line := split(readme)
	if matter == nil && line > 0 {
		return nil, fmt.Errorf("%w: no closing line of three dashes", ErrEdit)
	}
	if matter == nil {
		nl := newlineOf(body)
		readme = slices.Concat(readme[:len(readme)-len(body)], []byte(delimiter+nl+delimiter+nl), body)
		_, _, line = split(readme)
	}
	start := 0
	for range line {
		start += bytes.IndexByte(readme[start:], '\n') + 1
	}
	matter, _, _ = split(readme)
	head, tail := readme[:start], readme[start+len(matter):]
	for _, e := range edits {
		edited, err := edit(matter, e, newlineOf(head))
		if err != nil {
			return nil, fmt.Errorf("edit %s: %w", quote(e.Key), err)
		}
		matter = edited
	}
	return slices.Concat(head, matter, tail), nil
}

// newlineOf is how lines end.
func newlineOf(text []byte) string {
	if bytes.Contains(text, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// edit makes one edit and proves that it made no other.
func edit(matter []byte, e Edit, nl string) ([]byte, error) {
	if len(e.Key) > maxKey || strings.ContainsAny(e.Key, "\r\n") || e.Key == "" {
		return nil, fmt.Errorf("%w: no such key can be", ErrEdit)
	}
	before, err := decode(matter)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEdit, err)
	}
	if before.kind != mappingKind && before.kind != nullKind {
		return nil, fmt.Errorf("%w: it is not keys with values", ErrEdit)
	}
	want, err := edited(before.get(e.Key), e)
	if err != nil {
		return nil, err
	}
	if reflect.DeepEqual(want, before.get(e.Key)) && (e.Op != Unset || !slices.Contains(before.keys, e.Key)) {
		return matter, nil
	}
	doc, err := lay(matter, nl)
	if err != nil {
		return nil, err
	}
	out, err := doc.apply(e, before.get(e.Key), want)
	if err != nil {
		return nil, err
	}
	return out, unharmed(out, before, e.Key, want)
}

// unharmed reads what an edit made, and tells whether it is what was wanted and all
// else is as before.
func unharmed(out []byte, before value, key string, want value) error {
	after, err := decode(out)
	if err != nil {
		return fmt.Errorf("%w in place: %w", ErrEdit, err)
	}
	i := slices.Index(before.keys, key)
	if i >= 0 {
		before.keys = slices.Delete(slices.Clone(before.keys), i, i+1)
		before.items = slices.Delete(slices.Clone(before.items), i, i+1)
	}
	got := after.get(key)
	if j := slices.Index(after.keys, key); j >= 0 {
		after.keys, after.items = slices.Delete(after.keys, j, j+1), slices.Delete(after.items, j, j+1)
	}
	same := len(before.keys) == len(after.keys)
	for k := 0; same && k < len(before.keys); k++ {
		same = before.keys[k] == after.keys[k] && reflect.DeepEqual(before.items[k], after.items[k])
	}
	if !same || !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%w in place: other keys hang on this one", ErrEdit)
	}
	return nil
}

// edited is the value that a key has after an edit; null for none.
func edited(old value, e Edit) (value, error) {
	if e.Op == Unset {
		return value{}, nil
	}
	given, err := givenValue(e.Key, e.Value)
	if err != nil || e.Op == Set {
		return given, err
	}
	list := value{kind: sequenceKind, items: []value{}}
	switch old.kind {
	case sequenceKind:
		list.items = slices.Clone(old.items)
	case textKind, numberKind, booleanKind:
		list.items = append(list.items, old)
	case mappingKind:
		return given, fmt.Errorf("%w: it is no list", ErrEdit)
	case nullKind:
	}
	members := given.items
	if given.kind != sequenceKind {
		members = []value{given}
	}
	for _, m := range members {
		same := func(v value) bool { return v.kind != mappingKind && v.kind != sequenceKind && v.text == m.text }
		switch {
		case e.Op == Remove:
			list.items = slices.DeleteFunc(list.items, same)
		case !slices.ContainsFunc(list.items, same):
			list.items = append(list.items, m)
		}
	}
	if len(list.items) == 0 {
		return value{}, nil
	}
	if e.Op == Remove && old.kind != sequenceKind {
		return old, nil // a lone value that is another
	}
	if e.Op == Add && old.kind != sequenceKind && len(list.items) == 1 && old.kind != nullKind {
		return old, nil // there already
	}
	return list, nil
}

// givenValue reads a value that a user typed for a key.
func givenValue(key, s string) (value, error) {
	if strings.ContainsAny(s, "\r\n") {
		return value{}, fmt.Errorf("%w: the value has several lines", ErrEdit)
	}
	if strings.HasPrefix(s, "[") || strings.HasPrefix(s, "{") {
		v, err := decode([]byte(s))
		if err != nil {
			return value{}, fmt.Errorf("%w: the value is no YAML: %w", ErrEdit, err)
		}
		return v, nil
	}
	if !isWordList(key) {
		return scalarValue(key, s), nil
	}
	list := value{kind: sequenceKind, items: []value{}}
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list.items = append(list.items, value{kind: textKind, text: word})
		}
	}
	if len(list.items) == 1 && (key == "language" || key == "base_model") {
		return list.items[0], nil // as most cards have it
	}
	return list, nil
}

// scalarValue tells numbers and truth from text where the key may have them.
func scalarValue(key, s string) value {
	if !isTextKey(key) {
		if v, err := decode([]byte(s)); err == nil && (v.kind == booleanKind || v.kind == numberKind) && v.text == s {
			return v
		}
	}
	return value{kind: textKind, text: s}
}

// isWordList knows the keys whose value is a list of words.
func isWordList(key string) bool {
	switch key {
	case "language", "tags", "datasets", "metrics", "base_model":
		return true
	}
	return false
}

// isTextKey knows the keys whose value is text, however it looks.
func isTextKey(key string) bool {
	switch key {
	case "license", "license_name", "license_link", "library_name", "pipeline_tag", "model_name",
		"base_model_relation", "new_version", "thumbnail", "quantized_by":
		return true
	}
	return isWordList(key)
}
