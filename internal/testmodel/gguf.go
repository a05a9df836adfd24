package testmodel

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// A KV is one metadata entry of a GGUF file. Value is a uint8, int8, uint16,
// int16, uint32, int32, uint64, int64, float32, float64, bool or string, or a
// slice of one of these types.
type KV struct {
	Key   string
	Value any
}

// A GGUFTensor is a tensor of a GGUF file. Type is the number of a ggml type;
// Dims has the innermost dimension first, as in the file.
type GGUFTensor struct {
	Name string
	Type uint32
	Dims []uint64
	Data []byte
}

// A GGUFModel is what [GGUFFile] writes.
type GGUFModel struct {
	Version   uint32 // 0 means 3
	Alignment int    // 0 means 32; it is not written to KV
	BigEndian bool
	KV        []KV
	Tensors   []GGUFTensor
}

// GGUFFile returns m as a GGUF file. It panics on a value of a type that a GGUF
// file cannot hold.
func GGUFFile(m GGUFModel) []byte {
	version, align := m.Version, m.Alignment
	if version == 0 {
		version = 3
	}
	if align == 0 {
		align = 32
	}
	w := ggufWriter{order: binary.LittleEndian}
	if m.BigEndian {
		w.order = binary.BigEndian
	}
	w.b = append(w.b, "GGUF"...)
	w.u32(version)
	w.u64(uint64(len(m.Tensors)))
	w.u64(uint64(len(m.KV)))
	for _, kv := range m.KV {
		w.str(kv.Key)
		w.value(kv.Value)
	}
	var data []byte
	for _, t := range m.Tensors {
		w.str(t.Name)
		w.u32(uint32(len(t.Dims)))
		for _, d := range t.Dims {
			w.u64(d)
		}
		w.u32(t.Type)
		w.u64(uint64(len(data)))
		data = pad(append(data, t.Data...), align)
	}
	return append(pad(w.b, align), data...)
}

// GGUF writes a model of one GGUF file, named model-Q8_0.gguf, with an F32 and
// a Q8_0 tensor.
func GGUF(t testing.TB, dir string) {
	t.Helper()
	write(t, dir, "model-Q8_0.gguf", GGUFFile(TinyGGUF()))
}

// TinyGGUF is the model that [GGUF] writes: 64 elements as Q8_0 and 4 as F32.
func TinyGGUF() GGUFModel {
	return GGUFModel{
		KV: []KV{
			{"general.architecture", "llama"},
			{"general.name", "Tiny"},
			{"general.file_type", uint32(7)},
			{"general.languages", []string{"en", "de"}},
			{"llama.context_length", uint32(4096)},
			{"tokenizer.ggml.tokens", []string{"<s>", "</s>", "a"}},
			{"tokenizer.ggml.scores", []float32{0, 0, -1}},
			{"tokenizer.ggml.bos_token_id", uint32(0)},
			{"tokenizer.ggml.eos_token_id", uint32(1)},
			{"tokenizer.chat_template", "{{ messages }}"},
		},
		Tensors: []GGUFTensor{
			{Name: "token_embd.weight", Type: 8, Dims: []uint64{32, 2}, Data: pattern(2 * 34)},
			{Name: "output_norm.weight", Type: 0, Dims: []uint64{4}, Data: pattern(16)},
		},
	}
}

// ggufOrder is what both byte orders of [encoding/binary] can do.
type ggufOrder interface {
	AppendUint16(b []byte, v uint16) []byte
	AppendUint32(b []byte, v uint32) []byte
	AppendUint64(b []byte, v uint64) []byte
}

type ggufWriter struct {
	order ggufOrder
	b     []byte
}

func (w *ggufWriter) u32(v uint32) { w.b = w.order.AppendUint32(w.b, v) }
func (w *ggufWriter) u64(v uint64) { w.b = w.order.AppendUint64(w.b, v) }

func (w *ggufWriter) str(s string) {
	w.u64(uint64(len(s)))
	w.b = append(w.b, s...)
}

// value writes the type of v and v.
func (w *ggufWriter) value(v any) {
	switch v := v.(type) {
	case []uint8:
		array(w, v)
	case []int32:
		array(w, v)
	case []uint32:
		array(w, v)
	case []float32:
		array(w, v)
	case []uint64:
		array(w, v)
	case []bool:
		array(w, v)
	case []string:
		array(w, v)
	default:
		w.u32(ggufType(v))
		w.scalar(v)
	}
}

func array[T any](w *ggufWriter, values []T) {
	var zero T
	w.u32(9)
	w.u32(ggufType(zero))
	w.u64(uint64(len(values)))
	for _, v := range values {
		w.scalar(v)
	}
}

func (w *ggufWriter) scalar(v any) {
	switch v := v.(type) {
	case uint8:
		w.b = append(w.b, v)
	case int8:
		w.b = append(w.b, byte(v))
	case uint16:
		w.b = w.order.AppendUint16(w.b, v)
	case int16:
		w.b = w.order.AppendUint16(w.b, uint16(v))
	case uint32:
		w.u32(v)
	case int32:
		w.u32(uint32(v))
	case float32:
		w.u32(math.Float32bits(v))
	case bool:
		if v {
			w.b = append(w.b, 1)
		} else {
			w.b = append(w.b, 0)
		}
	case string:
		w.str(v)
	case uint64:
		w.u64(v)
	case int64:
		w.u64(uint64(v))
	case float64:
		w.u64(math.Float64bits(v))
	}
}

func ggufType(v any) uint32 {
	switch v.(type) {
	case uint8:
		return 0
	case int8:
		return 1
	case uint16:
		return 2
	case int16:
		return 3
	case uint32:
		return 4
	case int32:
		return 5
	case float32:
		return 6
	case bool:
		return 7
	case string:
		return 8
	case uint64:
		return 10
	case int64:
		return 11
	case float64:
		return 12
	}
	panic(fmt.Sprintf("no GGUF type for %T", v))
}

func pad(b []byte, align int) []byte {
	for len(b)%align != 0 {
		b = append(b, 0)
	}
	return b
}
