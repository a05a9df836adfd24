//go:build e2e

package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/hub"
)

// TestE2EDiff changes one tensor of a real model with the library that people
// use, and has that tensor named, in whatever shards it lies.
func TestE2EDiff(t *testing.T) {
	model, host := os.Getenv("MODELREG_E2E_MODEL"), startDistribution(t)
	c := newClient(t)
	const name = "encoder.layer.3.attention.self.query.weight"
	changed := filepath.Join(c.dir, "changed")
	if err := os.CopyFS(changed, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	out := c.run(os.Getenv("MODELREG_E2E_PYTHON"), "-c", `
import sys
import numpy as np
from safetensors.numpy import load_file, save_file
path, name = sys.argv[1] + "/model.safetensors", sys.argv[2]
tensors = load_file(path)
old = tensors[name].copy()
new = old.copy()
new[7, :5] += np.float32(0.25)
tensors[name] = new
save_file(tensors, path, metadata={"format": "pt"})
a, b = old.astype(np.float64).ravel(), new.astype(np.float64).ravel()
print(np.abs(b - a).max(), np.abs(b - a).mean(), a @ b / np.linalg.norm(a) / np.linalg.norm(b))`, changed, name)
	c.modelreg("push", model, host+"/acme/minilm:v1")
	c.modelreg("push", changed, host+"/acme/minilm:v2")
	c.modelreg("push", changed, host+"/acme/minilm:shards", "--reshard", "20MB")
	c.modelreg("pull", host+"/acme/minilm:shards", "pulled")
	for _, to := range []string{host + "/acme/minilm:v2", host + "/acme/minilm:shards", changed, filepath.Join(c.dir, "pulled")} {
		var res hub.DiffResult
		if err := json.Unmarshal([]byte(c.modelreg("diff", host+"/acme/minilm:v1", to, "--tensors", "--values", "--format", "json")), &res); err != nil {
			t.Fatal(err)
		}
		ts := res.Tensors
		if ts == nil || len(ts.Changed) != 1 || ts.Changed[0].Name != name || ts.Identical != ts.To.Tensors-1 || ts.Identical != ts.From.Tensors-1 {
			t.Errorf("%s: tensors = %+v", to, ts)
			continue
		}
		v := ts.Changed[0].Values
		if v == nil || v.Differing != 5 {
			t.Errorf("%s: values = %+v", to, v)
			continue
		}
		for i, want := range strings.Fields(out) {
			got := []float64{v.MaxAbs, v.MeanAbs, v.Cosine}[i]
			if w, err := strconv.ParseFloat(want, 64); err != nil || math.Abs(got-w) > 1e-9 {
				t.Errorf("%s: value %d is %v, numpy says %s", to, i, got, want)
			}
		}
	}
}
