package record

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// StatusType is the predicate type of a [Status].
const StatusType = "https://modelreg.dev/status/v1"

// annotationCreated is when something was made.
const annotationCreated = ocispec.AnnotationCreated

// maxReason bounds the reason of a status, in bytes.
const maxReason = 4 << 10

// A State is what became of a version.
type State string

// The states, from the best to the worst.
const (
	Active     State = "active"
	Deprecated State = "deprecated" // there is something better
	Yanked     State = "yanked"     // it should not be used
)

// Retired is the state of a repository whose name is not to be used any more. No
// version has it.
const Retired State = "retired"

// Worse tells whether a state is worse than another.
func (s State) Worse(than State) bool { return s.rank() > than.rank() }

func (s State) rank() int { return slices.Index([]State{Active, Deprecated, Yanked}, s) }

// A Status is one statement about the state of a version, the predicate of an
// in-toto statement.
type Status struct {
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitzero"`
	Since       time.Time `json:"since"`
	Replacement string    `json:"replacement,omitzero"` // a reference

	// Seq counts the statements about the version, from 1, and Previous is the
	// manifest of the one before, so that one that was removed leaves a gap.
	Seq      int           `json:"seq,omitzero"`
	Previous digest.Digest `json:"prev,omitzero"`
}

// ParseStatus reads a predicate.
func ParseStatus(raw []byte) (Status, error) {
	var s Status
	if len(raw) > MaxBytes {
		return s, fmt.Errorf("%w: status of %d bytes, more than %d", ErrMalformed, len(raw), MaxBytes)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("%w: status: %w", ErrMalformed, err)
	}
	if s.State.rank() < 0 {
		return s, fmt.Errorf("%w: status: state %.40q is not known", ErrMalformed, s.State)
	}
	s.Reason, s.Replacement, s.Since = clip(s.Reason, maxReason), clip(s.Replacement, maxReason), s.Since.UTC()
	if latest := time.Date(maxYear, 1, 1, 0, 0, 0, 0, time.UTC); s.Since.After(latest) {
		s.Since = latest
	}
	s.Seq = min(max(s.Seq, 0), maxStatements)
	return s, nil
}

// checkWhole tells why a status is none of a whole repository.
func (s Status) checkWhole() error {
	switch {
	case s == Status{}, s.State == Deprecated, s.State == Retired:
	default:
		return fmt.Errorf("state %.40q is none of a repository: it is deprecated or retired, or says nothing", s.State)
	}
	if n := max(len(s.Reason), len(s.Replacement)); n > maxReason {
		return fmt.Errorf("text of %d bytes, more than %d", n, maxReason)
	}
	if s.Since.Year() > maxYear {
		return fmt.Errorf("dated in the year %d", s.Since.Year())
	}
	return nil
}

// maxYear and maxStatements bound when a status is dated and its number, whatever it
// says, so that there is always room for one after it.
const (
	maxYear       = 9000
	maxStatements = 1 << 30
)

// Predicate is the status as what is to be signed.
func (s Status) Predicate() (jsontext.Value, error) { return json.Marshal(s, json.Deterministic(true)) }

// A Stated is a status that somebody stated.
type Stated struct {
	Status

	// Signed is when it was signed, where that cannot be given a later time by
	// others: that of a certificate's signature, on the word of a log or timestamp
	// authority. It is zero for keys, whose old signatures anybody can have stamped
	// anew.
	Signed time.Time

	Digest digest.Digest // of the manifest that holds it
}

// when is the time that counts.
func (s Stated) when() time.Time {
	if s.Signed.IsZero() {
		return s.Since
	}
	return s.Signed
}

// Newest is the statement that decides, of those that count: of those that no other
// names as the one before it, by time, then by number, then the worse. False means
// that there is none.
func Newest(all []Stated) (Stated, bool) {
	followed := make(map[digest.Digest]bool, len(all))
	for _, s := range all {
		if s.Previous != "" {
			followed[s.Previous] = true
		}
	}
	last := slices.DeleteFunc(slices.Clone(all), func(s Stated) bool { return followed[s.Digest] })
	if len(last) == 0 {
		last = all // in a circle, which digests do not allow
	}
	if len(last) == 0 {
		return Stated{}, false
	}
	return slices.MaxFunc(last, func(a, b Stated) int {
		return cmp.Or(a.when().Compare(b.when()), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.State.rank(), b.State.rank()))
	}), true
}

// Gaps lists the statements that others follow and that are not among them: they
// were removed.
func Gaps(all []Stated) []digest.Digest {
	var gone []digest.Digest
	for _, s := range all {
		if s.Previous != "" && !slices.Contains(gone, s.Previous) &&
			!slices.ContainsFunc(all, func(o Stated) bool { return o.Digest == s.Previous }) {
			gone = append(gone, s.Previous)
		}
	}
	return gone
}

// TombstoneType is the type of the manifest that is left of a version.
const TombstoneType = "application/vnd.modelreg.tombstone.v1+json"

// Annotations of a tombstone, besides the message (why), the author (who claims
// to have removed it) and the OCI one for the time.
const (
	AnnotationBuried      = "dev.modelreg.tombstone.digest"
	AnnotationReplacement = "dev.modelreg.tombstone.replacement"
)

// A Tombstone says that a version was removed, and why.
type Tombstone struct {
	Digest      digest.Digest // of what was removed
	Reason      string
	Replacement string // a reference
	Author      string // a claim
	Time        time.Time
}

// Manifest is the tombstone as a manifest.
func (t Tombstone) Manifest() ([]byte, error) {
	if err := t.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("write tombstone: %w", err)
	}
	m := small(TombstoneType)
	m.Annotations = map[string]string{AnnotationBuried: t.Digest.String(), annotationCreated: t.Time.UTC().Format(time.RFC3339)}
	for key, value := range map[string]string{
		mediatypes.AnnotationMessage: clip(t.Reason, maxReason), AnnotationReplacement: clip(t.Replacement, maxReason),
		mediatypes.AnnotationAuthor: clip(t.Author, maxAuthor),
	} {
		if value != "" {
			m.Annotations[key] = value
		}
	}
	return json.Marshal(m, json.Deterministic(true))
}

// ParseTombstone reads a tombstone; false means that the manifest is none.
func ParseTombstone(manifest []byte) (Tombstone, bool) {
	if len(manifest) > MaxEntryBytes {
		return Tombstone{}, false
	}
	m, err := ofType(manifest, TombstoneType)
	if err != nil || len(m.Layers) != 1 || m.Layers[0].Digest != ocispec.DescriptorEmptyJSON.Digest || m.Config.Digest != ocispec.DescriptorEmptyJSON.Digest {
		return Tombstone{}, false // others than we would load what is in it
	}
	t := Tombstone{
		Digest: digest.Digest(m.Annotations[AnnotationBuried]), Reason: clip(m.Annotations[mediatypes.AnnotationMessage], maxReason),
		Replacement: clip(m.Annotations[AnnotationReplacement], maxReason), Author: clip(m.Annotations[mediatypes.AnnotationAuthor], maxAuthor),
	}
	if t.Digest.Validate() != nil {
		return Tombstone{}, false
	}
	t.Time, _ = time.Parse(time.RFC3339, m.Annotations[annotationCreated]) // without one it is only poorer
	t.Time = t.Time.UTC()
	return t, true
}
