//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/signing/policy/admission"
)

// What is generated fits the schemas that the engines publish, and says of
// objects what it should, where they are evaluated as a cluster does. Signed is,
// to the stand-in of Kyverno's functions, what is called so.
func TestE2EAdmission(t *testing.T) {
	held, dir := tool(t, "admission"), t.TempDir()
	source, err := filepath.Abs(filepath.Join("..", "..", "pkg", "signing", "policy", "admission", "testdata", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	root := textFile(t, dir, "root.json", "{}\n")
	files := map[admission.Engine]string{}
	for _, engine := range admission.Engines() {
		out, err := exec.CommandContext(t.Context(), os.Getenv("MODELREG_BIN"),
			"policy", "generate", string(engine), "--policy", source, "--trust-root", "corp="+root).Output()
		if err != nil {
			t.Fatalf("%s: %v", engine, err)
		}
		files[engine] = textFile(t, dir, string(engine)+".yaml", string(out))
		checked, err := exec.CommandContext(t.Context(), held, "check", tool(t, "crds"), files[engine]).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", engine, err, checked)
		}
	}
	for name, tt := range admissionCases() {
		t.Run(name, func(t *testing.T) {
			object := textFile(t, t.TempDir(), "object.yaml", tt.object)
			for engine, want := range map[admission.Engine]string{admission.Kyverno: tt.kyverno, admission.VAP: tt.vap} {
				out, err := exec.CommandContext(t.Context(), held, "decide", files[engine], object).CombinedOutput()
				lines := strings.Split(strings.TrimSpace(string(out)), "\n")
				if last := lines[len(lines)-1]; err != nil || !strings.HasPrefix(last, want) {
					t.Errorf("%s: %v: %s; want %s", engine, err, out, want)
				}
			}
		})
	}
}

type admissionCase struct{ object, kyverno, vap string }

func admissionCases() map[string]admissionCase {
	const (
		in      = "admitted"
		digest  = "denied: models must be named by digest"
		where   = "denied: models are allowed from these repositories only"
		scheme  = "denied: models are taken from registries only"
		unknown = "denied: not signed as the policy"
	)
	at := "@sha256:" + strings.Repeat("7", 64)
	pod := func(reference string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: nginx}], volumes: [{name: e, emptyDir: {}}, {name: m, image: {reference: %q}}]}}", reference)
	}
	template := func(kind, path, reference string) string {
		spec := fmt.Sprintf("{volumes: [{name: m, image: {reference: %q}}]}", reference)
		for _, p := range strings.Split(path, ".") {
			spec = "{" + p + ": " + spec + "}"
		}
		return fmt.Sprintf("{apiVersion: x/v1, kind: %s, metadata: {name: a}, spec: %s}", kind, spec)
	}
	const driver = "model.csi.modelpack.org"
	csi := func(name, attribute, reference string) string {
		return fmt.Sprintf("{driver: %s, volumeAttributes: {%s: %q, other: a}}", name, attribute, reference)
	}
	mounted := func(csi string) string {
		return "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: nginx}], volumes: [{name: e, emptyDir: {}}, {name: m, csi: " + csi + "}]}}"
	}
	isvc := func(uri string) string {
		return fmt.Sprintf("{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: a}, spec: {predictor: {minReplicas: 1, nodeSelector: {a: b}, model: {modelFormat: {name: sklearn}, storageUri: %q}}}}", uri)
	}
	signed, other := "reg.example.com/models/signed"+at, "reg.example.com/models/other"+at
	return map[string]admissionCase{
		"no models":               {"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: nginx}]}}", in, in},
		"signed":                  {pod(signed), in, in},
		"signed, tag and digest":  {pod("reg.example.com/models/signed:v1" + at), in, in},
		"not signed":              {pod(other), unknown, in},
		"tag":                     {pod("reg.example.com/models/signed:v1"), digest, digest},
		"half a digest":           {pod("reg.example.com/models/signed@sha256:77"), digest, digest},
		"elsewhere":               {pod("evil.example.com/models/signed" + at), where, where},
		"host that looks alike":   {pod("reg-example.com/models/signed" + at), where, where},
		"repository in a path":    {pod("evil.example.com/reg.example.com/models/signed" + at), where, where},
		"quarantined":             {pod("reg.example.com/models/prod/quarantine/signed" + at), where, where},
		"production":              {pod("reg.example.com/models/prod/signed" + at), in, in},
		"docker hub":              {pod("docker.io/acme/signed" + at), in, in},
		"deployment":              {template("Deployment", "spec.template", other), unknown, in},
		"deployment, tag":         {template("Deployment", "spec.template", "reg.example.com/models/signed"), digest, digest},
		"cron job":                {template("CronJob", "spec.template.spec.jobTemplate", "evil.example.com/m"+at), where, where},
		"predictor's volume":      {template("InferenceService", "predictor", "evil.example.com/m"+at), where, where},
		"model server, LLM":       {template("LLMInferenceService", "template", "evil.example.com/m"+at), where, where},
		"driver":                  {mounted(csi(driver, driver+"/reference", signed)), in, in},
		"driver, not signed":      {mounted(csi(driver, driver+"/reference", other)), unknown, in},
		"driver, tag":             {mounted(csi(driver, driver+"/reference", "reg.example.com/models/signed:v1")), digest, digest},
		"driver, elsewhere":       {mounted(csi(driver, driver+"/reference", "evil.example.com/models/signed"+at)), where, where},
		"driver, as it is called": {mounted(csi("models.corp", "models.corp/reference", "evil.example.com/m"+at)), where, where},
		"driver, no model named":  {mounted("{driver: " + driver + "}"), scheme, scheme},
		"driver, an empty name":   {mounted(csi(driver, driver+"/reference", "")), scheme, scheme},
		"another driver":          {mounted("{driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: a}}"), in, in},
		"driver, in a template":   {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {volumes: [{name: m, csi: " + csi(driver, driver+"/reference", "evil.example.com/m"+at) + "}]}}}}", where, where},
		"driver, predictor":       {"{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: a}, spec: {predictor: {volumes: [{name: m, csi: " + csi(driver, driver+"/reference", other) + "}]}}}", unknown, in},
		"persistent volume":       {"{apiVersion: v1, kind: PersistentVolume, metadata: {name: a}, spec: {capacity: {storage: 1Gi}, csi: " + csi(driver, driver+"/reference", "evil.example.com/m"+at) + "}}", where, where},
		"other persistent volume": {"{apiVersion: v1, kind: PersistentVolume, metadata: {name: a}, spec: {capacity: {storage: 1Gi}, nfs: {server: a, path: /}}}", in, in},
		"provisioned volume":      {"{apiVersion: v1, kind: PersistentVolume, metadata: {name: a}, spec: {capacity: {storage: 1Gi}, csi: {driver: " + driver + ", volumeHandle: pvc-1}}}", in, in},
		"storage class":           {"{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a}, provisioner: " + driver + ", parameters: {" + driver + "/type: image, " + driver + "/reference: \"" + other + "\"}}", unknown, in},
		"storage class, tag":      {"{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a}, provisioner: " + driver + ", parameters: {" + driver + "/reference: \"reg.example.com/models/signed\"}}", digest, digest},
		"other storage class":     {"{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a}, provisioner: ebs.csi.aws.com, parameters: {type: gp3}}", in, in},
		"KServe":                  {isvc("oci://" + signed), in, in},
		"KServe, image volume":    {isvc("oci+native://" + signed), in, in},
		"KServe, not signed":      {isvc("oci://" + other), unknown, in},
		"KServe, tag":             {isvc("oci://reg.example.com/models/signed:v1"), digest, digest},
		"KServe, elsewhere":       {isvc("oci+fetch://evil.example.com/signed" + at), where, where},
		"KServe, another way":     {isvc("hf://acme/signed"), scheme, scheme},
		"KServe, spelled oddly":   {isvc("OCI://evil.example.com/signed" + at), scheme, scheme},
		"KServe, list of models":  {"{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: a}, spec: {predictor: {storageUris: [{uri: \"oci://evil.example.com/m" + at + "\"}]}}}", where, where},
		"KServe, storage":         {"{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: a}, spec: {predictor: {model: {modelFormat: {name: sklearn}, storage: {key: s3, path: m}}}}}", scheme, scheme},
		"KServe, environment":     {"{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: a}, spec: {predictor: {containers: [{name: c, image: nginx, env: [{name: A, value: b}]}, {name: d, env: [{name: STORAGE_URI, value: \"oci://evil.example.com/m" + at + "\"}]}]}}}", where, where},
		"KServe, its environment": {"{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: a}, spec: {predictor: {containers: [{name: d, env: [{name: STORAGE_URI, valueFrom: {secretKeyRef: {name: a, key: b}}}]}]}}}", scheme, scheme},
		"KServe, LLM":             {"{apiVersion: serving.kserve.io/v1alpha2, kind: LLMInferenceService, metadata: {name: a}, spec: {model: {uri: \"oci://evil.example.com/m" + at + "\"}}}", where, where},
		"KServe, adapter":         {"{apiVersion: serving.kserve.io/v1alpha2, kind: LLMInferenceService, metadata: {name: a}, spec: {model: {uri: \"oci://" + signed + "\", lora: {adapters: [{uri: \"hf://a/b\"}]}}}}", scheme, scheme},
		"KServe, cache":           {"{apiVersion: serving.kserve.io/v1alpha1, kind: LocalModelCache, metadata: {name: a}, spec: {sourceModelUri: \"oci://evil.example.com/m" + at + "\"}}", where, where},
		"container of a model":    {"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: \"" + other + "\"}]}}", unknown, in},
		"init container of model": {"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {initContainers: [{name: c, image: \"" + other + "\"}]}}", unknown, in},
	}
}
