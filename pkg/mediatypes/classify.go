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
	Head []byte // the first HeadBytes bytes, or all if there are fewer
}

// A Class is what a file was found to be.
type Class struct {
	Kind Kind

	// Format is that of a model's file: "safetensors", "gguf", "onnx",
	// "pytorch", "tensorflow", "keras", "tflite", "flax", "coreml",
	// "openvino", "tensorrt", "nemo", "sklearn", "skops", "xgboost",
	// "lightgbm", "pmml", "numpy" or "pickle". It is empty for other files.
	// A file of one of the formats that are pickles inside may be hostile
	// whatever its kind.
	Format string

	// Role tells more of some files: "adapter", "tokenizer",
	// "chat-template", "projector", "config", "index", "license", "card". An
	// adapter's weights and its config have the same role and differ in kind.
	// Only the README in the root has the role "card".
	Role string
}

// Classify tells for each file what it is: by name, by the bytes it begins
// with, and by the files beside it. The result has the length and order of
// files, and does not depend on that order.
//
// Where the bytes are beyond doubt they count for more than the name: a
// model.bin that is a GGUF is one. Names that people read by, such as
// README.md and LICENSE, are documents whatever is in them. What nothing is
// known of is [KindWeightConfig] if it is text, else [KindWeight].
func Classify(files []File) []Class {
	entries := make([]entry, len(files))
	for i, f := range files {
		entries[i] = newEntry(f)
	}
	t := newTree(entries)
	out := make([]Class, len(files))
	for i, e := range entries {
		out[i] = t.classify(e)
	}
	return out
}

// An entry is a file whose name has been taken apart.
type entry struct {
	File
	dir  string // "." for the root
	base string // lower case
	ext  string // of base, with its dot
	text bool   // see isText
}

func newEntry(f File) entry {
	base := strings.ToLower(path.Base(f.Path))
	f.Head = f.Head[:min(len(f.Head), HeadBytes)]
	return entry{File: f, dir: path.Dir(f.Path), base: base, ext: path.Ext(base), text: isText(f.Head)}
}

// A tree holds what neighbours need to know of each other, by directory.
type tree struct {
	onnx       map[string]bool // directories with a .onnx file
	savedModel map[string]bool // directories with a saved_model.pb
	openVINO   map[string]bool // paths of OpenVINO .xml files, without extension
}

func newTree(entries []entry) *tree {
	t := &tree{onnx: map[string]bool{}, savedModel: map[string]bool{}, openVINO: map[string]bool{}}
	for _, e := range entries {
		switch {
		case e.ext == ".onnx":
			t.onnx[e.dir] = true
		case e.base == "saved_model.pb" || e.base == "saved_model.pbtxt":
			t.savedModel[e.dir] = true
		case e.ext == ".xml" && (isOpenVINO(e.Head) || strings.HasPrefix(e.base, "openvino_")):
			t.openVINO[stem(e.Path)] = true
		}
	}
	return t
}

func stem(p string) string { return strings.TrimSuffix(p, path.Ext(p)) }

// classify asks those who know a file for certain before those who guess.
func (t *tree) classify(e entry) Class {
	for _, claim := range []func(entry) (Class, bool){
		byDocument,
		byPackage,
		t.byOwner,
		byContent,
		byName,
		t.byNeighbour,
		byDataDirectory,
		byExtension,
	} {
		if c, ok := claim(e); ok {
			return withRole(c, e)
		}
	}
	return byText(e)
}

// byDocument knows the files that people look for by name.
func byDocument(e entry) (Class, bool) {
	if _, known := extensions[e.ext]; known && !documentExtensions[e.ext] {
		return Class{}, false
	}
	name, _, _ := strings.Cut(e.base, ".")
	if name == "readme" {
		c := Class{Kind: KindDoc}
		if e.dir == "." {
			c.Role = "card"
		}
		return c, true
	}
	for _, word := range licenseWords {
		rest, ok := strings.CutPrefix(name, word)
		if ok && (rest == "" || strings.ContainsAny(rest[:1], "-_ ")) {
			return Class{Kind: KindDoc, Role: "license"}, true
		}
	}
	return Class{}, false
}

// byPackage knows the directories that are one model: Core ML's.
func byPackage(e entry) (Class, bool) {
	for elem := range strings.SplitSeq(strings.ToLower(e.dir), "/") {
		if !strings.HasSuffix(elem, ".mlpackage") && !strings.HasSuffix(elem, ".mlmodelc") {
			continue
		}
		if e.ext == ".json" || e.ext == ".plist" {
			return Class{Kind: KindWeightConfig, Format: "coreml"}, true
		}
		return Class{Kind: KindWeight, Format: "coreml"}, true
	}
	return Class{}, false
}

// byOwner knows the files that another file claims by its own name. They are
// plain numbers, in which a look at the content would find all sorts of things.
func (t *tree) byOwner(e entry) (Class, bool) {
	switch {
	case strings.Contains(e.base, ".onnx_data") || strings.Contains(e.base, ".onnx.data"):
		return Class{Kind: KindWeight, Format: "onnx"}, true
	case e.ext == ".bin" && t.openVINO[stem(e.Path)]:
		return Class{Kind: KindWeight, Format: "openvino"}, true
	}
	parent, last := path.Dir(e.dir), path.Base(e.dir)
	switch {
	case last == "variables" && t.savedModel[parent]:
		return Class{Kind: KindWeight, Format: "tensorflow"}, true
	case (last == "assets" || last == "assets.extra") && t.savedModel[parent]:
		return Class{Kind: KindWeightConfig, Format: "tensorflow"}, true
	}
	return Class{}, false
}

// byNeighbour knows weights that an ONNX graph keeps in files of any name
// (ONNX, "External Data"): binary, beside it, and nobody else's.
func (t *tree) byNeighbour(e entry) (Class, bool) {
	if !t.onnx[e.dir] || e.text {
		return Class{}, false
	}
	switch e.ext {
	case "", ".bin", ".data", ".dat", ".weight", ".weights", ".bias":
	default:
		if e.base != "weights.pb" && !strings.HasPrefix(e.base, "onnx__") {
			return Class{}, false
		}
	}
	return Class{Kind: KindWeight, Format: "onnx"}, true
}

// byContent trusts the first bytes.
func byContent(e entry) (Class, bool) {
	for _, s := range signatures {
		if c, ok := s(e); ok {
			return inDataDirectory(c, e), true
		}
	}
	return Class{}, false
}

// inDataDirectory makes data of arrays that lie among data.
func inDataDirectory(c Class, e entry) Class {
	switch c.Format {
	case "numpy", "pickle", "keras":
		if isDataDirectory(e.dir) {
			c.Kind = KindDataset
		}
	}
	return c
}

func byName(e entry) (Class, bool) {
	if c, ok := names[e.base]; ok {
		return c, true
	}
	for _, p := range patterns {
		if ok, err := path.Match(p.glob, e.base); err == nil && ok {
			return p.class, true
		}
	}
	return Class{}, false
}

// byDataDirectory takes what lies among data for data, but not the programs
// and texts there, nor model formats.
func byDataDirectory(e entry) (Class, bool) {
	if !isDataDirectory(e.dir) {
		return Class{}, false
	}
	c, known := extensions[e.ext]
	media := known && c.Kind == KindDoc && !documentExtensions[e.ext]
	switch {
	case !known || media || c.Kind == KindWeightConfig:
		return Class{Kind: KindDataset}, true
	case c.Kind == KindWeight:
		c = inDataDirectory(c, e)
	}
	return c, true
}

func isDataDirectory(dir string) bool {
	for elem := range strings.SplitSeq(strings.ToLower(dir), "/") {
		if dataDirectories[elem] {
			return true
		}
	}
	return false
}

func byExtension(e entry) (Class, bool) {
	c, ok := extensions[e.ext]
	return c, ok
}

// byText is for files of which nothing is known.
func byText(e entry) Class {
	switch {
	case strings.HasPrefix(string(e.Head[:min(2, len(e.Head))]), "#!"):
		return Class{Kind: KindCode}
	case e.text:
		return Class{Kind: KindWeightConfig}
	}
	return Class{Kind: KindWeight}
}

// withRole adds what a name says of weights whose format the content told.
func withRole(c Class, e entry) Class {
	if c.Kind != KindWeight || c.Role != "" {
		return c
	}
	for _, r := range weightRoles {
		if strings.Contains(e.base, r.part) {
			c.Role = r.role
			return c
		}
	}
	return c
}
