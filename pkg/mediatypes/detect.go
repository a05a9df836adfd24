package mediatypes

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Detect tells the family of a manifest: by its artifact type, else by its
// config's type, else by its first layer's. It reports false for what is no
// model, such as a signature, an attestation or a Helm chart.
//
// A container image is reported as [Image], whatever is in it: only its layers
// tell whether there are models below /models. An artifact of no known type is
// [ORAS] if its layers have titles and it refers to no subject.
func Detect(m ocispec.Manifest) (Family, bool) {
	switch m.ArtifactType {
	case ArtifactModel:
		return ModelPack, true
	case ArtifactModelKit:
		return ModelKit, true
	}
	if f, ok := configFamily(m.Config.MediaType); ok {
		return f, true
	}
	if len(m.Layers) == 0 {
		return "", false
	}
	return layerFamily(m)
}

func configFamily(mediaType string) (Family, bool) {
	switch mediaType {
	case ConfigModel:
		return ModelPack, true
	case ConfigModelKit:
		return ModelKit, true
	}
	switch {
	case strings.HasPrefix(mediaType, prefixJozu):
		return ModelKit, true
	case strings.HasPrefix(mediaType, prefixDockerAI):
		return DockerAI, true
	}
	return "", false
}

func layerFamily(m ocispec.Manifest) (Family, bool) {
	first, known := ParseLayer(m.Layers[0].MediaType)
	runnable := m.Config.MediaType == ConfigImageOCI || m.Config.MediaType == ConfigImageDocker
	switch {
	case known && first.Family == Image:
		if runnable {
			return Image, true
		}
	case known:
		return first.Family, true
	case runnable:
		// Cosign's signatures and BuildKit's attestations look like images
		// but for their layers.
		return "", false
	}
	if isORAS(m) {
		return ORAS, true
	}
	return "", false
}

// isORAS tells whether m is a set of files that somebody pushed by hand.
func isORAS(m ocispec.Manifest) bool {
	if m.Subject != nil || foreign(m.ArtifactType) || foreign(m.Config.MediaType) {
		return false
	}
	for _, l := range m.Layers {
		if l.Annotations[AnnotationTitle] == "" || foreign(l.MediaType) {
			return false
		}
	}
	return true
}

// foreignPrefixes are types whose owners give files titles too, and which are
// no models.
var foreignPrefixes = []string{
	"application/vnd.cncf.helm.",
	"application/vnd.dev.cosign.",
	"application/vnd.dev.sigstore.",
	"application/vnd.in-toto",
	"application/vnd.cncf.notary.",
	"application/vnd.model-signing.",
	"application/vnd.modelreg.",
	"application/vnd.wasm.",
	"application/wasm",
	"application/vnd.cncf.flux.",
	"application/vnd.cncf.openpolicyagent.",
	"application/vnd.aquasec.trivy.",
	"application/vnd.devcontainers",
	"application/vnd.cyclonedx",
	"application/spdx",
	"text/spdx",
}

func foreign(mediaType string) bool {
	for _, p := range foreignPrefixes {
		if strings.HasPrefix(mediaType, p) {
			return true
		}
	}
	return false
}
