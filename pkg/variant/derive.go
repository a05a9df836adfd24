package variant

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// cacheTokens is the length of input that an estimate of memory leaves room
// for. Longer inputs take more: [Facts.CacheBytes] for each token.
const cacheTokens = 4096

// Facts are what the files of a model say. Zero values mean that they are silent.
type Facts struct {
	Formats      []string // of the weights
	Library      string   // that loads them
	Quantization string

	// DTypes counts the elements of the weights by data type; Precision names
	// the types where only that is known, with commas between.
	DTypes    map[string]int64
	Precision string

	Parameters    int64
	ContextLength int64

	// CacheBytes is what the cache of keys and values takes for each token, in
	// 16 bits.
	CacheBytes int64

	Weights int64 // bytes of the weights
	Size    int64 // bytes of all files
}

// Of derives a variant from what its files say.
//
// MinMem is the bytes of the weights, a tenth of them for what is computed, and
// the cache of keys and values for 4,096 tokens, or as many as the model takes,
// if that is fewer. It leaves out what differs from runtime to runtime: one that
// reserves memory for many requests at once takes more, one that maps files and
// reads a mixture of experts as it goes takes less. Where the shape of the
// attention is not known there is no cache in it, and for weights of unknown
// size there is no estimate.
func Of(f Facts) Variant {
	v := Variant{Format: formatOf(f), Quant: f.Quantization, DType: dtypeOf(f), Size: f.Size}
	v.Quant = word(v.Quant)
	if v.Quant == "" && v.Format != "" && v.DType != "" {
		v.Quant = NoQuant
	}
	if v.Format == "mlx" && v.Quant == NoQuant && v.DType == "u32" {
		v.Quant, v.DType = "", "" // packed, and config.json says how
	}
	v.Bits = bitsOf(f, v)
	v.Device = devices[v.Format]
	v.Runtimes = loaders(v, f.Formats)
	v.MinMem = estimate(f)
	v.Name = nameOf(v)
	return v
}

// devices are what formats run on alone.
var devices = map[string]string{"mlx": "metal", "tensorrt": "cuda"}

// formatOf is the format by which a model is known: the best where there are
// several, "" for none.
func formatOf(f Facts) string {
	if f.Library == "mlx" && slices.Contains(f.Formats, "safetensors") {
		return "mlx"
	}
	for _, format := range []string{"safetensors", "gguf", "onnx"} {
		if slices.Contains(f.Formats, format) {
			return format
		}
	}
	if len(f.Formats) == 0 {
		return ""
	}
	return strings.ToLower(word(slices.Min(f.Formats)))
}

// dtypes are short names for those of the ModelPack specification.
var dtypes = map[string]string{
	"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
	"float8_e4m3": "f8_e4m3", "float8_e5m2": "f8_e5m2", "int8": "i8", "uint8": "u8", "uint32": "u32",
}

// dtypeOf is the data type of most weights.
func dtypeOf(f Facts) string {
	most := ""
	for _, name := range slices.Sorted(maps.Keys(f.DTypes)) {
		if most == "" || f.DTypes[name] > f.DTypes[most] {
			most = name
		}
	}
	if most == "" {
		most, _, _ = strings.Cut(f.Precision, ",")
	}
	most = strings.ToLower(word(most))
	if short := dtypes[most]; short != "" {
		return short
	}
	return most
}

func estimate(f Facts) int64 {
	if f.Weights <= 0 || f.Weights > math.MaxInt64/4 {
		return 0
	}
	tokens := int64(cacheTokens)
	if f.ContextLength > 0 {
		tokens = min(tokens, f.ContextLength)
	}
	cache := int64(0)
	if f.CacheBytes > 0 && f.CacheBytes < 1<<32 {
		cache = tokens * f.CacheBytes
	}
	return f.Weights + f.Weights/10 + cache
}

// bitsOf is how many bits a weight has: counted, or as the quantisation or data
// type is known to have.
func bitsOf(f Facts, v Variant) float64 {
	if f.Parameters > 0 && f.Weights > 0 && v.Format != "mlx" {
		if bits := math.Round(float64(f.Weights)*800/float64(f.Parameters)) / 100; bits > 0 && bits <= maxBits {
			return bits
		}
	}
	return knownBits(v)
}

func knownBits(v Variant) float64 {
	if q := v.quantised(); q != "" {
		return quantBits[strings.ToLower(q)]
	}
	return dtypeBits[v.DType]
}

var dtypeBits = map[string]float64{
	"f64": 64, "f32": 32, "f16": 16, "bf16": 16, "f8_e4m3": 8, "f8_e5m2": 8, "i8": 8, "u8": 8,
}

// quantBits are bits for each weight as llama.cpp has them of a model of 8 billion
// parameters (tools/quantize/README.md), and as the other methods are mostly used.
var quantBits = map[string]float64{
	"iq1_s": 2.00, "iq1_m": 2.15, "iq2_xxs": 2.38, "iq2_xs": 2.59, "iq2_s": 2.74, "iq2_m": 2.93,
	"iq3_xxs": 3.25, "iq3_xs": 3.50, "iq3_s": 3.66, "iq3_m": 3.76, "iq4_xs": 4.46, "iq4_nl": 4.68,
	"q2_k_s": 2.97, "q2_k": 3.16, "q3_k_s": 3.64, "q3_k_m": 4.00, "q3_k_l": 4.30,
	"q4_0": 4.66, "q4_1": 5.06, "q4_k_s": 4.67, "q4_k_m": 4.89, "q5_0": 5.54, "q5_1": 6.00,
	"q5_k_s": 5.57, "q5_k_m": 5.70, "q6_k": 6.56, "q8_0": 8.50, "mxfp4": 4.25,
	"awq": 4.5, "gptq": 4.5, "fp8": 8, "fbgemm_fp8": 8,
}

// nameOf is what people call a variant: GGUF by its quantisation, others by
// their format and, if there is one, quantisation.
func nameOf(v Variant) string {
	name := v.Format
	switch q := v.quantised(); {
	case v.Format == "gguf" && q != "":
		name = q
	case v.Format == "gguf" && v.DType != "":
		name = v.DType
	case q != "":
		name += "-" + q
	}
	name = strings.ReplaceAll(strings.ToLower(name), "+", "-")
	if !nameForm.MatchString(name) {
		return ""
	}
	return name
}
