package hub_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// lived is org/m with all that a repository can have: two branches, of which one was
// deleted, a version that was removed, releases, an alias that was moved and signed
// for, revised cards, a yank, and a record.
func (w *world) lived() {
	w.t.Helper()
	w.says(func(r *record.Record) {
		r.Protected, r.Immutable, r.DefaultBranch = []string{"prod"}, []string{"v*"}, "main"
		r.Publishers = []record.Party{{Key: string(alice().signer.Public().PEM())}}
	})
	for _, text := range []string{"one", "two", "three"} {
		w.commit("org/m:main", text, hub.Committing{Message: text})
	}
	for tag, of := range map[string]string{"v1": "main~2", "v2": "main~1", "feature/y": "main"} {
		if _, err := w.Tag(w.t.Context(), w.ref("org/m:"+of), tag); err != nil {
			w.t.Fatal(err)
		}
	}
	w.commit("org/m:side", "aside", hub.Committing{Message: "aside", Parents: []string{"main"}})
	w.commit("org/m:side", "further aside", hub.Committing{Message: "further aside"})
	if _, err := w.DeleteBranch(w.t.Context(), w.ref("org/m"), "side"); err != nil {
		w.t.Fatal(err)
	}
	w.promote("org/m:v1", may3, hub.PromoteOptions{Message: "first"})
	w.promote("org/m:v2", may3.Add(time.Hour), hub.PromoteOptions{Message: "second", Signer: alice().signer})
	if _, err := w.Sign(w.t.Context(), w.ref("org/m:v1"), alice().signer, signing.SignOptions{Format: signing.Both}); err != nil {
		w.t.Fatal(err)
	}
	w.revise("# Revised\n", hub.CardPush{Signer: alice().signer, Message: "say more"})
	w.revise("# By nobody\n", hub.CardPush{})
	w.state("org/m:v2", alice(), record.Yanked, "leaked data")
	dead := w.push("org/m:dead", "dead")
	desc, _ := w.manifest("org/m", dead.Digest)
	if err := w.Bury(w.t.Context(), w.ref("org/m"), dead.Digest, hub.Burial{Reason: "licence"}); err != nil {
		w.t.Fatal(err)
	}
	for _, err := range []error{w.repo("org/m").Untag(w.t.Context(), "dead"), w.repo("org/m").Delete(w.t.Context(), desc)} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// answers are what a repository says of its past, without its name. Dead is a
// version that was removed.
func (w *world) answers(repository ref.Reference, dead string) map[string]string {
	w.t.Helper()
	h, ctx := hub.New(hub.Options{Remote: w.client}), w.t.Context()
	out := map[string]string{}
	say := func(what string, v any, err error) {
		w.t.Helper()
		text, jsonErr := json.MarshalIndent(v, "", " ")
		if jsonErr != nil {
			w.t.Fatal(jsonErr)
		}
		out[what] = string(text)
		if err != nil {
			out[what] += err.Error()
		}
		out[what] = strings.ReplaceAll(out[what], repository.Name(), "REPO")
	}
	at := func(tag, revision string) ref.Reference {
		r := repository.WithTag(tag)
		r.Revision = revision
		return r
	}
	log, err := h.Log(ctx, at("", ""), hub.LogOptions{All: true, Trust: alice().trust})
	if log != nil { // versions without dates have no order of their own between branches
		slices.SortFunc(log.Entries, func(a, b hub.HistoryEntry) int { return strings.Compare(a.Digest, b.Digest) })
	}
	say("log --all", log, err)
	for _, tag := range []string{"main", "_b.feature__y"} {
		log, err := h.Log(ctx, at(tag, ""), hub.LogOptions{})
		say("log "+tag, log, err)
	}
	versions, err := h.Versions(ctx, repository, false)
	say("ls", versions, err)
	for _, time := range []string{"2026-05-03T12:30:00Z", "2026-05-03", "2026-05-02"} {
		res, err := h.Resolve(ctx, at("prod", "@{"+time+"}"))
		say("prod at "+time, res, err)
	}
	moves, err := h.AliasLog(ctx, at("prod", ""), alice().trust, 0)
	say("tag log", moves, err)
	cards, err := h.CardHistory(ctx, at("v1", ""), nil)
	say("card history", cards, err)
	yanked, err := h.Resolve(ctx, at("v2", ""))
	say("resolve v2", yanked, err)
	gone, err := h.Resolve(ctx, repository.WithDigest(digest.Digest(dead)))
	say("resolve what was removed", gone, err)
	said, err := h.Record(ctx, repository)
	say("record", said, err)
	return out
}

func equalAnswers(t *testing.T, want, got map[string]string) {
	t.Helper()
	for what, answer := range want {
		if diff := cmp.Diff(answer, got[what]); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

// deadOf is the version that was removed from org/m.
func (w *world) deadOf() string {
	w.t.Helper()
	for tag, err := range w.repo("org/m").Tags(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		if _, raw := w.manifest("org/m", tag); strings.HasPrefix(tag, "_k.") {
			if stone, ok := record.ParseTombstone(raw); ok {
				return stone.Digest.String()
			}
		}
	}
	w.t.Fatal("nothing was removed")
	return ""
}

// A repository that moved as a whole answers as it did.
func TestCopyHistory(t *testing.T) {
	for name, opts := range map[string][2]testreg.Options{
		"with the API": {}, "to one without": {{}, {NoReferrers: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, opts[0], opts[1])
			p.lived()
			dead := p.deadOf()
			want := p.answers(p.ref("org/m"), dead)
			res, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&hub.CopiedHistory{Unnamed: 2, Tombstones: 1, Logs: 1, Moves: 2, Record: true}, res.History); diff != "" {
				t.Error(diff)
			}
			if res.Versions != 5 || res.Reference != p.other.Host+"/new/m" {
				t.Errorf("%+v", res)
			}
			equalAnswers(t, want, p.answers(p.to("new/m"), dead))

			// Again, nothing is to be done.
			p.other.Reset()
			again, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true})
			if n, tags := p.pushed(); err != nil || again.CopiedBytes != 0 || n != 0 || len(tags) > 0 {
				t.Errorf("again: %+v, %v; %d bytes and the tags %v were sent", again, err, n, tags)
			}
		})
	}
}

// A copy that was stopped anywhere goes on, and moves of an alias are not logged
// once more by the record that has arrived.
func TestCopyHistoryGoesOn(t *testing.T) {
	t.Parallel()
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.lived()
	dead := p.deadOf()
	for _, tag := range []string{"_k\\.", "_l\\.", "_log\\.prod", "prod", "_modelreg"} {
		p.other.Reset()
		p.other.Add(testreg.Rule{Method: http.MethodPut, Path: "/manifests/" + tag, Do: testreg.Status(403, nil, "")})
		if _, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true}); err == nil {
			t.Errorf("it went on without %s", tag)
		}
		p.other.Reset()
	}
	if _, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true}); err != nil {
		t.Fatal(err)
	}
	equalAnswers(t, p.answers(p.ref("org/m"), dead), p.answers(p.to("new/m"), dead))

	// The source goes on, and the copy follows.
	p.commit("org/m:main", "four", hub.Committing{Message: "four"})
	p.promote("org/m:main", may3.Add(2*time.Hour), hub.PromoteOptions{Message: "third"})
	_, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true})
	wantErr(t, err, hub.ErrTaken)
	if _, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true, OnConflict: hub.ConflictOverwrite}); err != nil {
		t.Fatal(err)
	}
	equalAnswers(t, p.answers(p.ref("org/m"), dead), p.answers(p.to("new/m"), dead))
}

// An archive holds a repository as a whole, and gives it back.
func TestCopyHistoryByArchive(t *testing.T) {
	t.Parallel()
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.lived()
	dead := p.deadOf()
	for _, place := range []string{"file://" + filepath.ToSlash(t.TempDir()) + "/m.tar", "layout://" + filepath.ToSlash(t.TempDir()) + "/m"} {
		if _, err := p.Copy(t.Context(), p.ref("org/m"), reference(t, place), hub.CopyOptions{History: true}); err != nil {
			t.Fatal(err)
		}
		name := "from/" + place[:4]
		if _, err := p.Copy(t.Context(), reference(t, place), p.to(name), hub.CopyOptions{History: true}); err != nil {
			t.Fatal(err)
		}
		equalAnswers(t, p.answers(p.ref("org/m"), dead), p.answers(p.to(name), dead))
	}
}

// A record and a log that are there already are not lost.
func TestCopyHistoryConflicts(t *testing.T) {
	t.Parallel()
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.lived()
	if _, err := p.SetRecord(t.Context(), p.to("new/m"), nil, func(r *record.Record) error { r.Notice = "ours"; return nil }); err != nil {
		t.Fatal(err)
	}
	p.other.Reset()
	_, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true})
	wantErr(t, err, hub.ErrTaken)
	if n, tags := p.pushed(); n != 0 || len(tags) > 0 {
		t.Errorf("%d bytes and the tags %v were sent", n, tags)
	}
	res, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true, OnConflict: hub.ConflictSkip})
	if err != nil || res.History.Record || !strings.Contains(strings.Join(res.Notes, "\n"), "its record is another there") {
		t.Errorf("skipping: %+v, %v", res, err)
	}
	if said, err := p.Record(t.Context(), p.to("new/m")); err != nil || said.Record.Notice != "ours" {
		t.Errorf("record %+v, %v", said, err)
	}
}

// What another writer makes of a record or a log while blobs move is not lost; nor is
// a version that comes back meanwhile, whatever may be overwritten.
func TestCopyHistoryConflictsMeanwhile(t *testing.T) {
	for tag, rule := range map[string]hub.Conflict{
		record.Tag: hub.ConflictFail, record.TipTag("prod"): hub.ConflictSkip, "_k.": hub.ConflictOverwrite,
	} {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, testreg.Options{}, testreg.Options{})
			p.lived()
			raw := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
			theirs := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, raw)
			repo, err := p.client.Repository(p.other.Host + "/new/m")
			if err != nil {
				t.Fatal(err)
			}
			if tag == "_k." {
				tag = keepTag(p.deadOf())
			}
			set := func() error { return repo.PushManifest(t.Context(), theirs, raw, tag) }
			if tag == record.Tag {
				set = func() error {
					_, err := hub.New(hub.Options{Remote: p.client}).SetRecord(t.Context(), p.to("new/m"), nil, func(r *record.Record) error { r.Notice = "theirs"; return nil })
					theirs, _ = repo.Resolve(t.Context(), tag)
					return err
				}
			}
			var once sync.Once
			p.observe = func(transfer.Event) {
				once.Do(func() {
					if err := set(); err != nil {
						t.Error(err)
					}
				})
			}
			_, err = p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true, OnConflict: rule})
			wantErr(t, err, hub.ErrConflict)
			if now, err := repo.Resolve(t.Context(), tag); err != nil || now.Digest != theirs.Digest {
				t.Errorf("%s is %s, %v; want theirs", tag, now.Digest, err)
			}
		})
	}
}

// What is said to be kept about a repository is bounded before it is read.
func TestCopyHistoryBounds(t *testing.T) {
	t.Parallel()
	large := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[],"annotations":{"a":"` + strings.Repeat("a", 4<<20-200) + `"}}`)
	for name, n := range map[string]int{"tags": 20_001, "bytes": 200} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, testreg.Options{}, testreg.Options{})
			tags := make([]string, n)
			for i := range tags {
				tags[i] = fmt.Sprintf("_k.%040d", i)
			}
			list, err := json.Marshal(map[string]any{"name": "org/m", "tags": tags})
			if err != nil {
				t.Fatal(err)
			}
			var asked atomic.Int64
			p.srv.Add(testreg.Rule{Path: "/tags/list", Do: testreg.Status(200, map[string]string{"Content-Type": "application/json"}, string(list))})
			p.srv.Add(testreg.Rule{Path: "/manifests/_k\\.", Do: func(x testreg.Exchange) {
				asked.Add(1)
				x.W.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
				_, _ = x.W.Write(large)
			}})
			_, err = p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true})
			wantErr(t, err, errdef.ErrSizeExceedsLimit)
			if n := asked.Load(); n > 80 {
				t.Errorf("%d manifests of 4 MiB were read", n)
			}
		})
	}
}

// Tags that lead to nothing that they should are left out, and versions that nobody
// has signed where a signature is asked for, unless one follows them that is signed.
func TestCopyHistoryLeavesOut(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	p.commit("org/m:main", "one", hub.Committing{Message: "one"})
	p.commit("org/m:main", "two", hub.Committing{Message: "two"})
	orphan := p.push("org/m:side", "orphan")
	if _, err := p.DeleteBranch(t.Context(), p.ref("org/m"), "side"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Sign(t.Context(), p.ref("org/m:main"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	_, raw := p.manifest("org/m", "main")
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	forged := []string{"_l.00000001.0123456789abcdef.prod", "_log.prod", "_k." + strings.Repeat("0", 40), "_modelreg"}
	if err := p.repo("org/m").PushManifest(t.Context(), desc, raw, forged...); err != nil {
		t.Fatal(err)
	}
	res, err := p.Copy(t.Context(), p.ref("org/m"), p.to("new/m"), hub.CopyOptions{History: true, Trust: alice().trust})
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(res.Notes, "\n")
	for _, left := range append(forged, orphan.Digest) {
		if !strings.Contains(notes, left) {
			t.Errorf("notes %q say nothing of %s", notes, left)
		}
	}
	repo, err := p.client.Repository(p.other.Host + "/new/m")
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for tag, err := range repo.Tags(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
	}
	for _, left := range append(forged, keepTag(orphan.Digest)) {
		if slices.Contains(tags, left) {
			t.Errorf("%s was copied", left)
		}
	}
	if res.Versions != 2 || res.Verified == nil {
		t.Errorf("%+v", res)
	}
}
