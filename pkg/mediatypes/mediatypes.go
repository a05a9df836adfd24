// Package mediatypes knows what the strings in a manifest mean: which family of
// model artifact it belongs to, and what each layer holds.
//
// It reads the forms that model tools write (CNCF ModelPack, KitOps ModelKit,
// Docker model artifacts, Ollama, container images, plain ORAS files) and names
// the one form that is written, ModelPack:
//
//   - [ParseLayer], [LayerOf] and [LayerType] go between a media type and what
//     is behind it.
//   - [ParseManifest] and [ParseIndex] decode documents from strangers. What
//     they return has only well-formed digests, sizes and media types, is
//     bounded in every direction, and was read as every other strict reader
//     would read it: no duplicate keys, no guessing at upper and lower case.
//   - [Detect] tells the family of a decoded manifest.
//   - [Classify] sorts the files of a directory into kinds, by name, content
//     and neighbours.
//
// Package mediatypes opens no file and no connection and keeps no state; all of
// its functions may be called at once.
package mediatypes

// A Kind says what a file is for. The values are those of the CNCF ModelPack
// layer types.
type Kind string

// The kinds. [Layer] has an empty one where a media type does not say.
const (
	KindWeight       Kind = "weight"        // parameters: what a runtime loads
	KindWeightConfig Kind = "weight.config" // what a runtime reads beside them: config, tokenizer, index
	KindDoc          Kind = "doc"           // for people: card, licence, pictures
	KindCode         Kind = "code"          // programs and what builds them
	KindDataset      Kind = "dataset"       // data to train on or evaluate with
)

// An Encoding says how a blob holds its file or files.
type Encoding string

// The encodings. There is no compressed raw one in ModelPack.
const (
	Raw     Encoding = "raw"      // the blob is the file
	Tar     Encoding = "tar"      // an archive of one or more files
	TarGzip Encoding = "tar+gzip" // the same, compressed (RFC 1952)
	TarZstd Encoding = "tar+zstd" // the same, compressed (RFC 8878)
)

// A Family is a way of laying a model out in a registry.
type Family string

// The families that are read. Only ModelPack is written.
const (
	ModelPack Family = "modelpack" // CNCF ModelPack: modctl, docker model, RamaLama, and us
	ModelKit  Family = "modelkit"  // KitOps
	DockerAI  Family = "docker-ai" // docker model
	Ollama    Family = "ollama"
	Image     Family = "image" // a container image with the files in its file system
	ORAS      Family = "oras"  // files with titles, as oras, podman artifact and omlmd push them
)

// LayerType returns the ModelPack media type of a layer that holds files of
// kind k encoded as e.
func LayerType(k Kind, e Encoding) string {
	return prefixModelPack + string(k) + ".v1." + string(e)
}
