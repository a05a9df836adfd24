package layout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// An Entry is one line of index.json.
type Entry struct {
	Repository string // host/name; "" if the layout does not say
	Tag        string // "" for what only its digest names
	Descriptor ocispec.Descriptor
}

// Entries returns what index.json lists, in its order.
func (l *Layout) Entries() ([]Entry, error) {
	index, err := l.readIndex()
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(index.Manifests))
	for i, desc := range index.Manifests {
		entries[i] = entryOf(desc)
	}
	return entries, nil
}

// Repositories returns the names of the repositories that the layout says it
// has, sorted. A layout that names none has one, whose name is "".
func (l *Layout) Repositories() ([]string, error) {
	entries, err := l.Entries()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Repository != "" || e.Tag != "" {
			names = append(names, e.Repository)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func entryOf(desc ocispec.Descriptor) Entry {
	name := desc.Annotations[ocispec.AnnotationRefName]
	e := Entry{Repository: desc.Annotations[AnnotationRepository], Tag: name, Descriptor: desc}
	if slash := strings.LastIndexByte(name, '/'); slash >= 0 {
		e.Repository, e.Tag = name, ""
		if colon := strings.LastIndexByte(name, ':'); colon > slash {
			e.Repository, e.Tag = name[:colon], name[colon+1:]
		}
	}
	return e
}

// Name returns the annotations that make desc an entry with this tag of a
// repository, over those that it has. The name holds the repository when
// qualified; a repository that is not "" is in an annotation otherwise.
func Name(desc ocispec.Descriptor, repository, tag string, qualified bool) ocispec.Descriptor {
	a := maps.Clone(desc.Annotations)
	if a == nil {
		a = make(map[string]string)
	}
	delete(a, ocispec.AnnotationRefName)
	delete(a, AnnotationRepository)
	switch {
	case repository == "":
	case qualified && tag != "":
		tag = repository + ":" + tag
	default:
		a[AnnotationRepository] = repository
	}
	if tag != "" {
		a[ocispec.AnnotationRefName] = tag
	}
	desc.Annotations = a
	if len(a) == 0 {
		desc.Annotations = nil
	}
	return desc
}

func (l *Layout) readIndex() (ocispec.Index, error) {
	raw, err := l.at.index()
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("read layout: %w", err)
	}
	return parseIndex(raw)
}

// parseIndex reads index.json (image-layout.md, "index.json file"). Two entries
// with one name that stand for different things are refused: every reader
// would choose for itself.
func parseIndex(raw []byte) (ocispec.Index, error) {
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return index, malformed("%s: %v", ocispec.ImageIndexFile, err)
	}
	if index.SchemaVersion != 2 {
		return index, malformed("%s has schemaVersion %d", ocispec.ImageIndexFile, index.SchemaVersion)
	}
	if n := len(index.Manifests); n > MaxEntries {
		return index, malformed("%s has %d entries, more than %d", ocispec.ImageIndexFile, n, MaxEntries)
	}
	named := make(map[[2]string]digest.Digest)
	for _, desc := range index.Manifests {
		if err := checkDesc(desc); err != nil {
			return index, malformed("%s: %v", ocispec.ImageIndexFile, err)
		}
		e := entryOf(desc)
		if len(e.Repository) > maxNameBytes || len(e.Tag) > maxNameBytes {
			return index, malformed("%s: a name of more than %d bytes", ocispec.ImageIndexFile, maxNameBytes)
		}
		if e.Tag == "" {
			continue
		}
		key := [2]string{e.Repository, e.Tag}
		if other, twice := named[key]; twice && other != desc.Digest {
			return index, malformed("%s: %.200q stands for %s and for %s", ocispec.ImageIndexFile, e.Tag, other, desc.Digest)
		}
		named[key] = desc.Digest
	}
	return index, nil
}

// encodeIndex returns index.json with these entries.
func encodeIndex(entries []ocispec.Descriptor) ([]byte, error) {
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries,
	}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	if len(raw) > MaxIndexBytes || len(entries) > MaxEntries {
		return nil, fmt.Errorf("%s of %d bytes with %d entries: %w", ocispec.ImageIndexFile, len(raw), len(entries), errdef.ErrSizeExceedsLimit)
	}
	return raw, nil
}

// change gives f the entries of index.json, and writes what it returns. No
// other writer comes between the two.
func (l *Layout) change(ctx context.Context, f func([]ocispec.Descriptor) ([]ocispec.Descriptor, error)) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := l.readIndex()
	if err != nil {
		return err
	}
	entries, err := f(index.Manifests)
	if err != nil || entries == nil {
		return err
	}
	raw, err := encodeIndex(entries)
	if err != nil {
		return err
	}
	return replace(l.root, ocispec.ImageIndexFile, raw)
}

// put puts an entry into the list, in place of what had its name. It returns
// nil where nothing changes.
func put(list []ocispec.Descriptor, entry ocispec.Descriptor) []ocispec.Descriptor {
	e := entryOf(entry)
	for _, d := range list {
		o := entryOf(d)
		if d.Digest == entry.Digest && o.Repository == e.Repository && (o.Tag == e.Tag || e.Tag == "") {
			return nil
		}
	}
	list = slices.DeleteFunc(slices.Clone(list), func(d ocispec.Descriptor) bool {
		o := entryOf(d)
		if o.Repository != e.Repository {
			return false
		}
		if o.Tag == "" {
			return e.Tag != "" && d.Digest == entry.Digest // a name says more
		}
		return o.Tag == e.Tag
	})
	return append(list, entry)
}

// manifestType returns the media type of a document, which listed, if not "",
// must not contradict.
func manifestType(listed string, raw []byte) (string, error) {
	index, err := mediatypes.ParseIndex(raw)
	said, kind := index.MediaType, ocispec.MediaTypeImageIndex
	if err != nil {
		var m ocispec.Manifest
		if m, err = mediatypes.ParseManifest(raw); err != nil {
			return "", err
		}
		said, kind = m.MediaType, ocispec.MediaTypeImageManifest
	}
	switch {
	case said == "" && listed == "":
		return kind, nil
	case said == "":
		return listed, nil
	case listed != "" && listed != said:
		return "", malformed("listed as %.100q, but says that it is %.100q", listed, said)
	}
	return said, nil
}
