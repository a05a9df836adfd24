package hub

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A limit is the largest blob that a registry takes, as its operator has
// published it. docs/registries.md has the table for users.
type limit struct {
	name   string
	suffix string // of the host; all of it when it has no leading dot
	infix  string // what the host holds besides
	blob   int64  // bytes
	words  string // the limit in the words of who set it
}

// limits are those known. A registry that has raised its own is reached with
// [PushOptions.NoPreflight].
var limits = []limit{
	{name: "GitHub Container Registry", suffix: "ghcr.io", blob: 10e9, words: "10 GB"},
	{name: "Amazon ECR", suffix: ".amazonaws.com", infix: ".dkr.ecr.", blob: 52_000 << 20, words: "52,000 MiB"},
	{name: "Amazon ECR", suffix: ".amazonaws.com.cn", infix: ".dkr.ecr.", blob: 52_000 << 20, words: "52,000 MiB"},
	{name: "Amazon ECR Public", suffix: "public.ecr.aws", blob: 10e9, words: "10,000 MB"},
	{name: "Azure Container Registry", suffix: ".azurecr.io", blob: 200 << 30, words: "200 GiB"},
}

// onS3 is what distribution takes on S3 as it is configured by default: 10,000
// parts of 10 MiB. Harbor and many others run on it.
const onS3 = 10_000 * 10 << 20

// A LimitError tells which file is too large for a registry.
type LimitError struct {
	Path     string // of the file, or of the archive that it would be in
	Size     int64  // bytes
	Registry string
	Limit    string // in words
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s has %d bytes: %s takes at most %s in one file", strconv.Quote(e.Path), e.Size, e.Registry, e.Limit)
}

// Unwrap says that this is about what the registry can do.
func (e *LimitError) Unwrap() error { return remote.ErrProtocol }

// preflight returns what looks at the layers of a push before they are hashed.
func (h *Hub) preflight(host string, opts PushOptions) func([]artifact.Plan) error {
	if opts.NoPreflight {
		return nil
	}
	known, ok := limitOf(host)
	return func(layers []artifact.Plan) error {
		for _, l := range layers {
			if ok && l.Size > known.blob {
				return &LimitError{Path: l.Path, Size: l.Size, Registry: known.name, Limit: known.words}
			}
			if !ok && l.Size > onS3 {
				h.warn("%q has %d bytes: registries on S3 that run distribution with its default settings take at most 97.7 GiB in one file; if %s is one, use --reshard SIZE",
					l.Path, l.Size, host)
				return nil
			}
		}
		return nil
	}
}

// limitOf returns what is known of the registry at host.
func limitOf(host string) (limit, bool) {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	for _, l := range limits {
		if host == l.suffix || strings.HasPrefix(l.suffix, ".") && strings.HasSuffix(host, l.suffix) && strings.Contains(host, l.infix) {
			return l, true
		}
	}
	return limit{}, false
}
