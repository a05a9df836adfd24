package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
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

// Push brings one blob into dst. Where dst has it, nothing moves; where dst is
// a [Mounter] and a repository in MountFrom has it, it is linked; else it is
// uploaded. An upload that breaks is tried again, from where dst says it
// stopped if dst is a [Resumer] and from the start if not. Push returns
// [Exists], [Mounted] or [Done]; with an error the action means nothing.
//
// The target compares the digest: an upload whose bytes are not those of the
// descriptor fails there.
func Push(ctx context.Context, dst Target, b Blob, opts PushOptions) (Action, error) {
	p := &pusher{dst: dst, blob: b, tell: teller{opts.Observe, b.Name, b.Desc}}
	if err := p.tell.check(); err != nil {
		return Start, err
	}
	did, err := p.push(ctx, opts.MountFrom)
	if err != nil {
		return Start, fmt.Errorf("push %s: %w", p.tell.title(), err)
	}
	p.tell.event(Event{Action: did})
	return did, nil
}

// A pusher is one call of Push.
type pusher struct {
	dst  Target
	blob Blob
	tell teller
}

func (p *pusher) push(ctx context.Context, mountFrom []string) (Action, error) {
	there, err := p.dst.Exists(ctx, p.blob.Desc)
	if err != nil {
		return Start, err
	}
	if there {
		return Exists, nil
	}
	if m, ok := p.dst.(Mounter); ok {
		for _, from := range mountFrom {
			ok, err := m.MountFrom(ctx, p.blob.Desc, from)
			if err != nil {
				return Start, fmt.Errorf("mount from %s: %w", from, err)
			}
			if ok {
				return Mounted, nil
			}
		}
	}
	p.tell.event(Event{Action: Start})
	if r, ok := p.dst.(Resumer); ok {
		return Done, r.PushFrom(ctx, p.blob.Desc, p.blob.Open, p.tell.sent)
	}
	return p.upload(ctx)
}

// upload sends the blob from its start until it has arrived.
func (p *pusher) upload(ctx context.Context) (Action, error) {
	var pace pacer
	for {
		did, err := p.once(ctx)
		if err == nil {
			return did, nil
		}
		if stop := pace.again(ctx, err); stop != nil {
			return Start, stop
		}
		p.tell.event(Event{Action: Retry, Err: err})
	}
}

func (p *pusher) once(ctx context.Context) (Action, error) {
	rc, err := p.blob.Open(ctx, 0)
	if err != nil {
		return Start, err
	}
	defer rc.Close()
	counted := &countingReader{Reader: rc, tell: p.tell}
	err = p.dst.Push(ctx, p.blob.Desc, counted)
	if errors.Is(err, errdef.ErrAlreadyExists) {
		return Exists, nil
	}
	if err != nil {
		p.tell.moved(-counted.n)
	}
	return Done, err
}

// A countingReader reports what is read through it.
type countingReader struct {
	io.Reader
	tell teller
	n    int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += int64(n)
	if n > 0 {
		r.tell.moved(int64(n))
	}
	return n, err
}
