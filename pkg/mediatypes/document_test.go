package mediatypes_test

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const emptyDigest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}

// read returns a document of testdata/manifests.
func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "manifests", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t testing.TB, name string) ocispec.Manifest {
	t.Helper()
	m, err := mediatypes.ParseManifest(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseManifest(t *testing.T) {
	m := parse(t, "modctl")
	if len(m.Layers) != 6 || m.ArtifactType != mediatypes.ArtifactModel || m.Config.Size != 608 {
		t.Errorf("got %d layers, %q, config of %d bytes", len(m.Layers), m.ArtifactType, m.Config.Size)
	}
	want := ocispec.Descriptor{
		MediaType: "application/vnd.cncf.model.code.v1.raw",
		Digest:    "sha256:cc42155088fca5730758db72b2a5bca33112a941dfaa2d43098ec422ce4ea213",
		Size:      9,
		Annotations: map[string]string{
			mediatypes.AnnotationFilepath:     "sub/train.py",
			mediatypes.AnnotationFileMetadata: `{"name":"train.py","mode":420,"uid":0,"gid":0,"size":9,"mtime":"2026-11-22T23:51:41.52098475Z","typeflag":0}`,
		},
	}
	if diff := cmp.Diff(want, m.Layers[4]); diff != "" {
		t.Errorf("layer 4 (-want +got):\n%s", diff)
	}
	if !strings.Contains(m.Annotations[mediatypes.AnnotationModelfile], "FAMILY llama") {
		t.Error("annotations of the manifest are lost")
	}
}

// TestParseManifestAsOthers compares with encoding/json, which agrees on
// documents that mean no harm.
func TestParseManifestAsOthers(t *testing.T) {
	files, err := filepath.Glob("testdata/manifests/*.json")
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			raw := read(t, name)
			got, err := mediatypes.ParseManifest(raw)
			if err != nil {
				t.Fatal(err)
			}
			var want ocispec.Manifest
			if err := stdjson.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			if name == "ollama-tensors" {
				want.Layers[0].Annotations = map[string]string{mediatypes.AnnotationTitle: "model.embed_tokens.weight"}
				want.Layers[1].Annotations = map[string]string{mediatypes.AnnotationTitle: "config.json"}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ParseManifest (-encoding/json +got):\n%s", diff)
			}
		})
	}
}

// doc is a manifest with one part replaced.
func doc(parts ...string) string {
	fields := []string{
		`"schemaVersion":2`,
		`"config":{"mediaType":"a/b","digest":"` + emptyDigest + `","size":2}`,
		`"layers":[]`,
	}
	for _, p := range parts {
		key, _, _ := strings.Cut(p, ":")
		replaced := false
		for i := range fields {
			if strings.HasPrefix(fields[i], key+":") {
				fields[i], replaced = p, true
			}
		}
		if !replaced {
			fields = append(fields, p)
		}
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func layer(dgst, size, rest string) string {
	return fmt.Sprintf(`"layers":[{"mediaType":"a/b","digest":%q,"size":%s%s}]`, dgst, size, rest)
}

func TestParseManifestRejects(t *testing.T) {
	hex := strings.TrimPrefix(emptyDigest, "sha256:")
	many := func(n int, elem func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = elem(i)
		}
		return strings.Join(parts, ",")
	}
	tests := []struct{ name, doc string }{
		{"nothing", ""},
		{"null", "null"},
		{"array", "[]"},
		{"empty object", "{}"},
		{"cut", doc()[:40]},
		{"trailing document", doc() + "{}"},
		{"trailing word", doc() + " x"},
		{"byte order mark", "\ufeff" + doc()},
		{"bad UTF-8", doc("\"artifactType\":\"a\xff\"")},
		{"lone surrogate", doc(`"artifactType":"\ud800"`)},
		{"duplicate key", doc(`"mediaType":""`)[:1] + `"layers":[],` + doc()[1:]},
		{"duplicate key, escaped", `{"layer\u0073":[],` + doc()[1:]},
		{"duplicate key in a field that nobody reads", doc(`"x":{"a":1,"a":2}`)},
		{"keys in other case only", `{"SchemaVersion":2,"Config":{},"Layers":[]}`},
		{"nested 100 000 deep", doc(`"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))},
		{"nested one too deep", doc(`"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64))},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[],"history":[]}`},
		{"schema 3", doc(`"schemaVersion":3`)},
		{"schema as text", doc(`"schemaVersion":"2"`)},
		{"no schema", `{"config":{"mediaType":"a/b","digest":"` + emptyDigest + `","size":2},"layers":[]}`},
		{"index", `{"schemaVersion":2,"mediaType":"` + mediatypes.IndexOCI + `","manifests":[]}`},
		{"index by its type alone", doc(`"mediaType":"` + mediatypes.IndexOCI + `"`)},
		{"layers and manifests", doc(`"manifests":[]`)},
		{"no config", `{"schemaVersion":2,"layers":[]}`},
		{"config of null", doc(`"config":null`)},
		{"layers as object", doc(`"layers":{}`)},
		{"layer of null", doc(`"layers":[null]`)},
		{"layer without type", doc(`"layers":[{"digest":"` + emptyDigest + `","size":2}]`)},
		{"type with a line feed", doc(`"layers":[{"mediaType":"a\nb","digest":"` + emptyDigest + `","size":2}]`)},
		{"long type", doc(`"artifactType":"` + strings.Repeat("a", 256) + `"`)},
		{"artifact type with control byte", doc(`"artifactType":"a\u001bb"`)},
		{"digest in upper case", doc(layer("sha256:"+strings.ToUpper(hex), "2", ""))},
		{"digest md5", doc(layer("md5:0123456789abcdef0123456789abcdef", "2", ""))},
		{"digest sha384", doc(layer("sha384:"+hex+hex[:32], "2", ""))},
		{"digest too short", doc(layer("sha256:abc", "2", ""))},
		{"digest too long", doc(layer(emptyDigest+"a", "2", ""))},
		{"digest climbs", doc(layer("sha256:../../../../../../tmp/modelreg-escape", "2", ""))},
		{"digest empty", doc(layer("", "2", ""))},
		{"digest without algorithm", doc(layer(hex, "2", ""))},
		{"digest with line feed", doc(layer(emptyDigest+"\r\n", "2", ""))},
		{"digest with query", doc(layer(emptyDigest+"?x", "2", ""))},
		{"digest missing", doc(`"layers":[{"mediaType":"a/b","size":2}]`)},
		{"size negative", doc(layer(emptyDigest, "-1", ""))},
		{"size 2^63", doc(layer(emptyDigest, "9223372036854775808", ""))},
		{"size beyond 2^53", doc(layer(emptyDigest, "9007199254740993", ""))},
		{"size with a fraction", doc(layer(emptyDigest, "2.5", ""))},
		{"size with an exponent", doc(layer(emptyDigest, "2e0", ""))},
		{"size as text", doc(layer(emptyDigest, `"2"`, ""))},
		{"size as long text", doc(layer(emptyDigest, `"`+strings.Repeat("x", 1<<20)+`"`, ""))},
		{"long key twice", doc(`"`+strings.Repeat("x", 1<<20)+`":1`, `"`+strings.Repeat("\\u001b", 1<<18)+`":{"a":1,"a":2}`)},
		{"size of null", doc(layer(emptyDigest, "null", ""))},
		{"size missing", doc(`"layers":[{"mediaType":"a/b","digest":"` + emptyDigest + `"}]`)},
		{"foreign urls", doc(layer(emptyDigest, "2", `,"urls":["http://169.254.169.254/"]`))},
		{"data of another digest", doc(layer(emptyDigest, "2", `,"data":"W10="`))},
		{"data of another size", doc(layer(emptyDigest, "3", `,"data":"e30="`))},
		{"data not base64", doc(layer(emptyDigest, "2", `,"data":"{}"`))},
		{"bad subject", doc(`"subject":{"mediaType":"a/b","digest":"x","size":2}`)},
		{"annotation as number", doc(`"annotations":{"a":1}`)},
		{"annotation without key", doc(`"annotations":{"":"a"}`)},
		{"annotation too long", doc(`"annotations":{"a":"` + strings.Repeat("x", 64<<10+1) + `"}`)},
		{"annotations too many", doc(`"annotations":{` + many(257, func(i int) string { return fmt.Sprintf(`"k%d":""`, i) }) + `}`)},
		{"annotations too many in a layer", doc(layer(emptyDigest, "2", `,"annotations":{`+many(257, func(i int) string { return fmt.Sprintf(`"k%d":""`, i) })+`}`))},
		{"layers too many", doc(`"layers":[` + many(10_001, func(int) string { return `{"mediaType":"a","digest":"` + emptyDigest + `","size":2}` }) + `]`)},
		{"too long", doc() + strings.Repeat(" ", mediatypes.MaxManifestBytes)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := mediatypes.ParseManifest([]byte(tt.doc))
			if !errors.Is(err, mediatypes.ErrMalformed) {
				t.Errorf("ParseManifest = %+v, %v, want ErrMalformed", m, err)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestParseManifestAccepts(t *testing.T) {
	sha512 := "sha512:" + strings.Repeat("0123456789abcdef", 8)
	tests := []struct{ name, doc string }{
		{"as little as possible", doc()},
		{"layers of null", doc(`"layers":null`)},
		{"unknown fields", doc(`"x":{"y":[1]}`)},
		{"a key in other case beside the right one", doc(`"Layers":[{"digest":"evil"}]`)},
		{"nested as deep as may be", doc(`"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63))},
		{"sha512", doc(layer(sha512, "2", ""))},
		{"size 0", doc(layer(emptyDigest, "0", ""))},
		{"size 2^53", doc(layer(emptyDigest, "9007199254740992", ""))},
		{"data", doc(layer(emptyDigest, "2", `,"data":"e30="`))},
		{"no urls", doc(layer(emptyDigest, "2", `,"urls":[]`))},
		{"longest annotation", doc(`"annotations":{"a":"` + strings.Repeat("x", 64<<10) + `"}`)},
		{"docker's type", doc(`"mediaType":"` + mediatypes.ManifestDocker + `"`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := mediatypes.ParseManifest([]byte(tt.doc)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestParseManifestMemory feeds a list of empty objects, which take a hundred
// times their room once decoded.
func TestParseManifestMemory(t *testing.T) {
	raw := []byte(doc(`"layers":[` + strings.Repeat("{},", 400_000) + `{}]`))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := mediatypes.ParseManifest(raw)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, mediatypes.ErrMalformed) {
		t.Fatalf("error = %v, want ErrMalformed", err)
	}
	const most = 32 << 20
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("allocated %d bytes, want less than %d", got, most)
	}
}

func TestNameIsOllamas(t *testing.T) {
	m, err := mediatypes.ParseManifest([]byte(doc(layer(emptyDigest, "2", `,"name":"x"`))))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Layers[0].Annotations; len(got) != 0 {
		t.Errorf("a name where Ollama is not concerned made annotations %v", got)
	}
}

func TestParseIndex(t *testing.T) {
	entry := `{"mediaType":"` + mediatypes.ManifestOCI + `","digest":"` + emptyDigest + `","size":2,"artifactType":"` + mediatypes.ArtifactModel +
		`","platform":{"architecture":"amd64","os":"linux"},"modelMetadata":{"x":1}}`
	index := func(n int, rest string) string {
		return `{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(entry+",", n), ",") + `]` + rest + `}`
	}
	x, err := mediatypes.ParseIndex([]byte(index(1, `,"mediaType":"`+mediatypes.IndexOCI+`","artifactType":"`+mediatypes.ArtifactModelKitIndex+`","annotations":{"a":"b"}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := ocispec.Descriptor{
		MediaType: mediatypes.ManifestOCI, ArtifactType: mediatypes.ArtifactModel, Digest: emptyDigest, Size: 2,
		Platform: &ocispec.Platform{Architecture: "amd64", OS: "linux"},
	}
	if diff := cmp.Diff([]ocispec.Descriptor{want}, x.Manifests); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if x.ArtifactType != mediatypes.ArtifactModelKitIndex || x.Annotations["a"] != "b" {
		t.Errorf("got %q, %v", x.ArtifactType, x.Annotations)
	}
	if _, err := mediatypes.ParseIndex([]byte(index(1024, ""))); err != nil {
		t.Error(err)
	}
	for name, doc := range map[string]string{
		"too many entries": index(1025, ""),
		"layers too":       index(1, `,"layers":[]`),
		"config too":       index(1, `,"config":{"mediaType":"a","digest":"`+emptyDigest+`","size":2}`),
		"a manifest":       doc(),
		"manifest's type":  index(1, `,"mediaType":"`+mediatypes.ManifestOCI+`"`),
		"no manifests":     `{"schemaVersion":2}`,
		"bad entry":        `{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"sha256:x","size":1}]}`,
		"bad subject":      index(1, `,"subject":{}`),
	} {
		if _, err := mediatypes.ParseIndex([]byte(doc)); !errors.Is(err, mediatypes.ErrMalformed) {
			t.Errorf("%s: error = %v, want ErrMalformed", name, err)
		}
	}
}

// sound tells what is wrong with a descriptor that was parsed.
func sound(d ocispec.Descriptor) error {
	switch alg := d.Digest.Algorithm(); {
	case d.Digest.Validate() != nil || (alg != digest.SHA256 && alg != digest.SHA512):
		return fmt.Errorf("digest %q", d.Digest)
	case d.Size < 0 || d.Size > mediatypes.MaxBlobBytes:
		return fmt.Errorf("size %d", d.Size)
	case d.MediaType == "" || len(d.Annotations) > mediatypes.MaxAnnotations+1 || len(d.URLs) > 0:
		return fmt.Errorf("descriptor %+v", d)
	}
	return nil
}

// FuzzParseManifest states that what parses is sound, and that another writer's
// encoding of it parses to the same.
func FuzzParseManifest(f *testing.F) {
	files, err := filepath.Glob("testdata/manifests/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(read(f, strings.TrimSuffix(filepath.Base(file), ".json")))
	}
	f.Add([]byte(doc(layer(emptyDigest, "2", `,"data":"e30=","name":"x","platform":{"os.features":[""]}`))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := mediatypes.ParseManifest(raw)
		if err != nil {
			if !errors.Is(err, mediatypes.ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
			if err := sound(d); err != nil {
				t.Fatal(err)
			}
		}
		mediatypes.Detect(m)
		again, err := stdjson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		m2, err := mediatypes.ParseManifest(again)
		if err != nil && len(again) <= mediatypes.MaxManifestBytes {
			t.Fatalf("%s\ndoes not parse: %v", again, err)
		}
		if diff := cmp.Diff(m, m2, cmpopts.EquateEmpty()); err == nil && diff != "" {
			t.Fatalf("parsed again (-first +second):\n%s", diff)
		}
	})
}

// FuzzParseIndex states that what parses is sound.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"` + emptyDigest + `","size":2}],"subject":{"mediaType":"a","digest":"` + emptyDigest + `","size":2}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := mediatypes.ParseIndex(raw)
		if err != nil {
			if !errors.Is(err, mediatypes.ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		for _, d := range x.Manifests {
			if err := sound(d); err != nil {
				t.Fatal(err)
			}
		}
		if x.Subject != nil {
			if err := sound(*x.Subject); err != nil {
				t.Fatal(err)
			}
		}
	})
}
