package artifact

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
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
// them, so that a match is no accident.
var secretPatterns = []struct {
	what string
	re   *regexp.Regexp
}{
	{"private key", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\+[rn])+[A-Za-z0-9+/]`)},
	{"AWS access key", regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"AWS secret key", regexp.MustCompile(`(?i)aws_secret_access_key["']?\s*[=:]\s*["']?[A-Za-z0-9/+=]{40}\b`)},
	{"GitHub token", regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36,}\b`)},
	{"GitHub token", regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{60,}\b`)},
	{"GitLab token", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,}`)},
	{"Hugging Face token", regexp.MustCompile(`\bhf_[A-Za-z0-9]{34,}\b`)},
	{"Anthropic key", regexp.MustCompile(`\bsk-ant-[A-Za-z0-9_-]{40,}`)},
	{"OpenAI key", regexp.MustCompile(`\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,}`)},
	{"Google API key", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{"Slack token", regexp.MustCompile(`\bxox[abeprs]-[A-Za-z0-9-]{20,}`)},
	{"npm token", regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}\b`)},
	{"PyPI token", regexp.MustCompile(`\bpypi-AgE[A-Za-z0-9_-]{50,}`)},
	{"Stripe key", regexp.MustCompile(`\b[rs]k_live_[A-Za-z0-9]{20,}\b`)},
	{"Azure storage key", regexp.MustCompile(`AccountKey=[A-Za-z0-9+/]{86}==`)},
	{"modelreg token", regexp.MustCompile(`\bmr_[A-Za-z0-9]{32,}\b`)},
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
