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
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"
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
	// gone on to the next file. Over a network, each ReadAt is a request.
	At io.ReaderAt

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

	// Each, if not nil, is told what each file that was looked at has come to.
	// What only all files together show is in the report alone.
	Each func(f File, r Result)
}

// DefaultTimeout is how long a small file may take before it is unscannable.
const DefaultTimeout = time.Minute

// Scan looks at files and reports on all of them. A file is done with when the
// next one is asked for, so that it can be closed then.
//
// The error is one of reading: from files, from a [File], or that of ctx. What
// is wrong with the bytes is in the report.
func Scan(ctx context.Context, files iter.Seq2[File, error], opts Options) (*Report, error) {
	var sum Summary
	for f, err := range files {
		if err != nil {
			return nil, err
		}
		if f.Known != nil {
			sum.Add(f.Path, *f.Known)
			continue
		}
		r, err := scanFile(ctx, f, opts)
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", f.Path, err)
		}
		sum.Add(f.Path, r)
		if opts.Each != nil {
			opts.Each(f, r)
		}
	}
	return sum.Report(), nil
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
