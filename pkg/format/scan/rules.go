package scan

import "slices"

// A Rule is a kind of finding. Its ID never changes its meaning.
type Rule struct {
	ID       string
	Severity Severity

	// Verdict is what a file with such a finding is at best. [Safe] is for
	// rules that only tell.
	Verdict Verdict

	// Meaning says in a sentence what the rule finds.
	Meaning string
}

// Rules returns all rules, by what they look at.
func Rules() []Rule { return slices.Concat(codeRules, contentRules) }

// ruleOf returns the rule with an ID.
func ruleOf(id string) (Rule, bool) {
	for _, rules := range [][]Rule{codeRules, contentRules} {
		if i := slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id }); i >= 0 {
			return rules[i], true
		}
	}
	return Rule{}, false
}

// codeRules are those of what runs when a file is loaded, and of the archives
// it may lie in.
var codeRules = []Rule{
	{"pickle-dangerous-import", Critical, Dangerous, "A pickle imports a function or module that can run commands, read or write files, or load code."},
	{"pickle-import", Medium, Unknown, "A pickle imports a name that is not on the list of those known to be harmless."},
	{"pickle-call", High, Dangerous, "A pickle calls an allowed function with arguments with which it is not harmless, or hands it to something that could."},
	{"pickle-operand", High, Dangerous, "A pickle computes the name that it imports, or calls or changes a value that cannot be told."},
	{"pickle-build", High, Dangerous, "A pickle sets the state of a class or function, or attributes by which Python runs code."},
	{"pickle-opcode", Medium, Unknown, "A pickle has an opcode whose effect depends on its surroundings: extension codes, persistent ids, INST, OBJ, buffers, a protocol in the middle."},
	{"pickle-broken", High, Unscannable, "A pickle cannot be followed to its end. What stands before the fault runs nevertheless."},
	{"pickle-trailing", High, Unscannable, "Bytes follow the end of a pickle that belong to nothing known."},
	{"pickle-ambiguous", Critical, Dangerous, "Bytes are data to one loader and code to another."},
	{"torch-storage", Medium, Unscannable, "Storages of a PyTorch file are not what its pickle announces."},
	{"torchscript", Medium, Unknown, "An archive holds TorchScript, which is a program."},
	{"joblib-array", High, Unscannable, "An array between the opcodes of a joblib file has a length that cannot be told."},
	{"numpy-object", Low, Safe, "A NumPy array holds Python objects, so that loading it needs a pickle to be run."},
	{"numpy-malformed", Medium, Unscannable, "A NumPy file is not one array of the length that its header says."},
	{"zip-prefix", High, Unscannable, "Bytes stand before a zip archive, so that readers may take the file for something else."},
	{"zip-malformed", High, Unscannable, "A zip archive is one that readers could understand differently: directory and headers differ, members overlap or are there twice, bytes belong to none, or it is encrypted."},
	{"zip-checksum", High, Unscannable, "A member of a zip archive has not the checksum or size that the archive says."},
	{"zip-name", Medium, Unscannable, "A member of a zip archive has a name that readers understand differently."},
	{"tar-malformed", High, Unscannable, "A tar archive cannot be followed to its end, or bytes follow it."},
	{"tar-special", Medium, Unknown, "A tar archive has links or devices."},
	{"compressed-malformed", High, Unscannable, "Compressed data cannot be unpacked to its end, or bytes follow it."},
	{ruleClosed, Medium, Unscannable, "An archive or compression of a kind that is not opened: 7z, rar, and the like."},
	{"format-mismatch", Medium, Unscannable, "A file is not of the format that its name says."},
	{"polyglot", High, Unscannable, "A file is of two formats at once."},
	{"executable", High, Dangerous, "A file is a program of the machine: ELF, PE or Mach-O."},
	{"script", Medium, Unknown, "A file is a script that names its interpreter."},
	{"keras-lambda", Critical, Dangerous, "A Keras model has a Lambda layer, or a function, that holds code."},
	{"keras-module", High, Dangerous, "A Keras model names a module that is not part of Keras."},
	{"keras-file", High, Dangerous, "A Keras model names a file or address that is read when it is loaded."},
	{"keras-custom", Medium, Unknown, "A Keras model names a class that somebody has to bring along."},
	{"keras-unread", Medium, Unknown, "A Keras model's configuration is kept where it cannot be read whole."},
	{"model-malformed", High, Unscannable, "JSON by which Keras or skops may make a model is no JSON, or has a name twice, so that they may read it differently."},
	{"tensorflow-op", High, Dangerous, "A TensorFlow graph reads or writes files or calls Python."},
	{"tensorflow-unread", Medium, Unscannable, "A TensorFlow graph in the text format names an operation in escapes or in parts."},
	{"skops-type", Medium, Unknown, "A skops file names a type that is not on the list of those known to be harmless."},
	{"skops-dangerous", Critical, Dangerous, "A skops file names a type that can run commands, read or write files, or load code."},
	{"hydra-target", Medium, Unknown, "A configuration names a class or function by _target_, which a loader imports and calls."},
	{"hydra-dangerous", Critical, Dangerous, "A configuration names by _target_ what can run commands, read or write files, or load code."},
	{"json-malformed", Medium, Unscannable, "A configuration that decides what is loaded is no JSON, or has a name twice."},
	{"limit-depth", High, Unscannable, "Archives, or the values of a configuration, are nested too deep."},
	{"limit-size", High, Unscannable, "Something unpacks to more than is looked at, or to suspiciously more than it takes."},
	{"limit-steps", High, Unscannable, "A pickle takes more steps or memory than is given to it."},
	{"limit-time", High, Unscannable, "A file takes too long to be followed."},
	{"limit-findings", Medium, Unscannable, "A file has more findings than are listed."},
}
