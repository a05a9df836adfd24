package testmodel

import (
	"encoding/binary"
	"testing"
)

// PB is a protobuf message under construction. Its methods append one field and
// return the longer message.
type PB []byte

// Varint appends a number.
func (p PB) Varint(field int, v uint64) PB {
	p = binary.AppendUvarint(p, uint64(field)<<3)
	return binary.AppendUvarint(p, v)
}

// Bytes appends a string, bytes or a message.
func (p PB) Bytes(field int, b []byte) PB {
	p = binary.AppendUvarint(p, uint64(field)<<3|2)
	p = binary.AppendUvarint(p, uint64(len(b)))
	return append(p, b...)
}

// Text appends a string.
func (p PB) Text(field int, s string) PB { return p.Bytes(field, []byte(s)) }

// ONNXInitializer returns a TensorProto of floats with its data inside.
func ONNXInitializer(name string, dims []int64, data []byte) PB {
	return onnxTensor(name, dims).Bytes(9, data)
}

// ONNXExternal returns a TensorProto of floats with its data in another file.
func ONNXExternal(name string, dims []int64, location, offset, length string) PB {
	p := onnxTensor(name, dims)
	for _, kv := range [][2]string{{"location", location}, {"offset", offset}, {"length", length}} {
		if kv[1] != "" {
			p = p.Bytes(13, PB(nil).Text(1, kv[0]).Text(2, kv[1]))
		}
	}
	return p.Varint(14, 1)
}

func onnxTensor(name string, dims []int64) PB {
	var packed []byte
	for _, d := range dims {
		packed = binary.AppendUvarint(packed, uint64(d))
	}
	return PB(nil).Bytes(1, packed).Varint(2, 1).Text(8, name)
}

// ONNXFile returns a ModelProto with one Add node, an input x and an output y
// of shape [N, 4], and the initializers.
func ONNXFile(initializers ...PB) []byte {
	node := PB(nil).Text(1, "x").Text(1, "w").Text(2, "y").Text(4, "Add")
	graph := PB(nil).Bytes(1, node).Text(2, "tiny")
	for _, init := range initializers {
		graph = graph.Bytes(5, init)
	}
	graph = graph.Bytes(11, onnxValue("x")).Bytes(12, onnxValue("y"))
	opset := PB(nil).Text(1, "").Varint(2, 17)
	return PB(nil).Varint(1, 8).Text(2, "testmodel").Text(3, "1").Bytes(7, graph).Bytes(8, opset)
}

// onnxValue is a ValueInfoProto of floats.
func onnxValue(name string) PB {
	shape := PB(nil).Bytes(1, PB(nil).Text(2, "N")).Bytes(1, PB(nil).Varint(1, 4))
	typ := PB(nil).Bytes(1, PB(nil).Varint(1, 1).Bytes(2, shape))
	return PB(nil).Text(1, name).Bytes(2, typ)
}

// ONNX writes model.onnx with one initializer inside and one in
// model.onnx_data.
func ONNX(t testing.TB, dir string) {
	t.Helper()
	write(t, dir, "model.onnx", ONNXFile(
		ONNXInitializer("w", []int64{4}, pattern(16)),
		ONNXExternal("v", []int64{2, 4}, "model.onnx_data", "0", "32"),
	))
	write(t, dir, "model.onnx_data", pattern(32))
}
