package registry_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"

	"github.com/modelreg/modelreg/pkg/registry"
)

// A registry in memory, behind a server on loopback. With Data set, the content
// is on the disk.
func ExampleNew() {
	reg, err := registry.New(context.Background(), registry.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer reg.Close()
	server := httptest.NewServer(reg)
	defer server.Close() // before the registry

	const nobody = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	resp, err := server.Client().Get(server.URL + "/v2/org/model/referrers/" + nobody)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body), err)
	// Output:
	// 200 OK {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]} <nil>
}
