package signing_test

import (
	"context"
	"fmt"
	"log"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/signing"
)

// Make a key pair, sign what a tag points at, and verify it.
func Example() {
	ctx := context.Background()
	repo := exampleRepository() // a remote.Repository, say

	private, public, err := signing.GenerateKeyPair([]byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	signer, err := signing.LoadSigner(private, []byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	target, _, err := signing.Resolve(ctx, repo, "registry.example.com/org/model", "v1")
	if err != nil {
		log.Fatal(err)
	}
	made, err := signing.Sign(ctx, repo, target, signer, signing.SignOptions{Format: signing.Both})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signatures made:", len(made))

	key, err := signing.LoadPublicKey(public)
	if err != nil {
		log.Fatal(err)
	}
	report, err := signing.Verify(ctx, repo, target, signing.Trust{Keys: []*signing.PublicKey{key}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed by the key:", report.Signers[0].KeyFingerprint == key.Fingerprint())
	// Output:
	// signatures made: 2
	// signed by the key: true
}

func exampleRepository() signing.Repository {
	repo := newFake()
	raw := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`)
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	if err := repo.PushManifest(context.Background(), desc, raw, "v1"); err != nil {
		log.Fatal(err)
	}
	return repo
}
