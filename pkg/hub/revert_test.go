package hub_test

import (
	"context"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// What was withdrawn does not come back under another digest, of which nothing
// would say so.
func TestRecommitOfWhatWasWithdrawn(t *testing.T) {
	tests := map[string]struct {
		state   record.State
		do      func(*hub.Hub, context.Context, ref.Reference, hub.RecommitOptions) (*hub.RecommitResult, error)
		of      string // whose state it is
		opts    hub.RecommitOptions
		strict  bool
		refused error
		warned  string
	}{
		"revert":                     {state: record.Yanked, do: (*hub.Hub).Revert, of: "old", refused: policy.ErrYanked},
		"revert, all the same":       {state: record.Yanked, do: (*hub.Hub).Revert, of: "old", opts: hub.RecommitOptions{Force: true}, warned: "yanked"},
		"revert of deprecated":       {state: record.Deprecated, do: (*hub.Hub).Revert, of: "old", warned: "deprecated"},
		"strict":                     {state: record.Deprecated, do: (*hub.Hub).Revert, of: "old", strict: true, refused: hub.ErrDeprecated},
		"on top of what is":          {state: record.Yanked, do: (*hub.Hub).Revert, of: "main"},
		"merge":                      {state: record.Yanked, do: (*hub.Hub).Merge, of: "old", refused: policy.ErrYanked},
		"merge, of the history only": {state: record.Yanked, do: (*hub.Hub).Merge, of: "old", opts: hub.RecommitOptions{TakeBranch: true}},
		"merge, of the branch":       {state: record.Yanked, do: (*hub.Hub).Merge, of: "main", opts: hub.RecommitOptions{TakeBranch: true}, refused: policy.ErrYanked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.line("a", "b")
			w.commit("org/m:old", "withdrawn", hub.Committing{})
			w.state("org/m:"+tt.of, alice(), tt.state, "leaks names")
			h := w.with(hub.Options{Strict: tt.strict})
			before := w.digestOf("org/m", "main")
			w.warned()
			tt.opts.Branch = "main"
			old := w.ref("org/m@" + w.digestOf("org/m", "old"))
			_, err := tt.do(h, t.Context(), old, tt.opts)
			if tt.refused != nil {
				wantErr(t, err, tt.refused)
				if now := w.digestOf("org/m", "main"); now != before {
					t.Error("the branch was moved all the same")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if now := w.digestOf("org/m", "main"); now == before {
				t.Error("the branch was not moved")
			}
			if got := w.warned(); (got != "") != (tt.warned != "") || !strings.Contains(got, tt.warned) {
				t.Errorf("warnings: %q, want %q", got, tt.warned)
			}
		})
	}
}
