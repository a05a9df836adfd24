//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testhub"
	"github.com/modelreg/modelreg/internal/testreg"
)

// The hub of our tests is one to huggingface_hub too, so that what import does
// with it means something; and what that client leaves in its cache can be
// imported without the hub, to the same version.
func TestE2EImport(t *testing.T) {
	python := os.Getenv("MODELREG_E2E_PYTHON")
	model := os.Getenv("MODELREG_E2E_MODEL")
	if python == "" || model == "" {
		t.Fatal("MODELREG_E2E_PYTHON and MODELREG_E2E_MODEL are not set: run make e2e")
	}
	files := make(map[string][]byte)
	for name, text := range filesIn(t, model) {
		files[name] = []byte(text)
	}
	hub := testhub.New(t, testhub.Options{Token: hubToken, PageSize: 3, URLUses: 3})
	commit := hub.Commit("acme/real", files)
	hub.Commit("acme/gated", files)
	hub.Gate("acme/gated")
	reg := testreg.New(t, testreg.Options{Data: t.TempDir()})
	c := newClient(t)
	c.env = append(c.env, "HF_ENDPOINT="+hub.URL(), "HF_HOME="+filepath.Join(c.dir, "hf"), "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_XET=1", "HF_TOKEN=")

	out := c.run(python, "-c", `
import os, sys
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError
from huggingface_hub import hf_hub_download
api = HfApi()
info = api.model_info("acme/real", revision="main")
print(info.sha)
for repo, file, revision, error in [
    ("acme/real", "nope.json", None, EntryNotFoundError),
    ("acme/real", "config.json", "v9", RevisionNotFoundError),
    ("acme/gated", "config.json", None, GatedRepoError),
]:
    try:
        hf_hub_download(repo, file, revision=revision, token=False)
        sys.exit("no error for " + repo + " " + file)
    except error:
        pass
tree = {e.path: e for e in api.list_repo_tree("acme/real", recursive=True)}
path = snapshot_download("acme/real")
for name, e in tree.items():
    if hasattr(e, "blob_id"):
        assert os.path.getsize(os.path.join(path, name)) == e.size, name
        if e.lfs:
            assert os.path.basename(os.path.realpath(os.path.join(path, name))) == e.lfs.sha256, name
print(path)
`)
	lines := strings.Fields(out)
	if len(lines) != 2 || lines[0] != commit {
		t.Fatalf("huggingface_hub says %q, want commit %s", out, commit)
	}
	got := make(map[string]string)
	for name, b := range files {
		text, err := os.ReadFile(filepath.Join(lines[1], filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != string(b) {
			t.Errorf("%s: huggingface_hub has other bytes", name)
		}
		got[name] = ""
	}

	online := c.modelreg("import", "hf://acme/real", reg.Host+"/acme/real:v1", "-q")
	offline := c.modelreg("import", "hf://acme/real", reg.Host+"/acme/cached:v1", "--offline", "-q")
	byPath := c.modelreg("import", filepath.Dir(filepath.Dir(lines[1])), reg.Host+"/acme/path:v1", "-q")
	digestOf := func(reference string) string { _, d, _ := strings.Cut(strings.TrimSpace(reference), "@"); return d }
	if digestOf(online) != digestOf(offline) || digestOf(online) != digestOf(byPath) {
		t.Errorf("imported %s from the hub, %s and %s from the cache", online, offline, byPath)
	}
	c.modelreg("pull", reg.Host+"/acme/real:v1", "back", "-q")
	back := filesIn(t, filepath.Join(c.dir, "back"))
	for name := range back {
		if strings.HasPrefix(name, ".modelreg") {
			delete(back, name)
			continue
		}
		if back[name] != string(files[name]) {
			t.Errorf("%s came back with other bytes", name)
		}
		back[name] = ""
	}
	if diff := cmp.Diff(got, back); diff != "" {
		t.Error(diff)
	}
}
