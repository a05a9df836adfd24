package diff

import (
	"context"
	"math"
	"path"
	"slices"
	"sync"

	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/format"
)

// Tensors is how the weights changed. Lists are in the order of the files.
type Tensors struct {
	From TensorTotals `json:"from"`
	To   TensorTotals `json:"to"`

	// Identical counts those with the name, type, shape and value of one on the
	// other side.
	Identical int `json:"identical"`

	Added    []TensorInfo   `json:"added"`
	Removed  []TensorInfo   `json:"removed"`
	Changed  []TensorChange `json:"changed"`  // in value alone
	Reshaped []TensorChange `json:"reshaped"` // and perhaps of another type too
	Retyped  []TensorChange `json:"retyped"`
	Unknown  []TensorChange `json:"unknown"` // whether they changed in value

	// Moved are in another file than before, whatever else happened to them.
	Moved []TensorChange `json:"moved"`

	// Groups sum up the lists but for Moved.
	Groups []Group `json:"groups"`

	// Evidence counts what told that values are the same, or are not.
	Evidence EvidenceCounts `json:"evidence"`

	// ReadBytes is how many bytes of tensors were read on both sides.
	ReadBytes int64 `json:"readBytes"`

	// Verified says that the digests of the versions cover all headers and
	// bytes that were read.
	Verified bool `json:"verified"`
}

// TensorTotals sum up one side.
type TensorTotals struct {
	Tensors  int              `json:"tensors"`
	Elements int64            `json:"elements"`
	Size     int64            `json:"size"`   // bytes
	DTypes   map[string]int64 `json:"dtypes"` // tensors by type
}

// EvidenceCounts counts tensors by what told whether they changed.
type EvidenceCounts struct {
	Digest int `json:"digest"` // they are in files of the same digest
	Index  int `json:"index"`  // the chunk indexes of their files
	Bytes  int `json:"bytes"`  // the bytes themselves
}

// A TensorInfo is one tensor.
type TensorInfo struct {
	Name  string  `json:"name"`
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
	Bytes int64   `json:"bytes"` // as stored; -1 if the header does not tell
	File  string  `json:"file"`
}

// A TensorChange is one tensor on both sides.
type TensorChange struct {
	Name string     `json:"name"`
	From TensorInfo `json:"from"`
	To   TensorInfo `json:"to"`

	// Evidence is what told: "index", "bytes" or, for what has another length,
	// "header"; "" for a tensor of which nothing did.
	Evidence string `json:"evidence,omitempty"`

	// Values is by how much it changed, if that was asked for and the types
	// can be read.
	Values *Values `json:"values,omitempty"`
}

// What tells whether a tensor changed.
const (
	byDigest = "digest"
	byIndex  = "index"
	byBytes  = "bytes"
	byHeader = "header"
)

func (t *Tensors) differs() bool {
	return len(t.Added)+len(t.Removed)+len(t.Changed)+len(t.Reshaped)+len(t.Retyped)+len(t.Unknown)+len(t.Moved) > 0
}

// weights are the tensors of one side, and the indexes of the files they are in.
type weights struct {
	files    map[string]*File
	tensors  []format.Tensor
	problems []format.Problem

	mu       sync.Mutex
	indexes  map[string]*chunk.Index
	doubtful bool // something was read that no digest covers
}

// A tensorPair is one tensor on both sides, and what is known of it.
type tensorPair struct {
	from, to format.Tensor
	verdict  verdict
	evidence string
	doubt    []span // what is to be read to tell
	values   *Values
}

type verdict int

const (
	unknown verdict = iota
	same
	changed
	reshaped
	retyped
)

func (c *comparer) tensors(ctx context.Context) (*Tensors, error) {
	a, b, err := c.readHeaders(ctx)
	if err != nil {
		return nil, err
	}
	pairs, removed, added := match(a.tensors, b.tensors)
	c.judge(a, b, pairs)
	reader := newByteReader(c.opts, a, b)
	if err := reader.settle(ctx, pairs); err != nil {
		return nil, err
	}
	if c.opts.Values {
		if err := reader.measure(ctx, pairs); err != nil {
			return nil, err
		}
	}
	for _, p := range reader.problems {
		c.problem("%s", p)
	}
	t := summary(pairs, removed, added)
	t.From, t.To = totals(a.tensors), totals(b.tensors)
	t.ReadBytes, t.Verified = reader.read.Load(), !a.doubtful && !b.doubtful
	return t, nil
}

// readHeaders lists the tensors of both sides. A header that both have is read
// once.
func (c *comparer) readHeaders(ctx context.Context) (a, b *weights, err error) {
	a, err = listTensors(ctx, c.a.Files)
	if err != nil {
		return nil, nil, err
	}
	known := map[string][]format.Tensor{} // by digest
	from := map[string]string{}           // the one of several files of a digest that they are of
	for _, t := range a.tensors {
		d := a.files[t.File].Digest.String()
		if first, ok := from[d]; ok && first != t.File {
			continue
		}
		from[d] = t.File
		known[d] = append(known[d], t)
	}
	var unread, shared []File
	for _, f := range c.b.Files {
		if _, ok := known[f.Digest.String()]; ok && path.Ext(f.Path) != ".onnx" { // which may name other files
			shared = append(shared, f)
		} else {
			unread = append(unread, f)
		}
	}
	b, err = listTensors(ctx, unread)
	if err != nil {
		return nil, nil, err
	}
	for i, f := range shared {
		b.files[f.Path] = &shared[i]
		for _, t := range known[f.Digest.String()] {
			t.File = f.Path
			b.tensors = append(b.tensors, t)
		}
	}
	for _, side := range []struct {
		name string
		w    *weights
	}{{c.a.Name, a}, {c.b.Name, b}} {
		for _, p := range side.w.problems {
			c.problem("%s of %s: %v", p.Path, side.name, p.Err)
		}
	}
	return a, b, nil
}

func listTensors(ctx context.Context, files []File) (*weights, error) {
	w := &weights{files: byPath(files), indexes: map[string]*chunk.Index{}}
	var list []format.File
	for _, f := range files {
		if f.Open == nil {
			continue
		}
		list = append(list, format.File{Path: f.Path, Size: f.Size, Open: func(ctx context.Context) (format.ReaderAtCloser, error) {
			return w.open(ctx, f)
		}})
	}
	var err error
	w.tensors, w.problems, err = format.AllTensors(ctx, list)
	if err != nil {
		return nil, err
	}
	w.tensors = slices.DeleteFunc(w.tensors, func(t format.Tensor) bool {
		return w.files[t.File] == nil // ONNX that names a file which is not there
	})
	return w, nil
}

// open opens a file and keeps the index of it.
func (w *weights) open(ctx context.Context, f File) (Reader, error) {
	r, err := f.Open(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubtful = w.doubtful || !r.Verified()
	if x := r.Chunks(); x != nil && x.Size() == f.Size {
		w.indexes[f.Path] = x
	}
	return r, nil
}

// match pairs tensors of the same name. Where a name is there more than once,
// since a model is there in several formats or has several parts, those of the
// same file go together first, then of the same format and directory.
func match(a, b []format.Tensor) (pairs []*tensorPair, removed, added []format.Tensor) {
	byName := map[string][]int{}
	for i, t := range a {
		byName[t.Name] = append(byName[t.Name], i)
	}
	taken := make([]bool, len(a))
	partner := make([]int, len(b))
	for i := range partner {
		partner[i] = -1
	}
	for _, alike := range []func(x, y format.Tensor) bool{
		func(x, y format.Tensor) bool { return x.File == y.File },
		func(x, y format.Tensor) bool {
			return path.Dir(x.File) == path.Dir(y.File) && path.Ext(x.File) == path.Ext(y.File)
		},
		func(x, y format.Tensor) bool { return path.Ext(x.File) == path.Ext(y.File) },
		func(_, _ format.Tensor) bool { return true },
	} {
		for j, t := range b {
			if partner[j] >= 0 {
				continue
			}
			list := byName[t.Name]
			if i := slices.IndexFunc(list, func(i int) bool { return !taken[i] && alike(a[i], t) }); i >= 0 {
				partner[j] = list[i]
				taken[list[i]] = true
			}
		}
	}
	for j, i := range partner {
		if i < 0 {
			added = append(added, b[j])
		} else {
			pairs = append(pairs, &tensorPair{from: a[i], to: b[j]})
		}
	}
	for i, t := range a {
		if !taken[i] {
			removed = append(removed, t)
		}
	}
	return pairs, removed, added
}

// judge tells what can be told without bytes of tensors.
func (c *comparer) judge(a, b *weights, pairs []*tensorPair) {
	trusted := c.indexes(a, b, pairs)
	for _, p := range pairs {
		from, to := a.files[p.from.File], b.files[p.to.File]
		switch {
		case !slices.Equal(p.from.Shape, p.to.Shape):
			p.verdict = reshaped
		case p.from.DType != p.to.DType:
			p.verdict = retyped
		case from.Digest == to.Digest && p.from.Offset == p.to.Offset && p.from.Bytes == p.to.Bytes:
			p.verdict, p.evidence = same, byDigest
		case p.from.Offset < 0 || p.to.Offset < 0 || p.from.Bytes < 0 || p.to.Bytes < 0:
			// Nobody says where it is.
		case p.from.Bytes != p.to.Bytes:
			p.verdict, p.evidence = changed, byHeader
		case p.from.Bytes == 0:
			p.verdict, p.evidence = same, byHeader
		default:
			x, y := a.indexes[p.from.File], b.indexes[p.to.File]
			if c.opts.Bytes || !trusted[filePair{p.from.File, p.to.File}] {
				x, y = nil, nil
			}
			p.byIndexes(x, y)
		}
	}
}

// byIndexes tells what the indexes of both files say, and what must be read
// because they do not.
func (p *tensorPair) byIndexes(x, y *chunk.Index) {
	whole := span{0, p.from.Bytes}
	if x == nil || y == nil {
		p.doubt = []span{whole}
		return
	}
	differs, doubt := compareChunks(x, y, p.from.Offset, p.to.Offset, p.from.Bytes)
	switch {
	case differs:
		p.verdict, p.evidence = changed, byIndex
	case len(doubt) > 0:
		p.doubt = doubt
	default:
		p.verdict, p.evidence = same, byIndex
	}
}

// indexes tells of which files the indexes may be believed together.
func (c *comparer) indexes(a, b *weights, pairs []*tensorPair) map[filePair]bool {
	ok := map[filePair]bool{}
	for _, p := range pairs {
		key := filePair{p.from.File, p.to.File}
		if _, done := ok[key]; done {
			continue
		}
		x, y := a.indexes[key.from], b.indexes[key.to]
		ok[key] = x == nil || y == nil || !contradict(x, y)
		if !ok[key] {
			c.problem("the chunk indexes of %s and %s cannot both be true: the bytes are compared", key.from, key.to)
		}
	}
	return ok
}

type filePair struct{ from, to string }

func totals(tensors []format.Tensor) TensorTotals {
	t := TensorTotals{Tensors: len(tensors), DTypes: map[string]int64{}}
	for _, x := range tensors {
		t.Elements = sum(t.Elements, elements(x.Shape))
		t.Size = sum(t.Size, max(x.Bytes, 0))
		t.DTypes[x.DType]++
	}
	return t
}

// elements is how many a shape has. Headers may claim more than there are numbers
// for, which then is the largest one.
func elements(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		switch {
		case d <= 0:
			return 0
		case n > math.MaxInt64/d:
			return math.MaxInt64
		}
		n *= d
	}
	return n
}

func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func tensorInfo(t format.Tensor) TensorInfo {
	if t.Shape == nil {
		t.Shape = []int64{}
	}
	return TensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape, Bytes: t.Bytes, File: t.File}
}

// summary sorts the pairs into lists, and the lists into groups.
func summary(pairs []*tensorPair, removed, added []format.Tensor) *Tensors {
	t := &Tensors{
		Added: []TensorInfo{}, Removed: []TensorInfo{}, Changed: []TensorChange{}, Reshaped: []TensorChange{},
		Retyped: []TensorChange{}, Unknown: []TensorChange{}, Moved: []TensorChange{}, Groups: []Group{},
	}
	for _, p := range pairs {
		ch := TensorChange{Name: p.to.Name, From: tensorInfo(p.from), To: tensorInfo(p.to), Evidence: p.evidence, Values: p.values}
		switch p.evidence {
		case byDigest:
			t.Evidence.Digest++
		case byIndex:
			t.Evidence.Index++
		case byBytes:
			t.Evidence.Bytes++
		}
		if p.from.File != p.to.File {
			t.Moved = append(t.Moved, ch)
		}
		switch p.verdict {
		case same:
			t.Identical++
		case changed:
			t.Changed = append(t.Changed, ch)
		case reshaped:
			t.Reshaped = append(t.Reshaped, ch)
		case retyped:
			t.Retyped = append(t.Retyped, ch)
		default:
			t.Unknown = append(t.Unknown, ch)
		}
	}
	for _, x := range removed {
		t.Removed = append(t.Removed, tensorInfo(x))
	}
	for _, x := range added {
		t.Added = append(t.Added, tensorInfo(x))
	}
	t.group()
	return t
}
