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

// scanLocal looks at files on this machine, and has the other scanners do so.
func scanLocal(ctx context.Context, files []localScanFile, res *ScanResult, opts ScanOptions) error {
	odd := slices.DeleteFunc(slices.Clone(files), func(f localScanFile) bool { return f.Odd == "" })
	files = slices.DeleteFunc(slices.Clone(files), func(f localScanFile) bool { return f.Odd != "" })
	report, err := opts.run(ctx, openLocal(files), scan.Options{Timeout: timeFor(files)})
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
func openLocal(files []localScanFile) iter.Seq2[scan.File, error] {
	return func(yield func(scan.File, error) bool) {
		for _, f := range files {
			if !yieldLocal(f, yield) {
				return
			}
		}
	}
}

func yieldLocal(f localScanFile, yield func(scan.File, error) bool) bool {
	file, err := os.Open(f.Name)
	if err != nil {
		return yield(scan.File{}, err)
	}
	defer file.Close() //nolint:errcheck // only read
	return yield(scan.File{Path: f.Path, Size: f.Size, At: file}, nil)
}

// opensAhead is how many files of a registry are opened, and their beginnings
// fetched, before they are asked for: the way there is what takes time.
const opensAhead = 6

// openAhead opens the parts one after the other, some of them before it is their
// turn. opened is told of each when it is its turn.
func openAhead(ctx context.Context, parts []artifact.Part, opened func(*artifact.Reader)) iter.Seq2[scan.File, error] {
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
				waiting = append(waiting, open(ctx, parts[next]))
				next++
			}
			o := <-waiting[0]
			waiting = waiting[1:]
			if o.err == nil {
				opened(o.reader)
			}
			more := yield(scan.File{Path: p.Path, Size: p.Size, At: o.reader}, o.err)
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
	err    error
}

// open opens a part and reads its first byte, which brings the first piece.
func open(ctx context.Context, p artifact.Part) chan *opening {
	c := make(chan *opening, 1)
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
