package signing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/go-json-experiment/json"
	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
)

const (
	seenVersion  = 1
	maxSeen      = 1000 // versions remembered for a name; the oldest are forgotten
	maxSeenBytes = 1 << 20
	seenPoll     = 5 * time.Millisecond
)

// ErrRollback says that a name leads to an older version than it did before.
// That version may well be signed: whoever can move a tag can move it back to
// one whose faults are known.
var ErrRollback = errors.New("rolled back")

// A Seen remembers, for one user, which versions a name has led to, so that it
// is noticed when the name goes back to an earlier one. It lies in a directory
// of its own, a file for each name; deleting it forgets. Methods may be called
// at the same time, also by several processes.
type Seen struct {
	dir string
}

// A SeenVersion is one version that a name has led to.
type SeenVersion struct {
	Digest digest.Digest `json:"digest"`

	// Created is when the version says it was made; zero when it does not.
	Created time.Time `json:"created,omitzero"`

	// Tag is the one that a range of versions led to. It is compared where it is
	// a semantic version, and empty where the name is that of a tag.
	Tag string `json:"tag,omitempty"`
}

// seenFile is what is written for one name: the versions in the order in which
// they were seen.
type seenFile struct {
	Version  int           `json:"version"`
	Name     string        `json:"name"`
	Versions []SeenVersion `json:"versions"`
}

// NewSeen returns what the files in dir remember. The directory is made when
// there is something to remember.
func NewSeen(dir string) *Seen { return &Seen{dir: dir} }

// Accept notes that name now leads to v, which has been verified, and returns
// when that is on the disk. The error wraps [ErrRollback] when name led to v
// before and has since led to another version, when v says that it was made
// before one of those that were seen, when it says nothing of that and one of
// them did, or when its tag is a lower version than that of one of them; nothing
// is noted then. Between versions none of which says when it
// was made, an older one that was never seen cannot be told from a newer one.
// With downgrade v is accepted all the same, and what came after it is forgotten.
func (s *Seen) Accept(ctx context.Context, name string, v SeenVersion, downgrade bool) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make list of seen versions: %w", err)
	}
	file := filepath.Join(s.dir, seenName(name))
	lock := flock.New(file+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, seenPoll); err != nil {
		return fmt.Errorf("lock list of seen versions of %s: %w", name, err)
	}
	defer func() { _ = lock.Unlock() }()
	list, err := readSeen(file, name)
	if err != nil {
		return fmt.Errorf("read list of seen versions of %s: %w", name, err)
	}
	next, err := list.accept(v, downgrade)
	if err != nil {
		return fmt.Errorf("check %s: %w", name, err)
	}
	if slices.Equal(next, list.Versions) {
		return nil
	}
	list.Versions = next
	if err := writeSeen(file, list); err != nil {
		return fmt.Errorf("write list of seen versions of %s: %w", name, err)
	}
	return nil
}

// Check tells what [Seen.Accept] would, and notes nothing: it makes no file and
// no directory.
func (s *Seen) Check(name string, v SeenVersion, downgrade bool) error {
	// A list is replaced whole, so there is nothing to lock.
	list, err := readSeen(filepath.Join(s.dir, seenName(name)), name)
	if err != nil {
		return fmt.Errorf("read list of seen versions of %s: %w", name, err)
	}
	if _, err := list.accept(v, downgrade); err != nil {
		return fmt.Errorf("check %s: %w", name, err)
	}
	return nil
}

// accept returns the versions seen after v.
func (l *seenFile) accept(v SeenVersion, downgrade bool) ([]SeenVersion, error) {
	n := len(l.Versions)
	if n == 0 {
		return []SeenVersion{v}, nil
	}
	at := slices.IndexFunc(l.Versions, func(o SeenVersion) bool { return o.Digest == v.Digest })
	if at == n-1 {
		return l.Versions, nil
	}
	if downgrade {
		return l.back(v, at), nil
	}
	if at >= 0 {
		return nil, fmt.Errorf("%w: it led to %s before, and to %s since", ErrRollback, v.Digest, l.Versions[n-1].Digest)
	}
	if i := slices.IndexFunc(l.Versions, func(o SeenVersion) bool { return v.lower(o) }); i >= 0 {
		return nil, fmt.Errorf("%w: it led to %s before, and leads to %s now", ErrRollback, l.Versions[i].Tag, v.Tag)
	}
	// All count, and not the last alone: a version without a date in between
	// would have the dates before it forgotten.
	newest := slices.MaxFunc(l.Versions, func(a, b SeenVersion) int { return a.Created.Compare(b.Created) })
	switch made := newest.Created.Format(time.RFC3339); {
	case newest.Created.IsZero():
	case v.Created.IsZero():
		return nil, fmt.Errorf("%w: %s does not say when it was made, and %s (%s), which was seen before, did",
			ErrRollback, v.Digest, newest.Digest, made)
	case v.Created.Before(newest.Created):
		return nil, fmt.Errorf("%w: %s was made %s, before %s (%s), which was seen before",
			ErrRollback, v.Digest, v.Created.Format(time.RFC3339), newest.Digest, made)
	}
	return appendSeen(l.Versions, v), nil
}

// lower tells whether v has a lower semantic version for its tag than o. Dates are
// compared besides: whoever can make tags can give a high one to an old version.
func (v SeenVersion) lower(o SeenVersion) bool {
	a, errA := semver.StrictNewVersion(strings.TrimPrefix(v.Tag, "v"))
	b, errB := semver.StrictNewVersion(strings.TrimPrefix(o.Tag, "v"))
	return errA == nil && errB == nil && a.LessThan(b)
}

// back returns the versions seen after a name was taken back to v on purpose, which
// is at an index of the list, or not there if that is negative. What came after v
// is forgotten, so that it is new when it comes again.
func (l *seenFile) back(v SeenVersion, at int) []SeenVersion {
	if at >= 0 {
		return slices.Clone(l.Versions[:at+1])
	}
	var before []SeenVersion
	for _, o := range l.Versions {
		if v.Created.IsZero() {
			o.Created = time.Time{} // nothing can be compared with v any more
		}
		if !o.Created.After(v.Created) && !v.lower(o) {
			before = append(before, o)
		}
	}
	return appendSeen(before, v)
}

// appendSeen adds a version to a list, of which the oldest is forgotten when it is
// full.
func appendSeen(list []SeenVersion, v SeenVersion) []SeenVersion {
	return append(slices.Clone(list[max(0, len(list)+1-maxSeen):]), v)
}

// seenName is the file of a name: no character of a name means anything to a
// file system then.
func seenName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:]) + ".json"
}

// readSeen reads a list. One that is damaged is an error: to take it for empty
// would let anything pass.
func readSeen(file, name string) (*seenFile, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &seenFile{Version: seenVersion, Name: name}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxSeenBytes+1))
	if err != nil {
		return nil, err
	}
	list, err := parseSeen(raw)
	if err == nil && list.Name != name {
		err = fmt.Errorf("it is of %q", list.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it to begin anew", file, err)
	}
	return list, nil
}

func parseSeen(raw []byte) (*seenFile, error) {
	if len(raw) > maxSeenBytes {
		return nil, fmt.Errorf("more than %d bytes", maxSeenBytes)
	}
	var list seenFile
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if list.Version != seenVersion || len(list.Versions) > maxSeen {
		return nil, fmt.Errorf("version %d with %d entries is not known", list.Version, len(list.Versions))
	}
	for _, v := range list.Versions {
		if err := v.Digest.Validate(); err != nil {
			return nil, err
		}
	}
	return &list, nil
}

// writeSeen replaces a list, for good: an older one would accept what this one
// refuses.
func writeSeen(file string, list *seenFile) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return writeWhole(file, raw)
}

// writeWhole replaces a file whole, and returns when it will be there after a
// power cut.
func writeWhole(file string, raw []byte) error {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when renamed
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in a directory durable, where directories can be
// synced.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
