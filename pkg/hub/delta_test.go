package hub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
)

// A version is the files of a model.
type version map[string][]byte

func (v version) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range v {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// single is a model of one file.
func single(tensors []testmodel.Tensor) version {
	return version{"model.safetensors": testmodel.SafetensorsFile(tensors, map[string]string{"format": "pt"})}
}

// served returns how many bytes of blobs the registry has sent since it was
// last reset.
func (w *world) served() int64 {
	n := int64(0)
	for _, r := range w.srv.Requests() {
		if strings.Contains(r.Path, "/blobs/") && r.Method == "GET" {
			n += r.BytesOut
		}
	}
	return n
}

// same compares a directory with a version.
func same(t *testing.T, dir string, v version) {
	t.Helper()
	for name, want := range v {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what was pushed (%v)", name, err)
		}
	}
}

// A change is a way in which models become others.
type change struct {
	to      func(old []testmodel.Tensor) version
	changed int64 // bytes
	places  int64 // that they are in: each can cost a chunk
	layers  int   // of the old model; 0 means 1
}

// layersOf returns how many layers a model of testmodel.Transformer has.
func layersOf(tensors []testmodel.Tensor) int { return (len(tensors) - 3) / 9 }

// fresh has the tensors that pick chooses from another model.
func fresh(old []testmodel.Tensor, pick func(name string) bool) []testmodel.Tensor {
	other := testmodel.Transformer(99, layersOf(old))
	out := slices.Clone(old)
	for i := range out {
		if pick(out[i].Name) {
			out[i].Data = other[i].Data
		}
	}
	return out
}

func changes() map[string]change {
	const row = testmodel.TransformerHidden * 2
	return map[string]change{
		"header edit": {to: func(old []testmodel.Tensor) version {
			return version{"model.safetensors": testmodel.SafetensorsFile(old, map[string]string{"format": "pt", "note": strings.Repeat("x", 40)})}
		}, places: 1},
		"embedding resize": {to: func(old []testmodel.Tensor) version {
			other := testmodel.Transformer(98, 0)[0].Data[:64*row]
			out := slices.Clone(old)
			for _, i := range []int{0, len(out) - 1} {
				out[i].Shape = []int64{testmodel.TransformerVocab + 64, testmodel.TransformerHidden}
				out[i].Data = append(bytes.Clone(out[i].Data), other...)
			}
			return single(out)
		}, changed: 2 * 64 * row, places: 3},
		"q and v": {to: func(old []testmodel.Tensor) version {
			return single(fresh(old, func(name string) bool { return strings.Contains(name, "q_proj") || strings.Contains(name, "v_proj") }))
		}, changed: 2 * testmodel.TransformerHidden * row, places: 1},
		"tensor order": {to: func(old []testmodel.Tensor) version {
			out := slices.Clone(old)
			slices.Reverse(out)
			return single(out)
		}, places: 2},
		"four shards": {layers: 3, to: func(old []testmodel.Tensor) version {
			out := make(version)
			for i := range 4 {
				n, size := 0, 0
				for n < len(old) && (size < 8_500_000 || i == 3) {
					size += len(old[n].Data)
					n++
				}
				out[fmt.Sprintf("model-%05d-of-00004.safetensors", i+1)] = testmodel.SafetensorsFile(old[:n], nil)
				old = old[n:]
			}
			return out
		}, places: 8},
	}
}

func TestPullFetchesWhatChanged(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	for name, c := range changes() {
		t.Run(name, func(t *testing.T) {
			old := testmodel.Transformer(1, max(c.layers, 1))
			out := filepath.Join(t.TempDir(), "out")
			w.roll(single(old), "v1", out)
			v := c.to(old)
			// Without a store there are only the files of the target.
			w.pushElsewhere(v, "v2")
			plan, err := w.PlanPull(t.Context(), w.ref("org/m:v2"), out, hub.PullOptions{NoStore: true})
			if err != nil {
				t.Fatal(err)
			}
			res, served := w.fetch("org/m:v2", out, hub.PullOptions{NoStore: true})
			if plan.FetchBytes+plan.ReuseBytes != plan.Size || plan.FetchBytes != res.FetchedBytes {
				t.Errorf("planned to fetch %d and to reuse %d of %d bytes, fetched %d", plan.FetchBytes, plan.ReuseBytes, plan.Size, res.FetchedBytes)
			}
			most := c.changed*11/10 + c.places*chunk.Grid + 64<<10
			if res.FetchedBytes > most || served > most {
				t.Errorf("fetched %d bytes, served %d, of %d; want at most %d", res.FetchedBytes, served, res.Size, most)
			}
			if res.FetchedBytes+res.ReusedBytes != res.Size {
				t.Errorf("%d fetched and %d reused of %d bytes", res.FetchedBytes, res.ReusedBytes, res.Size)
			}
			same(t, out, v)
			t.Logf("fetched %d of %d bytes, %d with the index", res.FetchedBytes, res.Size, served)
		})
	}
}

// roll pushes a version and pulls it. It returns how many bytes were served.
func (w *world) roll(v version, tag, out string) (*hub.PullResult, int64) {
	w.t.Helper()
	w.pushElsewhere(v, tag)
	return w.fetch("org/m:"+tag, out, hub.PullOptions{})
}

// pushElsewhere pushes a version from another machine: nothing of it is known
// on this one.
func (w *world) pushElsewhere(v version, tag string) *hub.PushResult {
	w.t.Helper()
	s, err := store.Open(w.t.TempDir())
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	h := hub.New(hub.Options{Remote: w.client, Store: s, Warn: w.warn})
	res, err := h.Push(w.t.Context(), v.write(w.t), w.ref("org/m:"+tag), hub.PushOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// indexPath returns the path of the chunk index of a version's first layer.
func (w *world) indexPath(tag string) string {
	w.t.Helper()
	_, raw := w.manifest("org/m", tag)
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		w.t.Fatal(err)
	}
	dgst, _, ok := strings.Cut(m.Layers[0].Annotations[mediatypes.AnnotationChunkIndex], ";")
	if !ok {
		w.t.Fatalf("%s has no index", tag)
	}
	return "/blobs/" + dgst
}

// fetch pulls a version.
func (w *world) fetch(name, out string, opts hub.PullOptions) (*hub.PullResult, int64) {
	w.t.Helper()
	w.srv.Reset()
	res, err := w.Pull(w.t.Context(), w.ref(name), out, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, w.served()
}

// Two quantisations of a model share the tensors that both leave alone.
func TestPullTakesFromOtherModels(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	head := testmodel.Transformer(1, 0)[2]
	quantised := func(seed byte) version {
		m := testmodel.GGUFModel{KV: []testmodel.KV{{Key: "general.architecture", Value: "llama"}, {Key: "general.name", Value: strings.Repeat("q", int(seed))}}}
		for _, t := range []testmodel.Tensor{testmodel.Transformer(seed, 0)[0], head} {
			m.Tensors = append(m.Tensors, testmodel.GGUFTensor{
				Name: t.Name, Type: 30, Dims: []uint64{testmodel.TransformerHidden, testmodel.TransformerVocab}, Data: t.Data,
			})
		}
		return version{fmt.Sprintf("model-%d.gguf", seed): testmodel.GGUFFile(m)}
	}
	w.roll(quantised(1), "q4", filepath.Join(t.TempDir(), "one"))
	v := quantised(2)
	two := filepath.Join(t.TempDir(), "two")
	res, served := w.roll(v, "q8", two)
	if half := res.Size / 2; served > half+2*chunk.Grid || res.ReusedBytes < half-2*chunk.Grid {
		t.Errorf("served %d bytes, reused %d, of %d", served, res.ReusedBytes, res.Size)
	}
	same(t, two, v)
	// Files that are gone or are others by now do no harm.
	if err := os.WriteFile(filepath.Join(two, "model-2.gguf"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	res, _ = w.fetch("org/m:q8", filepath.Join(t.TempDir(), "three"), hub.PullOptions{})
	if res.FetchedBytes < res.Size/3 {
		t.Errorf("%d bytes fetched of %d", res.FetchedBytes, res.Size)
	}
}

// What cannot be had of indexes, or is wrong in them, costs bytes and no more.
func TestPullWithoutGoodIndexes(t *testing.T) {
	old := testmodel.Transformer(1, 0)
	v1 := single(old)
	v2 := single(fresh(old, func(name string) bool { return strings.Contains(name, "head") }))
	tests := map[string]struct {
		rule testreg.Rule
		opts hub.PullOptions
	}{
		"gone":       {rule: testreg.Rule{Method: "GET", Do: testreg.Status(404, nil, "")}},
		"refused":    {rule: testreg.Rule{Method: "GET", Do: testreg.Status(403, nil, "")}},
		"damaged":    {rule: testreg.Rule{Method: "GET", Do: testreg.FlipBit(100)}},
		"not wanted": {opts: hub.PullOptions{NoDelta: true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
			out := filepath.Join(t.TempDir(), "out")
			w.roll(v1, "v1", out)
			pushed := w.pushElsewhere(v2, "v2")
			w.srv.Reset()
			if test.rule.Do != nil {
				test.rule.Path = w.indexPath("v2")
				w.srv.Add(test.rule)
			}
			res, err := w.Pull(t.Context(), w.ref("org/m:v2"), out, test.opts)
			if err != nil {
				t.Fatal(err)
			}
			if res.FetchedBytes != pushed.Size || len(res.Notes) > 0 {
				t.Errorf("%d of %d bytes fetched; notes %q", res.FetchedBytes, pushed.Size, res.Notes)
			}
			same(t, out, v2)
		})
	}
}

// lie gives the version of a tag another index, and tags the result.
func (w *world) lie(from, to string, annotation func(layer ocispec.Descriptor) string) {
	w.t.Helper()
	_, raw := w.manifest("org/m", from)
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		w.t.Fatal(err)
	}
	m.Layers[0].Annotations[mediatypes.AnnotationChunkIndex] = annotation(m.Layers[0])
	raw, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, raw)
	if err := w.repo("org/m").Push(w.t.Context(), desc, bytes.NewReader(raw)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.repo("org/m").Tag(w.t.Context(), desc, to); err != nil {
		w.t.Fatal(err)
	}
}

// putIndex pushes an index and returns the annotation that names it.
func (w *world) putIndex(raw []byte) string {
	w.t.Helper()
	desc := content.NewDescriptorFromBytes(mediatypes.LayerChunkIndex, raw)
	if err := w.repo("org/m").Push(w.t.Context(), desc, bytes.NewReader(raw)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("%s;%d", desc.Digest, desc.Size)
}

// Whatever an index says, the files come out right.
func TestPullByHostileIndexes(t *testing.T) {
	old := testmodel.Transformer(1, 0)
	v1 := single(old)
	v2 := single(fresh(old, func(name string) bool { return strings.Contains(name, "head") }))
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	w.pushElsewhere(v1, "v1")
	w.pushElsewhere(v2, "v2")
	index := func(data []byte, size int) []byte {
		b := chunk.NewBuilder(int64(size), []int64{})
		if _, err := b.Write(data[:size]); err != nil {
			t.Fatal(err)
		}
		raw, err := b.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	file := v1["model.safetensors"]
	swapped := index(file, len(file))
	half := len(swapped) - 32*(len(swapped)/64)
	copy(swapped[half:half+32], swapped[len(swapped)-64:])
	tests := map[string]func(layer ocispec.Descriptor) string{
		"of another file":    func(ocispec.Descriptor) string { return w.putIndex(index(file, len(file))) },
		"digests exchanged":  func(ocispec.Descriptor) string { return w.putIndex(swapped) },
		"of another size":    func(ocispec.Descriptor) string { return w.putIndex(index(file, len(file)-1)) },
		"not an index":       func(ocispec.Descriptor) string { return w.putIndex([]byte("MRCX")) },
		"the layer itself":   func(l ocispec.Descriptor) string { return fmt.Sprintf("%s;%d", l.Digest, l.Size) },
		"a length that lies": func(l ocispec.Descriptor) string { return fmt.Sprintf("%s;%d", l.Digest, 1000) },
		"nonsense":           func(ocispec.Descriptor) string { return "sha256:../../x;-1" },
	}
	for name, annotation := range tests {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			w.fetch("org/m:v1", out, hub.PullOptions{})
			w.lie("v2", "lie", annotation)
			res, _ := w.fetch("org/m:lie", out, hub.PullOptions{NoStore: true})
			same(t, out, v2)
			if len(res.Notes) > 0 || res.FetchedBytes < res.Size {
				t.Errorf("%+v", res)
			}
		})
	}
}

// The version is signed with its indexes, and tools that know nothing of them
// see one plain blob a file.
func TestIndexesDoNotShow(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	old := testmodel.Transformer(1, 0)
	v1 := single(old)
	v2 := single(fresh(old, func(name string) bool { return strings.Contains(name, "norm") }))
	by := alice()
	for tag, v := range map[string]version{"v1": v1, "v2": v2} {
		if _, err := w.Push(t.Context(), v.write(t), w.ref("org/m:"+tag), hub.PushOptions{Signer: by.signer}); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	w.fetch("org/m:v1", out, hub.PullOptions{Trust: by.trust})
	res, served := w.fetch("org/m:v2", out, hub.PullOptions{Trust: by.trust})
	if res.Verified == nil || res.FetchedBytes > 2*chunk.Grid || served > 3*chunk.Grid {
		t.Errorf("%+v, %d bytes served", res, served)
	}
	same(t, out, v2)
	_, raw := w.manifest("org/m", "v2")
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	got, err := content.FetchAll(t.Context(), w.repo("org/m"), m.Layers[0])
	if err != nil || !bytes.Equal(got, v2["model.safetensors"]) {
		t.Errorf("the layer is not the file: %v", err)
	}
}

// Two pulls at once take from the same files and learn the same indexes.
func TestPullsAtOnce(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	old := testmodel.Transformer(1, 0)
	v2 := single(fresh(old, func(name string) bool { return strings.Contains(name, "norm") }))
	base := filepath.Join(t.TempDir(), "base")
	w.roll(single(old), "v1", base)
	w.pushElsewhere(v2, "v2")
	var g errgroup.Group
	outs := make([]string, 4)
	for i := range outs {
		outs[i] = filepath.Join(t.TempDir(), "out")
		g.Go(func() error {
			res, err := w.Pull(t.Context(), w.ref("org/m:v2"), outs[i], hub.PullOptions{})
			if err == nil && res.FetchedBytes > 2*chunk.Grid {
				err = fmt.Errorf("pull %d fetched %d bytes", i, res.FetchedBytes)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	for _, out := range outs {
		same(t, out, v2)
	}
}

// What was pushed from here is here.
func TestPullTakesFromWhatWasPushed(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	old := testmodel.Transformer(1, 0)
	if _, err := w.Push(t.Context(), single(old).write(t), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	v2 := single(fresh(old, func(name string) bool { return strings.Contains(name, "norm") }))
	out := filepath.Join(t.TempDir(), "out")
	res, _ := w.roll(v2, "v2", out)
	if res.FetchedBytes > 2*chunk.Grid {
		t.Errorf("%d bytes fetched", res.FetchedBytes)
	}
	same(t, out, v2)
}

// A directory of a version without indexes is read for what it has.
func TestPullReadsFilesWithoutAnIndex(t *testing.T) {
	w := newWorldWith(t, testreg.Options{Data: t.TempDir()})
	old := testmodel.Transformer(1, 0)
	v2 := single(fresh(old, func(name string) bool { return strings.Contains(name, "norm") }))
	w.pushElsewhere(single(old), "v1")
	w.pushElsewhere(v2, "v2")
	out := filepath.Join(t.TempDir(), "out")
	w.fetch("org/m:v1", out, hub.PullOptions{NoStore: true})
	w.srv.Add(testreg.Rule{Method: "GET", Path: w.indexPath("v1"), Do: testreg.Status(404, nil, "")})
	res, err := w.Pull(t.Context(), w.ref("org/m:v2"), out, hub.PullOptions{NoStore: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.FetchedBytes > 2*chunk.Grid {
		t.Errorf("%d bytes fetched", res.FetchedBytes)
	}
	same(t, out, v2)
}
