package mediatypes

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// maxSafetensorsHeader is the format's own limit for its JSON header.
const maxSafetensorsHeader = 100_000_000

// signatures are asked in this order. Each claims a file only if its first
// bytes leave no doubt; those that look for text want a fitting name as well.
var signatures = []func(entry) (Class, bool){
	sniffGGUF,
	sniffSafetensors,
	sniffMagic,
	sniffZip,
	sniffPickle,
	sniffTar,
	sniffONNX,
	sniffSentencePiece,
	sniffUBJSON,
	sniffText,
}

// magics are fixed bytes at a fixed place of files that are not text.
var magics = []struct {
	offset int
	bytes  string
	class  Class
}{
	{0, "\x93NUMPY", Class{Kind: KindWeight, Format: "numpy"}},
	{4, "TFL3", Class{Kind: KindWeight, Format: "tflite"}},
	{4, "ORTM", Class{Kind: KindWeight, Format: "onnx"}}, // ONNX Runtime's own form
	{0, "ftrt", Class{Kind: KindWeight, Format: "tensorrt"}},
	{0, "ptrt", Class{Kind: KindWeight, Format: "tensorrt"}},
	{4, "ET12", Class{Kind: KindWeight}}, // ExecuTorch
	{0, "CBM1", Class{Kind: KindWeight}}, // CatBoost
	{0, "lmgg", Class{Kind: KindWeight}}, // what came before GGUF
	{0, "fmgg", Class{Kind: KindWeight}},
	{0, "tjgg", Class{Kind: KindWeight}},
	{0, "PAR1", Class{Kind: KindDataset}},
	{0, "ARROW1\x00\x00", Class{Kind: KindDataset}},
	{0, "Obj\x01", Class{Kind: KindDataset}}, // Avro
	{0, "ORC", Class{Kind: KindDataset}},
	{0, "\x7fELF", Class{Kind: KindCode}},
	{0, "\xcf\xfa\xed\xfe", Class{Kind: KindCode}}, // Mach-O
}

func sniffMagic(e entry) (Class, bool) {
	if bytes.HasPrefix(e.Head, []byte("\x89HDF\r\n\x1a\n")) {
		return sniffHDF5(e), true
	}
	if e.text {
		return Class{}, false
	}
	for _, m := range magics {
		if len(e.Head) > m.offset && bytes.HasPrefix(e.Head[m.offset:], []byte(m.bytes)) {
			return m.class, true
		}
	}
	return Class{}, false
}

// sniffHDF5 tells Keras' weights from the sciences' data by extension, for the
// container is the same.
func sniffHDF5(e entry) Class {
	switch e.ext {
	case ".nc", ".nc4", ".h5ad", ".loom", ".mat":
		return Class{Kind: KindDataset}
	}
	return Class{Kind: KindWeight, Format: "keras"}
}

func sniffGGUF(e entry) (Class, bool) {
	if len(e.Head) < 8 || !bytes.HasPrefix(e.Head, []byte("GGUF")) {
		return Class{}, false
	}
	// Versions are small, so that one half of the number is zero in either
	// byte order.
	little, big := binary.LittleEndian.Uint32(e.Head[4:]), binary.BigEndian.Uint32(e.Head[4:])
	if min(little, big) > 0xffff {
		return Class{}, false
	}
	c := Class{Kind: KindWeight, Format: "gguf"}
	switch {
	case hasGGUFString(e.Head, "general.type", "adapter"):
		c.Role = "adapter"
	case hasGGUFString(e.Head, "general.type", "mmproj"), hasGGUFString(e.Head, "general.architecture", "clip"):
		c.Role = "projector"
	}
	return c, true
}

// hasGGUFString looks for a key and its string as GGUF v2 and v3 write them.
func hasGGUFString(head []byte, key, value string) bool {
	const typeString = 8
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(key)))
	b = append(b, key...)
	b = binary.LittleEndian.AppendUint32(b, typeString)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	b = append(b, value...)
	return bytes.Contains(head, b)
}

func sniffSafetensors(e entry) (Class, bool) {
	if len(e.Head) < 10 || e.Head[8] != '{' {
		return Class{}, false
	}
	n := binary.LittleEndian.Uint64(e.Head)
	if n < 2 || n > maxSafetensorsHeader || int64(n) > e.Size-8 {
		return Class{}, false
	}
	header := bytes.TrimLeft(e.Head[9:], " \t\r\n")
	if len(header) == 0 || (header[0] != '"' && header[0] != '}') {
		return Class{}, false
	}
	c := Class{Kind: KindWeight, Format: "safetensors"}
	// The names of tensors: of peft, of diffusers, of those who came before.
	for _, part := range []string{`.lora_A.`, `.lora.down.weight"`, `.lora_down.weight"`} {
		if bytes.Contains(header, []byte(part)) {
			c.Role = "adapter"
		}
	}
	return c, true
}

// sniffTar knows NVIDIA NeMo's archives, when they are not compressed.
func sniffTar(e entry) (Class, bool) {
	const magicOffset = 257 // POSIX.1-2001, "ustar Interchange Format"
	if len(e.Head) < magicOffset+5 || string(e.Head[magicOffset:magicOffset+5]) != "ustar" {
		return Class{}, false
	}
	for _, name := range []string{"model_config.yaml\x00", "model_weights.ckpt\x00"} {
		if bytes.Contains(e.Head, []byte(name)) {
			return Class{Kind: KindWeight, Format: "nemo"}, true
		}
	}
	return Class{}, false
}

// sniffONNX reads the beginning of a ModelProto: ir_version, then a field
// that a graph begins with. A TensorFlow SavedModel looks the same, with
// version 1; ONNX was never released below 3.
func sniffONNX(e entry) (Class, bool) {
	const (
		irVersion    = 1 << 3 // a varint
		producerName = 2<<3 | 2
		graph        = 7<<3 | 2
		opsetImport  = 8<<3 | 2
	)
	h := e.Head
	if len(h) < 4 || h[0] != irVersion || h[1] < 3 || h[1] > 50 {
		return Class{}, false
	}
	c := Class{Kind: KindWeight, Format: "onnx"}
	switch h[2] {
	case producerName:
		n := int(h[3])
		return c, n > 0 && n < 0x80 && len(h) > 4+n && isText(h[4:4+n])
	case graph, opsetImport:
		return c, e.ext == ".onnx" || e.ext == "" || e.ext == ".bin"
	}
	return Class{}, false
}

// sniffSentencePiece knows a tokenizer's ModelProto by its first piece.
func sniffSentencePiece(e entry) (Class, bool) {
	h := e.Head
	if len(h) < 12 || h[0] != 1<<3|2 || h[2] != 1<<3|2 {
		return Class{}, false
	}
	piece := string(h[4:min(len(h), 4+max(0, min(int(h[3]), 8)))])
	switch piece {
	case "<unk>", "<pad>", "<s>", "</s>", "[PAD]", "[UNK]":
		return Class{Kind: KindWeightConfig, Role: "tokenizer"}, true
	}
	return Class{}, false
}

// sniffUBJSON knows XGBoost's binary form by its first key, and the one before
// that by its first word.
func sniffUBJSON(e entry) (Class, bool) {
	if bytes.HasPrefix(e.Head, []byte("{L\x00\x00\x00\x00\x00\x00\x00\x07learner")) ||
		bytes.HasPrefix(e.Head, []byte("{i\x07learner")) ||
		(bytes.HasPrefix(e.Head, []byte("binf")) && !e.text) {
		return Class{Kind: KindWeight, Format: "xgboost"}, true
	}
	return Class{}, false
}

// sniffText knows models that are text. Where documents and programs may quote
// them, the name must not be that of one.
func sniffText(e entry) (Class, bool) {
	if c, ok := extensions[e.ext]; ok && (c.Kind == KindDoc || c.Kind == KindCode) || !e.text {
		return Class{}, false
	}
	text := strings.TrimLeft(strings.TrimPrefix(string(e.Head), "\ufeff"), " \t\r\n")
	switch {
	case strings.HasPrefix(text, "tree\nversion=") || strings.HasPrefix(text, "tree\r\nversion="):
		return Class{Kind: KindWeight, Format: "lightgbm"}, true
	case strings.HasPrefix(text, "<") && strings.Contains(text, "<PMML"):
		return Class{Kind: KindWeight, Format: "pmml"}, true
	case isOpenVINO(e.Head):
		return Class{Kind: KindWeightConfig, Format: "openvino"}, true
	case strings.HasPrefix(text, "{"):
		return sniffJSON(text)
	}
	return Class{}, false
}

func sniffJSON(text string) (Class, bool) {
	if !strings.Contains(text, `"learner"`) && !strings.Contains(text, `-model"`) {
		return Class{}, false
	}
	squeezed := strings.Join(strings.Fields(text), "")
	switch {
	case strings.HasPrefix(squeezed, `{"learner":{`), strings.HasPrefix(squeezed, `{"version":[`) && strings.Contains(squeezed, `"learner":{`):
		return Class{Kind: KindWeight, Format: "xgboost"}, true
	case strings.Contains(squeezed, `"format":"graph-model"`), strings.Contains(squeezed, `"format":"layers-model"`):
		return Class{Kind: KindWeightConfig, Format: "tensorflow"}, true // TensorFlow.js
	}
	return Class{}, false
}

// isOpenVINO knows the graph of OpenVINO's intermediate representation.
func isOpenVINO(head []byte) bool {
	text := strings.TrimLeft(string(head[:min(len(head), HeadBytes)]), "\ufeff \t\r\n")
	if strings.HasPrefix(text, "<?xml") {
		_, text, _ = strings.Cut(text, "?>")
		text = strings.TrimLeft(text, " \t\r\n")
	}
	return strings.HasPrefix(text, "<net ") && strings.Contains(text, "<layers>")
}

// isText tells whether the beginning of a file is text: UTF-8, no control
// bytes. An empty file is.
func isText(head []byte) bool {
	for len(head) > 0 {
		if c := head[0]; ' ' <= c && c <= '~' {
			head = head[1:]
			continue
		}
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n == 1 {
			// The last character may be cut.
			return len(head) < utf8.UTFMax && !utf8.FullRune(head)
		}
		if r < ' ' && !strings.ContainsRune("\t\n\r\f\x1b", r) || r == 0x7f {
			return false
		}
		head = head[n:]
	}
	return true
}
