package diff

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A Group is tensors that the same happened to, by one name for all: numbers of
// layers as ranges, names beside each other in braces, such as
// "model.layers.28-31.mlp.{down,gate,up}_proj.weight". It stands for exactly
// the tensors that it counts.
type Group struct {
	Change  string `json:"change"` // "changed", "added", …
	Pattern string `json:"pattern"`
	Tensors int    `json:"tensors"`
	Bytes   int64  `json:"bytes"` // of the tensors as they are now, or were

	// DType and Shape are those that all of them have, else empty.
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`

	// Values sums up those of the tensors: the largest change, the mean of all,
	// the smallest cosine.
	Values *Values `json:"values,omitempty"`
}

// A pattern stands for all names with one of the alternatives in each place.
type pattern struct {
	parts   [][]string // each sorted: numbers by value
	members []int      // what it was made of
}

const (
	// maxNames is how many names are summed up, and maxParts how many parts one
	// may have: mixtures of experts have some ten thousand names of a dozen
	// parts. The work grows with both.
	maxNames = 50_000
	maxParts = 64
)

// compress finds few patterns that stand for exactly these names, in the order
// of the first of each.
func compress(names []string) []pattern {
	list := make([]pattern, len(names))
	for i, name := range names {
		for _, part := range splitName(name) {
			list[i].parts = append(list[i].parts, []string{part})
		}
		list[i].members = []int{i}
	}
	for before := -1; before != len(list) && len(names) <= maxNames; {
		before = len(list)
		for _, numbers := range []bool{true, false} {
			for at := longest(list) - 1; at >= 0; at-- {
				list = mergeAt(list, at, numbers)
			}
		}
	}
	return list
}

func longest(list []pattern) int {
	n := 0
	for _, p := range list {
		n = max(n, len(p.parts))
	}
	return n
}

// mergeAt joins patterns that differ in place at alone. Words are only joined
// below a number, or at the end: what is side by side in layers is one thing,
// what is side by side at the top of a model is not.
func mergeAt(list []pattern, at int, numbers bool) []pattern {
	first := map[string]int{}
	grown := map[int]bool{}
	var out []pattern
	for _, p := range list {
		if at >= len(p.parts) || isNumber(p.parts[at][0]) != numbers || !numbers && !p.joins(at) {
			out = append(out, p)
			continue
		}
		key := p.without(at)
		i, ok := first[key]
		if !ok {
			first[key] = len(out)
			out = append(out, p)
			continue
		}
		into := &out[i]
		if !grown[i] {
			grown[i] = true
			into.parts, into.members = slices.Clone(into.parts), slices.Clone(into.members)
			into.parts[at] = slices.Clone(into.parts[at])
		}
		into.parts[at] = append(into.parts[at], p.parts[at]...)
		into.members = append(into.members, p.members...)
	}
	for i := range grown {
		out[i].parts[at] = union(out[i].parts[at], nil)
	}
	return out
}

// joins tells whether words in place at may be joined.
func (p pattern) joins(at int) bool {
	if at > 0 && at == len(p.parts)-1 {
		return true
	}
	return slices.ContainsFunc(p.parts[:at], func(alt []string) bool { return isNumber(alt[0]) })
}

// without is a pattern with one place left open, as text.
func (p pattern) without(at int) string {
	var b strings.Builder
	for i, alt := range p.parts {
		if i == at {
			b.WriteString("\x00*")
			continue
		}
		for _, a := range alt {
			b.WriteString("\x01" + a)
		}
		b.WriteString("\x00")
	}
	return b.String()
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.SortFunc(all, compareParts)
	return slices.Compact(all)
}

// compareParts orders numbers by value and before words.
func compareParts(a, b string) int {
	if isNumber(a) && isNumber(b) {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	}
	return cmp.Or(cmp.Compare(b2i(isNumber(b)), b2i(isNumber(a))), cmp.Compare(a, b))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// splitName cuts the name of a tensor into words and the separators between
// them, and cuts off the number at the end of a word such as "layers_12".
func splitName(name string) []string {
	if strings.Count(name, ".")+strings.Count(name, "/") >= maxParts/3 {
		return []string{name} // a word, a number and a separator each
	}
	var parts []string
	begin := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' && name[i] != '/' {
			continue
		}
		word := name[begin:i]
		if cut := strings.LastIndexByte(word, '_'); cut > 0 && isNumber(word[cut+1:]) {
			parts = append(parts, word[:cut+1], word[cut+1:])
		} else {
			parts = append(parts, word)
		}
		if i < len(name) {
			parts = append(parts, name[i:i+1])
		}
		begin = i + 1
	}
	return parts
}

// isNumber tells numbers as layers have: without leading zeros, and not longer
// than any could be.
func isNumber(s string) bool {
	if s == "" || len(s) > 6 || len(s) > 1 && s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

// String writes numbers as ranges and words in braces, with what they share
// outside of them.
func (p pattern) String() string {
	var b strings.Builder
	for _, alt := range p.parts {
		switch {
		case len(alt) == 1:
			b.WriteString(alt[0])
		case isNumber(alt[0]):
			b.WriteString(ranges(alt))
		default:
			b.WriteString(braces(alt))
		}
	}
	return b.String()
}

// ranges writes sorted numbers such as "0-3,7".
func ranges(numbers []string) string {
	var out []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && number(numbers[j+1]) == number(numbers[j])+1 {
			j++
		}
		switch {
		case j > i+1:
			out = append(out, numbers[i]+"-"+numbers[j])
		case j > i:
			out = append(out, numbers[i], numbers[j])
		default:
			out = append(out, numbers[i])
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// braces writes words such as "{gate,up}_proj": with the last part that all of
// them share behind.
func braces(words []string) string {
	tail := words[0]
	for _, w := range words[1:] {
		for !strings.HasSuffix(w, tail) {
			tail = tail[1:]
		}
	}
	if cut := strings.IndexByte(tail, '_'); cut >= 0 && !slices.Contains(words, tail[cut:]) {
		tail = tail[cut:]
	} else {
		tail = ""
	}
	short := make([]string, len(words))
	for i, w := range words {
		short[i] = strings.TrimSuffix(w, tail)
	}
	return "{" + strings.Join(short, ",") + "}" + tail
}

// layersOf sums up where tensors are: "layers 20-27, lm_head". The numbers are
// the first in each name.
func layersOf(names []string) string {
	var layers, rest []string
	for _, name := range names {
		parts := splitName(name)
		if i := slices.IndexFunc(parts, isNumber); i >= 0 {
			layers = append(layers, parts[i])
			continue
		}
		rest = append(rest, strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias"))
	}
	var out []string
	if layers = union(layers, nil); len(layers) > 0 {
		word := "layers "
		if len(layers) == 1 {
			word = "layer "
		}
		out = append(out, word+ranges(layers))
	}
	rest = union(rest, nil)
	const few = 3
	if len(rest) > few {
		rest = append(rest[:few:few], ellipsis)
	}
	return strings.Join(append(out, rest...), ", ")
}
