package format

import (
	"strconv"
	"strings"
)

// precisions has the names of the ModelPack specification (docs/config.md) for
// data types, as safetensors spells those.
var precisions = map[string]string{
	"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
	"F8_E4M3": "float8_e4m3", "F8_E5M2": "float8_e5m2",
	"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "I4": "int4",
	"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "U4": "uint4",
	"C64": "complex64", "C128": "complex128", "BOOL": "bool",
}

// Precision returns the name that the CNCF ModelPack specification has for a
// data type as [Tensor] spells it: "bfloat16" for "BF16". A quantised type,
// such as "Q4_K", is no precision, and neither is an unknown one: they give "".
func Precision(dtype string) string { return precisions[dtype] }

// torchTypes are the storages of PyTorch.
var torchTypes = map[string]string{
	"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
	"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
	"ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128",
	"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "uint16": "U16", "uint32": "U32", "uint64": "U64",
}

// torchSizes are the bytes of an element of the types in torchTypes.
var torchSizes = map[string]int64{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
	"C64": 8, "C128": 16, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8,
}

// onnxTypes are the data types of onnx.proto.
var onnxTypes = map[string]string{
	"DOUBLE": "F64", "FLOAT": "F32", "FLOAT16": "F16", "BFLOAT16": "BF16",
	"FLOAT8E4M3FN": "F8_E4M3", "FLOAT8E4M3FNUZ": "F8_E4M3FNUZ", "FLOAT8E5M2": "F8_E5M2",
	"FLOAT8E5M2FNUZ": "F8_E5M2FNUZ", "FLOAT8E8M0": "F8_E8M0",
	"FLOAT6E2M3": "F6_E2M3", "FLOAT6E3M2": "F6_E3M2", "FLOAT4E2M1": "F4",
	"INT64": "I64", "INT32": "I32", "INT16": "I16", "INT8": "I8", "INT4": "I4", "INT2": "I2",
	"UINT64": "U64", "UINT32": "U32", "UINT16": "U16", "UINT8": "U8", "UINT4": "U4", "UINT2": "U2",
	"BOOL": "BOOL", "COMPLEX64": "C64", "COMPLEX128": "C128", "STRING": "",
}

// numpyType translates a type string such as "<f4". Byte order is dropped, and
// what is no number is "".
func numpyType(s string) string {
	if len(s) < 3 {
		return ""
	}
	size, err := strconv.Atoi(s[2:])
	if err != nil {
		return ""
	}
	kind := strings.IndexByte("fiuc", s[1])
	if s[1] == 'b' && size == 1 {
		return "BOOL"
	}
	if kind < 0 {
		return ""
	}
	return "FIUC"[kind:kind+1] + strconv.Itoa(8*size)
}
