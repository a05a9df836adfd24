//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestE2EReshard pushes a real model in shards and has the library that people
// use compare each tensor with the original.
func TestE2EReshard(t *testing.T) {
	model, host := os.Getenv("MODELREG_E2E_MODEL"), startDistribution(t)
	c := newClient(t)
	c.modelreg("push", model, host+"/acme/minilm:shards", "--reshard", "20MB")
	c.modelreg("pull", host+"/acme/minilm:shards", "pulled")
	out := c.run(os.Getenv("MODELREG_E2E_PYTHON"), "-c", `
import json, os, sys
from safetensors import safe_open
from safetensors.numpy import load_file
whole = load_file(sys.argv[1] + "/model.safetensors")
index = json.load(open("pulled/model.safetensors.index.json"))
assert set(index["weight_map"]) == set(whole), "names differ"
assert index["metadata"]["total_size"] == sum(x.nbytes for x in whole.values()), index["metadata"]
for file in sorted(set(index["weight_map"].values())):
    with safe_open("pulled/" + file, framework="np") as f:
        assert f.metadata() == {"format": "pt"}, f.metadata()
        for name in f.keys():
            assert index["weight_map"][name] == file, name
            a, b = f.get_tensor(name), whole.pop(name)
            assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), name
assert not whole, list(whole)
print(len(set(index["weight_map"].values())), max(os.path.getsize("pulled/" + f) for f in set(index["weight_map"].values())))`, model)
	// The word embeddings are 46.9 MB, and alone in a shard that is larger.
	if want := "5 46881936\n"; out != want {
		t.Errorf("the shards are %q, want %q", out, want)
	}
}

// TestE2EVariants pulls a real model by a coding of its weights.
func TestE2EVariants(t *testing.T) {
	model, host := os.Getenv("MODELREG_E2E_MODEL"), startDistribution(t)
	c := newClient(t)
	c.modelreg("push", model, host+"/acme/minilm:v1", "--variants", "bf16z")
	pulled := c.fields("pull", host+"/acme/minilm:v1", "pulled", "--variants", "--no-cache")
	sameTree(t, model, filepath.Join(c.dir, "pulled"))
	if share := pulled["fetchedBytes"].(float64) / pulled["size"].(float64); share > 0.85 {
		t.Errorf("%.2f of the bytes were fetched, want 0.82", share)
	}
}
