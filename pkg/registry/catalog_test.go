package registry_test

import (
	"encoding/json"
	"slices"
	"testing"

	"oras.land/oras-go/v2"

	"github.com/modelreg/modelreg/pkg/registry"
)

func TestCatalogListsRepositories(t *testing.T) {
	s := serve(t, registry.Options{})
	want := []string{"acme/digits", "acme/minilm", "other"}
	for _, name := range want {
		pack(t, s.repository(name), "application/x-model", oras.PackManifestOptions{})
	}
	var got struct{ Repositories []string }
	if err := json.Unmarshal(s.do("GET", "/v2/_catalog?n=1000", nil, nil).want(t, 200).body, &got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Repositories, want) {
		t.Errorf("the catalogue lists %q, want %q", got.Repositories, want)
	}
}
