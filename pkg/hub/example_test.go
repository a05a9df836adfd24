package hub_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/registry"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A model goes into a registry under a tag and comes back by its digest.
func Example() {
	ctx := context.Background()
	host, stop := startRegistry(ctx)
	defer stop()
	work, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(work)
	model := filepath.Join(work, "model")
	if err := os.Mkdir(model, 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(model, "config.json"), []byte(`{"model_type":"llama"}`), 0o644); err != nil {
		log.Fatal(err)
	}

	client, err := remote.New(remote.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseIdle()
	h := hub.New(hub.Options{Remote: client})
	name, err := ref.Parse(host + "/acme/support:v1")
	if err != nil {
		log.Fatal(err)
	}
	pushed, err := h.Push(ctx, model, name, hub.PushOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("pushed", pushed.Files, "file as", pushed.Tag)

	version, err := ref.Parse(pushed.Reference)
	if err != nil {
		log.Fatal(err)
	}
	pulled, err := h.Pull(ctx, version, filepath.Join(work, "copy"), hub.PullOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("pulled", pulled.FetchedBytes, "bytes:", pulled.Digest == pushed.Digest)
	// Output:
	// pushed 1 file as v1
	// pulled 22 bytes: true
}

// startRegistry stands in for the registry of your own.
func startRegistry(ctx context.Context) (host string, stop func()) {
	reg, err := registry.New(ctx, registry.Options{})
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(reg)
	return strings.TrimPrefix(srv.URL, "http://"), func() {
		srv.CloseClientConnections()
		srv.Close()
		_ = reg.Close()
	}
}
