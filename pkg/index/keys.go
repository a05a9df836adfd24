package index

import (
	"slices"
	"strings"
)

// A kind is how the values of a key are written.
type kind int

const (
	words    kind = iota // text, text*, "text"
	flags                // yes, no, any
	signers              // yes, no, any, or who
	choices              // one of a few words
	numbers              // comparisons and ranges
	metrics              // a name, and perhaps a comparison
	versions             // latest, all
)

// A keyword is a key of the query language.
type keyword struct {
	name    string
	kind    kind
	aliases string   // separated by spaces
	units   []string // for numbers
	choices []string // for choices
	example string   // for errors and completion
}

var (
	countUnits = []string{"k", "m", "b", "t"}
	tokenUnits = []string{"k", "m"}
	byteUnits  = []string{"b", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib"}
	ageUnits   = []string{"h", "d", "w", "m", "y"}
)

// keyMeasured is the key of numbers that somebody who is trusted has signed.
const keyMeasured = "measured"

// keywords are the keys of the query language, in the order of the manual.
func keywords() []keyword {
	return []keyword{
		{name: "task", aliases: "pipeline", example: "task:text-generation"},
		{name: "library", aliases: "lib", example: "library:transformers"},
		{name: "license", aliases: "licence", example: "license:apache-2.0,mit"},
		{name: "language", aliases: "lang", example: "language:de"},
		{name: "params", kind: numbers, aliases: "parameters param size_params", units: countUnits, example: "params:<8b"},
		{name: "format", example: "format:gguf"},
		{name: "quant", aliases: "quantization", example: "quant:q4*"},
		{name: "arch", aliases: "architecture", example: "arch:llama"},
		{name: "base", aliases: "base_model", example: "base:qwen2*"},
		{name: "dataset", aliases: "data", example: "dataset:squad"},
		{name: "repo", aliases: "repository", example: "repo:acme/*"},
		{name: "author", aliases: "by", example: "author:ada*"},
		{name: "tag", aliases: "tags", example: "tag:v1*"},
		{name: "digest", example: "digest:sha256:77aa*"},
		{name: "keyword", aliases: "keywords", example: "keyword:chat"},
		{name: "signed", kind: signers, aliases: "signer", example: "signed:@acme.com"},
		{name: "verified", kind: flags, example: "verified:yes"},
		{name: "status", kind: choices, choices: []string{Active, Deprecated, Yanked}, example: "status:deprecated"},
		{name: "deprecated", kind: flags, example: "deprecated:no"},
		{name: "yanked", kind: flags, example: "yanked:any"},
		{name: "code", kind: flags, example: "code:no"},
		{name: "metric", kind: metrics, aliases: "eval", example: "metric:mmlu>0.7"},
		{name: keyMeasured, kind: metrics, example: "measured:mmlu>0.7"},
		{name: "fits", kind: numbers, aliases: "fit vram memory", units: byteUnits, example: "fits:24gb"},
		{name: "size", kind: numbers, units: byteUnits, example: "size:<10gb"},
		{name: "context", kind: numbers, aliases: "ctx", units: tokenUnits, example: "context:>=32k"},
		{name: "updated", kind: numbers, aliases: "created", units: ageUnits, example: "updated:<30d"},
		{name: "versions", kind: versions, aliases: "version", choices: []string{"latest", "all"}, example: "versions:all"},
	}
}

// Keys returns the keys of the query language with an example each, in the
// order of the manual.
func Keys() (names, examples []string) {
	for _, k := range keywords() {
		names, examples = append(names, k.name), append(examples, k.example)
	}
	return names, examples
}

// findKey returns the key of that name or alias, whatever its case.
func findKey(name string) (keyword, bool) {
	name = strings.ToLower(name)
	all := keywords()
	i := slices.IndexFunc(all, func(k keyword) bool {
		return k.name == name || slices.Contains(strings.Fields(k.aliases), name)
	})
	if i < 0 {
		return keyword{}, false
	}
	return all[i], true
}

// nearKey returns the key that name may be a slip for, or "".
func nearKey(name string) string {
	name = strings.ToLower(name)
	best, least := "", len(name)/3+2
	for _, k := range keywords() {
		for _, s := range append(strings.Fields(k.aliases), k.name) {
			if d := distance(name, s); d < least {
				best, least = k.name, d
			}
		}
	}
	return best
}

// near returns the word of list that s may be a slip for, or "".
func near(s string, list []string) string {
	best, least := "", len(s)/3+2
	for _, w := range list {
		if d := distance(s, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to make b of a. Both are short.
func distance(a, b string) int {
	r, s := []rune(a), []rune(b)
	rows := [3][]int{make([]int, len(s)+1), make([]int, len(s)+1), make([]int, len(s)+1)}
	for j := range rows[0] {
		rows[0][j] = j
	}
	last, before := rows[0], rows[2]
	for i := 1; i <= len(r); i++ {
		row := rows[i%3]
		row[0] = i
		for j := 1; j <= len(s); j++ {
			cost := 1
			if r[i-1] == s[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && r[i-1] == s[j-2] && r[i-2] == s[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(s)]
}
