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
	"path"
	"regexp"
	"slices"
	"strings"
)

// MaxBytes is the size of the largest file that is searched.
const MaxBytes = 1 << 20

// A Match is a secret in a file.
type Match struct {
	What   string // such as "private key"
	Offset int64  // in the file, of its first byte
}

// patterns are those of tokens whose form is published by who issues
// them, so that a match is no accident. Only a file with one of the words in it
// is searched for the expression, which takes a hundred times longer.
var patterns = []struct {
	what  string
	words []string
	re    *regexp.Regexp
}{
	{"private key", []string{"PRIVATE KEY"}, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\+[rn])+[A-Za-z0-9+/]`)},
	{"AWS access key", []string{"AKIA", "ASIA"}, regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"AWS secret key", []string{"aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"}, regexp.MustCompile(`(?i)aws_secret_access_key["']?\s*[=:]\s*["']?[A-Za-z0-9/+=]{40}\b`)},
	{"GitHub token", []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36,}\b`)},
	{"GitHub token", []string{"github_pat_"}, regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{60,}\b`)},
	{"GitLab token", []string{"glpat-"}, regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,}`)},
	{"Hugging Face token", []string{"hf_"}, regexp.MustCompile(`\bhf_[A-Za-z0-9]{34,}\b`)},
	{"Anthropic key", []string{"sk-ant-"}, regexp.MustCompile(`\bsk-ant-[A-Za-z0-9_-]{40,}`)},
	{"OpenAI key", []string{"sk-"}, regexp.MustCompile(`\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,}`)},
	{"Google API key", []string{"AIza"}, regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{"Slack token", []string{"xox"}, regexp.MustCompile(`\bxox[abeprs]-[A-Za-z0-9-]{20,}`)},
	{"npm token", []string{"npm_"}, regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}\b`)},
	{"PyPI token", []string{"pypi-"}, regexp.MustCompile(`\bpypi-AgE[A-Za-z0-9_-]{50,}`)},
	{"Stripe key", []string{"k_live_"}, regexp.MustCompile(`\b[rs]k_live_[A-Za-z0-9]{20,}\b`)},
	{"Azure storage key", []string{"AccountKey="}, regexp.MustCompile(`AccountKey=[A-Za-z0-9+/]{86}==`)},
	{"modelreg token", []string{"mr_"}, regexp.MustCompile(`\bmr_[A-Za-z0-9]{32,}\b`)},
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
	for _, p := range patterns {
		if !slices.ContainsFunc(p.words, func(w string) bool { return bytes.Contains(data, []byte(w)) }) {
			continue
		}
		for _, m := range p.re.FindAllIndex(data, 100) {
			if p.what == "private key" || !isPlaceholder(data[m[0]:m[1]]) {
				return Match{What: p.what, Offset: int64(m[0])}, true
			}
		}
	}
	return Match{}, false
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
