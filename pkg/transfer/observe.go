package transfer

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	_ "crypto/sha256" // digests name their hash, and it must be linked in
	_ "crypto/sha512"
)

// A teller tells an observer about one blob.
type teller struct {
	observe Observer
	name    string
	desc    ocispec.Descriptor
}

// title returns what the user knows the blob by.
func (t teller) title() string {
	if t.name == "" {
		return t.desc.Digest.String()
	}
	return t.name
}

// check refuses descriptors that cannot be verified.
func (t teller) check() error {
	if err := t.desc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest of %s: %q: %w: %w", t.title(), t.desc.Digest, errdef.ErrInvalidDigest, err)
	}
	if t.desc.Size < 0 {
		return fmt.Errorf("size of %s: %d: %w", t.title(), t.desc.Size, content.ErrInvalidDescriptorSize)
	}
	return nil
}

func (t teller) event(e Event) {
	if t.observe == nil {
		return
	}
	e.Name, e.Desc = t.title(), t.desc
	t.observe(e)
}

// moved tells of bytes that moved, or of bytes taken back.
func (t teller) moved(n int64) {
	if n != 0 {
		t.event(Event{Action: Progress, Bytes: n})
	}
}

// sent tells of what a [Resumer] or [Streamer] does.
func (t teller) sent(n int64, err error) {
	t.moved(n)
	if err != nil {
		t.event(Event{Action: Retry, Err: err})
	}
}

// copied tells of bytes that were on this machine, or of such taken back.
func (t teller) copied(n int64) {
	if n != 0 {
		t.event(Event{Action: Copied, Bytes: n})
	}
}
