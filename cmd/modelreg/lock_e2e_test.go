//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What lock export writes for kustomize is what kustomize takes: in containers,
// in image volumes of pods and of templates, and nowhere else.
func TestE2ELockKustomize(t *testing.T) {
	c := newClient(t)
	models := filepath.Join(c.dir, "models")
	if err := os.Mkdir(models, 0o755); err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("7", 64)
	textFile(t, c.dir, "modelreg.lock", `version: 1
models:
  support:
    reference: reg.example.com:5000/acme/support:prod
    digest: `+digest+`
    files: `+digest+`
    resolved: 2026-11-22T10:00:00Z
`)
	textFile(t, c.dir, "kustomization.yaml", "resources: [objects.yaml]\ncomponents: [models]\n")
	textFile(t, c.dir, "objects.yaml", `apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  template:
    spec:
      containers: [{name: a, image: "reg.example.com:5000/acme/support:prod"}, {name: b, image: "reg.example.com:5000/acme/support2:prod"}]
      volumes: [{name: a, image: {reference: "reg.example.com:5000/acme/support:prod"}}, {name: b, image: {reference: "reg.example.com/acme/support:prod"}}]
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec:
  volumes: [{name: a, image: {reference: "reg.example.com:5000/acme/support"}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {jobTemplate: {spec: {template: {spec: {volumes: [{name: a, image: {reference: "reg.example.com:5000/acme/support@sha256:`+strings.Repeat("0", 64)+`"}}]}}}}}
`)
	textFile(t, models, "kustomization.yaml", c.modelreg("lock", "export", "--as", "kustomize"))
	built := c.run(tool(t, "kustomize"), "build", ".")
	if n := strings.Count(built, "reg.example.com:5000/acme/support@"+digest); n != 4 {
		t.Errorf("the digest is in %d places, want 4:\n%s", n, built)
	}
	for _, other := range []string{"reg.example.com:5000/acme/support2:prod", "reg.example.com/acme/support:prod"} {
		if !strings.Contains(built, other) {
			t.Errorf("%s was changed:\n%s", other, built)
		}
	}
}

func textFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
