package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func key(n string) signing.Signatory { return signing.Signatory{Kind: "key", KeyFingerprint: n} }

func person(name string, at time.Time) signing.Signatory {
	return signing.Signatory{Kind: "certificate", Identity: name, Issuer: "https://i", Time: at}
}

func stated(kind, raw string) signing.Attestation {
	return signing.Attestation{Predicate: signing.Predicate{Type: kind, Raw: []byte(raw)}, Signer: key("k1")}
}

// facts are those of a version that authority "one" of document "x" signed.
func facts(change func(f *policy.Facts, e *policy.Evidence)) policy.Facts {
	f := policy.Facts{Repository: "reg.example/a/b", Tag: "v1.5.0", Digest: digest.FromString("x"), Now: now}
	e := policy.Evidence{Signers: []signing.Signatory{key("k1")}}
	if change != nil {
		change(&f, &e)
	}
	if f.Evidence == nil {
		f.Evidence = map[policy.Source]policy.Evidence{{Document: "x", Authority: "one"}: e, {Document: "m", Authority: "one"}: e}
	}
	return f
}

// failed names the rules that refuse.
func failed(d policy.Decision) string {
	var names []string
	for _, f := range d.Failures() {
		names = append(names, f.Rule)
	}
	return strings.Join(names, " ")
}

func TestDecideConditions(t *testing.T) {
	type change = func(f *policy.Facts, e *policy.Evidence)
	note := func(a string) string { return doc("x", a, all, byKey1) }
	age := doc("x", `policy.modelreg.dev/max-signature-age: 720h`, all, strings.Replace(byCI, "name: ci", "name: one", 1))
	scan := withModel("scan: {maxAge: 7d}")
	report := func(kind, finished, result string) change {
		return func(_ *policy.Facts, e *policy.Evidence) {
			e.Attestations = append(e.Attestations, stated(kind, `{"scanner":{"uri":"u","result":`+result+`},"metadata":{"scanFinishedOn":"`+finished+`"}}`))
		}
	}
	both := func(all ...change) change {
		return func(f *policy.Facts, e *policy.Evidence) {
			for _, c := range all {
				c(f, e)
			}
		}
	}
	says := func(kind, raw string) change {
		return func(_ *policy.Facts, e *policy.Evidence) { e.Attestations = append(e.Attestations, stated(kind, raw)) }
	}
	chosen := func(of change) change { // of what was chosen from the index
		return func(f *policy.Facts, e *policy.Evidence) {
			before := e.Attestations
			of(f, e)
			e.Chosen, e.Attestations = append(e.Chosen, e.Attestations[len(before):]...), before
		}
	}
	tested := withModel("tests: passed")
	model := func(m policy.ModelFacts) change { return func(f *policy.Facts, _ *policy.Evidence) { f.Model = m } }
	signed := func(all ...signing.Signatory) change {
		return func(_ *policy.Facts, e *policy.Evidence) { e.Signers = all }
	}
	const safe, bad = `{"verdict":"safe","files":1,"findings":[]}`, `{"verdict":"dangerous"}`
	sarif := func(run string) string { return `{"version":"2.1.0","runs":[` + run + `]}` }
	evaluate := withModel("evaluations: [{metric: accuracy, dataset: mmlu, min: 0.7, max: 1}]")
	inUnit := func(unit, value string) string {
		return `{"results":[{"task":"t","metric":{"name":"accuracy","filter":"strict","unit":"` + unit + `"},"dataset":{"id":"mmlu"},"value":` + value + `}]}`
	}
	result := func(metric, dataset, value string) string {
		return `{"metric":{"name":"` + metric + `"},"dataset":{"id":"` + dataset + `"},"value":` + value + `}`
	}
	built := withModel(`provenance: {builders: ["https://ci.example/*"]}`)
	inputs := withModel("provenance: {inputs: agree}")
	differs := func(predicate string, how ...string) change {
		return func(f *policy.Facts, _ *policy.Evidence) {
			f.Differences = map[digest.Digest][]string{digest.FromString(predicate): how}
		}
	}
	yanked := withModel("yanked: refuse")
	tests := map[string]struct {
		policy string
		change change
		want   string // rules that refuse
	}{
		"signed":             {note(""), nil, ""},
		"unsigned":           {note(""), signed(), "signature"},
		"no evidence":        {note(""), func(f *policy.Facts, _ *policy.Evidence) { f.Evidence = map[policy.Source]policy.Evidence{} }, "signature"},
		"nobody said deny":   {strings.Replace(note(""), `"**"`, `"reg.example/c/*"`, 1), nil, "match"},
		"one of two":         {note(`policy.modelreg.dev/min-signers: "2"`), nil, "min-signers"},
		"two of two":         {note(`policy.modelreg.dev/min-signers: "2"`), signed(key("k1"), key("k2")), ""},
		"one, three times":   {note(`policy.modelreg.dev/min-signers: "2"`), signed(key("k1"), key("k1"), key("k1")), "min-signers"},
		"two identities":     {note(`policy.modelreg.dev/min-signers: "2"`), signed(person("a", now), person("b", now)), ""},
		"one identity twice": {note(`policy.modelreg.dev/min-signers: "2"`), signed(person("a", now), person("a", now.Add(-time.Hour))), "min-signers"},
		"a tag":              {note(`policy.modelreg.dev/require-digest: "true"`), nil, "require-digest"},
		"a digest":           {note(`policy.modelreg.dev/require-digest: "true"`), func(f *policy.Facts, _ *policy.Evidence) { f.Pinned = true }, ""},
		"no time":            {age, nil, "max-signature-age"},
		"a key stamped now": {age, func(_ *policy.Facts, e *policy.Evidence) {
			again := key("k1")
			again.Time = now
			e.Signers = []signing.Signatory{again, person("a", now.Add(-721*time.Hour))}
		}, "max-signature-age"},
		"fresh":             {age, signed(person("a", now.Add(-720*time.Hour))), ""},
		"stale":             {age, signed(person("a", now.Add(-721*time.Hour))), "max-signature-age"},
		"one of them fresh": {age, signed(person("a", now.Add(-2000*time.Hour)), person("b", now.Add(-time.Hour))), ""},
		"the clock of 1970": {age, func(f *policy.Facts, e *policy.Evidence) {
			f.Now = time.Unix(0, 0)
			e.Signers = []signing.Signatory{person("a", now)}
		}, "max-signature-age"},
		"no OMS":                {note(`policy.modelreg.dev/require-oms: "true"`), nil, "require-oms"},
		"OMS":                   {note(`policy.modelreg.dev/require-oms: "true"`), func(_ *policy.Facts, e *policy.Evidence) { e.OMS = []signing.Signatory{key("k1")} }, ""},
		"licence":               {withModel("licenses: [Apache-2.0]"), model(policy.ModelFacts{Licenses: []string{"apache-2.0"}}), ""},
		"other licence":         {withModel("licenses: [Apache-2.0]"), model(policy.ModelFacts{Licenses: []string{"apache-2.0", "llama3"}}), "licenses"},
		"no licence":            {withModel("licenses: [Apache-2.0]"), nil, "licenses"},
		"format":                {withModel("formats: [safetensors]"), model(policy.ModelFacts{Formats: []policy.Format{{Name: "safetensors"}}}), ""},
		"a pickle too":          {withModel("formats: [safetensors]"), model(policy.ModelFacts{Formats: []policy.Format{{Name: "safetensors"}, {Name: "pickle", Path: "a.pkl"}}}), "formats"},
		"no weights":            {withModel("formats: [safetensors]"), nil, ""},
		"code":                  {withModel("customCode: forbid"), model(policy.ModelFacts{CustomCode: []string{"a.py"}}), "custom-code"},
		"no code":               {withModel("customCode: forbid"), nil, ""},
		"large":                 {withModel("maxSize: 1KiB"), model(policy.ModelFacts{Size: 1025}), "max-size"},
		"not too large":         {withModel("maxSize: 1KiB"), model(policy.ModelFacts{Size: 1024}), ""},
		"base":                  {withModel(`baseModels: ["acme/*"]`), model(policy.ModelFacts{BaseModels: []string{"acme/x"}}), ""},
		"other base":            {withModel(`baseModels: ["acme/*"]`), model(policy.ModelFacts{BaseModels: []string{"acme/x", "evil/x"}}), "base-models"},
		"no base":               {withModel(`baseModels: ["acme/*"]`), nil, ""},
		"version of the tag":    {withModel("minVersion: 1.5.0"), nil, ""},
		"older tag":             {withModel("minVersion: 1.5.1"), nil, "min-version"},
		"no version":            {withModel("minVersion: 1.0.0"), func(f *policy.Facts, _ *policy.Evidence) { f.Tag = "latest" }, "min-version"},
		"version says older":    {withModel("minVersion: 1.5.0"), model(policy.ModelFacts{Version: "1.4.0"}), "min-version"},
		"no scan":               {scan, nil, "scan"},
		"clean":                 {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", safe), ""},
		"clean and old":         {scan, report(policy.TypeScan, "2026-11-02T00:00:00Z", safe), "scan"},
		"clean tomorrow":        {scan, report(policy.TypeScan, "2026-12-24T00:00:00Z", safe), "scan"},
		"dangerous":             {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", bad), "scan"},
		"unknown verdict":       {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", `{"verdict":"SAFE"}`), "scan"},
		"no verdict":            {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", `{}`), "scan"},
		"no result":             {scan, says(policy.TypeScan, `{"metadata":{"scanFinishedOn":"2026-11-22T00:00:00Z"}}`), "scan"},
		"no date":               {scan, says(policy.TypeScan, `{"scanner":{"result":`+safe+`}}`), "scan"},
		"verdict twice":         {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", `{"verdict":"dangerous","verdict":"safe"}`), "scan"},
		"newer and bad":         {scan, both(report(policy.TypeScan, "2026-11-22T00:00:00Z", safe), report(policy.TypeScan, "2026-11-23T00:00:00Z", bad)), "scan"},
		"newer and clean":       {scan, both(report(policy.TypeScan, "2026-11-22T00:00:00Z", bad), report(policy.TypeScan, "2026-11-23T00:00:00Z", safe)), ""},
		"same time":             {scan, both(report(policy.TypeScan, "2026-11-23T00:00:00Z", bad), report(policy.TypeScan, "2026-11-23T00:00:00Z", safe)), "scan"},
		"another type":          {scan, report("https://other.example", "2026-11-22T00:00:00Z", safe), "scan"},
		"SARIF":                 {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", sarif(`{"results":[{"level":"warning"},{"level":"note"}]}`)), ""},
		"SARIF, error":          {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", sarif(`{"results":[{"level":"error","ruleId":"r"}]}`)), "scan"},
		"SARIF, error of rule":  {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", sarif(`{"tool":{"driver":{"rules":[{"id":"r","defaultConfiguration":{"level":"error"}}]}},"results":[{"ruleId":"r"}]}`)), "scan"},
		"SARIF, not finished":   {scan, report(policy.TypeScan, "2026-11-22T00:00:00Z", sarif(`{"invocations":[{"executionSuccessful":false}],"results":[]}`)), "scan"},
		"good enough":           {evaluate, says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.7")), ""},
		"in a list":             {evaluate, says(policy.TypeEvaluation, `{"results":[`+result("f1", "mmlu", "0.1")+`,`+result("accuracy", "mmlu", "0.9")+`]}`), ""},
		"not good enough":       {evaluate, says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.69")), "evaluation"},
		"too good":              {evaluate, says(policy.TypeEvaluation, result("accuracy", "mmlu", "1.1")), "evaluation"},
		"one of two is bad":     {evaluate, both(says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.9")), says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.1"))), "evaluation"},
		"other metric":          {evaluate, says(policy.TypeEvaluation, result("f1", "mmlu", "0.9")), "evaluation"},
		"other dataset":         {evaluate, says(policy.TypeEvaluation, result("accuracy", "arc", "0.9")), "evaluation"},
		"in percent":            {evaluate, says(policy.TypeEvaluation, inUnit("percent", "71.2")), ""},
		"too few percent":       {evaluate, says(policy.TypeEvaluation, inUnit("percent", "45")), "evaluation"},
		"unit not said":         {evaluate, says(policy.TypeEvaluation, result("accuracy", "mmlu", "71.2")), "evaluation"},
		"bounds in percent":     {withModel("evaluations: [{metric: accuracy, max: 5}]"), says(policy.TypeEvaluation, inUnit("fraction", "0.9")), "evaluation"},
		"and met":               {withModel("evaluations: [{metric: accuracy, max: 5}]"), says(policy.TypeEvaluation, inUnit("fraction", "0.04")), ""},
		"task and filter":       {withModel("evaluations: [{metric: accuracy, task: t, filter: strict, min: 0.7}]"), says(policy.TypeEvaluation, inUnit("fraction", "0.71")), ""},
		"other task":            {withModel("evaluations: [{metric: accuracy, task: u, min: 0.7}]"), says(policy.TypeEvaluation, inUnit("fraction", "0.71")), "evaluation"},
		"other filter":          {withModel("evaluations: [{metric: accuracy, filter: loose, min: 0.7}]"), says(policy.TypeEvaluation, inUnit("fraction", "0.71")), "evaluation"},
		"filter bad beside":     {withModel("evaluations: [{metric: accuracy, filter: strict, min: 0.7}]"), both(says(policy.TypeEvaluation, inUnit("fraction", "0.71")), says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.1"))), ""},
		"value as text":         {evaluate, both(says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.8")), says(policy.TypeEvaluation, result("accuracy", "mmlu", `"0.8"`))), "evaluation"},
		"metric twice":          {evaluate, says(policy.TypeEvaluation, `{"metric":{"name":"f1"},"metric":{"name":"accuracy"},"dataset":{"id":"mmlu"},"value":0.8}`), "evaluation"},
		"no results":            {evaluate, says(policy.TypeEvaluation, `{"results":[]}`), "evaluation"},
		"results of null":       {evaluate, says(policy.TypeEvaluation, `{"results":[null]}`), "evaluation"},
		"no value":              {evaluate, says(policy.TypeEvaluation, result("accuracy", "mmlu", "null")), "evaluation"},
		"no evaluation":         {evaluate, nil, "evaluation"},
		"passed":                {withModel("tests: passed"), says(policy.TypeTests, `{"result":"PASSED"}`), ""},
		"not passed":            {withModel("tests: passed"), says(policy.TypeTests, `{"result":"FAILED"}`), "tests"},
		"one of two failed":     {withModel("tests: passed"), both(says(policy.TypeTests, `{"result":"PASSED"}`), says(policy.TypeTests, `{"result":"FAILED"}`)), "tests"},
		"not tested":            {withModel("tests: passed"), nil, "tests"},
		"built":                 {built, says(policy.TypeProvenance, `{"runDetails":{"builder":{"id":"https://ci.example/x"}}}`), ""},
		"built before":          {built, says("https://slsa.dev/provenance/v0.2", `{"builder":{"id":"https://ci.example/x"}}`), ""},
		"built elsewhere":       {built, says(policy.TypeProvenance, `{"runDetails":{"builder":{"id":"https://ci.example/x/y"}}}`), "provenance"},
		"built as before":       {built, says(policy.TypeProvenance, `{"builder":{"id":"https://ci.example/x"}}`), "provenance"},
		"built by nobody":       {built, nil, "provenance"},
		"inputs agree":          {inputs, both(says(policy.TypeProvenance, "{}"), differs("{}")), ""},
		"inputs differ":         {inputs, both(says(policy.TypeProvenance, "{}"), differs("{}", "another base")), "provenance-inputs"},
		"inputs of one differ":  {inputs, both(both(says(policy.TypeProvenance, `{"a":1}`), says(policy.TypeProvenance, "{}")), differs("{}")), "provenance-inputs"},
		"inputs of older":       {inputs, says("https://slsa.dev/provenance/v0.2", "{}"), "provenance-inputs"},
		"inputs without":        {inputs, nil, "provenance-inputs"},
		"inputs, and built":     {withModel(`provenance: {builders: ["https://ci.example/*"], inputs: agree}`), both(says(policy.TypeProvenance, "{}"), differs("{}")), "provenance"},
		"yanked":                {yanked, says(policy.TypeStatus, `{"state":"yanked","reason":"wrong","since":"2026-11-01T00:00:00Z"}`), "yanked"},
		"yanked and restored":   {yanked, both(says(policy.TypeStatus, `{"state":"yanked","since":"2026-11-01T00:00:00Z"}`), says(policy.TypeStatus, `{"state":"active","since":"2026-11-02T00:00:00Z"}`)), ""},
		"child yanked":          {yanked, both(chosen(says(policy.TypeStatus, `{"state":"yanked","since":"2026-11-01T00:00:00Z"}`)), says(policy.TypeStatus, `{"state":"active","since":"2026-11-02T00:00:00Z"}`)), "yanked"},
		"child restored":        {yanked, chosen(both(says(policy.TypeStatus, `{"state":"yanked","since":"2026-11-01T00:00:00Z"}`), says(policy.TypeStatus, `{"state":"active","since":"2026-11-02T00:00:00Z"}`))), ""},
		"child active":          {yanked, both(chosen(says(policy.TypeStatus, `{"state":"active","since":"2026-11-03T00:00:00Z"}`)), says(policy.TypeStatus, `{"state":"yanked","since":"2026-11-02T00:00:00Z"}`)), "yanked"},
		"child dangerous":       {scan, both(report(policy.TypeScan, "2026-11-23T00:00:00Z", safe), chosen(report(policy.TypeScan, "2026-11-22T00:00:00Z", bad))), "scan"},
		"child clean":           {scan, chosen(report(policy.TypeScan, "2026-11-23T00:00:00Z", safe)), "scan"},
		"child clean and old":   {scan, both(report(policy.TypeScan, "2026-11-23T00:00:00Z", safe), chosen(report(policy.TypeScan, "2025-11-22T00:00:00Z", safe))), ""},
		"child below":           {evaluate, both(says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.8")), chosen(says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.2")))), "evaluation"},
		"child alone evaluated": {evaluate, chosen(says(policy.TypeEvaluation, result("accuracy", "mmlu", "0.8"))), "evaluation"},
		"child failed":          {tested, both(says(policy.TypeTests, `{"result":"PASSED"}`), chosen(says(policy.TypeTests, `{"result":"FAILED"}`))), "tests"},
		"child alone passed":    {tested, chosen(says(policy.TypeTests, `{"result":"PASSED"}`)), "tests"},
		"yanked, nobody asks":   {note(""), says(policy.TypeStatus, `{"state":"yanked","since":"2026-11-01T00:00:00Z"}`), ""},
		"yanked, may be":        {withModel("yanked: allow"), says(policy.TypeStatus, `{"state":"yanked","since":"2026-11-01T00:00:00Z"}`), ""},
		"yanked, usually":       {withModel("deprecated: warn"), says(policy.TypeStatus, `{"state":"yanked","since":"2026-11-01T00:00:00Z"}`), "yanked"},
		"yanked, by its digest": {withModel("deprecated: warn"), both(says(policy.TypeStatus, `{"state":"yanked"}`), func(f *policy.Facts, _ *policy.Evidence) { f.Pinned = true }), ""},
		"deprecated":            {yanked, says(policy.TypeStatus, `{"state":"deprecated"}`), ""},
		"deprecated, strictly":  {withModel("deprecated: refuse"), says(policy.TypeStatus, `{"state":"deprecated"}`), "deprecated"},
		"unreadable status":     {yanked, says(policy.TypeStatus, `{"state":"dubious"}`), "yanked"},
		"rolled back":           {note(""), func(f *policy.Facts, _ *policy.Evidence) { f.Rollback = "it led to x" }, "rollback"},
		"everything at once": {
			strings.Replace(withModel("formats: [gguf]\nlicenses: [mit]\nscan: {maxAge: 1d}"), "annotations:", "annotations:\n    policy.modelreg.dev/require-digest: \"true\"", 1),
			both(signed(), model(policy.ModelFacts{Formats: []policy.Format{{Name: "pickle"}}})),
			"signature require-digest licenses formats scan",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, f := parse(t, tt.policy), facts(tt.change)
			d := p.Decide(f)
			if got := failed(d); got != tt.want {
				t.Errorf("refused for %q, want %q:\n%+v", got, tt.want, d.Rules)
			}
			if d.Allowed != (tt.want == "") || (d.Err() == nil) != d.Allowed {
				t.Errorf("allowed = %v, error = %v", d.Allowed, d.Err())
			}
			for _, r := range d.Rules {
				if r.Found == "" || r.Wanted == "" || r.Rule == "" || r.OK != (r.Effect == "") {
					t.Errorf("rule without words: %+v", r)
				}
			}
			if diff := cmp.Diff(d, p.Decide(f)); diff != "" {
				t.Errorf("the same facts, another decision: %s", diff)
			}
		})
	}
}

// Any authority will do, all of its attestations are needed, and all documents
// of the most specific glob.
func TestDecideLogic(t *testing.T) {
	at := func(kind string) []signing.Attestation { return []signing.Attestation{stated(kind, `{}`)} }
	two := doc("x", "", all, byKey1) + doc("y", "", all, byAudit)
	tests := map[string]struct {
		policy   string
		evidence map[string]policy.Evidence
		want     string
	}{
		"one of two authorities":  {doc("x", "", all, byKey1+","+byKey2), map[string]policy.Evidence{"x/two": {Signers: []signing.Signatory{key("k2")}}}, ""},
		"of another document":     {doc("x", "", all, byKey1), map[string]policy.Evidence{"y/one": {Signers: []signing.Signatory{key("k1")}}}, "signature"},
		"signature, not attested": {doc("x", "", all, byAudit), map[string]policy.Evidence{"x/audit": {Signers: []signing.Signatory{key("k2")}}}, "signature"},
		"attested":                {doc("x", "", all, byAudit), map[string]policy.Evidence{"x/audit": {Attestations: at(policy.TypeScan)}}, ""},
		"attested something else": {doc("x", "", all, byAudit), map[string]policy.Evidence{"x/audit": {Attestations: at("https://other")}}, "signature"},
		"attested, not signed":    {doc("x", "", all, byKey1), map[string]policy.Evidence{"x/one": {Attestations: at(policy.TypeScan)}}, "signature"},
		"both documents":          {two, map[string]policy.Evidence{"x/one": {Signers: []signing.Signatory{key("k1")}}, "y/audit": {Attestations: at(policy.TypeScan)}}, ""},
		"one of both documents":   {two, map[string]policy.Evidence{"x/one": {Signers: []signing.Signatory{key("k1")}}}, "signature"},
		"the wrong form":          {doc("x", "", all, `{name: one, signatureFormat: legacy, key: {data: KEY1}}`), map[string]policy.Evidence{"x/one": {Signers: []signing.Signatory{key("k1")}}}, "signature"},
		"the right form":          {doc("x", "", all, `{name: one, signatureFormat: bundle, key: {data: KEY1}}`), map[string]policy.Evidence{"x/one": {Signers: []signing.Signatory{key("k1")}}}, ""},
		"static":                  {doc("x", "", `{glob: "reg.example/**"}`, `{static: {action: pass}}`), nil, ""},
		"static no":               {doc("x", "", all, `{static: {action: fail}}`), nil, "signature"},
		"static no, or a key":     {doc("x", "", all, `{name: no, static: {action: fail}}, `+byKey1), map[string]policy.Evidence{"x/one": {Signers: []signing.Signatory{key("k1")}}}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := facts(func(f *policy.Facts, _ *policy.Evidence) {
				f.Evidence = map[policy.Source]policy.Evidence{}
				for k, e := range tt.evidence {
					d, a, _ := strings.Cut(k, "/")
					f.Evidence[policy.Source{Document: d, Authority: a}] = e
				}
			})
			if d := parse(t, tt.policy).Decide(f); failed(d) != tt.want {
				t.Errorf("refused for %q, want %q: %+v", failed(d), tt.want, d.Rules)
			}
		})
	}
}

// A floor asks for more, and admits nothing that no other document is for.
func TestDecideFloor(t *testing.T) {
	floor := doc("floor", `policy.modelreg.dev/always: "true"`, all, byKey1)
	by := func(authority string) policy.Facts {
		f := facts(nil)
		f.Evidence = map[policy.Source]policy.Evidence{
			{Document: "floor", Authority: authority}: {Signers: []signing.Signatory{key("k1")}},
			{Document: "x", Authority: "one"}:         {Signers: []signing.Signatory{key("k1")}},
		}
		return f
	}
	elsewhere := doc("x", "", `{glob: "reg.example/c/*"}`, byKey1)
	here := doc("x", "", `{glob: "reg.example/a/*"}`, byKey1)
	tests := map[string]struct {
		policy, authority, want string
	}{
		"alone":             {floor, "one", "match"},
		"others elsewhere":  {floor + elsewhere, "one", "match"},
		"does not hold":     {floor + elsewhere, "nobody", "match signature"},
		"beside another":    {floor + here, "one", ""},
		"not held, besides": {floor + here, "nobody", "signature"},
	}
	for name, tt := range tests {
		if d := parse(t, tt.policy).Decide(by(tt.authority)); failed(d) != tt.want || d.Allowed != (tt.want == "") {
			t.Errorf("%s: refused for %q, want %q", name, failed(d), tt.want)
		}
	}
}

// A document that warns says what a strict one would, and refuses nothing.
func TestDecideWarns(t *testing.T) {
	text := strings.Replace(withModel("licenses: [mit]"), "spec:\n", "spec:\n  mode: warn\n", 1)
	d := parse(t, text).Decide(facts(func(_ *policy.Facts, e *policy.Evidence) { e.Signers = nil }))
	if !d.Allowed || len(d.Warnings()) != 2 || d.Err() != nil {
		t.Errorf("%+v", d)
	}
}

func TestRefusal(t *testing.T) {
	p := parse(t, strings.Replace(withModel("licenses: [mit]\nformats: [gguf]\nyanked: refuse"), "spec:\n", "spec:\n", 1))
	yank := func(_ *policy.Facts, e *policy.Evidence) {
		e.Attestations = []signing.Attestation{stated(policy.TypeStatus, `{"state":"yanked","reason":"leaks","replacement":"reg.example/a/b:v2"}`)}
	}
	d := p.Decide(facts(func(f *policy.Facts, e *policy.Evidence) {
		yank(f, e)
		f.Model.Licenses = []string{"mit"}
	}))
	if err := d.Err(); !errors.Is(err, policy.ErrYanked) || !errors.Is(err, policy.ErrRefused) {
		t.Errorf("error = %v, want ErrYanked", err)
	}
	d = p.Decide(facts(yank))
	err := d.Err()
	if errors.Is(err, policy.ErrYanked) || !errors.Is(err, policy.ErrRefused) {
		t.Errorf("error = %v, want ErrRefused alone", err)
	}
	want := fmt.Sprintf("refused by policy %s: licenses of m: found no licence, wanted a licence, and none but mit; "+
		"yanked of m: found it was yanked: leaks, wanted a version that is not yanked, such as reg.example/a/b:v2", p)
	if err.Error() != want {
		t.Errorf("error = %q\nwant    %q", err, want)
	}
	d = p.Decide(facts(func(f *policy.Facts, _ *policy.Evidence) {
		f.Model.Licenses, f.Rollback = []string{"mit"}, "it led to x"
	}))
	if err := d.Err(); !errors.Is(err, signing.ErrRollback) {
		t.Errorf("error = %v, want ErrRollback", err)
	}
}

// The keys of a decision are what scripts rely on.
func TestDecisionJSON(t *testing.T) {
	d := parse(t, doc("x", "", all, byKey1)).Decide(facts(nil))
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	names := func(m map[string]any) (out []string) {
		for k := range m {
			out = append(out, k)
		}
		return sorted(out)
	}
	if diff := cmp.Diff([]string{"allowed", "digest", "policy", "repository", "rules"}, names(got)); diff != "" {
		t.Error(diff)
	}
	rule := got["rules"].([]any)[0].(map[string]any)
	if diff := cmp.Diff([]string{"document", "effect", "found", "ok", "rule", "wanted"}, names(rule)); diff != "" {
		t.Error(diff)
	}
}
