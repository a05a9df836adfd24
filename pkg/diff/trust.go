package diff

import (
	"cmp"
	"slices"
	"time"
)

// An Evidence is something that somebody vouches for a version with.
type Evidence struct {
	// Kind is "signature", "attestation" or another kind of what refers to a
	// version; Type says what an attestation is about, such as
	// "https://slsa.dev/provenance/v1".
	Kind string `json:"kind"`
	Type string `json:"type,omitempty"`

	// By is who made it: what it claims, unless it is Verified.
	By       string `json:"by,omitempty"`
	Verified bool   `json:"verified"`

	// Created is when it says it was made; zero if it does not.
	Created time.Time `json:"created,omitzero"`

	Digest string `json:"digest"` // of what holds it
}

// Trust is what vouches for one side and not for the other.
type Trust struct {
	Gained  []Evidence       `json:"gained"`
	Lost    []Evidence       `json:"lost"`
	Changed []EvidenceChange `json:"changed"` // in whether it is verified
	Kept    []EvidenceChange `json:"kept"`
}

// An EvidenceChange is evidence of the same kind by the same party on both
// sides, each for its own version.
type EvidenceChange struct {
	From Evidence `json:"from"`
	To   Evidence `json:"to"`
}

type evidenceKey struct{ kind, about, by string }

// compareTrust compares what vouches for two versions, by kind and party. Nil
// says that nobody knows of one of the sides.
func compareTrust(a, b []Evidence) *Trust {
	if a == nil || b == nil {
		return nil
	}
	t := &Trust{Gained: []Evidence{}, Lost: []Evidence{}, Changed: []EvidenceChange{}, Kept: []EvidenceChange{}}
	was := map[evidenceKey]Evidence{}
	for _, e := range newest(a) {
		was[e.key()] = e
	}
	for _, e := range newest(b) {
		from, ok := was[e.key()]
		delete(was, e.key())
		switch ch := (EvidenceChange{from, e}); {
		case !ok:
			t.Gained = append(t.Gained, e)
		case from.Verified != e.Verified:
			t.Changed = append(t.Changed, ch)
		default:
			t.Kept = append(t.Kept, ch)
		}
	}
	for _, e := range newest(a) {
		if _, lost := was[e.key()]; lost {
			t.Lost = append(t.Lost, e)
		}
	}
	return t
}

func (e Evidence) key() evidenceKey { return evidenceKey{e.Kind, e.Type, e.By} }

// newest keeps, of evidence of one kind by one party, what is verified and made
// last, in a fixed order.
func newest(list []Evidence) []Evidence {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y Evidence) int {
		return cmp.Or(
			cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Type, y.Type), cmp.Compare(x.By, y.By),
			cmp.Compare(b2i(y.Verified), b2i(x.Verified)), y.Created.Compare(x.Created), cmp.Compare(x.Digest, y.Digest),
		)
	})
	return slices.CompactFunc(list, func(x, y Evidence) bool { return x.key() == y.key() })
}
