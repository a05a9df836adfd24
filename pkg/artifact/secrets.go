package artifact

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxSecretBytes is the size of the largest file that is searched for secrets.
// Credentials live in small files; vocabularies, where chance matches happen,
// are larger.
const maxSecretBytes = 1 << 20

// A Secret is a file that should not be published.
type Secret struct {
	Path string
	What string // such as "private key"
}

// A SecretsError lists files that look like secrets by their content. Nothing
// has been sent anywhere.
type SecretsError struct {
	Files []Secret
}

func (e *SecretsError) Error() string {
	names := make([]string, len(e.Files))
	for i, f := range e.Files {
		names[i] = fmt.Sprintf("%s (%s)", f.Path, f.What)
	}
	return listed("unsafe: secrets in", names)
}

// Unwrap returns [ErrUnsafe].
func (e *SecretsError) Unwrap() error { return ErrUnsafe }

// secretPatterns are those of tokens whose form is published by who issues
// them, so that a match is no accident. Only a file with one of the words in it
// is searched for the expression, which takes a hundred times longer.
var secretPatterns = []struct {
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

// findSecret tells what secret is in a file, "" for none. data is its content,
// or its beginning if it is larger than maxSecretBytes.
func findSecret(p string, size int64, data []byte) string {
	if ext := strings.ToLower(path.Ext(p)); ext == ".key" || ext == ".der" || ext == ".pem" {
		// PKCS #1, PKCS #8 and SEC 1 keys in DER begin with a sequence
		// whose first member is a small version number.
		if len(data) > 8 && data[0] == 0x30 && bytes.Contains(data[:8], []byte{0x02, 0x01}) {
			return "private key"
		}
	}
	if size > maxSecretBytes || bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		return ""
	}
	for _, p := range secretPatterns {
		if !slices.ContainsFunc(p.words, func(w string) bool { return bytes.Contains(data, []byte(w)) }) {
			continue
		}
		for _, m := range p.re.FindAll(data, 100) {
			if p.what == "private key" || !isPlaceholder(m) {
				return p.what
			}
		}
	}
	return ""
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
