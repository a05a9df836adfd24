package mediatypes

import ocispec "github.com/opencontainers/image-spec/specs-go/v1"

// Types of manifests and indexes, by whoever writes them.
const (
	ManifestOCI    = ocispec.MediaTypeImageManifest
	IndexOCI       = ocispec.MediaTypeImageIndex
	ManifestDocker = "application/vnd.docker.distribution.manifest.v2+json" // Docker schema 2; Ollama
	IndexDocker    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Artifact types: what a manifest or index as a whole is.
const (
	ArtifactModel         = "application/vnd.cncf.model.manifest.v1+json"
	ArtifactModelKit      = "application/vnd.kitops.modelkit.manifest.v1+json"
	ArtifactModelKitIndex = "application/vnd.kitops.modelkit.index.v1+json"
)

// A revision of a model's card is a referrer of type [ArtifactCard] with one
// layer, the README, of type [LayerMarkdown]. [AnnotationSeq] counts the
// revisions of one version from 1, and [AnnotationPrev] is the digest of the one
// before, so that one that was removed leaves a gap.
const (
	ArtifactCard   = "application/vnd.modelreg.card.v1"
	LayerMarkdown  = "text/markdown"
	AnnotationSeq  = "dev.modelreg.seq"
	AnnotationPrev = "dev.modelreg.prev"
)

// ArtifactEvaluation is the type of a referrer that holds measurements which nobody
// has signed, and of its one layer: the predicate that a statement of them has.
const ArtifactEvaluation = "application/vnd.modelreg.eval.v1+json"

// A note that something was made of a version is a referrer of type
// [ArtifactDerived] with one layer of type [LayerDerived], a JSON object with
// "reference" and "digest"; [AnnotationDerived] has both, as reference@digest, so
// that a list of referrers is enough to follow it.
const (
	ArtifactDerived   = "application/vnd.modelreg.derived-by.v1"
	LayerDerived      = "application/vnd.modelreg.derived-by.v1+json"
	AnnotationDerived = "dev.modelreg.derived-by"
)

// ArtifactSearchIndex is the type of an artifact that is a snapshot of a search index, with
// one layer of type [LayerSearchIndex]: its records, a line each, compressed.
const (
	ArtifactSearchIndex = "application/vnd.modelreg.index.v1"
	LayerSearchIndex    = "application/vnd.modelreg.index.v1.jsonl+zstd"
)

// Types of config blobs.
const (
	ConfigModel       = "application/vnd.cncf.model.config.v1+json"
	ConfigModelKit    = "application/vnd.kitops.modelkit.config.v1+json"
	ConfigDockerAI01  = "application/vnd.docker.ai.model.config.v0.1+json" // one file, layers without paths
	ConfigDockerAI02  = "application/vnd.docker.ai.model.config.v0.2+json" // a directory, a layer per file
	ConfigImageOCI    = ocispec.MediaTypeImageConfig
	ConfigImageDocker = "application/vnd.docker.container.image.v1+json" // Docker images; Ollama
	ConfigEmpty       = ocispec.MediaTypeEmptyJSON
	ConfigUnknown     = "application/vnd.unknown.config.v1+json" // oras and oras-py, when nothing better is said
	ConfigOMLMD       = "application/x-config"
)

// Layers of Docker model artifacts. All are raw files but the two that end in
// ".tar".
const (
	DockerAIGGUF         = "application/vnd.docker.ai.gguf.v3"
	DockerAISafetensors  = "application/vnd.docker.ai.safetensors"
	DockerAIDDUF         = "application/vnd.docker.ai.dduf"
	DockerAIMMProj       = "application/vnd.docker.ai.mmproj"
	DockerAILicense      = "application/vnd.docker.ai.license"
	DockerAIChatTemplate = "application/vnd.docker.ai.chat.template.jinja"
	DockerAIFile         = "application/vnd.docker.ai.model.file"
	DockerAIVLLMConfig   = "application/vnd.docker.ai.vllm.config.tar"
	DockerAIDir          = "application/vnd.docker.ai.dir.tar"
)

// Layers of Ollama models. None has a path; [AnnotationTitle] is set by
// [ParseManifest] for those that have a name.
const (
	OllamaModel     = "application/vnd.ollama.image.model"
	OllamaAdapter   = "application/vnd.ollama.image.adapter"
	OllamaProjector = "application/vnd.ollama.image.projector"
	OllamaTemplate  = "application/vnd.ollama.image.template"
	OllamaSystem    = "application/vnd.ollama.image.system"
	OllamaParams    = "application/vnd.ollama.image.params"
	OllamaMessages  = "application/vnd.ollama.image.messages"
	OllamaLicense   = "application/vnd.ollama.image.license"
	OllamaPrompt    = "application/vnd.ollama.image.prompt"
	OllamaEmbed     = "application/vnd.ollama.image.embed"
	OllamaTensor    = "application/vnd.ollama.image.tensor"
	OllamaJSON      = "application/vnd.ollama.image.json"
)

// OMLMDModel is the layer type of the one model file of an omlmd artifact.
const OMLMDModel = "application/x-mlmodel"

// Prefixes that tell a family.
const (
	prefixModelPack = "application/vnd.cncf.model."
	prefixModelKit  = "application/vnd.kitops.modelkit."
	prefixJozu      = "application/vnd.jozu.model."
	prefixDockerAI  = "application/vnd.docker.ai."
	prefixOllama    = "application/vnd.ollama.image."
)

// Annotations of layers, from the ModelPack specification and those before it.
const (
	AnnotationFilepath     = "org.cncf.model.filepath"
	AnnotationFileMetadata = "org.cncf.model.file.metadata+json"
	AnnotationUntested     = "org.cncf.model.file.mediatype.untested"
	AnnotationTitle        = ocispec.AnnotationTitle

	// Written by model-spec up to v0.0.6 instead of the first two.
	AnnotationLegacyFilepath     = "org.cnai.model.filepath"
	AnnotationLegacyFileMetadata = "org.cnai.model.file.metadata+json"
)

// Annotations that other tools write and that change how an artifact is read.
const (
	AnnotationModelfile        = "org.cncf.modctl.modelfile"
	AnnotationKitCLIVersion    = "ml.kitops.modelkit.cli-version"
	AnnotationKitfile          = "ml.kitops.modelkit.kitfile"
	AnnotationKitLayerSubtype  = "ml.kitops.modelkit.layer-subtype"
	AnnotationORASUnpack       = "io.deis.oras.content.unpack"
	AnnotationORASTarDigest    = "io.deis.oras.content.digest"
	AnnotationOlotDigest       = "olot.layer.content.digest"
	AnnotationOlotType         = "olot.layer.content.type"
	AnnotationOlotInLayerPath  = "olot.layer.content.inlayerpath"
	AnnotationOlotName         = "olot.layer.content.name"
	AnnotationModelcarAuthor   = "io.opendatahub.author"
	AnnotationModelcarManifest = "io.opendatahub.modelcar.manifest.type"
	AnnotationModelcarLayer    = "io.opendatahub.modelcar.layer.type"
)

// Annotations of manifests that are ours: metadata for which the config's
// closed schema has no place, so that a model can be listed and searched by its
// manifest alone. Lists are joined with commas.
const (
	AnnotationTask          = "dev.modelreg.task"
	AnnotationLibrary       = "dev.modelreg.library"
	AnnotationTags          = "dev.modelreg.tags"
	AnnotationLanguages     = "dev.modelreg.languages"
	AnnotationDatasets      = "dev.modelreg.datasets"
	AnnotationBaseModel     = "dev.modelreg.base-model"
	AnnotationBaseRelation  = "dev.modelreg.base-relation"
	AnnotationArchitecture  = "dev.modelreg.architecture"
	AnnotationParameters    = "dev.modelreg.parameters"
	AnnotationPrecision     = "dev.modelreg.precision"
	AnnotationQuantization  = "dev.modelreg.quantization"
	AnnotationFormats       = "dev.modelreg.formats"
	AnnotationContextLength = "dev.modelreg.context-length"
	AnnotationCode          = "dev.modelreg.code"
	AnnotationParents       = "dev.modelreg.parents"
	AnnotationMessage       = "dev.modelreg.message"
	AnnotationAuthor        = "dev.modelreg.author"
	AnnotationChangeID      = "dev.modelreg.change-id"

	// AnnotationSquashed names the version in whose place one stands whose
	// history was cut off.
	AnnotationSquashed = "dev.modelreg.squashed"

	// AnnotationOrigin names what a version was imported from and its commit
	// there, as in "hf:org/model@<40 digits>" and "oci:host/model@sha256:…".
	AnnotationOrigin = "dev.modelreg.origin"

	// AnnotationInputs lists what a version was made of, as JSON: objects with
	// "rel", "ref", "digest", "weight" and "origin". Package lineage reads and
	// writes it.
	AnnotationInputs = "dev.modelreg.inputs"
)

// AnnotationTarIndex marks a layer whose tar archive has an index of its
// members.
const AnnotationTarIndex = "dev.modelreg.tar-index"

// The chunk indexes of an artifact's files. [AnnotationChunkIndex], of a layer,
// names the index of its file: digest, ";", size in bytes. The indexes are the
// layers of a referrer of type [ArtifactTransfer]; [AnnotationIndexedLayer]
// names the layer that each is of.
//
// Codings of weights in fewer bytes, as package coding makes them, are the
// layers of a referrer of type [ArtifactVariant], of either type
// [LayerExponents] or [LayerDifference]. [AnnotationIndexedLayer] names the
// layer that each decodes to, and [AnnotationVariantBase], of a difference, the
// file that it is to: digest, ";", size in bytes. Of the referrer itself
// [AnnotationVariantBase] is the digest of the version whose files these are.
const (
	ArtifactTransfer       = "application/vnd.modelreg.transfer.v1"
	LayerChunkIndex        = "application/vnd.modelreg.chunk-index.v1"
	AnnotationChunkIndex   = "dev.modelreg.index.v1"
	AnnotationIndexedLayer = "dev.modelreg.layer"

	ArtifactVariant       = "application/vnd.modelreg.variant.v1"
	LayerExponents        = "application/vnd.modelreg.weight.bf16z.v1"
	LayerDifference       = "application/vnd.modelreg.weight.delta.v1"
	AnnotationVariantBase = "dev.modelreg.base"
)
