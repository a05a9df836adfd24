package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// slowWindow and slowBytes are the least speed that counts as one: a
	// connection that took slowWindow of waiting for less is given up.
	slowWindow = 60 * time.Second
	slowBytes  = 60 << 10
)

var (
	errStalled  = errors.New("connection stalled")
	errNoAnswer = errors.New("no answer in time")
	errOver     = errors.New("request is over")
	errShort    = errors.New("content is shorter than its descriptor says")
)

// A watchedBody is the body of an answer. It cancels the request when bytes
// stop coming, or come by drops. Only time spent inside Read counts, so a slow
// reader does no harm.
type watchedBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
	waited time.Duration
	got    int64
	err    error
}

func watchBody(rc io.ReadCloser, stall time.Duration, cancel context.CancelCauseFunc) *watchedBody {
	b := &watchedBody{ReadCloser: rc, cancel: cancel, stall: stall}
	b.timer = time.AfterFunc(stall, func() { cancel(errStalled) })
	b.timer.Stop()
	return b
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	start := time.Now()
	b.timer.Reset(b.stall)
	n, err := b.ReadCloser.Read(p)
	if !b.timer.Stop() && err != nil && err != io.EOF {
		err = errStalled
	}
	b.waited += time.Since(start)
	b.got += int64(n)
	if b.waited >= slowWindow {
		if b.got < slowBytes && err == nil {
			err = errStalled
		}
		b.waited, b.got = 0, 0
	}
	b.err = err
	return n, err
}

// Close ends the request too.
func (b *watchedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(context.Canceled)
	return err
}

// An exactReader reads the bytes that a request must give, and says so when
// there are fewer or more. As it is, it is the registry's own answer: that of a
// mirror is within a mirrorBody, or was compared with its digest.
type exactReader struct {
	rc   io.ReadCloser
	op   string
	left int64
	open bool // the answer did not say beforehand where it ends
	ends bool // but says so when it does

	whole bool // the answer is the whole blob, where a part was asked for
}

func (r *exactReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, r.atEnd()
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.rc.Read(p)
	r.left -= int64(n)
	if err == nil || err == io.EOF && r.left == 0 {
		return n, nil
	}
	if err == io.EOF && r.ends {
		return n, wrongSize(r.op, fmt.Sprintf("the answer is %d bytes shorter than the blob", r.left))
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, readError(r.op, err)
}

// atEnd looks for bytes too many where only reading on can tell.
func (r *exactReader) atEnd() error {
	if !r.open {
		return io.EOF
	}
	r.open = false
	var extra [1]byte
	if n, _ := io.ReadFull(r.rc, extra[:]); n > 0 {
		return wrongSize(r.op, "the answer is longer than the blob")
	}
	return io.EOF
}

func (r *exactReader) Close() error { return r.rc.Close() }

// Distrust is that of a mirrorBody, where no mirror is to be blamed: they gave none
// of these bytes, whatever is wrong with them.
func (r *exactReader) Distrust() bool { return false }

// readError makes an error of a body that broke off. The request can be made
// again unless the caller gave up.
func readError(op string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Op: op, Text: cleanText(err.Error()), Class: ErrUnreachable, cause: err, again: true}
}

// An uploadBody is the body of one upload request: the bytes of a blob from
// some offset to its end. It counts what has gone to the network.
type uploadBody struct {
	src  io.ReadCloser
	left int64 // bytes still to be read from src

	reading sync.Mutex // held while src is read

	mu      sync.Mutex
	report  func(n int64) // nil once the request is over
	pending int64         // moved, not yet reported
	err     error         // what was wrong with src
}

// reportBytes is how many bytes are reported at once.
const reportBytes = 512 << 10

func (b *uploadBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.fill(p[:min(int64(len(p)), b.left)], b.src.Read)
	b.moved(int64(n))
	return n, err
}

// Close closes the source.
func (b *uploadBody) Close() error { return b.src.Close() }

// fill reads from the source by read, unless the request is over. It never
// returns io.EOF.
func (b *uploadBody) fill(p []byte, read func([]byte) (int, error)) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.over() {
		return 0, errOver
	}
	n, err := read(p)
	switch {
	case int64(n) == b.left || err == nil, err == io.ErrUnexpectedEOF && n > 0:
		return n, nil
	case err == io.EOF:
		err = errShort
	}
	return n, b.fail(err)
}

func (b *uploadBody) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.report == nil
}

// moved counts bytes that were handed on.
func (b *uploadBody) moved(n int64) {
	b.left -= n
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.report == nil {
		return
	}
	b.pending += n
	if b.pending >= reportBytes || b.left == 0 {
		b.report(b.pending)
		b.pending = 0
	}
}

// fail remembers that the source, not the network, was at fault.
func (b *uploadBody) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil && b.report != nil {
		b.err = err
	}
	return err
}

// file returns the file that the source reads, if the kernel can read it in its
// place: the source is the file, or has a method that says so.
func (b *uploadBody) file() *os.File {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.over() {
		return nil
	}
	switch src := b.src.(type) {
	case *os.File:
		return src
	case interface{ File() *os.File }:
		return src.File()
	}
	return nil
}

// ended returns why the source has no more bytes. One that the kernel read may
// know better than that it is too short.
func (b *uploadBody) ended() error {
	if _, err := b.fill(make([]byte, 1), b.src.Read); err != nil {
		return err
	}
	return b.fail(errShort)
}

// stop ends the request's hold on the source, for net/http may go on reading
// the body after it has returned the answer. It returns what was wrong with
// the source.
func (b *uploadBody) stop() error {
	b.mu.Lock()
	if b.report != nil && b.pending > 0 {
		b.report(b.pending)
	}
	b.report = nil
	err := b.err
	b.mu.Unlock()
	b.reading.Lock() // wait for a read under way
	defer b.reading.Unlock()
	return err
}
