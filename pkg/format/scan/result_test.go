package scan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// unread is a file that must not be read.
type unread struct{ t *testing.T }

func (u unread) ReadAt([]byte, int64) (int, error) {
	u.t.Error("a file that is known was read")
	return 0, nil
}

// What was kept of single files makes the same report as a look at them.
func TestScanKnown(t *testing.T) {
	texts := map[string]string{
		"README.md": "---\nlicense: mit\n---\n", "LICENSE": "Apache License\nVersion 2.0, January 2004\n",
		"a.pkl": "cos\ngetcwd\n(tR.", "config.json": `{"auto_map":{"A":"b.C"}}`, "empty": "", "b.safetensors": "no",
	}
	var files []scan.File
	for _, name := range []string{"README.md", "LICENSE", "a.pkl", "config.json", "empty", "b.safetensors"} {
		files = append(files, scan.File{Path: name, Size: int64(len(texts[name])), At: strings.NewReader(texts[name])})
	}
	var kept []scan.Result
	want, err := scan.Scan(t.Context(), scan.Files(files...), scan.Options{Each: func(_ scan.File, r scan.Result) {
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back scan.Result
		if err := json.Unmarshal(raw, &back); err != nil || !back.Valid() || !back.Lasting() {
			t.Fatalf("%s, %v", raw, err)
		}
		kept = append(kept, back)
	}})
	if err != nil || len(want.Findings) < 4 {
		t.Fatalf("Scan = %+v, %v", want, err)
	}
	for i := range files {
		files[i].At, files[i].Known = unread{t}, &kept[i]
	}
	got, err := scan.Scan(t.Context(), scan.Files(files...), scan.Options{Each: func(f scan.File, _ scan.Result) {
		t.Errorf("%s was looked at", f.Path)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-looked at +known):\n%s", diff)
	}
}

func TestResultIsOneToKeep(t *testing.T) {
	found := func(rule string) []scan.Finding { return []scan.Finding{{Rule: rule}} }
	for name, test := range map[string]struct {
		result         scan.Result
		valid, lasting bool
	}{
		"safe":           {scan.Result{Verdict: scan.Safe}, true, true},
		"safe, told":     {scan.Result{Verdict: scan.Safe, Findings: found("numpy-object")}, true, true},
		"dangerous":      {scan.Result{Verdict: scan.Dangerous, Findings: found("executable")}, true, true},
		"without reason": {scan.Result{Verdict: scan.Dangerous}, false, true},
		"nothing":        {scan.Result{}, false, true},
		"other verdict":  {scan.Result{Verdict: "fine"}, false, true},
		"out of time":    {scan.Result{Verdict: scan.Unscannable, Findings: found("limit-time")}, true, false},
		"out of memory":  {scan.Result{Verdict: scan.Unscannable, Findings: found("limit-process")}, true, false},
		"too many":       {scan.Result{Verdict: scan.Unscannable, Findings: found("limit-findings")}, true, false},
		"too deep":       {scan.Result{Verdict: scan.Unscannable, Findings: found("limit-depth")}, true, true},
	} {
		if got := test.result.Valid(); got != test.valid {
			t.Errorf("%s: Valid = %t", name, got)
		}
		if got := test.result.Lasting(); got != test.lasting {
			t.Errorf("%s: Lasting = %t", name, got)
		}
	}
}
