package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/memory"

	"github.com/modelreg/modelreg/pkg/transfer"
)

func ExamplePush() {
	weights := []byte("0.1 0.2 0.3")
	blob := transfer.Blob{
		Name: "model.bin",
		Desc: ocispec.Descriptor{Digest: digest.FromBytes(weights), Size: int64(len(weights))},
		Open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(weights[offset:])), nil
		},
	}
	store := memory.New() // or a registry
	for range 2 {
		did, err := transfer.Push(context.Background(), store, blob, transfer.PushOptions{})
		fmt.Println(did == transfer.Done, did == transfer.Exists, err)
	}
	// Output:
	// true false <nil>
	// false true <nil>
}
