package lock

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
)

// Follow returns next as the successor of e: with the versions that were locked
// before. A version that is older than e's is an error that wraps
// [ErrDowngrade]: one that was locked before, or, when both have tags that are
// semantic versions, the lower one, else the one that says it was made earlier,
// or that does not say when it was made where e does: it may be older. With
// downgrade it is accepted, and what came after it is forgotten.
func (e Entry) Follow(next Entry, downgrade bool) (Entry, error) {
	if next.Digest == e.Digest {
		next.Earlier = slices.Clone(e.Earlier)
		return next, nil
	}
	at := slices.Index(e.Earlier, next.Digest)
	if !downgrade {
		if at >= 0 {
			return next, fmt.Errorf("%w: %s was locked before, and %s since", ErrDowngrade, next.Digest, e.Digest)
		}
		if err := e.checkOlder(next); err != nil {
			return next, err
		}
	}
	if at >= 0 {
		next.Earlier = slices.Clone(e.Earlier[at+1:])
		return next, nil
	}
	earlier := append([]digest.Digest{e.Digest}, e.Earlier...)
	next.Earlier = earlier[:min(len(earlier), MaxEarlier)]
	return next, nil
}

// checkOlder refuses a version that says it is older.
func (e Entry) checkOlder(next Entry) error {
	was, is := version(e.Tag), version(next.Tag)
	if was != nil && is != nil && !was.Equal(is) {
		if is.LessThan(was) {
			return fmt.Errorf("%w: %s comes before %s", ErrDowngrade, next.Tag, e.Tag)
		}
		return nil // a later patch of an older line may well have been made before
	}
	switch made := e.Created.Format(time.RFC3339); {
	case e.Created.IsZero():
	case next.Created.IsZero():
		return fmt.Errorf("%w: %s does not say when it was made, and %s, which is locked, does: %s", ErrDowngrade, next.Digest, e.Digest, made)
	case next.Created.Before(e.Created):
		return fmt.Errorf("%w: %s was made %s, and %s, which is locked, %s", ErrDowngrade,
			next.Digest, next.Created.Format(time.RFC3339), e.Digest, made)
	}
	return nil
}

// version reads a tag as a whole semantic version, or is nil.
func version(tag string) *semver.Version {
	v, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
	if err != nil {
		return nil
	}
	return v
}
