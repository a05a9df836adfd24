package index_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/index"
)

const (
	baseDigest = "sha256:aa000000000000000000000000000000000000000000000000000000000000aa"
	dataDigest = "sha256:bb000000000000000000000000000000000000000000000000000000000000bb"
)

// family are versions that were made of others, each younger than the one before.
func family() []index.Record {
	base := index.Base{Name: "reg.io/acme/base:v1", Relation: "finetune", Digest: baseDigest}
	list := []index.Record{
		{Repository: "reg.io/acme/tuned", Bases: []index.Base{base}},
		{Repository: "reg.io/acme/tuned", Bases: []index.Base{base}, Latest: true},
		{Repository: "reg.io/corp/yanked", Bases: []index.Base{{Name: "elsewhere.io/copy", Digest: strings.ToUpper(baseDigest)}}, Status: index.Yanked},
		{Repository: "reg.io/corp/named", Bases: []index.Base{{Name: "reg.io/acme/base", Relation: "merge"}}},
		{Repository: "reg.io/corp/trained", Inputs: []index.Base{{Name: "reg.io/acme/data:v7", Relation: "dataset", Digest: dataDigest}}},
		{Repository: "reg.io/corp/other", Bases: []index.Base{{Name: "reg.io/acme/base-2:v1"}}, Card: baseDigest},
	}
	for i := range list {
		list[i].Digest, list[i].Updated = fmt.Sprintf("sha256:%064d", i), now.Add(time.Duration(i)*time.Hour)
	}
	return list
}

func TestMadeOf(t *testing.T) {
	list := family()
	forward := open(t, list...)
	slices.Reverse(list)
	backward := open(t, list...)
	tests := map[string]struct {
		names []string
		limit int
		want  []string // the last digits of digests
		more  bool
	}{
		"digest":           {[]string{baseDigest}, 10, []string{"2", "1", "0"}, false},
		"digest and name":  {[]string{baseDigest, "reg.io/acme/base"}, 10, []string{"3", "2", "1", "0"}, false},
		"name with a tag":  {[]string{"reg.io/acme/base:v1"}, 10, []string{"1", "0"}, false},
		"the newest":       {[]string{baseDigest}, 2, []string{"2", "1"}, true},
		"just as many":     {[]string{baseDigest}, 3, []string{"2", "1", "0"}, false},
		"a dataset":        {[]string{dataDigest}, 10, []string{"4"}, false},
		"its name":         {[]string{"reg.io/acme/data"}, 10, []string{"4"}, false},
		"another":          {[]string{"sha256:00"}, 10, nil, false},
		"nothing":          {nil, 10, nil, false},
		"a part of a name": {[]string{"base", "acme"}, 10, []string{"5", "3", "1", "0"}, false}, // as base: finds them
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, ix := range []*index.Index{forward, backward} {
				found, more, err := ix.MadeOf(t.Context(), tt.names, index.MadeOfOptions{Limit: tt.limit})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, r := range found {
					got = append(got, strings.TrimLeft(r.Digest[len("sha256:"):], "0"))
				}
				for i := range got {
					if got[i] == "" {
						got[i] = "0"
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" || more != tt.more {
					t.Errorf("more: %v; -want +got\n%s", more, diff)
				}
			}
		})
	}
}

// What was made of a version is found without reading the records of others.
func TestMadeOfReadsNoOthers(t *testing.T) {
	const versions, every = 4096, 512
	var list []index.Record
	for i := range versions {
		r := index.Record{Repository: fmt.Sprintf("reg.io/acme/m%d", i), Digest: fmt.Sprintf("sha256:%064d", i), Updated: now, Card: "a card"}
		if i%every == 0 {
			r.Bases = []index.Base{{Name: "reg.io/acme/base", Digest: baseDigest}}
		}
		list = append(list, r)
	}
	path := filepath.Join(t.TempDir(), "index.db")
	ix, err := index.Open(t.Context(), path, index.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	if err := ix.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// Records are in groups of eight.
	if _, err := db.ExecContext(t.Context(), "UPDATE doc SET body = x'00' WHERE id * 8 % ? >= 8", every); err != nil {
		t.Fatal(err)
	}
	found, more, err := ix.MadeOf(t.Context(), []string{baseDigest}, index.MadeOfOptions{Limit: 100})
	if err != nil || more || len(found) != versions/every {
		t.Errorf("MadeOf = %d versions, more: %v, %v", len(found), more, err)
	}
	q, err := index.ParseQuery("versions:all")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ix.Search(t.Context(), q, index.Options{}); err == nil {
		t.Error("records of others could be read all the same")
	}
}

// What is not looked for takes no room among what is, and no end of time either.
func TestMadeOfKeeps(t *testing.T) {
	const versions, every, bound = 21_000, 1000, 20_000
	var list []index.Record
	for i := range versions {
		r := index.Record{
			Repository: fmt.Sprintf("reg.io/acme/m%d", i), Digest: fmt.Sprintf("sha256:%064d", i), Updated: now.Add(-time.Duration(i) * time.Second),
			Bases: []index.Base{{Name: "reg.io/acme/base", Digest: dataDigest}},
		}
		if i%every == every-1 {
			r.Bases[0].Digest = baseDigest
		}
		list = append(list, r)
	}
	ix := open(t, list...)
	asked := 0
	keep := func(r *index.Record) bool { asked++; return r.Bases[0].Digest == baseDigest }
	for limit, want := range map[int]struct {
		found, asked int
		more         bool
	}{
		3:   {3, 4 * every, true},
		100: {bound / every, bound, true},
	} {
		asked = 0
		found, more, err := ix.MadeOf(t.Context(), []string{"reg.io/acme/base"}, index.MadeOfOptions{Limit: limit, Keep: keep})
		if err != nil || len(found) != want.found || asked != want.asked || more != want.more {
			t.Errorf("at most %d: %d found, %d asked about, more: %v, %v; want %+v", limit, len(found), asked, more, err, want)
		}
		for i, r := range found {
			if r.Digest != list[every*(i+1)-1].Digest {
				t.Errorf("at most %d: number %d is %s", limit, i, r.Digest)
			}
		}
	}
	found, more, err := ix.MadeOf(t.Context(), []string{baseDigest}, index.MadeOfOptions{Limit: 100})
	if err != nil || len(found) != versions/every || more {
		t.Errorf("by digest: %d, more: %v, %v", len(found), more, err)
	}
}
