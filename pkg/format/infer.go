package format

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// components returns the directories of a diffusers pipeline: the members of
// model_index.json that are a pair of library and class.
func (d *description) components() []string {
	var dirs []string
	index := d.configs["model_index.json"]
	for _, key := range slices.Sorted(maps.Keys(index)) {
		var pair []*string
		v := index[key]
		if v.Kind() == '[' && json.Unmarshal(v, &pair) == nil && len(pair) == 2 && pair[0] != nil && pair[1] != nil {
			dirs = append(dirs, key)
		}
	}
	return dirs
}

// notOfTransformers are formats that transformers does not load by itself: a
// config.json beside these alone, which many write, does not make it the library.
var notOfTransformers = []string{"coreml", "gguf", "numpy", "onnx", "openvino", "tensorrt", "tflite"}

// library is the one that loads the model, by the files that only it writes.
// Those of the more special libraries stand beside a config.json of
// transformers.
func (d *description) library() string {
	m := d.model
	foreign := len(m.Formats) > 0 && !slices.ContainsFunc(m.Formats, func(f string) bool { return !slices.Contains(notOfTransformers, f) })
	switch {
	case d.has("modules.json") || d.has("config_sentence_transformers.json"):
		return "sentence-transformers"
	case d.has("adapter_config.json"):
		return "peft"
	case d.has("model_index.json"):
		return "diffusers"
	case d.configs["config.json"].text("model_type") != "" && !foreign:
		return "transformers"
	case slices.Contains(m.Formats, "gguf"):
		return "gguf"
	case d.hasExt(".nemo"):
		return "nemo"
	case d.hasExt(".keras"):
		return "keras"
	}
	return ""
}

func (d *description) hasExt(ext string) bool {
	for name := range d.files {
		if path.Ext(name) == ext {
			return true
		}
	}
	return false
}

// tasks are those of the classes that transformers names after their task.
// ForConditionalGeneration is not among them: it may be any of four.
var tasks = []struct{ suffix, task string }{
	{"ForCausalLM", "text-generation"},
	{"LMHeadModel", "text-generation"},
	{"ForSequenceClassification", "text-classification"},
	{"ForTokenClassification", "token-classification"},
	{"ForQuestionAnswering", "question-answering"},
	{"ForMaskedLM", "fill-mask"},
	{"ForMultipleChoice", "multiple-choice"},
	{"ForImageClassification", "image-classification"},
	{"ForObjectDetection", "object-detection"},
	{"ForSemanticSegmentation", "image-segmentation"},
	{"ForDepthEstimation", "depth-estimation"},
	{"ForVideoClassification", "video-classification"},
	{"ForAudioClassification", "audio-classification"},
	{"ForCTC", "automatic-speech-recognition"},
}

// exceptions are families whose classes are named after the task but take more
// than text.
var exceptions = []string{"LayoutLM", "Vilt", "Lilt", "Bros", "Udop", "TrOCR", "Musicgen", "Speech", "Tapas", "Markup"}

// otherInputs are the members of config.json of models that take more than text.
var otherInputs = []string{"vision_config", "audio_config", "vision_tower", "mm_vision_tower", "img_processor"}

// task is what the model is for, where its class or library leaves no doubt.
func (d *description) task() string {
	switch d.model.Library {
	case "sentence-transformers":
		return "sentence-similarity"
	case "peft":
		return peftTask(d.configs["adapter_config.json"].text("task_type"))
	}
	config := d.configs["config.json"]
	name := config.first("architectures")
	for _, prefix := range exceptions {
		if strings.HasPrefix(name, prefix) {
			return ""
		}
	}
	if slices.ContainsFunc(otherInputs, config.has) {
		return ""
	}
	for _, t := range tasks {
		if strings.HasSuffix(name, t.suffix) {
			return t.task
		}
	}
	return ""
}

// peftTask translates PEFT's own names.
func peftTask(name string) string {
	switch name {
	case "CAUSAL_LM":
		return "text-generation"
	case "SEQ_CLS":
		return "text-classification"
	case "TOKEN_CLS":
		return "token-classification"
	case "QUESTION_ANS":
		return "question-answering"
	}
	return ""
}
