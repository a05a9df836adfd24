package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime/debug"
	"time"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// workerCommand is the argument with which the program looks at files for
// another process of its own. It is for no person to type.
const workerCommand = "scan-worker"

const (
	// workerMemory is the address space that looking at files may take, in
	// bytes, beyond what the process starts with.
	workerMemory = 512 << 20

	// workerHeap is where the garbage collector begins to make an effort.
	workerHeap = 256 << 20
)

// workerTime is the processor time for a file, of all threads together: more than
// who asks allows it, who knows what of that was waiting.
func workerTime(size int64) time.Duration {
	return 3 * timeFor(workTime, size)
}

// scanWorker looks at the files that are given to it through in and out, and
// returns the exit code. It opens nothing itself.
func scanWorker(in io.Reader, out io.Writer) int {
	debug.SetMemoryLimit(workerHeap)
	limitMemory(workerMemory)
	limitProcess()
	w := &worker{wire: newWire(in, out)}
	if err := w.run(); err != nil {
		_ = w.send(msgFailed, []byte(err.Error())) // nobody is there to hear it
		return exitFailure
	}
	return exitOK
}

// A worker is the side that looks at files.
type worker struct{ *wire }

func (w *worker) run() error {
	kind, body, err := w.receive()
	if err != nil {
		return err
	}
	var start startMessage
	if err := json.Unmarshal(body, &start); kind != msgStart || err != nil {
		return errors.New("no process of modelreg is asking")
	}
	_, err = scan.Scan(context.Background(), w.files(), scan.Options{
		Sparse: start.Sparse,
		Fetch:  start.Fetch,
		// Who asks keeps the time, without that of reading.
		Timeout: math.MaxInt64 * time.Nanosecond,
		// A broken pipe shows when the next file is asked for.
		Each: func(_ scan.File, r scan.Result) { _ = w.sendJSON(msgFound, r) },
	})
	if err != nil {
		return err
	}
	return w.send(msgDone, nil)
}

// files asks for one file after the other.
func (w *worker) files() iter.Seq2[scan.File, error] {
	return func(yield func(scan.File, error) bool) {
		for {
			f, err := w.next()
			if errors.Is(err, io.EOF) || !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// next asks for a file. The error is io.EOF when there is none.
func (w *worker) next() (scan.File, error) {
	if err := w.send(msgNext, nil); err != nil {
		return scan.File{}, err
	}
	kind, body, err := w.receive()
	if err != nil {
		return scan.File{}, fmt.Errorf("ask for a file: %w", noEOF(err))
	}
	if kind == msgEnd {
		return scan.File{}, io.EOF
	}
	var f fileMessage
	if err := json.Unmarshal(body, &f); kind != msgFile || err != nil {
		return scan.File{}, errors.New("ask for a file: no answer")
	}
	limitWork(workerTime(f.Size))
	return scan.File{Path: f.Path, Size: f.Size, At: w}, nil
}

// ReadAt reads the file that was asked for last.
func (w *worker) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+maxRead, len(p))]
		if err := w.sendJSON(msgRead, readMessage{off + int64(n), len(part)}); err != nil {
			return n, err
		}
		kind, body, err := w.receive()
		switch {
		case err != nil:
			return n, noEOF(err)
		case kind != msgData || len(body) > len(part):
			return n, fmt.Errorf("read: %s", body)
		}
		n += copy(part, body)
		if len(body) < len(part) {
			return n, io.EOF
		}
	}
	return n, nil
}

// noEOF makes an end in the middle an error that is not taken for the end of a
// file.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
