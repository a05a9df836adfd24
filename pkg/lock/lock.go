// Package lock reads and writes modelreg.lock: which version of each model a
// project loads, by digest, and who was found to have signed it.
//
// The file is YAML that machines write and people review. What [File.Marshal]
// gives depends on nothing but the entries: models by name, keys in one order,
// no comments, every digest on a line of its own. [Parse] is strict: a key that
// it does not know, a key twice, an anchor, a tag or a value of the wrong form is
// an error that wraps [ErrMalformed], never something passed over. What parses
// has digests that are digests and references that stand by themselves, whatever
// short names the reader's machine knows.
//
// This package asks no registry. Package hub makes entries and holds versions
// against them; a difference is a [DriftError].
package lock

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/ref"
)

// Name is the file's name.
const Name = "modelreg.lock"

// Limits of a lock file.
const (
	MaxBytes     = 1 << 20
	MaxModels    = 1000
	MaxEarlier   = 16   // versions remembered for each model
	MaxNameBytes = 64   // of the name of a model
	MaxTextBytes = 4096 // of any other value
)

var (
	// ErrMalformed says that a file is no lock file.
	ErrMalformed = errors.New("malformed lock file")

	// ErrDrift says that something is not what the lock file says it is.
	ErrDrift = errors.New("lock drift")

	// ErrDowngrade says that a version is older than the one that is locked.
	ErrDowngrade = errors.New("older than what is locked")

	// ErrChanged says that the file has changed since it was read.
	ErrChanged = errors.New("the lock file has changed since it was read")

	// ErrNoFile says that there is no lock file; it wraps [fs.ErrNotExist].
	ErrNoFile = fmt.Errorf("no lock file: %w", fs.ErrNotExist)

	// ErrName says that a model has no such name, or cannot have it.
	ErrName = errors.New("name of a locked model")
)

// A File is a lock file. The zero value is an empty one. It is not safe for
// concurrent use.
type File struct {
	// Models are the entries by name; see [CheckName].
	Models map[string]Entry

	raw []byte // what it was read from; nil when there was none
}

// An Entry is one model.
type Entry struct {
	// Reference is what was asked for: a tag, a range of versions or a
	// digest in a registry.
	Reference ref.Reference

	// Digest is that of the version, a manifest or an index.
	Digest digest.Digest

	// Variant is the manifest that was chosen when the version is an index,
	// and Chosen says in words which one that is. Both may be empty.
	Variant digest.Digest
	Chosen  string

	// Files is the digest over all files, see [FilesDigest].
	Files digest.Digest

	// Tag is the tag that the reference led to; empty for a digest.
	Tag string

	// Created is when the version says it was made; zero if it does not.
	Created time.Time

	// Signer and Issuer say whose signature was found good: the identity in a
	// certificate and who vouched for it, or "key:" and the fingerprint of a
	// key, without issuer. Both are empty when nothing was verified.
	Signer, Issuer string

	// Policy is the digest of the policy that the version passed; empty if
	// none was asked.
	Policy digest.Digest

	// Resolved is when the entry was made.
	Resolved time.Time

	// Earlier are versions that were locked before this one, the last first.
	Earlier []digest.Digest
}

// Target is the manifest to fetch: the variant, or the version.
func (e Entry) Target() digest.Digest {
	if e.Variant != "" {
		return e.Variant
	}
	return e.Digest
}

// Pinned is the reference by digest alone, for whoever must get this version and
// no other.
func (e Entry) Pinned() ref.Reference {
	r := e.Reference.WithDigest(e.Digest)
	r.Tag = ""
	return r
}

// A DriftError says what is not as locked.
type DriftError struct {
	Model  string // name in the lock file; empty if it is not there
	What   string // "reference", "digest", "variant", "files", "signer", "tag" …
	Locked string
	Found  string
}

// Error names both sides.
func (e *DriftError) Error() string {
	what := e.What
	if e.Model != "" {
		what = e.Model + ": " + what
	}
	if e.Locked == "" {
		return fmt.Sprintf("%s: %s: %s", ErrDrift, what, e.Found)
	}
	return fmt.Sprintf("%s: %s: locked is %s, found is %s", ErrDrift, what, e.Locked, e.Found)
}

// Unwrap returns [ErrDrift].
func (e *DriftError) Unwrap() error { return ErrDrift }

// CheckName tells whether a model can have this name: lower-case letters,
// digits, dot, dash and underscore, beginning with a letter or digit, of at most
// [MaxNameBytes]. Other names wrap [ErrName].
func CheckName(name string) error {
	const first = "abcdefghijklmnopqrstuvwxyz0123456789"
	if name == "" || len(name) > MaxNameBytes || strings.Trim(name, first+"._-") != "" || !strings.Contains(first, name[:1]) {
		return fmt.Errorf("%w %.80q: use lower-case letters, digits, dots, dashes and underscores, at most %d", ErrName, name, MaxNameBytes)
	}
	return nil
}

// Find returns the entry that s means, and its name: s is the name itself, or r,
// unless nil, is what s reads as. Of a repository that is locked once, any
// reference without a tag will do; one with a tag or range must be as locked. A
// digest other than the locked one, and what is not in the file, is a
// [DriftError].
func (f *File) Find(s string, r *ref.Reference) (string, Entry, error) {
	if e, ok := f.Models[s]; ok {
		return s, e, nil
	}
	if r == nil {
		return "", Entry{}, &DriftError{What: "model", Found: fmt.Sprintf("%q is not in the lock file%s", s, f.known())}
	}
	var found []string
	for name, e := range f.Models {
		if e.Reference.Name() == r.Name() && asked(*r, e) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 0:
		return "", Entry{}, &DriftError{What: "reference", Found: fmt.Sprintf("%s is not in the lock file%s", r, f.known())}
	case 1:
		return found[0], f.Models[found[0]], f.sameDigest(found[0], *r)
	}
	return "", Entry{}, fmt.Errorf("%w: %s is locked as %s: say which", ErrName, r, strings.Join(found, " and "))
}

// asked tells whether r asks for what e was made of.
func asked(r ref.Reference, e Entry) bool {
	switch {
	case r.Variant != "" && r.Variant != e.Reference.Variant:
		return false
	case r.Range != "":
		return r.Range == e.Reference.Range
	case r.Tag != "":
		return r.Tag == e.Reference.Tag || r.Tag == e.Tag
	}
	return true
}

func (f *File) sameDigest(name string, r ref.Reference) error {
	e := f.Models[name]
	switch {
	case r.Digest != "" && r.Digest != e.Digest && r.Digest != e.Variant:
		return &DriftError{Model: name, What: "digest", Locked: e.Digest.String(), Found: r.Digest.String()}
	case r.Prefix != "" && !strings.HasPrefix(e.Digest.Encoded(), r.Prefix):
		return &DriftError{Model: name, What: "digest", Locked: e.Digest.String(), Found: r.Prefix}
	}
	return nil
}

// known lists the names for a message.
func (f *File) known() string {
	const most = 8
	names := f.Names()
	switch {
	case len(names) == 0:
		return ", which is empty"
	case len(names) > most:
		names = append(names[:most], "…")
	}
	return ", which has " + strings.Join(names, ", ")
}

// Names lists the models, sorted.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.Models))
	for name := range f.Models {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Set puts an entry into the file.
func (f *File) Set(name string, e Entry) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if f.Models == nil {
		f.Models = map[string]Entry{}
	}
	f.Models[name] = e
	return nil
}
