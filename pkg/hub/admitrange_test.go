package hub_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A range goes back when its highest tag is taken away, moved back, or hidden
// under a new one: what it leads to then was signed as well.
func TestPolicyRollbackOfRanges(t *testing.T) {
	const within = `org/m:"^1.0"`
	tests := map[string]func(g *guarded, first string){
		"tag deleted": func(g *guarded, _ string) {
			if _, err := g.Untag(g.t.Context(), g.ref("org/m:v1.4.2"), hub.TagOptions{}); err != nil {
				g.t.Fatal(err)
			}
		},
		"tag moved": func(g *guarded, first string) {
			if _, err := g.Tag(g.t.Context(), g.ref("org/m@"+first), "v1.4.2"); err != nil {
				g.t.Fatal(err)
			}
		},
		"a higher tag": func(g *guarded, first string) {
			if _, err := g.Tag(g.t.Context(), g.ref("org/m@"+first), "v1.4.3"); err != nil {
				g.t.Fatal(err)
			}
		},
	}
	for name, back := range tests {
		t.Run(name, func(t *testing.T) {
			g := guard(t, newWorld(t), "")
			pull := func(name string, opts hub.PullOptions) error {
				_, err := g.admits.Pull(t.Context(), g.ref(name), filepath.Join(t.TempDir(), "out"), opts)
				return err
			}
			publish := func(name, text string) string {
				res := g.push(name, text)
				g.sign(name, g.signer)
				if err := pull(within, hub.PullOptions{}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				return res.Digest
			}
			first := publish("org/m:v1.4.1", "one")
			publish("org/m:v1.4.2", "two")
			back(g, first)
			for range 2 { // a refusal is not remembered as the newest
				if err := pull(within, hub.PullOptions{}); !errors.Is(err, signing.ErrRollback) || !errors.Is(err, policy.ErrRefused) {
					t.Fatalf("error = %v, want a rollback", err)
				}
			}
			if _, err := g.admits.Verify(t.Context(), g.ref(within), signing.Trust{}, hub.VerifyOptions{}); !errors.Is(err, signing.ErrRollback) {
				t.Errorf("verify: error = %v, want a rollback", err)
			}
			if err := pull(within, hub.PullOptions{AllowDowngrade: true}); err != nil {
				t.Error(err)
			}
			if err := pull(within, hub.PullOptions{}); err != nil {
				t.Errorf("after it was allowed: %v", err)
			}
			publish("org/m:v1.5.0", "three")
		})
	}
}

// What a range never saw is told by its version, where nothing has a date.
func TestPolicyRollbackOfRangesUnseen(t *testing.T) {
	g := guard(t, newWorld(t), "")
	for _, v := range []string{"v1.4.1", "v1.4.2"} {
		g.push("org/m:"+v, v)
		g.sign("org/m:"+v, g.signer)
	}
	const within = `org/m:"^1.0"`
	if err := g.plan(within, hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	pull := func() error {
		_, err := g.admits.Pull(t.Context(), g.ref(within), filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
		return err
	}
	if err := pull(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Untag(t.Context(), g.ref("org/m:v1.4.2"), hub.TagOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pull(); !errors.Is(err, signing.ErrRollback) {
		t.Errorf("error = %v, want a rollback", err)
	}
}
