package mediatypes

import "maps"

// dataDirectories are those whose unknown files are taken for data.
var dataDirectories = set("data", "dataset", "datasets", "train_data", "test_data", "eval_data", "training_data", "corpus", "corpora")

// documentExtensions are those of texts that stay documents wherever they lie.
var documentExtensions = set("", ".md", ".markdown", ".mdx", ".txt", ".rst", ".adoc", ".asciidoc", ".html", ".htm", ".pdf", ".rtf", ".docx", ".odt", ".tex", ".bib", ".org")

// licenseWords begin the names of licences and what belongs to them.
var licenseWords = []string{"license", "licence", "licenses", "licences", "copying", "copyright", "notice", "unlicense", "third_party_notices", "thirdpartynotices"}

// weightRoles are parts of the names of weights that do not stand alone.
var weightRoles = []struct{ part, role string }{
	{"mmproj", "projector"},
	{"mm_projector", "projector"},
	{"adapter_model", "adapter"},
	{"adapters.safetensors", "adapter"}, // mlx-lm
	{"pytorch_lora_weights", "adapter"}, // diffusers
	{"ggml-adapter", "adapter"},
}

// names are files known by their whole name, in lower case.
var names = merge(
	all(Class{Kind: KindWeightConfig, Role: "config"},
		"config.json", "generation_config.json", "model_index.json", "params.json", "preprocessor_config.json",
		"processor_config.json", "feature_extractor_config.json", "image_processor_config.json",
		"video_preprocessor_config.json", "scheduler_config.json", "modules.json", "sentence_bert_config.json",
		"config_sentence_transformers.json", "quantize_config.json", "quantization_config.json", "hf_quant_config.json",
		"configuration.json", "model_config.json", "model_config.yaml", "hparams.yaml", "config.yaml", "config.yml",
		"config.toml", "config.ini", "config.pbtxt", "mlmodel", "modelfile", "kitfile", "params", "modelreg.yaml"),
	all(Class{Kind: KindWeightConfig, Role: "tokenizer"},
		"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
		"vocab.json", "vocab.txt", "vocab.bpe", "vocab.dict", "vocab.yml", "merges.txt", "bpe.codes", "encoder.json", "dict.txt",
		"spiece.model", "spm.model", "bpe.model", "unigram.model", "unigram.json", "sentencepiece.bpe.model",
		"sentencepiece.model", "source.spm", "target.spm", "tekken.json", "tiktoken.model", "ggml-vocab.bin", "tokens.txt",
		"vocabulary.json", "vocabulary.txt", "normalizer.json"),
	all(Class{Kind: KindWeightConfig, Role: "chat-template"}, "chat_template.jinja", "chat_template.json", "chat_template.txt", "template.jinja"),
	all(Class{Kind: KindWeightConfig, Role: "adapter"}, "adapter_config.json"),
	all(Class{Kind: KindWeightConfig, Format: "tensorflow"}, "checkpoint"),
	all(Class{Kind: KindWeight, Format: "tensorflow"}, "saved_model.pb", "saved_model.pbtxt", "keras_metadata.pb", "fingerprint.pb"),
	all(Class{Kind: KindCode},
		"dockerfile", "containerfile", "makefile", "gnumakefile", "jenkinsfile", "procfile", "rakefile", "gemfile", "pipfile",
		"pipfile.lock", "vagrantfile", "justfile", "cmakelists.txt", "pyproject.toml", "poetry.lock", "uv.lock", "setup.cfg", "tox.ini",
		"pytest.ini", "package.json", "package-lock.json", "yarn.lock", "pnpm-lock.yaml", "cargo.toml", "cargo.lock", "go.mod",
		"go.sum", "environment.yml", "environment.yaml", "conda.yaml", "conda.yml", "python_env.yaml", "docker-compose.yml",
		"docker-compose.yaml", "compose.yaml", "compose.yml", "cog.yaml", "dvc.yaml", "dvc.lock", "snakefile", "build.gradle", "pom.xml",
		".gitattributes", ".gitignore", ".gitmodules", ".dockerignore", ".editorconfig", ".pre-commit-config.yaml", ".python-version",
		".modelregignore", ".kitignore"),
	all(Class{Kind: KindDoc}, "authors", "contributors", "changelog", "changes", "citation", "citation.cff", "codeowners", "news"),
)

// patterns are files known by the shape of their name, in lower case; the
// first that matches counts.
var patterns = []struct {
	glob  string
	class Class
}{
	{"*.index.json", Class{Kind: KindWeightConfig, Role: "index"}},
	{"requirements*.txt", Class{Kind: KindCode}},
	{"constraints*.txt", Class{Kind: KindCode}},
	{"dockerfile.*", Class{Kind: KindCode}},
	{"makefile.*", Class{Kind: KindCode}},
	{"*tokenizer*.json", Class{Kind: KindWeightConfig, Role: "tokenizer"}},
	{"*tokenizer*.model*", Class{Kind: KindWeightConfig, Role: "tokenizer"}},
	{"*sentencepiece*.model", Class{Kind: KindWeightConfig, Role: "tokenizer"}},
	{"*sentencepiece*.vocab", Class{Kind: KindWeightConfig, Role: "tokenizer"}},
	{"*chat_template*.jinja*", Class{Kind: KindWeightConfig, Role: "chat-template"}},
	{"pytorch_model*.bin", Class{Kind: KindWeight, Format: "pytorch"}},
	{"consolidated*.pth", Class{Kind: KindWeight, Format: "pytorch"}},
	{"adapter_model*.bin", Class{Kind: KindWeight, Format: "pytorch", Role: "adapter"}},
	{"*.pth.tar", Class{Kind: KindWeight, Format: "pytorch"}},
	{"*.pt.tar", Class{Kind: KindWeight, Format: "pytorch"}},
	{"openvino_*.xml", Class{Kind: KindWeightConfig, Format: "openvino"}},
	{"openvino_*.bin", Class{Kind: KindWeight, Format: "openvino"}},
	{"group*-shard*of*.bin", Class{Kind: KindWeight, Format: "tensorflow"}},
	{"*.data-?????-of-?????", Class{Kind: KindWeight, Format: "tensorflow"}},
	{"*.ckpt*.index", Class{Kind: KindWeight, Format: "tensorflow"}},
	{"*.ckpt*.meta", Class{Kind: KindWeight, Format: "tensorflow"}},
	{"variables.index", Class{Kind: KindWeight, Format: "tensorflow"}},
	{"*.tfevents*", Class{Kind: KindDoc}},
	{"*.tar.gz.dvc", Class{Kind: KindDataset}},
	{"*.jsonl.gz", Class{Kind: KindDataset}},
	{"*.json.gz", Class{Kind: KindDataset}},
	{"*.jsonl.zst", Class{Kind: KindDataset}},
	{"*.csv.gz", Class{Kind: KindDataset}},
	{"*.tsv.gz", Class{Kind: KindDataset}},
}

// extensions are the last resort of names.
var extensions = merge(
	all(Class{Kind: KindWeight, Format: "safetensors"}, ".safetensors"),
	all(Class{Kind: KindWeight, Format: "gguf"}, ".gguf"),
	all(Class{Kind: KindWeight, Format: "onnx"}, ".onnx", ".ort"),
	all(Class{Kind: KindWeight, Format: "pytorch"}, ".pt", ".pth", ".ptl", ".pt2", ".ckpt", ".distcp", ".mar", ".torchscript"),
	all(Class{Kind: KindWeight, Format: "tensorflow"}, ".pb", ".pbtxt"),
	all(Class{Kind: KindWeight, Format: "keras"}, ".h5", ".hdf5", ".keras"),
	all(Class{Kind: KindWeight, Format: "tflite"}, ".tflite"),
	all(Class{Kind: KindWeight, Format: "flax"}, ".msgpack"),
	all(Class{Kind: KindWeight, Format: "coreml"}, ".mlmodel"),
	all(Class{Kind: KindWeight, Format: "tensorrt"}, ".engine", ".trt", ".plan"),
	all(Class{Kind: KindWeight, Format: "nemo"}, ".nemo"),
	all(Class{Kind: KindWeight, Format: "sklearn"}, ".joblib"),
	all(Class{Kind: KindWeight, Format: "skops"}, ".skops"),
	all(Class{Kind: KindWeight, Format: "xgboost"}, ".xgb", ".ubj", ".bst"),
	all(Class{Kind: KindWeight, Format: "lightgbm"}, ".lgb", ".lgbm"),
	all(Class{Kind: KindWeight, Format: "pmml"}, ".pmml"),
	all(Class{Kind: KindWeight, Format: "numpy"}, ".npy", ".npz"),
	all(Class{Kind: KindWeight, Format: "pickle"}, ".pkl", ".pickle", ".sav", ".dill", ".cloudpickle"),
	all(Class{Kind: KindWeight},
		".bin", ".model", ".weights", ".weight", ".params", ".ggml", ".ggjt", ".llamafile", ".pte", ".dduf", ".caffemodel", ".pdmodel", ".pdiparams",
		".pdparams", ".mnn", ".ncnn", ".rknn", ".hef", ".dlc", ".tmfile", ".ftz", ".vec", ".cbm", ".surml", ".mleap", ".ot", ".circle",
		".nb", ".index", ".ark", ".faiss", ".ann", ".usearch"),
	all(Class{Kind: KindWeightConfig},
		".json", ".json5", ".jsonc", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".properties", ".xml", ".prototxt", ".gin", ".hparams",
		".labels", ".vocab", ".codes", ".txt"),
	all(Class{Kind: KindWeightConfig, Role: "tokenizer"}, ".spm", ".tiktoken", ".bpe", ".wordpiece"),
	all(Class{Kind: KindWeightConfig, Role: "chat-template"}, ".jinja", ".jinja2", ".j2"),
	all(Class{Kind: KindDoc},
		".md", ".markdown", ".mdx", ".rst", ".adoc", ".asciidoc", ".html", ".htm", ".pdf", ".rtf", ".docx", ".doc", ".odt", ".pptx", ".xlsx",
		".tex", ".bib", ".org", ".log", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bmp", ".ico", ".tiff", ".tif", ".heic", ".avif", ".mp4",
		".webm", ".mov", ".avi", ".mkv", ".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".epub", ".ps", ".eps", ".css"),
	all(Class{Kind: KindCode},
		".py", ".pyi", ".pyx", ".pyc", ".ipynb", ".sh", ".bash", ".zsh", ".fish", ".ps1", ".bat", ".cmd", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".cu",
		".cuh", ".go", ".rs", ".java", ".kt", ".scala", ".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx", ".r", ".rmd", ".jl", ".lua", ".rb", ".php", ".pl",
		".swift", ".m", ".mm", ".cs", ".sql", ".proto", ".cmake", ".mk", ".gradle", ".bzl", ".bazel", ".nix", ".tf", ".hcl", ".dockerfile", ".patch",
		".diff", ".so", ".dll", ".dylib", ".a", ".lib", ".o", ".exe", ".jar", ".whl", ".egg", ".wasm", ".cubin", ".ptx", ".metal", ".metallib", ".triton"),
	all(Class{Kind: KindDataset},
		".parquet", ".arrow", ".feather", ".csv", ".tsv", ".jsonl", ".ndjson", ".tfrecord", ".tfrecords", ".avro", ".orc", ".nc", ".nc4", ".h5ad",
		".lmdb", ".mdb", ".zarr", ".sqlite", ".sqlite3", ".db", ".mat", ".xls", ".conllu", ".conll", ".libsvm", ".svmlight", ".arff", ".beton", ".mds"),
)

// all gives every name the same class.
func all(c Class, names ...string) map[string]Class {
	m := make(map[string]Class, len(names))
	for _, n := range names {
		m[n] = c
	}
	return m
}

func merge(tables ...map[string]Class) map[string]Class {
	m := map[string]Class{}
	for _, t := range tables {
		maps.Copy(m, t)
	}
	return m
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
