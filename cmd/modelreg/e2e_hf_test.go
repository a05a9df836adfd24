//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// huggingface_hub finds in its cache what a pull put there, without a network,
// and goes on using what it had there itself.
func TestE2EHuggingFaceCache(t *testing.T) {
	c := newClient(t)
	host := startEmbedded(t)
	c.modelreg("push", os.Getenv("MODELREG_E2E_MODEL"), host+"/acme/minilm:v1")
	hub := filepath.Join(c.dir, "hub")
	c.env = append(c.env, "HF_HUB_CACHE="+hub, "HF_HUB_OFFLINE=1", "HF_HUB_DISABLE_TELEMETRY=1")
	pulled := c.fields("pull", host+"/acme/minilm:v1", "--layout", "hf")
	if pulled["repoId"] != "acme/minilm" || !strings.HasPrefix(pulled["directory"].(string), filepath.Join(hub, "models--acme--minilm", "snapshots")) {
		t.Errorf("pull says %v", pulled)
	}
	out := c.run(os.Getenv("MODELREG_E2E_PYTHON"), "-c", `
import os, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache
from safetensors.numpy import load_file
name, revision = sys.argv[1:]
root = snapshot_download(name)
assert root == snapshot_download(name, revision="v1") == snapshot_download(name, revision=revision, local_files_only=True)
assert os.path.basename(root) == revision
t = load_file(root + "/model.safetensors")
print(len(t), t["embeddings.word_embeddings.weight"].shape)
f = hf_hub_download(name, "config.json")
assert os.path.realpath(f).startswith(os.path.realpath(root + "/../../blobs/")), f
assert isinstance(try_to_load_from_cache(name, "model.safetensors"), str)
info = scan_cache_dir()
assert not info.warnings, info.warnings
[repo] = info.repos
print(repo.repo_id, sorted(repo.refs), repo.nb_files)
`, "acme/minilm", pulled["revision"].(string))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || lines[0] != "104 (30522, 384)" || !strings.HasPrefix(lines[1], "acme/minilm ['main', 'v1'] ") {
		t.Errorf("huggingface_hub says %q", out)
	}
	out = c.run(os.Getenv("MODELREG_E2E_PYTHON"), "-c", `
from transformers import AutoConfig, AutoTokenizer
config = AutoConfig.from_pretrained("acme/minilm")
tokenizer = AutoTokenizer.from_pretrained("acme/minilm", revision="v1")
print(config.model_type, config.hidden_size, tokenizer("a model hub on OCI")["input_ids"])
`)
	if out != "bert 384 [101, 1037, 2944, 9594, 2006, 1051, 6895, 102]\n" {
		t.Errorf("transformers says %q", out)
	}
	again := c.fields("pull", host+"/acme/minilm:v1", "--layout", "hf", "--no-cache")
	if again["fetchedBytes"] != 0.0 {
		t.Errorf("the second pull fetched %v bytes", again["fetchedBytes"])
	}
	c.modelreg("pull", host+"/acme/minilm:v1", "--layout", "hf", "--repo-id", "other", "--include", "*.json")
	out = c.run(os.Getenv("MODELREG_E2E_PYTHON"), "-c", `
from huggingface_hub import snapshot_download
import os
print(sorted(f for f in os.listdir(snapshot_download("other")) if not f.endswith(".json") and "." in f))`)
	if out != "[]\n" {
		t.Errorf("of a selection there is also %s", out)
	}
}
