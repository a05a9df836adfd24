// Package diff compares two models: two versions, or a version and a directory.
//
// It does so at six levels: [Files] by name and digest, configuration by its
// structure ([Change]), [Tensors] by name, type, shape and value, the card by
// field, section and word ([CardChange]), [MetricChange] with what is better, and
// [Trust] by who vouches for what.
//
// [Compare] takes two [Side]s, which say what there is and how to read it, and
// reads little: text files that changed, headers of weights, and of weights only
// what nothing else tells. Which tensors changed in value is told by the digests of files,
// then by the indexes of their chunks, and last by their bytes. An index is what
// whoever made the version says of it, bytes are not; the result says which of
// them it rests on, and [Options.Bytes] believes no index.
//
// Memory does not grow with the weights. Package diff opens no connection and no
// file, and writes none; all that it is given may come from strangers, and
// whoever shows a result escapes what is in it. [Result.Markdown] does.
package diff

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A Side is one of the two things that are compared.
type Side struct {
	// Name is what people call it, such as its reference.
	Name string

	// Files are all that it has, in any order. No two have one path.
	Files []File

	// Config is its ModelPack config; nil if it has none.
	Config []byte

	// Card is its card if that is not the README.md among the files.
	Card []byte

	// Metrics are what was measured.
	Metrics []Metric

	// Trust is what is attached to it. Nil says that nobody looked.
	Trust []Evidence
}

// A File is one file of a side.
type File struct {
	Path   string
	Kind   mediatypes.Kind
	Size   int64         // bytes
	Digest digest.Digest // of its bytes

	// Open opens it for reading parts. It is called any number of times, from
	// several goroutines; what it returns is closed. Nil means that the file
	// cannot be read so: an archive whose members are not known.
	Open func(ctx context.Context) (Reader, error)

	// Local says that reading costs nothing worth counting.
	Local bool
}

// A Reader reads parts of a file, from several goroutines.
type Reader interface {
	io.ReaderAt
	io.Closer

	// Verified tells whether the digest of the version covers what is read.
	Verified() bool

	// Chunks is an index of the file that its digest is bound to, nil without.
	Chunks() *chunk.Index
}

// Levels says what is compared.
type Levels struct{ Files, Config, Tensors, Card, Metrics, Trust bool }

// All is every level.
var All = Levels{true, true, true, true, true, true}

// Options adjusts [Compare]. The zero value compares at every level.
type Options struct {
	// Levels is what to compare. None means all.
	Levels Levels

	// MaxFetch bounds the bytes of tensors that are read from elsewhere to
	// compare them. Zero means [DefaultMaxFetch], negative means none. Tensors
	// beyond it are listed as unknown.
	MaxFetch int64

	// Bytes compares tensors by their bytes although an index tells.
	Bytes bool

	// Values measures by how much changed tensors differ, which reads all of
	// them.
	Values bool

	// Workers bounds the reads at once. Zero means 8.
	Workers int
}

// DefaultMaxFetch is how many bytes of tensors are read unless [Options] say
// otherwise.
const DefaultMaxFetch = 1 << 30

// A Result is how two sides differ. Levels that were not asked for are nil.
type Result struct {
	From string `json:"from"`
	To   string `json:"to"`

	// Different says whether anything differs at the levels that were compared.
	Different bool `json:"different"`

	Files   *Files         `json:"files,omitempty"`
	Config  []Change       `json:"config,omitzero"`
	Tensors *Tensors       `json:"tensors,omitempty"`
	Card    []CardChange   `json:"card,omitzero"`
	Metrics []MetricChange `json:"metrics,omitzero"`
	Trust   *Trust         `json:"trust,omitempty"`

	// Problems are files that are not what they say, and what was left out.
	Problems []string `json:"problems,omitempty"`
}

// Compare tells how b differs from a. Files that are not what they say are
// problems of the result; the error is that of ctx or of reading.
func Compare(ctx context.Context, a, b Side, opts Options) (*Result, error) {
	if opts.Levels == (Levels{}) {
		opts.Levels = All
	}
	if opts.MaxFetch == 0 {
		opts.MaxFetch = DefaultMaxFetch
	}
	if opts.Workers <= 0 {
		opts.Workers = 8
	}
	c := &comparer{a: a, b: b, opts: opts, res: &Result{From: a.Name, To: b.Name}}
	if err := c.run(ctx); err != nil {
		return nil, fmt.Errorf("compare %s with %s: %w", a.Name, b.Name, err)
	}
	c.res.Different = c.res.differs()
	return c.res, nil
}

// comparer is one call of Compare.
type comparer struct {
	a, b Side
	opts Options
	res  *Result
}

func (c *comparer) run(ctx context.Context) error {
	files, changed := compareFiles(c.a.Files, c.b.Files)
	texts, err := c.readTexts(ctx, files, changed)
	if err != nil {
		return err
	}
	l := c.opts.Levels
	if l.Files {
		texts.intoFiles(files)
		c.res.Files = files
	}
	if l.Config {
		c.res.Config = []Change{}
		if err := c.configs(ctx, texts); err != nil {
			return err
		}
	}
	if l.Card {
		if err := c.cards(ctx, texts); err != nil {
			return err
		}
	}
	if l.Tensors {
		if c.res.Tensors, err = c.tensors(ctx); err != nil {
			return err
		}
	}
	if l.Metrics {
		c.res.Metrics = compareMetrics(c.a.Metrics, c.b.Metrics)
	}
	if l.Trust {
		c.res.Trust = compareTrust(c.a.Trust, c.b.Trust)
	}
	return nil
}

func (c *comparer) problem(format string, args ...any) {
	c.res.Problems = append(c.res.Problems, fmt.Sprintf(format, args...))
}

// differs tells whether a result has anything to show. What nobody could compare
// is taken for different.
func (r *Result) differs() bool {
	f, t := r.Files, r.Tensors
	return f != nil && len(f.Added)+len(f.Removed)+len(f.Changed)+len(f.Renamed) > 0 ||
		t != nil && t.differs() ||
		len(r.Config)+len(r.Card) > 0 ||
		metricsDiffer(r.Metrics) ||
		r.Trust != nil && len(r.Trust.Gained)+len(r.Trust.Lost)+len(r.Trust.Changed) > 0
}
