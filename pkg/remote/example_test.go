package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/remote"
)

func ExampleRepository_Manifest() {
	// Any registry will do; this one has nothing.
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()

	client, err := remote.New(remote.Options{UserAgent: "example/1.0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdle()
	repo, err := client.Repository(strings.TrimPrefix(server.URL, "http://") + "/org/model")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = repo.Manifest(context.Background(), "v1.2.0")
	fmt.Println(errors.Is(err, errdef.ErrNotFound))
	// Output:
	// true
}
