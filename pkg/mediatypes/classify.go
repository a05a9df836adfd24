package mediatypes

import (
	"path"
	"strings"
)

// HeadBytes is how much of a file's beginning [Classify] looks at.
const HeadBytes = 4096

// A File is what [Classify] needs to know of a file.
type File struct {
	Path string // slash-separated, below the model's root
	Size int64
	Head []byte // the first HeadBytes bytes, or less
}

// A Class is what a file was found to be.
type Class struct {
	Kind   Kind
	Format string // "safetensors", "gguf", …; empty if there is no special one
	Role   string // "adapter", "tokenizer", "chat-template", "projector", "config", "index", "license", "card" or empty
}

// Classify tells for each file what it is: by name, by the bytes it begins
// with, and by the files beside it. The result has the length and order of
// files.
func Classify(files []File) []Class {
	out := make([]Class, len(files))
	for i, f := range files {
		out[i] = byName(f)
	}
	return out
}

func byName(f File) Class {
	base := strings.ToLower(path.Base(f.Path))
	switch path.Ext(base) {
	case ".safetensors":
		return Class{Kind: KindWeight, Format: "safetensors"}
	case ".gguf":
		return Class{Kind: KindWeight, Format: "gguf"}
	case ".onnx":
		return Class{Kind: KindWeight, Format: "onnx"}
	case ".md":
		return Class{Kind: KindDoc}
	case ".py":
		return Class{Kind: KindCode}
	}
	return Class{Kind: KindWeightConfig}
}
