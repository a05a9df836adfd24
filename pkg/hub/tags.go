package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
)

const (
	// keepPrefix starts the tag that holds a version against a registry's
	// garbage collector, whatever happens to the tags that people move.
	keepPrefix = "_k."

	// writerPrefix starts the tag under which those who write to a branch
	// announce what they are about to set it to; see [Hub.advance].
	writerPrefix = "_w."
)

// Revision is the first 40 hexadecimal digits of a version's digest, in the
// form of a git commit id: what its keep-tag spells.
func Revision(d digest.Digest) string {
	return lineage.Revision(d)
}

func keepTag(d digest.Digest) string { return keepPrefix + Revision(d) }

// hidden tells whether a tag is bookkeeping rather than a name for people.
func hidden(tag string) bool {
	for _, prefix := range []string{keepPrefix, writerPrefix, record.TipPrefix, record.EntryPrefix} {
		if tag == record.Tag || tag == gcTag || strings.HasPrefix(tag, prefix) {
			return true
		}
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
	Moves     []Move   `json:"moves"` // one for each tag
}

// Tag points tags at the version that r resolves to, in the same repository.
// Existing tags move; one that points there already is not written.
func (h *Hub) Tag(ctx context.Context, r ref.Reference, tags ...string) (*TagResult, error) {
	return h.SetTags(ctx, r, tags, TagOptions{Move: true})
}

// encodeTags checks tags that a user typed, and writes branch names with
// slashes as tags.
func encodeTags(typed []string) ([]string, error) {
	tags := make([]string, len(typed))
	for i, name := range typed {
		if strings.ContainsAny(name, ":@") {
			return nil, fmt.Errorf("%w: tag %q: a tag stays in the repository of the reference: give its name alone", ErrUsage, name)
		}
		tag, err := ref.EncodeBranch(name)
		if err != nil {
			return nil, err
		}
		if err := checkTag(tag); err != nil {
			return nil, err
		}
		tags[i] = tag
	}
	return tags, nil
}

// checkTag refuses the names of bookkeeping.
func checkTag(tag string) error {
	if hidden(tag) {
		return fmt.Errorf("%w: tag %s: _modelreg and names that start with _k., _l., _w., _log. or sha256- are reserved", ErrUsage, tag)
	}
	return nil
}

// A tagger is where tags are read and set.
type tagger interface {
	Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error)
	Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error
}

// moveTag points tag at desc, unless it does so already, and looks again
// whether it does: registries have no compare-and-swap, so another writer may
// have been faster. It reports whether the tag was written.
func moveTag(ctx context.Context, repo tagger, desc ocispec.Descriptor, tag string) (bool, error) {
	now, err := repo.Resolve(ctx, tag)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return false, fmt.Errorf("look at tag %s: %w", tag, err)
	}
	return writeTag(ctx, repo, now.Digest, desc, tag)
}

// writeTag is moveTag for who has just seen where the tag is, "" for nowhere.
func writeTag(ctx context.Context, repo tagger, now digest.Digest, desc ocispec.Descriptor, tag string) (bool, error) {
	if now == desc.Digest {
		return false, nil
	}
	if err := repo.Tag(ctx, desc, tag); err != nil {
		return false, fmt.Errorf("tag %s as %s: %w", desc.Digest, tag, err)
	}
	after, err := repo.Resolve(ctx, tag)
	if err != nil {
		return false, fmt.Errorf("check tag %s: %w", tag, err)
	}
	if after.Digest != desc.Digest {
		return false, fmt.Errorf("tag %s: another writer moved it to %s while it was set to %s; both versions are kept: %w", tag, after.Digest, desc.Digest, ErrConflict)
	}
	return true, nil
}
