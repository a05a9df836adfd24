//go:build e2e

package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// countingProxy passes requests on to a registry and counts the bytes of the
// answers.
func countingProxy(t *testing.T, host string) (string, *atomic.Int64) {
	t.Helper()
	moved := new(atomic.Int64)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Body = &countedBody{r.Body, moved}
		return nil
	}
	srv := httptest.NewServer(proxy)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), moved
}

type countedBody struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	moved *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.moved.Add(int64(n))
	return n, err
}

func (b *countedBody) Close() error { return b.body.Close() }

// A model in use is safe, and is scanned without its weights.
func TestE2EScanReadsLittle(t *testing.T) {
	for name, start := range registries {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			host, moved := countingProxy(t, start(t))
			pushed := c.fields("push", os.Getenv("MODELREG_E2E_MODEL"), host+"/acme/minilm:v1")
			c.env = append(c.env, "MODELREG_CACHE="+filepath.Join(c.dir, "elsewhere"))
			moved.Store(0)
			res := c.fields("scan", host+"/acme/minilm:v1")
			if res["verdict"] != "safe" || res["verified"] != true || res["files"] != pushed["files"] {
				t.Errorf("scan says %v", res)
			}
			t.Logf("%d bytes moved for a model of %.0f", moved.Load(), pushed["size"])
			if moved.Load() > 2<<20 || pushed["size"].(float64) < 40<<20 {
				t.Errorf("%d bytes moved for a model of %v, want less than 2 MiB for one of more than 40", moved.Load(), pushed["size"])
			}
		})
	}
}

// writeWrapper writes the wrapper of a scanner as the manual has it, and returns
// its file.
func writeWrapper(t *testing.T, dir, name string) string {
	t.Helper()
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "scan.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```python\n(.*?)```").FindAllSubmatch(manual, -1) {
		if !strings.Contains(string(m[1]), `"""`+name+`"""`) {
			continue
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, m[1], 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	t.Fatalf("docs/scan.md has no %s", name)
	return ""
}

// The wrapper in the manual makes picklescan one more scanner.
func TestE2EScanWithPicklescan(t *testing.T) {
	c := newClient(t)
	tools := os.Getenv("MODELREG_E2E_SCAN")
	if tools == "" {
		t.Fatal("MODELREG_E2E_SCAN is not set: run make e2e")
	}
	c.env = append(c.env, "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	wrapper := writeWrapper(t, c.dir, "picklescan-sarif")
	model := filepath.Join(c.dir, "model")
	if err := os.Mkdir(model, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.pkl": "cos\ngetcwd\n(tR.", "b.pkl": "\x80\x04N.", "README.md": "# x\n"} {
		if err := os.WriteFile(filepath.Join(model, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	res := c.fields("scan", "./model", "--scanner", "picklescan="+wrapper, "--fail-on", "never")
	var found []string
	for _, f := range res["findings"].([]any) {
		m := f.(map[string]any)
		found = append(found, m["path"].(string)+" "+m["rule"].(string))
	}
	want := []string{"a.pkl pickle-dangerous-import", "a.pkl picklescan:dangerous-import"}
	if !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}

// stub writes a program that prints what another one does, into a file where it is
// asked to by -o, and ends as that does.
func stub(t *testing.T, dir, name, cases string) {
	t.Helper()
	text := "#!/bin/sh\nfor last; do case $before in -o) out=$last;; -p) file=$last;; esac; before=$last; done\n" +
		"case ${file:-$last} in\n" + cases + "esac\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// What modelscan 0.8 writes of a file in which it found something, one that it
// could not read, one that is good, and one that is not for it.
const modelscanStub = `
*/a.pkl) cat >$out <<'END'
{"summary": {"total_issues_by_severity": {"LOW": 0, "MEDIUM": 0, "HIGH": 0, "CRITICAL": 1}, "total_issues": 1, "input_path": "/m/a.pkl", "absolute_path": "/m", "modelscan_version": "0.8.8", "timestamp": "2026-11-23T10:00:00", "scanned": {"total_scanned": 1, "scanned_files": ["a.pkl"]}}, "issues": [{"description": "Use of unsafe operator 'system' from module 'posix'", "operator": "system", "module": "posix", "source": "a.pkl", "scanner": "modelscan.scanners.PickleUnsafeOpScan", "severity": "CRITICAL"}], "errors": []}
END
exit 1;;
*/b.pkl) cat >$out <<'END'
{"summary": {"total_issues": 0, "scanned": {"total_scanned": 0}}, "issues": [], "errors": [{"category": "PICKLE_GENOPS", "description": "Parsing error: at position 0, opcode unknown", "source": "b.pkl"}]}
END
exit 2;;
*/c.pkl) echo '{"summary": {"total_issues": 0, "scanned": {"total_scanned": 1}}, "issues": [], "errors": []}' >$out; exit 0;;
*) exit 3;;
`

// The manual's wrappers make modelscan and clamav scanners too. What they ask
// prints here what the real ones do.
func TestE2EScanWrappers(t *testing.T) {
	tests := map[string]struct {
		scanner, program, cases string
		want                    []string
	}{
		"modelscan":                 {"modelscan", "modelscan", modelscanStub, []string{"a.pkl modelscan:PickleUnsafeOpScan high", "b.pkl modelscan:PICKLE_GENOPS high"}},
		"modelscan that fails":      {"modelscan", "modelscan", "*) echo 'Exception: no such thing'; exit 2;;\n", []string{" scanner-failed high"}},
		"modelscan asked wrong":     {"modelscan", "modelscan", "*) exit 4;;\n", []string{" scanner-failed high"}},
		"clamav":                    {"clamav", "clamdscan", "*/a.pkl) echo \"$last: Win.Test.EICAR_HDB-1 FOUND\"; exit 1;;\n*) echo \"$last: OK\"; exit 0;;\n", []string{"a.pkl clamav:found high"}},
		"clamav without its daemon": {"clamav", "clamdscan", "*) echo 'ERROR: Could not connect to clamd on LocalSocket' >&2; exit 2;;\n", []string{" scanner-failed high"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			bin, model := filepath.Join(c.dir, "bin"), filepath.Join(c.dir, "model")
			for _, dir := range []string{bin, model} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for file, text := range map[string]string{"a.pkl": "\x80\x04N.", "b.pkl": "\x80\x04N.", "c.pkl": "\x80\x04N.", "README.md": "# x\n"} {
				if err := os.WriteFile(filepath.Join(model, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			stub(t, bin, tt.program, tt.cases)
			c.env = append(c.env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			wrapper := writeWrapper(t, c.dir, tt.scanner+"-sarif")
			var found []string
			for _, f := range c.fields("scan", "./model", "--scanner", tt.scanner+"="+wrapper, "--fail-on", "never")["findings"].([]any) {
				m := f.(map[string]any)
				found = append(found, m["path"].(string)+" "+m["rule"].(string)+" "+m["severity"].(string))
			}
			if !slices.Equal(found, tt.want) {
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

// knownToPicklescan prints what picklescan holds to be dangerous, and what its own
// tests expect to be found in its samples of published attacks.
const knownToPicklescan = `
import glob, re, tarfile, sys
from picklescan.scanner import _unsafe_globals
known = {(m, n) for m, names in _unsafe_globals.items() for n in (["anything"] if isinstance(names, str) else names)}
with tarfile.open(glob.glob(sys.argv[1] + "/picklescan-*.tar.gz")[0]) as f:
    name = [n for n in f.getnames() if n.endswith("tests/test_scanner.py")][0]
    text = f.extractfile(name).read().decode()
samples = set(re.findall(r'Global\(\s*"([\w.]+)",\s*"([\w.]+)",\s*SafetyLevel.Dangerous', text))
assert len(samples) > 80, len(samples)
harmless = {("collections", "Counter")}  # dictionaries: for its strict mode alone, which takes all names for dangerous
for m, n in sorted((known | samples) - harmless):
    print(m, n)
`

// Whatever picklescan knows to be dangerous, in its lists and in the samples of
// its tests, is no pass here, in every way in which a pickle can name it.
func TestE2EScanKnowsPicklescans(t *testing.T) {
	c := newClient(t)
	bin := os.Getenv("MODELREG_E2E_SCAN")
	known := strings.Split(strings.TrimSpace(c.run(filepath.Join(bin, "python"), "-c", knownToPicklescan, filepath.Join(bin, "..", "sources"))), "\n")
	model := filepath.Join(c.dir, "model")
	if err := os.Mkdir(model, 0o755); err != nil {
		t.Fatal(err)
	}
	short := func(s string) string { return "\x8c" + string([]byte{byte(len(s))}) + s }
	var files []string
	for _, line := range known {
		module, name, _ := strings.Cut(line, " ")
		for way, text := range map[string]string{
			"global": "\x80\x02c" + module + "\n" + name + "\n.", "stack": "\x80\x04" + short(module) + short(name) + "\x93.",
			"inst": "(i" + module + "\n" + name + "\n.", "called": "c" + module + "\n" + name + "\n(tR.",
		} {
			files = append(files, module+"+"+name+"."+way+".pkl")
			if err := os.WriteFile(filepath.Join(model, files[len(files)-1]), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := map[string]bool{}
	for _, f := range c.fields("scan", "./model", "--fail-on", "never")["findings"].([]any) {
		found[f.(map[string]any)["path"].(string)] = true
	}
	t.Logf("%d names", len(known))
	for _, file := range files {
		if !found[file] {
			t.Errorf("%s is a pass", file)
		}
	}
}

// SARIF is what its published schema says.
func TestE2EScanSARIF(t *testing.T) {
	c := newClient(t)
	model := filepath.Join(c.dir, "model")
	if err := os.MkdirAll(filepath.Join(model, "sub dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a.pkl": "cos\ngetcwd\n(tR.", "sub dir/ü%20 [x].py": "import x\n", "chat_template.jinja": "{{ x.__class__ }}", "b.safetensors": "no",
		"README.md": "---\nlicense: mit\n---\n", "LICENSE": "Apache License\nVersion 2.0, January 2004\n",
	} {
		if err := os.WriteFile(filepath.Join(model, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	python := filepath.Join(os.Getenv("MODELREG_E2E_SCAN"), "python")
	for name, dir := range map[string]string{"findings": "./model", "none": "./empty"} {
		if err := os.MkdirAll(filepath.Join(c.dir, "empty"), 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(c.dir, name+".sarif")
		if err := os.WriteFile(file, []byte(c.modelreg("scan", dir, "--format", "sarif", "--fail-on", "never")), 0o600); err != nil {
			t.Fatal(err)
		}
		out := c.run(python, "-c", `
import fastjsonschema, json, sys, urllib.parse
schema = json.loads(open(sys.argv[1]).read().split("`+"`"+`")[1])
doc = json.load(open(sys.argv[2]))
fastjsonschema.compile(schema)(doc)
bad = dict(doc, version="1")
try:
    fastjsonschema.compile(schema)(bad)
except fastjsonschema.JsonSchemaException:
    pass
else:
    sys.exit("the schema takes anything")
uris = {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in doc["runs"][0]["results"]}
print(len(uris), sorted(map(urllib.parse.unquote, uris))[-1:])
`, filepath.Join(tool(t, "crds"), "schema.go"), file)
		if want := map[string]string{"findings": "5 ['sub dir/ü%20 [x].py']\n", "none": "0 []\n"}[name]; out != want {
			t.Errorf("%s: the document has %q, want %q", name, out, want)
		}
	}
}
