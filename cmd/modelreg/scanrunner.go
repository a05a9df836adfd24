package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/hub"
)

// workTime is how long the other process may work at a file, waiting for its
// bytes not counted, and workRate how many bytes of it in a second are taken for
// slow work and not for a trap.
const (
	workTime = time.Minute
	workRate = 50 << 20
)

// timeFor is the time for a file of so many bytes, given that for a small one.
func timeFor(small time.Duration, size int64) time.Duration {
	return small + time.Duration(size/workRate)*time.Second
}

// scanRunner looks at files in processes of this program, with limits of their
// own; in this one if it does not know where the program is.
func (a *app) scanRunner() hub.ScanRunner {
	if a.self == "" {
		return nil
	}
	p := scanProcess{path: a.self, args: []string{"modelreg", workerCommand}, time: workTime}
	return p.scan
}

// A scanProcess is a program that looks at files as [scanWorker] does.
type scanProcess struct {
	path string
	args []string // its own name first
	time time.Duration
}

// scan looks at files, in one process as long as that lives. A file at which it
// ends, or works too long, is unscannable, and another one goes on with the next
// file.
func (p scanProcess) scan(ctx context.Context, files iter.Seq2[scan.File, error], opts scan.Options) (*scan.Report, error) {
	next, stop := iter.Pull2(files)
	defer stop()
	s := &scanning{process: p, opts: opts, next: next}
	defer s.closeFile()
	for {
		if err := s.advance(); err != nil {
			return nil, err
		}
		if s.ended {
			return s.sum.Report(), nil
		}
		if err := s.serve(ctx); err != nil {
			return nil, err
		}
	}
}

// A scanning is the side that has the files.
type scanning struct {
	process scanProcess
	opts    scan.Options
	next    func() (scan.File, error, bool)
	sum     scan.Summary

	file    scan.File // at which the process is, or that it is to be given
	waiting bool      // it is to be given one
	ended   bool      // there are no more
	inside  bool      // it is at one
	given   int       // how many it has been given
	left    time.Duration
	done    bool
	failed  error // of reading, which is no fault of the file's content
}

// serve starts a process and gives it files, until it ends.
func (s *scanning) serve(ctx context.Context) error {
	running, kill := context.WithCancel(ctx)
	defer kill()
	cmd := exec.CommandContext(running, s.process.path)
	cmd.Args = s.process.args
	cmd.Env = []string{"GOTRACEBACK=none"}
	cmd.Dir = filepath.VolumeName(s.process.path) + string(filepath.Separator)
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start scan: %w", err)
	}
	s.given, s.left = 0, s.process.time
	err = s.talk(newWire(out, in), kill)
	kill()
	_ = in.Close()
	_ = cmd.Wait() // how it ended is known
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.failed != nil || s.done:
		return s.failed
	case s.given == 0:
		return fmt.Errorf("scan: the process for it ended at once: %w", noEOF(err))
	case s.inside:
		s.lost()
	}
	return nil
}

// talk answers what the process asks for.
func (s *scanning) talk(c *wire, kill func()) error {
	if err := c.sendJSON(msgStart, startMessage{Sparse: s.opts.Sparse, Fetch: s.opts.Fetch}); err != nil {
		return err
	}
	for {
		began := time.Now()
		watch := time.AfterFunc(s.left, kill)
		kind, body, err := c.receive()
		watch.Stop()
		s.left -= time.Since(began)
		if err != nil {
			return err
		}
		if err := s.answer(c, kind, body); err != nil || s.done {
			return err
		}
	}
}

func (s *scanning) answer(c *wire, kind byte, body []byte) error {
	switch kind {
	case msgNext:
		return s.give(c)
	case msgRead:
		return s.read(c, body)
	case msgFound:
		return s.found(body)
	case msgDone:
		if s.done = s.ended && !s.inside; s.done {
			return nil
		}
	case msgFailed:
		return fmt.Errorf("%s", body)
	}
	return fmt.Errorf("a message %q", kind)
}

// give answers with the next file.
func (s *scanning) give(c *wire) error {
	if s.inside {
		return errors.New("another file is asked for before a result")
	}
	if err := s.advance(); err != nil {
		s.failed = err
		return err
	}
	if s.ended {
		return c.send(msgEnd, nil)
	}
	s.waiting, s.inside = false, true
	s.given++
	s.left = timeFor(s.process.time, s.file.Size)
	return c.sendJSON(msgFile, fileMessage{s.file.Path, s.file.Size})
}

// advance goes on to the next file that is to be looked at, if it is not there.
func (s *scanning) advance() error {
	for !s.waiting && !s.ended {
		f, err, ok := s.next()
		switch {
		case err != nil:
			return err
		case !ok:
			s.ended = true
		case f.Known != nil:
			s.file = f
			s.sum.Add(f.Path, *f.Known)
			s.closeFile()
		default:
			s.file, s.waiting = f, true
		}
	}
	return nil
}

// read answers with bytes of the file.
func (s *scanning) read(c *wire, body []byte) error {
	var m readMessage
	if err := json.Unmarshal(body, &m); err != nil || !s.inside || m.Length < 0 || m.Length > maxRead || m.Offset < 0 {
		return errors.New("a read that makes no sense")
	}
	buf := make([]byte, m.Length)
	n, err := s.file.At.ReadAt(buf, m.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = fmt.Errorf("scan %s: %w", s.file.Path, err)
		return s.failed
	}
	return c.send(msgData, buf[:n])
}

// found takes what the process says of the file that it is at.
func (s *scanning) found(body []byte) error {
	var r scan.Result
	if err := json.Unmarshal(body, &r); err != nil || !s.inside || !r.Valid() {
		return errors.New("a result that makes no sense")
	}
	s.inside = false
	s.sum.Add(s.file.Path, r)
	if s.opts.Each != nil {
		s.opts.Each(s.file, r)
	}
	s.closeFile()
	return nil
}

// closeFile is for when the file has been looked at, or nothing will be.
func (s *scanning) closeFile() {
	if s.file.Close != nil {
		s.file.Close()
		s.file.Close = nil
	}
}

// lost makes a finding of the file at which the process has ended.
func (s *scanning) lost() {
	message := "took more memory than it is given, or made the scanner fail"
	if s.left <= 0 {
		message = fmt.Sprintf("took more than %v of work", s.process.time)
	}
	s.inside = false
	lost := scan.Finding{Path: s.file.Path, Rule: "limit-process", Severity: scan.High, Message: message}
	s.sum.Add(s.file.Path, scan.Result{Verdict: scan.Unscannable, Findings: []scan.Finding{lost}})
	s.closeFile()
}
