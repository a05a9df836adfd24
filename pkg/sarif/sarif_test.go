package sarif_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/modelreg/modelreg/pkg/sarif"
)

func TestUnfinished(t *testing.T) {
	for name, tt := range map[string]struct{ run, want string }{
		"done":            {`{"results":[]}`, ""},
		"done, and so so": {`{"invocations":[{"executionSuccessful":true,"toolExecutionNotifications":[{}]}],"results":[]}`, ""},
		"no results":      {`{}`, "whose results are not there"},
		"elsewhere":       {`{"results":[],"externalPropertyFileReferences":{}}`, "whose results are not there"},
		"many extensions": {`{"tool":{"extensions":[{}` + strings.Repeat(",{}", 256) + `]},"results":[]}`, "that has more extensions than are looked into"},
		"failed":          {`{"invocations":[{"executionSuccessful":false}],"results":[]}`, "that did not come to the end"},
		"does not say":    {`{"invocations":[{}],"results":[]}`, "that did not come to the end"},
		"error":           {`{"invocations":[{"executionSuccessful":true,"toolExecutionNotifications":[{"level":"error"}]}],"results":[]}`, "that had an error"},
		"of settings":     {`{"invocations":[{"executionSuccessful":true,"toolConfigurationNotifications":[{"level":"FATAL"}]}],"results":[]}`, "that had an error"},
	} {
		var run sarif.Run
		if err := json.Unmarshal([]byte(tt.run), &run); err != nil {
			t.Fatal(err)
		}
		if got := run.Unfinished(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// Whatever a run says, each result has a level of SARIF or none that is known,
// and what says that it is an error is one.
func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"tool":{"driver":{"rules":[{"id":"a","defaultConfiguration":{"level":"note"}}]}},"results":[{"ruleId":"a/b"},{"ruleIndex":0}]}`))
	f.Add([]byte(`{"tool":{"extensions":[{"name":"e","rules":[{"id":"a"}]}]},"results":[{"rule":{"index":0,"toolComponent":{"index":0}}}]}`))
	f.Add([]byte(`{"invocations":[{"executionSuccessful":true,"ruleConfigurationOverrides":[{"descriptor":{"index":-1},"configuration":{"level":"error"}}]}],"results":[{"level":"error"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var run sarif.Run
		if json.Unmarshal(raw, &run) != nil || run.Unfinished() != "" {
			return
		}
		rules := run.Rules()
		for _, r := range *run.Results {
			rules.Of(r)
			level, known := rules.Level(r)
			switch {
			case !known && level != "":
				t.Errorf("%+v: level %q is not known", r, level)
			case known && level != "none" && level != "note" && level != "warning" && level != "error", r.Level == "error" && level != "error":
				t.Errorf("%+v: level %q", r, level)
			}
		}
	})
}
