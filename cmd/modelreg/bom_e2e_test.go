//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mangled are ways in which a bill is wrong, and which of the checks is to say so.
var mangled = map[string][]struct{ from, to, says string }{
	"cyclonedx": {{`"machine-learning-model"`, `"model"`, "schema:"}},
	"spdx": {
		{`"relationshipType": "contains"`, `"relationshipType": "holds"`, "schema:"},
		{`"software_primaryPurpose": "model"`, `"software_primaryPurposes": "model"`, "schema:"},
		{`#tool"`, `#agent"`, "shapes:"}, // no tool was used to create it, but an agent
	},
}

// Bills of materials are what those who publish the formats say that they are: the
// schemas of CycloneDX and SPDX 3, and the shapes and classes of the latter.
func TestE2EBillsOfMaterials(t *testing.T) {
	c := newClient(t)
	python := filepath.Join(os.Getenv("MODELREG_E2E_BOM"), "python")
	if os.Getenv("MODELREG_E2E_BOM") == "" {
		t.Fatal("MODELREG_E2E_BOM names no environment with the validators: run tools/e2e.sh")
	}
	digits, err := filepath.Abs("../../examples/digits/model")
	if err != nil {
		t.Fatal(err)
	}
	validator, err := filepath.Abs("testdata/validate_bom.py")
	if err != nil {
		t.Fatal(err)
	}
	host := startDistribution(t)
	c.modelreg("push", digits, host+"/acme/base:v1")
	c.modelreg("push", digits, host+"/acme/digits:v1", "--base", host+"/acme/base:v1", "--relation", "quantized")
	c.modelreg("push", os.Getenv("MODELREG_E2E_MODEL"), host+"/acme/minilm:v1")
	c.modelreg("keygen", "-o", "ours")
	c.modelreg("repo", "publishers", host+"/acme/digits", "--add-key", "ours.pub")
	c.modelreg("eval", "add", host+"/acme/digits:v1", "--metric", "f1", "--value", "0.97", "--stderr", "0.01", "--dataset", "mnist@9b2c", "--key", "ours.key")
	for _, form := range []string{"cyclonedx", "cyclonedx-1.7", "spdx"} {
		for _, arg := range []string{host + "/acme/digits:v1", host + "/acme/minilm:v1", digits} {
			file := filepath.Join(c.dir, "bom.json")
			c.modelreg("bom", "generate", arg, "--bom-format", form, "-o", file)
			c.run(python, validator, file)
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			family, _, _ := strings.Cut(form, "-")
			for _, wrong := range mangled[family] {
				if err := os.WriteFile(file, []byte(strings.Replace(string(raw), wrong.from, wrong.to, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, _, err := c.try(python, validator, file); err == nil || !strings.Contains(err.Error(), wrong.says) {
					t.Errorf("%s of %s with %s: %v, want %s", form, arg, wrong.to, err, wrong.says)
				}
			}
		}
	}
}
