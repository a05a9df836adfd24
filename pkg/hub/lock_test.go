package hub_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/signing"
)

// lockAs locks a reference in the world's registry.
func (w *world) lockAs(name, reference string, opts hub.LockOptions) hub.Locked {
	w.t.Helper()
	e, err := w.Lock(w.t.Context(), w.ref(reference), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return hub.Locked{Name: name, Entry: e}
}

func TestLock(t *testing.T) {
	w := newWorld(t)
	made := w.push("org/m:v1.0.0", "one")
	noon := time.Date(2026, 11, 22, 12, 0, 0, 999, time.UTC)
	files := lock.FilesDigest([]lock.ModelFile{})
	if list, err := w.Files(t.Context(), w.ref("org/m:v1.0.0")); err == nil {
		var all []lock.ModelFile
		for _, f := range list {
			all = append(all, lock.ModelFile{Path: f.Path, Size: f.Size, Digest: digest.Digest(f.Digest)})
		}
		files = lock.FilesDigest(all)
	}
	want := lock.Entry{Digest: digest.Digest(made.Digest), Files: files, Tag: "v1.0.0", Resolved: noon.Truncate(time.Second)}
	for in, reference := range map[string]string{
		"org/m:v1.0.0":                    "org/m:v1.0.0",
		`org/m:"^1"`:                      `org/m:"^1"`,
		"org/m@" + made.Digest[7:19]:      "org/m@" + made.Digest,
		"org/m:v1.0.0@" + made.Digest:     "org/m:v1.0.0@" + made.Digest,
		"org/m:~1.0.0":                    `org/m:"~1.0.0"`,
		"org/m@" + made.Digest:            "org/m@" + made.Digest,
		"org/m:v1.0.0@" + made.Digest[7:]: "org/m:v1.0.0@" + made.Digest,
	} {
		want := want
		want.Reference = w.ref(reference)
		if !strings.Contains(reference, ":v") && !strings.Contains(reference, `"`) {
			want.Tag = ""
		}
		got := w.lockAs("m", in, hub.LockOptions{Now: noon}).Entry
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	w.push("org/m:latest", "one")
	if got := w.lockAs("m", "org/m", hub.LockOptions{}); got.Reference != w.ref("org/m:latest") {
		t.Errorf("without a tag, %s is locked", got.Reference)
	}
	_, err := w.Lock(t.Context(), w.ref("org/m:v2"), hub.LockOptions{})
	wantErr(t, err, errdef.ErrNotFound)
}

// An index is locked with the model that was chosen from it, and no other is
// taken in its place.
func TestLockOfIndex(t *testing.T) {
	w := newWorld(t)
	one := w.push("org/m:one", "one")
	index := w.pushIndex("org/m", "v1", "one").Digest
	l := w.lockAs("m", "org/m:v1", hub.LockOptions{})
	if l.Digest != index || l.Variant.String() != one.Digest || l.Target() != l.Variant {
		t.Errorf("locked %s, variant %s; want %s, %s", l.Digest, l.Variant, index, one.Digest)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := w.Pull(t.Context(), w.ref("org/m:other"), dir, hub.PullOptions{Locked: &l}); err != nil {
		t.Error(err)
	}
	if _, err := w.CheckLocked(t.Context(), []hub.Locked{l}); err != nil {
		t.Error(err)
	}
	l.Variant = digest.FromString("another")
	_, err := w.Pull(t.Context(), w.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{Locked: &l})
	wantDrift(t, err, "variant")
}

func wantDrift(t *testing.T, err error, what string) {
	t.Helper()
	drift, ok := errors.AsType[*lock.DriftError](err)
	if !ok || drift.What != what {
		t.Errorf("error = %v, want drift of %s", err, what)
	}
}

// What differs from the entry is refused before anything is fetched.
func TestPullLocked(t *testing.T) {
	w := newWorld(t)
	trust, signer := alice().trust, alice().signer
	w.push("org/m:v1", "one")
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	good := w.lockAs("m", "org/m:v1", hub.LockOptions{Trust: trust})
	if !strings.HasPrefix(good.Signer, "key:") {
		t.Fatalf("signer %q", good.Signer)
	}
	w.push("org/m:v1", "two") // the tag has moved on, and nobody signed that
	tests := map[string]struct {
		change func(l *hub.Locked)
		what   string
	}{
		"as locked":       {func(*hub.Locked) {}, ""},
		"other files":     {func(l *hub.Locked) { l.Files = digest.FromString("x") }, "files"},
		"other variant":   {func(l *hub.Locked) { l.Variant = digest.FromString("x") }, "variant"},
		"other signer":    {func(l *hub.Locked) { l.Signer = "key:00" }, "signer"},
		"other issuer":    {func(l *hub.Locked) { l.Issuer = "https://issuer.example.com" }, "signer"},
		"unsigned locked": {func(l *hub.Locked) { l.Signer = "" }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := good
			tt.change(&l)
			dir := filepath.Join(t.TempDir(), "out")
			res, err := w.Pull(t.Context(), w.ref("org/m:v1"), dir, hub.PullOptions{Locked: &l, Trust: trust, NoStore: true})
			if tt.what == "" {
				if err != nil || res.Digest != good.Digest.String() {
					t.Errorf("%+v, %v", res, err)
				}
				return
			}
			wantDrift(t, err, tt.what)
			if _, err := os.Lstat(dir); err == nil {
				t.Error("the directory was made")
			}
		})
	}
	gone := good
	gone.Digest = digest.FromString("gone")
	_, err := w.Pull(t.Context(), w.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{Locked: &gone})
	wantErr(t, err, errdef.ErrNotFound)
}

func TestRelock(t *testing.T) {
	w := newWorld(t)
	trust, signer := alice().trust, alice().signer
	w.push("org/m:v1.0.0", "one")
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1.0.0"), signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	opts := hub.LockOptions{Trust: trust}
	l := w.lockAs("m", `org/m:">=1"`, opts)
	again, err := w.Relock(t.Context(), l, hub.LockOptions{Trust: trust, Now: l.Resolved.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.Entry, again); diff != "" {
		t.Errorf("nothing has changed, but the entry: %s", diff)
	}
	_, err = w.Relock(t.Context(), l, hub.LockOptions{})
	wantErr(t, err, hub.ErrUsage)

	held := l
	held.Policy = digest.FromString("policy")
	_, err = w.Relock(t.Context(), held, opts)
	wantErr(t, err, hub.ErrUsage) // a signature is not what the policy said

	w.push("org/m:v1.1.0", "two")
	_, err = w.Relock(t.Context(), l, opts)
	wantErr(t, err, signing.ErrNoSignature)
	if _, err := w.Sign(t.Context(), w.ref("org/m:v1.1.0"), signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	next, err := w.Relock(t.Context(), l, opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]digest.Digest{l.Digest}, next.Earlier); diff != "" || next.Tag != "v1.1.0" {
		t.Errorf("tag %s, earlier %s", next.Tag, diff)
	}
	back := hub.Locked{Name: "m", Entry: next}
	back.Reference = w.ref("org/m:v1.0.0")
	_, err = w.Relock(t.Context(), back, opts)
	wantErr(t, err, lock.ErrDowngrade)
	opts.AllowDowngrade = true
	if got, err := w.Relock(t.Context(), back, opts); err != nil || got.Digest != l.Digest || len(got.Earlier) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Each model has its answer, whatever the others have, and a registry that fails
// is no drift.
func TestCheckAndVerifyLocked(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1.0.0", "one")
	w.push("org/m:prod", "one")
	models := []hub.Locked{
		w.lockAs("tag", "org/m:v1.0.0", hub.LockOptions{}),
		w.lockAs("moved", "org/m:prod", hub.LockOptions{}),
		w.lockAs("newer", `org/m:"^1"`, hub.LockOptions{}),
	}
	gone := models[0]
	gone.Name, gone.Reference = "gone", w.ref("org/m:nothing")
	models = append(models, gone)
	two := w.push("org/m:prod", "two")
	w.push("org/m:v1.2.0", "two")
	got, err := w.CheckLocked(t.Context(), models)
	wantErr(t, err, lock.ErrDrift)
	var said []string
	for _, s := range got {
		said = append(said, strings.TrimSpace(s.Name+" "+s.Status+" "+s.Newer))
	}
	if diff := cmp.Diff([]string{"tag ok", "moved drift", "newer ok v1.2.0", "gone gone"}, said); diff != "" {
		t.Error(diff)
	}
	if got[1].Found != two.Digest {
		t.Errorf("found %s, want %s", got[1].Found, two.Digest)
	}
	if got, err := w.VerifyLocked(t.Context(), models[:3], hub.LockOptions{}); err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	w.srv.Add(testreg.Rule{Path: "/manifests/prod", Do: testreg.Status(403, nil, "")})
	got, err = w.CheckLocked(t.Context(), models[:2])
	if errors.Is(err, lock.ErrDrift) || err == nil || got[1].Status != "failed" || got[0].Status != "ok" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Another policy than the one that was locked under is told of, and so is none.
func TestLockedUnderAnotherPolicy(t *testing.T) {
	g := guard(t, newWorld(t), "")
	g.push("org/m:v1", "one")
	g.sign("org/m:v1", g.signer)
	entry, err := g.admits.Lock(t.Context(), g.ref("org/m:v1"), hub.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	locked := hub.Locked{Name: "m", Entry: entry}
	other := guard(t, g.world, "    about: another\n")
	for name, tt := range map[string]struct {
		by   *hub.Hub
		want string
	}{
		"the same": {g.admits, ""},
		"another":  {other.admits, "decides now"},
		"none":     {g.Hub, "no policy decides now"},
	} {
		g.warned()
		_, err := tt.by.Pull(t.Context(), locked.Pinned(), filepath.Join(t.TempDir(), "out"), hub.PullOptions{Locked: &locked})
		if err != nil {
			t.Fatal(err)
		}
		if got := g.warned(); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: told %q, want %q", name, got, tt.want)
		}
	}
}
