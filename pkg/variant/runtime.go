package variant

import (
	"slices"
	"strings"
)

// A load is a format that a runtime reads.
type load struct {
	format string
	quants []string // nil: every one, and none
}

// A runtime is a program that loads models.
type runtime struct {
	name  string
	other []string // names that it is called by too
	loads []load
	gpu   bool // weights lie in the memory of graphics processors
}

// Methods of quantisation, as config.json names them, by who reads them.
var (
	vllmQuants = []string{
		NoQuant, "awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "modelopt", "mxfp4", "quark", "torchao",
	}
	transformersQuants = []string{
		NoQuant, "aqlm", "awq", "bitnet", "bitsandbytes", "compressed-tensors", "eetq", "fbgemm_fp8", "fp8", "gptq", "higgs", "hqq",
		"mxfp4", "quanto", "quark", "spqr", "torchao", "vptq",
	}
	tensorRTQuants = []string{NoQuant, "awq", "fp8", "gptq", "modelopt", "mxfp4"}
)

// runtimes is what is known to load well. What a runtime reads only by converting
// it first, or calls experimental, such as GGUF in vLLM, is not here: whoever
// wants that names the variant.
var runtimes = []runtime{
	{name: "kserve", loads: []load{{"safetensors", vllmQuants}, {"onnx", nil}, {"tensorflow", nil}}},
	{name: "llama.cpp", other: []string{"llamacpp", "llama-cpp", "llama-server"}, loads: []load{{"gguf", nil}}},
	{name: "mlx", other: []string{"mlx-lm"}, loads: []load{{"mlx", nil}, {"safetensors", []string{NoQuant}}}},
	{name: "ollama", loads: []load{{"gguf", nil}}},
	{name: "onnxruntime", other: []string{"ort"}, loads: []load{{"onnx", nil}}},
	{name: "sglang", loads: []load{{"safetensors", vllmQuants}}, gpu: true},
	{name: "tensorrt-llm", other: []string{"trtllm", "tensorrtllm"}, loads: []load{{"tensorrt", nil}, {"safetensors", tensorRTQuants}}, gpu: true},
	{name: "transformers", loads: []load{{"safetensors", transformersQuants}, {"pytorch", transformersQuants}}},
	{name: "vllm", loads: []load{{"safetensors", vllmQuants}, {"pytorch", vllmQuants}}, gpu: true},
}

// Runtimes names the runtimes that are known, sorted.
func Runtimes() []string {
	out := make([]string, len(runtimes))
	for i, r := range runtimes {
		out[i] = r.name
	}
	return out
}

// runtimeOf finds a runtime by any of its names.
func runtimeOf(name string) (runtime, bool) {
	name = strings.ToLower(name)
	for _, r := range runtimes {
		if r.name == name || slices.Contains(r.other, name) {
			return r, true
		}
	}
	return runtime{}, false
}

// Loads tells whether a runtime reads v: one that v says so of, or one that is
// known to read its format and quantisation.
func (v Variant) Loads(name string) bool {
	r, ok := runtimeOf(name)
	return slices.Contains(v.Runtimes, strings.ToLower(name)) || ok && (slices.Contains(v.Runtimes, r.name) || r.reads(v))
}

func (r runtime) reads(v Variant) bool {
	return slices.ContainsFunc(r.loads, func(l load) bool {
		if l.format != v.Format {
			return false
		}
		quant := strings.ToLower(v.Quant)
		return l.quants == nil || slices.Contains(l.quants, quant) || quant == ""
	})
}

// loaders are the runtimes that are known to read v, or another of the formats
// that lie beside its own.
func loaders(v Variant, formats []string) []string {
	all := []string{v.Format}
	if v.Format != "mlx" {
		all = append(all, formats...)
	}
	var out []string
	for _, r := range runtimes {
		if slices.ContainsFunc(all, func(format string) bool { v.Format = format; return r.reads(v) }) {
			out = append(out, r.name)
		}
	}
	return out
}
