package hub

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/store"
)

// A scanMemory knows what was found in bytes that were looked at before, by those
// whose [scan.File] has them named as its Key. Nil knows nothing.
//
// A result is kept by all that decides it: what names the bytes, the name of the
// file, which rules look at, how it is looked at, and the rules themselves.
// Bytes that nothing names, such as those that a registry gives and no digest
// verifies, are always looked at.
type scanMemory struct {
	results *store.Results
	anew    bool
	how     string
	used    int // results that were taken
}

// A scanScope is where results are kept, and for what.
type scanScope struct {
	store *store.Store // nil for none
	name  string
	anew  bool // nothing is taken for known
}

// remember has a scan use what is known in a scope, and keep what is new.
func remember(scope scanScope, opts *scan.Options) *scanMemory {
	if scope.store == nil {
		return nil
	}
	results, err := scope.store.Results(fmt.Sprintf("scan %d", scan.Analysis), scope.name)
	if err != nil {
		return nil // others could have written to it
	}
	m := &scanMemory{results: results, anew: scope.anew, how: fmt.Sprintf("sparse=%t fetch=%d", opts.Sparse, opts.Fetch)}
	opts.Each = m.record
	return m
}

func (m *scanMemory) key(f scan.File, bytes string) string {
	return fmt.Sprintf("%s %s %d %q", m.how, bytes, f.Size, f.Path)
}

// known returns what was found in the bytes under the file's name; nil if that is
// not known.
func (m *scanMemory) known(f scan.File, bytes string) *scan.Result {
	if m == nil || m.anew || bytes == "" {
		return nil
	}
	var r scan.Result
	if !m.results.Lookup(m.key(f, bytes), &r) || !r.Valid() || !r.Lasting() {
		return nil
	}
	m.used++
	return &r
}

// record keeps what was found in a file whose bytes are named.
func (m *scanMemory) record(f scan.File, r scan.Result) {
	if f.Key != "" && r.Lasting() {
		m.results.Record(m.key(f, f.Key), r)
	}
}

// end writes down what is new, and returns how many files were not looked at.
func (m *scanMemory) end() int {
	if m == nil {
		return 0
	}
	_ = m.results.Save() // it saves work only
	return m.used
}

// file makes a file on this machine ready to be looked at, unless it is known.
func (m *scanMemory) file(f scan.File) scan.File {
	f.Key = bytesOf(f.At)
	f.Known = m.known(f, f.Key)
	return f
}

// bytesOf names the bytes of an open file as the digest cache does; "" if they
// could change without another name, or it is no file.
func bytesOf(at any) string {
	f, ok := at.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return ""
	}
	now := time.Now()
	fi, err := f.Stat()
	if err != nil || !store.FileSettled(fi, now) {
		return ""
	}
	return store.FileKey(fi)
}

// dirScope is the scope of a directory, or a file, on this machine.
func dirScope(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	return "dir:" + name
}
