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
	s := &scanning{process: p, opts: opts, next: next, report: &scan.Report{Verdict: scan.Safe, Findings: []scan.Finding{}}}
	for !s.done {
		if err := s.serve(ctx); err != nil {
			return nil, err
		}
	}
	return s.report, nil
}

// A scanning is the side that has the files.
type scanning struct {
	process scanProcess
	opts    scan.Options
	next    func() (scan.File, error, bool)
	report  *scan.Report

	file   scan.File // at which the process is
	inside bool      // it is at one
	given  int       // how many it has been given
	left   time.Duration
	done   bool
	failed error // of reading, which is no fault of the file's content
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
	if err := c.sendJSON(msgStart, startMessage{Sparse: s.opts.Sparse}); err != nil {
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
	case msgFound, msgDone:
		return s.found(kind, body)
	case msgFailed:
		return fmt.Errorf("%s", body)
	}
	return fmt.Errorf("a message %q", kind)
}

// give answers with the next file.
func (s *scanning) give(c *wire) error {
	f, err, ok := s.next()
	switch {
	case err != nil:
		s.failed = err
		return err
	case !ok:
		return c.send(msgEnd, nil)
	}
	s.file, s.inside = f, true
	s.given++
	s.left = s.process.time + time.Duration(f.Size/workRate)*time.Second
	return c.sendJSON(msgFile, fileMessage{f.Path, f.Size})
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

// found takes what the process says of a file, or of all of them.
func (s *scanning) found(kind byte, body []byte) error {
	var r scan.Report
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	if kind == msgFound {
		s.report.Files++
		s.inside = false
	}
	s.report.Verdict = s.report.Verdict.Worse(r.Verdict)
	s.report.Findings = append(s.report.Findings, r.Findings...)
	s.done = kind == msgDone
	return nil
}

// lost makes a finding of the file at which the process has ended.
func (s *scanning) lost() {
	message := "took more memory than it is given, or made the scanner fail"
	if s.left <= 0 {
		message = fmt.Sprintf("took more than %v of work", s.process.time)
	}
	s.inside = false
	s.report.Files++
	s.report.Verdict = s.report.Verdict.Worse(scan.Unscannable)
	s.report.Findings = append(s.report.Findings, scan.Finding{Path: s.file.Path, Rule: "limit-process", Severity: scan.High, Message: message})
}
