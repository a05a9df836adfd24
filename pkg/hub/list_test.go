package hub_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

func TestVersions(t *testing.T) {
	w := newWorld(t)
	signer := alice().signer
	res := w.push("org/m:v1", "one")
	w.push("org/m:feature/x", "two")
	for _, format := range []signing.Format{signing.Bundle, signing.Classic} { // tags of their own
		if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), signer, signing.SignOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.Versions(t.Context(), w.ref("org/m"), false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"feature/x", "v1"}, tagsOf(got)); diff != "" {
		t.Errorf("tags: %s", diff)
	}
	if got[1].Digest != res.Digest || got[1].Size != res.Size {
		t.Errorf("v1 = %+v, want digest %s and %d bytes", got[1], res.Digest, res.Size)
	}

	names, err := w.Tags(t.Context(), w.ref("org/m"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"feature/x", "v1"}, names); diff != "" {
		t.Errorf("Tags: %s", diff)
	}

	all, err := w.Versions(t.Context(), w.ref("org/m"), true)
	if err != nil {
		t.Fatal(err)
	}
	hidden := strings.Join(tagsOf(all), " ")
	for _, want := range []string{keepTag(res.Digest), ".sig"} {
		if !strings.Contains(hidden, want) {
			t.Errorf("with all, tags are %s: %s is missing", hidden, want)
		}
	}
}

func TestVersionsOverlooksTagsThatGo(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.push("org/m:going", "two")
	w.srv.Add(testreg.Rule{Path: "/manifests/going$", Do: testreg.Status(404, nil, "")})
	got, err := w.Versions(t.Context(), w.ref("org/m"), false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"v1"}, tagsOf(got)); diff != "" {
		t.Error(diff)
	}
}

func TestListsOfNothing(t *testing.T) {
	w := newWorld(t)
	_, err := w.Versions(t.Context(), w.ref("org/m"), false)
	wantErr(t, err, errdef.ErrNotFound)
	_, err = w.Tags(t.Context(), w.ref("org/m"))
	wantErr(t, err, errdef.ErrNotFound)
	_, err = w.Files(t.Context(), w.ref("org/m"))
	wantErr(t, err, errdef.ErrNotFound)
	repos, err := w.Repositories(t.Context(), w.srv.Host, "")
	if err != nil || repos == nil || len(repos) > 0 {
		t.Errorf("Repositories = %#v, %v; want an empty list, which is [] in JSON", repos, err)
	}
}

func TestRepositories(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"org/a", "org/b/c", "organic/d", "org"} {
		w.push(name+":v1", name)
	}
	tests := map[string][]string{
		"":      {"org", "org/a", "org/b/c", "organic/d"},
		"org":   {"org", "org/a", "org/b/c"},
		"org/b": {"org/b/c"},
		"or":    nil,
	}
	for prefix, want := range tests {
		t.Run(prefix, func(t *testing.T) {
			repos, err := w.Repositories(t.Context(), w.srv.Host, prefix)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range repos {
				got = append(got, strings.TrimPrefix(r.Repository, w.srv.Host+"/"))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	w := newWorld(t)
	model := t.TempDir()
	names := testmodel.Write(t, model)
	if _, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := w.Files(t.Context(), w.ref("org/m:v1"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range list {
		got = append(got, f.Path)
		if f.Mode != "0644" || !strings.HasPrefix(f.Digest, "sha256:") {
			t.Errorf("file %+v", f)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Error(diff)
	}
}

func TestInspect(t *testing.T) {
	w := newWorld(t)
	signer := alice().signer
	model := t.TempDir()
	testmodel.Write(t, model)
	pushed, err := w.Push(t.Context(), model, w.ref("org/m:v1"), hub.PushOptions{Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Inspect(t.Context(), w.ref("org/m:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != pushed.Digest || got.Size != pushed.Size || got.Format != "modelpack" || got.Signatures != 1 || len(got.Problems) > 0 {
		t.Errorf("inspection = %+v", got)
	}
	if m := got.Model; m.Architecture != "LlamaForCausalLM" || m.Task != "text-generation" || m.Library != "transformers" || m.ContextLength != 2048 {
		t.Errorf("model = %+v", m)
	}
	if !bytes.Contains(got.Card, []byte(`"apache-2.0"`)) {
		t.Errorf("card = %s", got.Card)
	}
	var text strings.Builder
	if ok, err := got.CardText(&text, card.TextOptions{}); !ok || err != nil || !strings.Contains(text.String(), "A model for tests") {
		t.Errorf("CardText = %v, %v: %q", ok, err, text.String())
	}
}

func TestInspectPoor(t *testing.T) {
	tests := map[string]struct {
		files    files
		card     string
		problem  string
		cardText bool
	}{
		"no card":        {files{"notes.txt": "x"}, "{}", "", false},
		"broken card":    {files{"README.md": "---\nlicense: [apache\n---\n# Tiny\n"}, "{}", "card: ", true},
		"not YAML":       {files{"README.md": "---\n\tx\n---\nbody"}, "{}", "card: ", true},
		"broken weights": {files{"model.safetensors": "\xff\xff\xff\xff\xff\xff\xff\xff{}"}, "{}", "model.safetensors: ", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.Push(t.Context(), dir(t, tt.files), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
				t.Fatal(err)
			}
			got, err := w.Inspect(t.Context(), w.ref("org/m:v1"))
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Card) != tt.card {
				t.Errorf("card = %s, want %s", got.Card, tt.card)
			}
			if problems := strings.Join(got.Problems, "\n"); !strings.HasPrefix(problems, tt.problem) || (tt.problem == "") != (problems == "") {
				t.Errorf("problems = %q, want %q", problems, tt.problem)
			}
			if ok, err := got.CardText(&bytes.Buffer{}, card.TextOptions{}); ok != tt.cardText || err != nil {
				t.Errorf("CardText = %v, %v, want %v", ok, err, tt.cardText)
			}
		})
	}
}

func TestInspectWithoutReferrers(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.srv.Add(testreg.Rule{Path: "/referrers/|/manifests/sha256-", Do: testreg.Status(403, nil, "")})
	got, err := w.Inspect(t.Context(), w.ref("org/m:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != 1 || !strings.Contains(w.warned(), "not known") {
		t.Errorf("inspection = %+v; want the files, and a warning", got)
	}
}

func TestInspectCancelled(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	ctx, cancel := context.WithCancel(t.Context())
	w.srv.Add(testreg.Rule{Path: "/referrers/", Do: func(x testreg.Exchange) {
		cancel()
		testreg.Hang()(x)
	}})
	_, err := w.Inspect(ctx, w.ref("org/m:v1"))
	wantErr(t, err, context.Canceled)
	if got := w.warned(); got != "" {
		t.Errorf("warnings: %s", got)
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	signer, trust := alice().signer, alice().trust
	stranger := stranger().trust
	w.push("org/m:signed", "one")
	w.push("org/m:plain", "two")
	if _, err := w.Sign(t.Context(), w.ref("org/m:signed"), signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		tag   string
		trust *signing.Trust
		want  error
	}{
		"signed":       {"signed", trust, nil},
		"wrong key":    {"signed", stranger, signing.ErrUntrusted},
		"no signature": {"plain", trust, signing.ErrNoSignature},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := w.Verify(t.Context(), w.ref("org/m:"+tt.tag), *tt.trust, hub.VerifyOptions{})
			wantErr(t, err, tt.want)
			if res.Verified != (tt.want == nil) || (len(res.Failures) > 0) != (tt.want != nil) {
				t.Errorf("result = %+v", res)
			}
		})
	}
	_, err := w.Verify(t.Context(), w.ref("org/m:none"), *trust, hub.VerifyOptions{})
	wantErr(t, err, errdef.ErrNotFound)
}
