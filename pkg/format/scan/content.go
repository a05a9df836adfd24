package scan

import (
	"bytes"
	"strings"

	"github.com/modelreg/modelreg/pkg/secrets"
)

// The rules that are reported from more than one place.
const (
	ruleTemplateReach  = "chat-template"
	ruleTemplateDoubt  = "chat-template-doubt"
	ruleTemplateCost   = "chat-template-cost"
	ruleTemplateUnread = "chat-template-unread"
	ruleAutoMap        = "auto-map"
	ruleAutoMapRemote  = "auto-map-remote"
	ruleCustomPipeline = "custom-pipeline"
	ruleConfig         = "json-malformed"
	ruleClosed         = "archive-closed"
)

// contentRules are those of what files say: structure, configurations, texts.
var contentRules = []Rule{
	{"safetensors-malformed", High, Unscannable, "A safetensors file is not what its header says: tensors overlap, leave a gap, lie outside the file or have one name twice, bytes follow them, or the header is absurd."},
	{"gguf-malformed", High, Unscannable, "A GGUF file is not what its header says: tensors overlap or lie outside the file, counts and lengths are absurd, or bytes follow the last tensor."},
	{"onnx-malformed", Medium, Unscannable, "An ONNX file cannot be followed to its end."},
	{"onnx-external-data", High, Dangerous, "An ONNX file takes tensors from a file outside the model's directory."},
	{"onnx-custom-op", Medium, Unknown, "An ONNX file needs operators that run Python code."},
	{ruleTemplateReach, Critical, Dangerous, "A chat template reaches for what Python keeps below its objects, or for other files. It is never rendered to find out."},
	{ruleTemplateDoubt, Medium, Unknown, "A chat template computes the name of an attribute, or uses what ways out of a sandbox begin with."},
	{ruleTemplateCost, Medium, Unknown, "A chat template runs very long or makes very large texts by itself."},
	{ruleTemplateUnread, Medium, Unscannable, "A chat template is too large or not written as Jinja is, so that it cannot be followed to its end."},
	{ruleAutoMap, Medium, Unknown, "A configuration has classes that come with the model and that loaders import if they are told to trust it (auto_map)."},
	{ruleAutoMapRemote, High, Unknown, "A configuration has classes in another repository, which can change at any time (auto_map)."},
	{ruleCustomPipeline, Medium, Unknown, "A configuration names a pipeline or module of its own that loaders import."},
	{"trust-remote-code", Medium, Unknown, "A configuration asks for code that comes with a model to be trusted."},
	{"custom-code", Medium, Unknown, "A file is Python code that loaders import if they are told to trust the model."},
	{"yaml-python", Critical, Dangerous, "A YAML file makes Python objects, or calls functions, when it is loaded without care."},
	{"webassembly", Medium, Unknown, "A file is a WebAssembly program."},
	{"secret", High, Unknown, "A file holds a credential: a private key, or a token in a form that its issuer has published. The message never repeats it."},
	{"not-read", Medium, Unscannable, "Something is no file, such as a link to a directory, and was not looked at."},
	{"scanner-failed", High, Unscannable, "Another scanner that was asked did not say what it found."},
	{"limit-process", High, Unscannable, "Looking at a file took more memory or time than a process is given, or made it fail."},
	{"licence-mismatch", Low, Safe, "The text of the licence is that of another one than the card declares."},
}

// contentChecks are the checks that go with them.
func contentChecks() []check {
	return []check{
		{"safetensors", checkSafetensors},
		{"gguf", checkGGUF},
		{"onnx", checkONNX},
		{"configuration", checkConfig},
		{"template", checkTemplateFile},
		{"yaml", checkYAML},
		{"code", checkCode},
		{"secrets", checkSecrets},
		{"licence", noteLicence},
	}
}

// checkCode tells of code by the name of its file. Python code has no other
// sign. TorchScript in an archive is told otherwise, and all other code in one is
// Python's: torch.package runs it.
func checkCode(s *session, in *input) error {
	switch in.ext() {
	case ".py", ".pyw", ".pyx", ".pyc", ".pyo":
		if !in.script {
			s.add(in, "custom-code", 0, "Python code")
		}
	}
	if bytes.HasPrefix(in.head, []byte("\x00asm")) && len(in.head) >= 8 {
		s.add(in, "webassembly", 0, "a WebAssembly program")
	}
	return nil
}

// checkSecrets looks for credentials in small files.
func checkSecrets(s *session, in *input) error {
	if in.raw || in.size <= 0 || in.size > secrets.MaxBytes || isBinary(in) {
		return nil
	}
	data, err := in.bytes(secrets.MaxBytes)
	if err != nil || data == nil {
		return err
	}
	if m, ok := secrets.Find(in.name, in.size, data); ok {
		s.add(in, "secret", m.Offset, "looks like one: %s", m.What)
	}
	return nil
}

// isBinary tells what cannot be text, so that it need not be read. A key in
// DER is no text and small.
func isBinary(in *input) bool {
	return bytes.IndexByte(in.head, 0) >= 0 && !strings.HasPrefix(string(in.head), "\x30")
}
