package hub_test

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// evil is a pickle that would print the working directory.
const evil = "cos\ngetcwd\n(tR."

func modelOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, files)
	return dir
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func rulesOf(findings []scan.Finding) []string {
	var ids []string
	for _, f := range findings {
		ids = append(ids, f.Path+": "+f.Rule)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// What is found in a registry is what is found on the disk.
func TestScanRemoteAndLocal(t *testing.T) {
	w := newWorld(t)
	model := t.TempDir()
	testmodel.Safetensors(t, model)
	fill(t, model, map[string]string{
		"README.md": testmodel.Card, "config.json": `{"auto_map":{"AutoModel":"modeling_x.X"}}`, "modeling_x.py": "x = 1\n",
		"sub/tokenizer_config.json": `{"chat_template":"{{ ''.__class__ }}"}`, "weights.pkl": evil,
	})
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{AllowUnsafe: true}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"config.json: auto-map", "modeling_x.py: custom-code", "sub/tokenizer_config.json: chat-template", "weights.pkl: pickle-dangerous-import",
	}
	remote := func(opts hub.ScanOptions) func() (*hub.ScanResult, error) {
		return func() (*hub.ScanResult, error) { return w.Scan(t.Context(), w.ref("org/m:v1"), opts) }
	}
	for name, run := range map[string]func() (*hub.ScanResult, error){
		"remote": remote(hub.ScanOptions{}),
		"whole":  remote(hub.ScanOptions{Whole: true}),
		"local":  func() (*hub.ScanResult, error) { return hub.LocalScan(t.Context(), model, hub.ScanOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			res, err := run()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, rulesOf(res.Findings)); diff != "" || res.Verdict != scan.Dangerous || res.Files != 6 {
				t.Errorf("verdict %s of %d files, findings (-want +got):\n%s", res.Verdict, res.Files, diff)
			}
			if res.Verified != (name != "local") {
				t.Errorf("verified = %t", res.Verified)
			}
		})
	}
}

// What is not looked at is no pass.
func TestScanOddFiles(t *testing.T) {
	outside := modelOf(t, map[string]string{"a.pkl": evil})
	model := modelOf(t, map[string]string{"a.txt": "x", ".hidden/b.pkl": evil, ".git/c.pkl": evil})
	for name, to := range map[string]string{"dir": outside, "file.pkl": filepath.Join(outside, "a.pkl"), "nowhere": "nothing"} {
		if err := os.Symlink(to, filepath.Join(model, name)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip("links need a privilege there")
			}
			t.Fatal(err)
		}
	}
	res, err := hub.LocalScan(t.Context(), model, hub.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".hidden/b.pkl: pickle-dangerous-import", "dir: not-read", "file.pkl: pickle-dangerous-import"}
	if diff := cmp.Diff(want, rulesOf(res.Findings)); diff != "" || res.Files != 3 {
		t.Errorf("%d files, findings (-want +got):\n%s", res.Files, diff)
	}
}

// A version is scanned without its weights.
func TestScanReadsLittle(t *testing.T) {
	w := newWorld(t)
	model := weights(t, largeTensors(2), nil)
	size := int64(len(read(t, model)["model.safetensors"]))
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	w.srv.Reset()
	res, err := w.Scan(t.Context(), w.ref("org/m:v1"), hub.ScanOptions{})
	if err != nil || res.Verdict != scan.Safe || !res.Verified {
		t.Fatalf("Scan = %+v, %v", res, err)
	}
	var moved int64
	for _, r := range w.srv.Requests() {
		moved += r.BytesOut
	}
	if moved == 0 || moved > 1<<20 {
		t.Errorf("%d bytes moved for a model of %d, want less than 1 MiB", moved, size)
	}
}

func TestScanUnacceptable(t *testing.T) {
	medium := []scan.Finding{{Path: "a", Rule: "x", Severity: scan.Medium, Message: "m"}}
	tests := map[string]struct {
		verdict  scan.Verdict
		least    scan.Severity
		verdicts []scan.Verdict
		bad      bool
	}{
		"safe":              {scan.Safe, "", []scan.Verdict{scan.Dangerous, scan.Unscannable}, false},
		"unknown":           {scan.Unknown, "", []scan.Verdict{scan.Dangerous, scan.Unscannable}, false},
		"unscannable":       {scan.Unscannable, "", []scan.Verdict{scan.Dangerous, scan.Unscannable}, true},
		"medium of high":    {scan.Unknown, scan.High, nil, false},
		"medium of medium":  {scan.Unknown, scan.Medium, nil, true},
		"medium of low":     {scan.Unknown, scan.Low, nil, true},
		"verdict in a list": {scan.Unknown, "", []scan.Verdict{scan.Unknown}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := &hub.ScanResult{Report: scan.Report{Verdict: tt.verdict, Findings: medium}}
			err := res.Unacceptable(tt.least, tt.verdicts...)
			if (err != nil) != tt.bad || tt.bad && !errors.Is(err, artifact.ErrUnsafe) {
				t.Errorf("Unacceptable = %v, want an error: %t", err, tt.bad)
			}
		})
	}
}

// Push refuses what is dangerous before anything is sent, and notes the rest.
func TestPushScans(t *testing.T) {
	tests := map[string]struct {
		files   map[string]string
		opts    hub.PushOptions
		refused string // the rule
		note    string
	}{
		"safe":             {map[string]string{"a.txt": "x"}, hub.PushOptions{}, "", ""},
		"dangerous":        {map[string]string{"a.pkl": evil}, hub.PushOptions{}, "pickle-dangerous-import", ""},
		"hidden":           {map[string]string{"a.dat": "\x80\x04cos\ngetcwd\n(tR."}, hub.PushOptions{}, "pickle-dangerous-import", ""},
		"broken pickle":    {map[string]string{"a.pkl": "\x80\x04cos"}, hub.PushOptions{}, "pickle-broken", ""},
		"closed":           {map[string]string{"a.joblib": "7z\xbc\xaf\x27\x1c\x00\x04"}, hub.PushOptions{}, "archive-closed", ""},
		"closed, hidden":   {map[string]string{"model.safetensors": "7z\xbc\xaf\x27\x1c\x00\x04"}, hub.PushOptions{}, "archive-closed", ""},
		"damaged archive":  {map[string]string{"a.pt": "PK\x03\x04"}, hub.PushOptions{}, "zip-malformed", ""},
		"damaged gzip":     {map[string]string{"a.pkl": "\x1f\x8b\x08"}, hub.PushOptions{}, "compressed-malformed", ""},
		"other format":     {map[string]string{"a.h5": "x"}, hub.PushOptions{}, "format-mismatch", ""},
		"loose model":      {map[string]string{"a.json": `{"class_name":"x","class_name":"Lambda","config":{}}`}, hub.PushOptions{}, "model-malformed", ""},
		"large graph":      {map[string]string{"a.pb": strings.Repeat("x", 17<<20)}, hub.PushOptions{}, "", ""},
		"template":         {map[string]string{"chat_template.jinja": "{{ x.__class__ }}"}, hub.PushOptions{}, "chat-template", ""},
		"allowed":          {map[string]string{"a.pkl": evil}, hub.PushOptions{AllowUnsafe: true}, "", "verdict dangerous"},
		"not looked at":    {map[string]string{"a.pkl": evil}, hub.PushOptions{NoScan: true}, "", ""},
		"custom code":      {map[string]string{"a.py": "x"}, hub.PushOptions{}, "", "verdict unknown"},
		"template, unread": {map[string]string{"chat_template.jinja": "{{ "}, hub.PushOptions{}, "", "verdict unscannable"},
		"no JSON":          {map[string]string{"config.json": "{"}, hub.PushOptions{}, "", "verdict unscannable"},
		"malformed, rest":  {map[string]string{"a.safetensors": "no"}, hub.PushOptions{}, "", "verdict unscannable"},
		"dry":              {map[string]string{"a.pkl": evil}, hub.PushOptions{DryRun: true}, "pickle-dangerous-import", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			res, err := w.Push(t.Context(), modelOf(t, tt.files), w.ref("org/m:v1"), tt.opts)
			if tt.refused != "" {
				se, ok := errors.AsType[*hub.ScanError](err)
				if !ok || !errors.Is(err, artifact.ErrUnsafe) || se.Op != "push" || !slices.ContainsFunc(se.Findings, func(f scan.Finding) bool { return f.Rule == tt.refused }) {
					t.Errorf("Push = %v, want a refusal for %s", err, tt.refused)
				}
				for _, r := range w.srv.Requests() {
					if r.Method != "GET" && r.Method != "HEAD" {
						t.Errorf("%s %s was sent", r.Method, r.Path)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			notes := strings.Join(res.Notes, "\n")
			if tt.note == "" && strings.Contains(notes, "scan") || !strings.Contains(notes, tt.note) || (res.Scan == nil) != tt.opts.NoScan {
				t.Errorf("notes %q, scan %+v, want %q", notes, res.Scan, tt.note)
			}
		})
	}
}

// A scanner's answer becomes findings, and no answer is one, too.
func TestScanners(t *testing.T) {
	model := modelOf(t, map[string]string{"sub/a.bin": "x", "b.bin": "y"})
	run := func(text string) string { return `{"version":"2.1.0","runs":[` + text + `]}` }
	ran := func(told string) string {
		return run(`{"tool":{"driver":{"name":"x"}},"invocations":[{"executionSuccessful":true,` + told + `}],"results":[]}`)
	}
	rule := func(level string) string {
		return `[{"id":"r","defaultConfiguration":{"level":"` + level + `"},"properties":{"security-severity":"1.0"}}]`
	}
	failed := []string{": scanner-failed"}
	answer := func(results string) string {
		return `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"results":[` + results + `]}]}`
	}
	about := func(uri string) string {
		return `"message":{"text":"bad"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"` + uri + `"}}}]`
	}
	tests := map[string]struct {
		answer  string
		err     error
		verdict scan.Verdict
		want    []string
	}{
		"nothing found":        {answer(""), nil, scan.Safe, nil},
		"an error":             {answer(`{"ruleId":"r","level":"error",` + about("sub/a.bin") + `}`), nil, scan.Dangerous, []string{"sub/a.bin: other:r"}},
		"a warning":            {answer(`{"ruleId":"r",` + about("file://"+filepath.ToSlash(model)+"/b.bin") + `}`), nil, scan.Unknown, []string{"b.bin: other:r"}},
		"a note":               {answer(`{"ruleId":"r","level":"note",` + about(filepath.ToSlash(model)+"/sub/a.bin") + `}`), nil, scan.Safe, []string{"sub/a.bin: other:r"}},
		"a member":             {answer(`{"ruleId":"r",` + about("sub/a.bin:data.pkl") + `}`), nil, scan.Unknown, []string{"sub/a.bin!data.pkl: other:r"}},
		"all is well":          {answer(`{"ruleId":"r","kind":"pass",` + about("b.bin") + `}`), nil, scan.Safe, nil},
		"no file":              {answer(`{"ruleId":"r",` + about("/etc/passwd") + `}`), nil, scan.Unscannable, []string{": scanner-failed"}},
		"no JSON":              {"ok", nil, scan.Unscannable, []string{": scanner-failed"}},
		"another version":      {`{"version":"1.0","runs":[{}]}`, nil, scan.Unscannable, []string{": scanner-failed"}},
		"no runs":              {`{"version":"2.1.0","runs":[]}`, nil, scan.Unscannable, []string{": scanner-failed"}},
		"says it failed":       {`{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"invocations":[{"executionSuccessful":false}],"results":[]}]}`, nil, scan.Unscannable, []string{": scanner-failed"}},
		"no results":           {run(`{"tool":{"driver":{"name":"x"}}}`), nil, scan.Unscannable, failed},
		"results are null":     {run(`{"results":null}`), nil, scan.Unscannable, failed},
		"a run that is null":   {run(`null`), nil, scan.Unscannable, failed},
		"results elsewhere":    {run(`{"results":[],"externalPropertyFileReferences":{"results":[{"location":{"uri":"x"}}]}}`), nil, scan.Unscannable, failed},
		"results beside":       {`{"version":"2.1.0","runs":[{"results":[]}],"inlineExternalProperties":[{"results":[]}]}`, nil, scan.Unscannable, failed},
		"an error of its own":  {ran(`"toolExecutionNotifications":[{"level":"error","message":{"text":"could not parse"}}]`), nil, scan.Unscannable, failed},
		"an error of settings": {ran(`"toolConfigurationNotifications":[{"level":"error","message":{"text":"no rules"}}]`), nil, scan.Unscannable, failed},
		"a warning of its own": {ran(`"toolExecutionNotifications":[{"message":{"text":"slow"}}]`), nil, scan.Safe, nil},
		"does not say how":     {run(`{"invocations":[{}],"results":[]}`), nil, scan.Unscannable, failed},
		"an unknown level":     {answer(`{"ruleId":"r","level":"fatal",` + about("b.bin") + `}`), nil, scan.Dangerous, []string{"b.bin: other:r"}},
		"an unknown kind":      {answer(`{"ruleId":"r","kind":"Fail","level":"error",` + about("b.bin") + `}`), nil, scan.Dangerous, []string{"b.bin: other:r"}},
		"well, and an error":   {answer(`{"ruleId":"r","kind":"pass","level":"error",` + about("b.bin") + `}`), nil, scan.Dangerous, []string{"b.bin: other:r"}},
		"rule of an extension": {run(`{"tool":{"driver":{"name":"x"},"extensions":[{"name":"e","rules":` + rule("error") + `}]},"results":[{"rule":{"index":0,"toolComponent":{"index":0}},` + about("b.bin") + `}]}`), nil, scan.Dangerous, []string{"b.bin: other:r"}},
		"a raised level":       {run(`{"tool":{"driver":{"name":"x","rules":` + rule("note") + `}},"invocations":[{"executionSuccessful":true,"ruleConfigurationOverrides":[{"descriptor":{"id":"r"},"configuration":{"level":"error"}}]}],"results":[{"ruleId":"r",` + about("b.bin") + `}]}`), nil, scan.Dangerous, []string{"b.bin: other:r"}},
		"could not be run":     {"", errors.New("exit status 127"), scan.Unscannable, []string{": scanner-failed"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var asked []hub.ScannerFile
			other := hub.Scanner{Name: "other", Run: func(_ context.Context, files []hub.ScannerFile) ([]byte, error) {
				asked = files
				return []byte(tt.answer), tt.err
			}}
			res, err := hub.LocalScan(t.Context(), model, hub.ScanOptions{Scanners: []hub.Scanner{other}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, rulesOf(res.Findings)); diff != "" || res.Verdict != tt.verdict {
				t.Errorf("verdict %s, want %s; findings (-want +got):\n%s", res.Verdict, tt.verdict, diff)
			}
			if len(asked) != 2 || !filepath.IsAbs(asked[0].File) || !slices.Equal(res.Scanners, []string{"other"}) {
				t.Errorf("asked about %+v, scanners %v", asked, res.Scanners)
			}
		})
	}
}

// remembered scans again and tells how many files were not read, and what was
// found.
func remembered(t *testing.T, run func() (*hub.ScanResult, error)) (int, []string) {
	t.Helper()
	res, err := run()
	if err != nil {
		t.Fatal(err)
	}
	if res.Verdict != scan.Dangerous {
		t.Errorf("verdict %s", res.Verdict)
	}
	return res.Remembered, rulesOf(res.Findings)
}

// Files that have not changed are not read again, and what was found in them is
// found all the same, also what only all of them together show.
func TestScanRemembersFiles(t *testing.T) {
	w, made := newWorld(t), time.Now()
	model := modelOf(t, map[string]string{
		"README.md": "---\nlicense: mit\n---\n", "LICENSE": "Apache License\nVersion 2.0, January 2004\n",
		"a.pkl": evil, "b.py": "x = 1\n", "c.txt": "c",
	})
	want := []string{"LICENSE: licence-mismatch", "a.pkl: pickle-dangerous-import", "b.py: custom-code"}
	local := func() (*hub.ScanResult, error) {
		return hub.LocalScan(t.Context(), model, hub.ScanOptions{Store: w.store})
	}
	for range 2 {
		n, got := remembered(t, local)
		tooNew := time.Since(made) < 2*time.Second // for their times to prove something; a slow machine is past that
		if n != 0 && tooNew || !slices.Equal(got, want) {
			t.Fatalf("%d were not read, found %q", n, got)
		}
	}
	time.Sleep(2100 * time.Millisecond) // until the files' times prove something: see store.StatCache
	remembered(t, local)
	for i, n := range []int{5, 5} {
		if got, found := remembered(t, local); got != n || !slices.Equal(found, want) {
			t.Fatalf("scan %d: %d were not read, want %d; found %q", i, got, n, found)
		}
	}
	// With the same size, and the old time of modification.
	info, err := os.Stat(filepath.Join(model, "c.txt"))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, model, map[string]string{"c.txt": "d"})
	if err := os.Chtimes(filepath.Join(model, "c.txt"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(model, "b.py"), filepath.Join(model, "b.txt")); err != nil {
		t.Fatal(err)
	}
	if n, got := remembered(t, local); n != 3 || !slices.Equal(got, want[:2]) {
		t.Errorf("after a change and another name: %d were not read, found %q", n, got)
	}
	again := func() (*hub.ScanResult, error) {
		return hub.LocalScan(t.Context(), model, hub.ScanOptions{Store: w.store, Rescan: true})
	}
	if n, _ := remembered(t, again); n != 0 {
		t.Errorf("%d were not read by a rescan", n)
	}
	// A push looks in another way, and remembers that.
	push := func(tag string, opts hub.PushOptions) *hub.PushResult {
		opts.AllowUnsafe = true
		res, err := w.Push(t.Context(), model, w.ref("org/m:"+tag), opts)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for i, n := range []int{0, 3} { // and what is no longer new by then
		res := push("v1", hub.PushOptions{})
		if diff := cmp.Diff(want[:2], rulesOf(res.Scan.Findings)); diff != "" || res.Scan.Remembered < n || i == 0 && res.Scan.Remembered > 0 {
			t.Errorf("push %d: %d were not read, want %d; findings (-want +got):\n%s", i, res.Scan.Remembered, n, diff)
		}
	}
	if res := push("v2", hub.PushOptions{Rescan: true}); res.Scan.Remembered != 0 {
		t.Errorf("push --rescan: %d were not read", res.Scan.Remembered)
	}
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v3"), hub.PushOptions{}); !errors.Is(err, artifact.ErrUnsafe) {
		t.Errorf("a push of what is known to be dangerous = %v", err)
	}
}

// A version that was scanned costs its manifest; what changed of the next one is
// read, and what no digest verifies always.
func TestScanRemembersVersions(t *testing.T) {
	w := newWorld(t)
	model := weights(t, largeTensors(2), nil)
	fill(t, model, map[string]string{"a.pkl": evil, "b.txt": "b"})
	push := func(tag string) {
		if _, err := w.Push(t.Context(), model, w.ref("org/m:"+tag), hub.PushOptions{AllowUnsafe: true}); err != nil {
			t.Fatal(err)
		}
	}
	push("v1")
	remote := func(tag string, opts hub.ScanOptions) func() (*hub.ScanResult, error) {
		return func() (*hub.ScanResult, error) { return w.Scan(t.Context(), w.ref("org/m:"+tag), opts) }
	}
	n, want := remembered(t, remote("v1", hub.ScanOptions{}))
	if n != 0 || !slices.Contains(want, "a.pkl: pickle-dangerous-import") {
		t.Fatalf("%d were not read, found %q", n, want)
	}
	w.srv.Reset()
	n, got := remembered(t, remote("v1", hub.ScanOptions{}))
	if diff := cmp.Diff(want, got); diff != "" || n < 3 {
		t.Errorf("%d were not read, found (-want +got):\n%s", n, diff)
	}
	desc, raw := w.manifest("org/m", "v1")
	for _, r := range w.srv.Requests() {
		if of := path.Base(r.Path); strings.Contains(r.Path, "/blobs/") && of != configOf(t, raw) {
			t.Errorf("request %s %s of %s", r.Method, r.Path, desc.Digest)
		}
	}
	fill(t, model, map[string]string{"b.txt": "c"})
	push("v2")
	if m, _ := remembered(t, remote("v2", hub.ScanOptions{})); m != n-1 {
		t.Errorf("%d files of the next version were not read, want %d", m, n-1)
	}
	for name, opts := range map[string]hub.ScanOptions{"rescan": {Rescan: true}, "whole": {Whole: true}, "attach": {Signer: alice().signer}} {
		if m, _ := remembered(t, remote("v1", opts)); m != 0 {
			t.Errorf("%s: %d were not read", name, m)
		}
	}
}

// configOf is the digest of a manifest's config.
func configOf(t *testing.T, raw []byte) string {
	t.Helper()
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m.Config.Digest.String()
}

// What a registry gives and nothing verifies is not remembered: the next time it
// may give something else.
func TestScanForgetsWhatNothingVerifies(t *testing.T) {
	w := newWorld(t)
	model := modelOf(t, map[string]string{"a.pkl": evil, "long.txt": strings.Repeat("x", 2<<20)})
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{AllowUnsafe: true}); err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{0, 1} {
		res, err := w.Scan(t.Context(), w.ref("org/m:v1"), hub.ScanOptions{})
		if err != nil || res.Verified || res.Remembered != n {
			t.Errorf("scan %d = %+v, %v", i, res, err)
		}
	}
}
