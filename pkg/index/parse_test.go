package index_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/index"
)

func TestParseQueryPrintsCanonically(t *testing.T) {
	tests := map[string]string{
		"":                              "",
		"  Llama   Chat ":               "llama chat",
		"licence:MIT,Apache-2.0":        "license:mit,apache-2.0",
		`"Large  Language" model*`:      `"large  language" model*`,
		`-gguf -"raw weights"`:          `-gguf -"raw weights"`,
		"-deprecated -yanked":           "deprecated:no yanked:no",
		"-deprecated:yes":               "-deprecated:yes",
		"params:<8B":                    "params:<8b",
		"parameters:7.0b..13b,>=70b":    "params:7b..13b,>=70b",
		"size:..10GiB context:32k..":    "size:..10gib context:32k..",
		"metric:mmlu>0.70,gsm8k>=60%":   "metric:mmlu>0.7,gsm8k>=60%",
		"metric:MMLU metric:f1=0.5..1":  "metric:mmlu metric:f1=0.5..1",
		"metric:loss<-1.5":              "metric:loss<-1.5",
		"measured:MMLU>0.7":             "measured:mmlu>0.7",
		"updated:<30d updated:>=2026":   "updated:<30d updated:>=2026",
		"updated:2026-01..2026-06-30":   "updated:2026-01..2026-06-30",
		"signed:@acme.com verified:1":   "signed:@acme.com verified:yes",
		`author:"Ada Lovelace",grace*`:  `author:"ada lovelace",grace*`,
		`keyword:"a,b"`:                 `keyword:"a,b"`,
		"license:*":                     "license:*",
		"base:hf:meta-llama/Llama-3*":   "base:hf:meta-llama/llama-3*",
		"https://example.com/x":         "https://example.com/x",
		`say\ "a \"quoted\" \\ phrase"`: `say\ "a \"quoted\" \\ phrase"`,
		"- -- && llama":                 "llama",
		"digest:sha256:77aa* fits:24gb": "digest:sha256:77aa* fits:24gb",
		"versions:all status:yanked":    "versions:all status:yanked",
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			q, err := index.ParseQuery(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, q.String()); diff != "" {
				t.Errorf("canonical form (-want +got):\n%s", diff)
			}
			again, err := index.ParseQuery(q.String())
			if err != nil || again.String() != q.String() {
				t.Errorf("read again: %q, %v", again, err)
			}
		})
	}
}

func TestParseQueryPointsAtTheFault(t *testing.T) {
	tests := map[string]struct {
		column, length int
		says           string
	}{
		"llama licens:mit":                      {7, 7, "did you mean license:?"},
		"qwen2 zzzzzzzz:1":                      {7, 9, `put it in quotes: "zzzzzzzz:…"`},
		"größe lizenz:mit":                      {7, 7, "did you mean license:?"},
		`a "b c`:                                {3, 1, "the quote is not closed"},
		"license:":                              {9, 1, "needs a value; such as license:"},
		"license:mit,":                          {13, 1, "needs a value"},
		`license:"mit"x`:                        {14, 1, "'x' is not expected here"},
		"params:<big":                           {9, 3, `"big" is not a number`},
		"params:<8q":                            {10, 1, "units are k, m, b, t"},
		"params:":                               {8, 1, "needs a number"},
		"params:<1b..2b":                        {9, 6, "write params:1b..2b"},
		"params:9b..8b":                         {8, 6, "write params:8b..9b"},
		"metric:mmlu=90%..0.5":                  {13, 8, "write metric:mmlu=0.5..90%"},
		"params<8b":                             {1, 7, "write params:<8b"},
		"fits:24":                               {6, 2, "units are b, kb"},
		"updated:<30":                           {10, 2, "units are h, d, w, m, y"},
		"updated:>=2026-13":                     {11, 7, "is not a number"},
		"metric:>0.5":                           {8, 1, "needs a name"},
		"metric:mmlu>0.5b":                      {16, 1, "have no unit"},
		"metric:mmlu>0x10":                      {13, 4, "is not a number"},
		"status:yankd":                          {8, 5, "did you mean yanked?"},
		"verified:maybe":                        {10, 5, "it can be yes, no, any"},
		"quant:*q4":                             {7, 1, "only understood at the end"},
		"a\xff":                                 {2, 1, "not UTF-8"},
		strings.Repeat("a ", 65):                {129, 1, "more than 64 terms"},
		"tag:" + strings.Repeat("a,", 64) + "b": {133, 1, "more than 64 values"},
		strings.Repeat("a", index.MaxQuery) + "b": {1, 1, "longer than 2048 bytes"},
	}
	for text, want := range tests {
		t.Run(text[:min(len(text), 30)], func(t *testing.T) {
			_, err := index.ParseQuery(text)
			e, ok := errors.AsType[*index.SyntaxError](err)
			if !ok {
				t.Fatalf("error = %v, want a *SyntaxError", err)
			}
			if e.Column != want.column || e.Length != want.length {
				t.Errorf("at column %d, length %d, want %d, %d (%v)", e.Column, e.Length, want.column, want.length, err)
			}
			if !strings.Contains(err.Error(), want.says) {
				t.Errorf("error %q does not say %q", err, want.says)
			}
		})
	}
}

func TestCaretStandsBelowTheFault(t *testing.T) {
	_, err := index.ParseQuery("grö\x1b[31m licens:mit")
	e, ok := errors.AsType[*index.SyntaxError](err)
	if !ok {
		t.Fatal(err)
	}
	want := "grö?[31m licens:mit\n         ^^^^^^^"
	if diff := cmp.Diff(want, e.Caret()); diff != "" {
		t.Errorf("caret (-want +got):\n%s", diff)
	}
}

// What parses prints, and what is printed parses as the same.
func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{
		`llama -deprecated params:<8b`, `"a \" b"* license:mit,"x y",z*`, "metric:mmlu>0.7,f1=1..2 updated:2026..<30d",
		"K:x", "fits:1e9gb", "--a -\"b\"", "İ:x ß:1", "a\x00b:c", "size:..", "signed:@a,*",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := index.ParseQuery(text)
		if err != nil {
			e, ok := errors.AsType[*index.SyntaxError](err)
			if !ok || e.Column < 1 || e.Length < 1 || e.Caret() == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		printed := q.String()
		if len(printed) > index.MaxQuery {
			return
		}
		again, err := index.ParseQuery(printed)
		if err != nil {
			t.Fatalf("%q prints as %q, which fails: %v", text, printed, err)
		}
		if again.String() != printed {
			t.Fatalf("%q prints as %q, and that as %q", text, printed, again)
		}
	})
}
