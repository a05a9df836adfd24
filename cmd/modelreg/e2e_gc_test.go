//go:build e2e

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/hub"
)

// TestE2EGarbage collects versions, and has the reference registry collect what
// it thinks is garbage: everything kept is still pulled and verified, and what was
// deleted is gone.
func TestE2EGarbage(t *testing.T) {
	config, host := writeDistribution(t, "")
	serveDistribution(t, exec.Command(tool(t, "registry"), "serve", config), host)
	c := newClient(t)
	c.modelreg("keygen", "-o", "team")
	repo := host + "/acme/m"
	var versions []string
	for _, text := range []string{"one", "two", "three", "four"} {
		dir := filepath.Join(c.dir, text)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		res := c.fields("push", text, repo+":main", "--sign", "--key", "team.key")
		versions = append(versions, res["digest"].(string))
	}
	// The second was built upon, and stays for that.
	c.modelreg("push", "four", repo+":child", "--base", repo+"@"+versions[1], "--sign", "--key", "team.key")

	var res hub.GCResult
	out := c.modelreg("gc", "run", repo, "--keep-last", "2", "--grace", "0", "--yes", "--format", "json")
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		t.Fatal(err)
	}
	if res.Deleted != 1 || res.Attached != 1 || len(res.Unneeded) != 1 || res.Unneeded[0].Digest != versions[0] {
		t.Errorf("deleted: %s", out)
	}
	c.run(tool(t, "registry"), "garbage-collect", "--delete-untagged", config)

	for _, v := range append(versions[1:], "child") {
		at := repo + "@" + v
		if v == "child" {
			at = repo + ":child"
		}
		c.modelreg("verify", at, "--key", "team.pub")
		c.modelreg("pull", at, filepath.Join("out", strings.TrimPrefix(v, "sha256:")), "--verify", "--key", "team.pub")
	}
	_, state, err := c.try(os.Getenv("MODELREG_BIN"), "pull", repo+"@"+versions[0], "gone")
	if err == nil || state.ExitCode() != exitGone {
		t.Errorf("the deleted version: %v", err)
	}
	if out, _, err := c.try(tool(t, "oras"), "manifest", "fetch", "--plain-http", repo+"@"+versions[0]); err == nil {
		t.Errorf("the registry has the deleted version: %s", out)
	}
	out = c.modelreg("gc", "plan", repo, "--keep-last", "2", "--format", "json")
	if err := json.Unmarshal([]byte(out), &res); err != nil || len(res.Unneeded) > 0 || len(res.Kept) != 4 {
		t.Errorf("afterwards: %s, %v", out, err)
	}
}

// TestE2EGarbageWithoutDelete finds a registry that lets nobody delete.
func TestE2EGarbageWithoutDelete(t *testing.T) {
	config, host := writeDistribution(t, "")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(string(text), "enabled: true", "enabled: false", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	serveDistribution(t, exec.Command(tool(t, "registry"), "serve", config), host)
	c := newClient(t)
	repo := host + "/acme/m"
	for _, text := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(c.dir, "notes.txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c.modelreg("push", ".", repo+":main")
	}
	_, state, err := c.try(os.Getenv("MODELREG_BIN"), "gc", "run", repo, "--keep-last", "1", "--grace", "0", "--yes")
	if err == nil || state.ExitCode() != exitProtocol {
		t.Errorf("gc run: %v", err)
	}
}
