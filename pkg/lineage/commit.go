package lineage

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// Limits of what a version may say of its history. What is written keeps to
// them, and no more is read.
const (
	MaxParents      = 16
	MaxMessageBytes = 16 << 10
	MaxAuthorBytes  = 256
)

// ErrCommit is wrapped by errors about a message, an author or parents that
// cannot be written.
var ErrCommit = errors.New("invalid commit")

// A Commit is one version in a history. The digest of the version's manifest is
// its identity, and since the manifest names the parents, whoever signs a
// version signs the history that leads to it.
type Commit struct {
	Digest digest.Digest

	// Parents are the versions that this one was made from, the one of its
	// own branch first. None is the first of its history.
	Parents []digest.Digest

	// Squashed is the version in whose place this one stands, when the history
	// before it was cut off; "" otherwise.
	Squashed digest.Digest

	// Message and Author are claims of whoever made the version, and hostile
	// text: they are valid UTF-8 and bounded, and nothing more. Who vouches for
	// a version, its signatures tell.
	Message string
	Author  string

	// ChangeID stays the same when a version is amended: the revision of the
	// first of them.
	ChangeID string

	// Created is when the version says it was made; zero if it does not.
	Created time.Time

	// Size is that of the layers in bytes; of an index that of the variants in
	// it, as far as it says it: what they share counts for each.
	Size int64

	// Index says that the version is an index of variants, and Variants how many
	// it lists.
	Index    bool
	Variants int

	// Problem is what of the history cannot be read, "" if nothing.
	Problem string
}

// Revision is the first 40 hexadecimal digits of a digest, in the form of a git
// commit id.
func Revision(d digest.Digest) string {
	const digits = 40
	return d.Encoded()[:min(digits, len(d.Encoded()))]
}

// Subject is the first line of the message.
func (c Commit) Subject() string {
	line, _, _ := strings.Cut(c.Message, "\n")
	return strings.TrimSpace(line)
}

// ParseCommit reads what a version says of its history. raw is the manifest or
// index that desc describes; the caller has compared them. What is too long is
// cut, what is no digest left out, and both are said in [Commit.Problem]; the
// error wraps [mediatypes.ErrMalformed] if raw is no manifest and no index.
func ParseCommit(desc ocispec.Descriptor, raw []byte) (Commit, error) {
	c := Commit{Digest: desc.Digest}
	annotations, err := c.read(desc, raw)
	if err != nil {
		return Commit{}, err
	}
	c.setParents(annotations[mediatypes.AnnotationParents])
	c.Message = c.cut("message", strings.TrimRight(annotations[mediatypes.AnnotationMessage], "\n"), MaxMessageBytes)
	c.Author = c.cut("author", annotations[mediatypes.AnnotationAuthor], MaxAuthorBytes)
	c.ChangeID = cmp.Or(c.cut("change id", annotations[mediatypes.AnnotationChangeID], MaxAuthorBytes), Revision(c.Digest))
	if d, err := digest.Parse(annotations[mediatypes.AnnotationSquashed]); err == nil {
		c.Squashed = d
	}
	if t, err := time.Parse(time.RFC3339, annotations[ocispec.AnnotationCreated]); err == nil {
		c.Created = t.UTC()
	}
	if _, err := c.Created.MarshalJSON(); err != nil {
		c.Created = time.Time{} // in UTC it is a year that cannot be written
	}
	return c, nil
}

func (c *Commit) read(desc ocispec.Descriptor, raw []byte) (map[string]string, error) {
	if desc.MediaType == ocispec.MediaTypeImageIndex || desc.MediaType == mediatypes.IndexDocker {
		x, err := mediatypes.ParseIndex(raw)
		c.Index = true
		for _, d := range x.Manifests {
			n, err := strconv.ParseInt(d.Annotations[mediatypes.AnnotationVariantSize], 10, 64)
			sized := err == nil && n > 0 && n <= math.MaxInt64-c.Size
			if sized {
				c.Size += n
			}
			if sized || d.ArtifactType == mediatypes.ArtifactModel || d.Annotations[mediatypes.AnnotationVariantName] != "" {
				c.Variants++
			}
		}
		return x.Annotations, err
	}
	m, err := mediatypes.ParseManifest(raw)
	for _, l := range m.Layers {
		c.Size += l.Size
	}
	return m.Annotations, err
}

func (c *Commit) setParents(list string) {
	if list == "" {
		return
	}
	for text := range strings.SplitSeq(list, ",") {
		d, err := digest.Parse(text)
		switch {
		case err != nil:
			c.Problem = "a parent is no digest"
		case len(c.Parents) == MaxParents:
			c.Problem = fmt.Sprintf("more than %d parents", MaxParents)
			return
		case !slices.Contains(c.Parents, d):
			c.Parents = append(c.Parents, d)
		}
	}
}

// cut bounds text, between two characters.
func (c *Commit) cut(what, text string, most int) string {
	if len(text) > most {
		c.Problem = fmt.Sprintf("%s of %d bytes, more than %d", what, len(text), most)
		text = text[:most]
		for !utf8.ValidString(text) && text != "" {
			_, n := utf8.DecodeLastRuneInString(text)
			text = text[:len(text)-n]
		}
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// Annotations are what a manifest says of the history of its version. They are
// empty for a first version of which nobody has said anything, so that it has
// the same digest whoever makes it.
func (c Commit) Annotations() (map[string]string, error) {
	message := strings.TrimRight(strings.ReplaceAll(c.Message, "\r\n", "\n"), "\n \t")
	if err := checkLine("message", strings.NewReplacer("\n", "", "\t", "").Replace(message), MaxMessageBytes); err != nil {
		return nil, err
	}
	if err := checkLine("author", c.Author, MaxAuthorBytes); err != nil {
		return nil, err
	}
	if len(c.Parents) > MaxParents {
		return nil, fmt.Errorf("%w: %d parents, more than %d", ErrCommit, len(c.Parents), MaxParents)
	}
	parents := make([]string, len(c.Parents))
	for i, p := range c.Parents {
		if slices.Contains(c.Parents[:i], p) {
			return nil, fmt.Errorf("%w: parent %s twice", ErrCommit, p)
		}
		parents[i] = p.String()
	}
	all := map[string]string{
		mediatypes.AnnotationParents: strings.Join(parents, ","), mediatypes.AnnotationMessage: message,
		mediatypes.AnnotationAuthor: strings.TrimSpace(c.Author), mediatypes.AnnotationChangeID: c.ChangeID,
		mediatypes.AnnotationSquashed: c.Squashed.String(),
	}
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	return all, nil
}

// checkLine refuses text that would not be read as it was written.
func checkLine(what, text string, most int) error {
	if len(text) > most {
		return fmt.Errorf("%w: %s of %d bytes, more than %d", ErrCommit, what, len(text), most)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%w: %s has control characters or is not UTF-8", ErrCommit, what)
	}
	return nil
}

// IsHistory tells whether an annotation is one of those in which a version
// speaks of its history, and not of what it is.
func IsHistory(annotation string) bool {
	switch annotation {
	case mediatypes.AnnotationParents, mediatypes.AnnotationMessage, mediatypes.AnnotationAuthor,
		mediatypes.AnnotationChangeID, mediatypes.AnnotationSquashed:
		return true
	}
	return false
}

// SameContent tells whether two manifests say the same of everything but their
// history: a version of the one that follows one of the other would change
// nothing.
func SameContent(a, b ocispec.Manifest) bool {
	sameLayer := func(a, b ocispec.Descriptor) bool {
		return a.Digest == b.Digest && a.Size == b.Size && a.MediaType == b.MediaType && maps.Equal(a.Annotations, b.Annotations)
	}
	return a.ArtifactType == b.ArtifactType && sameLayer(a.Config, b.Config) &&
		slices.EqualFunc(a.Layers, b.Layers, sameLayer) && maps.Equal(content(a.Annotations), content(b.Annotations))
}

// content are the annotations that do not speak of history.
func content(annotations map[string]string) map[string]string {
	c := maps.Clone(annotations)
	maps.DeleteFunc(c, func(k, _ string) bool { return IsHistory(k) })
	return c
}
