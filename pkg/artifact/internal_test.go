package artifact_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
)

func TestParamSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "", 1: "0.1K", 49: "0.1K", 650: "0.7K", 999: "1K", 1000: "1K", 1500: "1.5K", 22_713_216: "22.7M", 999_949: "999.9K", 999_950: "1M",
		7_000_000_000: "7B", 8_030_261_248: "8B", 1_600_000_000_000: "1.6T", 2_000_000_000_000_000_000: "2000Q",
	} {
		if got := artifact.ParamSize(n); got != want {
			t.Errorf("ParamSize(%d) = %q, want %q", n, got, want)
		}
	}
}

// indexed packs a model of 501 files and returns its index's JSON and the
// descriptors that it is checked against.
func indexed(t testing.TB) (*blobs, *artifact.Packed, string, map[digest.Digest]ocispec.Descriptor) {
	t.Helper()
	files := map[string]string{"README.md": "x"}
	for i := range 501 {
		files[fmt.Sprintf("d/%03d.txt", i)] = fmt.Sprint("file ", i)
	}
	b := newBlobs()
	p := mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{})
	a := mustOpen(t, b, p.Descriptor)
	archives := make(map[digest.Digest]ocispec.Descriptor)
	text := ""
	for _, l := range a.Manifest.Layers {
		if strings.HasSuffix(l.MediaType, ".tar") {
			archives[l.Digest] = l
		}
		if l.Annotations["dev.modelreg.tar-index"] != "" {
			text = string(b.content[l.Digest])
		}
	}
	return b, p, text, archives
}

func TestIndexIsChecked(t *testing.T) {
	_, _, text, archives := indexed(t)
	if _, err := artifact.ParseIndex([]byte(text), archives); err != nil {
		t.Fatal(err)
	}
	var layer digest.Digest
	for d := range archives {
		layer = d
	}
	one := func(entry string) string {
		return `{"layers":[{"digest":"` + string(layer) + `","files":[` + entry + `]}]}`
	}
	sum := string(digest.FromString("x"))
	entry := func(path string, offset, size int64) string {
		return fmt.Sprintf(`{"path":%q,"offset":%d,"size":%d,"digest":%q}`, path, offset, size, sum)
	}
	tests := map[string]string{
		"not JSON":         "x",
		"trailing":         text + "{}",
		"duplicate key":    strings.Replace(text, `"path"`, `"path":"a","path"`, 1),
		"other layer":      strings.ReplaceAll(text, string(layer), sum),
		"layer twice":      strings.Replace(text, `[{"digest"`, `[{"digest":"`+string(layer)+`","files":[`+entry("a", 1024, 1)+`]},{"digest"`, 1),
		"no files":         one(""),
		"in the header":    one(entry("a", 0, 1)),
		"not on a block":   one(entry("a", 1000, 1)),
		"negative offset":  one(entry("a", -512, 1)),
		"negative size":    one(entry("a", 512, -1)),
		"past the end":     one(entry("a", archives[layer].Size, 1)),
		"size past end":    one(entry("a", 512, archives[layer].Size)),
		"size 2^62":        one(entry("a", 512, 1<<62)),
		"overlap":          one(entry("a", 512, 600) + "," + entry("b", 1024, 1)),
		"out of order":     one(entry("a", 4096, 1) + "," + entry("b", 512, 1)),
		"no digest":        one(`{"path":"a","offset":512,"size":1}`),
		"sha512":           one(`{"path":"a","offset":512,"size":1,"digest":"` + string(digest.SHA512.FromString("x")) + `"}`),
		"offset no number": one(`{"path":"a","offset":"512","size":1,"digest":"` + sum + `"}`),
		"deep":             strings.Repeat("[", 1000),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := artifact.ParseIndex([]byte(text), archives); err == nil {
				t.Error("the index was taken")
			}
		})
	}
}

// An index that lies about an archive is found out when it is used.
func TestIndexIsNotBelieved(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"digests swapped": func(s string) string {
			return strings.NewReplacer(string(digest.FromString("file 1")), string(digest.FromString("file 2")), string(digest.FromString("file 2")), string(digest.FromString("file 1"))).Replace(s)
		},
		"another name":   func(s string) string { return strings.Replace(s, `"d/001.txt"`, `"d/other.txt"`, 1) },
		"name of a file": func(s string) string { return strings.Replace(s, `"d/001.txt"`, `"README.md"`, 1) },
		"bad name":       func(s string) string { return strings.Replace(s, `"d/001.txt"`, `"../001.txt"`, 1) },
		"control name":   func(s string) string { return strings.Replace(s, `"d/001.txt"`, `".modelreg/pull.json"`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			b, p, text, _ := indexed(t)
			var m ocispec.Manifest
			if err := json.Unmarshal(p.Manifest, &m); err != nil {
				t.Fatal(err)
			}
			for i, l := range m.Layers {
				if l.Annotations["dev.modelreg.tar-index"] != "" {
					desc := b.put(l.MediaType, []byte(change(text)))
					desc.Annotations = l.Annotations
					m.Layers[i] = desc
				}
			}
			config := b.content[m.Config.Digest]
			for i, l := range mustOpen(t, b, p.Descriptor).Manifest.Layers {
				config = []byte(strings.ReplaceAll(string(config), string(l.Digest), string(m.Layers[i].Digest)))
			}
			m.Config = b.put(m.Config.MediaType, config)
			desc := putManifest(b, m)
			if _, err := unpackWitnessed(t, b, desc); err == nil {
				t.Error("the artifact was unpacked")
			}
			a, err := artifact.Open(t.Context(), b, desc)
			if err != nil {
				return
			}
			for _, path := range []string{"d/001.txt", "d/002.txt", "d/other.txt"} {
				rc, _, err := a.OpenFile(t.Context(), b, path)
				if err != nil {
					continue
				}
				got, err := io.ReadAll(rc)
				rc.Close()
				if err == nil && name == "digests swapped" {
					t.Errorf("%s reads %q", path, got)
				}
			}
		})
	}
}

// What parses stays inside the layers, and is bounded.
func FuzzParseIndex(f *testing.F) {
	layer := digest.FromString("layer")
	f.Add([]byte(`{"layers":[{"digest":"` + string(layer) + `","files":[{"path":"a","offset":512,"size":100,"digest":"` + string(digest.FromString("x")) + `"}]}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := artifact.ParseIndex(raw, map[digest.Digest]ocispec.Descriptor{layer: {Digest: layer, Size: 10_240}})
		if err != nil {
			return
		}
		for _, l := range x.Layers {
			end := int64(0)
			for _, file := range l.Files {
				if file.Offset < end || file.Size < 0 || file.Offset+file.Size > 10_240 {
					t.Fatalf("%+v", file)
				}
				end = file.Offset + file.Size
			}
		}
	})
}

// What parses as a record has a version and a digest.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"mediaType":"m","digest":"` + string(digest.FromString("x")) + `","files":[{"path":"a","digest":"b","size":1}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := artifact.ParseRecord(raw)
		if err == nil && (r.Version != 1 || r.Digest.Validate() != nil) {
			t.Fatalf("%+v", r)
		}
	})
}
