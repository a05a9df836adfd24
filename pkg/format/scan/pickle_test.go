package scan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// call is a pickle that calls a function with a string.
func call(module, name string) string {
	return "\x80\x02c" + module + "\n" + name + "\nX\x01\x00\x00\x00x\x85R."
}

func TestPickleVerdicts(t *testing.T) {
	tests := map[string]struct {
		pickle  string
		verdict scan.Verdict
		rules   []string
	}{
		"none":            {"\x80\x04N.", scan.Safe, nil},
		"known":           {call("os", "system"), scan.Dangerous, []string{"pickle-dangerous-import"}},
		"not known":       {call("mylib.model", "Model"), scan.Unknown, []string{"pickle-import"}},
		"allowed":         {"\x80\x02ccollections\nOrderedDict\n)R.", scan.Safe, nil},
		"below allowed":   {call("collections", "OrderedDict.fromkeys"), scan.Unknown, []string{"pickle-import"}},
		"only imported":   {"\x80\x02cos\nsystem\n.", scan.Dangerous, []string{"pickle-dangerous-import"}},
		"two":             {"\x80\x02N.\x80\x02cos\nsystem\n.", scan.Dangerous, []string{"pickle-dangerous-import"}},
		"bytes behind":    {"\x80\x02N.\x00\x00", scan.Unscannable, []string{"pickle-trailing"}},
		"short":           {"\x80\x04\x8c\x08ab", scan.Unscannable, []string{"pickle-broken"}},
		"broken behind":   {"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R\xff", scan.Dangerous, []string{"pickle-dangerous-import", "pickle-broken"}},
		"unknown opcode":  {"\x80\x02\xff.", scan.Unscannable, []string{"pickle-broken"}},
		"protocol 6":      {"\x80\x06N.", scan.Unscannable, []string{"pickle-broken"}},
		"empty stack":     {"\x80\x02.", scan.Unscannable, []string{"pickle-broken"}},
		"below the mark":  {"\x80\x02N(0000.", scan.Unscannable, []string{"pickle-broken"}},
		"not in the memo": {"\x80\x02h\x00.", scan.Unscannable, []string{"pickle-broken"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "model.pkl", []byte(test.pickle))
			if diff := cmp.Diff(test.rules, rules(got)); diff != "" || got.Verdict != test.verdict {
				t.Errorf("verdict %s, want %s; rules (-want +got):\n%s", got.Verdict, test.verdict, diff)
			}
		})
	}
}

// A finding names the import and the offset of the opcode.
func TestPickleFinding(t *testing.T) {
	got := run(t, "a.pkl", []byte("\x80\x04N0\x8c\x02os\x8c\x06system\x93."))
	want := []scan.Finding{{Path: "a.pkl", Rule: "pickle-dangerous-import", Severity: scan.Critical, Offset: 16, Message: "imports os.system"}}
	if diff := cmp.Diff(want, got.Findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// Texts begin with letters that are opcodes.
func TestTextsAreNoPickles(t *testing.T) {
	for _, text := range []string{
		"cat\ndog\nbird\n", "c\nd\n.", "I am\na text.\n", "Very long\n", "}\n", "N.", "(dp0\n", "config: x\nother: y\n",
		strings.Repeat("F", 2<<20),
	} {
		if got := run(t, "vocab.txt", []byte(text)); got.Verdict != scan.Safe {
			t.Errorf("%.20q: %v", text, got.Findings)
		}
	}
}
