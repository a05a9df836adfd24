package card

import "slices"

// A Level says how bad a [Finding] is.
type Level string

// The levels, the worst first.
const (
	LevelError Level = "error" // who uses the model cannot rely on the card
	LevelWarn  Level = "warn"  // something that readers look for is missing
	LevelInfo  Level = "info"  // something that would make it better
)

// AtLeast tells whether l is as bad as other, or worse.
func (l Level) AtLeast(other Level) bool {
	order := []Level{LevelInfo, LevelWarn, LevelError}
	return slices.Index(order, l) >= slices.Index(order, other)
}

// A Rule is one thing that [Card.Lint] looks for. Its ID stays what it is.
type Rule struct {
	ID      string
	Level   Level
	Summary string
}

// Rules lists the rules, those about front matter first.
func Rules() []Rule {
	return []Rule{
		{"front-matter", LevelError, "the front matter is not understood"},
		{"license-missing", LevelError, "no licence is named"},
		{"license-unknown", LevelError, "a licence is neither an SPDX expression nor an identifier of the Hugging Face Hub"},
		{"license-name", LevelError, "the licence \"other\" has no license_name"},
		{"base-unpinned", LevelError, "a base model is named without a digest or commit"},
		{"result-invalid", LevelError, "an entry of model-index lacks a field that it must have, or has no number"},
		{"license-link", LevelWarn, "a licence of its own has no license_link"},
		{"license-deprecated", LevelInfo, "SPDX has a newer identifier for the licence"},
		{"license-family", LevelWarn, "the licence names a family, not one of its texts"},
		{"base-relation", LevelWarn, "base_model_relation is none of finetune, adapter, quantized, merge, or stands without base_model"},
		{"task-missing", LevelWarn, "no pipeline_tag says what the model is for"},
		{"task-unknown", LevelWarn, "pipeline_tag is no task that hubs know"},
		{"language-missing", LevelWarn, "a model of language does not say which"},
		{"language-unknown", LevelWarn, "a language is no code of ISO 639 or BCP 47"},
		{"key-unknown", LevelWarn, "a key looks like a known one, misspelt"},
		{"result-revision", LevelWarn, "a result does not say which revision of its dataset it was measured on"},
		{"library-missing", LevelInfo, "no library_name says what loads the model"},
		{"datasets-missing", LevelInfo, "no datasets are named"},
		{"description-missing", LevelWarn, "no paragraph says what the model is"},
		{"intended-use-missing", LevelWarn, "no section on the intended use"},
		{"limitations-missing", LevelWarn, "no section on limitations"},
		{"bias-missing", LevelWarn, "no section on bias and risks"},
		{"training-data-missing", LevelWarn, "no section on the training data"},
		{"evaluation-missing", LevelWarn, "no evaluation, in a section or in model-index"},
		{"environment-missing", LevelWarn, "no environmental impact, in a section or in co2_eq_emissions"},
		{"how-to-use-missing", LevelInfo, "no section shows how to use the model"},
		{"training-procedure-missing", LevelInfo, "no section on how the model was trained"},
		{"contact-missing", LevelInfo, "no author, contact or citation"},
		{"placeholder", LevelWarn, "a section still has the placeholder of a template"},
		{"section-short", LevelInfo, "a section is there and says next to nothing"},
		{"image-remote", LevelInfo, "an image is on another site: whoever reads the card is seen there, and it can change"},
	}
}

// ruleOf finds a rule.
func ruleOf(id string) Rule {
	for _, r := range Rules() {
		if r.ID == id {
			return r
		}
	}
	return Rule{ID: id, Level: LevelError}
}

// knownKeys are the keys of front matter that loaders and hubs know.
func knownKeys() []string {
	return []string{
		"language", "language_bcp47", "language_details", "license", "license_name", "license_link", "license_details",
		"library_name", "tags", "datasets", "metrics", "base_model", "base_model_relation", "pipeline_tag", "model_name",
		"model-index", "widget", "inference", "co2_eq_emissions", "thumbnail", "mask_token", "instance_prompt", "new_version",
		"quantized_by", "extra_gated_prompt", "extra_gated_heading", "extra_gated_description", "extra_gated_button_content",
		"extra_gated_fields", "finetuned_from", "arxiv", "doi", "modelreg",
	}
}

// Tasks lists the tasks that the Hugging Face Hub knows.
func Tasks() []string {
	return []string{
		"any-to-any", "audio-classification", "audio-text-to-text", "audio-to-audio", "automatic-speech-recognition",
		"depth-estimation", "document-question-answering", "feature-extraction", "fill-mask", "graph-ml",
		"image-classification", "image-feature-extraction", "image-segmentation", "image-text-to-image",
		"image-text-to-text", "image-text-to-video", "image-to-3d", "image-to-image", "image-to-text", "image-to-video",
		"keypoint-detection", "mask-generation", "multiple-choice", "object-detection", "other", "question-answering",
		"reinforcement-learning", "robotics", "sentence-similarity", "summarization", "table-question-answering",
		"table-to-text", "tabular-classification", "tabular-regression", "tabular-to-text", "text-classification",
		"text-generation", "text-ranking", "text-retrieval", "text-to-3d", "text-to-audio", "text-to-image",
		"text-to-speech", "text-to-video", "text2text-generation", "time-series-forecasting", "token-classification",
		"translation", "unconditional-image-generation", "video-classification", "video-text-to-text", "video-to-video",
		"visual-document-retrieval", "visual-question-answering", "voice-activity-detection",
		"zero-shot-classification", "zero-shot-image-classification", "zero-shot-object-detection",
	}
}

// ofLanguage tells whether a task is about text in some language.
func ofLanguage(task string) bool {
	switch task {
	case "text-classification", "token-classification", "table-question-answering", "question-answering",
		"zero-shot-classification", "translation", "summarization", "text-generation", "text2text-generation", "fill-mask",
		"sentence-similarity", "text-ranking", "text-retrieval", "text-to-speech", "automatic-speech-recognition",
		"multiple-choice", "image-text-to-text", "document-question-answering", "visual-question-answering":
		return true
	}
	return false
}
