package hub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a registry, a user's store, and a hub between them.
type world struct {
	*hub.Hub
	t      *testing.T
	srv    *testreg.Server
	client *remote.Client
	store  *store.Store

	mu       sync.Mutex
	warnings []string
	observe  transfer.Observer
}

func newWorld(t *testing.T) *world { return newWorldWith(t, testreg.Options{}) }

func newWorldWith(t *testing.T, opts testreg.Options) *world {
	t.Helper()
	w := &world{t: t, srv: testreg.New(t, opts)}
	var err error
	w.client, err = remote.New(remote.Options{AuthFile: filepath.Join(t.TempDir(), "config.json")})
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = store.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.client.CloseIdle()
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Hub = hub.New(hub.Options{Remote: w.client, Store: w.store, Observe: w.event, Warn: w.warn})
	return w
}

func (w *world) warn(message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warnings = append(w.warnings, message)
}

func (w *world) event(e transfer.Event) {
	if w.observe != nil {
		w.observe(e)
	}
}

// warned returns the warnings since it was last called.
func (w *world) warned() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.warnings, "\n")
	w.warnings = nil
	return all
}

// ref reads a reference such as "org/model:v1" in the world's registry.
func (w *world) ref(s string) ref.Reference {
	w.t.Helper()
	r, err := ref.Parse(w.srv.Host + "/" + s)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) repo(name string) *remote.Repository {
	w.t.Helper()
	repo, err := w.client.Repository(w.srv.Host + "/" + name)
	if err != nil {
		w.t.Fatal(err)
	}
	return repo
}

// push pushes a model of one file with this text.
func (w *world) push(name, text string) *hub.PushResult {
	w.t.Helper()
	res, err := w.Push(w.t.Context(), dir(w.t, files{"notes.txt": text}), w.ref(name), hub.PushOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// digestOf is what a tag points to, or "" if there is no such tag.
func (w *world) digestOf(name, tag string) string {
	w.t.Helper()
	desc, err := w.repo(name).Resolve(w.t.Context(), tag)
	if err != nil {
		return ""
	}
	return desc.Digest.String()
}

func (w *world) manifest(name, reference string) (ocispec.Descriptor, []byte) {
	w.t.Helper()
	desc, raw, err := w.repo(name).Manifest(w.t.Context(), reference)
	if err != nil {
		w.t.Fatal(err)
	}
	return desc, raw
}

// pushIndex tags an index of the manifests that children name.
func (w *world) pushIndex(name, tag string, children ...string) ocispec.Descriptor {
	w.t.Helper()
	return w.pushIndexWith(name, tag, nil, children...)
}

func (w *world) pushIndexWith(name, tag string, annotations map[string]string, children ...string) ocispec.Descriptor {
	w.t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Annotations: annotations}
	for _, child := range children {
		desc, _ := w.manifest(name, child)
		desc.ArtifactType = mediatypes.ArtifactModel
		index.Manifests = append(index.Manifests, desc)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		w.t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, raw)
	if err := w.repo(name).PushManifest(w.t.Context(), desc, raw, tag); err != nil {
		w.t.Fatal(err)
	}
	return desc
}

// writes are the requests that sent bytes or moved names since the last Reset.
func (w *world) writes() []string {
	var out []string
	for _, r := range w.srv.Requests() {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			out = append(out, r.Method+" "+r.Path+"?"+r.Query)
		}
	}
	return out
}

type files map[string]string

// dir makes a directory of files.
func dir(t *testing.T, f files) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range f {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// read returns the files below root that are the model's.
func read(t *testing.T, root string) files {
	t.Helper()
	f := files{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".modelreg" {
			return filepath.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		f[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stored lists the names in the store.
func (w *world) stored() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for e, err := range w.store.References(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		all[strings.TrimPrefix(e.Reference, w.srv.Host+"/")] = e.Descriptor.Digest.String()
	}
	return all
}

// fill puts a version's layers into the store, which pull does by itself only
// where files can share bytes.
func (w *world) fill(name, tag string) {
	w.t.Helper()
	_, raw := w.manifest(name, tag)
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range m.Layers {
		data, err := content.FetchAll(w.t.Context(), w.repo(name), l)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.store.Push(w.t.Context(), l, bytes.NewReader(data)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			w.t.Fatal(err)
		}
	}
}

// another lets a request that sets a tag through, and then sets the same tag to
// the manifest raw, before the client has its answer.
func another(raw []byte) testreg.Action {
	return func(x testreg.Exchange) {
		ours := httptest.NewRecorder()
		x.Pass(ours)
		setTag(x, x.R.URL.Path, raw)
		maps.Copy(x.W.Header(), ours.Header())
		x.W.WriteHeader(ours.Code)
	}
}

// setTag puts a manifest under a tag, past the rules and the log of requests.
func setTag(x testreg.Exchange, path string, raw []byte) {
	req := httptest.NewRequest(http.MethodPut, path, bytes.NewReader(raw))
	req.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
	x.Server.Backend().ServeHTTP(httptest.NewRecorder(), req)
}

// A party signs, and can be trusted.
type party struct {
	signer *signing.Signer
	trust  *signing.Trust
}

// The parties are made once: deriving a key from its password is slow.
var (
	alice    = sync.OnceValue(newParty)
	stranger = sync.OnceValue(newParty)
)

func newParty() party {
	private, _, err := signing.GenerateKeyPair(nil)
	if err != nil {
		panic(err)
	}
	signer, err := signing.LoadSigner(private, nil)
	if err != nil {
		panic(err)
	}
	return party{signer, &signing.Trust{Keys: []*signing.PublicKey{signer.Public()}}}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want one that wraps %v", err, want)
	}
}

func keepTag(d string) string { return "_k." + digest.Digest(d).Encoded()[:40] }

func tagsOf(versions []hub.VersionInfo) []string {
	tags := make([]string, len(versions))
	for i, v := range versions {
		tags[i] = v.Tag
	}
	slices.Sort(tags)
	return tags
}

// hostRef reads a reference with its host.
func hostRef(t *testing.T, s string) ref.Reference {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
