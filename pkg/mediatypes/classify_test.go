package mediatypes_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

type class = mediatypes.Class

// noise is binary and like nothing.
var noise = strings.Repeat("\x00\xff\x13\x37\xc0\xde", 100)

// one classifies a file that lies alone.
func one(p, head string) class {
	f := mediatypes.File{Path: p, Size: int64(len(head)), Head: []byte(head)}
	return mediatypes.Classify([]mediatypes.File{f})[0]
}

func head(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "heads", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func zipOf(t testing.TB, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, n := range names {
		f, err := w.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(noise)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func tarOf(t testing.TB, name string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Size: 0, Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func safetensors(header string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header
}

// gguf is a header with one string in it.
func gguf(key, value string) string {
	b := []byte("GGUF\x03\x00\x00\x00")
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint64(b, 1)
	b = append(binary.LittleEndian.AppendUint64(b, uint64(len(key))), key...)
	b = binary.LittleEndian.AppendUint32(b, 8)
	b = append(binary.LittleEndian.AppendUint64(b, uint64(len(value))), value...)
	return string(b)
}

const (
	torchLegacy = "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
	sklearn     = "\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00\x8c\x15sklearn.linear_model\x94\x8c\x05Ridge\x94."
	savedModel  = "\x08\x01\x12\xc2\x99\x01\n\xa4\x20"
	openVINOXML = "<?xml version=\"1.0\"?>\n<net name=\"m\" version=\"11\">\n\t<layers>\n"
	pieces      = "\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\n\x0c\n\x03<s>"
)

func TestClassifyByContent(t *testing.T) {
	weight := func(format string) class { return class{Kind: "weight", Format: format} }
	role := func(format, role string) class { return class{Kind: "weight", Format: format, Role: role} }
	tests := []struct {
		name, path, head string
		want             class
	}{
		{"GGUF", "model.bin", gguf("general.architecture", "llama"), weight("gguf")},
		{"GGUF, sample", "x", head(t, "g90_ok.gguf"), weight("gguf")},
		{"GGUF, big-endian", "x", "GGUF\x00\x00\x00\x03" + noise, weight("gguf")},
		{"GGUF adapter", "x.bin", gguf("general.type", "adapter"), role("gguf", "adapter")},
		{"GGUF projector", "x.bin", gguf("general.type", "mmproj"), role("gguf", "projector")},
		{"GGUF vision encoder", "x.gguf", gguf("general.architecture", "clip"), role("gguf", "projector")},
		{"GGUF called a document", "notes.md", gguf("a", "b"), weight("gguf")},
		{"safetensors", "pytorch_model.bin", head(t, "s90_ok.safetensors"), weight("safetensors")},
		{"safetensors, padded", "x", safetensors("{  }"), weight("safetensors")},
		{"safetensors, peft", "x.safetensors", safetensors(`{"base_model.model.q_proj.lora_A.weight":{}}`), role("safetensors", "adapter")},
		{"safetensors, kohya", "style.safetensors", safetensors(`{"lora_unet_mid.lora_down.weight":{}}`), role("safetensors", "adapter")},
		{"torch zip", "x.bin", head(t, "b01_state_dict.pt"), weight("pytorch")},
		{"torch zip called safe", "x.safetensors", head(t, "p70_torch.pt"), weight("pytorch")},
		{"torch script", "x", zipOf(t, "m/code/a.py", "m/constants.pkl"), weight("pytorch")},
		{"torch before zip", "x.bin", torchLegacy, weight("pytorch")},
		{"pickle 5", "x.bin", head(t, "b02_plain.pkl"), weight("pickle")},
		{"pickle 4", "x.txt", head(t, "p02_stack_global_v4.pkl"), weight("pickle")},
		{"pickle 2 in the middle of a file", "x", "\x80\x02}q\x00" + noise, weight("pickle")},
		{"pickle 2 of an object", "x", "\x80\x02cfoo\nBar\n" + noise, weight("pickle")},
		{"pickle of scikit-learn", "x.pkl", sklearn, weight("sklearn")},
		{"joblib, seen", "x.joblib", sklearn, weight("sklearn")},
		{"joblib of something else", "x.joblib", head(t, "b02_plain.pkl"), weight("pickle")},
		{"ONNX", "x", head(t, "o90_ok.onnx"), weight("onnx")},
		{"ONNX with a producer", "x.bin", "\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + noise, weight("onnx")},
		{"ONNX with a graph first", "x.onnx", "\x08\x07:\xc2\x01" + noise, weight("onnx")},
		{"ONNX Runtime", "x", "\x20\x00\x00\x00ORTM" + noise, weight("onnx")},
		{"HDF5", "x.bin", "\x89HDF\r\n\x1a\n" + noise, weight("keras")},
		{"Keras 3", "x", zipOf(t, "metadata.json", "config.json", "model.weights.h5"), weight("keras")},
		{"Keras 3, sample", "k01_lambda.keras", head(t, "k01_lambda.keras"), weight("keras")},
		{"TFLite", "x.bin", "\x1c\x00\x00\x00TFL3" + noise, weight("tflite")},
		{"NumPy", "x.bin", head(t, "b04_float.npy"), weight("numpy")},
		{"NumPy archive", "x", zipOf(t, "arr_0.npy"), weight("numpy")},
		{"skops", "x.skops", zipOf(t, "140.npy", "schema.json"), weight("skops")},
		{"TensorRT", "x.bin", "ftrt\x01\x00\x00\x00" + noise, weight("tensorrt")},
		{"NeMo", "x", tarOf(t, "./model_config.yaml"), weight("nemo")},
		{"XGBoost JSON", "x.json", "{ \"learner\" : {\n\"attributes\":{}", weight("xgboost")},
		{"XGBoost JSON, version first", "x", `{"version":[1,7,6],"learner":{"attributes":{}`, weight("xgboost")},
		{"XGBoost UBJSON", "x.model", "{L\x00\x00\x00\x00\x00\x00\x00\x07learner{" + noise, weight("xgboost")},
		{"XGBoost, old", "x.model", "binf\x00\x00\x00\x3f" + noise, weight("xgboost")},
		{"LightGBM", "x.txt", "tree\nversion=v4\nnum_class=1\n", weight("lightgbm")},
		{"PMML", "x.xml", "<?xml version=\"1.0\"?>\n<PMML version=\"4.4\">", weight("pmml")},
		{"OpenVINO graph", "x.xml", openVINOXML, class{Kind: "weight.config", Format: "openvino"}},
		{"TensorFlow.js", "model.json", `{"format": "graph-model", "weightsManifest": []}`, class{Kind: "weight.config", Format: "tensorflow"}},
		{"SentencePiece", "x.model", pieces, class{Kind: "weight.config", Role: "tokenizer"}},
		{"Parquet", "x.bin", "PAR1\x15\x04\x15" + noise, class{Kind: "dataset"}},
		{"Arrow", "x.bin", "ARROW1\x00\x00" + noise, class{Kind: "dataset"}},
		{"NetCDF 4", "x.nc", "\x89HDF\r\n\x1a\n" + noise, class{Kind: "dataset"}},
		{"program", "x.bin", "\x7fELF\x02\x01\x01" + noise, class{Kind: "code"}},

		{"only the magic of GGUF", "x.bin", head(t, "g40_only_magic.gguf"), weight("")},
		{"word GGUF", "notes.txt", "GGUF is a format", class{Kind: "weight.config"}},
		{"safetensors longer than the file", "x.dat", head(t, "s01_len_max.safetensors"), weight("")},
		{"text of LightGBM quoted", "x.md", "tree\nversion=v4\n", class{Kind: "doc"}},
		{"text of PMML in a program", "x.py", "<PMML version", class{Kind: "code"}},
		{"SavedModel is no ONNX", "x.pb", savedModel, weight("tensorflow")},
		{"zip of a document", "x.docx", zipOf(t, "data.pkl"), class{Kind: "doc"}},
		{"word that begins with ORC", "orc.txt", "ORCHESTRA", class{Kind: "weight.config"}},
		{"two bytes of a pickle", "x.bin", "\x80\x02" + noise, weight("")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, one(tt.path, tt.head)); diff != "" {
				t.Errorf("Classify(%s) (-want +got):\n%s", tt.path, diff)
			}
		})
	}
}

func TestClassifyByName(t *testing.T) {
	text, binary := "some text\n", noise
	tests := []struct {
		names, head string
		want        class
	}{
		{"model.safetensors a/model-00001-of-00002.safetensors", "", class{Kind: "weight", Format: "safetensors"}},
		{"m.gguf", binary, class{Kind: "weight", Format: "gguf"}},
		{"mmproj-model-f16.gguf model.mmproj-Q8_0.gguf", binary, class{Kind: "weight", Format: "gguf", Role: "projector"}},
		{"mm_projector.bin", binary, class{Kind: "weight", Role: "projector"}},
		{"adapter_model.safetensors pytorch_lora_weights.safetensors adapters.safetensors", binary, class{Kind: "weight", Format: "safetensors", Role: "adapter"}},
		{"adapter_model.bin", binary, class{Kind: "weight", Format: "pytorch", Role: "adapter"}},
		{"adapter_config.json", "{}", class{Kind: "weight.config", Role: "adapter"}},
		{"m.onnx m.ort", binary, class{Kind: "weight", Format: "onnx"}},
		{"m.onnx_data m.onnx.data m.onnx_data_1 sub/Model.ONNX_data", binary, class{Kind: "weight", Format: "onnx"}},
		{"m.pt m.pth m.ckpt pytorch_model-00001-of-00002.bin m.pth.tar consolidated.00.pth __0_0.distcp", binary, class{Kind: "weight", Format: "pytorch"}},
		{"saved_model.pb frozen.pb model.ckpt-10.data-00000-of-00001 model.ckpt-10.index model.ckpt-10.meta group1-shard1of4.bin", binary, class{Kind: "weight", Format: "tensorflow"}},
		{"checkpoint", text, class{Kind: "weight.config", Format: "tensorflow"}},
		{"m.h5 m.keras m.weights.h5", binary, class{Kind: "weight", Format: "keras"}},
		{"m.tflite", binary, class{Kind: "weight", Format: "tflite"}},
		{"flax_model.msgpack flax_model-00001-of-00002.msgpack", binary, class{Kind: "weight", Format: "flax"}},
		{"m.mlmodel M.mlpackage/Data/com.apple.CoreML/weights/weight.bin m.mlmodelc/model.mil", binary, class{Kind: "weight", Format: "coreml"}},
		{"M.mlpackage/Manifest.json m.mlmodelc/metadata.json", "{}", class{Kind: "weight.config", Format: "coreml"}},
		{"openvino_model.bin", binary, class{Kind: "weight", Format: "openvino"}},
		{"openvino_model.xml", text, class{Kind: "weight.config", Format: "openvino"}},
		{"m.engine m.plan m.trt", binary, class{Kind: "weight", Format: "tensorrt"}},
		{"m.nemo", binary, class{Kind: "weight", Format: "nemo"}},
		{"m.joblib", head(t, "p51_gzip.joblib"), class{Kind: "weight", Format: "sklearn"}},
		{"m.skops", binary, class{Kind: "weight", Format: "skops"}},
		{"m.ubj m.xgb", binary, class{Kind: "weight", Format: "xgboost"}},
		{"m.pmml", text, class{Kind: "weight", Format: "pmml"}},
		{"m.npy m.npz", binary, class{Kind: "weight", Format: "numpy"}},
		{"m.pkl m.pickle p01.pkl", head(t, "p01_global_v0.pkl"), class{Kind: "weight", Format: "pickle"}},
		{"m.pkl", head(t, "p24_binunicode8_huge.pkl"), class{Kind: "weight", Format: "pickle"}},
		{"m.bin m.model m.dduf m.pte m.llamafile unknown m.xyz .hidden", binary, class{Kind: "weight"}},

		{"config.json generation_config.json model_index.json unet/config.json preprocessor_config.json params.json CONFIG.JSON", "{}", class{Kind: "weight.config", Role: "config"}},
		{"tokenizer.json tokenizer_config.json vocab.txt vocab.json merges.txt special_tokens_map.json added_tokens.json tekken.json qwen.tiktoken", text, class{Kind: "weight.config", Role: "tokenizer"}},
		{"tokenizer.model spiece.model sentencepiece.bpe.model source.spm tokenizer.model.v3", binary, class{Kind: "weight.config", Role: "tokenizer"}},
		{"chat_template.jinja additional_chat_templates/rag.jinja chat_template.json", text, class{Kind: "weight.config", Role: "chat-template"}},
		{"model.safetensors.index.json pytorch_model.bin.index.json adapter_model.safetensors.index.json", "{}", class{Kind: "weight.config", Role: "index"}},
		{"x.yaml x.toml x.json labels.txt unknown m.xyz .hidden", text, class{Kind: "weight.config"}},
		{"empty empty.xyz", "", class{Kind: "weight.config"}},

		{"README.md readme README.rst Readme.zh.md README.txt", text, class{Kind: "doc", Role: "card"}},
		{"sub/README.md", text, class{Kind: "doc"}},
		{"LICENSE LICENSE.md LICENSE-MIT.txt licence COPYING NOTICE NOTICE.txt a/LICENSE-2.0 LICENSE_CODE Notice", text, class{Kind: "doc", Role: "license"}},
		{"guide.pdf a.png b.JPG c.md CHANGELOG.md x.log x.mp4", binary, class{Kind: "doc"}},
		{"events.out.tfevents.1700000000.host", binary, class{Kind: "doc"}},

		{"train.py run.sh x.ipynb Dockerfile Dockerfile.cuda requirements.txt requirements-dev.txt Makefile pyproject.toml environment.yml kernel.cu license.py readme.py .gitattributes", text, class{Kind: "code"}},
		{"start unknown", "#!/bin/sh\n", class{Kind: "code"}},

		{"x.parquet x.csv x.jsonl x.arrow a/b.tsv x.tfrecord x.jsonl.gz", text, class{Kind: "dataset"}},
		{"data/x.json data/images/a.png Datasets/x.txt data/x.zip data/raw/sound.wav data/x.bin.xyz", binary, class{Kind: "dataset"}},
		{"data/x.npy data/x.npz", head(t, "b04_float.npy"), class{Kind: "dataset", Format: "numpy"}},
		{"data/x.pkl", head(t, "b02_plain.pkl"), class{Kind: "dataset", Format: "pickle"}},
		{"data/load.py", text, class{Kind: "code"}},
		{"data/README.md data/guide.md", text, class{Kind: "doc"}},
		{"data/lang_bpe/bpe.model", pieces, class{Kind: "weight.config", Role: "tokenizer"}},
		{"data/model.safetensors", head(t, "s90_ok.safetensors"), class{Kind: "weight", Format: "safetensors"}},
	}
	for _, tt := range tests {
		for name := range strings.FieldsSeq(tt.names) {
			t.Run(name, func(t *testing.T) {
				if diff := cmp.Diff(tt.want, one(name, tt.head)); diff != "" {
					t.Errorf("Classify(%s) (-want +got):\n%s", name, diff)
				}
			})
		}
	}
}

// TestReadmeStays states that a name that people read by is a document,
// whatever is in it.
func TestReadmeStays(t *testing.T) {
	for _, name := range []string{"README.md", "LICENSE", "NOTICE.txt"} {
		for _, content := range []string{gguf("a", "b"), torchLegacy, noise, "tree\nversion=v4\n", ""} {
			if got := one(name, content); got.Kind != mediatypes.KindDoc {
				t.Errorf("Classify(%s) = %+v with %.8q", name, got, content)
			}
		}
	}
}

func TestClassifyNeighbours(t *testing.T) {
	type file struct {
		head string
		want string // kind, format
	}
	tests := []struct {
		name  string
		files map[string]file
	}{
		{"SavedModel", map[string]file{
			"1/saved_model.pb":                          {savedModel, "weight tensorflow"},
			"1/variables/variables.data-00000-of-00001": {noise, "weight tensorflow"},
			"1/variables/variables.index":               {noise, "weight tensorflow"},
			"1/variables/odd":                           {torchLegacy, "weight tensorflow"},
			"1/assets/vocab.txt":                        {"a\nb\n", "weight.config tensorflow"},
			"1/keras_metadata.pb":                       {noise, "weight tensorflow"},
			"variables/odd":                             {noise, "weight "},
		}},
		{"ONNX with external data", map[string]file{
			"onnx/model.onnx":          {"\x08\x08\x12\x07pytorch" + noise, "weight onnx"},
			"onnx/onnx__MatMul_123":    {noise, "weight onnx"},
			"onnx/bert.encoder.weight": {noise, "weight onnx"},
			"onnx/weights.pb":          {noise, "weight onnx"},
			"onnx/graph.pb":            {noise, "weight tensorflow"},
			"onnx/model.data":          {noise, "weight onnx"},
			"onnx/notes":               {"text", "weight.config "},
			"onnx/other.gguf":          {noise, "weight gguf"},
			"onnx/pytorch_model.bin":   {torchLegacy, "weight pytorch"},
			"elsewhere/model.data":     {noise, "weight "},
		}},
		{"OpenVINO", map[string]file{
			"ir/model.xml":   {openVINOXML, "weight.config openvino"},
			"ir/model.bin":   {"\x80\x02}q\x00" + noise, "weight openvino"},
			"ir/other.bin":   {noise, "weight "},
			"ir/other.xml":   {"<a/>", "weight.config "},
			"other/mode.bin": {noise, "weight "},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var files []mediatypes.File
			for p, f := range tt.files {
				files = append(files, mediatypes.File{Path: p, Size: 1 << 20, Head: []byte(f.head)})
			}
			got := mediatypes.Classify(files)
			for i, f := range files {
				if have := string(got[i].Kind) + " " + got[i].Format; have != tt.files[f.Path].want {
					t.Errorf("Classify(%s) = %q, want %q", f.Path, have, tt.files[f.Path].want)
				}
			}
		})
	}
}

// TestClassifyLongHead states that no more than HeadBytes are looked at.
func TestClassifyLongHead(t *testing.T) {
	long := strings.Repeat("a", mediatypes.HeadBytes) + noise
	if got, want := one("x.xyz", long), one("x.xyz", long[:mediatypes.HeadBytes]); got != want {
		t.Errorf("Classify = %+v, want %+v", got, want)
	}
	cut := strings.Repeat("a", mediatypes.HeadBytes-1) + "é"
	if got := one("x.xyz", cut[:mediatypes.HeadBytes]); got.Kind != mediatypes.KindWeightConfig {
		t.Errorf("text that ends within a character is %+v", got)
	}
}

// FuzzClassify states that every file has one of the five kinds and a format
// that is documented, that neither order nor repetition matters, and that a
// README is a document.
func FuzzClassify(f *testing.F) {
	entries, err := os.ReadDir("testdata/heads")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		f.Add(e.Name(), []byte(head(f, e.Name())), "model.onnx", []byte(noise), int64(1<<20))
	}
	f.Add("1/variables/x", []byte(noise), "1/saved_model.pb", []byte(savedModel), int64(0))
	f.Add("m.xml", []byte(openVINOXML), "m.bin", []byte(noise), int64(-1))
	f.Add("a.npz", []byte(zipOf(f, "a.npy")), "data/x", []byte(pieces), int64(5))
	formats := strings.Fields("safetensors gguf onnx pytorch tensorflow keras tflite flax coreml openvino tensorrt nemo sklearn skops xgboost lightgbm pmml numpy pickle")
	f.Fuzz(func(t *testing.T, p1 string, h1 []byte, p2 string, h2 []byte, size int64) {
		a, b := mediatypes.File{Path: p1, Size: size, Head: h1}, mediatypes.File{Path: p2, Size: int64(len(h2)), Head: h2}
		got := mediatypes.Classify([]mediatypes.File{a, b})
		for i, c := range got {
			if !slices.Contains(kinds, c.Kind) || c.Format != "" && !slices.Contains(formats, c.Format) {
				t.Fatalf("file %d is %+v", i, c)
			}
		}
		again := mediatypes.Classify([]mediatypes.File{b, a, b})
		if again[0] != got[1] || again[1] != got[0] || again[2] != got[1] {
			t.Fatalf("got %+v, in other order %+v", got, again)
		}
		if path.Base(p1) == "README.md" && got[0].Kind != mediatypes.KindDoc {
			t.Fatalf("README.md is %+v", got[0])
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	files := make([]mediatypes.File, 0, 2000)
	for range cap(files) / 4 {
		files = append(files,
			mediatypes.File{Path: "a/b/model.safetensors", Size: 1 << 30, Head: []byte(safetensors(`{"a":{}}` + strings.Repeat(" ", 4000)))},
			mediatypes.File{Path: "a/b/tokenizer.json", Size: 1 << 20, Head: []byte("{" + strings.Repeat(`"a": 1,`, 580))},
			mediatypes.File{Path: "data/x.bin", Size: 1 << 20, Head: []byte(strings.Repeat(noise, 6))},
			mediatypes.File{Path: "notes", Size: 1 << 12, Head: []byte(strings.Repeat("words and ", 400))})
	}
	b.ReportAllocs()
	for b.Loop() {
		mediatypes.Classify(files)
	}
}
