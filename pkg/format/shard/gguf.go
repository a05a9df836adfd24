package shard

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/format/gguf"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The metadata by which llama.cpp knows shards, with their types: it stops at
// any other.
const (
	splitNo      = "split.no"            // uint16, from 0
	splitCount   = "split.count"         // uint16
	splitTensors = "split.tensors.count" // int32, of all shards
	splitPrefix  = "split."
	alignmentKey = "general.alignment" // uint32
)

const (
	// maxAlignment bounds what is written between tensors.
	maxAlignment     = 64 << 10
	defaultAlignment = 32
	ggufStart        = 4 + 4 + 8 + 8 // magic, version, two counts
)

// A ggufLayout writes GGUF files as gguf-split does: the metadata is in the
// first.
type ggufLayout struct {
	order     binary.AppendByteOrder
	version   uint32
	alignment int64
	tensors   int    // of all shards
	kept      []Part // metadata of the first shard
	keptCount int
	keptBytes int64
	zeros     []byte
}

// readGGUF returns the tensors in the order of their data.
func readGGUF(ctx context.Context, files []*File) (layout, []tensor, error) {
	byPath(files)
	var l *ggufLayout
	var tensors []tensor
	for i, f := range files {
		err := f.open(ctx, func(r ReaderAtCloser) error {
			g, err := gguf.Read(r, f.Size)
			if err != nil {
				return err
			}
			if i == 0 {
				if l, err = newGGUFLayout(f, &g.Header); err != nil {
					return err
				}
			}
			if order := byteOrder(&g.Header); order != l.order || g.Version != l.version {
				return fmt.Errorf("%w: byte order or version is not that of %s", ErrConflict, files[0].Path)
			}
			tensors = append(tensors, ggufTensors(f, g)...)
			if len(tensors) > gguf.MaxTensors {
				return &malformed.Error{Format: "gguf", Reason: fmt.Sprintf("more than %d tensors", gguf.MaxTensors)}
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	l.tensors = len(tensors)
	return l, tensors, nil
}

// byteOrder is that of a file, for writing.
func byteOrder(h *gguf.Header) binary.AppendByteOrder {
	if h.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func newGGUFLayout(f *File, h *gguf.Header) (*ggufLayout, error) {
	if h.Alignment > maxAlignment {
		return nil, fmt.Errorf("%w: tensors are aligned to %d bytes", ErrConflict, h.Alignment)
	}
	l := &ggufLayout{order: byteOrder(h), version: h.Version, alignment: h.Alignment, zeros: make([]byte, h.Alignment)}
	for _, kv := range h.KV {
		if strings.HasPrefix(kv.Key, splitPrefix) {
			continue
		}
		l.kept = append(l.kept, Part{File: f, Offset: kv.Offset, Length: kv.Bytes})
		l.keptCount++
		l.keptBytes += kv.Bytes
	}
	return l, nil
}

// ggufTensors returns the tensors of a file. One of a type that is not known
// reaches to the next, or to the end.
func ggufTensors(f *File, g *gguf.File) []tensor {
	list := slices.Clone(g.Tensors)
	slices.SortStableFunc(list, func(a, b gguf.Tensor) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Bytes, b.Bytes))
	})
	out := make([]tensor, len(list))
	end := f.Size - g.DataOffset
	for i := len(list) - 1; i >= 0; i-- {
		t := list[i]
		size := t.Bytes
		if size < 0 {
			size = max(end-t.Offset, 0)
		}
		if t.Offset < end {
			end = t.Offset
		}
		out[i] = tensor{name: t.Name, kind: uint32(t.Type), shape: t.Dims, file: f, offset: g.DataOffset + t.Offset, bytes: size}
	}
	return out
}

// maxShards is what split.count can hold.
func (l *ggufLayout) maxShards() int { return math.MaxUint16 }

func (l *ggufLayout) leader() bool { return true }

func (l *ggufLayout) add(f fill, t *tensor) fill {
	f.head += 8 + int64(len(t.name)) + 4 + 8*int64(len(t.shape)) + 4 + 8
	f.data += roundUp(t.bytes, l.alignment)
	f.tensors++
	return f
}

func (l *ggufLayout) size(f fill) int64 {
	head := ggufStart + int64(len(l.metadata(f.first, 0, 0))) + f.head
	if f.first {
		head += l.keptBytes
	}
	return roundUp(head, l.alignment) + f.data
}

func (l *ggufLayout) write(i, n int, tensors []tensor) ([]Part, error) {
	own := l.metadata(i == 0, i, n)
	kvs := l.added(i == 0)
	if i == 0 {
		kvs += l.keptCount
	}
	b := append([]byte("GGUF"), l.order.AppendUint32(nil, l.version)...)
	b = l.order.AppendUint64(b, uint64(len(tensors)))
	b = l.order.AppendUint64(b, uint64(kvs))
	parts := []Part{inMemory(b)}
	head := int64(len(b))
	if i == 0 {
		parts = append(parts, l.kept...)
		head += l.keptBytes
	}
	var pos int64
	for _, t := range tensors {
		own = l.appendTensor(own, t, pos)
		pos += roundUp(t.bytes, l.alignment)
	}
	head += int64(len(own))
	own = append(own, l.padding(head)...)
	parts = append(parts, inMemory(own))
	for _, t := range tensors {
		parts = append(parts, Part{File: t.file, Offset: t.offset, Length: t.bytes}, inMemory(l.padding(t.bytes)))
	}
	return parts, nil
}

// padding is what follows n bytes.
func (l *ggufLayout) padding(n int64) []byte { return l.zeros[:roundUp(n, l.alignment)-n] }

// added is how many entries [ggufLayout.metadata] writes.
func (l *ggufLayout) added(first bool) int {
	if !first && l.alignment != defaultAlignment {
		return 4
	}
	return 3
}

// metadata is what shard i of n says of itself. Where data is not aligned as
// usual, each shard has to say so.
func (l *ggufLayout) metadata(first bool, i, n int) []byte {
	b := l.appendKey(nil, splitNo, gguf.Uint16)
	b = l.order.AppendUint16(b, uint16(i))
	b = l.appendKey(b, splitCount, gguf.Uint16)
	b = l.order.AppendUint16(b, uint16(n))
	b = l.appendKey(b, splitTensors, gguf.Int32)
	b = l.order.AppendUint32(b, uint32(l.tensors))
	if l.added(first) == 4 {
		b = l.appendKey(b, alignmentKey, gguf.Uint32)
		b = l.order.AppendUint32(b, uint32(l.alignment))
	}
	return b
}

func (l *ggufLayout) appendKey(b []byte, key string, t gguf.ValueType) []byte {
	b = l.order.AppendUint64(b, uint64(len(key)))
	b = append(b, key...)
	return l.order.AppendUint32(b, uint32(t))
}

func (l *ggufLayout) appendTensor(b []byte, t tensor, pos int64) []byte {
	b = l.order.AppendUint64(b, uint64(len(t.name)))
	b = append(b, t.name...)
	b = l.order.AppendUint32(b, uint32(len(t.shape)))
	for _, d := range t.shape {
		b = l.order.AppendUint64(b, uint64(d))
	}
	b = l.order.AppendUint32(b, t.kind)
	return l.order.AppendUint64(b, uint64(pos))
}
