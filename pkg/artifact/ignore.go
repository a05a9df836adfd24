package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// IgnoreFile is the name of the file, at the root of a model, that lists in
// gitignore syntax what is not packed.
const IgnoreFile = ".modelregignore"

const maxIgnoreBytes = 1 << 20

// defaultIgnores are caches and litter. A pattern of the user can take them
// back in.
const defaultIgnores = `
__pycache__/
*.pyc
.cache/
.huggingface/
.ipynb_checkpoints/
.mypy_cache/
.pytest_cache/
.ruff_cache/
node_modules/
.venv/
.DS_Store
._*
Thumbs.db
desktop.ini
.nfs*
*.swp
`

// neverDirs are left out with all that is in them, whatever the user's
// patterns say.
var neverDirs = []string{
	".git", ".hg", ".svn", ".bzr",
	".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".gcloud",
}

// neverFiles are patterns of names that hold secrets. Only being named in
// [PackOptions] takes such a file in.
var neverFiles = []string{
	".env", ".env.*", "*.env",
	".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials",
	".htpasswd", ".dockercfg", ".dockerconfigjson", ".boto", ".s3cfg",
	"id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk",
	"*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx",
	"credentials", ".credentials", "credentials.json", "client_secret*.json",
	"application_default_credentials.json",
}

// neverBut are names that neverFiles matches and that hold examples.
var neverBut = []string{".env.example", ".env.sample", ".env.template", ".env.dist"}

// projectFile is, at the root of a directory, the configuration of whoever works
// there. Packed it would say what short names mean to others.
const projectFile = "modelreg.yaml"

// An ignorer says which files of a directory are not packed.
type ignorer struct {
	matcher gitignore.Matcher
	include []string // paths packed in spite of neverDirs and neverFiles
}

// newIgnorer adds the patterns of the user, as read by readIgnoreFile, to ours.
func newIgnorer(text string, include []string) *ignorer {
	patterns := append(parseIgnores(defaultIgnores), parseIgnores(text)...)
	return &ignorer{matcher: gitignore.NewMatcher(patterns), include: include}
}

func readIgnoreFile(root *os.Root) (string, error) {
	f, err := openRegular(root, IgnoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", IgnoreFile, err)
	}
	defer f.Close()
	return readIgnores(f)
}

func readIgnores(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxIgnoreBytes+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", IgnoreFile, err)
	}
	if len(text) > maxIgnoreBytes {
		return "", fmt.Errorf("%w: %s is larger than %d bytes", ErrUnsafe, IgnoreFile, maxIgnoreBytes)
	}
	return strings.TrimPrefix(string(text), "\ufeff"), nil
}

// parseIgnores follows gitignore(5), "PATTERN FORMAT", for what is a comment
// and what is a pattern.
func parseIgnores(text string) []gitignore.Pattern {
	var patterns []gitignore.Pattern
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		patterns = append(patterns, gitignore.ParsePattern(line, nil))
	}
	return patterns
}

// skip tells why the file or directory p is not packed; "" means that it is.
// It is asked for a directory before anything in it.
func (ig *ignorer) skip(p string, dir bool) string {
	if reason := ig.never(p, dir); reason != "" {
		return reason
	}
	if ig.matcher.Match(strings.Split(p, "/"), dir) {
		return "ignored"
	}
	return ""
}

func (ig *ignorer) never(p string, dir bool) string {
	if first, _, _ := strings.Cut(p, "/"); strings.HasPrefix(foldPath(first), controlPrefix) {
		return "control file"
	}
	if slices.Contains(ig.include, p) || dir && ig.includesBelow(p) {
		return ""
	}
	for c := range strings.SplitSeq(p, "/") {
		if slices.Contains(neverDirs, foldPath(c)) {
			return "never packed"
		}
	}
	if !dir && foldPath(p) == projectFile {
		return "the project's"
	}
	base := foldPath(path.Base(p))
	if dir || slices.Contains(neverBut, base) {
		return ""
	}
	for _, pattern := range neverFiles {
		if ok, _ := path.Match(pattern, base); ok {
			return "secret by its name"
		}
	}
	return ""
}

// includesBelow tells whether a file below directory p was asked for by name.
func (ig *ignorer) includesBelow(p string) bool {
	return slices.ContainsFunc(ig.include, func(f string) bool { return strings.HasPrefix(f, p+"/") })
}
