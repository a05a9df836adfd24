// Command pull fetches a signed model with modelreg as a library:
//
//	go run ./examples/pull REFERENCE DIRECTORY PUBLIC-KEY-FILE
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: pull REFERENCE DIRECTORY PUBLIC-KEY-FILE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := pull(ctx, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func pull(ctx context.Context, reference, dir, keyFile string) error {
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := signing.LoadPublicKey(pem)
	if err != nil {
		return err
	}
	client, err := remote.New(remote.Options{UserAgent: "modelreg-example"})
	if err != nil {
		return err
	}
	r, err := ref.Parse(reference)
	if err != nil {
		return err
	}
	trust := signing.Trust{Keys: []*signing.PublicKey{key}}
	res, err := hub.New(hub.Options{Remote: client}).Pull(ctx, r, dir, hub.PullOptions{Trust: &trust})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d files in %s, signed by %s\n", res.Reference, res.Files, res.Directory, res.Verified.Signers[0].KeyFingerprint)
	return nil
}
