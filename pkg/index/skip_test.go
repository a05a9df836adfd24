package index_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/index"
)

func TestSkipped(t *testing.T) {
	ix := open(t, family()...)
	snapshot := func() []byte {
		var b bytes.Buffer
		if _, err := ix.WriteSnapshot(t.Context(), &b, nil); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	before := snapshot()
	want := func(repository, rules string, digests ...string) {
		t.Helper()
		got, err := ix.Skipped(t.Context(), repository, rules)
		if diff := cmp.Diff(digests, got); diff != "" || err != nil {
			t.Errorf("%s by %s: %v, (-want +got)\n%s", repository, rules, err, diff)
		}
	}
	set := func(list ...index.Skipped) {
		t.Helper()
		if err := ix.SetSkipped(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	want("reg.io/a", "1")
	set()
	set(
		index.Skipped{Repository: "reg.io/a", Rules: "1", Digests: []string{"sha256:2", "sha256:1", "sha256:2"}},
		index.Skipped{Repository: "reg.io/b", Rules: "1", Digests: []string{"sha256:3"}},
		index.Skipped{Repository: "reg.jp/c", Rules: "1", Digests: []string{"sha256:4"}},
	)
	want("reg.io/a", "1", "sha256:1", "sha256:2")
	want("reg.io/a", "2") // other rules decide again
	want("reg.io/acme/tuned", "1")
	if got, err := ix.SkippedRepositories(t.Context(), "reg.io/"); err != nil || !cmp.Equal(got, []string{"reg.io/a", "reg.io/b"}) {
		t.Errorf("repositories: %v, %v", got, err)
	}
	set(index.Skipped{Repository: "reg.io/a", Rules: "2", Digests: []string{"sha256:5"}}, index.Skipped{Repository: "reg.io/b"})
	want("reg.io/a", "1")
	want("reg.io/a", "2", "sha256:5")
	want("reg.io/b", "1")
	if !bytes.Equal(before, snapshot()) {
		t.Error("what was left out is in a snapshot")
	}
	var many []string
	for i := range index.MaxSkipped + 7 {
		many = append(many, fmt.Sprintf("sha256:%08d", i))
	}
	set(index.Skipped{Repository: "reg.io/many", Rules: "1", Digests: many})
	want("reg.io/many", "1", many[:index.MaxSkipped]...)
}
