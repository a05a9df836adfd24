package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A victim is a user whose machine must stay as it was when a command fails.
type victim struct {
	t      *testing.T
	root   string        // holds all but the program's own cache and configuration
	out    string        // where models are pulled to
	atMost time.Duration // that a command may take
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", home)
	t.Setenv("MODELREG_CONFIG", filepath.Join(home, "config.yaml"))
	t.Setenv("MODELREG_CACHE", filepath.Join(home, "cache"))
	v := &victim{t: t, root: t.TempDir(), atMost: 10 * time.Second}
	v.out = filepath.Join(v.root, "work", "out")
	v.write(map[string]string{"sentinel": "untouched", "work/sentinel": "untouched"})
	return v
}

// write makes files below the root.
func (v *victim) write(files map[string]string) {
	v.t.Helper()
	for name, text := range files {
		name = filepath.Join(v.root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			v.t.Fatal(err)
		}
	}
}

// An outcome is how a command ended.
type outcome struct {
	code     int
	out, err string
}

// run runs a command, and checks what holds for every one.
func (v *victim) run(args ...string) outcome {
	v.t.Helper()
	var out, errOut bytes.Buffer
	start := time.Now()
	code := run(v.t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &errOut})
	if took := time.Since(start); took > v.atMost {
		v.t.Errorf("%s took %v", args[0], took)
	}
	if r, bad := firstControl(errOut.String()); bad {
		v.t.Errorf("%s wrote the raw character %U on standard error: %q", args[0], r, errOut.String())
	}
	if r, bad := firstControl(out.String()); bad && args[0] != "cat" {
		v.t.Errorf("%s wrote the raw character %U on standard output: %q", args[0], r, out.String())
	}
	if code == exitFailure {
		v.t.Errorf("%s: no class for this failure: %s", args[0], errOut.String())
	}
	return outcome{code, out.String(), errOut.String()}
}

// firstControl finds what a terminal would obey, or what would turn its text
// around.
func firstControl(s string) (rune, bool) {
	for _, r := range s {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) || r == utf8.RuneError {
			return r, true
		}
	}
	return 0, false
}

// ends runs a command that must end with a code, and say text on standard error.
func (v *victim) ends(code int, text string, args ...string) {
	v.t.Helper()
	got := v.run(args...)
	if slices.Contains(args, "json") {
		got.err = message(v.t, got.err)
	}
	if got.code != code || !strings.Contains(got.err, text) {
		v.t.Errorf("%s exits with %d, want %d and %q: %s", args[0], got.code, code, text, got.err)
	}
	if got.code != exitOK && args[0] == "pull" && got.out != "" {
		v.t.Errorf("pull failed and printed %q", got.out)
	}
}

// message is what the error document says, the last line of standard error.
func message(t *testing.T, text string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	text = lines[len(lines)-1]
	var doc struct{ Error struct{ Message string } }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Errorf("standard error is not a document: %q", text)
	}
	return doc.Error.Message
}

// untouched checks that nothing is there but what was before, and that nothing
// wrong is in the store.
func (v *victim) untouched() {
	v.t.Helper()
	want := map[string]string{"sentinel": "untouched", "work/sentinel": "untouched"}
	if diff := cmp.Diff(want, filesIn(v.t, v.root)); diff != "" {
		v.t.Errorf("on the disk (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(v.out)); err != nil || len(entries) != 1 {
		v.t.Errorf("beside the destination: %v, %v", entries, err)
	}
	if got := v.run("cache", "verify"); got.code != exitOK {
		v.t.Errorf("store: %s%s", got.out, got.err)
	}
}

// filesIn reads the files below dir. A link or anything else that is neither
// file nor directory fails the test, as does a file that others may change.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode() != 0o644 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A document is JSON that may be wrong in every way.
type document map[string]any

// A layout is an OCI layout whose documents may lie.
type layout struct {
	t   *testing.T
	dir string
}

func newLayout(t *testing.T) *layout {
	return &layout{t: t, dir: t.TempDir()}
}

// put writes a blob under a digest that need not be its own.
func (l *layout) put(dgst digest.Digest, data []byte) {
	l.t.Helper()
	name := filepath.Join(l.dir, "blobs", string(dgst.Algorithm()), dgst.Encoded())
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
		l.t.Fatal(err)
	}
}

// blob writes a blob and returns its descriptor.
func (l *layout) blob(mediaType string, data []byte) document {
	l.t.Helper()
	dgst := digest.FromBytes(data)
	l.put(dgst, data)
	return document{"mediaType": mediaType, "digest": dgst, "size": len(data)}
}

// file writes a blob that is one file of a model.
func (l *layout) file(path, text string) document {
	l.t.Helper()
	desc := l.blob(mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw), []byte(text))
	desc["annotations"] = map[string]string{mediatypes.AnnotationFilepath: path}
	return desc
}

// model returns the manifest of a model with these layers.
func (l *layout) model(layers ...document) document {
	return l.modelWith(`{"modelfs":{"type":"layers","diffIds":[]}}`, layers...)
}

func (l *layout) modelWith(config string, layers ...document) document {
	l.t.Helper()
	return document{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": mediatypes.ArtifactModel,
		"config": l.blob(mediatypes.ConfigModel, []byte(config)), "layers": layers,
	}
}

// serve shows the layout, with raw as what the tag latest points to, and
// returns the server and the reference.
func (l *layout) serve(mediaType string, alg digest.Algorithm, raw []byte) (*testreg.Server, string) {
	l.t.Helper()
	dgst := alg.FromBytes(raw)
	l.put(dgst, raw)
	index := encoded(l.t, document{"schemaVersion": 2, "manifests": []document{{"mediaType": mediaType, "digest": dgst, "size": len(raw)}}})
	if err := os.WriteFile(filepath.Join(l.dir, "index.json"), index, 0o644); err != nil {
		l.t.Fatal(err)
	}
	reg := testreg.New(l.t, testreg.Options{Layout: l.dir})
	return reg, reg.Host + "/acme/model:latest"
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// fetchedBlobs lists the blobs that a server was asked for.
func fetchedBlobs(reg *testreg.Server) []string {
	var paths []string
	for _, r := range reg.Requests() {
		if strings.Contains(r.Path, "/blobs/") {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// TestHostileSamples pulls layouts that were made to harm other clients.
func TestHostileSamples(t *testing.T) {
	tests := map[string]struct {
		code int
		text string
	}{
		"m01_dotdot":          {exitUnsafe, `"../../escape.txt"`},
		"m02_abs":             {exitUnsafe, "absolute"},
		"m04_same_path_twice": {exitUnsafe, "duplicate path"},
		"m31_size_big":        {exitIntegrity, "m.bin"},
		"m35_wrong_bytes":     {exitIntegrity, "expected sha256:"},
		"m38_digest_path":     {exitUnsafe, "digest"},
	}
	samples, err := os.ReadDir("testdata/hostile")
	if err != nil || len(samples) != len(tests)+1 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			reg := testreg.New(t, testreg.Options{Layout: filepath.Join("testdata", "hostile", name)})
			for range 2 { // what is refused once is refused again
				v.ends(tt.code, tt.text, "pull", reg.Host+"/acme/model:latest", v.out)
				v.untouched()
			}
		})
	}
	t.Run("m90_ok", func(t *testing.T) {
		v := newVictim(t)
		reg := testreg.New(t, testreg.Options{Layout: "testdata/hostile/m90_ok"})
		v.ends(exitOK, "pulled 2 files", "pull", reg.Host+"/acme/model:latest", v.out)
	})
}

// A hostileCase is a manifest, and what becomes of it.
type hostileCase struct {
	make func(l *layout) []byte
	code int
	text string

	// blobs says that it takes the blobs to see what is wrong. Otherwise
	// not one may be asked for.
	blobs bool

	// inspect and cat are the codes of these commands where they are not
	// that of pull, and exitOK where only pulling shows what is wrong.
	inspect, cat *int

	// mediaType is what the manifest is served as; empty means an image
	// manifest.
	mediaType string
}

// try pulls, inspects and reads the case, and checks that each refuses it and
// leaves nothing behind.
func (c hostileCase) try(t *testing.T) {
	t.Helper()
	l := newLayout(t)
	if c.mediaType == "" {
		c.mediaType = ocispec.MediaTypeImageManifest
	}
	reg, ref := l.serve(c.mediaType, digest.SHA256, c.make(l))
	v := newVictim(t)
	for range 2 { // what is refused once is refused again
		v.ends(c.code, c.text, "pull", ref, v.out)
		v.untouched()
	}
	v.ends(c.code, c.text, "pull", ref, v.out, "--no-cache", "--format", "json")
	v.untouched()
	others := map[string]*int{"inspect": c.inspect, "cat": c.cat}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		want, text := c.code, c.text
		if others[name] != nil {
			want, text = *others[name], ""
		}
		args := []string{name, ref}
		if name == "cat" {
			args = append(args, "model.bin")
		}
		v.ends(want, text, args...)
	}
	v.untouched()
	if blobs := fetchedBlobs(reg); !c.blobs && blobs != nil {
		t.Errorf("asked for %v", blobs)
	}
}

// files makes a model with a file at each path.
func files(paths ...string) func(l *layout) []byte {
	return func(l *layout) []byte {
		layers := make([]document, len(paths))
		for i, p := range paths {
			layers[i] = l.file(p, fmt.Sprint("content ", i))
		}
		return encoded(l.t, l.model(layers...))
	}
}

// edited makes a model of one file and changes its manifest.
func edited(edit func(m document)) func(l *layout) []byte {
	return func(l *layout) []byte {
		m := l.model(l.file("model.bin", "0123456789"))
		edit(m)
		return encoded(l.t, m)
	}
}

// layerEdited makes a model of one file of ten bytes and changes its
// descriptor.
func layerEdited(key string, value any) func(l *layout) []byte {
	return edited(func(m document) { m["layers"].([]document)[0][key] = value })
}

// rewritten makes a model of one file and changes the text of its manifest.
func rewritten(rewrite func(text string) string) func(l *layout) []byte {
	return func(l *layout) []byte {
		return []byte(rewrite(string(encoded(l.t, l.model(l.file("model.bin", "0123456789"))))))
	}
}
