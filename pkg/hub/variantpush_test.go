package hub_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// The numbers that GGUF files have for quantisations.
const (
	ftypeQ4 = 15 // Q4_K_M
	ftypeQ8 = 7  // Q8_0
)

func ggufFile(ftype uint32, text string) string {
	data := make([]byte, 1024)
	copy(data, text)
	return string(testmodel.GGUFFile(testmodel.GGUFModel{
		KV: []testmodel.KV{
			{Key: "general.architecture", Value: "llama"},
			{Key: "general.file_type", Value: ftype},
			{Key: "llama.context_length", Value: uint32(2048)},
		},
		Tensors: []testmodel.GGUFTensor{{Name: "w", Dims: []uint64{256}, Type: 0, Data: data}},
	}))
}

// family is a directory of safetensors, and one of two GGUF files.
func family(t *testing.T, text string) (whole, quants string) {
	t.Helper()
	common := files{"README.md": testmodel.Card, "config.json": testmodel.Config, "tokenizer.json": `{"version": "1.0"}`}
	st, gguf := maps.Clone(common), maps.Clone(common)
	st["model.safetensors"] = string(testmodel.SafetensorsFile([]testmodel.Tensor{{Name: "w", DType: "BF16", Shape: []int64{2, 2}, Data: []byte("12345678")}}, nil))
	gguf["m-Q4_K_M.gguf"], gguf["m-Q8_0.gguf"] = ggufFile(ftypeQ4, text+"4"), ggufFile(ftypeQ8, text+"8")
	gguf["notes.txt"] = "not for everybody"
	return dir(t, st), dir(t, gguf)
}

func formsOf(t *testing.T, paths ...string) []hub.PushedForm {
	t.Helper()
	forms := make([]hub.PushedForm, len(paths))
	for i, p := range paths {
		var err error
		if forms[i], err = hub.FormAt(p); err != nil {
			t.Fatal(err)
		}
	}
	return forms
}

func (w *world) index(name, tag string) (ocispec.Descriptor, ocispec.Index) {
	w.t.Helper()
	desc, raw, err := w.repo(name).Manifest(w.t.Context(), tag)
	if err != nil {
		w.t.Fatal(err)
	}
	index, err := mediatypes.ParseIndex(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return desc, index
}

func names(res *hub.PushResult) []string {
	var out []string
	for _, v := range res.Variants {
		out = append(out, v.Name)
	}
	return out
}

func TestPushVariants(t *testing.T) {
	w := newWorld(t)
	whole, quants := family(t, "")
	forms := formsOf(t, whole, filepath.Join(quants, "m-Q8_0.gguf"), filepath.Join(quants, "m-Q4_K_M.gguf"))
	res, err := w.PushVariants(t.Context(), forms, w.ref("org/m:v1"), hub.PushOptions{Tags: []string{"prod"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"q4_k_m", "q8_0", "safetensors"}, names(res)); diff != "" || !res.Created {
		t.Errorf("created %t, %s", res.Created, diff)
	}
	desc, index := w.index("org/m", "prod")
	if desc.Digest.String() != res.Digest || index.ArtifactType != mediatypes.ArtifactIndex {
		t.Errorf("prod is %s of type %s, want %s", desc.Digest, index.ArtifactType, res.Digest)
	}
	want := map[string]string{
		"dev.modelreg.formats": "gguf,safetensors", "org.opencontainers.image.licenses": "apache-2.0", "dev.modelreg.task": "text-generation",
		"dev.modelreg.base-model": "acme/base", "dev.modelreg.datasets": "acme/words", "dev.modelreg.languages": "en,de", "dev.modelreg.tags": "tiny,test",
		"org.opencontainers.image.title": "Tiny", "dev.modelreg.architecture": "LlamaForCausalLM", "dev.modelreg.context-length": "2048",
	}
	delete(want, "org.opencontainers.image.title")
	if diff := cmp.Diff(want, index.Annotations); diff != "" {
		t.Error(diff)
	}
	for i, m := range index.Manifests {
		v := res.Variants[i]
		if m.ArtifactType != mediatypes.ArtifactModel || m.Platform == nil || m.Platform.OS != "unknown" || m.Annotations[mediatypes.AnnotationVariantName] != v.Name {
			t.Errorf("descriptor %+v", m)
		}
		for _, tag := range []string{"v1-" + v.Name, "prod-" + v.Name, "_k." + hub.Revision(m.Digest)} {
			if own, err := w.repo("org/m").Resolve(t.Context(), tag); err != nil || own.Digest != m.Digest {
				t.Errorf("tag %s is %s, %v; want %s", tag, own.Digest, err, m.Digest)
			}
		}
	}
	out := t.TempDir()
	if _, err := w.Pull(t.Context(), w.ref("org/m:v1#q4_k_m"), filepath.Join(out, "a"), hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Pull(t.Context(), w.ref("org/m:v1-q4_k_m"), filepath.Join(out, "b"), hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"a", "b"} {
		if diff := cmp.Diff([]string{"README.md", "config.json", "m-Q4_K_M.gguf", "tokenizer.json"}, visible(t, filepath.Join(out, d))); diff != "" {
			t.Error(diff)
		}
	}
}

func visible(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out
}

// The same variants, in any order and elsewhere, are the same version, and
// pushing them again writes nothing.
func TestPushVariantsAgain(t *testing.T) {
	whole, quants := family(t, "")
	paths := []string{whole, filepath.Join(quants, "m-Q8_0.gguf"), filepath.Join(quants, "m-Q4_K_M.gguf")}
	w, other := newWorld(t), newWorld(t)
	first, err := w.PushVariants(t.Context(), formsOf(t, paths...), w.ref("org/m:v1"), hub.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(paths)
	second, err := other.PushVariants(t.Context(), formsOf(t, paths...), other.ref("org/m:v1"), hub.PushOptions{})
	if err != nil || second.Digest != first.Digest {
		t.Errorf("elsewhere it is %+v, %v; want %s", second, err, first.Digest)
	}
	w.srv.Reset()
	again, err := w.PushVariants(t.Context(), formsOf(t, paths...), w.ref("org/m:v1"), hub.PushOptions{Committing: hub.Committing{Message: "again"}})
	if err != nil || again.Digest != first.Digest || again.Created {
		t.Errorf("again: %+v, %v", again, err)
	}
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("wrote %v", writes)
	}
	if n := len(w.srv.Requests()); n > 40 {
		t.Errorf("%d requests for three variants", n)
	}
	dry, err := newWorld(t).PushVariants(t.Context(), formsOf(t, paths...), w.ref("org/m:v1"), hub.PushOptions{DryRun: true})
	if err != nil || dry.Digest != first.Digest {
		t.Errorf("a dry run says %+v, %v; want %s", dry, err, first.Digest)
	}
}

func TestAddVariants(t *testing.T) {
	w := newWorld(t)
	whole, quants := family(t, "")
	q4, q8 := filepath.Join(quants, "m-Q4_K_M.gguf"), filepath.Join(quants, "m-Q8_0.gguf")
	plain, err := w.Push(t.Context(), whole, w.ref("org/m:v1"), hub.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	push := func(add bool, paths ...string) *hub.PushResult {
		t.Helper()
		res, err := w.PushVariants(t.Context(), formsOf(t, paths...), w.ref("org/m:v1"), hub.PushOptions{Add: add})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	// A version without variants becomes one of them.
	added := push(true, q4)
	if diff := cmp.Diff([]string{"q4_k_m", "safetensors"}, names(added)); diff != "" {
		t.Error(diff)
	}
	if v := added.Variants[1]; !v.Kept || v.Digest != plain.Digest || v.Size == 0 {
		t.Errorf("kept %+v, want %s", v, plain.Digest)
	}
	_, index := w.index("org/m", "v1")
	if got := index.Annotations[mediatypes.AnnotationParents]; got != plain.Digest {
		t.Errorf("parents %q, want %s", got, plain.Digest)
	}
	// What was added one after the other is what is pushed at once.
	all := push(true, q8)
	_, one := w.index("org/m", "v1")
	push(false, whole, q4, q8)
	if _, at := w.index("org/m", "v1"); !cmp.Equal(one, at) {
		t.Errorf("at once: %s", cmp.Diff(one, at))
	}
	if v := all.Variants[0]; !v.Kept || v.Name != "q4_k_m" {
		t.Errorf("kept %+v", v)
	}
	// One of the same name takes its place, the others stay as they are.
	if err := os.WriteFile(q4, []byte(ggufFile(ftypeQ4, "better")), 0o644); err != nil {
		t.Fatal(err)
	}
	replaced := push(true, q4)
	if replaced.Variants[0].Digest == all.Variants[0].Digest || replaced.Variants[1].Digest != all.Variants[1].Digest {
		t.Errorf("replaced %+v", replaced.Variants)
	}
	// Without --add there is what is pushed, and the tags of the rest are told.
	fewer := push(false, whole, q8)
	if diff := cmp.Diff([]string{"q8_0", "safetensors"}, names(fewer)); diff != "" || !strings.Contains(strings.Join(fewer.Notes, "\n"), "tag v1-q4_k_m stays") {
		t.Errorf("%s %q", diff, fewer.Notes)
	}
}

func TestPushOneVariant(t *testing.T) {
	w := newWorld(t)
	_, quants := family(t, "")
	res, err := w.PushVariants(t.Context(), formsOf(t, filepath.Join(quants, "m-Q8_0.gguf")), w.ref("org/m:v1"), hub.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if desc, _ := w.manifest("org/m", "v1"); desc.MediaType != ocispec.MediaTypeImageManifest || desc.Digest.String() != res.Digest {
		t.Errorf("one variant is %s, %s", desc.MediaType, desc.Digest)
	}
}

// Version and variants are signed, so that each can be pulled by its own tag
// where a signature is asked for.
func TestPushVariantsSigned(t *testing.T) {
	w := newWorld(t)
	whole, quants := family(t, "")
	forms := formsOf(t, whole, filepath.Join(quants, "m-Q8_0.gguf"))
	opts := hub.PushOptions{Signer: alice().signer, Provenance: &hub.Provenance{}}
	res, err := w.PushVariants(t.Context(), forms, w.ref("org/m:v1"), opts)
	if err != nil {
		t.Fatal(err)
	}
	if res.Signatures != 3 || res.Attestations != 3 {
		t.Errorf("%d signatures, %d attestations", res.Signatures, res.Attestations)
	}
	for _, name := range []string{"v1", "v1#q8_0", "v1-q8_0", "v1-safetensors"} {
		got, err := w.Pull(t.Context(), w.ref("org/m:"+name), filepath.Join(t.TempDir(), "m"), hub.PullOptions{Trust: alice().trust})
		if err != nil || len(got.Verified.Signers) != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	again, err := w.PushVariants(t.Context(), forms, w.ref("org/m:v1"), opts)
	if err != nil || again.Signatures != 0 || again.Attestations != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// A signature of the version covers what is kept in it, so that whoever signs
// must have signed that before.
func TestAddVariantsSigned(t *testing.T) {
	w := newWorld(t)
	whole, quants := family(t, "")
	q4, q8 := filepath.Join(quants, "m-Q4_K_M.gguf"), filepath.Join(quants, "m-Q8_0.gguf")
	push := func(s *signing.Signer, paths ...string) (*hub.PushResult, error) {
		return w.PushVariants(t.Context(), formsOf(t, paths...), w.ref("org/m:v1"), hub.PushOptions{Add: true, Signer: s})
	}
	if _, err := push(alice().signer, whole, q8); err != nil {
		t.Fatal(err)
	}
	if _, err := push(nil, q4); err != nil { // whoever may push
		t.Fatal(err)
	}
	desc, _ := w.index("org/m", "v1")
	_, err := push(alice().signer, whole)
	if !errors.Is(err, signing.ErrNoSignature) || !strings.Contains(err.Error(), `variant "q4_k_m"`) {
		t.Errorf("with a variant that nobody signed: %v", err)
	}
	if after, _ := w.index("org/m", "v1"); after.Digest != desc.Digest {
		t.Errorf("the version is %s, was %s", after.Digest, desc.Digest)
	}
	// What is pushed anew is looked at, and what has the signature may stay.
	res, err := push(alice().signer, q4)
	if err != nil {
		t.Fatal(err)
	}
	if note := "kept as they are, and not scanned: q8_0, safetensors"; !slices.Contains(res.Notes, note) {
		t.Errorf("notes %q, want %q", res.Notes, note)
	}
	if _, err := w.Verify(t.Context(), w.ref("org/m:v1"), *alice().trust, hub.VerifyOptions{}); err != nil {
		t.Error(err)
	}
}

// What a scan refuses of one variant stops the version.
func TestPushVariantsScans(t *testing.T) {
	w := newWorld(t)
	whole, _ := family(t, "")
	bad := dir(t, files{"model.pkl": "\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."})
	forms := formsOf(t, whole, bad)
	_, err := w.PushVariants(t.Context(), forms, w.ref("org/m:v1"), hub.PushOptions{})
	if _, ok := errors.AsType[*hub.ScanError](err); !ok {
		t.Errorf("error %v, want a *ScanError", err)
	}
	if tags, _ := w.Tags(t.Context(), w.ref("org/m")); len(tags) > 0 {
		t.Errorf("tags %v", tags)
	}
	forms[1].Name = "bad"
	res, err := w.PushVariants(t.Context(), forms, w.ref("org/m:v1"), hub.PushOptions{AllowUnsafe: true})
	if err != nil || res.Scan == nil || len(res.Scan.Findings) == 0 || !strings.HasPrefix(res.Scan.Findings[0].Path, "bad/") {
		t.Errorf("allowed: %+v, %v", res, err)
	}
}

func TestPushVariantsRefuses(t *testing.T) {
	w := newWorld(t)
	whole, quants := family(t, "")
	q8 := filepath.Join(quants, "m-Q8_0.gguf")
	named := func(name string, form hub.PushedForm) hub.PushedForm { form.Name = name; return form }
	forms := formsOf(t, whole, q8)
	for name, list := range map[string][]hub.PushedForm{
		"none":           nil,
		"twice":          {forms[0], forms[1], forms[1]},
		"the same name":  {named("a", forms[0]), named("a", forms[1])},
		"a bad name":     {forms[0], named("A b", forms[1])},
		"no name at all": {forms[0], formsOf(t, dir(t, files{"notes.txt": "nothing"}))[0]},
	} {
		_, err := w.PushVariants(t.Context(), list, w.ref("org/m:v1"), hub.PushOptions{})
		if !errors.Is(err, hub.ErrUsage) {
			t.Errorf("%s: %v, want ErrUsage", name, err)
		}
	}
	_, err := w.PushVariants(t.Context(), forms, w.ref("org/m@sha256:"+strings.Repeat("0", 64)), hub.PushOptions{})
	wantErr(t, err, hub.ErrUsage)
}

func TestFormsIn(t *testing.T) {
	root := dir(t, files{
		"README.md": "x", "config.json": "{}", "assets/logo.svg": "<svg/>", "mmproj-F16.gguf": "p",
		"m-Q4_K_M.gguf": "a", "m-UD-Q4_K_XL.gguf": "b", "BF16/m-BF16-00001-of-00002.gguf": "c", "BF16/m-BF16-00002-of-00002.gguf": "d",
		"model-00001-of-00002.safetensors": "e", "model-00002-of-00002.safetensors": "f", "model.safetensors.index.json": "{}",
	})
	forms, err := hub.FormsIn(root)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	err = filepath.WalkDir(root, func(at string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, at)
		for _, f := range forms {
			if f.Only(filepath.ToSlash(rel)) {
				got[f.Name] = append(got[f.Name], filepath.ToSlash(rel))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := func(own ...string) []string {
		out := append([]string{"README.md", "assets/logo.svg", "config.json"}, own...)
		slices.Sort(out)
		return out
	}
	want := map[string][]string{
		"bf16":       all("BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf", "mmproj-F16.gguf"),
		"q4_k_m":     all("m-Q4_K_M.gguf", "mmproj-F16.gguf"),
		"ud-q4_k_xl": all("m-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"),
		"":           all("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"),
	}
	for _, list := range got {
		slices.Sort(list)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = hub.FormsIn(dir(t, files{"m-Q4_K_M.gguf": "a", "README.md": "x"}))
	wantErr(t, err, hub.ErrUsage)
}

// A file brings what every variant needs, and nothing that merely lies there.
func TestFormAt(t *testing.T) {
	root := dir(t, files{
		"README.md": "x", "LICENSE": "x", "config.json": "{}", "tokenizer.json": "{}", "mmproj-F16.gguf": "p", "passwords.txt": "x", "other.json": "{}",
		"m-Q4_K_M-00001-of-00002.gguf": "a", "m-Q4_K_M-00002-of-00002.gguf": "b", "m-Q8_0.gguf": "c", "sub/config.json": "{}",
	})
	form, err := hub.FormAt(filepath.Join(root, "m-Q4_K_M-00001-of-00002.gguf"))
	if err != nil || form.Name != "q4_k_m" {
		t.Fatal(form.Name, err)
	}
	for name, want := range map[string]bool{
		"README.md": true, "LICENSE": true, "config.json": true, "tokenizer.json": true, "mmproj-F16.gguf": true,
		"m-Q4_K_M-00001-of-00002.gguf": true, "m-Q4_K_M-00002-of-00002.gguf": true,
		"m-Q8_0.gguf": false, "passwords.txt": false, "other.json": false, "sub/config.json": false,
	} {
		if form.Only(name) != want {
			t.Errorf("%s is taken: %t", name, !want)
		}
	}
	whole := hub.PushedForm{Dir: root}.Without(filepath.Join(root, "m-Q4_K_M-00001-of-00002.gguf")).Without(filepath.Join(root, "sub"))
	for name, want := range map[string]bool{"m-Q8_0.gguf": true, "m-Q4_K_M-00002-of-00002.gguf": false, "sub/config.json": false, "README.md": true} {
		if whole.Only(name) != want {
			t.Errorf("%s is in the rest: %t", name, !want)
		}
	}
}

func TestSuggestVariants(t *testing.T) {
	w := newWorld(t)
	_, quants := family(t, "")
	res, err := w.Push(t.Context(), quants, w.ref("org/m:v1"), hub.PushOptions{DryRun: true})
	if err != nil || !strings.Contains(strings.Join(res.Notes, "\n"), "--variants-by-file") {
		t.Errorf("notes %v, %v", res, err)
	}
}

// A policy is asked about the files of the variant that is taken, with the
// signature of the version; by its own tag, with its own.
func TestPolicyOfVariants(t *testing.T) {
	g := guard(t, newWorld(t), "    policy.modelreg.dev/model: |\n      formats: [safetensors]\n")
	whole, quants := family(t, "")
	forms := formsOf(t, whole, filepath.Join(quants, "m-Q8_0.gguf"))
	if _, err := g.PushVariants(t.Context(), forms, g.ref("org/m:v1"), hub.PushOptions{Signer: g.signer}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"v1#safetensors": "", "v1-safetensors": "", "v1#q8_0": policy.RuleFormats, "v1-q8_0": policy.RuleFormats,
	} {
		if got := refusedFor(t, g.plan("org/m:"+name, hub.PullOptions{})); got != want {
			t.Errorf("%s is refused for %q, want %q", name, got, want)
		}
	}
}

// Taking a variant costs two requests more than a version without: the index, and
// what became of that.
func TestVariantRequests(t *testing.T) {
	w := newWorld(t)
	whole, quants := family(t, "")
	forms := formsOf(t, whole, filepath.Join(quants, "m-Q8_0.gguf"), filepath.Join(quants, "m-Q4_K_M.gguf"))
	if _, err := w.PushVariants(t.Context(), forms, w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	requests := func(name string) int {
		t.Helper()
		w.srv.Reset()
		if _, err := w.PlanPull(t.Context(), w.ref("org/m:"+name), t.TempDir(), hub.PullOptions{}); err != nil {
			t.Fatal(err)
		}
		return len(w.srv.Requests())
	}
	requests("v1-q8_0") // what is asked of a registry once
	if alone, chosen := requests("v1-q8_0"), requests("v1#q8_0"); chosen != alone+2 {
		t.Errorf("%d requests for a variant by its tag, %d for one that was chosen", alone, chosen)
	}
}
