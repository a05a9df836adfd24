package policy_test

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A report in SARIF is clean only where nothing in it is, or may be, an error.
func TestScanSARIF(t *testing.T) {
	rule := func(id, level string) string {
		return `{"id":"` + id + `","defaultConfiguration":{"level":"` + level + `"}}`
	}
	run := func(tool, results string) string { return `{"tool":{` + tool + `},"results":[` + results + `]}` }
	driver := `"driver":{"name":"d","rules":[` + rule("ok", "note") + `,` + rule("bad", "error") + `,{"id":"plain"}]}`
	both := driver + `,"extensions":[{"name":"e","guid":"g","rules":[` + rule("good", "note") + `,` + rule("evil", "error") + `]}]`
	override := func(descriptor string) string {
		return `{"tool":{` + driver + `},"invocations":[{"executionSuccessful":true,"ruleConfigurationOverrides":[{"descriptor":` + descriptor +
			`,"configuration":{"level":"error"}}]}],"results":[{"ruleId":"ok"}]}`
	}
	notified := func(kind, level string) string {
		return `{"invocations":[{"executionSuccessful":true,"` + kind + `":[{"message":{"text":"x"}` + level + `}]}],"results":[]}`
	}
	tests := map[string]struct {
		run   string
		found string // empty if it is clean
	}{
		"no results found":       {run(driver, ``), ""},
		"level":                  {run(``, `{"level":"warning"},{"level":"none"}`), ""},
		"error":                  {run(driver, `{"level":"error","ruleId":"ok"}`), "the error ok"},
		"level of the rule":      {run(driver, `{"ruleId":"ok"},{"ruleId":"plain"}`), ""},
		"error of the rule":      {run(driver, `{"ruleId":"bad"}`), "the error bad"},
		"lowered by the result":  {run(driver, `{"ruleId":"bad","level":"note"}`), ""},
		"unknown level":          {run(driver, `{"ruleId":"ok","level":"ERROR"}`), "the error ok"},
		"unknown level of rule":  {run(`"driver":{"rules":[`+rule("x", "fatal")+`]}`, `{"ruleId":"x"}`), "the error x"},
		"no rule":                {run(driver, `{"ruleId":"gone"}`), "no known level, gone"},
		"no name":                {run(driver, `{"message":{"text":"x"}}`), "no known level, without a name"},
		"passed":                 {run(driver, `{"kind":"pass","ruleId":"bad"}`), ""},
		"not decided":            {run(driver, `{"kind":"review","ruleId":"bad"}`), "the error bad"},
		"ruleIndex":              {run(driver, `{"ruleIndex":1}`), "the error"},
		"ruleIndex, harmless":    {run(driver, `{"ruleIndex":0}`), ""},
		"ruleIndex, too high":    {run(driver, `{"ruleIndex":3,"ruleId":"ok"}`), "no known level, ok"},
		"ruleIndex, none":        {run(driver, `{"ruleIndex":-1,"ruleId":"ok"}`), ""},
		"index and id disagree":  {run(driver, `{"ruleIndex":1,"ruleId":"ok"}`), "the error ok"},
		"rule.index":             {run(driver, `{"rule":{"index":1}}`), "the error"},
		"rule.id":                {run(driver, `{"rule":{"id":"bad"}}`), "the error bad"},
		"part of a rule":         {run(driver, `{"ruleId":"bad/1/2"}`), "the error bad/1/2"},
		"part of a harmless one": {run(driver, `{"ruleId":"ok/1"}`), ""},
		"extension by id":        {run(both, `{"ruleId":"evil"}`), "the error evil"},
		"extension by index":     {run(both, `{"rule":{"index":1,"toolComponent":{"index":0}}}`), "the error"},
		"extension by name":      {run(both, `{"rule":{"index":1,"toolComponent":{"name":"e"}}}`), "the error"},
		"extension by guid":      {run(both, `{"rule":{"index":1,"toolComponent":{"guid":"g"}}}`), "the error"},
		"extension, harmless":    {run(both, `{"rule":{"index":0,"toolComponent":{"index":0}}}`), ""},
		"no such extension":      {run(both, `{"rule":{"index":0,"toolComponent":{"index":1}}}`), "no known level"},
		"raised by id":           {override(`{"id":"ok"}`), "the error ok"},
		"raised by index":        {override(`{"index":0}`), "the error ok"},
		"another one raised":     {override(`{"id":"plain"}`), ""},
		"results are missing":    {`{"tool":{` + driver + `}}`, "results are not there"},
		"results are null":       {`{"results":null}`, "results are not there"},
		"results are elsewhere":  {`{"results":[],"externalPropertyFileReferences":{"results":[{"location":{"uri":"x"}}]}}`, "results are not there"},
		"a run that is null":     {`null`, "results are not there"},
		"error while running":    {notified("toolExecutionNotifications", `,"level":"error"`), "had an error"},
		"error of settings":      {notified("toolConfigurationNotifications", `,"level":"error"`), "had an error"},
		"warning while running":  {notified("toolExecutionNotifications", ``), ""},
		"second run":             {run(driver, ``) + `,` + run(driver, `{"ruleId":"bad"}`), "the error bad"},
	}
	p := parse(t, withModel("scan: {maxAge: 7d}"))
	scanned := func(result string) policy.Decision {
		return p.Decide(facts(func(_ *policy.Facts, e *policy.Evidence) {
			e.Attestations = append(e.Attestations, stated(policy.TypeScan, `{"scanner":{"result":`+result+`},"metadata":{"scanFinishedOn":"2026-11-22T00:00:00Z"}}`))
		}))
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := scanned(`{"version":"2.1.0","runs":[` + tt.run + `]}`)
			if d.Allowed != (tt.found == "") {
				t.Fatalf("allowed = %v: %v", d.Allowed, d.Err())
			}
			if err := d.Err(); err != nil && !strings.Contains(err.Error(), tt.found) {
				t.Errorf("error = %v, want %q in it", err, tt.found)
			}
		})
	}
	if d := scanned(`{"runs":[` + run(driver, ``) + `],"inlineExternalProperties":[{"results":[{"level":"error"}]}]}`); d.Allowed {
		t.Error("results beside the runs were passed over")
	}
}
