package scan_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/scan"
)

// wrapper is joblib's stand-in for an array of a type and length, with what
// follows it in the file.
func wrapper(dtype string, count byte, data []byte) []byte {
	flags := "\x00"
	if dtype == "O" {
		flags = "?"
	}
	return asm(nil).proto(3).global("joblib.numpy_pickle", "NumpyArrayWrapper").raw(")\x81}(").
		text("subclass").global("numpy", "ndarray").text("shape").op('K', count).tuple1().text("order").text("C").
		text("dtype").global("numpy", "dtype").text(dtype).raw("\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK"+flags+"tb").
		text("allow_mmap").op(0x88).text("numpy_array_alignment_bytes").op('K', 16).raw("ub").
		raw(string(data)).stop()
}

func TestJoblib(t *testing.T) {
	code := asm(nil).global("os", "getcwd").raw(")R.")
	pad := func(data string) []byte { return append([]byte("\x03\xff\xff\xff"), data...) }
	// To joblib 48 bytes of padding, to others an opcode that drops the array.
	hidden := append([]byte("0N0"), code...)
	hidden = append(hidden, make([]byte, 1+48+4-len(hidden))...)
	tests := map[string]struct {
		data    []byte
		verdict scan.Verdict
		rule    string
	}{
		"an array":           {wrapper("f4", 2, pad("12345678")), scan.Safe, ""},
		"bytes too few":      {wrapper("f8", 2, pad("12345678")), scan.Unscannable, "pickle-broken"},
		"bytes too many":     {wrapper("f4", 1, pad("12345678")), scan.Unscannable, "pickle-broken"},
		"code behind it":     {append(wrapper("f4", 2, pad("12345678")), code...), scan.Dangerous, "pickle-dangerous-import"},
		"code in it":         {wrapper("S1", 4, hidden), scan.Dangerous, "pickle-ambiguous"},
		"code for padding":   {wrapper("S1", 1, append([]byte{'N' /* 78 bytes */}, code...)), scan.Unscannable, ""},
		"objects, harmless":  {wrapper("O", 1, good), scan.Safe, ""},
		"objects, dangerous": {wrapper("O", 1, evil), scan.Dangerous, "pickle-dangerous-import"},
		"no length":          {wrapper("V", 1, pad("12345678")), scan.Unscannable, "joblib-array"},
		"from elsewhere": {
			asm(nil).proto(3).global("joblib.numpy_pickle", "NDArrayWrapper").raw(")\x81}b").stop(),
			scan.Dangerous, "pickle-dangerous-import",
		},
		"state computed": {
			asm(nil).proto(3).global("joblib.numpy_pickle", "NumpyArrayWrapper").raw(")\x81").global("collections", "OrderedDict").raw(")Rb").stop(),
			scan.Unscannable, "joblib-array",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "model.joblib", test.data)
			if got.Verdict != test.verdict && !(test.rule == "" && got.Verdict != scan.Safe && test.verdict != scan.Safe) ||
				test.rule != "" && !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want %s with %q: %v", got.Verdict, test.verdict, test.rule, got.Findings)
			}
		})
	}
}

const tensor = "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04NtQK\x00K\x04\x85K\x01\x85\x89}tR"

// legacyTorch is a file from before PyTorch 1.6, with n bytes of storages.
func legacyTorch(object string, n int) []byte {
	b := "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + "\x80\x02M\xe9\x03." + "\x80\x02}." + "\x80\x02" + object + "." + "\x80\x02]X\x01\x00\x00\x000a."
	return append(append([]byte(b), 4, 0, 0, 0, 0, 0, 0, 0), make([]byte, n)...)
}

func TestTorchLegacy(t *testing.T) {
	tests := map[string]struct {
		data    []byte
		verdict scan.Verdict
	}{
		"a tensor":         {legacyTorch(tensor, 16), scan.Safe},
		"too short":        {legacyTorch(tensor, 15), scan.Unscannable},
		"too long":         {legacyTorch(tensor, 17), scan.Unscannable},
		"dangerous":        {legacyTorch(strings.Replace(tensor, "torch._utils\n_rebuild_tensor_v2", "os\nsystem", 1), 16), scan.Dangerous},
		"a module":         {legacyTorch("(X\x06\x00\x00\x00moduleca\nb\nX\x01\x00\x00\x00aX\x01\x00\x00\x00btQ", 8), scan.Unscannable},
		"magic as text":    {append([]byte("\x80\x02L119547037146038801333356L\n."), evil...), scan.Dangerous},
		"magic and a file": {append([]byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), evil...), scan.Dangerous},
		"only the magic":   {[]byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), scan.Unscannable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "model.pt", test.data); got.Verdict != test.verdict {
				t.Errorf("verdict %s, want %s: %v", got.Verdict, test.verdict, got.Findings)
			}
		})
	}
	bare := run(t, "model.pt", []byte("\x80\x02"+tensor+"."))
	if bare.Verdict == scan.Safe {
		t.Error("storages outside of PyTorch's files are safe")
	}
	zipped := run(t, "model.pt", torchZip([]byte("\x80\x02"+tensor+"."), testmodel.Member{Name: "m/data/0", Data: make([]byte, 16)}))
	if zipped.Verdict != scan.Safe {
		t.Errorf("an ordinary file: %v", zipped.Findings)
	}
}

// keras is a configuration with a layer, deep inside.
func keras(layer string) []byte {
	return []byte(`{"module":"keras","class_name":"Sequential","config":{"layers":[{"module":"keras.layers","class_name":"TimeDistributed","config":{"layer":` +
		layer + `},"registered_name":null}]}}`)
}

func TestKeras(t *testing.T) {
	tests := map[string]struct {
		layer string
		rule  string
	}{
		"plain":               {`{"module":"keras.layers","class_name":"Dense","config":{"units":1,"activation":"relu"},"registered_name":null}`, ""},
		"old":                 {`{"class_name":"Dense","config":{"units":1}}`, ""},
		"lambda":              {`{"module":"keras.layers","class_name":"Lambda","config":{"function":{"class_name":"__lambda__","config":{"code":"4wE="}}}}`, "keras-lambda"},
		"lambda, old":         {`{"class_name":"Lambda","config":{"function":["4wE=",null,null]}}`, "keras-lambda"},
		"lambda, escaped":     {`{"class_n\u0061me":"L\u0061mbda","config":{}}`, "keras-lambda"},
		"lambda, registered":  {`{"class_name":"Mine","config":{},"registered_name":"x>Lambda"}`, "keras-lambda"},
		"lambda, as a class":  {`{"class_name":"x>Lambda","config":{}}`, "keras-lambda"},
		"module":              {`{"module":"os","class_name":"system","config":"id"}`, "keras-module"},
		"function":            {`{"module":"builtins","class_name":"function","config":"eval","registered_name":"function"}`, "keras-module"},
		"function of a file":  {`{"module":"mymodule","class_name":"function","config":"f"}`, "keras-module"},
		"function, custom":    {`{"module":"builtins","class_name":"function","config":"my_loss","registered_name":"function"}`, "keras-custom"},
		"gadget of Keras":     {`{"module":"keras.config","class_name":"enable_unsafe_deserialization","config":{}}`, "keras-module"},
		"fetches":             {`{"module":"keras.utils","class_name":"get_file","config":{}}`, "keras-module"},
		"through an import":   {`{"module":"keras.src.utils.python_utils","class_name":"func_load","config":{}}`, "keras-module"},
		"dotted class":        {`{"module":"keras.layers","class_name":"core.os.system","config":{}}`, "keras-custom"},
		"pickled module":      {`{"module":"keras.layers","class_name":"TorchModuleWrapper","config":{"module":"gASV"}}`, "keras-module"},
		"SavedModel":          {`{"module":"keras.layers","class_name":"TFSMLayer","config":{"filepath":"/tmp/x"}}`, "keras-module"},
		"vocabulary":          {`{"module":"keras.layers","class_name":"StringLookup","config":{"vocabulary":"/etc/passwd"}}`, "keras-file"},
		"custom":              {`{"module":null,"class_name":"Mine","config":{},"registered_name":"mine>Mine"}`, "keras-custom"},
		"twice the same name": {`{"class_name":"Dense","class_name":"Lambda"}`, "model-malformed"},
		"no JSON":             {`{`, "model-malformed"},
		"UTF-16":              {"\x00", "model-malformed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			zipped := testmodel.ZipFile(testmodel.Member{Name: "metadata.json", Data: []byte("{}")},
				testmodel.Member{Name: "config.json", Data: keras(test.layer)})
			for file, b := range map[string][]byte{"model.keras": zipped, "arch.json": keras(test.layer)} {
				got := run(t, file, b)
				if (test.rule == "") != (got.Verdict == scan.Safe) && file == "model.keras" ||
					test.rule != "" && test.rule != "model-malformed" && !slices.Contains(rules(got), test.rule) {
					t.Errorf("%s: verdict %s, want %q: %v", file, got.Verdict, test.rule, got.Findings)
				}
			}
		})
	}
}

func TestOtherLoaders(t *testing.T) {
	const hdf = "\x89HDF\r\n\x1a\n"
	node := func(op string) string { return "\n\x04node\x12" + string([]byte{byte(len(op))}) + op }
	tests := map[string]struct {
		file, content string
		rule          string
	}{
		"HDF5, weights":        {"w.h5", hdf + "weights", ""},
		"HDF5, model":          {"m.h5", hdf + `model_config{"class_name": "Sequential"}`, "keras-unread"},
		"HDF5, lambda":         {"m.h5", hdf + `model_config{"class_name": "Lambda"}`, "keras-lambda"},
		"HDF5, far away":       {"m.h5", hdf + strings.Repeat("x", 3<<20-7) + `{"class_name":"Lambda"}`, "keras-lambda"},
		"HDF5 by another name": {"m.dat", hdf + `{"class_name": "Lambda"}`, "keras-lambda"},
		"graph":                {"saved_model.pb", node("MatMul"), ""},
		"graph, reads":         {"saved_model.pb", node("ReadFile"), "tensorflow-op"},
		"graph, writes":        {"saved_model.pb", node("WriteFile"), "tensorflow-op"},
		"graph, Python":        {"frozen.pb", node("EagerPyFunc"), "tensorflow-op"},
		"graph, long varint":   {"saved_model.pb", "\x12\x88\x00ReadFile", "tensorflow-op"},
		"metadata, lambda":     {"keras_metadata.pb", `{"class_name": "Lambda"}`, "keras-lambda"},
		"graph, text":          {"g.pbtxt", "node {\n  name: \"x\"\n  op: \"MatMul\"\n  input: 'y'\n}\nnode{op:'Add'}", ""},
		"graph, text escaped":  {"g.pbtxt", `node { op: "\x57riteFile" }`, "tensorflow-unread"},
		"graph, text in parts": {"g.pbtxt", "node { op: \"Write\" # x\n 'File' }", "tensorflow-unread"},
		"graph, text beside":   {"g.pbtxt", "node { op # x\n : \"Write\"\n\n \"File\" }", "tensorflow-unread"},
		"target":               {"model_config.yaml", "encoder:\n  _target_: nemo.collections.asr.Encoder\n", "hydra-target"},
		"target, dangerous":    {"model_config.yaml", "encoder:\n  _target_: os.system\n", "hydra-dangerous"},
		"target, through":      {"model_config.yaml", "encoder: {'_target_' : \"nemo.core.os.system\"}\n", "hydra-dangerous"},
		"target, in JSON":      {"config.json", `{"a":{"_target_":"subprocess.run"}}`, "hydra-dangerous"},
		"target, builtin":      {"c.yml", "_target_: eval\n", "hydra-dangerous"},
		"target, elsewhere":    {"c.yml", "? _target_\n: os.system\n", "hydra-dangerous"},
		"target, an alias":     {"c.yml", "a: &x os.system\n_target_: *x\n", "hydra-target"},
		"target, escaped":      {"c.yml", "\"\\x5ftarget_\": os.system\n", "hydra-dangerous"},
		"target, octal":        {"c.yml", "\"\\U0000005ftarget_\": os.system\n", "hydra-dangerous"},
		"target, not ASCII":    {"c.yml", "\"\\u3042\": os.system\n", "hydra-target"},
		"target, over a line":  {"c.yml", "? \"_tar\\\n \t get_\"\n: os.system\n", "hydra-dangerous"},
		"target, over a CR":    {"c.yml", "? \"_tar\\\r\\\u2028 get_\"\n: os.system\n", "hydra-dangerous"},
		"target, broken value": {"c.yml", "_target_: \"os.sys\\\r\n  tem\"\n", "hydra-dangerous"},
		"target, by an alias":  {"c.yml", "- &k \"\\U0000005ftarget_\"\n- ? *k\n  : os.system\n", "hydra-target"},
		"target, JSON escapes": {"c.json", `{"\u005ftarget\u005F":"os.system"}`, "hydra-dangerous"},
		"target, UTF-16":       {"c.yml", "\xff\xfea\x00:\x00", "format-mismatch"},
		"Keras, escapes":       {"m.json", `{"cl\u0061ss_name":"L\u0061mbda"}`, "keras-lambda"},
		"YAML":                 {"c.yml", "a: b\n", ""},
		"text":                 {"README.md", "Set _target_: os.path\n", ""},
		"wrong name":           {"a.h5", "hello", "format-mismatch"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, test.file, []byte(test.content))
			if (test.rule == "") != (got.Verdict == scan.Safe) || test.rule != "" && !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want %q: %v", got.Verdict, test.rule, got.Findings)
			}
		})
	}
}

// Keras takes what Python does for JSON. What is no strict JSON, or too long to
// be held, is not passed over if it may be a model.
func TestLooseJSON(t *testing.T) {
	const (
		lambda = `{"class_name":"Lambda","config":{"function":["4wE=",null,null]}}`
		model  = `{"class_name":"Sequential","config":{"layers":[` + lambda + `]}`
	)
	blank, long := strings.Repeat(" ", 5<<20), strings.Repeat("[1],\n", 4<<20)
	tests := map[string]struct {
		content string
		rule    string
	}{
		"a name twice":            {model + `,"a":1,"a":2}`, "model-malformed"},
		"a name twice, escaped":   {`{"a":1,"a":2,"cl\u0061ss_name" : "Lambda","c\u006fnfig" :{}}`, "model-malformed"},
		"numbers of Python":       {model + `,"a":[NaN,-Infinity]}`, "keras-lambda"},
		"number too large":        {model + `,"a":1e999}`, "model-malformed"},
		"long":                    {model + blank + `}`, "limit-size"},
		"long, escaped":           {blank + `{"x":"\"","cl\u0061ss_\u006Eame" : "Lambda","conf\u0069g" :{}}`, "limit-size"},
		"long, a name twice":      {model + blank + `,"a":1,"a":2}`, "limit-size"},
		"longer":                  {`[` + long + model + `}]`, "limit-size"},
		"target, longer":          {`[` + long + `{"_t\u0061rget_":"os.system"}]`, "limit-size"},
		"target, longer, unusual": {`[` + long + `{_target_: os.system}]`, "hydra-target"},
		"no model, a name twice":  {`{"a":1,"a":2,"config":{}}`, ""},
		"no model, words":         {blank + `{"class_name":1,"x":"config"}`, ""},
		"no model, longer":        {`[` + long + `{"x":"class_name","y":["config",":"]}]`, ""},
		"many labels":             {strings.Repeat(`{"class_name":"cat","config":1}`+"\n", 10), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "m.json", []byte(test.content))
			if (test.rule == "") != (got.Verdict == scan.Safe) || test.rule != "" && !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want %q: %v", got.Verdict, test.rule, got.Findings)
			}
		})
	}
}

func TestSkops(t *testing.T) {
	tests := map[string]struct {
		node string
		rule string
	}{
		"estimator": {`{"__class__":"LogisticRegression","__module__":"sklearn.linear_model._logistic","__loader__":"ObjectNode","content":{}}`, ""},
		"list":      {`{"__class__":"list","__module__":"builtins","__loader__":"ListNode","content":[]}`, ""},
		"unknown":   {`{"__class__":"Model","__module__":"mylib","__loader__":"ObjectNode"}`, "skops-type"},
		"dangerous": {`{"__class__":"system","__module__":"os","__loader__":"ObjectNode"}`, "skops-dangerous"},
		"method":    {`{"__class__":"str","__module__":"builtins","__loader__":"MethodNode","content":{"func":"x"}}`, "skops-dangerous"},
		"operator":  {`{"__class__":"list","__module__":"builtins","__loader__":"OperatorFuncNode"}`, "skops-dangerous"},
		"function":  {`{"__class__":"function","__module__":"builtins","__loader__":"FunctionNode","content":{"module_path":"os","function":"system"}}`, "skops-dangerous"},
		"loader":    {`{"__class__":"list","__module__":"builtins","__loader__":"NewNode"}`, "skops-type"},
		"no JSON":   {`[`, "model-malformed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "m.skops", testmodel.ZipFile(testmodel.Member{Name: "schema.json", Data: []byte(`{"content":[` + test.node + `]}`)}))
			if (test.rule == "") != (got.Verdict == scan.Safe) || test.rule != "" && !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want %q: %v", got.Verdict, test.rule, got.Findings)
			}
		})
	}
}

// A witness counts what is read of a file.
type witness struct {
	b    []byte
	read int64
}

func (w *witness) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, w.b[off:])
	w.read += int64(n)
	return n, nil
}

// A sparse scan reads of a big archive what could be code, and no weights.
func TestSparse(t *testing.T) {
	for _, pickle := range [][]byte{good, evil} {
		members := []testmodel.Member{}
		for i := range 8 {
			members = append(members, testmodel.Member{Name: fmt.Sprintf("m/data/%d", i), Data: make([]byte, 4<<20)})
		}
		w := &witness{b: torchZip(pickle, members...)}
		report, err := scan.Scan(t.Context(), scan.Files(scan.File{Path: "m.pt", Size: int64(len(w.b)), At: w}), scan.Options{Sparse: true})
		if err != nil {
			t.Fatal(err)
		}
		if (report.Verdict == scan.Safe) != (len(pickle) == len(good)) || w.read > 512<<10 {
			t.Errorf("verdict %s after %d bytes of %d", report.Verdict, w.read, len(w.b))
		}
	}
}

// What a report says is one line of plain characters, whatever is in the file.
func TestMessagesArePlain(t *testing.T) {
	got := run(t, "a.pkl", asm(nil).proto(2).global("os\x1b[31m\u202e", "x\ty").stop())
	text, err := json.Marshal(got)
	if err != nil || len(got.Findings) == 0 || strings.ContainsAny(got.Findings[0].Message, "\x1b\n\t\u202e") {
		t.Errorf("%s %v", text, err)
	}
}
