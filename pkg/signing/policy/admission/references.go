package admission

import "strings"

// podSpecs are where specifications of pods are: in a pod, in a template, in a
// job's template, in the components of KServe's InferenceService, and in its
// LLMInferenceService.
var podSpecs = []string{
	"spec", "spec.template.spec", "spec.jobTemplate.spec.template.spec",
	"spec.predictor", "spec.transformer", "spec.explainer",
	"spec.template", "spec.worker", "spec.prefill.template", "spec.prefill.worker",
}

// components are KServe's, with a field for each framework.
var components = []string{"spec.predictor", "spec.transformer", "spec.explainer"}

// uriFields are fields of custom resources with one URI of a model.
var uriFields = []string{"spec.model.uri", "spec.model.storageUri", "spec.sourceModelUri"}

// Nothing is looked at when an object is deleted, so that there always is one.
const object = "object"

// at is a CEL expression for a field that may not be there.
func at(path, otherwise string) string {
	return object + ".?" + strings.ReplaceAll(path, ".", ".?") + ".orValue(" + otherwise + ")"
}

// imageVolumes is a CEL list of the references in image volumes.
func imageVolumes() string {
	var parts []string
	for _, p := range podSpecs {
		parts = append(parts, at(p+".volumes", "[]")+".filter(v, has(v.image)).map(v, v.image.?reference.orValue(''))")
	}
	return join(parts)
}

// modelDriver is the CSI driver of ModelPack, which mounts models by reference:
// in the volumes of pods, in persistent volumes, and in storage classes. It may be
// installed under another name, and its attributes then begin with that.
const modelDriver = "model.csi.modelpack.org"

// inline is a CEL list of the volumes of CSI drivers in the pods at a path.
func inline(path string) string {
	return at(path+".volumes", "[]") + ".filter(v, has(v.csi)).map(v, v.csi)"
}

// namedIn is a CEL expression for the reference that v has for the driver in a
// field, among the attributes in another. It is empty if there is none.
func namedIn(driver, attributes string) string {
	return "v.?" + attributes + ".orValue({})[?v.?" + driver + ".orValue('') + '/reference'].orValue('')"
}

// csiReferences is a CEL list of the references by which a driver mounts models.
func csiReferences() string {
	var parts []string
	for _, p := range podSpecs {
		parts = append(parts, inline(p)+".map(v, "+namedIn("driver", "volumeAttributes")+").filter(r, r != '')")
	}
	return join(append(parts,
		"["+at("spec.csi", "{}")+"].map(v, "+namedIn("driver", "volumeAttributes")+").filter(r, r != '')",
		"["+object+"].map(v, "+namedIn("provisioner", "parameters")+").filter(r, r != '')"))
}

// csiUnnamed is a CEL list of URIs, one for each volume of the driver in pods that
// names no model: what runs there can have any mounted in it. Persistent volumes
// that the driver makes have none, and are of the class that has.
func csiUnnamed() string {
	var parts []string
	for _, p := range podSpecs {
		parts = append(parts, inline(p)+".filter(v, v.driver == '"+modelDriver+"' && "+namedIn("driver", "volumeAttributes")+" == '').map(v, 'csi://"+modelDriver+"')")
	}
	return join(parts)
}

// containerImages is a CEL list of the images of containers: models are also
// brought into a cluster as images to be run.
func containerImages() string {
	var parts []string
	for _, p := range podSpecs {
		for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
			parts = append(parts, at(p+"."+list, "[]")+".filter(c, has(c.image)).map(c, c.image)")
		}
	}
	return join(parts)
}

// modelURIs is a CEL list of the URIs of models in custom resources, whatever
// the framework's field is called.
func modelURIs() string {
	var parts []string
	for _, p := range components {
		c := at(p, "{}")
		parts = append(parts,
			c+".map(k, type("+c+"[k]) == map && 'storageUri' in "+c+"[k], "+c+"[k].storageUri)",
			at(p+".storageUris", "[]")+".filter(u, has(u.uri)).map(u, u.uri)",
			// Storage by a name that only the cluster knows, and an environment
			// that KServe reads: neither is anything that could be looked at, or
			// it is a URI. CEL has no way to flatten lists everywhere, but texts.
			c+".map(k, type("+c+"[k]) == map && 'storage' in "+c+"[k], 'storage')",
			at(p+".containers", "[]")+".map(c, c.?env.orValue([]).filter(e, e.name == 'STORAGE_URI').map(e, e.?value.orValue('valueFrom')).join(' ')).join(' ').split(' ').filter(u, u != '')")
	}
	for _, p := range uriFields {
		parts = append(parts, "["+at(p, "''")+"].filter(u, u != '')")
	}
	parts = append(parts, at("spec.model.lora.adapters", "[]")+".filter(a, has(a.uri)).map(a, a.uri)")
	return join(parts)
}

// fromRegistry is what begins the URIs of models in registries: oci:// and
// forms of it such as oci+native://.
const fromRegistry = `r'^oci(\+[a-z]+)?://'`

// uriReferences is a CEL list of the references in a list of URIs.
func uriReferences(uris string) string {
	return uris + ".filter(u, u.matches(" + fromRegistry + ")).map(u, u.substring(u.indexOf('://') + 3))"
}

// join adds lists, each on a line of its own.
func join(parts []string) string { return strings.Join(parts, " +\n") }
