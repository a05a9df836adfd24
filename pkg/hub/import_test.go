package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testhub"
	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/source"
)

// published puts the files of a directory on a hub.
func published(t *testing.T, srv *testhub.Server, id, dir string) string {
	t.Helper()
	all := map[string][]byte{}
	for name, text := range read(t, dir) {
		all[name] = []byte(text)
	}
	return srv.Commit(id, all)
}

func importing(srv *testhub.Server) hub.ImportOptions {
	return hub.ImportOptions{Source: source.Options{
		HuggingFace: source.Hub{Endpoint: srv.URL()}, ModelScope: source.Hub{Endpoint: srv.URL()},
	}}
}

// largeTensors are two, of which a file is just large enough for an index.
func largeTensors(seed byte) []testmodel.Tensor {
	const rows, columns = 1100, 4096
	data := make([]byte, rows*columns)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
	return []testmodel.Tensor{
		{Name: "a", DType: "U8", Shape: []int64{rows, columns}, Data: data},
		{Name: "b", DType: "U8", Shape: []int64{rows, columns}, Data: data},
	}
}

// large is a model with a file that has a chunk index.
func large(t *testing.T) string {
	t.Helper()
	model := weights(t, largeTensors(1), nil)
	for name, text := range map[string]string{"README.md": testmodel.Card, "config.json": testmodel.Config} {
		if err := os.WriteFile(filepath.Join(model, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return model
}

// Files of an import are looked at where the caller says, and what is found there
// counts.
func TestImportScansElsewhere(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	published(t, srv, "Org/Tiny", large(t))
	opts := importing(srv)
	var looked []string
	opts.Scan = func(_ context.Context, files iter.Seq2[scan.File, error], so scan.Options) (*scan.Report, error) {
		if !so.Sparse || so.Fetch == 0 {
			t.Errorf("asked with %+v", so)
		}
		var sum scan.Summary
		for f, err := range files {
			if err != nil {
				return nil, err
			}
			looked = append(looked, f.Path)
			found := scan.Finding{Path: f.Path, Rule: "limit-process", Severity: scan.High}
			sum.Add(f.Path, scan.Result{Verdict: scan.Unscannable, Findings: []scan.Finding{found}})
			f.Close()
		}
		return sum.Report(), nil
	}
	if _, err := w.Import(t.Context(), "hf://Org/Tiny", w.ref("org/m:v1"), opts); !errors.Is(err, errUnsafe) || len(looked) < 3 {
		t.Errorf("import = %v, looked at %q", err, looked)
	}
	opts.NoScan = true
	if _, err := w.Import(t.Context(), "hf://Org/Tiny", w.ref("org/m:v1"), opts); err != nil {
		t.Error(err)
	}
}

// An import is the push of the same files, and says where they came from.
func TestImportIsPush(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{PageSize: 2})
	model := large(t)
	commit := published(t, srv, "Org/Tiny", model)
	for scheme, page := range map[string]string{"hf": srv.URL() + "/Org/Tiny", "ms": srv.URL() + "/models/Org/Tiny"} {
		opts := importing(srv)
		var origin hub.Origin
		opts.Resolved = func(o hub.Origin) { origin = o }
		got, err := w.Import(t.Context(), scheme+"://Org/Tiny", w.ref("org/"+scheme+":v1"), opts)
		if err != nil {
			t.Fatal(err)
		}
		want, err := w.Push(t.Context(), model, w.ref("org/"+scheme+"-pushed:v1"), hub.PushOptions{Annotations: map[string]string{
			ocispec.AnnotationSource: page, ocispec.AnnotationRevision: commit,
			mediatypes.AnnotationOrigin: scheme + ":Org/Tiny@" + commit,
		}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*want, got.PushResult, cmpopts.IgnoreFields(hub.PushResult{}, "Reference", "UploadedBytes", "MountedBytes", "SkippedBytes"), cmpopts.IgnoreFields(hub.PushScan{}, "Remembered")); diff != "" {
			t.Errorf("%s: %s", scheme, diff)
		}
		if got.Commit != commit || got.Source != scheme+"://Org/Tiny@"+commit || origin.Files != 3 || origin.Size != got.Size || origin.Claimed == 0 {
			t.Errorf("imported %+v of %+v", got, origin)
		}
		again, err := w.Import(t.Context(), scheme+"://Org/Tiny@"+commit, w.ref("org/"+scheme+":v1"), importing(srv))
		if err != nil || again.Created || again.UploadedBytes != 0 || again.Digest != got.Digest {
			t.Errorf("imported again: %+v, %v", again, err)
		}
	}
}

// Somebody else who imports the same makes the same version, chunk indexes
// included, although no bytes of the large file come from its source: neither
// what the tag pointed to nor what the registry had is part of what comes out.
func TestImportElsewhereIsTheSame(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	published(t, srv, "org/m", large(t))
	first, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), importing(srv))
	if err != nil {
		t.Fatal(err)
	}
	srv.Store.Reset()
	for to, created := range map[string]bool{"org/m:v1": false, "org/m:other": true, "org/linked:v1": true} {
		other := hub.New(hub.Options{Remote: w.client})
		opts := importing(srv)
		opts.MountFrom = []string{"org/m"}
		second, err := other.Import(t.Context(), "hf://org/m", w.ref(to), opts)
		if err != nil || second.Digest != first.Digest || second.Created != created {
			t.Errorf("first %+v, to %s %+v, %v", first, to, second, err)
		}
	}
	for _, r := range srv.Store.Requests() {
		if r.Range == "" {
			t.Errorf("%s was read whole", r.Path)
		}
	}
}

// Where the registry gives wrong bytes, those for the index come from the
// source.
func TestImportIndexesFromTheSource(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	published(t, srv, "org/m", large(t))
	first, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), importing(srv))
	if err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Method: "GET", Path: "/blobs/", Do: testreg.FlipBit(5 << 20)})
	other := hub.New(hub.Options{Remote: w.client})
	second, err := other.Import(t.Context(), "hf://org/m", w.ref("org/m:v2"), importing(srv))
	if err != nil || second.Digest != first.Digest {
		t.Errorf("first %+v, second %+v, %v", first, second, err)
	}
}

// A chunk index that somebody else has put into the version that the tag points
// to is not believed: whoever imports signs only what is made of the bytes.
func TestImportBelievesNoIndex(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	published(t, srv, "org/m", large(t))
	honest, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), importing(srv))
	if err != nil {
		t.Fatal(err)
	}
	forged := w.forgeIndex("org/m", "v1", "model.safetensors", testmodel.SafetensorsFile(largeTensors(9), nil))
	if forged == honest.Digest || w.digestOf("org/m", "v1") != forged {
		t.Fatalf("nothing was forged")
	}
	other := hub.New(hub.Options{Remote: w.client})
	opts := importing(srv)
	opts.Parents = []string{hub.NoParent}
	got, err := other.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), opts)
	if err != nil || got.Digest != honest.Digest || !got.Created {
		t.Errorf("imported %+v, %v; want %s", got, err, honest.Digest)
	}
}

// forgeIndex makes a tag point to the same version with the chunk index of other
// bytes for one file.
func (w *world) forgeIndex(name, tag, file string, other []byte) string {
	w.t.Helper()
	repo := w.repo(name)
	b := chunk.NewBuilder(int64(len(other)), nil)
	if _, err := b.Write(other); err != nil {
		w.t.Fatal(err)
	}
	raw, err := b.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	index := content.NewDescriptorFromBytes(mediatypes.LayerChunkIndex, raw)
	if err := repo.Push(w.t.Context(), index, bytes.NewReader(raw)); err != nil {
		w.t.Fatal(err)
	}
	_, text := w.manifest(name, tag)
	m, err := mediatypes.ParseManifest(text)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range m.Layers {
		if l.Annotations[mediatypes.AnnotationFilepath] == file {
			l.Annotations[mediatypes.AnnotationChunkIndex] = fmt.Sprintf("%s;%d", index.Digest, index.Size)
		}
	}
	if text, err = json.Marshal(m); err != nil {
		w.t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, text)
	if err := repo.PushManifest(w.t.Context(), desc, text, tag); err != nil {
		w.t.Fatal(err)
	}
	return desc.Digest.String()
}

func TestImportWrongBytes(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	model := large(t)
	published(t, srv, "org/m", model)
	srv.Corrupt([]byte(read(t, model)["model.safetensors"]))
	_, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), importing(srv))
	wantErr(t, err, content.ErrMismatchedDigest)
	if w.digestOf("org/m", "v1") != "" {
		t.Error("the tag is there")
	}
	for _, r := range w.srv.Requests() {
		if r.Method == "PUT" && r.BytesIn >= 8<<20 && r.Status/100 == 2 {
			t.Errorf("the upload was completed: %+v", r)
		}
	}
}

// What has arrived does not move again.
func TestImportGoesOn(t *testing.T) {
	t.Parallel() // it waits between attempts
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	model := large(t)
	second := testmodel.SafetensorsFile(largeTensors(2), nil)
	if err := os.WriteFile(filepath.Join(model, "model-2.safetensors"), second, 0o600); err != nil {
		t.Fatal(err)
	}
	published(t, srv, "org/m", model)
	// The second large file does not come through, when the first has.
	oid := func(name string) string {
		return content.NewDescriptorFromBytes("", []byte(read(t, model)[name])).Digest.Encoded()
	}
	arrived := make(chan struct{})
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "digest=sha256(:|%3A)" + oid("model.safetensors"), To: 1, Do: func(x testreg.Exchange) {
		x.Pass(x.W)
		close(arrived)
	}})
	srv.Store.Add(testreg.Rule{Path: "/objects/" + oid("model-2.safetensors"), Range: testreg.Without, Do: func(x testreg.Exchange) {
		select {
		case <-arrived:
		case <-x.R.Context().Done():
		}
		x.W.WriteHeader(404)
	}})
	if _, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), importing(srv)); !errors.Is(err, remote.ErrUnreachable) {
		t.Fatalf("Import = %v", err)
	}
	srv.Store.Reset()
	res, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), importing(srv))
	if err != nil {
		t.Fatal(err)
	}
	if res.SkippedBytes < 8<<20 || res.UploadedBytes > int64(len(second))+1<<20 {
		t.Errorf("the second time: %+v", res)
	}
	want, err := w.Push(t.Context(), model, w.ref("org/pushed:v1"), hub.PushOptions{Annotations: annotationsOf(t, w, "org/m", "v1")})
	if err != nil || want.Digest != res.Digest {
		t.Errorf("pushed %+v, imported %+v: %v", want, res, err)
	}
}

// A file of which a part has arrived goes on there, in another process too. A
// registry under load may have kept nothing of a broken request; of several it
// keeps some.
func TestImportGoesOnInsideAFile(t *testing.T) {
	srv := testhub.New(t, testhub.Options{})
	model := large(t)
	published(t, srv, "org/m", model)
	size := int64(len(read(t, model)["model.safetensors"]))
	w := newWorld(t)
	want, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), importing(srv))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, got := newWorld(t).importTwice(srv)
		if got != want.Digest {
			t.Errorf("made %s, and %s in one go", got, want.Digest)
		}
		if again <= size*3/4 {
			return
		}
	}
	t.Error("it was always read again from its start")
}

// importTwice imports a model of which the large file breaks off for good the
// first time, and returns how many bytes were read of it the second time, and
// the version.
func (w *world) importTwice(srv *testhub.Server) (again int64, dgst string) {
	w.t.Helper()
	opts := importing(srv)
	opts.NoScan = true
	srv.Store.Reset()
	srv.Store.Add(
		testreg.Rule{Path: "/objects/", Range: testreg.Without, Do: testreg.Cut(testreg.Middle)},
		// The first four are of headers.
		testreg.Rule{Path: "/objects/", Range: testreg.With, From: 5, Do: testreg.Status(501, nil, "")},
	)
	if _, err := w.Import(w.t.Context(), "hf://org/m", w.ref("org/m:v1"), opts); !errors.Is(err, remote.ErrProtocol) {
		w.t.Fatalf("Import = %v", err)
	}
	srv.Store.Reset()
	other := hub.New(hub.Options{Remote: w.client, Store: w.store})
	res, err := other.Import(w.t.Context(), "hf://org/m", w.ref("org/m:v1"), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range srv.Store.Requests() {
		again += r.BytesOut
	}
	return again, res.Digest
}

// annotationsOf are those that say where a version came from.
func annotationsOf(t *testing.T, w *world, name, tag string) map[string]string {
	t.Helper()
	_, raw := w.manifest(name, tag)
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, k := range []string{ocispec.AnnotationSource, ocispec.AnnotationRevision, mediatypes.AnnotationOrigin} {
		out[k] = m.Annotations[k]
	}
	return out
}

func TestImportDryRun(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	published(t, srv, "org/m", large(t))
	opts := importing(srv)
	opts.DryRun = true
	res, err := w.Import(t.Context(), "hf://org/m", w.ref("org/m:v1"), opts)
	if err != nil || res.Files != 3 || res.Digest != "" || res.Reference != "" || res.Revision != "" {
		t.Errorf("%+v, %v", res, err)
	}
	if got := w.writes(); len(got) > 0 {
		t.Errorf("wrote %v", got)
	}
	for _, r := range srv.Store.Requests() {
		if r.Range == "" {
			t.Errorf("%s was read whole", r.Path)
		}
	}
}

// A dry run tells the digest that the import will have, or none.
func TestImportDryRunTellsTheDigest(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	published(t, srv, "org/m", large(t))
	srv.Commit("org/small", map[string][]byte{"a.txt": []byte("a")})
	for _, name := range []string{"hf://org/m", "hf://org/small"} {
		opts := importing(srv)
		want, err := w.Import(t.Context(), name, w.ref("org/m:v1"), opts)
		if err != nil {
			t.Fatal(err)
		}
		opts.DryRun = true
		if got, err := w.Import(t.Context(), name, w.ref("org/m:v1"), opts); err != nil || got.Digest != want.Digest || got.Reference != want.Reference {
			t.Errorf("told %+v, %v; imported %+v", got, err, want)
		}
	}
}

// Headers, of which no digest is known, are not read from a mirror.
func TestImportBelievesNoMirror(t *testing.T) {
	w := newWorld(t)
	model := large(t)
	if _, err := w.Push(t.Context(), model, w.ref("theirs/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	name := "oci://" + w.srv.Host + "/theirs/m:v1"
	want, err := w.Import(t.Context(), name, w.ref("ours/m:v1"), hub.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.mirrored(model, "theirs/m:v1").Import(t.Context(), name, w.ref("ours/m:v2"), hub.ImportOptions{})
	if err != nil || got.Digest != want.Digest {
		t.Errorf("imported %+v, %v; without a mirror %+v", got, err, want)
	}
}
