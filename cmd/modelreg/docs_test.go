package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var writeDocs = flag.Bool("write-docs", false, "write docs/cli instead of comparing with it")

// TestDocs holds docs/cli against the commands: one page for each.
func TestDocs(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "cli")
	want := pages(t)
	if *writeDocs {
		writePages(t, dir, want)
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatalf("%v (run: make docs)", err)
	}
	for _, e := range entries {
		if _, ok := want[e.Name()]; !ok {
			t.Errorf("%s describes no command (run: make docs)", e.Name())
		}
	}
	for name, page := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v (run: make docs)", err)
			continue
		}
		if diff := cmp.Diff(page, string(got)); diff != "" {
			t.Errorf("%s is out of date (run: make docs):\n%s", name, diff)
		}
	}
}

// pages renders every command, by file name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	root := (&app{}).root()
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	out := map[string]string{}
	var render func(cmd *cobra.Command)
	render = func(cmd *cobra.Command) {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			return
		}
		var b bytes.Buffer
		if err := doc.GenMarkdownCustom(cmd, &b, func(name string) string { return name }); err != nil {
			t.Fatal(err)
		}
		out[strings.ReplaceAll(cmd.CommandPath(), " ", "_")+".md"] = b.String()
		for _, c := range cmd.Commands() {
			render(c)
		}
	}
	render(root)
	return out
}

func writePages(t *testing.T, dir string, pages map[string]string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
