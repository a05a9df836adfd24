package lock

import (
	"fmt"
	"strings"
)

// An Export is a form in which other tools read digests.
type Export string

// The forms of [File.Export].
const (
	Kustomize  Export = "kustomize"   // a component with image transformers
	HelmValues Export = "helm-values" // values below the key "models"
	Env        Export = "env"         // variables MODEL_NAME and MODEL_NAME_DIGEST
)

// Export writes references and digests of all models for other tools, always
// the digest of what is to be fetched: the variant, where there is one.
func (f *File) Export(as Export) (string, error) {
	var b strings.Builder
	switch as {
	case Kustomize:
		return f.kustomize()
	case HelmValues:
		b.WriteString("models:")
		if len(f.Models) == 0 {
			b.WriteString(" {}")
		}
		b.WriteByte('\n')
		for _, name := range f.Names() {
			e := f.Models[name]
			fmt.Fprintf(&b, "  %s:\n    repository: %s\n    digest: %s\n    reference: %s\n",
				scalar(name), scalar(e.Reference.Name()), e.Target(), scalar(e.pinned()))
		}
		return b.String(), nil
	case Env:
		return f.env()
	}
	return "", fmt.Errorf("export lock file: unknown form %q", as)
}

func (e Entry) pinned() string { return e.Reference.Name() + "@" + e.Target().String() }

// env names variables so that no two models share one.
func (f *File) env() (string, error) {
	var b strings.Builder
	taken := map[string]string{}
	for _, name := range f.Names() {
		e := f.Models[name]
		key := "MODEL_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
		for _, kv := range [][2]string{{key, e.pinned()}, {key + "_DIGEST", e.Target().String()}} {
			if other, ok := taken[kv[0]]; ok {
				return "", fmt.Errorf("%w: %s and %s would both be the variable %s", ErrName, other, name, kv[0])
			}
			taken[kv[0]] = name
			fmt.Fprintf(&b, "%s=%s\n", kv[0], kv[1])
		}
	}
	return b.String(), nil
}

// imageFields are where kustomize does not look for images by itself.
var imageFields = []string{
	"spec/volumes[]/image/reference",
	"spec/template/spec/volumes[]/image/reference",
	"spec/jobTemplate/spec/template/spec/volumes[]/image/reference",
}

// kustomize writes a component that sets the digest wherever the repository is
// named: in containers by kustomize's own list of fields, in image volumes by a
// transformer.
func (f *File) kustomize() (string, error) {
	var images, transformers strings.Builder
	owner := map[string]string{}
	for _, name := range f.Names() {
		e := f.Models[name]
		repo := e.Reference.Name()
		if other, ok := owner[repo]; ok {
			return "", fmt.Errorf("%w: %s and %s are in one repository, %s, and kustomize has one digest for it: name one of them", ErrName, other, name, repo)
		}
		owner[repo] = name
		fmt.Fprintf(&images, "- name: %s\n  digest: %s\n", scalar(repo), e.Target())
		fmt.Fprintf(&transformers, "- |-\n  apiVersion: builtin\n  kind: ImageTagTransformer\n  metadata:\n    name: %s\n", scalar(name))
		fmt.Fprintf(&transformers, "  imageTag:\n    name: %s\n    digest: %s\n  fieldSpecs:\n", scalar(repo), e.Target())
		for _, path := range imageFields {
			fmt.Fprintf(&transformers, "  - path: %s\n", path)
		}
	}
	head := "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
	if len(f.Models) == 0 {
		return head, nil
	}
	return head + "images:\n" + images.String() + "transformers:\n" + transformers.String(), nil
}
