package mediatypes

// An index of variants is one model in several formats and quantisations, each
// a model of its own. ArtifactIndex is the type of the index; the annotations,
// of the descriptors in it, tell the variants apart. Lists are joined with
// commas.
const (
	ArtifactIndex = "application/vnd.modelreg.model.v1+json"

	// PlatformUnknown is operating system and architecture of what is data: a
	// container runtime that looks for its own platform passes it over.
	PlatformUnknown = "unknown"

	AnnotationVariantName    = "dev.modelreg.variant.name"
	AnnotationVariantFormat  = "dev.modelreg.variant.format"
	AnnotationVariantQuant   = "dev.modelreg.variant.quant"   // "none" for weights that are not quantised
	AnnotationVariantDType   = "dev.modelreg.variant.dtype"   // "bf16"
	AnnotationVariantBits    = "dev.modelreg.variant.bits"    // of a weight, as in "4.85"
	AnnotationVariantRuntime = "dev.modelreg.variant.runtime" // a list
	AnnotationVariantDevice  = "dev.modelreg.variant.device"  // "cuda>=8.0"
	AnnotationVariantMinMem  = "dev.modelreg.variant.minmem"  // "5600MiB", an estimate
	AnnotationVariantSize    = "dev.modelreg.variant.size"    // bytes of all files
)
