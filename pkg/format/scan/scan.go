// Package scan says what the files of a model could do to whoever loads them.
//
// It looks at content and never at names alone: a pickle is one whatever its
// file is called, and an archive is opened and its members are looked at in the
// same way. It runs nothing, imports nothing, renders nothing, and writes
// nothing to disk.
//
// What can be told to be harmless is [Safe]; what is known to be harmful is
// [Dangerous]; what names code that this package does not know is [Unknown];
// and what cannot be followed to its last byte is [Unscannable], which is never
// a pass. Each verdict but the first comes with findings, which give the file,
// the offset in it, and a rule of the table that [Rules] returns.
//
// Imports of pickles are decided by a list of exact names that are allowed. A
// list of names that are known to be harmful only makes a better report.
//
// Bytes are taken to be hostile. Memory stays under 256 MiB and time for a
// small file under a minute, by limits that have names in this package; a file that
// needs more is unscannable.
package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Verdict is what a scan comes to.
type Verdict string

// The verdicts, from the best to the worst.
const (
	Safe        Verdict = "safe"        // all of it was followed, and it does nothing
	Unknown     Verdict = "unknown"     // names code that is not known to be harmless
	Unscannable Verdict = "unscannable" // could not be followed to its end
	Dangerous   Verdict = "dangerous"   // does what no model needs
)

// rank orders verdicts. What is not one counts as harmless, as an empty one does.
func (v Verdict) rank() int {
	return slices.Index([]Verdict{Safe, Unknown, Unscannable, Dangerous}, v)
}

// Worse returns the worse of two verdicts.
func (v Verdict) Worse(w Verdict) Verdict {
	if w.rank() > v.rank() {
		return w
	}
	return v
}

// A Severity says how much a finding matters.
type Severity string

// The severities.
const (
	None     Severity = "none"
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// A File is a file to be looked at.
type File struct {
	// Path is the name by which findings tell the file, slash-separated.
	Path string

	// Size is its length in bytes.
	Size int64

	// At reads it. It is used by one goroutine, and not after the scan has
	// gone on to the next file, or has called Close. Over a network, each
	// ReadAt is a request.
	At io.ReaderAt

	// Close, if not nil, is called once, when the file has been looked at. Such
	// a small file may be looked at while the next ones are.
	Close func()

	// Key is for who is told by [Options.Each]. It is not looked at.
	Key string

	// Known, if not nil, is what an earlier look at the same bytes has come to,
	// under the same path, with the same options and [Analysis]. The file is
	// not looked at then.
	Known *Result
}

// A Finding is a place in a file and what is wrong there.
type Finding struct {
	// Path is that of the file. A member of an archive is told by the names
	// of both with an exclamation mark between: "model.zip!data.pkl".
	Path string `json:"path"`

	Rule     string   `json:"rule"` // the ID of a [Rule]
	Severity Severity `json:"severity"`

	// Offset is that of the byte, in the file or unpacked member, at which
	// it shows.
	Offset int64 `json:"offset"`

	// Message says what was found, in one line without control characters.
	Message string `json:"message"`
}

// A Report is what a scan has found.
type Report struct {
	Verdict  Verdict   `json:"verdict"`
	Files    int       `json:"files"`    // that were looked at, members of archives not counted
	Findings []Finding `json:"findings"` // by file in the order given, never nil
}

// Options adjusts [Scan]. The zero value is for files on a local disk.
type Options struct {
	// Sparse is for files behind a network: big members of archives and big
	// runs of numbers are passed over unread, so that their checksums are not
	// compared. All that could be code is read all the same.
	Sparse bool

	// Fetch is how many bytes of a file a sparse scan reads where it has to
	// unpack it or to search it for words. A file that needs more is
	// unscannable. Zero means 64 MiB to unpack and 16 to search.
	Fetch int64

	// Timeout is how long a file may take. Zero means [DefaultTimeout], and a
	// second more for every 64 MiB of the file.
	Timeout time.Duration

	// Workers is how many small files that have a Close may be looked at at once.
	// Zero means one.
	Workers int

	// Each, if not nil, is told what each file that was looked at has come to,
	// of one after the other. What only all files together show is in the report
	// alone.
	Each func(f File, r Result)
}

// DefaultTimeout is how long a small file may take before it is unscannable.
const DefaultTimeout = time.Minute

// smallFile is the size of the largest file that is looked at beside others, in
// bytes: what is held of a large one is enough for once.
const smallFile = 1 << 20

// Scan looks at files and reports on all of them. A file without a Close is done
// with when the next one is asked for, so that it can be closed then.
//
// The error is one of reading: from files, from a [File], or that of ctx. What
// is wrong with the bytes is in the report.
func Scan(ctx context.Context, files iter.Seq2[File, error], opts Options) (*Report, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(opts.Workers, 1))
	sc := scanner{opts: opts}
	failed := sc.all(ctx, g, files)
	if err := cmp.Or(failed, g.Wait()); err != nil {
		return nil, err
	}
	var sum Summary
	for _, o := range sc.outcomes {
		sum.Add(o.path, o.result)
	}
	return sum.Report(), nil
}

// A scanner looks at files.
type scanner struct {
	opts     Options
	outcomes []*outcome // in the order of the files

	mu sync.Mutex // of Each
}

// An outcome is what a file has come to.
type outcome struct {
	path   string
	result Result
}

// all looks at all files, at small ones in the group.
func (sc *scanner) all(ctx context.Context, g *errgroup.Group, files iter.Seq2[File, error]) error {
	for f, err := range files {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			if f.Close != nil {
				f.Close()
			}
			return context.Cause(ctx)
		}
		o := &outcome{path: f.Path}
		sc.outcomes = append(sc.outcomes, o)
		if sc.opts.Workers > 1 && f.Close != nil && f.Size <= smallFile && f.Known == nil {
			g.Go(func() error { return sc.look(ctx, f, o) })
			continue
		}
		if err := sc.look(ctx, f, o); err != nil {
			return err
		}
	}
	return nil
}

// look looks at a file, unless it is known, and closes it.
func (sc *scanner) look(ctx context.Context, f File, o *outcome) (err error) {
	if f.Close != nil {
		defer f.Close()
	}
	if f.Known != nil {
		o.result = *f.Known
		return nil
	}
	if o.result, err = scanFile(ctx, f, sc.opts); err != nil {
		return fmt.Errorf("scan %s: %w", f.Path, err)
	}
	if sc.opts.Each != nil {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		sc.opts.Each(f, o.result)
	}
	return nil
}

// Files is the argument of [Scan] for files that are all at hand.
func Files(files ...File) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, f := range files {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// scanFile looks at one file with all that is in it.
func scanFile(ctx context.Context, f File, opts Options) (Result, error) {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout + time.Duration(f.Size>>26)*time.Second
	}
	inner, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	s := &session{ctx: inner, opts: opts, result: Result{Verdict: Safe}, seen: make(map[string]bool)}
	in := &input{path: f.Path, name: f.Path, size: f.Size, at: f.At}
	err := s.look(in)
	switch {
	case ctx.Err() != nil:
		return Result{}, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded) && inner.Err() != nil:
		s.add(in, ruleTime, 0, "takes more than %v to follow", opts.Timeout)
		err = nil
	}
	return s.result, err
}
