package format

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// maxOpen is how many files are read at once: enough to hide the latency of a
// registry.
const maxOpen = 4

// Describe reads the headers and configuration of files and joins what they
// say. A file that does not parse, or cannot be read in parts
// (errors.ErrUnsupported), is listed in [Model.Problems]; the error is that of
// ctx or of opening or reading a file.
//
// A model often comes in several representations: safetensors beside PyTorch,
// or one GGUF for each quantisation. Parameters and DTypes count one of them,
// of the files highest in the tree: safetensors before GGUF, PyTorch, ONNX and
// NumPy; a file of a usual name ("model", "adapter_model") before others; of
// several GGUF files the one that llama.cpp would take, Q4_K_M, then Q8_0, then
// the first. For a diffusers pipeline it is the sum over its components. Where
// that leaves a choice, or a file of the representation is missing or
// malformed, both are left at zero.
func Describe(ctx context.Context, files []File) (*Model, error) {
	d := description{files: make(map[string]File, len(files)), model: &Model{}}
	for _, f := range files {
		d.files[f.Path] = f
	}
	var err error
	if d.weights, err = readWeights(ctx, files); err != nil {
		return nil, err
	}
	if err := d.readConfigs(ctx); err != nil {
		return nil, err
	}
	sets, err := d.sets(ctx)
	if err != nil {
		return nil, err
	}
	d.external()
	d.describe(sets)
	slices.SortStableFunc(d.model.Problems, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	return d.model, nil
}

// A description is a model that is being described.
type description struct {
	files   map[string]File
	weights []weights
	configs map[string]object
	model   *Model
}

// weights are what one file of weights says.
type weights struct {
	file     File
	format   string
	elements map[string]int64 // by data type
	packed   int64            // elements that hold several parameters each
	extra    int64            // elements of what unpacks them
	header   *header          // nil if there is no reader, or it found the file malformed
	err      error            // that it is malformed
}

// readWeights reads the headers of all weights among files.
func readWeights(ctx context.Context, files []File) ([]weights, error) {
	var all []weights
	for _, f := range files {
		if format := formatOf(f); format != "" {
			all = append(all, weights{file: f, format: format})
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxOpen)
	for i := range all {
		group.Go(func() error { return all[i].read(ctx) })
	}
	return all, group.Wait()
}

func (w *weights) read(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	read := readerOf(w.file)
	if read == nil {
		return nil
	}
	w.elements = make(map[string]int64)
	h, err := visitFile(ctx, w.file, read, func(t Tensor) error {
		n := t.elements()
		w.elements[t.DType] += n
		switch {
		case t.DType == "I32" && strings.HasSuffix(t.Name, ".qweight"):
			w.packed += n
		case hasAnySuffix(t.Name, ".qzeros", ".scales", ".g_idx"):
			w.extra += n
		}
		return nil
	})
	if isProblem(err) {
		w.err = err
		return nil
	}
	if err != nil {
		return fmt.Errorf("describe %s: %w", w.file.Path, err)
	}
	w.header = h
	return nil
}

// isProblem tells errors that are about one file from those that are about all.
func isProblem(err error) bool {
	return errors.Is(err, ErrMalformed) || errors.Is(err, errors.ErrUnsupported)
}

func hasAnySuffix(s string, suffixes ...string) bool {
	return slices.ContainsFunc(suffixes, func(suffix string) bool { return strings.HasSuffix(s, suffix) })
}

// configNames are the files whose content is looked at.
var configNames = []string{"config.json", "adapter_config.json", "tokenizer_config.json", "model_index.json"}

// readConfigs reads the configuration in the root of the model.
func (d *description) readConfigs(ctx context.Context) error {
	d.configs = make(map[string]object)
	for _, name := range configNames {
		f, ok := d.files[name]
		if !ok {
			continue
		}
		o, err := readObject(ctx, f)
		if err := d.report(name, err); err != nil {
			return err
		}
		d.configs[name] = o
	}
	return nil
}

// report notes a malformed file and returns any other error.
func (d *description) report(path string, err error) error {
	if errors.Is(err, ErrMalformed) {
		d.problem(path, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	return nil
}

func (d *description) problem(path string, err error) {
	d.model.Problems = append(d.model.Problems, Problem{Path: path, Err: err})
}

// external checks that the data that ONNX models keep in other files is there.
func (d *description) external() {
	for _, w := range d.weights {
		if w.err != nil {
			d.problem(w.file.Path, w.err)
		}
		if w.header == nil {
			continue
		}
		seen := make(map[string]bool)
		for _, e := range w.header.external {
			name := path.Join(path.Dir(w.file.Path), e.Location)
			f, ok := d.files[name]
			var err error
			switch {
			case !ok:
				err = fmt.Errorf("external data %s: %w", name, fs.ErrNotExist)
			case e.Offset > f.Size || max(e.Length, 0) > f.Size-e.Offset:
				err = malformedFile("onnx", "external data ends beyond %s", name)
			}
			if err != nil && !seen[name] {
				seen[name] = true
				d.problem(w.file.Path, err)
			}
		}
	}
}

// describe fills in the model.
func (d *description) describe(sets []*set) {
	m := d.model
	for _, w := range d.weights {
		m.Formats = append(m.Formats, w.format)
	}
	slices.Sort(m.Formats)
	m.Formats = slices.Compact(m.Formats)

	d.fromConfig()
	chosen := choose(sets, d.components())
	d.fromGGUF(sets, chosen)
	d.count(chosen)
	m.Library = d.library()
	m.Task = d.task()
}

// fromConfig takes what configuration says.
func (d *description) fromConfig() {
	m, config, tokenizer := d.model, d.configs["config.json"], d.configs["tokenizer_config.json"]
	text := config.object("text_config")
	m.Architecture = config.first("architectures")
	m.Family = config.text("model_type")
	m.ContextLength = cmp.Or(contextLength(config), contextLength(text))
	m.CacheBytes = cmp.Or(configAttention(config).cacheBytes(), configAttention(text).cacheBytes())
	m.Quantization = config.object("quantization_config").text("quant_method")
	for _, o := range []object{config, text} {
		m.DType = cmp.Or(m.DType, o.text("dtype"), o.text("torch_dtype"))
	}
	m.CustomCode = config.has("auto_map") || tokenizer.has("auto_map")
	m.ChatTemplate = tokenizer.has("chat_template") || d.has("chat_template.jinja") || d.has("chat_template.json")
	m.BaseModel = d.configs["adapter_config.json"].text("base_model_name_or_path")
}

func (d *description) has(path string) bool {
	_, ok := d.files[path]
	return ok
}

// contextLength looks under all the names that it has in config.json.
func contextLength(o object) int64 {
	for _, key := range []string{
		"max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length",
	} {
		if n := o.number(key); n > 0 {
			return n
		}
	}
	return 0
}

// fromGGUF takes what the header of the chosen GGUF file says and configuration
// does not. The quantisation counts only if all files have the same.
func (d *description) fromGGUF(sets, chosen []*set) {
	m := d.model
	types := make(map[string]bool)
	for _, s := range sets {
		if h := s.gguf(); h != nil && !s.companion() {
			types[h.FileType()] = true
			m.ChatTemplate = m.ChatTemplate || h.Text("tokenizer.chat_template") != ""
		}
	}
	if len(chosen) != 1 || chosen[0].gguf() == nil {
		return
	}
	h := chosen[0].gguf()
	if name := h.FileType(); len(types) == 1 && Precision(name) == "" {
		m.Quantization = cmp.Or(m.Quantization, name)
	}
	m.Architecture = cmp.Or(m.Architecture, h.Architecture())
	m.Family = cmp.Or(m.Family, h.Architecture())
	m.ContextLength = cmp.Or(m.ContextLength, h.ContextLength())
	m.CacheBytes = cmp.Or(m.CacheBytes, ggufAttention(h).cacheBytes())
	m.Languages = h.List("general.languages")
}

// count adds up the elements of the chosen sets.
func (d *description) count(chosen []*set) {
	var total, packed, extra int64
	dtypes := make(map[string]int64)
	for _, s := range chosen {
		if !s.complete {
			return
		}
		for _, w := range s.files {
			if w.header == nil {
				return
			}
			for dtype, n := range w.elements {
				dtypes[dtype] += n
				if total += n; total < 0 {
					return // more than any disk holds: made up
				}
			}
			packed, extra = packed+w.packed, extra+w.extra
		}
	}
	if total == 0 {
		return
	}
	d.model.DTypes = dtypes
	d.model.Parameters = unpacked(d.configs["config.json"].object("quantization_config"), counts{total, packed, extra, dtypes})
}

type counts struct {
	total, packed, extra int64
	dtypes               map[string]int64
}

// unpacked returns the number of parameters that are in quantised tensors, 0 if
// it cannot be told.
func unpacked(quantization object, c counts) int64 {
	switch method := quantization.text("quant_method"); method {
	case "":
		return c.total
	case "gptq", "awq": // 32/bits parameters in each I32
		bits := quantization.number("bits")
		if bits >= 2 && bits <= 8 && c.packed > 0 {
			return c.total - c.packed - c.extra + c.packed*32/bits
		}
		return 0
	}
	// Most other methods pack into one of these, each in its own way.
	if c.dtypes["U8"]+c.dtypes["I32"] > 0 {
		return 0
	}
	return c.total
}
