package ui_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/internal/ui"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBytes(t *testing.T) {
	tests := map[int64]string{
		0:                 "0 B",
		999:               "999 B",
		1000:              "1.0 kB",
		-999:              "-999 B",
		-1500:             "-1.5 kB",
		62_911_234:        "62.9 MB",
		999_949:           "999.9 kB",
		999_950:           "1.0 MB", // not 1000.0 kB
		999_999_999:       "1.0 GB",
		4_294_967_296:     "4.3 GB",
		1_500_000_000_000: "1.5 TB",
		math.MaxInt64:     "9.2 EB",
		math.MinInt64:     "-9.2 EB",
	}
	for n, want := range tests {
		if got := ui.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	tests := map[int64]string{
		0:                 "0",
		999:               "999",
		3610:              "3.6K",
		22_713_216:        "22.7M",
		999_999:           "1.0M",
		7_241_732_096:     "7.2B", // as model names have it
		1_000_000_000_000: "1.0T",
	}
	for n, want := range tests {
		if got := ui.Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	if got := ui.Duration(1234567 * time.Microsecond); got != "1.2s" {
		t.Errorf("Duration = %s", got)
	}
}

func TestClean(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"plain":              {"model.safetensors", "model.safetensors"},
		"letters":            {"Größe 模型 🤗", "Größe 模型 🤗"},
		"lines and tabs":     {"a\n\tb", "a\n\tb"},
		"escape":             {"\x1b[2Jx", `\x1b[2Jx`},
		"title":              {"\x1b]0;owned\a", `\x1b]0;owned\a`},
		"carriage return":    {"good\rbad", `good\rbad`},
		"backspace":          {"a\bb", `a\bb`},
		"C1":                 {"\u009b2J", `\u009b2J`},
		"delete":             {"\x7f", `\x7f`},
		"override":           {"a\u202egpj.exe", `a\u202egpj.exe`},
		"isolate":            {"\u2066x\u2069", `\u2066x\u2069`},
		"bad UTF-8":          {"a\xffb", `a\ufffdb`},
		"quotes are no harm": {`it's "so"`, `it's "so"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ui.Clean(tt.in); got != tt.want {
				t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31m\u202e\xff\n")
	f.Fuzz(func(t *testing.T, s string) {
		out := ui.Clean(s)
		if strings.ContainsAny(out, "\x1b\r\a\b\x00\x7f\u009b\u202e\u2066") {
			t.Errorf("Clean(%q) = %q", s, out)
		}
		if again := ui.Clean(out); again != out {
			t.Errorf("Clean(%q) = %q, and cleaned again %q", s, out, again)
		}
	})
}

func TestResult(t *testing.T) {
	v := struct {
		Path string `json:"path"`
	}{"<a&b>"}
	text := func(w io.Writer) { fmt.Fprintln(w, "for people") }
	tests := map[ui.Format]string{
		"":      "for people\n",
		ui.Text: "for people\n",
		ui.JSON: "{\n  \"path\": \"<a&b>\"\n}\n",
	}
	for format, want := range tests {
		t.Run(string(format), func(t *testing.T) {
			var out, err bytes.Buffer
			p := ui.Printer{Out: &out, Err: &err, Format: format}
			if err := p.Result(v, text); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out.String()); diff != "" || err.Len() > 0 {
				t.Errorf("stdout %s, stderr %q", diff, err.String())
			}
		})
	}
}

// A result that could not be written is a failure: a script must not take an
// empty file for one.
// A document is safe for a terminal, and says what it should.
func TestResultOfStrangers(t *testing.T) {
	want := "\x1b[2J\u009b2J\x7f\u202eexe <&> \n\tü\u2028"
	var out, errOut bytes.Buffer
	p := ui.Printer{Out: &out, Err: &errOut, Format: ui.JSON}
	if err := p.Result(map[string]string{want: want}, nil); err != nil {
		t.Fatal(err)
	}
	p.Fail(ui.Failure{Message: want})
	if s := out.String() + errOut.String(); strings.ContainsAny(s, "\x1b\u009b\x7f\u202e\u2028") || !strings.Contains(s, "exe <&> ") {
		t.Errorf("printed %q", s)
	}
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got[want] != want {
		t.Errorf("read back %q, %v", got, err)
	}
	var failed struct{ Error ui.Failure }
	if err := json.Unmarshal(errOut.Bytes(), &failed); err != nil || failed.Error.Message != want {
		t.Errorf("read back %v, %v", failed, err)
	}
}

func TestLine(t *testing.T) {
	if got, want := ui.Line("a\tb\nc\x1b"), `a\tb\nc\x1b`; got != want {
		t.Errorf("Line = %q, want %q", got, want)
	}
}

func TestResultOnFullDisk(t *testing.T) {
	full := errors.New("disk full")
	for _, format := range []ui.Format{ui.Text, ui.JSON} {
		w := &failing{err: full}
		p := ui.Printer{Out: w, Err: io.Discard, Format: format}
		err := p.Result(1, func(w io.Writer) {
			fmt.Fprintln(w, 1)
			fmt.Fprintln(w, 2)
		})
		if !errors.Is(err, full) || w.writes != 1 {
			t.Errorf("%s: error = %v after %d writes, want one write and its error", format, err, w.writes)
		}
	}
	p := ui.Printer{Out: io.Discard, Format: ui.JSON}
	if err := p.Result(func() {}, nil); err == nil {
		t.Error("what is no JSON was printed")
	}
}

type failing struct {
	err    error
	writes int
}

func (f *failing) Write([]byte) (int, error) {
	f.writes++
	return 0, f.err
}

func TestFail(t *testing.T) {
	tests := map[string]struct {
		format  ui.Format
		failure ui.Failure
		want    string
	}{
		"text":         {ui.Text, ui.Failure{Code: 3, Kind: "not-found", Message: "pull x: gone"}, "modelreg: pull x: gone\n"},
		"text, hint":   {ui.Text, ui.Failure{Message: "no", Hint: "log in"}, "modelreg: no\nhint: log in\n"},
		"text, unsafe": {ui.Text, ui.Failure{Message: "\x1b[2J", Hint: "\x1b[2J"}, "modelreg: \\x1b[2J\nhint: \\x1b[2J\n"},
		"JSON":         {ui.JSON, ui.Failure{Code: 3, Kind: "not-found", Message: "a <b>", Hint: "c"}, `{"error":{"code":3,"kind":"not-found","message":"a <b>","hint":"c"}}` + "\n"},
		"JSON, unsafe": {ui.JSON, ui.Failure{Code: 1, Kind: "failure", Message: "\x1b[2J"}, `{"error":{"code":1,"kind":"failure","message":"\u001b[2J"}}` + "\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, err bytes.Buffer
			p := ui.Printer{Out: &out, Err: &err, Format: tt.format, Quiet: true}
			p.Fail(tt.failure)
			if diff := cmp.Diff(tt.want, err.String()); diff != "" || out.Len() > 0 {
				t.Errorf("stderr %s, stdout %q", diff, out.String())
			}
		})
	}
}

func TestNotes(t *testing.T) {
	say := func(p *ui.Printer) {
		p.Note("pushed %s", "\x1bmodel")
		p.Warn("tag %s moved", "v1")
	}
	var loud, quiet bytes.Buffer
	say(&ui.Printer{Err: &loud})
	say(&ui.Printer{Err: &quiet, Quiet: true})
	if diff := cmp.Diff("pushed \\x1bmodel\nmodelreg: warning: tag v1 moved\n", loud.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("modelreg: warning: tag v1 moved\n", quiet.String()); diff != "" {
		t.Errorf("quiet: %s", diff)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	w := ui.Table(&b)
	fmt.Fprintln(w, "TAG\tSIZE")
	fmt.Fprintln(w, "feature/x\t1 B")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("TAG        SIZE\nfeature/x  1 B\n", b.String()); diff != "" {
		t.Error(diff)
	}
}
