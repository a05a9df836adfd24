package hub_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
)

// putTags sets tags of org/m to a manifest, as any client may.
func (w *world) putTags(raw []byte, tags ...string) {
	w.t.Helper()
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	if err := w.repo("org/m").PushManifest(w.t.Context(), desc, raw, tags...); err != nil {
		w.t.Fatal(err)
	}
}

// Whoever may push can set tags that look like those of entries. A rollback works
// all the same, and the tags are named.
func TestForgedEntries(t *testing.T) {
	tests := map[string]struct {
		forge func(w *world, version []byte) // sets tags
		seq   int                            // of the next entry
		told  string
	}{
		"none": {func(*world, []byte) {}, 2, ""},
		"a number beyond all": {
			func(w *world, version []byte) { w.putTags(version, "_l.99999999.0123456789abcdef.prod") },
			2, "_l.99999999.0123456789abcdef.prod",
		},
		"a number to come": {
			func(w *world, version []byte) { w.putTags(version, "_l.00000005.0123456789abcdef.prod") },
			2, "_l.00000005.0123456789abcdef.prod",
		},
		"many": {
			func(w *world, version []byte) {
				var tags []string
				for i := range 20 {
					tags = append(tags, fmt.Sprintf("_l.%08d.0123456789abcdef.prod", 40-i))
				}
				w.putTags(version, append(tags, "_l.00000000.0123456789abcdef.prod")...)
			},
			2, "_l.00000040.0123456789abcdef.prod",
		},
		"an entry beyond all, at the end": {
			func(w *world, version []byte) {
				e := record.Entry{Alias: "prod", Seq: 99_999_999, Time: may3, To: digest.FromBytes(version)}
				raw, err := e.Manifest()
				if err != nil {
					w.t.Fatal(err)
				}
				w.putTags(raw, record.EntryTag("prod", e.Seq, digest.FromBytes(raw)), record.TipTag("prod"))
			},
			2, "_l.99999999.",
		},
		"an end that is no entry": {
			func(w *world, version []byte) { w.putTags(version, record.TipTag("prod")) },
			2, "something else than an entry",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.released(2)
			w.promote("org/m:v1", may3, hub.PromoteOptions{})
			_, version := w.manifest("org/m", d[0])
			tt.forge(w, version)
			res := w.promote("org/m:v2", may3.Add(time.Hour), hub.PromoteOptions{})
			if got := strings.Join(res.Move.Notes, "\n"); !strings.Contains(got, tt.told) || (got == "") != (tt.told == "") {
				t.Errorf("notes = %q, want one of %q", got, tt.told)
			}
			log, err := w.AliasLog(t.Context(), w.ref("org/m:prod"), nil, 0)
			if err != nil || len(log.Entries) != 2 || log.Entries[0].Seq != tt.seq || !log.Whole {
				t.Fatalf("log = %+v, %v; want two entries, the newest of number %d", log, err, tt.seq)
			}
			if strings.HasPrefix(tt.told, "_l.") && !strings.Contains(strings.Join(log.Problems, "\n"), tt.told) {
				t.Errorf("problems = %q, want one of %q", log.Problems, tt.told)
			}
			back, err := w.Rollback(t.Context(), w.ref("org/m:prod"), hub.RollbackOptions{})
			if err != nil || back.Digest != d[0] {
				t.Errorf("Rollback = %+v, %v; want %s", back, err, d[0])
			}
		})
	}
}

// Where nothing was forged, the log costs no more than its end.
func TestRequestsOfAMove(t *testing.T) {
	w := newWorld(t)
	w.released(2)
	w.promote("org/m:v1", may3, hub.PromoteOptions{})
	w.srv.Reset()
	w.promote("org/m:v2", may3.Add(time.Hour), hub.PromoteOptions{})
	var read []string
	for _, r := range w.srv.Requests() {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/manifests/_l") {
			read = append(read, r.Path[strings.LastIndex(r.Path, "/")+1:])
		}
	}
	if !slices.Equal(read, []string{"_log.prod"}) {
		t.Errorf("a move reads %q of the log, want its end alone", read)
	}
}
