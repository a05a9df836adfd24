//go:build e2e

package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// copied are the ways that a copy takes in the slow suite.
var copied = map[string][2]string{
	"from the embedded registry": {"embedded", "distribution"},
	"from distribution":          {"distribution", "embedded"},
}

// TestE2ECopy copies a model that a cosign has signed and attested, and has it
// verify that where it arrives: between registries, of which only one has the
// referrers API, and by an archive.
func TestE2ECopy(t *testing.T) {
	for name, ends := range copied {
		for cosign, signs := range cosignCommands {
			t.Run(name+" by cosign "+cosign, func(t *testing.T) {
				src, dst := registries[ends[0]](t), registries[ends[1]](t)
				c := newClient(t)
				randomModel(t, c, "model", 8<<20)
				from := src + "/acme/model@" + c.fields("push", "model", src+"/acme/model:v1")["digest"].(string)
				k := cosigned{c, tool(t, cosign+"/cosign"), signs}
				k.sign(t, from)

				c.modelreg("copy", src+"/acme/model:v1", dst+"/mirror/model:v1", "--key", "team.pub")
				k.verify(dst + "/mirror/model:v1")
				c.modelreg("pull", dst+"/mirror/model:v1", "pulled", "--verify", "--key", "team.pub")
				sameTree(t, filepath.Join(c.dir, "model"), filepath.Join(c.dir, "pulled"))

				c.modelreg("bundle", "save", src+"/acme/model:v1", "-o", "model.tar", "--key", "team.pub")
				c.run("unshare", "-r", "-n", os.Getenv("MODELREG_BIN"), "bundle", "verify", "model.tar", "--key", "team.pub")
				c.modelreg("bundle", "load", "model.tar", dst+"/loaded/model", "--key", "team.pub")
				k.verify(dst + "/loaded/model:v1")

				// Others read the archive, and what is attached in it.
				c.run(tool(t, "oras"), "cp", "-r", "--no-tty", "--from-oci-layout", "model.tar:v1", "--to-plain-http", dst+"/oras/model:v1")
				c.modelreg("copy", "model.tar", "layout://layout")
				c.run(tool(t, "regctl"), "--host", "reg="+dst+",tls=disabled", "image", "copy", "--referrers", "--digest-tags", "ocidir://layout:v1", dst+"/regctl/model:v1")
				k.verify(dst + "/regctl/model:v1")
			})
		}
	}
}

// cosignCommands are what the two cosigns need to know to work without a network.
var cosignCommands = map[string][]string{
	"v2": {"--tlog-upload=false"},
	"v3": {"--use-signing-config=false", "--tlog-upload=false"},
}

// cosigned is a cosign: 2 keeps what it makes behind tags, 3 in referrers.
type cosigned struct {
	*client
	tool  string
	signs []string
}

func (k cosigned) sign(t *testing.T, ref string) {
	t.Helper()
	k.run(k.tool, "generate-key-pair", "--output-key-prefix", "team")
	if err := os.WriteFile(filepath.Join(k.dir, "predicate.json"), []byte(`{"result":"good"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	with := append([]string{"--key", "team.key", "--yes"}, k.signs...)
	k.run(k.tool, append(append([]string{"sign"}, with...), ref)...)
	k.run(k.tool, append(append([]string{"attest", "--type", "https://example.com/test", "--predicate", "predicate.json"}, with...), ref)...)
}

func (k cosigned) verify(ref string) {
	k.t.Helper()
	k.run(k.tool, "verify", "--key", "team.pub", "--insecure-ignore-tlog=true", ref)
	k.run(k.tool, "verify-attestation", "--key", "team.pub", "--insecure-ignore-tlog=true", "--type", "https://example.com/test", ref)
}

// randomModel makes a model of one file that nobody has.
func randomModel(t *testing.T, c *client, name string, size int) {
	t.Helper()
	raw := make([]byte, size)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "weights.bin"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestE2ECopyKilled kills copies at several moments. No tag may be there before
// the last one has finished, and the next always goes on.
func TestE2ECopyKilled(t *testing.T) {
	src, dst := startEmbedded(t), startDistribution(t)
	c := newClient(t)
	randomModel(t, c, "model", 96<<20)
	c.modelreg("push", "model", src+"/acme/model:v1")
	killed := 0
	for _, to := range []string{dst + "/mirror/model:v1", "model.tar", "layout://layout"} {
		for _, after := range []time.Duration{20, 60, 100, 150, 250} {
			cmd := exec.Command(os.Getenv("MODELREG_BIN"), "copy", src+"/acme/model:v1", to, "--on-conflict", "skip")
			cmd.Dir, cmd.Env = c.dir, c.env
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(after*time.Millisecond, func() { _ = cmd.Process.Kill() })
			if cmd.Wait() == nil {
				timer.Stop()
				break
			}
			killed++
			if _, _, err := c.try(os.Getenv("MODELREG_BIN"), "copy", to, dst+"/never/there:v1", "--with", "none"); to != dst+"/mirror/model:v1" && err == nil {
				t.Errorf("%s could be copied from after a kill", to)
			}
			if _, _, err := c.try(os.Getenv("MODELREG_BIN"), "resolve", dst+"/mirror/model:v1"); to == dst+"/mirror/model:v1" && err == nil {
				// The tag may be there if all of it is.
				c.modelreg("pull", to, "early")
				sameTree(t, filepath.Join(c.dir, "model"), filepath.Join(c.dir, "early"))
				break
			}
		}
		c.modelreg("copy", src+"/acme/model:v1", to, "--on-conflict", "skip")
	}
	if killed == 0 {
		t.Error("no copy was killed in time")
	}
	for i, from := range []string{dst + "/mirror/model:v1", "model.tar", "layout://layout"} {
		back := src + "/back/" + string(rune('a'+i)) + ":v1"
		c.modelreg("copy", from, back)
		out := filepath.Join(c.dir, "out", string(rune('a'+i)))
		c.modelreg("pull", back, out)
		sameTree(t, filepath.Join(c.dir, "model"), out)
	}
}
