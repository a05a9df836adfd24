// Package secrets finds credentials in files that are about to be published, or
// have been.
//
// It knows the forms of tokens and keys that are published by who issues them,
// so that a match is no accident, and passes over those that documentation makes
// up. It looks at small files only: credentials live in those, and vocabularies,
// where chance matches happen, are larger. What it finds it names, and never
// repeats.
package secrets

import (
	"bytes"
	"iter"
	"path"
	"regexp"
	"strings"
)

// MaxBytes is the size of the largest file that is searched.
const MaxBytes = 1 << 20

// A Match is a secret in a file.
type Match struct {
	What   string // such as "private key"
	Offset int64  // in the file, of its first byte
}

// A pattern is a form of tokens that is published by who issues them, so that a
// match is no accident. The word is looked for, and the expressions are asked
// where it stands: looking for an expression takes a hundred times longer.
type pattern struct {
	what   string
	word   string
	before *regexp.Regexp // what ends where the word begins; nil for the beginning of a word
	after  *regexp.Regexp // what begins where the word ends
}

// lead and tail are how many bytes before and after a word are looked at.
const (
	lead = 64
	tail = 512
)

var patterns = []pattern{
	{"private key", "PRIVATE KEY", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*$`), regexp.MustCompile(`^(?: BLOCK)?-----(?:\s|\\+[rn])+[A-Za-z0-9+/]`)},
	{"AWS access key", "AKIA", nil, regexp.MustCompile(`^[0-9A-Z]{16}\b`)},
	{"AWS access key", "ASIA", nil, regexp.MustCompile(`^[0-9A-Z]{16}\b`)},
	{"Google API key", "AIza", nil, regexp.MustCompile(`^[0-9A-Za-z_-]{35}\b`)},

	{"AWS secret key", "aws_secret_access_", regexp.MustCompile(`$`), regexp.MustCompile(`^key["']?\s*[=:]\s*["']?[A-Za-z0-9/+=]{40}\b`)},
	{"AWS secret key", "AWS_SECRET_ACCESS_", regexp.MustCompile(`$`), regexp.MustCompile(`^KEY["']?\s*[=:]\s*["']?[A-Za-z0-9/+=]{40}\b`)},
	{"GitHub token", "ghp_", nil, regexp.MustCompile(`^[A-Za-z0-9]{36,}\b`)},
	{"GitHub token", "gho_", nil, regexp.MustCompile(`^[A-Za-z0-9]{36,}\b`)},
	{"GitHub token", "ghu_", nil, regexp.MustCompile(`^[A-Za-z0-9]{36,}\b`)},
	{"GitHub token", "ghs_", nil, regexp.MustCompile(`^[A-Za-z0-9]{36,}\b`)},
	{"GitHub token", "ghr_", nil, regexp.MustCompile(`^[A-Za-z0-9]{36,}\b`)},
	{"GitHub token", "github_pat_", nil, regexp.MustCompile(`^[A-Za-z0-9_]{60,}\b`)},
	{"GitLab token", "glpat-", nil, regexp.MustCompile(`^[A-Za-z0-9_-]{20,}`)},
	{"Hugging Face token", "hf_", nil, regexp.MustCompile(`^[A-Za-z0-9]{34,}\b`)},
	{"Anthropic key", "sk-", nil, regexp.MustCompile(`^ant-[A-Za-z0-9_-]{40,}`)},
	{"OpenAI key", "sk-", nil, regexp.MustCompile(`^(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,}`)},
	{"Slack token", "xoxa-", nil, regexp.MustCompile(`^[A-Za-z0-9-]{20,}`)},
	{"Slack token", "xoxb-", nil, regexp.MustCompile(`^[A-Za-z0-9-]{20,}`)},
	{"Slack token", "xoxe-", nil, regexp.MustCompile(`^[A-Za-z0-9-]{20,}`)},
	{"Slack token", "xoxp-", nil, regexp.MustCompile(`^[A-Za-z0-9-]{20,}`)},
	{"Slack token", "xoxr-", nil, regexp.MustCompile(`^[A-Za-z0-9-]{20,}`)},
	{"Slack token", "xoxs-", nil, regexp.MustCompile(`^[A-Za-z0-9-]{20,}`)},
	{"npm token", "npm_", nil, regexp.MustCompile(`^[A-Za-z0-9]{36}\b`)},
	{"PyPI token", "pypi-", nil, regexp.MustCompile(`^AgE[A-Za-z0-9_-]{50,}`)},
	{"Stripe key", "k_live_", regexp.MustCompile(`\b[rs]$`), regexp.MustCompile(`^[A-Za-z0-9]{20,}\b`)},
	{"Azure storage key", "AccountKey=", regexp.MustCompile(`$`), regexp.MustCompile(`^[A-Za-z0-9+/]{86}==`)},
	{"modelreg token", "mr_", nil, regexp.MustCompile(`^[A-Za-z0-9]{32,}\b`)},
}

// Find returns the first secret that is in the file named name of size bytes.
// data is its content, or its beginning if it is larger than [MaxBytes].
func Find(name string, size int64, data []byte) (Match, bool) {
	if ext := strings.ToLower(path.Ext(name)); ext == ".key" || ext == ".der" || ext == ".pem" {
		// PKCS #1, PKCS #8 and SEC 1 keys in DER begin with a sequence
		// whose first member is a small version number.
		if len(data) > 8 && data[0] == 0x30 && bytes.Contains(data[:8], []byte{0x02, 0x01}) {
			return Match{What: "private key"}, true
		}
	}
	if size > MaxBytes || bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		return Match{}, false
	}
	first, found := Match{Offset: int64(len(data))}, false
	take := func(p *pattern, end int) {
		if at, ok := p.match(data, end); ok && at < first.Offset {
			first, found = Match{What: p.what, Offset: at}, true
		}
	}
	for i := range patterns {
		if p := &patterns[i]; !strings.ContainsRune(lastBytes, rune(p.word[len(p.word)-1])) {
			for end := range ends(data, p.word) {
				take(p, end)
			}
		}
	}
	for _, last := range lastBytes {
		for end := range ends(data, string(last)) {
			for i := range patterns {
				if p := &patterns[i]; bytes.HasSuffix(data[:end], []byte(p.word)) {
					take(p, end)
				}
			}
		}
	}
	return first, found
}

// lastBytes end most words, and are rarer in texts than what the words begin
// with, so that looking for them finds all these words at once.
const lastBytes = "_-="

// ends yields where word ends in data.
func ends(data []byte, word string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 0; ; {
			i := bytes.Index(data[at:], []byte(word))
			if i < 0 {
				return
			}
			at += i + len(word)
			if !yield(at) {
				return
			}
		}
	}
}

// match tells whether the word that ends at end is part of a secret, and where
// that begins.
func (p *pattern) match(data []byte, end int) (int64, bool) {
	start := end - len(p.word)
	after := p.after.FindIndex(data[end:min(end+tail, len(data))])
	if after == nil {
		return 0, false
	}
	if p.before == nil && start > 0 && isWord(data[start-1]) {
		return 0, false
	}
	if p.before != nil {
		from := max(start-lead, 0)
		before := p.before.FindIndex(data[from:start])
		if before == nil {
			return 0, false
		}
		start = from + before[0]
	}
	return int64(start), p.what == "private key" || !isPlaceholder(data[start:end+after[1]])
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// isPlaceholder tells made-up tokens of documentation, such as hf_xxxx… and
// AWS's own AKIAIOSFODNN7EXAMPLE, from real ones.
func isPlaceholder(token []byte) bool {
	if bytes.Contains(token, []byte("EXAMPLE")) {
		return true
	}
	seen := make(map[byte]bool)
	for _, c := range token {
		seen[c] = true
	}
	return len(seen) < 10
}
