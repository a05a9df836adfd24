package hub

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"slices"

	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/store"
)

// A PushScan is what a look at the files of a push has found.
type PushScan struct {
	Verdict  scan.Verdict   `json:"verdict"`
	Findings []scan.Finding `json:"findings"`

	// Remembered is how many files were not read, since the store knows what was
	// found in them and they have not changed.
	Remembered int `json:"remembered"`
}

// A gate looks at files before they are sent, and refuses what is dangerous. It
// reads headers, small files and what is code: of weights that are only numbers
// next to nothing.
type gate struct {
	op, name string
	allow    bool // what would be refused
	far      bool // the files are elsewhere, and each read is a request
	store    *store.Store
	anew     bool // what the store knows is found again
	run      ScanRunner
	found    *PushScan
}

// newGate returns what looks at the files of a push or an import; nil if nobody
// is to.
func (h *Hub) newGate(op, name string, opts PushOptions) *gate {
	if opts.NoScan {
		return nil
	}
	return &gate{op: op, name: name, allow: opts.AllowUnsafe, far: op == "import", store: h.opts.Store, anew: opts.Rescan}
}

// hook is the function to be asked; nil for no gate.
func (g *gate) hook() func(context.Context, []format.File) error {
	if g == nil {
		return nil
	}
	return g.examine
}

// report is what was found; nil for no gate.
func (g *gate) report() *PushScan {
	if g == nil {
		return nil
	}
	return g.found
}

// examine is what [artifact.PackOptions] asks.
func (g *gate) examine(ctx context.Context, files []format.File) error {
	opts := scan.Options{Sparse: true, Timeout: remoteTimeout, Fetch: math.MaxInt64}
	var m *scanMemory
	if g.far {
		opts.Fetch = maxFarFetch
	} else {
		opts.Workers = runtime.GOMAXPROCS(0)
		m = remember(scanScope{g.store, dirScope(g.name), g.anew}, &opts)
	}
	report, err := ScanOptions{Run: g.run}.run(ctx, g.open(ctx, files, m), opts)
	remembered := m.end()
	if err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	g.found = &PushScan{Verdict: report.Verdict, Findings: report.Findings, Remembered: remembered}
	if g.allow {
		return nil
	}
	refused := slices.DeleteFunc(slices.Clone(report.Findings), func(f scan.Finding) bool { return !isRefused(f.Rule) })
	if len(refused) == 0 {
		return nil
	}
	worstFirst(refused)
	return &ScanError{Op: g.op, Name: g.name, Verdict: report.Verdict, Findings: refused}
}

// maxFarFetch is how much of a file that is elsewhere is read to unpack or to
// search it: an import then reads it a second time.
const maxFarFetch = 1 << 30

// runNothing are the rules of what cannot be followed and does nothing by itself
// all the same: numbers, templates, which are rendered in a sandbox, and
// configurations that no loader can read, or of which each name was looked at.
var runNothing = []string{"safetensors-malformed", "gguf-malformed", "onnx-malformed", "chat-template-unread", "json-malformed"}

// isRefused tells findings that a push stops at: what is dangerous, and what
// cannot be followed, since loaders may follow it further.
func isRefused(rule string) bool {
	rules := scan.Rules()
	i := slices.IndexFunc(rules, func(r scan.Rule) bool { return r.ID == rule })
	switch {
	case i < 0:
		return true
	case rules[i].Verdict == scan.Unscannable:
		return !slices.Contains(runNothing, rule)
	}
	return rules[i].Verdict == scan.Dangerous
}

// notes tell in a line what was found and not refused.
func (g *gate) notes() []string {
	if g == nil || g.found == nil || g.found.Verdict == scan.Safe {
		return nil
	}
	worst := slices.Clone(g.found.Findings)
	worstFirst(worst)
	note := fmt.Sprintf("scan: verdict %s", g.found.Verdict)
	if len(worst) > 0 {
		note += fmt.Sprintf(": %q %s (%s)", worst[0].Path, worst[0].Message, worst[0].Rule)
	}
	if n := len(worst) - 1; n > 0 {
		note += fmt.Sprintf(", and %d more", n)
	}
	return []string{note + "; \"modelreg scan\" tells all"}
}

// open opens one file after the other.
func (g *gate) open(ctx context.Context, files []format.File, m *scanMemory) iter.Seq2[scan.File, error] {
	return func(yield func(scan.File, error) bool) {
		for _, f := range files {
			r, err := f.Open(ctx)
			if err != nil {
				yield(scan.File{}, err)
				return
			}
			var at io.ReaderAt = r
			if g.far {
				at = &pieceReader{at: r, size: f.Size}
			}
			done := func() { _ = r.Close() } // only read
			if !yield(m.file(scan.File{Path: f.Path, Size: f.Size, At: at, Close: done}), nil) {
				return
			}
		}
	}
}

// pieceBytes is what a [pieceReader] reads at once.
const pieceBytes = 256 << 10

// A pieceReader reads more than is asked for, and keeps it for the next read. It
// is for one goroutine.
type pieceReader struct {
	at   io.ReaderAt
	size int64
	off  int64 // of piece
	buf  []byte
}

// ReadAt implements [io.ReaderAt].
func (r *pieceReader) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > pieceBytes {
		return r.at.ReadAt(p, off)
	}
	if off < r.off || off+int64(len(p)) > r.off+int64(len(r.buf)) {
		buf := make([]byte, max(min(pieceBytes, r.size-off), 0))
		if n, err := r.at.ReadAt(buf, off); n < len(buf) && err != nil {
			return 0, err
		}
		r.off, r.buf = off, buf
	}
	n := copy(p, r.buf[min(off-r.off, int64(len(r.buf))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
