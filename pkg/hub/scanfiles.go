package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format/scan"
)

// A localScanFile is a file on this machine that is looked at.
type localScanFile struct {
	Path string // as findings tell it
	Name string // where it is, absolute
	Size int64

	// Odd is what it is that is no file, and so not looked at; "" for a file.
	Odd string
}

// scanFiles lists a file, or the files below a directory.
func scanFiles(name string) ([]localScanFile, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: scan %s: neither a file nor a directory", ErrUsage, name)
		}
		return []localScanFile{{Path: filepath.Base(abs), Name: abs, Size: info.Size()}}, nil
	}
	var files []localScanFile
	err = filepath.WalkDir(abs, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if at != abs && e.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a link to nowhere: nobody can load it
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(abs, at)
		if err != nil {
			return err
		}
		f := localScanFile{Path: filepath.ToSlash(rel), Name: at, Size: info.Size()}
		switch {
		case info.IsDir():
			f.Odd = "a link to a directory"
		case !info.Mode().IsRegular():
			f.Odd = "no file: " + info.Mode().Type().String()
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// A localLook is how files on this machine are looked at.
type localLook struct {
	ScanOptions
	how    scan.Options
	memory *scanMemory
}

// scanLocal looks at files on this machine, and has the other scanners do so.
func scanLocal(ctx context.Context, files []localScanFile, res *ScanResult, opts localLook) error {
	odd := slices.DeleteFunc(slices.Clone(files), func(f localScanFile) bool { return f.Odd == "" })
	files = slices.DeleteFunc(slices.Clone(files), func(f localScanFile) bool { return f.Odd != "" })
	report, err := opts.run(ctx, openLocal(files, opts.memory), opts.how)
	if err != nil {
		return err
	}
	for _, f := range odd {
		report.Verdict = report.Verdict.Worse(scan.Unscannable)
		report.Findings = append(report.Findings, scan.Finding{Path: f.Path, Rule: "not-read", Severity: scan.Medium, Message: "is " + f.Odd})
	}
	for _, s := range opts.Scanners {
		verdict, findings := s.ask(ctx, files)
		if err := ctx.Err(); err != nil {
			return err
		}
		report.Verdict = report.Verdict.Worse(verdict)
		report.Findings = append(report.Findings, findings...)
	}
	res.Report = *report
	return nil
}

// slowRate is how many bytes of a file in a second are taken for slow work and
// not for a trap.
const slowRate = 50 << 20

// timeFor is how long one of the files may take: all of the largest may have to
// be read, for its checksum.
func timeFor(files []localScanFile) time.Duration {
	limit := scan.DefaultTimeout
	for _, f := range files {
		limit = max(limit, scan.DefaultTimeout+time.Duration(f.Size/slowRate)*time.Second)
	}
	return limit
}

// openLocal opens one file after the other.
func openLocal(files []localScanFile, m *scanMemory) iter.Seq2[scan.File, error] {
	return func(yield func(scan.File, error) bool) {
		for _, f := range files {
			file, err := os.Open(f.Name)
			if err != nil {
				yield(scan.File{}, err)
				return
			}
			more := yield(m.file(scan.File{Path: f.Path, Size: f.Size, At: file}), nil)
			_ = file.Close() // only read
			if !more {
				return
			}
		}
	}
}

// opensAhead is how many files of a registry are opened, and their beginnings
// fetched, before they are asked for: the way there is what takes time.
const opensAhead = 6

// openAhead opens the parts one after the other, some of them before it is their
// turn, but for those that the memory knows. opened is told of each when it is
// its turn.
func openAhead(ctx context.Context, parts []artifact.Part, m *scanMemory, opened func(*artifact.Reader)) iter.Seq2[scan.File, error] {
	return func(yield func(scan.File, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		waiting := make([]chan *opening, 0, len(parts))
		defer func() {
			cancel()
			for _, c := range waiting {
				(<-c).close()
			}
		}()
		next := 0
		for _, p := range parts {
			for next < len(parts) && len(waiting) < opensAhead {
				waiting = append(waiting, open(ctx, parts[next], m))
				next++
			}
			o := <-waiting[0]
			waiting = waiting[1:]
			f := scan.File{Path: p.Path, Size: p.Size, At: o.reader, Known: o.known}
			if o.reader != nil && o.err == nil {
				opened(o.reader)
				f.Key = bytesOfPart(p, o.reader.Proof())
			}
			more := yield(f, o.err)
			o.close()
			if !more {
				return
			}
		}
	}
}

// An opening is a part that is being opened, or has been.
type opening struct {
	reader *artifact.Reader
	known  *scan.Result // nil for one that is to be looked at
	err    error
}

// bytesOfPart names the bytes of a part that proof verifies; "" if nothing does.
func bytesOfPart(p artifact.Part, proof digest.Digest) string {
	if proof == "" {
		return ""
	}
	return fmt.Sprintf("%s by %s", p.Digest, proof)
}

// open opens a part and reads its first byte, which brings the first piece. One
// that the memory knows is not opened.
func open(ctx context.Context, p artifact.Part, m *scanMemory) chan *opening {
	c := make(chan *opening, 1)
	if known := m.known(scan.File{Path: p.Path, Size: p.Size}, bytesOfPart(p, p.Proof)); known != nil {
		c <- &opening{known: known}
		return c
	}
	go func() {
		o := &opening{}
		if o.reader, o.err = p.Open(ctx); o.err == nil && p.Size > 0 {
			if _, err := o.reader.ReadAt(make([]byte, 1), 0); err != nil && !errors.Is(err, io.EOF) {
				o.err = err
			}
		}
		c <- o
	}()
	return c
}

func (o *opening) close() {
	if o.reader != nil {
		_ = o.reader.Close() // only read
	}
}
