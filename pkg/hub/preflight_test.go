package hub_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// errOffline is what every request ends with.
var errOffline = errors.New("no request may be made")

type offline struct{}

func (offline) RoundTrip(*http.Request) (*http.Response, error) { return nil, errOffline }

// sparse makes a model of one file that has a size and no bytes.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "weights.bin")
	if err := os.WriteFile(file, []byte("weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("no sparse files there")
		}
		t.Fatal(err)
	}
	return dir
}

func TestPreflight(t *testing.T) {
	const gb, gib = 1_000_000_000, 1 << 30
	tests := map[string]struct {
		host    string
		size    int64
		refused string // the limit
		warned  bool
	}{
		"GitHub":         {"ghcr.io", 10*gb + 1, "10 GB", false},
		"ECR":            {"123.dkr.ecr.eu-west-1.amazonaws.com", 52_000<<20 + 1, "52,000 MiB", false},
		"ECR in China":   {"123.dkr.ecr.cn-north-1.amazonaws.com.cn", 52_000<<20 + 1, "52,000 MiB", false},
		"ECR Public":     {"public.ecr.aws", 10*gb + 1, "10,000 MB", false},
		"Azure":          {"acme.azurecr.io", 200*gib + 1, "200 GiB", false},
		"with a port":    {"ghcr.io:443", 10*gb + 1, "10 GB", false},
		"any, at most":   {"registry.example", 10_000 * 10 << 20, "", false},
		"any, more":      {"registry.example", 10_000*10<<20 + 1, "", true},
		"no such bucket": {"bucket.s3.amazonaws.com", 60 * gib, "", false},
		"no such host":   {"notghcr.io", 20 * gib, "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var warnings []string
			client, err := remote.New(remote.Options{Transport: offline{}})
			if err != nil {
				t.Fatal(err)
			}
			h := hub.New(hub.Options{Remote: client, Warn: func(m string) { warnings = append(warnings, m) }})
			r, err := ref.Parse(tt.host + "/acme/m:v1")
			if err != nil {
				t.Fatal(err)
			}
			// A limit that does not hold leads to the first request.
			_, err = h.Push(t.Context(), sparse(t, tt.size), r, hub.PushOptions{})
			tooLarge, ok := errors.AsType[*hub.LimitError](err)
			if ok != (tt.refused != "") {
				t.Fatalf("Push: %v, want refusal: %v", err, tt.refused != "")
			}
			if ok && (tooLarge.Path != "weights.bin" || tooLarge.Size != tt.size || tooLarge.Limit != tt.refused) {
				t.Errorf("error = %+v", tooLarge)
			}
			if warned := len(warnings) > 0 && strings.Contains(warnings[0], "97.7 GiB"); warned != tt.warned {
				t.Errorf("warnings = %q, want one: %v", warnings, tt.warned)
			}
			if !ok {
				return
			}
			if _, err := h.Push(t.Context(), sparse(t, tt.size), r, hub.PushOptions{NoPreflight: true}); !errors.Is(err, errOffline) {
				t.Errorf("Push without preflight: %v, want it to reach the registry", err)
			}
		})
	}
}
