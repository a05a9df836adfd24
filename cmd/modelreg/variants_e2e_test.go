//go:build e2e

package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
)

// TestE2EVariantIndex takes a version of several variants through tools of others:
// each of them reads a variant by its own tag, and none chokes on the index; both
// cosigns verify the one and the other. What a registry collects as garbage is
// none of it.
func TestE2EVariantIndex(t *testing.T) {
	host, config := distributionToCollect(t)
	other := startEmbedded(t)
	c := newClient(t)
	writeForms(t, c)
	c.modelreg("keygen", "-o", "ours")
	name := host + "/acme/tiny"
	push := []string{"push", "model", name + ":v1", "--variant", "gguf/tiny-Q4_K_M.gguf", "--variant", "gguf/tiny-Q8_0.gguf"}
	c.modelreg(append(push, "--sign", "--key", "ours.key")...)
	c.modelreg("push", name+":v1", "--add", "--variant", "gguf/tiny-Q3_K_M.gguf", "--sign", "--key", "ours.key")

	write(t, c.dir, "root.json", emptyRoot)
	for _, tag := range []string{"v1", "v1-safetensors", "v1-q4_k_m", "v1-q3_k_m"} {
		at := name + "@" + strings.TrimSpace(c.run(tool(t, "crane"), "digest", name+":"+tag))
		c.run(tool(t, "v2/cosign"), "verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--trusted-root", "root.json", at)
		c.run(tool(t, "v3/cosign"), "verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", at)
	}

	c.run(tool(t, "oras"), "pull", "--plain-http", "--no-tty", "-o", "by-oras", name+":v1-q8_0")
	c.modelreg("pull", name+":v1#q8_0", "by-us", "--verify", "--key", "ours.pub")
	sameTree(t, filepath.Join(c.dir, "by-us"), filepath.Join(c.dir, "by-oras"))
	c.run(tool(t, "crane"), "validate", "--insecure", "--remote", name+":v1")
	if _, _, err := c.try(tool(t, "crane"), "pull", "--insecure", name+":v1", "image.tar"); err == nil {
		t.Error("a variant is taken for an image of some platform")
	}

	// However the index is copied, its variants come with it.
	c.run(tool(t, "crane"), "copy", "--insecure", name+":v1", other+"/by/crane:v1")
	c.run(tool(t, "oras"), "cp", "--no-tty", "--from-plain-http", "--to-plain-http", name+":v1", other+"/by/oras:v1")
	c.run(tool(t, "regctl"), "--host", "reg="+host+",tls=disabled", "--host", "reg="+other+",tls=disabled", "image", "copy", name+":v1", other+"/by/regctl:v1")
	c.modelreg("copy", name+":v1", other+"/by/us:v1", "--key", "ours.pub")
	for _, tool := range []string{"crane", "oras", "regctl", "us"} {
		got := c.fields("pull", other+"/by/"+tool+":v1", "from-"+tool, "--for", "llama.cpp", "--fit", "6MiB")
		if v := got["variant"].(map[string]any); v["name"] != "q4_k_m" {
			t.Errorf("copied by %s, %v is taken", tool, v["name"])
		}
	}
	c.modelreg("pull", other+"/by/us:v1#q3_k_m", "verified", "--verify", "--key", "ours.pub")

	c.run(tool(t, "registry"), "garbage-collect", "--delete-untagged", config)
	for _, ref := range []string{":v1#q4_k_m", ":v1-q4_k_m", ":v1#safetensors"} {
		c.modelreg("pull", name+ref, "kept"+strings.NewReplacer(":", "-", "#", "-").Replace(ref), "--verify", "--key", "ours.pub", "--no-cache")
	}
	sameNames(t, c.modelreg("inspect", name+":v1", "--format", "json"), "q3_k_m", "q4_k_m", "q8_0", "safetensors")
}

// sameNames compares the names of the variants in an inspection.
func sameNames(t *testing.T, inspection string, want ...string) {
	t.Helper()
	var doc struct{ Variants []struct{ Name string } }
	if err := json.Unmarshal([]byte(inspection), &doc); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, v := range doc.Variants {
		got[v.Name] = true
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Errorf("variants %v, want %v", names, want)
	}
}

// writeForms writes a model in safetensors, and three GGUF files of it.
func writeForms(t *testing.T, c *client) {
	t.Helper()
	testmodel.Write(t, filepath.Join(c.dir, "model"))
	if err := os.MkdirAll(filepath.Join(c.dir, "gguf"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(c.dir, "gguf"), "README.md", testmodel.Card)
	const weights = 1 << 23
	for name, f := range map[string]struct{ ftype, dtype, block, bytes uint32 }{
		"Q8_0": {7, 8, 32, 34}, "Q4_K_M": {15, 12, 256, 144}, "Q3_K_M": {12, 11, 256, 110},
	} {
		raw := testmodel.GGUFFile(testmodel.GGUFModel{
			KV:      []testmodel.KV{{Key: "general.architecture", Value: "llama"}, {Key: "general.file_type", Value: f.ftype}},
			Tensors: []testmodel.GGUFTensor{{Name: name, Type: f.dtype, Dims: []uint64{weights}, Data: make([]byte, weights/f.block*f.bytes)}},
		})
		write(t, filepath.Join(c.dir, "gguf"), "tiny-"+name+".gguf", string(raw))
	}
}

// distributionToCollect is a stock registry and its configuration, for its
// collector of garbage.
func distributionToCollect(t *testing.T) (host, config string) {
	config, host = writeDistribution(t, "")
	serveDistribution(t, exec.Command(tool(t, "registry"), "serve", config), host)
	return host, config
}
