package variant_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/variant"
)

func TestReadWhatIsWritten(t *testing.T) {
	want := variant.Variant{
		Name: "q4_k_m", Format: "gguf", Quant: "Q4_K_M", DType: "q4_k", Bits: 4.85, Runtimes: []string{"llama.cpp", "ollama"},
		Device: "cuda>=8.0", MinMem: 5600 << 20, Size: 4_683_073_536, Digest: digest.FromString("q4"),
	}
	got := variant.Read(ocispec.Descriptor{Digest: want.Digest, Annotations: want.Annotations()})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := (variant.Variant{}).Annotations(); len(got) != 0 {
		t.Errorf("of nothing %v is said", got)
	}
}

// What a registry says and is not of the form that is expected is not said.
func TestReadHostile(t *testing.T) {
	for key, values := range map[string][]string{
		mediatypes.AnnotationVariantName:    {"../x", "a b", "\x1b[2J", strings.Repeat("a", 65), "-x", "ä"},
		mediatypes.AnnotationVariantFormat:  {"gguf\n", strings.Repeat("g", 1000), "a/b"},
		mediatypes.AnnotationVariantQuant:   {"\x00", "Q4;K"},
		mediatypes.AnnotationVariantDevice:  {"cuda>=x", ">=8", "cuda>=8.0.1\n", "cuda>=99999999"},
		mediatypes.AnnotationVariantBits:    {"NaN", "Inf", "-1", "1e9", "many"},
		mediatypes.AnnotationVariantMinMem:  {"-1", "9999999999999999999", "9223372036854775807GiB", "1e3", "0x10", "MiB"},
		mediatypes.AnnotationVariantSize:    {"-5GiB", " 5"},
		mediatypes.AnnotationVariantRuntime: {strings.Repeat("vllm,", 1000), "a b,c\x1b"},
	} {
		for _, value := range values {
			v := variant.Read(ocispec.Descriptor{Annotations: map[string]string{key: value}})
			if diff := cmp.Diff(variant.Variant{}, v); diff != "" {
				t.Errorf("%s=%.40q: %s", key, value, diff)
			}
		}
	}
}

func TestOf(t *testing.T) {
	const gib = 1 << 30
	tests := map[string]struct {
		facts variant.Facts
		want  variant.Variant
	}{
		"gguf": {
			variant.Facts{
				Formats: []string{"gguf"}, Library: "gguf", Quantization: "Q4_K_M", DTypes: map[string]int64{"Q4_K": 6e9, "F32": 1e6},
				Parameters: 8e9, ContextLength: 32768, CacheBytes: 131072, Weights: 4.85e9, Size: 4.9e9,
			},
			variant.Variant{
				Name: "q4_k_m", Format: "gguf", Quant: "Q4_K_M", DType: "q4_k", Bits: 4.85, Runtimes: []string{"llama.cpp", "ollama"},
				MinMem: 4.85e9 + 4.85e8 + 4096*131072, Size: 4.9e9,
			},
		},
		"safetensors beside a tokenizer": {
			variant.Facts{
				Formats: []string{"safetensors"}, Library: "transformers", DTypes: map[string]int64{"BF16": 8e9, "F32": 10},
				Parameters: 8e9, ContextLength: 1024, CacheBytes: 1000, Weights: 16e9, Size: 16.1e9,
			},
			variant.Variant{
				Name: "safetensors", Format: "safetensors", Quant: "none", DType: "bf16", Bits: 16,
				Runtimes: []string{"kserve", "mlx", "sglang", "tensorrt-llm", "transformers", "vllm"}, MinMem: 17.6e9 + 1024*1000, Size: 16.1e9,
			},
		},
		"by the manifest alone": {
			variant.Facts{Formats: []string{"safetensors"}, Quantization: "awq", Precision: "int32,float16", Weights: gib, Size: gib},
			variant.Variant{
				Name: "safetensors-awq", Format: "safetensors", Quant: "awq", DType: "int32", Bits: 4.5,
				Runtimes: []string{"kserve", "sglang", "tensorrt-llm", "transformers", "vllm"}, MinMem: gib + gib/10, Size: gib,
			},
		},
		"mlx": {
			variant.Facts{Formats: []string{"safetensors"}, Library: "mlx", DTypes: map[string]int64{"U32": 1e9}, Parameters: 1e9, Weights: 4e9, Size: 4e9},
			variant.Variant{Name: "mlx", Format: "mlx", Runtimes: []string{"mlx"}, Device: "metal", MinMem: 4.4e9, Size: 4e9},
		},
		"nothing is known": {variant.Facts{Size: 5}, variant.Variant{Size: 5}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, variant.Of(test.facts)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseWant(t *testing.T) {
	tests := map[string]variant.Want{
		"q4_k_m":                  {Word: "q4_k_m"},
		"format=gguf,quant=Q4_0":  {Format: "gguf", Quant: "Q4_0"},
		"precision=bfloat16":      {DType: "bf16"},
		"runtime=llama-cpp":       {Runtime: "llama-cpp"},
		"gguf,device=cuda>=8.0":   {Word: "gguf", Device: "cuda>=8.0"},
		"name=a-b,quantization=x": {Name: "a-b", Quant: "x"},
	}
	for text, want := range tests {
		got, err := variant.ParseWant(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{"", "a,b", "format=", "colour=red", "runtime=word", "format=a,format=b", "device=cuda>=x", "a b"} {
		if w, err := variant.ParseWant(text); err == nil {
			t.Errorf("%q is read as %+v", text, w)
		}
	}
}

// What String says, ParseWant reads, and it chooses the same variant again.
func TestStringChoosesAgain(t *testing.T) {
	all := append(models(), variant.Variant{Name: "mine", Format: "gguf", Quant: "Q4_K_M"})
	for _, v := range all {
		w, err := variant.ParseWant(v.String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := variant.Choose(all, w)
		if err != nil || c.Variant.Name != v.Name {
			t.Errorf("%s chooses %q, %v, not %q", v, c.Variant.Name, err, v.Name)
		}
	}
}

func FuzzParseWant(f *testing.F) {
	f.Add("q4_k_m")
	f.Add("format=gguf,quant=Q4_K_M,device=cuda>=8.0")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := variant.ParseWant(text)
		if err != nil {
			return
		}
		if _, err := w.And(w); err != nil {
			t.Errorf("%q contradicts itself: %v", text, err)
		}
		_, _ = variant.Choose(models(), w)
	})
}

func FuzzRead(f *testing.F) {
	f.Add("q4", "gguf", "5600MiB", "cuda>=8.0")
	f.Add("\x1b", "g g", "-1", ">=")
	f.Fuzz(func(t *testing.T, name, format, size, device string) {
		v := variant.Read(ocispec.Descriptor{Annotations: map[string]string{
			mediatypes.AnnotationVariantName: name, mediatypes.AnnotationVariantFormat: format, mediatypes.AnnotationVariantQuant: name,
			mediatypes.AnnotationVariantMinMem: size, mediatypes.AnnotationVariantSize: size, mediatypes.AnnotationVariantDevice: device,
			mediatypes.AnnotationVariantRuntime: format, mediatypes.AnnotationVariantBits: size,
		}})
		again := variant.Read(ocispec.Descriptor{Annotations: v.Annotations()})
		again.MinMem, again.Bits = v.MinMem, v.Bits // are rounded
		if diff := cmp.Diff(v, again); diff != "" {
			t.Error(diff)
		}
		if v.MinMem < 0 || v.Size < 0 || v.Needs() < 0 {
			t.Errorf("negative size in %+v", v)
		}
	})
}
