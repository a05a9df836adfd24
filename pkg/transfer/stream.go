package transfer

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// A Stream is a blob whose digest is not known before it has been read: it can
// be sent while it is hashed. It is an alias for the same reason as [Opener].
type Stream = interface {
	// Key names the bytes, so that a later call can go on with a broken
	// upload of them: other bytes have another key. "" means that nothing
	// names them.
	Key() string

	// Size is the number of bytes.
	Size() int64

	// Open opens the bytes as an [Opener] does.
	Open(ctx context.Context, offset int64) (io.ReadCloser, error)

	// Digest returns the digest, and waits for it if need be. It is called
	// after all bytes were opened and read.
	Digest(ctx context.Context) (digest.Digest, error)
}

// A Streamer is a [Target] that takes a blob whose digest is told at its end.
type Streamer interface {
	// Streams reports whether it is worth a try.
	Streams() bool

	// PushStream uploads the stream and returns its digest. It goes on after
	// failures and calls tell as [Resumer.PushFrom] does. The error wraps
	// errdef.ErrUnsupported when the far side takes no streams, or when the
	// digest should be known first.
	PushStream(ctx context.Context, s Stream, tell func(n int64, err error)) (digest.Digest, error)
}

// A StreamKeeper is a [Streamer] that knows what it has begun.
type StreamKeeper interface {
	Streamer

	// Begun reports whether an earlier PushStream of a [Stream] with this key
	// and size has stopped on its way, so that another goes on there.
	Begun(key string, size int64) bool
}

// PushStream brings a blob of unknown digest into dst, and returns its digest.
// The target is not asked whether it has the blob, and MountFrom is not used.
// Events have a descriptor without a digest, but for the last.
func PushStream(ctx context.Context, dst Streamer, name string, s Stream, opts PushOptions) (digest.Digest, error) {
	tell := teller{opts.Observe, name, ocispec.Descriptor{Size: s.Size()}}
	if s.Size() < 0 {
		return "", fmt.Errorf("size of %s: %d: %w", name, s.Size(), content.ErrInvalidDescriptorSize)
	}
	tell.event(Event{Action: Start})
	dgst, err := dst.PushStream(ctx, s, tell.sent)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", name, err)
	}
	tell.desc.Digest = dgst
	tell.event(Event{Action: Done})
	return dgst, nil
}
