package shard

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/safetensors"
)

// A safetensorsLayout writes safetensors files as the reference implementation
// does: metadata first, tensors in the order of their data, and spaces at the
// end so that data begins at a multiple of 8.
type safetensorsLayout struct {
	metadata []byte // with the name, or nil
}

// readSafetensors returns the tensors in the order of their data.
func readSafetensors(ctx context.Context, files []*File) (layout, []tensor, error) {
	var tensors []tensor
	metadata := make(map[string]string)
	for _, f := range files {
		start := len(tensors)
		err := f.open(ctx, func(r ReaderAtCloser) error {
			h, err := safetensors.Walk(r, f.Size, func(t safetensors.Tensor) error {
				if len(tensors) == safetensors.MaxTensors {
					return &malformed.Error{Format: "safetensors", Reason: fmt.Sprintf("more than %d tensors", safetensors.MaxTensors)}
				}
				tensors = append(tensors, tensor{name: t.Name, dtype: t.DType, shape: t.Shape, file: f, offset: t.Offset, bytes: t.Bytes})
				return nil
			})
			if err != nil {
				return err
			}
			// What the files of a set say of themselves is the same in
			// practice; where it is not, the first counts.
			for k, v := range h.Metadata {
				if _, ok := metadata[k]; !ok {
					metadata[k] = v
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
		slices.SortStableFunc(tensors[start:], func(a, b tensor) int { return cmp.Compare(a.offset, b.offset) })
	}
	l := &safetensorsLayout{}
	if len(metadata) > 0 {
		raw, err := json.Marshal(metadata, json.Deterministic(true), jsontext.EscapeForHTML(false))
		if err != nil {
			return nil, nil, fmt.Errorf("encode metadata: %w", err)
		}
		l.metadata = append([]byte(`"__metadata__":`), raw...)
	}
	return l, tensors, nil
}

// maxShards is what five digits can number.
func (l *safetensorsLayout) maxShards() int { return 99_999 }

func (l *safetensorsLayout) leader() bool { return false }

func (l *safetensorsLayout) add(f fill, t *tensor) fill {
	f.head += int64(len(appendEntry(nil, t, f.data))) + 1 // and a comma
	f.data += t.bytes
	f.tensors++
	return f
}

func (l *safetensorsLayout) size(f fill) int64 {
	return roundUp(8+2+int64(len(l.metadata))+f.head, 8) + f.data
}

func (l *safetensorsLayout) write(_, _ int, tensors []tensor) ([]Part, error) {
	h := append(make([]byte, 8), '{')
	h = append(h, l.metadata...)
	var pos int64
	for i := range tensors {
		if h[len(h)-1] != '{' {
			h = append(h, ',')
		}
		h = appendEntry(h, &tensors[i], pos)
		pos += tensors[i].bytes
	}
	h = append(h, '}')
	for len(h)%8 != 0 {
		h = append(h, ' ')
	}
	if len(h)-8 > safetensors.MaxHeader {
		return nil, fmt.Errorf("%w: a header of %d bytes is over the format's limit", ErrConflict, len(h)-8)
	}
	binary.LittleEndian.PutUint64(h, uint64(len(h)-8))
	parts := []Part{inMemory(h)}
	for _, t := range tensors {
		parts = append(parts, Part{File: t.file, Offset: t.offset, Length: t.bytes})
	}
	return parts, nil
}

// appendEntry writes the entry of a tensor whose data is at begin.
func appendEntry(b []byte, t *tensor, begin int64) []byte {
	b, _ = jsontext.AppendQuote(b, t.name) // which has been read as JSON, and so is UTF-8
	b = append(b, `:{"dtype":"`...)
	b = append(b, t.dtype...)
	b = append(b, `","shape":[`...)
	for i, d := range t.shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, d, 10)
	}
	b = append(b, `],"data_offsets":[`...)
	b = strconv.AppendInt(b, begin, 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, begin+t.bytes, 10)
	return append(b, `]}`...)
}

// writeIndex writes which shard each tensor is in, as transformers does. What
// the index before said beside that is kept.
func (s *set) writeIndex(tensors []tensor, ends []int) (*Output, error) {
	weights := make(map[string]string, len(tensors))
	var total int64
	start := 0
	for i, end := range ends {
		name := s.name(i, len(ends))
		for _, t := range tensors[start:end] {
			weights[t.name] = name
			total += t.bytes
		}
		start = end
	}
	meta := maps.Clone(s.meta)
	if meta == nil {
		meta = make(map[string]jsontext.Value)
	}
	meta["total_size"] = jsontext.Value(strconv.FormatInt(total, 10))
	var buf bytes.Buffer
	err := json.MarshalWrite(&buf, struct {
		Metadata  map[string]jsontext.Value `json:"metadata"`
		WeightMap map[string]string         `json:"weight_map"`
	}{meta, weights}, json.Deterministic(true), jsontext.WithIndent("  "), jsontext.EscapeForHTML(false))
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	buf.WriteByte('\n')
	o := newOutput(s.dir+s.stem+".safetensors.index.json", []Part{inMemory(buf.Bytes())})
	return &o, nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
