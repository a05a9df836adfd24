package hub

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	// keepPrefix starts the tag that holds a version against a registry's
	// garbage collector, whatever happens to the tags that people move.
	keepPrefix = "_k."

	// keepDigits is how much of the digest a keep-tag spells: as much as a
	// git commit id has.
	keepDigits = 40
)

// Revision is the first 40 hexadecimal digits of a version's digest, in the
// form of a git commit id.
func Revision(d digest.Digest) string {
	return d.Encoded()[:min(keepDigits, len(d.Encoded()))]
}

func keepTag(d digest.Digest) string { return keepPrefix + Revision(d) }

// hidden tells whether a tag is bookkeeping rather than a name for people.
func hidden(tag string) bool {
	if tag == "_modelreg" || strings.HasPrefix(tag, keepPrefix) {
		return true
	}
	algorithm, rest, ok := strings.Cut(tag, "-")
	if !ok || (algorithm != "sha256" && algorithm != "sha512") {
		return false
	}
	hex, _, _ := strings.Cut(rest, ".")
	return len(hex) >= 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// mayHold tells whether tag can point to a digest that starts with prefix.
func mayHold(tag, prefix string) bool {
	hex, ok := strings.CutPrefix(tag, keepPrefix)
	if !ok {
		return !hidden(tag)
	}
	_, digits, found := strings.Cut(prefix, ":")
	if !found {
		digits = prefix
	}
	return strings.HasPrefix(hex, digits) || strings.HasPrefix(digits, hex)
}

func hasPrefix(d digest.Digest, prefix string) bool {
	return strings.HasPrefix(d.Encoded(), prefix) || strings.HasPrefix(d.String(), prefix)
}

// TagResult says what [Hub.Tag] did.
type TagResult struct {
	Reference string   `json:"reference"`
	Digest    string   `json:"digest"`
	Tags      []string `json:"tags"`
}

// Tag points tags at the version that r resolves to, in the same repository.
// Existing tags move.
func (h *Hub) Tag(ctx context.Context, r ref.Reference, tags ...string) (*TagResult, error) {
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	for i, tag := range tags {
		if tags[i], err = encodeTag(tag); err != nil {
			return nil, err
		}
	}
	for _, tag := range tags {
		if err := moveTag(ctx, t.repo, t.desc, tag); err != nil {
			return nil, err
		}
	}
	return &TagResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Tags: tags}, nil
}

// encodeTag checks a tag that a user typed, and writes a branch name with
// slashes as a tag.
func encodeTag(tag string) (string, error) {
	encoded, err := ref.EncodeBranch(tag)
	if err != nil {
		return "", err
	}
	if hidden(encoded) {
		return "", fmt.Errorf("%w: tag %s: names that start with _k., and sha256- names, are reserved", ErrUsage, tag)
	}
	return encoded, nil
}

// moveTag points tag at desc and looks again whether it does: registries have
// no compare-and-swap, so another writer may have been faster.
func moveTag(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor, tag string) error {
	if err := repo.Tag(ctx, desc, tag); err != nil {
		return fmt.Errorf("tag %s as %s: %w", desc.Digest, tag, err)
	}
	now, err := repo.Resolve(ctx, tag)
	if err != nil {
		return fmt.Errorf("check tag %s: %w", tag, err)
	}
	if now.Digest != desc.Digest {
		return fmt.Errorf("tag %s: another writer moved it to %s while it was set to %s; both versions are kept: %w", tag, now.Digest, desc.Digest, ErrConflict)
	}
	return nil
}
