package testmodel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// SafetensorsFile returns a safetensors file of tensors, in their order.
func SafetensorsFile(tensors []Tensor, metadata map[string]string) []byte {
	var header, data bytes.Buffer
	header.WriteByte('{')
	if metadata != nil {
		header.WriteString(`"__metadata__":`)
		header.Write(encode(metadata))
	}
	for _, t := range tensors {
		if header.Len() > 1 {
			header.WriteByte(',')
		}
		start := data.Len()
		data.Write(t.Data)
		shape := t.Shape
		if shape == nil {
			shape = []int64{}
		}
		fmt.Fprintf(&header, `%s:{"dtype":%s,"shape":%s,"data_offsets":[%d,%d]}`,
			encode(t.Name), encode(t.DType), encode(shape), start, data.Len())
	}
	header.WriteByte('}')
	// The reference writer pads with spaces so that data starts aligned.
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	return SafetensorsRaw(header.Bytes(), data.Bytes())
}

// SafetensorsRaw returns the header's length, header and data, checking nothing.
func SafetensorsRaw(header, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

// Safetensors writes a model of one safetensors file, with its config.json.
func Safetensors(t testing.TB, dir string) {
	t.Helper()
	write(t, dir, "config.json", []byte(Config))
	write(t, dir, "model.safetensors", SafetensorsFile(tensors(), map[string]string{"format": "pt"}))
}

// ShardedSafetensors writes a model of two safetensors files and their index,
// with its config.json.
func ShardedSafetensors(t testing.TB, dir string) {
	t.Helper()
	all := tensors()
	names := []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
	weightMap := make(map[string]string)
	total := 0
	for i, name := range names {
		weightMap[all[i].Name] = name
		total += len(all[i].Data)
		write(t, dir, name, SafetensorsFile(all[i:i+1], map[string]string{"format": "pt"}))
	}
	write(t, dir, "model.safetensors.index.json", encode(map[string]any{
		"metadata":   map[string]any{"total_size": total},
		"weight_map": weightMap,
	}))
	write(t, dir, "config.json", []byte(Config))
}

// encode returns v as JSON with sorted keys.
func encode(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.EscapeForHTML(false))
	if err != nil {
		panic(err) // only for a type that JSON cannot hold: a bug of a test
	}
	return b
}
