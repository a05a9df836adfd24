package format_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format"
)

// bytesFile is a file in memory.
type bytesFile struct{ *bytes.Reader }

func (bytesFile) Close() error { return nil }

// memory returns files by path with their content.
func memory(content map[string]string) []format.File {
	var files []format.File
	for _, name := range slices.Sorted(maps.Keys(content)) {
		b := []byte(content[name])
		files = append(files, format.File{Path: name, Size: int64(len(b)), Open: func(context.Context) (format.ReaderAtCloser, error) {
			return bytesFile{bytes.NewReader(b)}, nil
		}})
	}
	return files
}

// written returns the files that write puts in a directory.
func written(t *testing.T, write func(testing.TB, string)) []format.File {
	t.Helper()
	dir := t.TempDir()
	write(t, dir)
	return memory(content(t, dir))
}

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func describe(t *testing.T, files []format.File) *format.Model {
	t.Helper()
	m, err := format.Describe(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDescribeFormats(t *testing.T) {
	tests := map[string]struct {
		write func(testing.TB, string)
		want  format.Model
	}{
		"complete": {
			func(t testing.TB, dir string) { testmodel.Write(t, dir) },
			format.Model{
				Architecture: "LlamaForCausalLM", Family: "llama", Parameters: 24, DTypes: map[string]int64{"F32": 16, "F16": 8},
				DType: "float32", Formats: []string{"safetensors"}, ContextLength: 2048, Library: "transformers", Task: "text-generation",
				ChatTemplate: true,
			},
		},
		"shards": {
			testmodel.ShardedSafetensors,
			format.Model{
				Architecture: "LlamaForCausalLM", Family: "llama", Parameters: 24, DTypes: map[string]int64{"F32": 16, "F16": 8},
				DType: "float32", Formats: []string{"safetensors"}, ContextLength: 2048, Library: "transformers", Task: "text-generation",
			},
		},
		"gguf": {
			testmodel.GGUF,
			format.Model{
				Architecture: "llama", Family: "llama", Parameters: 68, DTypes: map[string]int64{"Q8_0": 64, "F32": 4},
				Formats: []string{"gguf"}, ContextLength: 4096, Quantization: "Q8_0", Library: "gguf", ChatTemplate: true,
				Languages: []string{"en", "de"},
			},
		},
		"onnx": {
			testmodel.ONNX,
			format.Model{Parameters: 12, DTypes: map[string]int64{"F32": 12}, Formats: []string{"onnx"}},
		},
		"pytorch": {
			testmodel.TorchZip,
			format.Model{
				Architecture: "LlamaForCausalLM", Family: "llama", Parameters: 6, DTypes: map[string]int64{"F32": 6},
				DType: "float32", Formats: []string{"pytorch"}, ContextLength: 2048, Library: "transformers", Task: "text-generation",
			},
		},
		"numpy, and a choice": {
			testmodel.Numpy,
			format.Model{Formats: []string{"numpy"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(&test.want, describe(t, written(t, test.write))); diff != "" {
				t.Errorf("Describe (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDescribeConfig(t *testing.T) {
	const causal = `{"architectures":["XForCausalLM"],"model_type":"x"`
	tests := map[string]struct {
		files map[string]string
		want  format.Model
	}{
		"nothing": {nil, format.Model{}},
		"nested text": {
			map[string]string{"config.json": `{"model_type":"vl","architectures":["VLForConditionalGeneration"],"text_config":{"max_position_embeddings":8192,"dtype":"bfloat16"}}`},
			format.Model{Architecture: "VLForConditionalGeneration", Family: "vl", ContextLength: 8192, DType: "bfloat16", Library: "transformers"},
		},
		"text and pictures": {
			map[string]string{"config.json": causal + `,"vision_config":{"a":1}}`},
			format.Model{Architecture: "XForCausalLM", Family: "x", Library: "transformers"},
		},
		"other names": {
			map[string]string{"config.json": causal + `,"n_positions":1024.0,"dtype":"float16","torch_dtype":"float32"}`},
			format.Model{Architecture: "XForCausalLM", Family: "x", ContextLength: 1024, DType: "float16", Library: "transformers", Task: "text-generation"},
		},
		"quantised code of its own": {
			map[string]string{"config.json": causal + `,"auto_map":{"AutoModel":"m.M"},"quantization_config":{"quant_method":"awq","bits":4}}`},
			format.Model{Architecture: "XForCausalLM", Family: "x", CustomCode: true, Quantization: "awq", Library: "transformers", Task: "text-generation"},
		},
		"wrong types": {
			map[string]string{"config.json": `{"architectures":"X","model_type":1,"max_position_embeddings":"many","n_ctx":-1,"n_positions":1.5,"auto_map":{},"quantization_config":null,"torch_dtype":null}`},
			format.Model{},
		},
		"not quite JSON": {
			map[string]string{"config.json": causal + `,"limit":[0.0, Infinity, -Infinity, NaN],"text":"NaN \" Infinity"}`},
			format.Model{Architecture: "XForCausalLM", Family: "x", Library: "transformers", Task: "text-generation"},
		},
		"weights that transformers does not load": {
			map[string]string{"config.json": `{"model_type":"mlp"}`, "model.tflite": ""},
			format.Model{Family: "mlp", Formats: []string{"tflite"}},
		},
		"adapter": {
			map[string]string{"adapter_config.json": `{"base_model_name_or_path":"acme/base","peft_type":"LORA","task_type":"CAUSAL_LM"}`},
			format.Model{BaseModel: "acme/base", Library: "peft", Task: "text-generation"},
		},
		"sentence transformers": {
			map[string]string{"config.json": `{"model_type":"bert","architectures":["BertModel"],"max_position_embeddings":512}`, "modules.json": `[]`},
			format.Model{Architecture: "BertModel", Family: "bert", ContextLength: 512, Library: "sentence-transformers", Task: "sentence-similarity"},
		},
		"chat templates": {
			map[string]string{"chat_template.jinja": "{{ messages }}", "tokenizer_config.json": `{"chat_template":""}`},
			format.Model{ChatTemplate: true},
		},
		"named chat templates": {
			map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"default","template":"x"}],"auto_map":{"AutoTokenizer":["t.T",null]}}`},
			format.Model{ChatTemplate: true, CustomCode: true},
		},
		"reads documents": {
			map[string]string{"config.json": `{"model_type":"layoutlmv3","architectures":["LayoutLMv3ForQuestionAnswering"]}`},
			format.Model{Architecture: "LayoutLMv3ForQuestionAnswering", Family: "layoutlmv3", Library: "transformers"},
		},
		"other libraries": {
			map[string]string{"a.nemo": "", "b.keras": ""},
			format.Model{Formats: []string{"keras", "nemo"}, Library: "nemo"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(&test.want, describe(t, memory(test.files))); diff != "" {
				t.Errorf("Describe (-want +got):\n%s", diff)
			}
		})
	}
}

// safe is a safetensors file of one tensor of n elements.
func safe(n int64, dtype string, size int64) string {
	return string(testmodel.SafetensorsFile([]testmodel.Tensor{{Name: "w", DType: dtype, Shape: []int64{n}, Data: make([]byte, n*size)}}, nil))
}

// quantised is a GGUF of n elements that says it has a file type.
func quantised(n uint64, fileType uint32) string {
	return string(testmodel.GGUFFile(testmodel.GGUFModel{
		KV:      []testmodel.KV{{Key: "general.architecture", Value: "llama"}, {Key: "general.file_type", Value: fileType}},
		Tensors: []testmodel.GGUFTensor{{Name: "w", Dims: []uint64{n}, Data: make([]byte, 4*n)}},
	}))
}

// One representation is counted, and none where it is not clear which.
func TestParameters(t *testing.T) {
	torch := string(testmodel.TorchFile(testmodel.Tensor{Name: "w", Shape: []int64{7}, Data: make([]byte, 28)}))
	index := func(names ...string) string {
		var entries []string
		for i, name := range names {
			entries = append(entries, fmt.Sprintf(`"t%d":%q`, i, name))
		}
		return `{"metadata":{},"weight_map":{` + strings.Join(entries, ",") + `}}`
	}
	tests := map[string]struct {
		files map[string]string
		want  int64
	}{
		"safetensors before others":   {map[string]string{"model.safetensors": safe(3, "F32", 4), "pytorch_model.bin": torch, "onnx/model.onnx": string(testmodel.ONNXFile()), "x.gguf": quantised(8, 0)}, 3},
		"the same for Mistral":        {map[string]string{"model-00001-of-00001.safetensors": safe(3, "F32", 4), "consolidated.safetensors": safe(3, "F32", 4)}, 3},
		"usual name":                  {map[string]string{"model.safetensors": safe(3, "F32", 4), "rotary.safetensors": safe(5, "F32", 4)}, 3},
		"variant":                     {map[string]string{"model.safetensors": safe(3, "F32", 4), "model.fp16.safetensors": safe(3, "F16", 2)}, 3},
		"unusual name":                {map[string]string{"lora.safetensors": safe(3, "F32", 4)}, 3},
		"unusual names":               {map[string]string{"a.safetensors": safe(3, "F32", 4), "b.safetensors": safe(5, "F32", 4)}, 0},
		"root before directories":     {map[string]string{"model.safetensors": safe(3, "F32", 4), "2_Dense/model.safetensors": safe(5, "F32", 4)}, 3},
		"two directories":             {map[string]string{"a/model.safetensors": safe(3, "F32", 4), "b/model.safetensors": safe(5, "F32", 4)}, 0},
		"numbered without an index":   {map[string]string{"m-00001-of-00002.safetensors": safe(3, "F32", 4), "m-00002-of-00002.safetensors": safe(4, "F32", 4)}, 7},
		"number missing":              {map[string]string{"m-00001-of-00002.safetensors": safe(3, "F32", 4)}, 0},
		"index":                       {map[string]string{"model.safetensors.index.json": index("a.safetensors", "b.safetensors", "a.safetensors"), "a.safetensors": safe(3, "F32", 4), "b.safetensors": safe(4, "F32", 4)}, 7},
		"index with a file missing":   {map[string]string{"model.safetensors.index.json": index("a.safetensors", "b.safetensors"), "a.safetensors": safe(3, "F32", 4)}, 0},
		"index of PyTorch":            {map[string]string{"pytorch_model.bin.index.json": index("pytorch_model-1.bin"), "pytorch_model-1.bin": torch}, 7},
		"malformed":                   {map[string]string{"model.safetensors": "x", "pytorch_model.bin": torch}, 0},
		"malformed shard":             {map[string]string{"m-00001-of-00002.safetensors": safe(3, "F32", 4), "m-00002-of-00002.safetensors": "x"}, 0},
		"quantisations":               {map[string]string{"a-Q2_K.gguf": quantised(4, 10), "a-Q4_K_M.gguf": quantised(5, 15), "a-Q8_0.gguf": quantised(6, 7)}, 5},
		"no usual quantisation":       {map[string]string{"a-Q2_K.gguf": quantised(4, 10), "a-Q3_K_M.gguf": quantised(5, 12)}, 4},
		"projector":                   {map[string]string{"a.gguf": quantised(4, 10), "mmproj-a.gguf": quantised(9, 15)}, 4},
		"split GGUF":                  {map[string]string{"a-00001-of-00002.gguf": quantised(4, 10), "a-00002-of-00002.gguf": quantised(9, 10)}, 13},
		"GPTQ":                        {map[string]string{"config.json": `{"quantization_config":{"quant_method":"gptq","bits":4}}`, "model.safetensors": gptq}, 8*2 + 5},
		"GPTQ of unknown bits":        {map[string]string{"config.json": `{"quantization_config":{"quant_method":"gptq"}}`, "model.safetensors": gptq}, 0},
		"packed by another method":    {map[string]string{"config.json": `{"quantization_config":{"quant_method":"mxfp4"}}`, "model.safetensors": safe(8, "U8", 1)}, 0},
		"quantised but not packed":    {map[string]string{"config.json": `{"quantization_config":{"quant_method":"fp8"}}`, "model.safetensors": safe(8, "F8_E4M3", 1)}, 8},
		"pipeline":                    {map[string]string{"model_index.json": pipeline, "unet/diffusion_pytorch_model.safetensors": safe(3, "F32", 4), "unet/diffusion_pytorch_model.fp16.safetensors": safe(3, "F16", 2), "vae/diffusion_pytorch_model.safetensors": safe(4, "F32", 4), "other/model.safetensors": safe(9, "F32", 4)}, 7},
		"pipeline with a broken part": {map[string]string{"model_index.json": pipeline, "unet/diffusion_pytorch_model.safetensors": safe(3, "F32", 4), "vae/diffusion_pytorch_model.safetensors": "x"}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := describe(t, memory(test.files))
			if m.Parameters != test.want {
				t.Errorf("Parameters = %d, want %d (by type: %v)", m.Parameters, test.want, m.DTypes)
			}
		})
	}
}

const pipeline = `{"_class_name":"StableDiffusionPipeline","unet":["diffusers","UNet2DConditionModel"],"vae":["diffusers","AutoencoderKL"],"safety_checker":[null,null],"scheduler":["diffusers","PNDMScheduler"]}`

var gptq = string(testmodel.SafetensorsFile([]testmodel.Tensor{
	{Name: "a.qweight", DType: "I32", Shape: []int64{2}, Data: make([]byte, 8)},
	{Name: "a.qzeros", DType: "I32", Shape: []int64{1}, Data: make([]byte, 4)},
	{Name: "a.scales", DType: "F16", Shape: []int64{1}, Data: make([]byte, 2)},
	{Name: "norm.weight", DType: "F16", Shape: []int64{5}, Data: make([]byte, 10)},
}, nil))

func TestQuantizationOfSeveralGGUF(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"one":           {map[string]string{"a.gguf": quantised(4, 15)}, "Q4_K_M"},
		"the same":      {map[string]string{"a.gguf": quantised(4, 15), "b.gguf": quantised(4, 15)}, "Q4_K_M"},
		"different":     {map[string]string{"a.gguf": quantised(4, 15), "b.gguf": quantised(4, 7)}, ""},
		"not quantised": {map[string]string{"a.gguf": quantised(4, 1)}, ""},
		"with mmproj":   {map[string]string{"a.gguf": quantised(4, 15), "mmproj-f16.gguf": quantised(4, 1)}, "Q4_K_M"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := describe(t, memory(test.files)).Quantization; got != test.want {
				t.Errorf("Quantization = %q, want %q", got, test.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	tests := map[string]struct {
		files     map[string]string
		path      string
		says      string
		malformed bool
	}{
		"weights":         {map[string]string{"a.safetensors": "x"}, "a.safetensors", "invalid safetensors", true},
		"config":          {map[string]string{"config.json": "{"}, "config.json", "invalid json", true},
		"key twice":       {map[string]string{"config.json": `{"model_type":"a","model_type":"b"}`}, "config.json", "duplicate", true},
		"list":            {map[string]string{"config.json": `[]`}, "config.json", "not what it should be", true},
		"deep":            {map[string]string{"config.json": `{"a":` + strings.Repeat("[", 200_000)}, "config.json", "nested deeper than 64", true},
		"index":           {map[string]string{"model.safetensors.index.json": `{}`}, "model.safetensors.index.json", "no weight_map", true},
		"index of wrong":  {map[string]string{"model.safetensors.index.json": `{"weight_map":{"a":1}}`}, "model.safetensors.index.json", "invalid json", true},
		"shard missing":   {map[string]string{"model.safetensors.index.json": `{"weight_map":{"a":"b.safetensors"}}`}, "model.safetensors.index.json", "b.safetensors", false},
		"data missing":    {map[string]string{"onnx/m.onnx": external("data", "0", "4")}, "onnx/m.onnx", "onnx/data", false},
		"data too short":  {map[string]string{"m.onnx": external("data", "1", "4"), "data": "1234"}, "m.onnx", "ends beyond data", true},
		"data outside":    {map[string]string{"m.onnx": external("../data", "", "")}, "m.onnx", "outside the model", true},
		"content is else": {map[string]string{"m.gguf": safe(1, "F32", 4)}, "m.gguf", "no GGUF magic", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := describe(t, memory(test.files))
			if len(m.Problems) != 1 {
				t.Fatalf("%d problems, want 1: %v", len(m.Problems), m.Problems)
			}
			p := m.Problems[0]
			if p.Path != test.path || !strings.Contains(p.Err.Error(), test.says) {
				t.Errorf("problem %s: %v; want %s: %s", p.Path, p.Err, test.path, test.says)
			}
			if errors.Is(p.Err, format.ErrMalformed) != test.malformed || errors.Is(p.Err, fs.ErrNotExist) == test.malformed {
				t.Errorf("%v is malformed: %t, want %t", p.Err, !test.malformed, test.malformed)
			}
		})
	}
}

func external(location, offset, length string) string {
	return string(testmodel.ONNXFile(testmodel.ONNXExternal("w", []int64{1}, location, offset, length)))
}

func TestDescribeReturnsErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, name := range []string{"config.json", "model.safetensors", "model.safetensors.index.json"} {
		files := []format.File{{Path: name, Size: 10, Open: func(context.Context) (format.ReaderAtCloser, error) { return nil, broken }}}
		if _, err := format.Describe(t.Context(), files); !errors.Is(err, broken) || !strings.Contains(err.Error(), name) {
			t.Errorf("Describe error = %v, want that of opening %s", err, name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := format.Describe(ctx, memory(map[string]string{"model.safetensors": safe(1, "F32", 4)})); !errors.Is(err, context.Canceled) {
		t.Errorf("Describe error = %v, want context.Canceled", err)
	}
}

// What Describe opens it closes, once each, also where it fails to parse.
func TestFilesAreClosed(t *testing.T) {
	open := 0
	files := memory(map[string]string{"config.json": "{", "a.safetensors": "x", "b.gguf": quantised(4, 1), "c.safetensors.index.json": "{}"})
	for i, f := range files {
		inner := f.Open
		files[i].Open = func(ctx context.Context) (format.ReaderAtCloser, error) {
			r, err := inner(ctx)
			open++
			return counted{r, &open}, err
		}
	}
	for i := range files { // one at a time: the count has no lock
		describe(t, files[i:i+1])
	}
	if open != 0 {
		t.Errorf("%d files are open", open)
	}
}

type counted struct {
	format.ReaderAtCloser
	open *int
}

func (c counted) Close() error {
	*c.open--
	return c.ReaderAtCloser.Close()
}

// FuzzDescribeConfig checks that no configuration is an error or makes up
// numbers.
func FuzzDescribeConfig(f *testing.F) {
	f.Add(testmodel.Config)
	f.Add(`{"architectures":[null],"max_position_embeddings":1e400,"text_config":{"n_ctx":9223372036854775808}}`)
	f.Add(`{"quantization_config":{"quant_method":"gptq","bits":0},"a":-Infinity}`)
	f.Fuzz(func(t *testing.T, config string) {
		m := describe(t, memory(map[string]string{
			"config.json": config, "tokenizer_config.json": config, "model_index.json": config, "model.safetensors.index.json": config,
			"model.safetensors": gptq,
		}))
		if m.ContextLength < 0 || m.Parameters < 0 {
			t.Errorf("Describe = %+v", m)
		}
	})
}
