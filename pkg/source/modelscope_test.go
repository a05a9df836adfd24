package source_test

import (
	"errors"
	"testing"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testhub"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/source"
)

func TestOpenModelScope(t *testing.T) {
	hub := testhub.New(t, testhub.Options{Token: "ms-1"})
	first := hub.Commit("Org/m", map[string][]byte{"a.txt": []byte("1")})
	commit := hub.Commit("Org/m", tiny())
	m := mustOpen(t, "ms://Org/m", options(t, hub))
	check(t, m, tiny())
	if m.Commit != commit || m.Revision != "master" || m.Page != hub.URL()+"/models/Org/m" {
		t.Errorf("opened %+v", m)
	}
	if m := mustOpen(t, "ms://Org/m@"+first, options(t, hub)); m.Commit != first || len(m.Files) != 1 {
		t.Errorf("opened %+v", m)
	}
	hub.Hide("Org/m")
	opts := options(t, hub)
	if _, err := source.Open(t.Context(), "ms://Org/m", opts); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Open = %v", err)
	}
	opts.ModelScope.Token = "ms-1"
	check(t, mustOpen(t, "ms://Org/m", opts), tiny())
}

func TestModelScopeRefused(t *testing.T) {
	tests := map[string]struct {
		name, list string
		want       error
	}{
		"no such revision": {"ms://org/m@v9", "", errdef.ErrNotFound},
		"no such model":    {"ms://org/none", "", errdef.ErrNotFound},
		"a failure":        {"ms://org/m", `{"Code":500,"Message":"no","Success":false}`, remote.ErrProtocol},
		"no digest":        {"ms://org/m", `{"Code":200,"Data":{"Files":[{"Path":"a","Type":"blob","Sha256":"x"}]}}`, remote.ErrProtocol},
		"no commit":        {"ms://org/m", `{"Code":200,"Data":{"Files":[{"Path":"a","Type":"blob"}],"LatestCommitter":null}}`, remote.ErrProtocol},
		"no path":          {"ms://org/m", `{"Code":200,"Data":{"Files":[{"Path":"","Type":"blob"}]}}`, remote.ErrProtocol},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			hub := testhub.New(t, testhub.Options{})
			hub.Commit("org/m", tiny())
			if tt.list != "" {
				hub.Hub.Add(testreg.Rule{Path: "/repo/files", Do: testreg.Status(200, nil, tt.list)})
			}
			if _, err := source.Open(t.Context(), tt.name, options(t, hub)); !errors.Is(err, tt.want) {
				t.Errorf("Open = %v, want %v", err, tt.want)
			}
		})
	}
}
