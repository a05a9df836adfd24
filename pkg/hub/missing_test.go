package hub_test

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
)

// What was not found is told with where else to look.
func TestMissing(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:dev", "one")
	w.push("org/m:feature/x", "two")
	w.says(func(r *record.Record) { r.Protected = []string{"prod"} })
	look := func(s string) error { _, err := w.Resolve(t.Context(), w.ref(s)); return err }
	at := func(tag, revision string) error {
		r := w.ref("org/m:" + tag)
		r.Revision = revision
		_, err := w.Resolve(t.Context(), r)
		return err
	}
	tests := map[string]struct {
		err  error
		what hub.Missing
		ref  string // the end of it
		tags []string
	}{
		"tag":        {look("org/m:none"), hub.MissingVersion, "/org/m:none", nil},
		"repository": {look("org/none:v1"), hub.MissingVersion, "/org/none:v1", nil},
		"nothing":    {look("org/none"), hub.MissingVersion, "/org/none", nil},
		"default":    {look("org/m"), hub.MissingDefault, "/org/m", []string{"dev", "feature/x"}},
		"prefix":     {look("org/m@0123456789abcdef"), hub.MissingVersion, "/org/m@0123456789abcdef", nil},
		"range":      {look(`org/m:"^7"`), hub.MissingVersion, `/org/m:"^7"`, nil},
		"parent":     {at("_b.feature__x", "~3"), hub.MissingHistory, "/org/m:feature/x", nil},
		"log": {func() error {
			_, err := w.AliasLog(t.Context(), w.ref("org/m:dev"), nil, 0)
			return err
		}(), hub.MissingLog, "/org/m:dev", nil},
		"rollback": {func() error {
			_, err := w.Rollback(t.Context(), w.ref("org/m:dev"), hub.RollbackOptions{})
			return err
		}(), hub.MissingLog, "/org/m:dev", nil},
		"bill": {hub.NoBOM("r.io/org/m:dev"), hub.MissingBOM, "/org/m:dev", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wantErr(t, tt.err, errdef.ErrNotFound)
			e, ok := errors.AsType[*hub.MissingError](tt.err)
			if !ok || e.What != tt.what || !strings.HasSuffix(e.Reference, tt.ref) || !slices.Equal(e.Tags, tt.tags) {
				t.Errorf("error = %+v, want %d of %q with tags %q", e, tt.what, tt.ref, tt.tags)
			}
		})
	}
	err := w.Cat(t.Context(), w.ref("org/m:dev"), "none.json", io.Discard)
	if e, ok := errors.AsType[*hub.MissingError](err); !ok || e.What != hub.MissingFile || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file: %v", err)
	}
	w.promote("org/m:dev", may3, hub.PromoteOptions{})
	if e, ok := errors.AsType[*hub.MissingError](at("prod", "@{2020-01-01}")); !ok || e.What != hub.MissingPast || !strings.HasSuffix(e.Reference, "/org/m:prod") {
		t.Errorf("before the log: %+v", e)
	}
}
