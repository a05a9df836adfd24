package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A guarded is a world with a policy that trusts one key.
type guarded struct {
	*world
	signer *signing.Signer
	policy *policy.Policy
	state  string
	admits *hub.Hub
}

// guard makes a policy of one document for all repositories, with these
// annotations.
func guard(t *testing.T, w *world, annotations string) *guarded {
	t.Helper()
	s := teamSigner()
	text := "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: models\n  annotations:\n    note: x\n" + annotations +
		"spec:\n  images: [{glob: \"**\"}]\n  authorities:\n  - name: team\n    key: {data: " + fmt.Sprintf("%q", s.Public().PEM()) + "}\n"
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{world: w, signer: s, policy: p, state: t.TempDir()}
	g.admits = hub.New(hub.Options{
		Remote: w.client, Store: w.store, Warn: w.warn, Rules: rules(hub.Rules{Policies: []*policy.Policy{p}}), Seen: signing.NewSeen(filepath.Join(g.state, "seen")),
	})
	return g
}

func rules(r hub.Rules) func(context.Context) (hub.Rules, error) {
	return func(context.Context) (hub.Rules, error) { return r, nil }
}

// Keys are slow to make, so that passwords are slow to guess.
var (
	teamSigner  = sync.OnceValue(newSigner)
	otherSigner = sync.OnceValue(newSigner)
)

func newSigner() *signing.Signer {
	private, _, err := signing.GenerateKeyPair(nil)
	if err != nil {
		panic(err)
	}
	s, err := signing.LoadSigner(private, nil)
	if err != nil {
		panic(err)
	}
	return s
}

func (g *guarded) sign(name string, s *signing.Signer) {
	g.t.Helper()
	if _, err := g.Sign(g.t.Context(), g.ref(name), s, signing.SignOptions{}); err != nil {
		g.t.Fatal(err)
	}
}

// uses are all the ways to bytes of a version.
func (g *guarded) uses(name string) map[string]func() error {
	ctx := g.t.Context()
	return map[string]func() error{
		"pull": func() error {
			_, err := g.admits.Pull(ctx, g.ref(name), filepath.Join(g.t.TempDir(), "out"), hub.PullOptions{})
			return err
		},
		"view": func() error {
			_, err := g.admits.View(ctx, g.ref(name), hub.ViewOptions{})
			return err
		},
		"pull --raw": func() error {
			_, err := g.admits.Pull(ctx, g.ref(name), filepath.Join(g.t.TempDir(), "out"), hub.PullOptions{Raw: true})
			return err
		},
		"pull --dry-run": func() error {
			_, err := g.admits.PlanPull(ctx, g.ref(name), filepath.Join(g.t.TempDir(), "out"), hub.PullOptions{})
			return err
		},
		"cat":         func() error { return g.admits.Cat(ctx, g.ref(name), "notes.txt", io.Discard) },
		"cat --range": func() error { return g.admits.CatRange(ctx, g.ref(name), "notes.txt", hub.Range{Last: 1}, io.Discard) },
	}
}

func TestPolicyAdmits(t *testing.T) {
	g := guard(t, newWorld(t), "")
	g.push("org/m:v1", "hello")
	g.sign("org/m:v1", g.signer)
	for name, use := range g.uses("org/m:v1") {
		if err := use(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	res, err := g.admits.Pull(t.Context(), g.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if v := res.Verified; v == nil || v.Policy != g.policy.String() || len(v.Signers) != 1 || v.Signers[0].KeyFingerprint != g.signer.Public().Fingerprint() {
		t.Errorf("verified = %+v", v)
	}
}

// What is not signed by whom the policy names is refused in every way that
// leads to bytes, and none of them is fetched.
func TestPolicyRefuses(t *testing.T) {
	g := guard(t, newWorld(t), "")
	g.push("org/unsigned:v1", "hello")
	g.push("org/wrong:v1", "hello")
	g.sign("org/wrong:v1", otherSigner())
	file := digest.FromString("hello").String()
	for _, name := range []string{"org/unsigned:v1", "org/wrong:v1"} {
		for way, use := range g.uses(name) {
			before := len(g.srv.Requests())
			err := use()
			refusal, ok := errors.AsType[*policy.Refusal](err)
			if !ok || !errors.Is(err, policy.ErrRefused) {
				t.Errorf("%s %s: error = %v, want a refusal", way, name, err)
				continue
			}
			if f := refusal.Decision.Failures(); len(f) != 1 || f[0].Rule != policy.RuleSignature {
				t.Errorf("%s %s: %+v", way, name, f)
			}
			for _, r := range g.srv.Requests()[before:] {
				if strings.Contains(r.Path, "/blobs/"+file) {
					t.Errorf("%s %s: fetched %s", way, name, r.Path)
				}
			}
		}
	}
	res, err := g.admits.Inspect(t.Context(), g.ref("org/unsigned:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Problems) != 1 || !strings.Contains(res.Problems[0], "refused by policy") {
		t.Errorf("problems = %q", res.Problems)
	}
}

// A registry that hides signatures makes nothing pass: what is not visible is
// not there, and an error is not an answer.
func TestPolicyHiddenSignatures(t *testing.T) {
	hides := map[string]struct {
		rules   []testreg.Rule
		refused bool
	}{
		"404":   {[]testreg.Rule{{Path: `/referrers/`, Do: testreg.Status(http.StatusNotFound, nil, "")}, {Path: `/manifests/sha256-`, Do: testreg.Status(http.StatusNotFound, nil, "")}}, true},
		"empty": {[]testreg.Rule{{Path: `/referrers/`, Do: emptyIndex}, {Path: `/manifests/sha256-`, Do: testreg.Status(http.StatusNotFound, nil, "")}}, true},
		"500":   {[]testreg.Rule{{Path: `/referrers/`, Do: testreg.Status(http.StatusInternalServerError, nil, "")}}, false},
	}
	for name, tt := range hides {
		t.Run(name, func(t *testing.T) {
			g := guard(t, newWorld(t), "")
			g.push("org/m:v1", "hello")
			g.sign("org/m:v1", g.signer)
			for _, r := range tt.rules {
				g.srv.Add(r)
			}
			out := filepath.Join(t.TempDir(), "out")
			_, err := g.admits.Pull(t.Context(), g.ref("org/m:v1"), out, hub.PullOptions{})
			if errors.Is(err, policy.ErrRefused) != tt.refused || err == nil {
				t.Errorf("error = %v, refused should be %v", err, tt.refused)
			}
			if !tt.refused && !errors.Is(err, remote.ErrUnreachable) {
				t.Errorf("error = %v, want that of the registry", err)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("something was written")
			}
		})
	}
}

func emptyIndex(x testreg.Exchange) {
	x.W.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	_, _ = io.WriteString(x.W, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
}

// A policy remembers where tags led, as a key does.
func TestPolicyRollback(t *testing.T) {
	g := guard(t, newWorld(t), "")
	first := g.push("org/m:v1", "one")
	g.sign("org/m:v1", g.signer)
	pull := func(opts hub.PullOptions) error {
		_, err := g.admits.Pull(t.Context(), g.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), opts)
		return err
	}
	if err := pull(hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	g.push("org/m:v1", "two")
	g.sign("org/m:v1", g.signer)
	if err := pull(hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Tag(t.Context(), g.ref("org/m@"+first.Digest), "v1"); err != nil {
		t.Fatal(err)
	}
	err := pull(hub.PullOptions{})
	if !errors.Is(err, signing.ErrRollback) || !errors.Is(err, policy.ErrRefused) {
		t.Errorf("error = %v, want a rollback", err)
	}
	if err := pull(hub.PullOptions{AllowDowngrade: true}); err != nil {
		t.Error(err)
	}
}

// An OpenSSF model signature is a condition besides.
func TestPolicyModelSignature(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/require-oms: \"true\"\n")
	g.push("org/m:v1", "hello")
	g.sign("org/m:v1", g.signer)
	pull := func() error {
		_, err := g.admits.Pull(t.Context(), g.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
		return err
	}
	oms := func(s *signing.Signer) {
		if _, err := g.SignFiles(t.Context(), g.ref("org/m:v1"), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := pull(); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("error = %v, want a refusal without one", err)
	}
	oms(otherSigner())
	if err := pull(); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("error = %v, want a refusal for one by somebody else", err)
	}
	oms(g.signer)
	if err := pull(); err != nil {
		t.Error(err)
	}
	// Of a layout too, which has no registry behind it.
	there := ref.Reference{Scheme: ref.SchemeLayout, Repository: t.TempDir(), Tag: "v1"}
	for _, way := range [][2]ref.Reference{{g.ref("org/m:v1"), there}, {there, g.ref("org/again:v1")}} {
		if _, err := g.admits.Copy(t.Context(), way[0], way[1], hub.CopyOptions{}); err != nil {
			t.Errorf("copy %s to %s: %v", way[0], way[1], err)
		}
	}
}

func TestSkipVerify(t *testing.T) {
	g := guard(t, newWorld(t), "")
	g.push("org/m:v1", "hello")
	loud := hub.New(hub.Options{Remote: g.client, Warn: g.warn, Rules: rules(hub.Rules{Policies: []*policy.Policy{g.policy}, Skip: true})})
	g.warned()
	res, err := loud.Pull(t.Context(), g.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Verified != nil || !res.VerificationSkipped {
		t.Errorf("verified = %+v, skipped = %v", res.Verified, res.VerificationSkipped)
	}
	record := func() string {
		raw, err := os.ReadFile(filepath.Join(res.Directory, artifact.RecordFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if got := record(); !strings.Contains(got, `"admission":{"skipped":true}`) {
		t.Errorf("record = %s", got)
	}
	if w := g.warned(); !strings.Contains(w, "NOT VERIFIED") || !strings.Contains(w, g.policy.String()) {
		t.Errorf("warnings = %q", w)
	}
	// The same files, allowed later, are no longer marked.
	g.sign("org/m:v1", g.signer)
	if _, err := g.admits.Pull(t.Context(), g.ref("org/m:v1"), res.Directory, hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := record(); !strings.Contains(got, `"admission":{"policy":"`+g.policy.String()+`"}`) {
		t.Errorf("record = %s", got)
	}
	_, err = loud.Pull(t.Context(), g.ref("org/m:v1"), res.Directory, hub.PullOptions{Trust: &signing.Trust{Keys: []*signing.PublicKey{g.signer.Public()}}})
	if !errors.Is(err, hub.ErrUsage) {
		t.Errorf("error = %v, want ErrUsage", err)
	}
}

// What a policy knows of a model is in the manifest and in files that it names.
func TestPolicyModelFacts(t *testing.T) {
	model := func(conditions string) string {
		return "    policy.modelreg.dev/model: |\n      " + conditions + "\n"
	}
	card := "---\nlicense: apache-2.0\nbase_model: acme/base\n---\nA model.\n"
	tests := map[string]struct {
		files files
		conds string
		want  string // rules that refuse
	}{
		"licence":              {files{"README.md": card}, "licenses: [apache-2.0]", ""},
		"another licence":      {files{"README.md": card}, "licenses: [mit]", "licenses"},
		"no licence":           {files{"a.txt": "x"}, "licenses: [mit]", "licenses"},
		"a broken card":        {files{"README.md": "---\nlicense: [\n---\n"}, "licenses: [mit]", "licenses"},
		"base":                 {files{"README.md": card}, `baseModels: ["acme/*"]`, ""},
		"another base":         {files{"README.md": card}, `baseModels: ["other/*"]`, "base-models"},
		"formats":              {files{"model.gguf": "x", "notes.txt": "y"}, "formats: [gguf]", ""},
		"a pickle":             {files{"model.gguf": "x", "extra.pkl": "y"}, "formats: [gguf]", "formats"},
		"PyTorch":              {files{"pytorch_model.bin": "y"}, "formats: [safetensors]", "formats"},
		"what nobody knows":    {files{"weights.xyz": "\x00\x01\x02\xff"}, "formats: [safetensors]", "formats"},
		"no code":              {files{"config.json": `{"model_type":"llama"}`}, "customCode: forbid", ""},
		"auto_map":             {files{"config.json": `{"a":[{"auto_map":{"AutoModel":"org/repo--m.M"}}]}`}, "customCode: forbid", "custom-code"},
		"auto_map, as a value": {files{"config.json": `{"a":"auto_map"}`}, "customCode: forbid", ""},
		"broken config":        {files{"config.json": `{"a":`}, "customCode: forbid", "custom-code"},
		"Python":               {files{"sub/modeling_x.py": "import os"}, "customCode: forbid", "custom-code"},
		"size":                 {files{"a.txt": "12345", "b.txt": "12345"}, "maxSize: 10B", ""},
		"too large":            {files{"a.txt": "12345", "b.txt": "123456"}, "maxSize: 10B", "max-size"},
		"version":              {files{"a.txt": "x"}, "minVersion: 1.0.0", ""},
		"old version":          {files{"a.txt": "x"}, "minVersion: 2.0.0", "min-version"},
	}
	w := newWorld(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := guard(t, w, model(tt.conds))
			repo := "org/" + strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(name)) + ":v1.2.0"
			if _, err := g.Push(t.Context(), dir(t, tt.files), g.ref(repo), hub.PushOptions{NoScan: true}); err != nil {
				t.Fatal(err)
			}
			g.sign(repo, g.signer)
			err := g.plan(repo, hub.PullOptions{})
			if got := refusedFor(t, err); got != tt.want {
				t.Errorf("refused for %q, want %q: %v", got, tt.want, err)
			}
		})
	}
}

// A tag beside a digest is what somebody typed, and no version.
func TestPolicyTypedVersion(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/model: |\n      minVersion: 2.0.0\n")
	old := g.push("org/m:v1.0.0", "old")
	g.sign("org/m:v1.0.0", g.signer)
	g.push("org/m:v9.9.9", "new")
	g.sign("org/m:v9.9.9", g.signer)
	prefix := strings.TrimPrefix(old.Digest, "sha256:")[:12]
	for name, want := range map[string]string{
		"org/m:v9.9.9":               "",
		"org/m:v1.0.0":               "min-version",
		"org/m@" + old.Digest:        "min-version",
		"org/m:v9.9.9@" + old.Digest: "min-version",
		"org/m:v9.9.9@" + prefix:     "min-version",
		"org/m:nowhere9@" + prefix:   "min-version",
	} {
		if got := refusedFor(t, g.plan(name, hub.PullOptions{})); got != want {
			t.Errorf("%s: refused for %q, want %q", name, got, want)
		}
	}
}

// A layer can have one name in the model and another as a layer: what is pulled
// as layers is held against what is written.
func TestPolicyRawNames(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct{ text, title, conds, rule string }{
		"format":    {"hello", "pytorch_model.bin", "formats: [safetensors]", policy.RuleFormats},
		"code":      {"hello", "modeling_x.py", "customCode: forbid", policy.RuleCustomCode},
		"auto_map":  {`{"auto_map": {}}`, "sub/config.json", "customCode: forbid", policy.RuleCustomCode},
		"base":      {"---\nbase_model: other/m\n---\n", "README.md", `baseModels: ["acme/*"]`, policy.RuleBaseModels},
		"same name": {"hello", "notes.txt", "customCode: forbid\n      formats: [safetensors]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := guard(t, w, "    policy.modelreg.dev/model: |\n      "+tt.conds+"\n")
			repo := "org/raw-" + strings.ReplaceAll(strings.ToLower(name), " ", "-")
			g.push(repo+":v1", tt.text)
			g.retitle(repo, "v1", tt.title)
			g.sign(repo+":v1", g.signer)
			if err := g.plan(repo+":v1", hub.PullOptions{}); err != nil {
				t.Errorf("as a model: %v", err)
			}
			if got := refusedFor(t, g.plan(repo+":v1", hub.PullOptions{Raw: true})); got != tt.rule {
				t.Errorf("as layers: refused for %q, want %q", got, tt.rule)
			}
		})
	}
}

// plan plans a pull.
func (g *guarded) plan(name string, opts hub.PullOptions) error {
	g.t.Helper()
	_, err := g.admits.PlanPull(g.t.Context(), g.ref(name), filepath.Join(g.t.TempDir(), "out"), opts)
	return err
}

// retitle gives the only layer of a version another title.
func (w *world) retitle(name, tag, title string) {
	w.t.Helper()
	_, raw := w.manifest(name, tag)
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		w.t.Fatal(err)
	}
	m.Layers[0].Annotations[ocispec.AnnotationTitle] = title
	raw, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, raw)
	if err := w.repo(name).PushManifest(w.t.Context(), desc, raw, tag); err != nil {
		w.t.Fatal(err)
	}
}

// refusedFor are the rules that a policy refuses for, or "".
func refusedFor(t *testing.T, err error) string {
	t.Helper()
	refusal, ok := errors.AsType[*policy.Refusal](err)
	if !ok && err != nil {
		t.Fatal(err)
	}
	var rules []string
	if ok {
		for _, f := range refusal.Decision.Failures() {
			rules = append(rules, f.Rule)
		}
	}
	return strings.Join(slices.Compact(rules), " ")
}

// Of an index it is its own date that is compared, and not that of the model that
// was chosen from it.
func TestRollbackOfIndexes(t *testing.T) {
	w := newWorld(t)
	for i, year := range []int{2020, 2026} {
		_, err := w.Push(t.Context(), dir(t, files{"notes.txt": strconv.Itoa(year)}), w.ref("org/m:"+strconv.Itoa(i)),
			hub.PushOptions{Created: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			t.Fatal(err)
		}
	}
	here := hub.New(hub.Options{Remote: w.client, Warn: w.warn, Seen: signing.NewSeen(t.TempDir())})
	for _, step := range []struct {
		made, child string
		refused     bool
	}{{"2025-01-01T00:00:00Z", "1", false}, {"2025-02-01T00:00:00Z", "0", false}, {"2024-01-01T00:00:00Z", "1", true}, {"", "1", true}} {
		annotations := map[string]string{"org.example.step": step.made}
		if step.made != "" {
			annotations[ocispec.AnnotationCreated] = step.made
		}
		index := w.pushIndexWith("org/m", "prod", annotations, step.child)
		if _, err := w.Sign(t.Context(), w.ref("org/m@"+index.Digest.String()), alice().signer, signing.SignOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := here.Pull(t.Context(), w.ref("org/m:prod"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{Trust: alice().trust})
		if errors.Is(err, signing.ErrRollback) != step.refused || !step.refused && err != nil {
			t.Errorf("index made %q: %v, want refused %t", step.made, err, step.refused)
		}
	}
}
