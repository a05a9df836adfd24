package hub_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestPush(t *testing.T) {
	w := newWorld(t)
	model := t.TempDir()
	names := testmodel.Write(t, model)
	res, err := w.Push(t.Context(), model, w.ref("org/tiny:v1"), hub.PushOptions{Tags: []string{"prod"}})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Created || res.Files != len(names) || res.UploadedBytes < res.Size || res.SkippedBytes != 0 {
		t.Errorf("first push: %+v", res)
	}
	if want := w.srv.Host + "/org/tiny:v1@" + res.Digest; res.Reference != want {
		t.Errorf("reference = %s, want %s", res.Reference, want)
	}
	for _, tag := range []string{"v1", "prod", keepTag(res.Digest)} {
		if got := w.digestOf("org/tiny", tag); got != res.Digest {
			t.Errorf("tag %s points to %q, want %s", tag, got, res.Digest)
		}
	}
}

func TestPushAgainSendsNothing(t *testing.T) {
	w := newWorld(t)
	model := dir(t, files{"a.txt": "one", "b.txt": "two"})
	push := func() *hub.PushResult {
		res, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := push()
	w.srv.Reset()
	again := push()
	if again.Created || again.UploadedBytes != 0 || again.Digest != first.Digest {
		t.Errorf("second push: %+v", again)
	}
	if sent := w.writes(); len(sent) > 0 {
		t.Errorf("second push sent %v", sent)
	}
}

func TestPushDryRun(t *testing.T) {
	w := newWorld(t)
	model := dir(t, files{"a.txt": "one"})
	dry, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	// The version would follow the one that the tag points to.
	if asked := w.srv.Requests(); len(asked) != 1 || asked[0].Method != "GET" || dry.Created {
		t.Errorf("dry run: requests %v, created = %v", asked, dry.Created)
	}
	wet, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if dry.Reference != wet.Reference {
		t.Errorf("dry run promised %s, push made %s", dry.Reference, wet.Reference)
	}
}

func TestPushToBranch(t *testing.T) {
	w := newWorld(t)
	res := w.push("org/m:feature/x", "one")
	if got := w.digestOf("org/m", "_b.feature__x"); got != res.Digest {
		t.Errorf("branch points to %q, want %s", got, res.Digest)
	}
	got, err := w.Resolve(t.Context(), w.ref("org/m:feature/x"))
	if err != nil || got.Digest != res.Digest {
		t.Errorf("Resolve = %+v, %v", got, err)
	}
}

func TestPushRefuses(t *testing.T) {
	w := newWorld(t)
	hex := strings.Repeat("ab", 32)
	tests := map[string]struct {
		ref  string
		tags []string
		want error
	}{
		"digest":        {ref: "org/m@sha256:" + hex, want: hub.ErrUsage},
		"prefix":        {ref: "org/m@" + hex[:12], want: hub.ErrUsage},
		"range":         {ref: `org/m:"^1.0"`, want: hub.ErrUsage},
		"variant":       {ref: "org/m:v1#q4", want: hub.ErrUsage},
		"path":          {ref: "org/m:v1//a.txt", want: hub.ErrUsage},
		"keep-tag":      {ref: "org/m:v1", tags: []string{"_k." + hex[:40]}, want: hub.ErrUsage},
		"fallback tag":  {ref: "org/m:sha256-" + hex, want: hub.ErrUsage},
		"record":        {ref: "org/m:_modelreg", want: hub.ErrUsage},
		"not a tag":     {ref: "org/m:v1", tags: []string{"a b"}, want: ref.ErrSyntax},
		"encoded again": {ref: "org/m:v1", tags: []string{"_b.x__y"}, want: ref.ErrSyntax},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := w.Push(t.Context(), dir(t, files{"a.txt": "one"}), w.ref(tt.ref), hub.PushOptions{Tags: tt.tags})
			wantErr(t, err, tt.want)
		})
	}
	if sent := w.srv.Requests(); len(sent) > 0 {
		t.Errorf("refused pushes made %d requests", len(sent))
	}
}

func TestPushConflict(t *testing.T) {
	w := newWorld(t)
	theirs := w.push("org/m:theirs", "theirs")
	_, raw := w.manifest("org/m", "theirs")
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/manifests/main$", Do: another(raw)})

	model := dir(t, files{"notes.txt": "ours"})
	res, err := w.Push(t.Context(), model, w.ref("org/m:main"), hub.PushOptions{})
	wantErr(t, err, hub.ErrConflict)
	for _, tip := range []string{res.Digest, theirs.Digest} {
		if !strings.Contains(err.Error(), tip) {
			t.Errorf("error %q does not name %s", err, tip)
		}
	}
	if res.Created {
		t.Error("created = true for a tag that another has")
	}
	if got := w.digestOf("org/m", keepTag(res.Digest)); got != res.Digest {
		t.Error("the version that lost is not kept")
	}

	_, err = w.Tag(t.Context(), w.ref("org/m@"+res.Digest), "main")
	wantErr(t, err, hub.ErrConflict)
}

func TestPushMounts(t *testing.T) {
	w := newWorld(t)
	text := strings.Repeat("weights", 1000)
	w.push("org/base:v1", text)

	res := w.push("org/tuned:v1", text) // the store remembers org/base
	if res.MountedBytes < int64(len(text)) {
		t.Errorf("from the store: %d bytes mounted, %d uploaded; want all %d mounted", res.MountedBytes, res.UploadedBytes, len(text))
	}

	stranger := hub.New(hub.Options{Remote: w.client}) // remembers nothing
	for name, from := range map[string]string{"name": "org/base", "with host": w.srv.Host + "/org/base"} {
		t.Run(name, func(t *testing.T) {
			to := w.ref("org/" + strings.ReplaceAll(name, " ", "-") + ":v1")
			res, err := stranger.Push(t.Context(), dir(t, files{"notes.txt": text}), to, hub.PushOptions{MountFrom: []string{from}})
			if err != nil {
				t.Fatal(err)
			}
			if res.MountedBytes < int64(len(text)) {
				t.Errorf("%d bytes mounted, %d uploaded; want all %d mounted", res.MountedBytes, res.UploadedBytes, len(text))
			}
		})
	}
}

func TestPushSigns(t *testing.T) {
	w := newWorld(t)
	signer, trust := alice().signer, alice().trust
	model := dir(t, files{"a.txt": "one"})
	for i, want := range []int{1, 0} { // a key signs a version once
		res, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{Signer: signer})
		if err != nil {
			t.Fatal(err)
		}
		if res.Signatures != want {
			t.Errorf("push %d: %d signatures, want %d", i+1, res.Signatures, want)
		}
	}
	if _, err := w.Verify(t.Context(), w.ref("org/m:v1"), *trust, hub.VerifyOptions{}); err != nil {
		t.Error(err)
	}
}

func TestPushCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.observe = func(e transfer.Event) {
		if e.Action == transfer.Progress || e.Action == transfer.Done {
			cancel()
		}
	}
	_, err := w.Push(ctx, dir(t, files{"a.txt": "one"}), w.ref("org/m:v1"), hub.PushOptions{})
	wantErr(t, err, context.Canceled)
	if got := w.digestOf("org/m", "v1"); got != "" {
		t.Errorf("a push that was stopped set the tag to %s", got)
	}
}

func TestPushChangedFileIsRead(t *testing.T) {
	w := newWorld(t)
	model := dir(t, files{"a.txt": "one"})
	push := func() string {
		res, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return res.Digest
	}
	before := push()
	if err := os.WriteFile(filepath.Join(model, "a.txt"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	if push() == before {
		t.Error("a file that changed gave the digest it had before")
	}
}

func TestTag(t *testing.T) {
	w := newWorld(t)
	one, two := w.push("org/m:v1", "one"), w.push("org/m:v2", "two")
	names := []string{"prod", "feature/x"}
	res, err := w.Tag(t.Context(), w.ref("org/m:v1"), names...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"prod", "feature/x"}, names); diff != "" {
		t.Errorf("the caller's list changed: %s", diff)
	}
	if res.Digest != one.Digest {
		t.Errorf("digest = %s, want %s", res.Digest, one.Digest)
	}
	for _, tag := range []string{"prod", "_b.feature__x"} {
		if got := w.digestOf("org/m", tag); got != one.Digest {
			t.Errorf("%s points to %q, want %s", tag, got, one.Digest)
		}
	}
	if _, err := w.Tag(t.Context(), w.ref("org/m:v2"), "prod"); err != nil {
		t.Fatal(err)
	}
	if got := w.digestOf("org/m", "prod"); got != two.Digest {
		t.Errorf("prod points to %q after the move, want %s", got, two.Digest)
	}
}

func TestTagThatIsThereIsNotWritten(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.srv.Reset()
	if _, err := w.Tag(t.Context(), w.ref("org/m:v1"), "v1"); err != nil {
		t.Fatal(err)
	}
	if sent := w.writes(); len(sent) > 0 {
		t.Errorf("sent %v; a registry with immutable tags would refuse", sent)
	}
}

func TestTagSetsAllOrNone(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	_, err := w.Tag(t.Context(), w.ref("org/m:v1"), "good", "not good")
	wantErr(t, err, ref.ErrSyntax)
	if w.digestOf("org/m", "good") != "" {
		t.Error("a tag was set although another one is no tag")
	}
	_, err = w.Tag(t.Context(), w.ref("org/m:v9"), "good")
	wantErr(t, err, errdef.ErrNotFound)
}

func TestTagRefusedByRegistry(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/manifests/prod$", Do: testreg.Status(http.StatusConflict, nil, "")})
	if _, err := w.Tag(t.Context(), w.ref("org/m:v1"), "prod"); err == nil || !strings.Contains(err.Error(), "prod") {
		t.Errorf("error = %v, want one that names the tag", err)
	}
}

// A tag never points to a version that was to be signed and is not.
func TestPushSignsBeforeItTags(t *testing.T) {
	w := newWorld(t)
	model := dir(t, files{"a.txt": "one"})
	if _, err := w.Push(t.Context(), model, w.ref("org/m:prod"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	before, err := w.Resolve(t.Context(), w.ref("org/m:prod"))
	if err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/manifests/sha256:", From: 2, Do: testreg.Status(403, nil, "")})
	changed := dir(t, files{"a.txt": "two"})
	_, err = w.Push(t.Context(), changed, w.ref("org/m:prod"), hub.PushOptions{Signer: alice().signer})
	if err == nil {
		t.Fatal("the signature was refused, and the push says nothing")
	}
	after, err := w.Resolve(t.Context(), w.ref("org/m:prod"))
	if err != nil {
		t.Fatal(err)
	}
	if after.Digest != before.Digest {
		t.Error("the tag points to a version that is not signed")
	}
}
