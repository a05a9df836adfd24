package artifact_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"oras.land/oras-go/v2/content/memory"

	"github.com/modelreg/modelreg/pkg/artifact"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	model := filepath.Join(dir, "model")
	if err := os.Mkdir(model, 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(model, "README.md"), []byte("# Tiny\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	// Anything that takes blobs will do: a repository, an OCI layout, memory.
	blobs := memory.New()
	packed, err := artifact.Pack(ctx, model, blobs, artifact.PackOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(packed.Descriptor.Digest)

	a, err := artifact.Open(ctx, blobs, packed.Descriptor)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range a.Files {
		fmt.Println(f.Path, f.Kind, f.Size)
	}
	u, err := artifact.Unpack(ctx, a, blobs, filepath.Join(dir, "copy"), artifact.UnpackOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(u.Files, "file")
	// Output:
	// sha256:47512094447a7a78023f2be840deaedc2be3aa6554db1dfa1ab6f654c0eeffe1
	// README.md doc 7
	// 1 file
}

// The first bytes of weights in a registry, without pulling them. A registry
// stands where there is memory here.
func ExampleArtifact_ReaderAt() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "model.gguf"), []byte("GGUF and much more"), 0o600); err != nil {
		log.Fatal(err)
	}
	blobs := memory.New()
	packed, err := artifact.Pack(ctx, dir, blobs, artifact.PackOptions{})
	if err != nil {
		log.Fatal(err)
	}
	a, err := artifact.Open(ctx, blobs, packed.Descriptor)
	if err != nil {
		log.Fatal(err)
	}

	r, err := a.ReaderAt(ctx, blobs, "model.gguf", artifact.ReaderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	magic := make([]byte, 4)
	if _, err := r.ReadAt(magic, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, verified: %v\n", magic, r.Verified())
	// Output:
	// GGUF, verified: true
}

func ExampleCheckPath() {
	fmt.Println(artifact.CheckPath("tokenizer/vocab.txt"))
	fmt.Println(artifact.CheckPath("../../etc/passwd"))
	// Output:
	// <nil>
	// unsafe: path "../../etc/passwd": component ..
}
