package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testsigstore"
)

// TestJSONKeysOfTrust holds what is printed of trusted roots against the contract
// with scripts, and what is said of one that is out of date.
func TestJSONKeysOfTrust(t *testing.T) {
	u := newUser(t)
	t.Setenv("MODELREG_STATE", filepath.Join(u.home, "state"))
	d := testsigstore.New(t, testsigstore.Options{CertificateLog: true}).Serve()
	repo := publish(t, d)
	u.ok("config", "set", "trust-repository", repo.URL)
	out := u.ok("trust", "update", "--root", u.file("root.json", string(repo.Root())), "--format", "json")
	want := []string{"changed", "checked", "expires", "file", "repository", "services"}
	if diff := cmp.Diff(want, keys(t, out)); diff != "" {
		t.Errorf("trust update (-want +got):\n%s", diff)
	}
	shown := slices.Sorted(slices.Values(append(
		under("parties[]", []string{"kind", "name", "id", "from", "until"}),
		"source", "file", "repository", "checked", "expires", "stale", "parties",
	)))
	out = u.ok("trust", "show", "--format", "json")
	if diff := cmp.Diff(shown, keys(t, out)); diff != "" || !strings.Contains(out, `"stale": false`) {
		t.Errorf("trust show (-want +got):\n%s%s", diff, out)
	}

	states, err := filepath.Glob(filepath.Join(u.home, "state", "trust", "*", "state.json"))
	if err != nil || len(states) != 1 {
		t.Fatal(states, err)
	}
	raw, err := os.ReadFile(states[0])
	if err != nil {
		t.Fatal(err)
	}
	past := regexp.MustCompile(`"expires":"20\d\d`).ReplaceAll(raw, []byte(`"expires":"2020`))
	if err := os.WriteFile(states[0], past, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := u.run(t.Context(), "trust", "show", "--format", "json")
	if code != exitOK || !strings.Contains(out, `"stale": true`) || !strings.Contains(stderr, `"modelreg trust update" fetches the present one`) {
		t.Errorf("trust show of what is out of date: %d\n%s%s", code, out, stderr)
	}
	// It verifies all the same: where there is no network there is no newer one.
	code, _, stderr = u.run(t.Context(), "verify", "127.0.0.1:1/acme/m:v1", "--certificate-identity", "a@example.com", "--certificate-oidc-issuer", d.Issuer)
	if code == exitUsage || strings.Count(stderr, "trust update") != 1 {
		t.Errorf("verify with what is out of date: %d\n%s", code, stderr)
	}
}
