package hub_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

var may3 = time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)

// released pushes versions v1, v2 … and protects prod.
func (w *world) released(n int) []string {
	w.t.Helper()
	var digests []string
	for i := range n {
		v := string(rune('1' + i))
		digests = append(digests, w.push("org/m:v"+v, "version "+v).Digest)
	}
	w.says(func(r *record.Record) { r.Protected = []string{"prod"} })
	return digests
}

func (w *world) promote(from string, at time.Time, opts hub.PromoteOptions) *hub.PromoteResult {
	w.t.Helper()
	opts.Now = at
	res, err := w.Promote(w.t.Context(), w.ref(from), w.ref("org/m:prod"), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func TestWhereAnAliasWas(t *testing.T) {
	w := newWorld(t)
	d := w.released(2)
	w.promote("org/m:v1", may3, hub.PromoteOptions{Message: "first"})
	w.promote("org/m:v2", may3.Add(time.Hour), hub.PromoteOptions{Message: "second", Author: "me"})
	if _, err := w.Untag(t.Context(), w.ref("org/m:prod"), hub.TagOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if got := w.digestOf("org/m", "prod"); got != "" {
		t.Errorf("prod is at %s after it was deleted", got)
	}
	was := w.ref("org/m:prod")
	was.Revision = "@{2026-05-03}"
	if res, err := w.Resolve(t.Context(), was); err != nil || res.Digest != d[1] {
		t.Errorf("where prod was before it was deleted = %+v, %v; want %s", res, err, d[1])
	}
	was.Revision = "@{2099-01-01}"
	_, err := w.Resolve(t.Context(), was)
	wantErr(t, err, errdef.ErrNotFound)
	w.promote("org/m:v1", time.Now(), hub.PromoteOptions{})
	for at, want := range map[string]string{"2026-05-03T12:00:00Z": d[0], "2026-05-03T12:30:00Z": d[0], "2026-05-03": d[1]} {
		r := w.ref("org/m:prod")
		r.Revision = "@{" + at + "}"
		if res, err := w.Resolve(t.Context(), r); err != nil || res.Digest != want {
			t.Errorf("prod at %s = %+v, %v; want %s", at, res, err, want)
		}
	}
	r := w.ref("org/m:prod")
	r.Revision = "@{2026-05-02}"
	_, err = w.Resolve(t.Context(), r)
	wantErr(t, err, errdef.ErrNotFound)

	log, err := w.AliasLog(t.Context(), w.ref("org/m:prod"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	type move struct {
		seq       int
		from, to  string
		msg, name string
	}
	var got []move
	for _, e := range log.Entries {
		got = append(got, move{e.Seq, e.From, e.To, e.Message, e.Author})
	}
	want := []move{{4, "", d[0], "", ""}, {3, d[1], "", "", ""}, {2, d[0], d[1], "second", "me"}, {1, "", d[0], "first", ""}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(move{})); diff != "" || !log.Whole || len(log.Problems) > 0 {
		t.Errorf("log: %s whole %v, problems %v", diff, log.Whole, log.Problems)
	}
	if short, err := w.AliasLog(t.Context(), w.ref("org/m:prod"), nil, 2); err != nil || len(short.Entries) != 2 || short.Whole || len(short.Problems) > 0 {
		t.Errorf("two entries = %+v, %v", short, err)
	}
	_, err = w.AliasLog(t.Context(), w.ref("org/m:v1"), nil, 0)
	wantErr(t, err, errdef.ErrNotFound)
}

func TestLogTells(t *testing.T) {
	w := newWorld(t)
	d := w.released(3)
	w.promote("org/m:v1", may3, hub.PromoteOptions{Signer: alice().signer})
	w.promote("org/m:v2", may3.Add(time.Hour), hub.PromoteOptions{Signer: stranger().signer})
	log, err := w.AliasLog(t.Context(), w.ref("org/m:prod"), alice().trust, 0)
	if err != nil || len(log.Entries) != 2 || len(log.Entries[0].Signers) != 0 || len(log.Entries[1].Signers) != 1 ||
		log.Entries[0].Signed != hub.SignedOther || log.Entries[1].Signed != hub.SignedTrusted {
		t.Errorf("log = %+v, %v; want the first move signed by a trusted key, and the second not", log, err)
	}
	// Another tool moves the alias.
	desc, raw := w.manifest("org/m", d[2])
	if err := w.repo("org/m").PushManifest(t.Context(), desc, raw, "prod"); err != nil {
		t.Fatal(err)
	}
	if log, err = w.AliasLog(t.Context(), w.ref("org/m:prod"), nil, 0); err != nil || !strings.Contains(strings.Join(log.Problems, ""), "its log ends at "+d[1]) {
		t.Errorf("problems = %v, %v", log.Problems, err)
	}
	res := w.promote("org/m:v1", may3.Add(2*time.Hour), hub.PromoteOptions{})
	if !strings.Contains(strings.Join(res.Move.Notes, ""), "moved without the log") {
		t.Errorf("notes = %v", res.Move.Notes)
	}
	// An entry goes.
	for _, tag := range w.logTags() {
		if strings.HasPrefix(tag, "_l.00000002") {
			if err := w.repo("org/m").Untag(t.Context(), tag); err != nil {
				t.Fatal(err)
			}
		}
	}
	if log, err = w.AliasLog(t.Context(), w.ref("org/m:prod"), nil, 0); err != nil || !strings.Contains(strings.Join(log.Problems, ""), "it was removed") {
		t.Errorf("problems = %v, %v", log.Problems, err)
	}
	// Something else stands where an entry should.
	if err := w.repo("org/m").PushManifest(t.Context(), desc, raw, record.EntryTag("prod", 9, desc.Digest)); err != nil {
		t.Fatal(err)
	}
	if log, err = w.AliasLog(t.Context(), w.ref("org/m:prod"), nil, 0); err != nil || !strings.Contains(strings.Join(log.Problems, ""), "is no entry of this log") {
		t.Errorf("problems = %v, %v", log.Problems, err)
	}
}

func TestRollback(t *testing.T) {
	w := newWorld(t)
	d := w.released(3)
	for i, v := range []string{"v1", "v2", "v3"} {
		w.promote("org/m:"+v, may3.Add(time.Duration(i)*time.Hour), hub.PromoteOptions{})
	}
	back := func(opts hub.RollbackOptions) string {
		t.Helper()
		res, err := w.Rollback(t.Context(), w.ref("org/m:prod"), opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.digestOf("org/m", "prod"); got != res.Digest {
			t.Errorf("prod is at %s, and the result says %s", got, res.Digest)
		}
		return res.Digest
	}
	for _, want := range []string{d[1], d[0]} { // each goes further back
		if got := back(hub.RollbackOptions{}); got != want {
			t.Errorf("rolled back to %s, want %s", got, want)
		}
	}
	_, err := w.Rollback(t.Context(), w.ref("org/m:prod"), hub.RollbackOptions{})
	wantErr(t, err, errdef.ErrNotFound)

	w.promote("org/m:v2", may3, hub.PromoteOptions{})
	w.promote("org/m:v3", may3, hub.PromoteOptions{})
	w.state("org/m:v2", alice(), record.Yanked, "bad")
	if got := back(hub.RollbackOptions{}); got != d[0] {
		t.Errorf("rolled back to %s, want what was not yanked", got)
	}
	w.promote("org/m@"+d[2], may3, hub.PromoteOptions{})
	w.state("org/m:v1", alice(), record.Yanked, "bad too")
	_, err = w.Rollback(t.Context(), w.ref("org/m:prod"), hub.RollbackOptions{})
	wantErr(t, err, policy.ErrYanked)
	if got := back(hub.RollbackOptions{Force: true}); got != d[0] {
		t.Errorf("forced back to %s, want %s", got, d[0])
	}
	_, err = w.Rollback(t.Context(), w.ref("org/m:v1"), hub.RollbackOptions{})
	wantErr(t, err, errdef.ErrNotFound)
}

func TestPromoteSummary(t *testing.T) {
	w := newWorld(t)
	d := w.released(1)
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Promote(t.Context(), w.ref("org/m:v1"), w.ref("org/m:prod"), hub.PromoteOptions{Trust: stranger().trust, Signer: stranger().signer})
	wantErr(t, err, signing.ErrUntrusted)
	if got := w.digestOf("org/m", "prod"); got != "" {
		t.Fatalf("prod is at %s", got)
	}
	res := w.promote("org/m:v1", may3, hub.PromoteOptions{Trust: alice().trust, Signer: stranger().signer, Verifier: "https://ci.example"})
	if res.Digest != d[0] || res.Summary == "" || res.Move.Signed != 1 {
		t.Errorf("Promote = %+v", res)
	}
	verified, err := w.Verify(t.Context(), w.ref("org/m:prod"), *stranger().trust, hub.VerifyOptions{
		Attestations: []string{hub.PredicateVSA}, AttestationsOnly: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var vsa struct {
		Verifier           struct{ ID string }
		TimeVerified       string
		ResourceURI        string
		VerificationResult string
		Policy             struct{ URI string }
		InputAttestations  []struct{ Digest map[string]string }
	}
	if err := json.Unmarshal(verified.Attestations[0].Predicate, &vsa); err != nil {
		t.Fatal(err)
	}
	if vsa.Verifier.ID != "https://ci.example" || vsa.TimeVerified != "2026-05-03T12:00:00Z" || vsa.VerificationResult != "PASSED" ||
		vsa.ResourceURI != "oci://"+w.srv.Host+"/org/m:prod" || len(vsa.InputAttestations) != 1 || vsa.Policy.URI != "key" {
		t.Errorf("summary = %+v", vsa)
	}
	if res := w.promote("org/m:v1", may3, hub.PromoteOptions{Signer: alice().signer}); res.Summary != "" || res.Move.Changed {
		t.Errorf("Promote = %+v; want nothing stated where nothing was verified, and nothing moved", res)
	}
}

// What policies say of the alias decides.
func TestPromoteByPolicy(t *testing.T) {
	w := newWorld(t)
	w.released(1)
	p, err := policy.Parse([]byte(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: no}
spec:
  images: [{glob: "**/org/m"}]
  authorities: [{name: never, static: {action: fail, message: no}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	strict := hub.New(hub.Options{Remote: w.client, Rules: rules(hub.Rules{Policies: []*policy.Policy{p}})})
	_, err = strict.Promote(t.Context(), w.ref("org/m:v1"), w.ref("org/m:prod"), hub.PromoteOptions{})
	wantErr(t, err, policy.ErrRefused)
	if got := w.digestOf("org/m", "prod"); got != "" {
		t.Errorf("prod is at %s", got)
	}
}

func TestPromoteToAnotherRepository(t *testing.T) {
	w, there := newWorld(t), testreg.New(t, testreg.Options{})
	d := w.released(1)
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	dst := hostRef(t, there.Host+"/live/m:prod")
	res, err := w.Promote(t.Context(), w.ref("org/m:v1"), dst, hub.PromoteOptions{Trust: alice().trust, Signer: alice().signer})
	if err != nil || res.Digest != d[0] || res.Copied == nil || res.Copied.Verified == nil || res.Summary == "" {
		t.Fatalf("Promote = %+v, %v", res, err)
	}
	if _, err := w.Pull(t.Context(), dst, t.TempDir(), hub.PullOptions{Trust: alice().trust}); err != nil {
		t.Errorf("pull from there: %v", err)
	}
	w.state("org/m:v1", alice(), record.Yanked, "bad")
	_, err = w.Promote(t.Context(), w.ref("org/m:v1"), hostRef(t, there.Host+"/live/m:next"), hub.PromoteOptions{})
	wantErr(t, err, policy.ErrYanked)
}

// A slip of the name makes no alias, before anything is copied.
func TestPromoteToASlip(t *testing.T) {
	w := newWorld(t)
	d := w.released(1)
	w.push("org/live:v0", "older")
	if _, err := w.SetRecord(t.Context(), w.ref("org/live"), nil, func(r *record.Record) error {
		r.Protected, r.Immutable = []string{"prod", "edge-*"}, []string{"v*"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		to   string
		opts hub.PromoteOptions
		fine bool
	}{
		"here":            {to: "org/m:prdo"},
		"there":           {to: "org/live:prdo"},
		"on purpose":      {to: "org/live:canary", opts: hub.PromoteOptions{Create: true}, fine: true},
		"by a pattern":    {to: "org/live:edge-1", fine: true},
		"a release":       {to: "org/live:v1", fine: true},
		"nothing is said": {to: "org/other:prdo", fine: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dst := w.ref(tt.to)
			_, err := w.Promote(t.Context(), w.ref("org/m:v1"), dst, tt.opts)
			if tt.fine {
				if err != nil || w.digestOf(dst.Repository, dst.Tag) != d[0] {
					t.Errorf("Promote = %v", err)
				}
				return
			}
			wantErr(t, err, errdef.ErrNotFound)
			if e, ok := errors.AsType[*hub.MissingError](err); !ok || e.What != hub.MissingAlias || e.Tag != "prdo" || e.Tags[0] != "prod" {
				t.Errorf("error = %#v, want one that names what is protected", err)
			}
			if w.digestOf(dst.Repository, "prdo") != "" {
				t.Error("the tag is there")
			}
		})
	}
}

func TestSetTags(t *testing.T) {
	w := newWorld(t)
	d := w.released(2)
	set := func(tag string, opts hub.TagOptions) (*hub.TagResult, error) {
		return w.SetTags(t.Context(), w.ref("org/m:v2"), []string{"new", tag}, opts)
	}
	_, err := set("v1", hub.TagOptions{})
	wantErr(t, err, hub.ErrConflict)
	if errors.Is(err, hub.ErrImmutable) || w.digestOf("org/m", "new") != "" {
		t.Errorf("error = %v, and new is at %q", err, w.digestOf("org/m", "new"))
	}
	if _, err := set("canary", hub.TagOptions{Protect: true}); err != nil {
		t.Fatal(err)
	}
	if res, err := set("v1", hub.TagOptions{Move: true}); err != nil || res.Moves[1].From != d[0] || res.Moves[0].Changed {
		t.Errorf("SetTags = %+v, %v", res, err)
	}
	list, err := w.ListTags(t.Context(), w.ref("org/m"))
	if err != nil {
		t.Fatal(err)
	}
	protected := map[string]bool{}
	for _, info := range list {
		protected[info.Tag] = info.Protected
	}
	if diff := cmp.Diff(map[string]bool{"canary": true, "new": true, "v1": false, "v2": false}, protected); diff != "" {
		t.Error(diff)
	}
	w.says(func(r *record.Record) { r.Immutable = []string{"v*"} })
	_, err = w.Untag(t.Context(), w.ref("org/m:v1"), hub.TagOptions{})
	wantErr(t, err, hub.ErrImmutable)
	_, err = w.Untag(t.Context(), w.ref("org/m:canary"), hub.TagOptions{})
	wantErr(t, err, hub.ErrProtected)
	_, err = w.DeleteBranch(t.Context(), w.ref("org/m"), "canary")
	wantErr(t, err, hub.ErrProtected)
	_, err = w.RenameBranch(t.Context(), w.ref("org/m"), "v1", "v9")
	wantErr(t, err, hub.ErrImmutable)
	_, err = w.Untag(t.Context(), w.ref("org/m:none"), hub.TagOptions{})
	wantErr(t, err, errdef.ErrNotFound)
	_, err = w.Untag(t.Context(), w.ref("org/m:_modelreg"), hub.TagOptions{})
	wantErr(t, err, hub.ErrUsage)
}

// A promotion back to an earlier version is a move like others: what was there
// between can be gone back to.
func TestRollbackAfterMoveBack(t *testing.T) {
	w := newWorld(t)
	d := w.released(2)
	for i, v := range []string{"v1", "v2", "v1"} {
		w.promote("org/m:"+v, may3.Add(time.Duration(i)*time.Hour), hub.PromoteOptions{})
	}
	for _, want := range []string{d[1], d[0]} {
		res, err := w.Rollback(t.Context(), w.ref("org/m:prod"), hub.RollbackOptions{})
		if err != nil || res.Digest != want {
			t.Fatalf("Rollback = %+v, %v; want %s", res, err, want)
		}
	}
	_, err := w.Rollback(t.Context(), w.ref("org/m:prod"), hub.RollbackOptions{})
	wantErr(t, err, errdef.ErrNotFound)
}

// A tag that the registry refuses to set was never set, whatever time is asked for.
func TestRefusedMove(t *testing.T) {
	w := newWorld(t)
	d := w.released(2)
	w.promote("org/m:v1", may3, hub.PromoteOptions{})
	w.srv.Add(testreg.Rule{Method: http.MethodPut, Path: "/manifests/prod$", From: 1, To: 1, Do: testreg.Status(http.StatusForbidden, nil, "")})
	if _, err := w.Promote(t.Context(), w.ref("org/m:v2"), w.ref("org/m:prod"), hub.PromoteOptions{Now: may3.Add(time.Hour)}); err == nil {
		t.Fatal("Promote succeeded")
	}
	w.promote("org/m:v2", may3.Add(3*time.Hour), hub.PromoteOptions{})
	for at, want := range map[string]string{"2026-05-03T14:00:00Z": d[0], "2026-05-03T16:00:00Z": d[1]} {
		r := w.ref("org/m:prod")
		r.Revision = "@{" + at + "}"
		if got, err := w.Resolve(t.Context(), r); err != nil || got.Digest != want {
			t.Errorf("prod at %s was %+v, %v; want %s", at, got, err, want)
		}
	}
	log, err := w.AliasLog(t.Context(), w.ref("org/m:prod"), nil, 0)
	if err != nil || len(log.Problems) != 0 || len(log.Entries) != 4 {
		t.Errorf("log = %+v, %v; want four entries without a problem", log, err)
	}
}

// A protected alias is not set to what was yanked by the other way either.
func TestTagYanked(t *testing.T) {
	w := newWorld(t)
	d := w.released(2)
	w.promote("org/m:v1", may3, hub.PromoteOptions{})
	w.state("org/m:v2", alice(), record.Yanked, "bad")
	_, err := w.SetTags(t.Context(), w.ref("org/m:v2"), []string{"prod"}, hub.TagOptions{Move: true})
	wantErr(t, err, policy.ErrYanked)
	if got := w.digestOf("org/m", "prod"); got != d[0] {
		t.Errorf("prod is at %s, want %s", got, d[0])
	}
	if _, err := w.SetTags(t.Context(), w.ref("org/m:v2"), []string{"prod"}, hub.TagOptions{Move: true, Force: true}); err != nil {
		t.Errorf("forced: %v", err)
	}
	if _, err := w.SetTags(t.Context(), w.ref("org/m:v2"), []string{"other"}, hub.TagOptions{}); err != nil {
		t.Errorf("a tag that is not protected: %v", err)
	}
}
