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

func ExampleCheckPath() {
	fmt.Println(artifact.CheckPath("tokenizer/vocab.txt"))
	fmt.Println(artifact.CheckPath("../../etc/passwd"))
	// Output:
	// <nil>
	// unsafe: path "../../etc/passwd": component ..
}
