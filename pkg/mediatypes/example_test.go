package mediatypes_test

import (
	"fmt"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

func ExampleClassify() {
	files := []mediatypes.File{
		{Path: "README.md", Size: 7, Head: []byte("# Bert\n")},
		{Path: "config.json", Size: 2, Head: []byte("{}")},
		{Path: "model.bin", Size: 1 << 30, Head: []byte("GGUF\x03\x00\x00\x00")},
		{Path: "train.py", Size: 12, Head: []byte("import torch")},
	}
	for i, c := range mediatypes.Classify(files) {
		fmt.Printf("%s: %s %q %q\n", files[i].Path, c.Kind, c.Format, c.Role)
	}
	// Output:
	// README.md: doc "" "card"
	// config.json: weight.config "" "config"
	// model.bin: weight "gguf" ""
	// train.py: code "" ""
}

func ExampleParseLayer() {
	l, ok := mediatypes.ParseLayer("application/vnd.ollama.image.adapter")
	fmt.Println(l.Family, l.Kind, l.Encoding, l.Role, ok)

	fmt.Println(mediatypes.LayerType(mediatypes.KindDoc, mediatypes.TarGzip))
	// Output:
	// ollama weight raw adapter true
	// application/vnd.cncf.model.doc.v1.tar+gzip
}

func ExampleParseManifest() {
	_, err := mediatypes.ParseManifest([]byte(`{"schemaVersion":2,"layers":[],"layers":[]}`))
	fmt.Println(err != nil)

	m, err := mediatypes.ParseManifest([]byte(`{
		"schemaVersion": 2,
		"artifactType": "application/vnd.cncf.model.manifest.v1+json",
		"config": {
			"mediaType": "application/vnd.cncf.model.config.v1+json",
			"digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
			"size": 2
		},
		"layers": []
	}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(mediatypes.Detect(m))
	// Output:
	// true
	// modelpack true
}
