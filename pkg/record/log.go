package record

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// EntryType is the type of the manifest that is an entry of a log.
const EntryType = "application/vnd.modelreg.alias-log.v1+json"

// Annotations of an entry, besides those of commits for the entries before it,
// the message and who claims to have moved it, and the OCI one for the time.
const (
	AnnotationAlias = "dev.modelreg.log.alias"
	AnnotationSeq   = "dev.modelreg.log.seq"
	AnnotationFrom  = "dev.modelreg.log.from"
	AnnotationTo    = "dev.modelreg.log.to"
	AnnotationBack  = "dev.modelreg.log.back" // "true" or absent
)

// Tags of a log. TipPrefix and the alias are the tag of the newest entry, and
// every entry has one of its own, which holds it against garbage collection and
// which no other writer of the same moment can take over.
const (
	TipPrefix   = "_log."
	EntryPrefix = "_l."
)

// Limits of an entry.
const (
	MaxEntryBytes   = 64 << 10   // of its manifest
	MaxAlias        = 98         // bytes of an alias's name, so that its tags are not too long
	maxSeq          = 99_999_999 // moves of one alias
	maxPrevious     = 16         // entries that one follows
	maxMessage      = 8 << 10    // bytes
	maxAuthor       = 512        // bytes
	entryHexDigits  = 16
	entrySeqDigits  = 8
	entryHeadLength = len(EntryPrefix) + entrySeqDigits + 1 + entryHexDigits + 1
)

// An Entry is one move of an alias. What it says of time and author is the claim
// of who wrote it; a signature over its manifest tells who that was.
type Entry struct {
	Digest digest.Digest // of its manifest; empty until that is made

	Alias string    // the tag
	Seq   int       // 1 for the first; entries of the same number were written at once
	Time  time.Time // in UTC

	// From is where the alias was found, empty if it was not there, and To where
	// it was set, empty if it was removed.
	From, To digest.Digest

	// Back says that the move takes back those since the alias was last at To: a
	// rollback, or a move that the registry refused. Any other move is one on,
	// whether the alias was there before or not.
	Back bool

	Message, Author string

	// Previous are the entries that this one follows: one, none for the first,
	// and several after writers of the same moment.
	Previous []digest.Digest
}

// Manifest is the entry as a manifest.
func (e *Entry) Manifest() ([]byte, error) {
	if len(e.Alias) > MaxAlias {
		return nil, fmt.Errorf("write alias log: the name %q has %d bytes, and a log is for at most %d", e.Alias, len(e.Alias), MaxAlias)
	}
	if e.Seq < 1 || e.Seq > maxSeq || len(e.Previous) > maxPrevious {
		return nil, fmt.Errorf("write alias log of %s: number %d after %d entries", e.Alias, e.Seq, len(e.Previous))
	}
	said := map[string]string{
		AnnotationAlias: e.Alias, AnnotationSeq: strconv.Itoa(e.Seq), ocispec.AnnotationCreated: e.Time.UTC().Format(time.RFC3339Nano),
	}
	previous := make([]string, len(e.Previous))
	for i, d := range e.Previous {
		previous[i] = d.String()
	}
	for key, value := range map[string]string{
		AnnotationFrom: e.From.String(), AnnotationTo: e.To.String(), mediatypes.AnnotationParents: strings.Join(previous, ","),
		mediatypes.AnnotationMessage: clip(e.Message, maxMessage), mediatypes.AnnotationAuthor: clip(e.Author, maxAuthor),
	} {
		if value != "" {
			said[key] = value
		}
	}
	if e.Back {
		said[AnnotationBack] = "true"
	}
	m := small(EntryType)
	m.Annotations = said
	return json.Marshal(m, json.Deterministic(true))
}

// ParseEntry reads an entry.
func ParseEntry(manifest []byte) (Entry, error) {
	if len(manifest) > MaxEntryBytes {
		return Entry{}, fmt.Errorf("%w: alias log: entry of %d bytes, more than %d", ErrMalformed, len(manifest), MaxEntryBytes)
	}
	m, err := ofType(manifest, EntryType)
	if err != nil {
		return Entry{}, err
	}
	said := m.Annotations
	e := Entry{
		Digest: digest.FromBytes(manifest), Alias: said[AnnotationAlias],
		Message: clip(said[mediatypes.AnnotationMessage], maxMessage), Author: clip(said[mediatypes.AnnotationAuthor], maxAuthor),
		From: digest.Digest(said[AnnotationFrom]), To: digest.Digest(said[AnnotationTo]),
		Back: said[AnnotationBack] == "true",
	}
	if e.Seq, err = strconv.Atoi(said[AnnotationSeq]); err == nil {
		e.Time, err = time.Parse(time.RFC3339, said[ocispec.AnnotationCreated])
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%w: alias log: %w", ErrMalformed, err)
	}
	e.Time = e.Time.UTC()
	if parents := said[mediatypes.AnnotationParents]; parents != "" {
		for p := range strings.SplitSeq(parents, ",") {
			e.Previous = append(e.Previous, digest.Digest(p))
		}
	}
	if err := e.check(); err != nil {
		return Entry{}, fmt.Errorf("%w: alias log: %w", ErrMalformed, err)
	}
	return e, nil
}

func (e *Entry) check() error {
	if !ref.ValidTag(e.Alias) || e.Seq < 1 || e.Seq > maxSeq || len(e.Previous) > maxPrevious {
		return fmt.Errorf("entry %d of %.128q after %d others", e.Seq, e.Alias, len(e.Previous))
	}
	for _, d := range append([]digest.Digest{e.From, e.To}, e.Previous...) {
		if d == "" {
			continue
		}
		if err := d.Validate(); err != nil {
			return fmt.Errorf("%.100q: %w", d, err)
		}
	}
	if slices.Contains(e.Previous, "") {
		return errors.New("an entry before it has no digest")
	}
	return nil
}

// TipTag is the tag of the newest entry of an alias's log.
func TipTag(alias string) string { return TipPrefix + alias }

// EntryTag is the tag that an entry has for itself.
func EntryTag(alias string, seq int, d digest.Digest) string {
	return fmt.Sprintf("%s%0*d.%s.%s", EntryPrefix, entrySeqDigits, seq, d.Encoded()[:entryHexDigits], alias)
}

var entryHead = regexp.MustCompile(`^_l\.([0-9]{8})\.([0-9a-f]{16})\.$`)

// ParseEntryTag takes the tag of an entry apart: whose it is, its number, and the
// beginning of its digest.
func ParseEntryTag(tag string) (alias string, seq int, hex string, ok bool) {
	if len(tag) <= entryHeadLength {
		return "", 0, "", false
	}
	m := entryHead.FindStringSubmatch(tag[:entryHeadLength])
	if m == nil {
		return "", 0, "", false
	}
	seq, err := strconv.Atoi(m[1])
	return tag[entryHeadLength:], seq, m[2], err == nil
}

// A Log is the entries of one alias, the newest first.
type Log struct {
	Entries []Entry

	// Whole says that the entries go back to the first move. Else older ones
	// were not read, or are gone.
	Whole bool

	// Problems are what is wrong with it: entries that others name and that are
	// not there, moves that nobody logged.
	Problems []string
}

// Order puts entries into a log: by their numbers, and of those that were written
// at the same moment the one first that stands: where the next move found the
// alias, or where it is now; then the one that later ones, or the tip, follow.
func Order(entries []Entry, tip, now digest.Digest) Log {
	followed := map[digest.Digest]int{tip: 1}
	for _, e := range entries {
		if len(e.Previous) > 0 {
			followed[e.Previous[0]] = 1
		}
	}
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.Seq, a.Seq), cmp.Compare(followed[b.Digest], followed[a.Digest]), cmp.Compare(a.Digest, b.Digest))
	})
	sorted = slices.CompactFunc(sorted, func(a, b Entry) bool { return a.Digest == b.Digest })
	for start := range sorted {
		if start > 0 && sorted[start-1].Seq == sorted[start].Seq {
			continue
		}
		group := sorted[start:]
		if end := slices.IndexFunc(group, func(e Entry) bool { return e.Seq != group[0].Seq }); end > 0 {
			group = group[:end]
		}
		if i := slices.IndexFunc(group, func(e Entry) bool { return e.To == now }); i > 0 {
			stands := group[i]
			copy(group[1:i+1], group[:i])
			group[0] = stands
		}
		now = group[0].From
	}
	return Log{Entries: sorted}
}

// Stands tells whether the entry with an index is the one of its moment that came
// true, as far as can be told.
func (l *Log) Stands(i int) bool { return i == 0 || l.Entries[i-1].Seq != l.Entries[i].Seq }

// Check looks for what is wrong with a log of which all entries from the newest
// on were read, down to the number first, and notes whether it is whole. Now is
// where the alias is.
func (l *Log) Check(now digest.Digest, first int) {
	there := map[digest.Digest]bool{}
	for _, e := range l.Entries {
		there[e.Digest] = true
	}
	found, by := now, 0 // where the alias was next, and the number of that move
	for i, e := range l.Entries {
		for _, p := range e.Previous {
			if !there[p] && e.Seq > first {
				l.problem("entry %d follows %s, which is not there: it was removed", e.Seq, p)
			}
		}
		switch {
		case !l.Stands(i):
			continue
		case e.To == found:
		case by == 0:
			l.problem("the alias is at %s, and its log ends at %s: it was moved without the log, or a move did not finish", orNothing(now), orNothing(e.To))
		default:
			l.problem("between entries %d and %d the alias went from %s to %s, and nobody logged it", e.Seq, by, orNothing(e.To), orNothing(found))
		}
		found, by = e.From, e.Seq
	}
	if n := len(l.Entries); n > 0 {
		oldest := l.Entries[n-1]
		l.Whole = oldest.Seq == 1 && len(oldest.Previous) == 0
		if !l.Whole && first <= 1 {
			l.problem("the log begins with entry %d: what was before it is gone", oldest.Seq)
		}
	}
}

func (l *Log) problem(format string, args ...any) {
	l.Problems = append(l.Problems, fmt.Sprintf(format, args...))
}

func orNothing(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.String()
}

// At returns the entry that tells where the alias was at a time, as far as the
// entries go back.
func (l *Log) At(at time.Time) (Entry, bool) {
	for i, e := range l.Entries {
		if !l.Stands(i) {
			continue
		}
		if !e.Time.After(at) {
			return e, true
		}
	}
	return Entry{}, false
}
