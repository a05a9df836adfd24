package store

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"hash"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	journalVersion = 1

	// journalBlock is the length of every journal: more than one with two
	// states of SHA-512 needs, and less than a page of memory or a block of a
	// disk, which are written whole.
	journalBlock = 2 << 10
)

// A journal says how much of a partial blob is written. It holds two marks, so
// that what lies between them can be read again and compared before either is
// believed, at no cost while the blob is being written.
type journal struct {
	Version int           `json:"version"`
	Digest  digest.Digest `json:"digest"`
	Size    int64         `json:"size"`
	Boot    string        `json:"boot"` // "" is no known boot
	From    mark          `json:"from"`
	To      mark          `json:"to"`
}

// A mark is a number of leading bytes and the state of the hash after them.
type mark struct {
	Length int64  `json:"length"`
	State  []byte `json:"state"` // empty at length 0
}

// block returns the journal as it is on disk: JSON filled up with spaces.
func (j journal) block() ([]byte, error) {
	raw, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	if len(raw) > journalBlock {
		return nil, fmt.Errorf("journal has %d bytes", len(raw))
	}
	return append(raw, bytes.Repeat([]byte{' '}, journalBlock-len(raw))...), nil
}

// parseJournal reads a journal of whichever blob.
func parseJournal(raw []byte) (journal, error) {
	if len(raw) != journalBlock {
		return journal{}, fmt.Errorf("journal has %d bytes", len(raw))
	}
	var j journal
	if err := json.Unmarshal(raw, &j, json.RejectUnknownMembers(true)); err != nil {
		return journal{}, fmt.Errorf("parse journal: %w", err)
	}
	if j.Version != journalVersion {
		return journal{}, fmt.Errorf("journal has version %d", j.Version)
	}
	return j, nil
}

// fits tells whether the journal could have been written for the blob desc.
func (j journal) fits(desc ocispec.Descriptor) error {
	if j.Digest != desc.Digest || j.Size != desc.Size {
		return errors.New("journal is of another blob")
	}
	if j.To.Length == 0 && j.From.Length == 0 {
		return nil
	}
	if j.From.Length < 0 || j.From.Length >= j.To.Length || j.To.Length > j.Size {
		return errors.New("journal has impossible lengths")
	}
	for _, m := range []mark{j.From, j.To} {
		if _, err := m.hash(desc.Digest.Algorithm()); err != nil {
			return err
		}
	}
	return nil
}

// newMark notes the state of a hash after n bytes.
func newMark(n int64, state hash.Hash) (mark, error) {
	if n == 0 {
		return mark{}, nil
	}
	m, ok := state.(encoding.BinaryMarshaler)
	if !ok {
		return mark{}, fmt.Errorf("hash %T has no state to keep", state)
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return mark{}, fmt.Errorf("save hash state: %w", err)
	}
	return mark{Length: n, State: b}, nil
}

// hash returns a hash in the state of the mark.
func (m mark) hash(alg digest.Algorithm) (hash.Hash, error) {
	h := alg.Hash()
	if m.Length == 0 {
		if len(m.State) > 0 {
			return nil, errors.New("journal has a state of no bytes")
		}
		return h, nil
	}
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("hash %T has no state to restore", h)
	}
	if err := u.UnmarshalBinary(m.State); err != nil {
		return nil, fmt.Errorf("restore hash state: %w", err)
	}
	return h, nil
}

// is tells whether the hash h is in the state of the mark.
func (m mark) is(h hash.Hash) bool {
	now, err := newMark(m.Length, h)
	return err == nil && bytes.Equal(now.State, m.State)
}
