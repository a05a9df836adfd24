package scan_test

import (
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// Users' own modules are unknown, and not dangerous for a word in their names.
func TestOwnModules(t *testing.T) {
	for _, name := range [][2]string{
		{"foo.system", "MyModel"},
		{"foo.eval", "Score"},
		{"test.models", "Model"},
		{"code.models", "Model"},
		{"profile.user", "User"},
		{"trace.model", "Model"},
		{"resource.model", "Model"},
		{"http.model", "Model"},
		{"sh", "Model"},
	} {
		if got := run(t, "model.pkl", []byte(call(name[0], name[1]))); got.Verdict != scan.Unknown {
			t.Errorf("%s: %s: %v", name, got.Verdict, got.Findings)
		}
	}
	for _, name := range [][2]string{
		{"foo", "system"},
		{"foo", "Model.system"},
		{"foo", "os.path"},
		{"foo.subprocess", "run"},
		{"foo.__builtins__", "x"},
		{"code", "interact"},
		{"code", "InteractiveInterpreter.runcode"},
		{"profile", "run"},
		{"profile", "Profile.runctx"},
		{"trace", "Trace.run"},
		{"test.support.script_helper", "assert_python_ok"},
		{"http.client", "HTTPSConnection"},
		{"http.server", "HTTPServer"},
	} {
		if got := run(t, "model.pkl", []byte(call(name[0], name[1]))); got.Verdict != scan.Dangerous {
			t.Errorf("%s: %s: %v", name, got.Verdict, got.Findings)
		}
	}
}

// Lightning's checkpoints have the version of PyTorch as a string of its own class.
func TestTorchVersion(t *testing.T) {
	version := func(args string) []byte {
		return []byte("\x80\x02ctorch.torch_version\nTorchVersion\n" + args + "\x81.")
	}
	if got := run(t, "last.ckpt", version("X\x05\x00\x00\x002.1.0\x85")); got.Verdict != scan.Safe {
		t.Errorf("a version: %v", got.Findings)
	}
	for _, args := range []string{")", "K\x01\x85", "X\x01\x00\x00\x00xX\x01\x00\x00\x00x\x86", "cos\nsystem\n\x85"} {
		if got := run(t, "last.ckpt", version(args)); got.Verdict != scan.Dangerous {
			t.Errorf("%q: %s", args, got.Verdict)
		}
	}
}
