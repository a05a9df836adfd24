// Package transfer moves blobs between a registry and a disk: several at once,
// resumable, and verified before they count.
//
// It knows neither registries nor stores. What it needs of either is written
// down as small interfaces ([Target], [Mounter], [Resumer], [RangeFetcher],
// [Partial]); a source or target that offers more than the plain one is used
// to the full, one that does not still works.
//
// Package transfer never calls a blob done before its size and digest are
// right, holds no blob in memory, and waits for every goroutine it starts.
// What happens on the way is told through an [Observer].
package transfer

import (
	"context"
	"hash"
	"io"
	"iter"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// A Target takes blobs. Every oras-go store is one.
type Target interface {
	content.Pusher

	// Exists tells whether the blob is already there.
	Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error)
}

// A Mounter is a [Target] that can link a blob from another repository of the
// same registry without moving its bytes.
type Mounter interface {
	// MountFrom asks for the blob from repository "from". It reports false,
	// with no error, when the registry declines; the blob is then uploaded.
	MountFrom(ctx context.Context, desc ocispec.Descriptor, from string) (bool, error)
}

// An Opener opens the bytes of one blob from offset (in bytes) to its end. It
// may be called several times, also at once, and the caller closes what it
// returns. It is an alias so that packages below this one can have the type in
// their methods without importing it.
type Opener = func(ctx context.Context, offset int64) (io.ReadCloser, error)

// A Resumer is a [Target] that can go on with a broken upload where the far
// side says it stopped.
type Resumer interface {
	// PushFrom uploads the blob that open reads. After a lost connection it
	// asks the far side how much it kept and goes on from there, or starts
	// again when nothing was. tell is called, if not nil, with the bytes of
	// each piece handed to the network, with the negative number of those
	// taken back when bytes must be sent again, and with the error of each
	// try that is followed by another.
	PushFrom(ctx context.Context, desc ocispec.Descriptor, open Opener, tell func(n int64, err error)) error
}

// A RangeFetcher is a source that can read a part of a blob.
type RangeFetcher interface {
	// FetchRange reads length bytes of the blob from offset; a negative
	// length means to its end. The caller closes the reader. A source that
	// was answered with anything but the bytes asked for returns an error.
	FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error)
}

// A Locator is a [RangeFetcher] that says where what it gives begins.
type Locator interface {
	// Locate returns a function that reads length bytes of the blob from
	// offset. A source that gives blobs whole only returns a reader of all of
	// it instead, and says so by from, which is 0 then and offset otherwise.
	// The function may be called several times, also at once; the caller
	// closes the readers.
	Locate(desc ocispec.Descriptor) func(ctx context.Context, offset, length int64) (rc io.ReadCloser, from int64, err error)
}

// A Distruster is a source that reads from several places, such as mirrors of
// a registry, and can do without one.
type Distruster interface {
	// Distrust says that the bytes of the blob turned out to be wrong. It
	// reports whether another place will give them next time, which is true a
	// bounded number of times for one blob.
	Distrust(desc ocispec.Descriptor) bool
}

// A Placed body is one of a [Distruster] that knows which place it is from. Where
// several read a blob at once, it is the one to tell: by then the source may have
// turned to another place, which gave the right bytes.
type Placed interface {
	// Distrust is that of a Distruster for the place of this body. It may be
	// called after the body was closed.
	Distrust() bool
}

// A Partial is a blob on its way to a disk. What it holds survives the process,
// and is never trusted before its digest has been checked. ReadAt and WriteAt are
// called from several goroutines at once, also at the same time as Checkpoint.
type Partial interface {
	io.WriterAt
	io.ReaderAt

	// Resume returns how many leading bytes, of those written by an earlier
	// run, can be kept, and the state of the digest's hash after them. It is
	// zero with a fresh hash for a new blob.
	Resume() (n int64, state hash.Hash, err error)

	// Checkpoint records that the first n bytes are written and that state
	// is the hash after them, so that a later Resume can start there.
	Checkpoint(n int64, state hash.Hash) error

	// Reset throws away all bytes and checkpoints.
	Reset() error

	// Commit is called once, when all bytes are there and their digest is
	// right. It makes them durable and gives them their final name.
	Commit() error

	// Close gives up the handle and keeps what is there for a later Resume.
	// After Commit it does nothing.
	Close() error
}

// A PartKeeper is a [Partial] that also remembers parts of the blob that were
// written out of order. Its methods may be called at the same time as WriteAt.
type PartKeeper interface {
	// KeepPart records that length bytes from offset are written, and their
	// CRC-32 with the polynomial of Castagnoli. A part that begins where
	// another one does takes its place: it has grown.
	KeepPart(offset, length int64, sum uint32) error

	// KeptParts returns the parts that an earlier run recorded, as offset and
	// length, with their checksums: sorted and not overlapping. Nothing says
	// that their bytes are still right. It is called after Resume.
	KeptParts() iter.Seq2[[2]int64, uint32]
}

// A DirectWriter is a [Partial] that can write bytes so that they leave no trace
// in the page cache, because they are not soon read again. It decides itself
// which of them: WriteDirect is WriteAt in all else.
type DirectWriter interface {
	WriteDirect(b []byte, off int64) (n int, err error)

	// Uncache gives up what the page cache holds of n bytes from off, if that
	// is on the disk: a hint.
	Uncache(off, n int64)
}

// An Action says what an [Event] is about.
type Action int

// The actions, in the order in which they can come for one blob: at most one
// Start, any number of Progress, Copied and Retry, and then exactly one of the
// others unless the blob failed. At Done the bytes of Start, Progress and
// Copied add up to the blob's size; those of Progress are what was fetched.
const (
	Start    Action = iota // bytes are about to move; Event.Bytes is how many are already there
	Progress               // Event.Bytes more bytes have moved (negative: taken back)
	Copied                 // Event.Bytes more bytes came from [Segment]s (negative: taken back)
	Retry                  // Event.Err happened; the blob is tried again
	Done                   // all bytes have moved and are verified
	Exists                 // nothing to move: the target has it (push)
	Mounted                // nothing to move: linked from another repository (push)
	Reused                 // nothing to move: taken from local content (pull)
)

// An Event is one step in the transfer of one blob.
type Event struct {
	Action Action
	Name   string             // what the user knows it by: a path, or the digest
	Desc   ocispec.Descriptor // the blob
	Bytes  int64              // see Action
	Err    error              // only for Retry
}

// An Observer is told of events. It is called from several goroutines at once
// and should return quickly. A nil Observer is not called.
type Observer func(Event)
