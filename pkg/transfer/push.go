package transfer

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Blob is something to push.
type Blob struct {
	Desc ocispec.Descriptor
	Name string // what the user knows it by; the digest when empty
	Open Opener // opens its bytes
}

// PushOptions adjusts [Push]. The zero value mounts from nowhere.
type PushOptions struct {
	// MountFrom names repositories of the same registry that may have the
	// blob. They are asked in order.
	MountFrom []string

	// Observe, if not nil, is told what happens.
	Observe Observer
}

// Push brings one blob into dst.
func Push(ctx context.Context, dst Target, b Blob, opts PushOptions) (Action, error) {
	ok, err := dst.Exists(ctx, b.Desc)
	if err != nil || ok {
		return Exists, err
	}
	rc, err := b.Open(ctx, 0)
	if err != nil {
		return Start, err
	}
	defer rc.Close()
	return Done, dst.Push(ctx, b.Desc, rc)
}
