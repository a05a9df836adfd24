package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/internal/testreg"
)

// everyBlob acts on each read of a blob of the model, and of no other.
func everyBlob(do testreg.Action) testreg.Rule {
	return testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Do: do}
}

// chunked sends a text of its own, and an end that is in order.
func chunked(text string) testreg.Action {
	return func(x testreg.Exchange) {
		x.W.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(x.W).Flush() // before a length is known
		_, _ = x.W.Write([]byte(text))
	}
}

// A registry that sends other bytes than it should, fewer or more, is told so,
// and never twice more than needed.
func TestHostileWire(t *testing.T) {
	tests := map[string]struct {
		rule testreg.Rule
		code int
		text string
	}{
		"short":                  {testreg.Fault("truncate"), exitIntegrity, "model.bin"},
		"long":                   {testreg.Fault("long"), exitIntegrity, "model.bin"},
		"short, without length":  {everyBlob(chunked("01234")), exitIntegrity, "model.bin"},
		"empty, without length":  {everyBlob(chunked("")), exitIntegrity, "model.bin"},
		"long, without length":   {everyBlob(chunked("0123456789x")), exitIntegrity, "model.bin"},
		"first bit":              {testreg.Fault("corrupt@0"), exitIntegrity, "model.bin"},
		"last bit":               {testreg.Fault("corrupt@last"), exitIntegrity, "model.bin"},
		"other blob":             {testreg.Fault("swap"), exitIntegrity, "model.bin"},
		"lie about compression":  {testreg.Fault("gzip-lie"), exitProtocol, "Content-Encoding"},
		"redirect loop":          {testreg.Fault("redirect-loop"), exitProtocol, "redirect"},
		"redirect to link-local": {testreg.Fault("redirect-linklocal"), exitProtocol, "169.254.169.254"},
		"redirect to a file":     {testreg.Fault("redirect-file"), exitProtocol, "redirect"},
		"other manifest":         {testreg.Fault("swap-manifest"), exitIntegrity, "manifests"},
		"other digest in header": {testreg.Fault("digest-header"), exitIntegrity, "sha256:0000"},
		"endless manifest":       {testreg.Fault("endless-manifest"), exitUnsafe, "4194304"},
		"page instead of answer": {testreg.Fault("html-error"), exitForbidden, "DOCTYPE"},
		"escapes in an error":    {testreg.Fault("ansi-error"), exitForbidden, "DENIED"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			reg := testreg.New(t, testreg.Options{})
			ref := pushed(t, v, reg)
			reg.Reset()
			if strings.Contains(tt.rule.Path, "/blobs/") {
				tt.rule.Path = "/blobs/" + string(digest.FromString("0123456789"))
			}
			reg.Add(tt.rule)
			v.ends(tt.code, tt.text, "pull", ref, v.out)
			v.untouched()
			if n := len(fetchedBlobs(reg)); n > 7 { // the config, and five redirects at most
				t.Errorf("%d requests for blobs", n)
			}
			v.ends(tt.code, tt.text, "pull", ref, v.out, "--format", "json")
			v.untouched()
			if got := v.run("cat", ref, "model.bin"); got.code == exitOK {
				t.Errorf("cat printed %q", got.out)
			}
			if c := reg.Sink.Credentials(); c != nil {
				t.Errorf("credentials went elsewhere: %v", c)
			}
			reg.Reset()
			v.ends(exitOK, "pulled 1 file", "pull", ref, v.out)
		})
	}
}

// pushed pushes a model of one file and forgets what is known of it here.
func pushed(t *testing.T, v *victim, reg *testreg.Server) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.bin"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := v.run("push", dir, reg.Host+"/acme/model:v1")
	if got.code != exitOK {
		t.Fatalf("push exits with %d: %s", got.code, got.err)
	}
	return strings.TrimSpace(reg.Host + "/acme/model:v1")
}
