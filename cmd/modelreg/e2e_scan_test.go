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
